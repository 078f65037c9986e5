"""A training run of two processes that is killed again and again, beside one that is not.

    python -m bench.soak --output=soak                  # 50 kills; some 22 minutes on two cores
    python -m bench.soak --output=soak --kills=5 --steps=40

Each time the run has got going, at a random moment one of these happens: SIGKILL of one process or of both, SIGTERM to
one or to both. Then what is left must end by itself in bounded time with a status that says "try again", every
checkpoint must be whole, and the same command is given again. At the end the figures and the trained parameters must be
bitwise those of the run that was left alone. Writes OUTPUT/soak.json; the exit status is 1 where something was not so.
"""

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from absl import app, flags

from jaxclip.checksums import find_damage
from jaxclip.training.checkpointing import load_trained
from jaxclip.training.metrics_log import read_metrics
from jaxclip.training.speed import is_of_the_machine
from jaxclip.training.watch import LOST
from tests.free_ports import free_port

OUTPUT = flags.DEFINE_string("output", None, "Where the two runs and soak.json are put; must not exist.", required=True)
KILLS = flags.DEFINE_integer("kills", 50, "How often the run is killed.", lower_bound=1)
STEPS = flags.DEFINE_integer("steps", 450, "Steps of the run; it must outlast the kills.", lower_bound=10)
SEED = flags.DEFINE_integer("seed", 0, "Of the moments and kinds of the kills.")

ROOT = Path(__file__).resolve().parents[1]
PROCESSES = 2
BOUND = 900  # seconds in which what is left of a run has to end; it takes some ten on an idle machine
TRY_AGAIN = {LOST, 128 + signal.SIGTERM, -signal.SIGKILL}
KINDS = {
    "SIGKILL of one": (signal.SIGKILL, 1),
    "SIGKILL of all": (signal.SIGKILL, PROCESSES),
    "SIGTERM to one": (signal.SIGTERM, 1),
    "SIGTERM to all": (signal.SIGTERM, PROCESSES),
}


class SoakError(RuntimeError):
    """Something that a kill must not lead to."""


