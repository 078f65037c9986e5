import numpy as np
import pytest

from jaxclip.evaluation import zeroshot
from jaxclip.evaluation.zeroshot import zeroshot_outcomes


@pytest.mark.parametrize("entries_per_block", [1, 10**6])
def test_outcomes_agree_with_argmax_in_float64(monkeypatch, entries_per_block):
    monkeypatch.setattr(zeroshot, "_ENTRIES_PER_BLOCK", entries_per_block)
    generator = np.random.default_rng(0)
    prompts, negated = generator.normal(size=(2, 6, 8))
    labels = generator.integers(0, 6, 150)
    image = prompts[labels] + negated[labels] + 2 * generator.normal(size=(150, 8))
    outcomes = zeroshot_outcomes(image.astype(np.float32), labels, prompts.astype(np.float32), negated)
    for n, (x, label) in enumerate(zip(image, labels, strict=True)):
        picks = [int(np.argmax([p @ x / np.linalg.norm(p) for p in bank])) == label for bank in (prompts, negated)]
        assert [outcomes["accuracy"][n], outcomes["negated"][n]] == picks
        assert outcomes["delta"][n] == float(picks[0]) - float(picks[1])
    assert 0.2 < outcomes["accuracy"].mean() < 0.95 and set(outcomes["delta"]) == {-1.0, 0.0, 1.0}


def test_ties_and_nan_take_the_unfavourable_side():
    prompts = np.array([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    image = np.array([[1.0, 0.0], [0.0, 1.0], [np.nan, 0.0], [0.0, 0.0]])
    outcomes = zeroshot_outcomes(image, np.array([0, 2, 2, 2]), prompts, prompts)
    assert outcomes["accuracy"].tolist() == [False, True, False, False]
    assert outcomes["negated"].tolist() == [True, True, True, True]
    assert outcomes["delta"].tolist() == [-1, 0, -1, -1]


def test_a_model_that_understands_negation_has_delta_one():
    outcomes = zeroshot_outcomes(np.eye(3), np.arange(3), np.eye(3), -np.eye(3))
    assert outcomes["delta"].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("image", "labels", "classes", "message"),
    [
        ((4, 3), [0, 1, 2, 9], 3, "label 9 of image 3"),
        ((4, 3), [0, -1, 2, 2], 3, "label -1 of image 1"),
        ((4, 3), [0, 1], 3, "4 integers"),
        ((4, 3), [0.0, 1.0, 1.0, 1.0], 3, "integers"),
        ((4, 2), [0, 1, 1, 1], 3, r"\(4, 2\)"),
        ((4, 3), [0, 0, 0, 0], 1, "at least 2"),
    ],
)
def test_bad_input_is_refused(image, labels, classes, message):
    with pytest.raises(ValueError, match=message):
        zeroshot_outcomes(np.ones(image), np.array(labels), np.ones((classes, 3)), np.ones((classes, 3)))
