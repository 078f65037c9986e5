"""Multiple choice against a plain float64 loop, with ties, duplicates and NaN planted."""

import math

import numpy as np
import pytest

from jaxclip.evaluation.choices import right_choice


def slow_cosine(a, b):
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0


def slow_right(query, choices, answer):
    """The definition: every other choice is clearly behind."""
    scores = [slow_cosine(query, choice) for choice in choices]
    return all(scores[answer] > score + 1e-6 for number, score in enumerate(scores) if number != answer)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("count", [2, 4])
def test_agrees_with_the_definition(dtype, count):
    generator = np.random.default_rng(0)
    query = generator.normal(size=(60, 6)).astype(dtype)
    choices = generator.normal(size=(60, count, 6)).astype(dtype)
    answers = generator.integers(0, count, 60)
    choices[np.arange(60), answers] += 0.8 * query
    choices[3, 1] = choices[3, 0]  # a duplicate that ties, whichever is right
    choices[4] = 1.0
    choices[5] = 0.0
    choices[6, (answers[6] + 1) % count] = np.nan
    choices[7, answers[7], 2] = np.nan
    query[8] = np.nan
    expected = [slow_right(*item) for item in zip(query.tolist(), choices.tolist(), answers, strict=True)]
    found = right_choice(query, choices, answers)
    assert found.tolist() == expected
    assert found.any() and not found[4:9].any()


def test_a_collapsed_model_is_never_right_though_the_answer_comes_first():
    assert not right_choice(np.ones((9, 3)), np.ones((9, 4, 3)), np.zeros(9, int)).any()


@pytest.mark.parametrize(
    ("choices", "answers", "message"),
    [
        (np.ones((2, 1, 3)), np.zeros(2, int), "2 or more choices, found 1"),
        (np.ones((2, 4, 3)), np.zeros(3, int), "expected 2 integer answers"),
        (np.ones((2, 4, 3)), np.zeros(2), "integer answers"),
        (np.ones((2, 4, 3)), np.array([0, 4]), "answer 4 of item 1 is none of the 4 choices"),
    ],
)
def test_bad_input_is_refused(choices, answers, message):
    with pytest.raises(ValueError, match=message):
        right_choice(np.ones((2, 3)), choices, answers)
