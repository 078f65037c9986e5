"""Compiles in a process of its own, so that a compiler that crashes ends nothing but its own attempt."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from jaxclip.config import Config
from jaxclip.model import ModelConfig
from jaxclip.planning.abstract_step import abstract_step
from jaxclip.planning.compiling import DoesNotFit, compile_step
from jaxclip.planning.memory import program_bytes
from jaxclip.planning.search import Trial
from jaxclip.planning.topology import open_topology

Result = TypeVar("Result")


def attempt_apart(config: Config, architecture: ModelConfig, topology: str, tokens_per_caption: float) -> Trial:
    """Whether the step of a config fits the topology of that name; where the compiler crashes it is not found to.

    Raises:
      PlanError, ConfigError, TrainableError: as `abstract_step`.
    """
    try:
        return run_apart(_attempt, config, architecture, topology, tokens_per_caption)
    except BrokenProcessPool:
        return Trial(fits=False)


def run_apart(function: Callable[..., Result], *arguments: object) -> Result:
    """What a function of a module returns or raises in a process of its own.

    Raises:
      BrokenProcessPool: the process ended.
    """
    context = multiprocessing.get_context("spawn")  # JAX's threads do not survive a fork
    with ProcessPoolExecutor(1, mp_context=context, initializer=_set_apart) as processes:
        return processes.submit(function, *arguments).result()


def _set_apart() -> None:
    """Of a crashing compiler no stack comes over the progress bar, and nothing outlives the command that was killed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    multiprocessing.parent_process().join()
    os._exit(1)


def _attempt(config: Config, architecture: ModelConfig, name: str, tokens_per_caption: float) -> Trial:
    topology = open_topology(name)
    step = abstract_step(config, architecture, topology, tokens_per_caption)
    compiled = compile_step(step)
    if isinstance(compiled, DoesNotFit):
        return Trial(False, compiled.needed, compiled.available)
    return Trial(True, program_bytes(step, compiled.executable)["total"], topology.chip.hbm_bytes)