def start(workdir: Path, output: Path, steps: int) -> list[subprocess.Popen]:
    """The processes of the run, with logs beside the work directory."""
    port = free_port()
    command = [sys.executable, "-m", "jaxclip.main", "--config=configs/semclip.py:smoke", f"--workdir={workdir}"]
    command += [f"--data_dir={output / 'data'}", f"--config.schedule.steps={steps}", "--config.checkpoint.every=3"]
    command += ["--config.streams.train.batch_size=8", "--config.log_every=1", "--config.evaluation.splits=()"]
    command += ["--config.evaluation.validation=", "--config.model.remat=none"]
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=1",
        "JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}",
        # As under Slurm, which JAX knows; nothing of Slurm is needed.
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": str(PROCESSES),
        # Most of the time of a restart is compilation. JAX keeps programs for process 0 only.
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "JAX_COMPILATION_CACHE_DIR": str(output / "programs"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    processes = []
    for number in range(PROCESSES):
        with (output / f"{workdir.name}.{number}.log").open("a") as log:
            mine = {"SLURM_PROCID": str(number), "SLURM_LOCALID": str(number)}
            processes.append(
                subprocess.Popen(command, cwd=ROOT, env=environment | mine, stdout=log, stderr=subprocess.STDOUT)
            )
    return processes


def finish(processes: list[subprocess.Popen]) -> None:
    """Lets a run go to its end.

    Raises:
      SoakError: it failed.
    """
    statuses = [process.wait() for process in processes]
    if any(statuses):
        raise SoakError(f"exit statuses {statuses}, expected 0: see the logs")


def end(processes: list[subprocess.Popen]) -> list[int]:
    """The exit statuses, when all have ended.

    Raises:
      SoakError: one did not.
    """
    deadline = time.monotonic() + BOUND
    try:
        return [process.wait(max(0.1, deadline - time.monotonic())) for process in processes]
    except subprocess.TimeoutExpired:
        raise SoakError(f"a process had not ended {BOUND} s later") from None
    finally:
        for process in processes:
            process.kill()
            process.wait()


def last_step(workdir: Path) -> int:
    """The last step that the run has logged."""
    rows = read_metrics(workdir / "metrics.jsonl")
    return rows[-1]["step"] if rows else 0


def wait_for_steps(workdir: Path, processes: list[subprocess.Popen], more: int) -> None:
    """Returns when the run has logged one step and `more` since it was started.

    Raises:
      SoakError: it ended before.
    """
    path = workdir / "metrics.jsonl"
    written = path.stat().st_mtime_ns if path.exists() else 0
    first = None
    while first is None or last_step(workdir) < first + more:
        if any(process.poll() is not None for process in processes):
            raise SoakError("the run ended before its next kill; give more --steps, or see its logs")
        # The start takes out the rows after the checkpoint; the first step writes a second time.
        if first is None and path.exists() and path.stat().st_mtime_ns != written:
            written, steps = path.stat().st_mtime_ns, last_step(workdir)
            while path.stat().st_mtime_ns == written and all(process.poll() is None for process in processes):
                time.sleep(0.02)
            first = max(steps, 0) + 1
        time.sleep(0.02)


def check_checkpoints(workdir: Path) -> int:
    """How many whole checkpoints there are.

    Raises:
      SoakError: one is damaged.
    """
    steps = [path for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()]
    for directory in [*steps, workdir / "checkpoints" / "base"]:
        if damage := find_damage(directory):
            raise SoakError(damage)
    if list((workdir / "checkpoints").glob("damaged-*")):
        raise SoakError("a checkpoint was put aside as damaged")
    return len(steps)


def kill(processes: list[subprocess.Popen], kind: str, draw: random.Random) -> list[int]:
    """Does it; returns the exit statuses."""
    number, count = KINDS[kind]
    for process in draw.sample(processes, count):
        process.send_signal(number)
    return end(processes)


def soak(output: Path, kills: int, steps: int, seed: int) -> dict:
    """Both runs and their comparison; the content of soak.json.

    Raises:
      SoakError: see there.
    """
    draw = random.Random(seed)
    alone, killed = output / "alone", output / "killed"
    started = time.monotonic()
    finish(start(alone, output, steps))
    rows = []
    while len(rows) < kills:
        processes = start(killed, output, steps)
        try:
            # Three quarters of the steps are spread over the kills; what is made again comes on top.
            wait_for_steps(killed, processes, draw.randint(0, 3 * steps // (2 * kills)))
            time.sleep(draw.uniform(0, 0.3))
            kind = draw.choice(list(KINDS))
            statuses = kill(processes, kind, draw)
        finally:
            for process in processes:
                process.kill()
        whole = check_checkpoints(killed)
        rows.append({"kind": kind, "step": last_step(killed), "statuses": statuses, "checkpoints": whole})
        print(f"{len(rows):3} {kind}: step {rows[-1]['step']}, exit {statuses}, {whole} checkpoints whole", flush=True)
        if not set(statuses) <= TRY_AGAIN:
            raise SoakError(f"exit statuses {statuses}, expected {sorted(TRY_AGAIN)}")
    finish(start(killed, output, steps))
    compare(alone, killed)
    return {
        "kills": rows,
        "steps": steps,
        "figures and parameters bitwise equal": True,
        "unreadable checkpoints": 0,
        "minutes": round((time.monotonic() - started) / 60, 1),
    }


def compare(alone: Path, killed: Path) -> None:
    """Raises SoakError where two runs differ in a figure, a parameter or a score."""

    def figures(workdir):
        rows = read_metrics(workdir / "metrics.jsonl")
        return [{name: value for name, value in row.items() if not is_of_the_machine(name)} for row in rows]

    for row, other in itertools.zip_longest(figures(alone), figures(killed)):
        if row != other:
            raise SoakError(f"metrics.jsonl: {other or 'the end'}, expected {row or 'the end'}")
    expected, found = load_trained(alone / "checkpoints"), load_trained(killed / "checkpoints")
    differing = [path for path in expected if not np.array_equal(expected[path], found.get(path))]
    if differing or expected.keys() != found.keys():
        raise SoakError(f"parameters differ: {differing or sorted(found.keys() - expected.keys())}")


def main(arguments: list[str]) -> None:
    """Reads the flags and runs."""
    del arguments
    output = Path(OUTPUT.value).absolute()
    if output.exists():
        sys.exit(f"Error: {output}: exists already")
    output.mkdir(parents=True)
    try:
        document = soak(output, KILLS.value, STEPS.value, SEED.value)
    except SoakError as error:
        sys.exit(f"Error: {error}")
    (output / "soak.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    print(f"{KILLS.value} kills, the same figures and parameters bit by bit; {document['minutes']} minutes")


if __name__ == "__main__":
    app.run(main)
