import math

import numpy as np
import pytest

from jaxclip.evaluation.scores import Score, bootstrap


@pytest.mark.parametrize(("n", "right"), [(400, 200), (1000, 681), (40_000, 39_000)])
def test_interval_is_close_to_the_analytic_binomial_one(n, right):
    outcomes = np.arange(n) < right
    score = bootstrap(outcomes, resamples=4000)
    share = right / n
    half_width = 1.959964 * math.sqrt(share * (1 - share) / n)
    assert score.value == pytest.approx(share, abs=1e-12) and score.n == n
    assert score.low == pytest.approx(share - half_width, abs=0.1 * half_width + 1 / n)
    assert score.high == pytest.approx(share + half_width, abs=0.1 * half_width + 1 / n)


def test_interval_of_real_outcomes_is_close_to_the_normal_one():
    outcomes = np.random.default_rng(1).normal(0.3, 2.0, size=3000)
    score = bootstrap(outcomes)
    half_width = 1.959964 * outcomes.std() / math.sqrt(outcomes.size)
    assert score.low == pytest.approx(outcomes.mean() - half_width, abs=0.15 * half_width)
    assert score.high == pytest.approx(outcomes.mean() + half_width, abs=0.15 * half_width)


def test_interval_covers_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(2)
    truth = 0.7
    scores = [bootstrap(generator.random(300) < truth, resamples=400, seed=i) for i in range(400)]
    covered = np.mean([score.low <= truth <= score.high for score in scores])
    assert 0.91 <= covered <= 0.98


def test_confidence_sets_the_width():
    outcomes = np.arange(500) % 2
    narrow, wide = bootstrap(outcomes, confidence=0.5), bootstrap(outcomes, confidence=0.99)
    # Quantiles of the normal distribution: 2.576 / 0.674 = 3.82.
    assert (wide.high - wide.low) / (narrow.high - narrow.low) == pytest.approx(3.82, rel=0.15)


def test_certain_outcomes_have_no_width():
    assert bootstrap(np.ones(7, bool)) == Score(value=1.0, n=7, low=1.0, high=1.0)
    assert bootstrap(np.array([0.0])) == Score(value=0.0, n=1, low=0.0, high=0.0)


def test_order_does_not_matter_and_the_seed_does():
    outcomes = np.random.default_rng(3).normal(size=50)
    assert bootstrap(outcomes).low == pytest.approx(bootstrap(outcomes[::-1]).low, abs=1e-12)
    assert bootstrap(outcomes, seed=0).low != bootstrap(outcomes, seed=1).low


def test_as_dict_holds_plain_python_numbers():
    entry = bootstrap(np.array([0, 1, 1, 1], np.float32)).as_dict()
    assert list(entry) == ["value", "n", "low", "high"]
    assert [type(value) for value in entry.values()] == [float, int, float, float]


@pytest.mark.parametrize(
    ("outcomes", "message"),
    [([], "at least one"), ([[0.0, 1.0]], "vector"), ([1.0, math.nan], "outcome 1"), ([math.inf], "outcome 0")],
)
def test_bad_outcomes_are_refused(outcomes, message):
    with pytest.raises(ValueError, match=message):
        bootstrap(np.array(outcomes))
