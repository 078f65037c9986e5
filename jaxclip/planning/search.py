"""The largest batch that fits: doubling until it does not, then halving the gap."""

from collections.abc import Callable


def largest_that_fits(fits: Callable[[int], bool], start: int, *, resolution: int = 16) -> tuple[int, int]:
    """(the largest size found to fit, the smallest found not to).

    The gap is at most a sixteenth (1 / `resolution`) of the first, since every answer costs a compilation. The first is
    0 where not even 1 fits.

    Args:
      fits: whether a size fits; true up to some size and false from there on.
      start: the size to begin with, at least 1.
      resolution: see above.
    """
    low, high = 0, start
    while fits(high):
        low, high = high, 2 * high
    while high - low > max(1, low // resolution):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low, high
