"""A score with its sample count and bootstrap interval."""

import dataclasses

import numpy as np

# Resamples are drawn in blocks of about this many counts (32 MB), however many items there are.
_COUNTS_PER_BLOCK = 4_000_000


@dataclasses.dataclass(frozen=True)
class Score:
    """The mean outcome over `n` items and its confidence interval `low`..`high`, all as fractions."""

    value: float
    n: int
    low: float
    high: float

    def as_dict(self) -> dict[str, float | int]:
        """The form that scores.json holds."""
        return dataclasses.asdict(self)


def bootstrap(outcomes: np.ndarray, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> Score:
    """Mean of per-item outcomes with a percentile bootstrap interval (Efron, 1979).

    Args:
      outcomes: [n] one outcome an item: a bool, 0/1 or any finite real number.
      resamples: how often the n items are drawn again with replacement.
      confidence: share of the resampled means that lies between `low` and `high`.
      seed: the interval is a pure function of the outcomes and this number.

    Returns:
      The score. The same outcomes in another order give the same interval.

    Raises:
      ValueError: if there is no outcome, one is not finite, or `outcomes` is not a vector.
    """
    outcomes = np.asarray(outcomes, dtype=np.float64)
    if outcomes.ndim != 1 or not outcomes.size:
        raise ValueError(f"a score needs a vector of at least one outcome, found shape {outcomes.shape}")
    if not np.isfinite(outcomes).all():
        row = int(np.flatnonzero(~np.isfinite(outcomes))[0])
        raise ValueError(f"outcome {row} is {outcomes[row]}: a metric must count an undefined comparison as wrong")
    n = outcomes.size
    # How often each distinct value is drawn is multinomial: the same distribution as drawing items, and for 0/1
    # outcomes two counts a resample stand for all n draws.
    values, counts = np.unique(outcomes, return_counts=True)
    generator = np.random.default_rng(seed)
    block = max(1, _COUNTS_PER_BLOCK // values.size)
    means = np.concatenate(
        [
            generator.multinomial(n, counts / n, size=min(block, resamples - start)) @ values / n
            for start in range(0, resamples, block)
        ]
    )
    tail = (1 - confidence) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    return Score(value=float(outcomes.mean()), n=n, low=float(low), high=float(high))
