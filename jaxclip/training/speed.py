"""How fast a run is and where its time goes. All durations are of the monotonic clock.

`samples_per_second` and the figures named `performance/…` depend on the machine; all others of a run are the same on
every run of it.
"""

import collections
import contextlib
import resource
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from jaxclip.chips import peak_flops
from jaxclip.training.goodput import Goodput

_RECENT = 1000  # steps that percentiles are of
_COMPILED = "/jax/core/compile/backend_compile_duration"


def is_of_the_machine(figure: str) -> bool:
    """Whether a figure tells of the machine's speed rather than of the training."""
    return figure == "samples_per_second" or figure.startswith("performance/")


def memory_peak() -> int:
    """The most bytes in use at any time on one of this process's devices; of the process where devices do not say."""
    found = [(device.memory_stats() or {}).get("peak_bytes_in_use") for device in jax.local_devices()]
    if any(found):
        return max(filter(None, found))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Compilations:
    """Counts XLA's compilations of this process, and their seconds, within `with`."""

    def __init__(self):
        self.count, self.seconds = 0, 0.0

    def _listen(self, event: str, duration: float, **labels) -> None:
        if event == _COMPILED:
            self.count += 1
            self.seconds += duration

    def __enter__(self) -> "Compilations":
        jax.monitoring.register_event_duration_secs_listener(self._listen)
        return self

    def __exit__(self, *error) -> None:
        jax.monitoring.unregister_event_duration_listener(self._listen)


class Speed:
    """Measures the steps of a run.

    Args:
      samples_per_step: records that a step sees.
      compilations: what counts them.
      goodput: of the run over its restarts; None in all processes but the first.
    """

    def __init__(self, samples_per_step: int, compilations: Compilations, goodput: Goodput | None):
        self._samples, self._compilations, self._goodput = samples_per_step, compilations, goodput
        kind = jax.devices()[0].device_kind
        self._peak = (peak_flops(kind) or 0.0) * jax.device_count()
        self._recent: collections.deque[float] = collections.deque(maxlen=_RECENT)
        self._window: list[tuple[float, int]] = []  # (seconds, FLOPs) of the steps since the last row
        self._waited, self._waited_in_all, self._steps, self._seconds = 0.0, 0.0, 0, 0.0
        self._last, self._compiled = 0.0, compilations.seconds
        self._since = time.monotonic()

    @contextlib.contextmanager
    def waiting_for_data(self) -> Iterator[None]:
        """What is within waits for the next batch."""
        started = time.monotonic()
        yield
        self._waited += time.monotonic() - started

    def restart_clock(self) -> None:
        """What was done since the last step, such as a validation, is not a step's time."""
        self._since = time.monotonic()

    def step_done(self, flops: int, productive: bool) -> None:
        """A step came to its end. `productive`: it was not skipped."""
        now = time.monotonic()
        seconds, self._since = now - self._since, now
        self._last = seconds
        if self._steps:  # the first one is mostly compilation
            self._recent.append(seconds)
            self._seconds += seconds
        else:
            self._waited_in_all = -self._waited
        self._window.append((seconds, flops))
        self._steps += 1
        compiled, self._compiled = self._compilations.seconds - self._compiled, self._compilations.seconds
        if self._goodput is not None and productive:
            self._goodput.productive += max(0.0, seconds - compiled)

    def rate(self) -> float:
        """Samples a second of the last step."""
        return self._samples / max(self._last, 1e-9)

    def take_figures(self) -> dict[str, float]:
        """The figures of the steps since the last call; one step at least."""
        seconds = max(sum(duration for duration, _ in self._window), 1e-9)
        steps, flops = len(self._window), sum(count for _, count in self._window) / seconds
        figures = {
            "samples_per_second": steps * self._samples / seconds,
            "performance/steps_per_second": steps / seconds,
            "performance/data_wait_seconds": self._waited,
            "performance/data_wait_fraction": min(1.0, self._waited / seconds),
            **self._percentiles(),
            "performance/flops_per_second": flops,
            **({"performance/model_flops_utilisation": flops / self._peak} if self._peak else {}),
            "performance/memory_peak_bytes": memory_peak(),
            "performance/compilations": self._compilations.count,
            "performance/compile_seconds": self._compilations.seconds,
        }
        if self._goodput is not None:
            figures |= self._goodput.figures()
        self._waited_in_all += self._waited
        self._window, self._waited = [], 0.0
        return figures

    def _percentiles(self) -> dict[str, float]:
        times = list(self._recent) or [self._window[-1][0]]
        values = np.percentile(times, (50, 90, 99))
        return {f"performance/step_seconds_p{p}": float(v) for p, v in zip((50, 90, 99), values, strict=True)}

    def summary(self) -> str | None:
        """A line for the end of a run; None where no step was made."""
        if not self._recent:
            return None
        p50, p90, p99 = self._percentiles().values()
        waited, seconds = self._waited_in_all + self._waited, self._seconds
        goodput = f", goodput {self._goodput.fraction():.0%}" if self._goodput is not None else ""
        return (
            f"{self._steps:,} steps: {self._samples / p50:,.0f} samples/s, {p50:.3g} s a step (p90 {p90:.3g}, p99 "
            f"{p99:.3g}), {min(1.0, waited / seconds):.1%} of it waiting for data; compiled {self._compilations.count} "
            f"programs in {self._compilations.seconds:.0f} s; at most {memory_peak() / 2**30:.2f} GiB{goodput}"
        )


class FlopsOfShapes:
    """FLOPs of a step by the shapes of its batch, of which there are few.

    Args:
      count: batch → FLOPs; slow, called once a shape.
    """

    def __init__(self, count: Callable[[dict], int]):
        self._count, self._known = count, {}

    def __call__(self, batch: dict) -> int:
        """FLOPs of a step on this batch."""
        key = tuple(leaf.shape for leaf in jax.tree.leaves(batch))
        if key not in self._known:
            self._known[key] = self._count(batch)
        return self._known[key]
