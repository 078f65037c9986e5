"""A score with its sample count and bootstrap interval.

What is drawn again is an image with all of its texts, not a text: five captions of one photograph are hard or easy
together, and drawing them apart would give intervals that are too narrow.

Shapes: n items in c clusters, S strata of c_s clusters each, K outcomes an item, R resamples.
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
    """What a metric is computed from, cluster by cluster, so that two checkpoints can be compared on the same items.

    Attributes:
      strata: S arrays [c_s, K], the sum of each cluster's outcomes. Strata are resampled apart; with `mean_of_all` each
        counts the same, however large, as in a benchmark's mean over its subsets.
      sizes: S arrays [c_s], the items of each cluster.
      statistic: means over items [..., S, K] -> values [...].
    """

    strata: tuple[np.ndarray, ...]
    sizes: tuple[np.ndarray, ...]
    statistic: Callable[[np.ndarray], np.ndarray] = mean_of_all

    @classmethod
    def of(cls, outcomes: np.ndarray, clusters: np.ndarray | None = None) -> "Outcomes":
        """A metric that is the mean of one outcome an item.

        Args:
          outcomes: [n] bools, 0/1 or any finite real numbers.
          clusters: [n] integers, equal for items that are drawn together; None where every item is drawn by itself.

        Raises:
          ValueError: if there is no outcome, one is not finite, or the shapes are not [n].
        """
        outcomes = np.asarray(outcomes, np.float64)
        if outcomes.ndim != 1 or not outcomes.size:
            raise ValueError(f"a score needs a vector of at least one outcome, found shape {outcomes.shape}")
        undefined = np.flatnonzero(~np.isfinite(outcomes))
        if undefined.size:
            row = int(undefined[0])
            raise ValueError(f"outcome {row} is {outcomes[row]}: a metric must count an undefined one as wrong")
        if clusters is None:
            return cls((outcomes[:, None],), (np.ones(len(outcomes)),))
        if np.shape(clusters) != outcomes.shape:
            raise ValueError(f"expected a cluster for each of {len(outcomes)} outcomes, found {np.shape(clusters)}")
        _, cluster = np.unique(clusters, return_inverse=True)
        return cls((np.bincount(cluster, outcomes)[:, None],), (np.bincount(cluster).astype(np.float64),))


def stratified_mean(parts: "list[Outcomes]") -> Outcomes:
    """The mean of one metric's values on several subsets, each subset with the same weight."""
    strata, sizes = (tuple(one for part in parts for one in getattr(part, name)) for name in ("strata", "sizes"))
    return Outcomes(strata, sizes, parts[0].statistic)


def joined(parts: "list[Outcomes]", statistic: Callable[[np.ndarray], np.ndarray]) -> Outcomes:
    """Several metrics of the same clusters as the K outcomes of one: `statistic` takes their means in this order.

    Raises:
      ValueError: if they do not have the same clusters.
    """
    sizes = parts[0].sizes
    for part in parts[1:]:
        same = len(part.sizes) == len(sizes) and all(map(np.array_equal, part.sizes, sizes))
        if not same:
            found = " and ".join(str([len(one) for one in outcomes.sizes]) for outcomes in (parts[0], part))
            raise ValueError(f"a paired comparison needs the same items twice, found clusters {found}")
    columns = zip(*(part.strata for part in parts), strict=True)
    return Outcomes(tuple(np.concatenate(stratum, axis=1) for stratum in columns), sizes, statistic)


def score(outcomes: Outcomes, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> Score:
    """The statistic with a percentile bootstrap interval (Efron, 1979).

    Args:
      outcomes: of one metric.
      resamples: how often the clusters of each stratum are drawn again with replacement.
      confidence: share of the resampled values that lies between `low` and `high`.
      seed: the interval is a pure function of the outcomes and this number.

    Returns:
      The score; `n` counts the items of all strata. The same items in another order give the same interval.
    """
    generator = np.random.default_rng(seed)
    pairs = list(zip(outcomes.strata, outcomes.sizes, strict=True))
    means = np.stack([sums.sum(axis=0) / sizes.sum() for sums, sizes in pairs])
    resampled = np.stack([_resampled_means(sums, sizes, resamples, generator) for sums, sizes in pairs], axis=1)
    tail = (1 - confidence) / 2
    low, high = np.quantile(outcomes.statistic(resampled), [tail, 1 - tail])
    n = int(sum(sizes.sum() for sizes in outcomes.sizes))
    return Score(float(outcomes.statistic(means)), n, float(low), float(high))


def bootstrap(outcomes: np.ndarray, *, resamples: int = 1000, confidence: float = 0.95, seed: int = 0) -> Score:
    """Mean of outcomes [n], each item drawn by itself, with its interval; see `score` and `Outcomes.of`."""
    return score(Outcomes.of(outcomes), resamples=resamples, confidence=confidence, seed=seed)


def paired_difference(outcomes: Outcomes, other: Outcomes, *, resamples: int = 1000, seed: int = 0) -> Score:
    """How much better one model does than another on the same items: the paired bootstrap.

    Both models are resampled with the same clusters, so that what makes an item hard cancels out; two separate
    intervals may overlap although the difference is clear.

    Args:
      outcomes: of the one model.
      other: of the other model, on the same items in the same order.

    Returns:
      The difference of the two values; it is significant at 5 % where `low`..`high` leaves out 0.

    Raises:
      ValueError: the two were not measured by the same metric on the same items.
    """
    if outcomes.statistic != other.statistic:
        raise ValueError("a paired comparison needs the same metric twice")
    columns, statistic = outcomes.strata[0].shape[1], outcomes.statistic

    def difference(means: np.ndarray) -> np.ndarray:
        return statistic(means[..., :columns]) - statistic(means[..., columns:])

    return score(joined([outcomes, other], difference), resamples=resamples, seed=seed)


def _resampled_means(sums: np.ndarray, sizes: np.ndarray, resamples: int, generator: np.random.Generator) -> np.ndarray:
    """Means over items [R, K] of R resamples of the clusters with these sums [c, K] and sizes [c]."""
    # How often each distinct row is drawn is multinomial: the same distribution as drawing clusters, and for 0/1
    # outcomes of single items two counts a resample stand for all draws.
    rows, counts = np.unique(np.column_stack([sums, sizes]), axis=0, return_counts=True)
    c, block = len(sums), max(1, _COUNTS_PER_BLOCK // len(rows))
    drawn = np.concatenate(
        [
            generator.multinomial(c, counts / c, size=min(block, resamples - start)) @ rows
            for start in range(0, resamples, block)
        ]
    )
    return drawn[:, :-1] / drawn[:, -1:]
