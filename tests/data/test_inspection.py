"""Figures about a split's texts and images, against counts by hand."""

import io

import numpy as np
from PIL import Image

from jaxclip.data.feature_cache import unique_images
from jaxclip.data.inspection import ImageSummary, TextSummary, shared_images, summarise_images, summarise_texts


def test_lengths_are_those_of_the_tokens_and_cut_texts_are_counted(tiny_tokenizer):
    texts = ["", "ab", 30 * "x", 22 * "x", 23 * "x"]  # a byte a token, and two special ones; 24 fit
    summary = summarise_texts(texts, tiny_tokenizer)
    assert summary.lengths.tolist() == [2, 4, 24, 24, 24]
    assert summary.truncated == 2
    assert summary.quantiles() == (2, 24, 24)


def test_histogram_covers_all_lengths():
    summary = TextSummary(np.array([2, 4, 5, 9, 23, 24, 25]), 0)
    assert summary.histogram(25) == [(0, 2), (5, 2), (10, 0), (15, 0), (20, 3)]


def test_images_are_decoded_once_and_broken_ones_named():
    good, broken = encoded(1), encoded(2)[:-20]
    records = [
        {"id": f"r{n}", "image": data} for n, data in enumerate((good, broken, good, np.zeros((4, 4, 3), np.uint8)))
    ]
    first, _ = unique_images(records)
    seen = []
    summary = summarise_images(records, first, on_image=seen.append)
    assert seen == [1, 1, 1]
    assert list(summary.digests.values()) == [0, 1, 3]
    assert list(summary.broken) == [1] and "r1: cannot decode" in summary.broken[1]


def encoded(colour: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 30), (colour, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def test_shared_images_of_each_pair():
    sets = {"train": {b"a": 0, b"b": 1}, "validation": {b"b": 0, b"c": 1}, "test": {b"a": 5, b"b": 6, b"d": 7}}
    summaries = {name: ImageSummary(digests, {}) for name, digests in sets.items()}
    assert shared_images(summaries) == [("train", "validation", 1), ("train", "test", 2), ("validation", "test", 1)]
