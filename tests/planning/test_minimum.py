"""The analytic FLOPs against published counts, against sums by hand, and against what JAX traces."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxclip import objectives
from jaxclip.model import CLIP, VARIANTS, TextConfig, init_params
from jaxclip.model.transformer import linear
from jaxclip.planning.minimum import Needed, minimum_flops, needed, text_tower, vision_tower
from jaxclip.planning.traced_flops import traced_flops
from jaxclip.training.step import Term, objective_params, total_loss

# GFLOP of one image and of one text of 77 tokens: OpenCLIP's docs/model_profile.csv, counted there by fvcore.
PUBLISHED = {
    "ViT-B/32": (8.82, 5.96),
    "ViT-B/16": (35.13, 5.96),
    "ViT-L/14": (162.03, 13.30),
    "ViT-H/14": (334.59, 47.09),
}
# One row of 10 tokens with two texts; by hand for one layer: in_proj 2·10·8·24, out_proj 2·10·8·8, c_fc and c_proj
# 2·10·8·32 each, attention 2·2·10²·8; the projection 2·2·8·6. Of the last layer only two tokens are read.
TEXT = TextConfig(context_length=10, vocabulary_size=50, width=8, layers=3, heads=2)
IN, OUT, MLP, ATTENTION, PROJECTION = 3840, 1280, 5120, 3200, 192
BLOCK, LAST = IN + OUT + 2 * MLP, IN + (OUT + 2 * MLP) // 5
FORWARD = 2 * BLOCK + LAST + 3 * ATTENTION + PROJECTION


def unread(tower, tokens):
    """What the published counts have beyond ours: the last block's output projection and MLP of the other tokens."""
    return 2 * (tokens - 1) * tower.width**2 * 9


