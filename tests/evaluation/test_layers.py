"""The layer analysis against cosines in float64."""

import numpy as np
import pytest

from jaxclip.evaluation.layers import layer_similarities


def test_mean_cosine_of_each_layer():
    generator = np.random.default_rng(0)
    first, second = generator.standard_normal((2, 30, 4, 5))
    scores = layer_similarities(first, second)
    assert len(scores) == 4
    for layer, score in enumerate(scores):
        expected = [
            a @ b / np.linalg.norm(a) / np.linalg.norm(b)
            for a, b in zip(first[:, layer], second[:, layer], strict=True)
        ]
        assert score.value == pytest.approx(np.mean(expected), rel=1e-6) and score.n == 30
        assert score.low < score.value < score.high


def test_equal_states_have_cosine_one():
    states = np.random.default_rng(1).standard_normal((6, 2, 3))
    assert [score.value for score in layer_similarities(states, 2 * states)] == pytest.approx([1, 1])
