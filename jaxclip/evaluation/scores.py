"""A score with its sample count and bootstrap interval.

Shapes: S strata of n_s items each, K outcomes an item, R resamples.
"""

import dataclasses
from collections.abc import Callable

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


def mean_of_all(means: np.ndarray) -> np.ndarray:
    """The plain mean over strata and outcomes: [...] from means [..., S, K]."""
    return means.mean(axis=(-2, -1))


@dataclasses.dataclass(frozen=True)
class Outcomes:
    """What a metric is computed from, item by item, so that two checkpoints can be compared on the same items.

    Attributes:
      strata: S arrays [n_s, K]. Strata are resampled apart; with `mean_of_all` each counts the same, however large, as
        in a benchmark's mean over its subsets.
      statistic: means [..., S, K] -> values [...].
    """

    strata: tuple[np.ndarray, ...]
    statistic: Callable[[np.ndarray], np.ndarray] = mean_of_all

    @classmethod
    def of(cls, outcomes: np.ndarray) -> "Outcomes":
        """A metric that is the mean of one outcome [n] an item."""
        return cls((np.asarray(outcomes)[:, None],))


def stratified_mean(parts: "list[Outcomes]") -> Outcomes:
    """The mean of one metric's values on several subsets, each subset with the same weight."""
    return Outcomes(tuple(stratum for part in parts for stratum in part.strata), parts[0].statistic)


def score(outcomes: Outcomes, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> Score:
    """The statistic with a percentile bootstrap interval (Efron, 1979).

    Args:
      outcomes: bools, 0/1 or any finite real numbers.
      resamples: how often the items of each stratum are drawn again with replacement.
      confidence: share of the resampled values that lies between `low` and `high`.
      seed: the interval is a pure function of the outcomes and this number.

    Returns:
      The score; `n` counts the items of all strata. The same items in another order give the same interval.

    Raises:
      ValueError: if a stratum is empty, or an outcome is not finite.
    """
    strata = [_checked(stratum) for stratum in outcomes.strata]
    means = np.stack([stratum.mean(axis=0) for stratum in strata])
    generator = np.random.default_rng(seed)
    resampled = np.stack([_resampled_means(stratum, resamples, generator) for stratum in strata], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(outcomes.statistic(resampled), [tail, 1 - tail])
    return Score(float(outcomes.statistic(means)), sum(map(len, strata)), float(low), float(high))


def bootstrap(outcomes: np.ndarray, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> Score:
    """Mean of per-item outcomes [n] with its interval; see `score`.

    Raises:
      ValueError: if there is no outcome, one is not finite, or `outcomes` is not a vector.
    """
    outcomes = np.asarray(outcomes, dtype=np.float64)
    if outcomes.ndim != 1 or not outcomes.size:
        raise ValueError(f"a score needs a vector of at least one outcome, found shape {outcomes.shape}")
    return score(Outcomes.of(outcomes), resamples=resamples, confidence=confidence, seed=seed)


def paired_difference(outcomes: Outcomes, other: Outcomes, *, resamples: int = 1000, seed: int = 0) -> Score:
    """How much better one model does than another on the same items: the paired bootstrap.

    Both models are resampled with the same items, so that what makes an item hard cancels out; two separate intervals
    may overlap although the difference is clear.

    Args:
      outcomes: of the one model.
      other: of the other model, on the same items in the same order.

    Returns:
      The difference of the two values; it is significant at 5 % where `low`..`high` leaves out 0.

    Raises:
      ValueError: the two were not measured on the same items.
    """
    shapes = [[np.shape(stratum) for stratum in model.strata] for model in (outcomes, other)]
    if shapes[0] != shapes[1] or outcomes.statistic != other.statistic:
        raise ValueError(f"a paired comparison needs the same items twice, found shapes {shapes[0]} and {shapes[1]}")
    columns = shapes[0][0][1]
    statistic = outcomes.statistic

    def difference(means: np.ndarray) -> np.ndarray:
        return statistic(means[..., :columns]) - statistic(means[..., columns:])

    pairs = zip(outcomes.strata, other.strata, strict=True)
    joined = tuple(np.concatenate([first, second], axis=1, dtype=np.float64) for first, second in pairs)
    return score(Outcomes(joined, difference), resamples=resamples, seed=seed)


def _checked(stratum: np.ndarray) -> np.ndarray:
    """The stratum as float64 [n_s, K]; ValueError where it is empty or not finite."""
    stratum = np.asarray(stratum, np.float64)
    if stratum.ndim != 2 or not stratum.size:
        raise ValueError(f"a score needs at least one item with one outcome, found shape {stratum.shape}")
    finite = np.isfinite(stratum).all(axis=1)
    if not finite.all():
        row = int(np.flatnonzero(~finite)[0])
        raise ValueError(f"outcome {row} is {stratum[row].squeeze()}: a metric must count an undefined one as wrong")
    return stratum


def _resampled_means(stratum: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Means [R, K] of R resamples of the rows of [n_s, K]."""
    # How often each distinct row is drawn is multinomial: the same distribution as drawing items, and for 0/1
    # outcomes two counts a resample stand for all n draws.
    if stratum.shape[1] == 1:
        values, counts = np.unique(stratum[:, 0], return_counts=True)
        rows = values[:, None]
    else:
        rows, counts = np.unique(stratum, axis=0, return_counts=True)
    n, block = len(stratum), max(1, _COUNTS_PER_BLOCK // len(rows))
    return np.concatenate(
        [
            generator.multinomial(n, counts / n, size=min(block, resamples - start)) @ rows / n
            for start in range(0, resamples, block)
        ]
    )