@pytest.mark.parametrize("name", PUBLISHED)
def test_forward_passes_have_the_published_flops(name):
    config = VARIANTS[name]
    image = needed(vision_tower(config.vision, config.embed_dim, 1), []).forward
    text = needed(text_tower(config.text, config.embed_dim, 1, 1), []).forward
    image += unread(config.vision, (config.vision.image_size // config.vision.patch_size) ** 2 + 1)
    text += unread(config.text, config.text.context_length)
    assert image / 1e9 == pytest.approx(PUBLISHED[name][0], rel=2e-3)
    assert text / 1e9 == pytest.approx(PUBLISHED[name][1], rel=2e-3)


@pytest.mark.parametrize(
    ("trained", "activations", "weights"),
    [
        ([], 0, 0),
        (["text/text_projection"], 0, PROJECTION),
        (["text/ln_final/scale"], PROJECTION, 0),
        (["text/token_embedding"], 2 * BLOCK + LAST + 6 * ATTENTION + PROJECTION, 0),
        # Only the last block: below it no gradients at all.
        (["text/transformer/resblocks_2/mlp/c_fc/kernel"], MLP // 5 + PROJECTION, MLP // 5),
        # The first block's attention: what lies before it needs none, what lies behind it gradients of activations.
        (
            ["text/transformer/resblocks_0/attn/in_proj/bias"],
            OUT + 2 * MLP + BLOCK + LAST + 6 * ATTENTION + PROJECTION,
            IN,
        ),
        # A name that another one begins with is not the same: resblocks_1 of 10 and more.
        (["text/transformer/resblocks_11/mlp/c_fc/kernel"], 0, 0),
    ],
)
def test_gradients_only_where_something_below_is_trained(trained, activations, weights):
    assert needed(text_tower(TEXT, 6, 1, 2), trained) == Needed(FORWARD, activations, weights)


def test_both_towers_of_the_tiny_model_as_traced(tiny_config):
    model, images = CLIP(tiny_config), jax.ShapeDtypeStruct((3, 16, 16, 3), jnp.float32)
    tokens = jax.ShapeDtypeStruct((5, 24), jnp.int32)
    params = jax.eval_shape(model.init, jax.random.key(0), images, tokens)
    image = traced_flops(lambda p, x: model.apply(p, x, method="encode_image"), params, images)
    text = traced_flops(lambda p, x: model.apply(p, x, method="encode_text"), params, tokens)
    assert image == needed(vision_tower(tiny_config.vision, tiny_config.embed_dim, 3), []).forward
    assert text == needed(text_tower(tiny_config.text, tiny_config.embed_dim, 5, 5), []).forward


def test_traced_flops_leave_out_weight_gradients_that_nobody_reads():
    x, kernel = jax.ShapeDtypeStruct((3, 5), jnp.float32), jax.ShapeDtypeStruct((5, 4), jnp.float32)
    one = 2 * 3 * 5 * 4

    def function(x, kernel):
        return jnp.square(linear(x, kernel, jnp.zeros(4))).sum()

    assert traced_flops(jax.grad(function), x, kernel) == 2 * one
    assert traced_flops(jax.grad(function, (0, 1)), x, kernel) == 3 * one


def test_traced_flops_of_a_choice_are_those_of_one_branch():
    def function(x):
        return jax.lax.platform_dependent(x, cpu=lambda x: x @ x, default=lambda x: (x.T @ x.T).T)

    assert traced_flops(function, jnp.ones((3, 3))) == 2 * 3 * 3 * 3


def test_traced_flops_by_hand():
    def function(w, x):
        x, _ = jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)  # 4 products [2, 8] × [8, 8]
        x = jax.lax.conv_general_dilated(x.reshape(1, 1, 2, 8), jnp.ones((1, 2, 8, 3)), (1, 1), "VALID",
                                         dimension_numbers=("NHWC", "HWIO", "NHWC"))  # fmt: skip
        return x.sum()

    w, x = jax.ShapeDtypeStruct((4, 8, 8), jnp.float32), jax.ShapeDtypeStruct((2, 8), jnp.float32)
    forward = 4 * 2 * 2 * 8 * 8 + 2 * 3 * 2 * 8
    assert traced_flops(function, w, x) == forward
    # The gradient by w alone: of the convolution by its input, of each product by its weights and by its input.
    assert traced_flops(jax.value_and_grad(function), w, x) >= forward + 2 * (4 * 2 * 2 * 8 * 8)
    assert traced_flops(jax.jit(jax.checkpoint(function)), w, x) == forward


@pytest.mark.parametrize(
    ("settings", "trained"),
    [
        ({}, ("text/token_embedding",)),
        ({"n": 4, "learnable": True}, ("text/token_embedding", "objectives/semclip/projection")),
        ({"n": 4, "learnable": True}, ("objectives/semclip/projection",)),
        ({"n": 4}, ("text/transformer/resblocks_1/", "visual/proj")),
    ],
)
def test_the_minimum_of_a_step_is_what_a_plain_one_traces_to(settings, trained, tiny_config):
    B, tokens = 4, np.ones((1, 12, 24), np.int32)
    texts = {"tokens": tokens, "positions": tokens, "visible_until": tokens, "ends": np.arange(3 * B)[None] * 24}
    batch = {"train": {"texts": texts, "images": {"image": np.zeros((B, 16, 16, 3), np.float32)}}}
    roles = {"train": ("caption", "paraphrase", "negation")}
    objective = objectives.build("semclip", **settings)
    params = flatten_dict(init_params(tiny_config, jax.random.key(0)), sep="/")
    params |= objective_params([Term("semclip", "train", objective, 1.0)], tiny_config.embed_dim)
    trained = [path for path in params if path.startswith(trained)]
    frozen = {path: leaf for path, leaf in params.items() if path not in trained}

    model = CLIP(tiny_config)

    def plain(trained, frozen, terms):
        return total_loss(trained, frozen, batch, model=model, terms=terms, roles=roles)[0]

    terms = [Term("semclip", "train", objective, 1.0)]
    traced = traced_flops(
        functools.partial(jax.value_and_grad(plain), terms=terms), {p: params[p] for p in trained}, frozen
    )
    assert minimum_flops(tiny_config, trained, batch, terms).total == traced
    # Chunks of logits are made a second time in the backward pass; none of that is needed.
    chunked = [Term("semclip", "train", dataclasses.replace(objective, chunk=2), 1.0)]
    assert minimum_flops(tiny_config, trained, batch, chunked).total == traced
