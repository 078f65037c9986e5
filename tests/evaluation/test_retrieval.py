import math

import numpy as np
import pytest

from jaxclip.evaluation import retrieval
from jaxclip.evaluation.retrieval import NOT_FOUND, ranks, ranks_both_ways, recall_at


def slow_cosine(a, b):
    norms = math.sqrt(math.fsum(x * x for x in a)) * math.sqrt(math.fsum(x * x for x in b))
    dot = math.fsum(x * y for x, y in zip(a, b, strict=True))
    return dot / norms if norms else 0.0


def slow_ranks(queries, gallery, query_labels, gallery_labels):
    """The definition, one pair at a time in float64."""
    result = []
    for query, label in zip(queries, query_labels, strict=True):
        scores = [slow_cosine(query, item) for item in gallery]
        pairs = list(zip(scores, gallery_labels, strict=True))
        found = [score for score, other in pairs if other == label and not math.isnan(score)]
        ahead = sum(
            math.isnan(score) or score >= max(found) - 1e-6 for score, other in pairs if found and other != label
        )
        result.append(1 + ahead if found else NOT_FOUND)
    return result


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("entries_per_block", [1, 100, 10**6])
def test_both_directions_agree_with_the_definition(monkeypatch, dtype, entries_per_block):
    monkeypatch.setattr(retrieval, "_ENTRIES_PER_BLOCK", entries_per_block)
    generator = np.random.default_rng(0)
    images, texts = generator.normal(size=(23, 5)).astype(dtype), generator.normal(size=(40, 5)).astype(dtype)
    image_index = generator.permutation(np.concatenate([np.arange(23), generator.integers(0, 23, 17)]))
    texts += 1.5 * images[image_index]
    images[4] = images[9]  # a duplicate image: a tie
    texts[7] = texts[30]  # the same caption of two images
    texts[12] = 0
    texts[20, 3] = np.nan
    images[15, 0] = np.nan
    numbers = np.arange(23)
    to_image = ranks(texts, images, image_index, numbers)
    assert to_image.tolist() == slow_ranks(texts.tolist(), images.tolist(), image_index, numbers)
    to_text = ranks(images, texts, numbers, image_index)
    assert to_text.tolist() == slow_ranks(images.tolist(), texts.tolist(), numbers, image_index)
    found = ranks_both_ways(texts, images, image_index)
    assert [one.tolist() for one in found] == [to_image.tolist(), to_text.tolist()]
    assert len(set(to_image.tolist())) > 3 and to_image[20] == NOT_FOUND


def test_a_tie_counts_against_the_match():
    queries = np.array([[1.0, 0.0]])
    gallery = np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    assert ranks(queries, gallery, [0], [0, 1, 2]).tolist() == [2]


def test_a_collapsed_model_finds_nothing():
    same = np.ones((50, 8), np.float32)
    assert ranks(same, same, np.arange(50), np.arange(50)).tolist() == [50] * 50


def test_the_best_of_several_matches_counts_and_matches_do_not_compete():
    queries = np.array([[1.0, 0.0]])
    gallery = np.array([[-1.0, 0.0], [1.0, 0.1], [1.0, 0.05], [1.0, 1.0]])
    assert ranks(queries, gallery, [5], [5, 5, 5, 6]).tolist() == [1]


def test_nan_is_never_found_even_where_k_exceeds_the_gallery():
    found = ranks(np.array([[np.nan, 1.0]]), np.eye(2), [0], [0, 1])
    assert not recall_at(found, 10).any()


def test_recall_at():
    assert recall_at(np.array([1, 2, 5, 6, NOT_FOUND]), 5).tolist() == [True, True, True, False, False]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.eye(2), np.eye(3), [0, 1], [0, 1, 2]), "2 dimensions"),
        ((np.eye(2), np.eye(2), [0], [0, 1]), "query labels"),
        ((np.eye(2), np.eye(2), [0, 1], [0, 1, 2]), "gallery labels"),
        ((np.eye(2), np.eye(2), [0, 7], [0, 1]), r"query 1 \(label 7\)"),
    ],
)
def test_bad_input_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        ranks(*arguments)


@pytest.mark.parametrize("entries_per_block", [1, 60, 10**6])
def test_both_ways_at_once_with_distractors_and_planted_ties_and_nan(monkeypatch, entries_per_block):
    """Images without a text are in the gallery and ask nothing; an image whose only text is NaN finds nothing."""
    monkeypatch.setattr(retrieval, "_ENTRIES_PER_BLOCK", entries_per_block)
    generator = np.random.default_rng(3)
    images, texts = generator.normal(size=(12, 4)), generator.normal(size=(25, 4))
    image_index = generator.choice([0, 1, 2, 4, 5, 7, 8, 9], size=25)
    image_index[0] = 11
    texts += images[image_index]
    texts[0] = np.nan
    texts[5] = texts[6]
    images[8], images[2] = images[7], 0
    shown = np.unique(image_index)
    to_image, to_text = ranks_both_ways(texts, images, image_index)
    assert to_image.tolist() == slow_ranks(texts.tolist(), images.tolist(), image_index, np.arange(12))
    assert to_text.tolist() == slow_ranks(images[shown].tolist(), texts.tolist(), shown, image_index)
    assert to_image[0] == NOT_FOUND and to_text[shown.tolist().index(11)] == NOT_FOUND
