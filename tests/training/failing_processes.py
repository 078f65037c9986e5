"""Starts the processes of failing_run.py and waits for what they do."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.free_ports import free_port

HERE = Path(__file__).resolve().parent
HANGS_AFTER = 600  # seconds: far more than a run needs, even on a machine that has much else to do


def environment(devices: int = 1) -> dict[str, str]:
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(HERE.parents[1]),
    }


class Processes:
    """The processes of one run, in order. Ends them all when a `with` is left."""

    def __init__(self, workdir: Path, count: int, *, devices: int = 1, **settings):
        port = free_port()
        workdir.mkdir(parents=True, exist_ok=True)
        self.workdir, self._outputs, self.processes = workdir, [], []
        for number in range(count):
            output = workdir.parent / f"{workdir.name}.{number}.txt"
            self._outputs.append(output)
            command = [sys.executable, str(HERE / "failing_run.py"), str(workdir), str(number), str(count), str(port)]
            self.processes.append(
                subprocess.Popen(
                    command + [f"{key}={value}" for key, value in settings.items()],
                    env=environment(devices),
                    stdout=output.open("w"),
                    stderr=subprocess.STDOUT,
                )
            )

    def __enter__(self) -> "Processes":
        return self

    def __exit__(self, *error) -> None:
        for process in self.processes:
            process.kill()
            process.wait()

    def wait_for_checkpoint(self, step: int) -> None:
        """Returns when the checkpoint of a step is whole."""
        deadline = time.monotonic() + HANGS_AFTER
        while not (self.workdir / "checkpoints" / str(step)).exists():
            for number, process in enumerate(self.processes):
                assert process.poll() is None, f"ended before the checkpoint: {self.shown(number)}"
            assert time.monotonic() < deadline, "no checkpoint"
            time.sleep(0.05)

    def send(self, number: int, signal_: signal.Signals) -> None:
        self.processes[number].send_signal(signal_)

    def end(self, number: int) -> int:
        """The exit status of a process, when it has ended."""
        return self.processes[number].wait(HANGS_AFTER)

    def ends(self) -> list[int]:
        """The exit statuses of all processes."""
        return [self.end(number) for number in range(len(self.processes))]

    def shown(self, number: int) -> str:
        return self._outputs[number].read_text(errors="replace")

    def pid(self, number: int) -> int:
        return self.processes[number].pid


def run(workdir: Path, count: int = 1, **settings) -> list[str]:
    """Runs to the end; what each process showed."""
    with Processes(workdir, count, **settings) as processes:
        ends = processes.ends()
        shown = [processes.shown(number) for number in range(count)]
        assert ends == [0] * count, "\n".join(shown)[-6000:]
        return shown


def figures(workdir: Path) -> list[dict]:
    """The rows of metrics.jsonl without those of the machine."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [
        {name: value for name, value in row.items() if not name.startswith(("samples_per_second", "performance/"))}
        for row in rows
    ]


def steps_on_disk(workdir: Path) -> list[int]:
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())
