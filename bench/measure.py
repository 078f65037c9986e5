"""Timing in turn, and what a result is kept with: machine, versions, command."""

import functools
import importlib.metadata
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
from tqdm import tqdm

from jaxclip.files import write_atomically

RESULTS = Path("runs/bench")
PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "open_clip_torch", "transformers")


def in_turn(functions: Mapping[str, Callable[[], object]], rounds: int, *, bar: bool = True) -> dict[str, list[float]]:
    """Seconds of each call, round by round: every function, then every function again.

    What else the machine does then falls on all of them alike. In each round a function is called twice, and the second
    call counts: the first one fetches what a system takes from the memory of those that have to wait for their turn.
    """
    seconds = {name: [] for name in functions}
    for _ in tqdm(range(rounds), desc="rounds", unit="round", dynamic_ncols=True, disable=not bar):
        for name, function in functions.items():
            function()
            start = time.perf_counter()
            function()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def ratio(peer: Sequence[float], ours: Sequence[float]) -> float:
    """How many times faster we are: the median over rounds of peer's seconds by ours."""
    return statistics.median(theirs / own for theirs, own in zip(peer, ours, strict=True))


def describe_times(seconds: Sequence[float]) -> dict[str, float]:
    """Median, least and most, in seconds."""
    return {"median": statistics.median(seconds), "least": min(seconds), "most": max(seconds)}


def matmul_peak(dtype: str, rounds: int = 5) -> float:
    """The most floating-point operations a second that a matrix product reaches here, over some large shapes."""
    best = 0.0
    for rows, inner, columns in ((1024, 1024, 1024), (1024, 512, 2048), (2048, 2048, 2048)):
        left, right = (jnp.ones(shape, dtype) for shape in ((rows, inner), (inner, columns)))
        product = jax.jit(functools.partial(jnp.matmul, preferred_element_type=jnp.float32))
        times = in_turn({"product": lambda: jax.block_until_ready(product(left, right))}, rounds, bar=False)["product"]  # noqa: B023
        best = max(best, 2 * rows * inner * columns / min(times))
    return best


def machine() -> dict[str, object]:
    """Processor, memory and versions, as far as the system tells."""
    cpu_info = Path("/proc/cpuinfo")
    names = [line.partition(":")[2].strip() for line in cpu_info.read_text().splitlines() if "model name" in line]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return {
        "processor": f"{os.cpu_count()} × {names[0] if names else platform.processor()}",
        "memory_gib": round(memory, 1),
        "system": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "versions": versions,
    }


def keep(figure: str, values: Mapping[str, object]) -> None:
    """Prints a result and writes it to runs/bench/FIGURE.json, with machine, load and command."""
    command = " ".join(["python -m", sys.modules["__main__"].__spec__.name, *sys.argv[1:]])
    content = {"figure": figure, "command": command, "load": os.getloadavg()[0], "machine": machine(), **values}
    RESULTS.mkdir(parents=True, exist_ok=True)
    write_atomically(RESULTS / f"{figure}.json", (json.dumps(content, indent=2) + "\n").encode())
    for name, value in values.items():
        print(f"{figure}  {name}: {value}")
