"""The text tower: against the NumPy reference, and packed rows against one text a row."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_clip
from model_inputs import assert_close_leaf_by_leaf, one_text_a_row, random_texts

from jaxclip.data.packing import pack, pad_rows
from jaxclip.model import CLIP
from jaxclip.training.trainable import merge


@pytest.fixture
def texts(tiny_config):
    """From an empty caption (2 tokens) to a full row."""
    return random_texts(tiny_config, [2, 3, 7, 12, tiny_config.text.context_length])


@functools.partial(jax.jit, static_argnums=0)
def encode(config, params, **inputs):
    return CLIP(config).apply({"params": merge(params)}, **inputs, method="encode_text")


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_agrees_with_the_reference(tiny_config, tiny_params, texts, activation):
    config = dataclasses.replace(tiny_config, activation=activation)
    tokens = one_text_a_row(config, texts)
    found = encode(config, tiny_params, tokens=tokens)
    assert found.shape == (5, 16) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, reference_clip.encode_text(tiny_params, config, tokens), rtol=1e-5, atol=1e-5)


def test_short_rows_are_allowed(tiny_config, tiny_params, texts):
    tokens = one_text_a_row(tiny_config, texts[:4])[:, :12]
    expected = reference_clip.encode_text(tiny_params, tiny_config, tokens)
    np.testing.assert_allclose(encode(tiny_config, tiny_params, tokens=tokens), expected, rtol=1e-5, atol=1e-5)


def test_what_follows_end_of_text_has_no_influence(tiny_config, tiny_params, texts):
    tokens = one_text_a_row(tiny_config, texts)
    other = np.random.default_rng(5).integers(0, tiny_config.text.vocabulary_size - 2, tokens.shape)
    behind = np.arange(tokens.shape[1]) > tokens.argmax(axis=1)[:, None]
    found = encode(tiny_config, tiny_params, tokens=np.where(behind, other, tokens))
    np.testing.assert_array_equal(found, encode(tiny_config, tiny_params, tokens=tokens))


def test_what_precedes_end_of_text_has_influence(tiny_config, tiny_params, texts):
    tokens = one_text_a_row(tiny_config, texts)
    changed = tokens.copy()
    changed[:, 0] = 7
    distance = encode(tiny_config, tiny_params, tokens=changed) - encode(tiny_config, tiny_params, tokens=tokens)
    assert np.all(np.abs(distance).max(axis=1) > 1e-3)


PACKINGS = {
    "one group": {"groups": 1},
    "three groups": {"groups": 3},
    "every text a group": {"groups": 12},
    "rows of padding": {"groups": 2, "rows": 12},
}


def branching_texts(config):
    """Texts that begin alike for 1 to all tokens, one that is the beginning of others, and one that comes twice."""
    start, end = config.text.vocabulary_size - 2, config.text.vocabulary_size - 1
    middles = [[5, 6, 7], [5, 6, 8, 9], [5, 6], [4], [], [5, 6, 7], [5, 6, 7, 3, 3, 3, 3, 3], [4, 4], [9] * 22]
    return [[start, *middle, end] for middle in middles]


@functools.partial(jax.jit, static_argnums=1)
@functools.partial(jax.grad, has_aux=True)
def gradients_and_embeddings(params, config, inputs):
    """Of a scalar that weighs every number differently."""
    embeddings = encode(config, params, **inputs)
    return jnp.sum(jnp.sin(jnp.arange(embeddings.size)) * embeddings.ravel()), embeddings


@pytest.fixture(scope="module")
def many_texts(tiny_config):
    full = tiny_config.text.context_length
    return random_texts(tiny_config, [2, 5, full, 9, 2, 13, full - 1, 3, 8, 4, 20, 6])


@pytest.fixture(scope="module")
def one_a_row(tiny_config, tiny_params, many_texts):
    return gradients_and_embeddings(tiny_params, tiny_config, {"tokens": one_text_a_row(tiny_config, many_texts)})


@pytest.mark.parametrize("packing", PACKINGS.values(), ids=PACKINGS)
def test_packed_rows_equal_one_text_a_row_in_values_and_gradients(
    tiny_config, tiny_params, many_texts, one_a_row, packing
):
    packed = pack(many_texts, tiny_config.text.context_length, **packing)
    plain_gradients, plain = one_a_row
    packed_gradients, found = gradients_and_embeddings(tiny_params, tiny_config, packed)
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(plain_gradients))
    assert_close_leaf_by_leaf(packed_gradients, plain_gradients, rtol=1e-5, atol=1e-5 * largest)


@pytest.mark.parametrize("groups", [1, 3])
def test_texts_that_share_their_beginning_have_the_values_and_gradients_of_a_row_each(tiny_config, tiny_params, groups):
    texts = branching_texts(tiny_config)
    packed = pack(texts, tiny_config.text.context_length, groups=groups)
    assert np.count_nonzero(packed["positions"]) + len(texts) < sum(map(len, texts)), "nothing was shared"
    plain_gradients, plain = gradients_and_embeddings(
        tiny_params, tiny_config, {"tokens": one_text_a_row(tiny_config, texts)}
    )
    gradients, found = gradients_and_embeddings(tiny_params, tiny_config, packed)
    np.testing.assert_allclose(found, plain, rtol=1e-5, atol=1e-5)
    largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(plain_gradients))
    assert_close_leaf_by_leaf(gradients, plain_gradients, rtol=1e-5, atol=1e-5 * largest)
    expected = reference_clip.encode_text(tiny_params, tiny_config, one_text_a_row(tiny_config, texts))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_packed_rows_agree_with_the_reference(tiny_config, tiny_params, texts):
    texts = [*texts, *random_texts(tiny_config, [4, 4, 9], seed=8)]
    expected = reference_clip.encode_text(tiny_params, tiny_config, one_text_a_row(tiny_config, texts))
    found = encode(tiny_config, tiny_params, **pack(texts, tiny_config.text.context_length, groups=2))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_texts_of_a_row_do_not_see_each_other(tiny_config, tiny_params):
    first, second = random_texts(tiny_config, [5, 7], seed=9)
    other = [*second[:-2], second[-2] - 1, second[-1]]  # sorted like `second`, so that all keep their places
    together = encode(tiny_config, tiny_params, **pack([first, second], 24, rows=1))
    exchanged = encode(tiny_config, tiny_params, **pack([first, other], 24, rows=1))
    np.testing.assert_array_equal(together[0], exchanged[0])
    assert np.abs(together[1] - exchanged[1]).max() > 1e-3


def test_rows_of_padding_get_no_gradient_and_give_no_nan(tiny_config, tiny_params, texts):
    packed = pad_rows(pack(texts, tiny_config.text.context_length), 9)

    gradients, embeddings = gradients_and_embeddings(tiny_params, tiny_config, packed)
    assert np.isfinite(embeddings).all() and all(np.isfinite(leaf).all() for leaf in gradients.values())
    used = sorted({token for text in texts for token in text})
    unused = np.setdiff1d(np.arange(tiny_config.text.vocabulary_size), used)
    assert not np.any(np.asarray(gradients["text/token_embedding"])[unused])


def test_gradient_agrees_with_finite_differences_of_the_reference(tiny_config, tiny_params, texts):
    """The derivative along random directions of the parameters; the reference runs in float64."""
    tokens = one_text_a_row(tiny_config, texts[:3])
    names = [path for path in tiny_params if path.startswith("text/")]
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(encode(tiny_config, params, tokens=tokens) ** 2)))(tiny_params)
    generator = np.random.default_rng(6)
    for name in ("text/transformer/resblocks_0/attn/in_proj/kernel", "text/positional_embedding", None):
        moved = names if name is None else [name]
        direction = {path: generator.standard_normal(tiny_params[path].shape) for path in moved}

        def value(step, direction=direction):
            params = {path: tiny_params[path] + step * direction.get(path, 0.0) for path in tiny_params}
            return np.sum(reference_clip.encode_text(params, tiny_config, tokens) ** 2)

        expected = (value(1e-5) - value(-1e-5)) / 2e-5
        found = sum(np.sum(np.float64(gradients[path]) * direction[path]) for path in moved)
        assert found == pytest.approx(expected, rel=1e-4)


def test_bfloat16_is_close(tiny_config, tiny_params, texts):
    tokens = one_text_a_row(tiny_config, texts)
    model = CLIP(tiny_config, dtype=jnp.bfloat16)
    found = jax.jit(functools.partial(model.apply, method="encode_text"))({"params": merge(tiny_params)}, tokens)
    assert found.dtype == jnp.float32
    expected = encode(tiny_config, tiny_params, tokens=tokens)
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)


def test_layer_states_are_the_residual_stream_at_end_of_text(tiny_config, tiny_params, texts):
    """Before the first layer the embeddings of the token; after layer k what a tower of k layers ends with."""
    model = CLIP(tiny_config)
    tokens = one_text_a_row(tiny_config, texts)
    params = merge(tiny_params)
    found = jax.jit(functools.partial(model.apply, method="text_layer_states"))({"params": params}, tokens)
    layers, width = tiny_config.text.layers, tiny_config.text.width
    assert found.shape == (len(texts), layers + 1, width)
    ends = tokens.argmax(axis=1)
    text = params["text"]
    first = text["token_embedding"][tokens[np.arange(len(texts)), ends]] + text["positional_embedding"][ends]
    np.testing.assert_allclose(found[:, 0], first, rtol=1e-6)
    # A tower cut after k layers, without final norm and projection, ends with the state after layer k.
    for depth in range(1, layers + 1):
        cut = dataclasses.replace(tiny_config, text=dataclasses.replace(tiny_config.text, layers=depth))
        embedding = reference_clip.encode_text(tiny_params, cut, tokens)
        state = np.float64(found[:, depth])
        normal = (state - state.mean(-1, keepdims=True)) / np.sqrt(state.var(-1, keepdims=True) + 1e-5)
        normal = normal * text["ln_final"]["scale"] + text["ln_final"]["bias"]
        np.testing.assert_allclose(normal @ text["text_projection"], embedding, rtol=1e-4, atol=1e-5)
    packed = pack(
        [list(row[: end + 1]) for row, end in zip(tokens, ends, strict=True)], tiny_config.text.context_length
    )
    packed_states = jax.jit(functools.partial(model.apply, method="text_layer_states"))({"params": params}, **packed)
    np.testing.assert_allclose(packed_states, found, rtol=1e-4, atol=1e-5)
