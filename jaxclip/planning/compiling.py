"""Compiles a step ahead of time; a program that does not fit the chip's memory is a result, not an accident."""

import dataclasses
import re
import time

import jax

from jaxclip.planning.abstract_step import AbstractStep

_OUT_OF_MEMORY = re.compile(r"Used ([\d.]+)([KMGT]?) of ([\d.]+)([KMGT]?) hbm")
_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled step: the executable, its text, and how long the compiler took."""

    executable: jax.stages.Compiled
    text: str
    seconds: float


@dataclasses.dataclass(frozen=True)
class DoesNotFit:
    """The compiler's refusal: bytes that the program needs, bytes that the chip has for programs."""

    needed: int
    available: int
    seconds: float


def compile_step(step: AbstractStep) -> Compiled | DoesNotFit:
    """Compiles the step for the devices of its mesh.

    Raises:
      jax.errors.JaxRuntimeError: the compiler failed for another reason than the chip's memory.
    """
    started = time.perf_counter()
    lowered = step.lower()
    try:
        executable = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        refusal = _OUT_OF_MEMORY.search(str(error))
        if "RESOURCE_EXHAUSTED" not in str(error) or refusal is None:
            raise
        needed, available = (float(refusal[i]) * _UNITS[refusal[i + 1]] for i in (1, 3))
        return DoesNotFit(int(needed), int(available), time.perf_counter() - started)
    return Compiled(executable, executable.as_text(), time.perf_counter() - started)
