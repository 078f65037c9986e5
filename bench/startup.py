"""Seconds from the command to the first step of training, with programs compiled before.

    python -m bench.startup

Runs `python -m jaxclip.main --config=configs/semclip.py:smoke` in a fresh work directory, first to fill JAX's
compilation cache, then as often as asked, and takes the time until the first row of metrics.jsonl is there. The data
set is built before.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from bench import measure

ROUNDS = flags.DEFINE_integer("rounds", 3, "Runs with a warm cache.")
GOAL = 10.0
TIME_LIMIT = 900.0


def seconds_to_first_step(folder: Path, number: int) -> float:
    """One run, to its end; the time of its first row in metrics.jsonl."""
    workdir = folder / f"run_{number}"
    command = [sys.executable, "-m", "jaxclip.main", "--config=configs/semclip.py:smoke", f"--workdir={workdir}"]
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(folder / "programs"), "TFDS_DATA_DIR": str(folder)}
    start = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    rows = workdir / "metrics.jsonl"
    while not (rows.exists() and rows.stat().st_size):
        if process.poll() is not None or time.perf_counter() - start > TIME_LIMIT:
            process.kill()
            raise RuntimeError(f"{' '.join(command)}: no step within {TIME_LIMIT:.0f} s, or it failed")
        time.sleep(0.02)
    seconds = time.perf_counter() - start
    process.wait()
    return seconds


def main(arguments: list[str]) -> None:
    """One cold run, then the warm ones."""
    del arguments
    with tempfile.TemporaryDirectory() as folder:
        cold = seconds_to_first_step(Path(folder), 0)
        warm = [seconds_to_first_step(Path(folder), number) for number in range(1, ROUNDS.value + 1)]
    measure.keep(
        "startup",
        {"goal_seconds": GOAL, "first_run_seconds": cold, "seconds": {"jaxclip": measure.describe_times(warm)}},
    )


if __name__ == "__main__":
    app.run(main)
