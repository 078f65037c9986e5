"""The largest batch that fits, in as few compilations as the compiler's own figures of memory allow."""

import dataclasses
from collections.abc import Callable

# Memory grows with the batch in a straight line until little is left, and a line through two answers tells where it
# ends. Close to the end the compiler saves memory in ways of its own: larger strides, and halving the gap, take over.
_GUESSES = 4
_FIRST_STRIDE = 8


@dataclasses.dataclass(frozen=True)
class Trial:
    """What the compiler said of a size: whether it fits, and the bytes that it needs and those that there are.

    Without bytes it said nothing and crashed.
    """

    fits: bool
    needed: float | None = None
    available: float | None = None


def largest_that_fits(
    attempt: Callable[[int], Trial], start: int, *, resolution: int = 16
) -> tuple[int, int, dict[int, Trial]]:
    """(the largest size found to fit, the smallest found not to, every trial by its size).

    The gap is at most a sixteenth (1 / `resolution`) of the first, since every answer costs a compilation. The first is
    0 where not even 1 fits.

    Args:
      attempt: what a size needs; sizes fit up to some size and not from there on.
      start: the size to begin with, at least 1.
      resolution: see above.
    """
    trials: dict[int, Trial] = {}
    size = start
    while True:
        trials[size] = attempt(size)
        low = max((size for size, trial in trials.items() if trial.fits), default=0)
        high = min((size for size, trial in trials.items() if size > low and not trial.fits), default=None)
        gap = max(1, low // resolution)
        if high is not None and high - low <= gap:
            return low, high, trials
        size = _next_size(trials, low, high, gap)


def _next_size(trials: dict[int, Trial], low: int, high: int | None, gap: int) -> int:
    """Where to look next: beside the size at which the memory should run out, or else in the middle."""
    limit = _limit(trials)
    if limit is None:
        return _FIRST_STRIDE * low if high is None else (low + high) // 2
    if len(trials) > _GUESSES:
        return low + max(gap, low // 4) if high is None else (low + high) // 2
    # Just below the limit, or, from so close that no more can be gained, the first size that is too large.
    guess = max(low + gap, int(limit * 63 / 64))
    return guess if high is None else min(guess, high - 1)


def _limit(trials: dict[int, Trial]) -> float | None:
    """Where a line through the two trials nearest to the memory's end reaches it; None while it cannot be told."""
    known = {size: trial for size, trial in trials.items() if trial.needed is not None}
    if len(known) < 2:
        return None
    # Refusing a program, the compiler says what there is for programs: nearer than the chip's published figure.
    available = min(known.values(), key=lambda trial: trial.fits).available
    near, far = sorted(known, key=lambda size: abs(known[size].needed - available))[:2]
    slope = (known[near].needed - known[far].needed) / (near - far)
    return near + (available - known[near].needed) / slope if slope > 0 else None
