import numpy as np
import pytest

from jaxclip.evaluation.similarity import beats, cosine, unit


def test_cosine_agrees_with_float64_by_hand():
    generator = np.random.default_rng(0)
    first, second = generator.normal(size=(20, 7)), 50 * generator.normal(size=(20, 7))
    expected = [a @ b / np.sqrt(sum(a * a) * sum(b * b)) for a, b in zip(first, second, strict=True)]
    np.testing.assert_allclose(cosine(first, second), expected, atol=1e-14)
    np.testing.assert_allclose(cosine(first.astype(np.float32), second.astype(np.float32)), expected, atol=1e-6)


@pytest.mark.parametrize(
    ("given", "kept"), [(np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)]
)
def test_unit_keeps_at_least_float32(given, kept):
    rows = unit(np.array([[3, 4], [0.5, 0]], given))
    assert rows.dtype == kept
    np.testing.assert_allclose(rows, [[0.6, 0.8], [1, 0]], rtol=1e-6)


def test_unit_survives_numbers_whose_squares_overflow_float32():
    np.testing.assert_allclose(unit(np.array([[3e30, 4e30]], np.float32)), [[0.6, 0.8]], rtol=1e-6)


def test_zero_has_similarity_zero_and_undefined_has_nan():
    rows = np.array([[0.0, 0.0], [np.nan, 1.0], [np.inf, 1.0]])
    similarity = cosine(rows, np.ones((3, 2)))
    assert similarity[0] == 0 and np.isnan(similarity[1:]).all()


def test_beats_is_strict():
    first = np.array([0.5, 0.5, 0.5 + 1e-8, 0.6, np.nan, 0.5])
    second = np.array([0.4, 0.5, 0.5, 0.7, 0.1, np.nan])
    assert beats(first, second).tolist() == [True, False, False, False, False, False]


def test_shapes_are_checked():
    with pytest.raises(ValueError, match=r"\(3,\)"):
        unit(np.zeros(3))
    with pytest.raises(ValueError, match=r"\(2, 3\) and \(2, 4\)"):
        cosine(np.zeros((2, 3)), np.zeros((2, 4)))
