"""Inputs and comparisons that the model's tests share."""

import jax
import numpy as np


def random_texts(config, lengths, seed=0):
    """Token ids of each length: start-of-text, random ids, end-of-text (the largest id)."""
    generator, vocabulary_size = np.random.default_rng(seed), config.text.vocabulary_size
    middles = [generator.integers(0, vocabulary_size - 2, length - 2).tolist() for length in lengths]
    return [[vocabulary_size - 2, *middle, vocabulary_size - 1] for middle in middles]


def one_text_a_row(config, texts):
    """Padded with 0: int32 [N, L]."""
    rows = np.zeros((len(texts), config.text.context_length), np.int32)
    for row, text in zip(rows, texts, strict=True):
        row[: len(text)] = text
    return rows


def random_images(config, count, seed=1):
    """float32 [count, S, S, 3]."""
    size = config.vision.image_size
    return np.random.default_rng(seed).standard_normal((count, size, size, 3)).astype(np.float32)


def assert_close_leaf_by_leaf(found, expected, *, rtol=0.0, atol):
    """Two nested dicts have the same leaves; an error names the leaf."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)

    def compare(path, leaf, other):
        np.testing.assert_allclose(leaf, other, rtol=rtol, atol=atol, err_msg=jax.tree_util.keystr(path))

    jax.tree_util.tree_map_with_path(compare, found, expected)
