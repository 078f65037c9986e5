"""Compiles a step ahead of time; a program that does not fit the chip's memory is a result, not an accident."""

import dataclasses
import re
import time

import jax

from jaxclip.planning.abstract_step import AbstractStep

# Two forms of the same refusal: "Used 20.1G of 15.75G hbm" and "… (20.1G) exceeds available HBM (15.75G)".
_OUT_OF_MEMORY = re.compile(r"([\d.]+)([KMGT]?)\)? (?:of|exceeds available HBM) \(?([\d.]+)([KMGT]?)(?: hbm|\))")
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
        refusal = read_refusal(str(error))
        if refusal is None:
            raise
        return DoesNotFit(*refusal, time.perf_counter() - started)
    return Compiled(executable, executable.as_text(), time.perf_counter() - started)


def read_refusal(message: str) -> tuple[int, int] | None:
    """(bytes needed, bytes available) of the compiler's message about the chip's memory; None of another message."""
    found = _OUT_OF_MEMORY.search(message)
    if "RESOURCE_EXHAUSTED" not in message or found is None:
        return None
    return int(float(found[1]) * _UNITS[found[2]]), int(float(found[3]) * _UNITS[found[4]])
