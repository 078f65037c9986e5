"""Paired comparisons, clusters, means over subsets and SemCLIP's scores against resampling written out."""

import math

import numpy as np
import pytest

from jaxclip.evaluation.scores import Outcomes, bootstrap, paired_difference, score, stratified_mean
from jaxclip.evaluation.semclip import semclip_outcomes


def test_paired_interval_is_close_to_the_analytic_one():
    """Of a difference of two shares on the same items, by the variance of the items' differences."""
    generator = np.random.default_rng(0)
    hard = generator.random(2000) < 0.4
    first = ~hard & (generator.random(2000) < 0.95)
    second = first | (generator.random(2000) < 0.05)
    found = paired_difference(Outcomes.of(second), Outcomes.of(first), resamples=4000)
    items = second.astype(float) - first
    half_width = 1.959964 * items.std() / math.sqrt(2000)
    assert found.value == pytest.approx(items.mean()) and found.n == 2000
    assert found.low == pytest.approx(items.mean() - half_width, abs=0.1 * half_width)
    assert found.high == pytest.approx(items.mean() + half_width, abs=0.1 * half_width)
    # Clear although the two intervals by themselves overlap.
    assert found.low > 0 and bootstrap(second).low < bootstrap(first).high


def test_a_model_does_not_differ_from_itself():
    outcomes = Outcomes.of(np.arange(50) % 3 == 0)
    same = paired_difference(outcomes, outcomes)
    assert (same.value, same.low, same.high) == (0.0, 0.0, 0.0)


def test_other_items_cannot_be_paired():
    with pytest.raises(ValueError, match="same items"):
        paired_difference(Outcomes.of(np.ones(3)), Outcomes.of(np.ones(4)))


def test_mean_over_subsets_gives_each_the_same_weight():
    small, large = np.array([1.0, 0.0]), np.ones(1000)
    found = score(stratified_mean([Outcomes.of(small), Outcomes.of(large)]), resamples=4000)
    assert found.value == 0.75 and found.n == 1002
    # Only the small subset varies: two draws of two items, mean 0, 1/2 or 1 with probability 1/4, 1/2, 1/4.
    assert (found.low, found.high) == (0.5, 1.0)


def test_semclip_scores_against_plain_resampling():
    generator = np.random.default_rng(1)
    n = 300
    names = ("caption_to_image_r1", "paraphrase_to_image_r1", "original_over_negation")
    outcomes = {name: generator.random(n) < share for name, share in zip(names, (0.6, 0.5, 0.8), strict=True)}
    as_items = {name: Outcomes.of(one) for name, one in outcomes.items()}
    found = {name: score(one, resamples=4000) for name, one in semclip_outcomes(as_items).items()}

    def by_hand(rows):
        caption, paraphrase, over = (outcomes[name][rows].mean() for name in names)
        scaled = max(0.0, 2 * (over - 0.5))
        return scaled, (caption + paraphrase + scaled) / 3

    expected = by_hand(np.arange(n))
    resampled = np.array([by_hand(generator.integers(0, n, n)) for _ in range(4000)])
    for column, name in enumerate(("scaled_negation", "semclip_combined")):
        assert found[name].value == pytest.approx(expected[column])
        width = np.quantile(resampled[:, column], 0.975) - np.quantile(resampled[:, column], 0.025)
        assert found[name].low == pytest.approx(np.quantile(resampled[:, column], 0.025), abs=0.1 * width)
        assert found[name].high == pytest.approx(np.quantile(resampled[:, column], 0.975), abs=0.1 * width)


def test_scaled_negation_is_zero_at_and_below_chance():
    below = semclip_outcomes({"original_over_negation": Outcomes.of(np.arange(10) < 4)})
    assert list(below) == ["scaled_negation"] and score(below["scaled_negation"]).value == 0.0


def clustered(generator, clusters):
    """Outcomes of 1 to 5 items a cluster that are mostly alike within it: (outcomes, shuffled cluster of each)."""
    number = generator.permutation(np.repeat(np.arange(clusters), generator.integers(1, 6, clusters)))
    easy = generator.random(clusters) < 0.6
    return easy[number] ^ (generator.random(len(number)) < 0.1), number


def interval(values):
    return np.quantile(values, [0.025, 0.975])


def test_interval_over_clusters_against_drawing_them_one_by_one():
    generator = np.random.default_rng(2)
    outcomes, cluster = clustered(generator, 150)
    rows_of = [np.flatnonzero(cluster == number) for number in range(150)]
    found = score(Outcomes.of(outcomes, cluster), resamples=4000)
    draws = [np.concatenate([rows_of[one] for one in generator.integers(0, 150, 150)]) for _ in range(4000)]
    low, high = interval([outcomes[rows].mean() for rows in draws])
    assert found.value == pytest.approx(outcomes.mean()) and found.n == len(outcomes)
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.1 * (high - low))
    # Drawing the items apart would promise too much.
    apart = score(Outcomes.of(outcomes), resamples=4000)
    assert apart.high - apart.low < 0.75 * (high - low)

    other = outcomes ^ (generator.random(len(outcomes)) < 0.2)
    difference = paired_difference(Outcomes.of(other, cluster), Outcomes.of(outcomes, cluster), resamples=4000)
    low, high = interval([other[rows].mean() - outcomes[rows].mean() for rows in draws])
    assert difference.value == pytest.approx(other.mean() - outcomes.mean())
    assert (difference.low, difference.high) == pytest.approx((low, high), abs=0.1 * (high - low))


def test_clusters_of_five_equal_items_are_as_certain_as_a_fifth_of_the_items():
    once = np.arange(200) % 3 == 0
    five = Outcomes.of(np.repeat(once, 5), np.repeat(np.arange(200), 5))
    single, found = score(Outcomes.of(once)), score(five)
    assert (found.value, found.low, found.high) == pytest.approx((single.value, single.low, single.high))
    assert (single.n, found.n) == (200, 1000)


def test_other_clusters_cannot_be_paired():
    outcomes = np.ones(4)
    with pytest.raises(ValueError, match="same items"):
        paired_difference(Outcomes.of(outcomes, [0, 0, 1, 1]), Outcomes.of(outcomes, [0, 1, 1, 1]))
    with pytest.raises(ValueError, match="a cluster for each of 4 outcomes"):
        Outcomes.of(outcomes, [0, 1])


@pytest.mark.parametrize("bad", [np.zeros(0), np.zeros((3, 1)), np.array([1.0, np.nan])])
def test_bad_outcomes_are_refused(bad):
    with pytest.raises(ValueError, match="at least one outcome|outcome 1 is nan"):
        Outcomes.of(bad)
