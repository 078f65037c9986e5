import math

import numpy as np
import pytest

from jaxclip.evaluation.negation import image_text_text, text_only_test, true_over_false


def slow_cosine(a, b):
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    return math.fsum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0.0


@pytest.fixture
def rows():
    """Image, caption, paraphrase and negative [200, 6] with planted ties, a zero row and undefined rows."""
    generator = np.random.default_rng(0)
    image, caption, paraphrase, negative = generator.normal(size=(4, 200, 6)).astype(np.float32)
    caption[:100] += image[:100]
    paraphrase[:100] += caption[:100]
    negative[3], negative[4] = caption[3], 2 * paraphrase[4]
    image[5] = 0
    image[6, 0], caption[7, 1], paraphrase[8, 2], negative[9, 3] = np.nan, np.nan, np.nan, np.inf
    return image, caption, paraphrase, negative


def test_metrics_agree_with_the_definitions_pair_by_pair(rows):
    image, caption, paraphrase, negative = rows
    found = np.stack(
        [
            true_over_false(image, caption, negative),
            image_text_text(image, caption, paraphrase, negative),
            text_only_test(caption, paraphrase, negative),
        ]
    )
    for n, (x, t, p, f) in enumerate(zip(*(array.tolist() for array in rows), strict=True)):
        if not (3 <= n <= 9):  # the planted rows have their own test
            over = slow_cosine(x, t) > slow_cosine(x, f)
            itt = over and slow_cosine(x, p) > slow_cosine(x, f)
            tot = slow_cosine(t, p) > slow_cosine(t, f) and slow_cosine(t, p) > slow_cosine(p, f)
            assert found[:, n].tolist() == [over, itt, tot], n
    assert (found.mean(axis=1) > 0.2).all() and (found.mean(axis=1) < 0.9).all()


def test_ties_zeros_and_nan_are_wrong(rows):
    image, caption, paraphrase, negative = rows
    over = true_over_false(image, caption, negative)
    assert not over[[3, 5, 6, 7, 9]].any()
    assert not image_text_text(image, caption, paraphrase, negative)[[3, 4, 5, 6, 7, 8, 9]].any()
    assert not text_only_test(caption, paraphrase, negative)[[3, 4, 7, 8, 9]].any()


def test_a_small_case_by_hand():
    image = np.array([[1.0, 0.0]] * 3)
    caption = np.array([[1.0, 0.1], [1.0, 0.1], [0.0, 1.0]])
    paraphrase = np.array([[1.0, 0.2], [0.0, 1.0], [0.1, 1.0]])
    negative = np.array([[1.0, 1.0], [1.0, 1.0], [1.0, 0.0]])
    assert true_over_false(image, caption, negative).tolist() == [True, True, False]
    assert image_text_text(image, caption, paraphrase, negative).tolist() == [True, False, False]
    assert text_only_test(caption, paraphrase, negative).tolist() == [True, False, True]


def test_a_collapsed_model_scores_zero():
    same = np.ones((10, 4))
    assert not true_over_false(same, same, same).any()
    assert not text_only_test(same, same, same).any()
