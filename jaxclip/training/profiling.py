"""A trace of a few steps for TensorBoard's profiler or Perfetto."""

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

import jax


def parse_steps(steps: str) -> tuple[int, int]:
    """`FIRST:LAST` → the two numbers.

    Raises:
      ValueError: not such a range.
    """
    match = re.fullmatch(r"(\d+):(\d+)", steps)
    first, last = map(int, match.groups()) if match else (0, 0)
    if not 0 < first <= last:
        raise ValueError(f"found {steps!r}, expected FIRST:LAST, e.g. 100:110")
    return first, last


class Profile:
    """Traces the steps of a range, both ends included, to `directory`; none without a range.

    Args:
      steps: `FIRST:LAST`, or None.
      directory: WORKDIR/profile.
    """

    def __init__(self, steps: str | None, directory: Path):
        self._directory, self._tracing = directory, False
        self._first, self._last = (0, -1) if steps is None else parse_steps(steps)

    @contextlib.contextmanager
    def step(self, number: int) -> Iterator[None]:
        """Around the call of a step."""
        if number > self._last:
            self.close()
        if self._first <= number <= self._last and not self._tracing:
            jax.profiler.start_trace(self._directory)
            self._tracing = True
        with jax.profiler.StepTraceAnnotation("train", step_num=number):
            yield

    def close(self) -> None:
        """Writes the trace, if one is being made, once the devices have done what they were given."""
        if self._tracing:
            for device in jax.local_devices():
                (jax.device_put(0, device) + 1).block_until_ready()  # a device works in order
            jax.profiler.stop_trace()
            self._tracing = False
