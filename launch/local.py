"""Runs a command as several processes on this machine, as one run on several hosts.

    python launch/local.py --processes=2 -- python -m jaxclip.main --config=configs/semclip.py --workdir=runs/local

Each process gets `--devices` virtual CPU devices, or its share of `--gpus`; what it prints begins with its number. They
find each other on the loopback by JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID.

SIGTERM and Ctrl-C are passed on as SIGTERM to all: each process saves, and the launcher exits with 143, the code that
says "run me again". A second Ctrl-C ends them at once. When a process fails, the others are ended, and the launcher
exits with the code of the one that failed first (128 + the signal's number where a signal ended it).
"""

import contextlib
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from absl import app, flags

_PROCESSES = flags.DEFINE_integer("processes", 2, "How many processes.", lower_bound=1)
_DEVICES = flags.DEFINE_integer("devices", 1, "Virtual CPU devices of each process.", lower_bound=1)
_GPUS = flags.DEFINE_list(
    "gpus", [], "GPUs of this machine to deal out evenly instead, e.g. 0,1,2,3; with launch/xla_flags/gpu.txt."
)
_GRACE = flags.DEFINE_float(
    "grace", 60, "Seconds that the other processes get to end by themselves after the first has ended with an error."
)
_DRY_RUN = flags.DEFINE_boolean("dry_run", False, "Prints the commands instead of running them.")

GPU_FLAGS = Path(__file__).parent / "xla_flags" / "gpu.txt"


def read_flags(path: Path) -> str:
    """The flags of a file of launch/xla_flags, in one line; `#` begins a comment."""
    return " ".join(" ".join(line.partition("#")[0] for line in path.read_text().splitlines()).split())


def variables(number: int, processes: int, port: int, devices: int, gpus: Sequence[str], xla_flags: str) -> dict:
    """What process `number` of `processes` is told by its environment.

    Args:
      devices: virtual CPU devices of a process, unless there are `gpus`.
      gpus: numbers of the GPUs of all processes.
      xla_flags: XLA_FLAGS of the caller; where flags are given twice, the last one counts.
    """
    address = f"127.0.0.1:{port}"
    told = {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_COORDINATOR_BIND_ADDRESS": address,  # not on the network
        "JAX_NUM_PROCESSES": str(processes),
        "JAX_PROCESS_ID": str(number),
        "PYTHONUNBUFFERED": "1",  # lines when they are printed, not when a buffer is full
    }
    if not gpus:
        share = f"--xla_force_host_platform_device_count={devices}"
        return told | {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": f"{xla_flags} {share}".strip()}
    share = len(gpus) // processes
    mine = gpus[number * share : (number + 1) * share]
    return told | {"JAX_LOCAL_DEVICE_IDS": ",".join(mine), "XLA_FLAGS": f"{read_flags(GPU_FLAGS)} {xla_flags}".strip()}


def free_port() -> int:
    """A port of the loopback that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen:
    """A process out of reach of the terminal's Ctrl-C, which the launcher passes on."""
    return subprocess.Popen(
        command,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )


def show(number: int, stream: Iterator[bytes]) -> None:
    """Copies what a process prints, with its number before each line.

    Lines end as they came: a progress bar, which returns with "\\r", stays one line.
    """
    with open(stream.fileno(), newline="", errors="replace", closefd=False) as lines:
        for line in lines:
            if line.strip():
                sys.stdout.write(f"[{number}] {line}")
                sys.stdout.flush()


def send(processes: Sequence[subprocess.Popen], number: int) -> None:
    """Sends a signal to those that still run, and to what they have started."""
    for process in processes:
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)


def exit_code(process: subprocess.Popen) -> int:
    """As a shell tells it: 128 + the signal's number where a signal ended the process."""
    return process.returncode if process.returncode >= 0 else 128 - process.returncode


def wait(processes: Sequence[subprocess.Popen], grace: float) -> int:
    """Waits for all. After the first error the others are asked to end, and ended `grace` seconds later.

    Returns:
      The first exit code other than 0, or 0.
    """
    first, deadline = 0, float("inf")
    running = list(enumerate(processes))
    while running:
        for number, process in running:
            if process.poll() and not first:
                first, deadline = exit_code(process), time.monotonic() + grace
                print(f"process {number} ended with exit code {first}; the others have {grace:g} s to end", flush=True)
                send(processes, signal.SIGTERM)
        running = [(number, process) for number, process in running if process.returncode is None]
        if time.monotonic() > deadline:
            send(processes, signal.SIGKILL)
        time.sleep(0.05)
    return first


def run(command: Sequence[str], environments: Sequence[Mapping[str, str]], grace: float) -> int:
    """Runs `command` once for each environment. Returns the exit code for the launcher."""
    processes: list[subprocess.Popen] = []
    interrupts = 0

    def pass_on(number: int, frame: object) -> None:
        nonlocal interrupts
        interrupts += number == signal.SIGINT
        send(processes, signal.SIGKILL if interrupts > 1 else signal.SIGTERM)

    signal.signal(signal.SIGTERM, pass_on)
    signal.signal(signal.SIGINT, pass_on)
    for environment in environments:
        processes.append(start(command, environment))
    readers = [
        threading.Thread(target=show, args=(number, process.stdout), daemon=True)
        for number, process in enumerate(processes)
    ]
    for reader in readers:
        reader.start()
    code = wait(processes, grace)
    for reader in readers:
        reader.join(timeout=5)  # what a grandchild still holds open isn't waited for
    return code


def main(arguments: Sequence[str]) -> None:
    """Reads the flags and runs."""
    command = arguments[1:]
    if not command:
        raise app.UsageError(
            "no command; give it after --, e.g. -- python -m jaxclip.main --config=... --workdir=...", 2
        )
    processes, gpus = _PROCESSES.value, _GPUS.value
    if len(gpus) % processes:
        raise app.UsageError(f"--gpus: {len(gpus)} GPUs cannot be dealt out evenly to {processes} processes", 2)
    port = free_port()
    environments = [
        variables(number, processes, port, _DEVICES.value, gpus, os.environ.get("XLA_FLAGS", ""))
        for number in range(processes)
    ]
    if _DRY_RUN.value:
        for environment in environments:
            print(shlex.join([*(f"{name}={value}" for name, value in environment.items()), *command]))
        return
    try:
        sys.exit(run(command, environments, _GRACE.value))
    except FileNotFoundError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    app.run(main)
