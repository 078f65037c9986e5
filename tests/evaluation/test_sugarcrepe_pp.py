"""ITT and TOT on all 4,757 items of SugarCrepe++ against plain float64 NumPy."""

import json
import re
import zlib
from pathlib import Path

import numpy as np
import pytest

import jaxclip
from jaxclip.benchmarks import Measured, subset_means
from jaxclip.evaluation.scores import score
from jaxclip.evaluation.suite import split_outcomes

FOLDER = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sugarcrepe_pp"
SUBSETS = {"replace_att": 788, "replace_obj": 1652, "replace_rel": 1406, "swap_att": 666, "swap_obj": 245}
ROLES = {"caption": "caption", "paraphrase": "caption2", "hard_negative": "negative_caption"}
WIDTH = 128

pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the five files of shared/data")


@pytest.fixture(scope="module")
def items():
    return {name: json.loads((FOLDER / f"{name}.json").read_text()) for name in SUBSETS}


def bag_of_words(texts):
    """Word counts [n, WIDTH]. A caption with two words swapped is its own double: exact ties in earnest."""
    counts = np.zeros((len(texts), WIDTH), np.float32)
    for row, text in enumerate(texts):
        for word in re.findall(r"[a-z]+", text.lower()):
            counts[row, zlib.crc32(word.encode()) % WIDTH] += 1
    return counts


def embed(entries, encode):
    """The roles' embeddings, and images that lean towards the captions that were written for them."""
    texts = {role: encode([entry[key] for entry in entries]) for role, key in ROLES.items()}
    _, index = np.unique([entry["filename"] for entry in entries], return_inverse=True)
    generator = np.random.default_rng(0)
    images = generator.normal(size=(index.max() + 1, texts["caption"].shape[1])) * texts["caption"].std()
    np.add.at(images, index, texts["caption"] + texts["paraphrase"])
    return {"image": images.astype(np.float32), **texts}, index


def by_hand(embeddings, index):
    """(ITT, TOT) [n] bool each."""

    def cosine(one, other):
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        return (one * other).sum(axis=1) / lengths

    x, t, p, f = (
        np.asarray(embeddings[role], np.float64) for role in ("image", "caption", "paraphrase", "hard_negative")
    )
    x, margin = x[index], 1e-6
    itt = (cosine(x, t) > cosine(x, f) + margin) & (cosine(x, p) > cosine(x, f) + margin)
    tot = (cosine(t, p) > cosine(t, f) + margin) & (cosine(t, p) > cosine(p, f) + margin)
    return itt, tot


def check(items, encode):
    """Compares every subset and the mean over the subsets; returns the share of TOT by subset."""
    measured, expected = {}, {}
    for name, entries in items.items():
        embeddings, index = embed(entries, encode)
        expected[name] = by_hand(embeddings, index)
        measured[name] = Measured(split_outcomes(embeddings, index), {}, index)
        for metric, right in zip(("itt_hard", "tot_hard"), expected[name], strict=True):
            found = score(measured[name].outcomes[metric])
            assert (found.value, found.n) == (pytest.approx(right.mean(), abs=1e-12), len(entries))
    means = subset_means(measured)
    for column, metric in enumerate(("itt_hard", "tot_hard")):
        found = score(means[metric])
        assert found.value == pytest.approx(np.mean([one[column].mean() for one in expected.values()]))
        assert found.n == sum(map(len, items.values()))
    return {name: tot.mean() for name, (_, tot) in expected.items()}


def test_word_counts(items):
    assert {name: len(entries) for name, entries in items.items()} == SUBSETS
    shares = check(items, bag_of_words)
    # A bag of words cannot tell a swap: strictness must make it wrong wherever the words are the same.
    assert shares["swap_obj"] < 0.1 < shares["replace_obj"]


def test_the_shipped_model(items):
    """Every twentieth item, for time's sake."""
    encode = jaxclip.load("scenes-base").encode_text
    shares = check({name: entries[::20] for name, entries in items.items()}, encode)
    assert all(0 < share < 1 for share in shares.values())
