"""The whole model: published parameter counts, names, initial values, architecture descriptions."""

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_clip
from model_inputs import one_text_a_row, random_images, random_texts

from jaxclip.model import CLIP, VARIANTS, ModelConfig, TextConfig, VisionConfig, init_params, parameter_shapes
from jaxclip.training.trainable import flatten, merge

# What `sum(p.numel() for p in clip.load(name)[0].parameters())` gives for OpenAI's models.
PUBLISHED_COUNTS = {
    "ViT-B/32": 151_277_313,
    "ViT-B/16": 149_620_737,
    "ViT-L/14": 427_616_513,
    "ViT-L/14@336px": 427_944_193,
}


def traced(variant):
    return flatten(jax.eval_shape(functools.partial(init_params, VARIANTS[variant]), jax.random.key(0)))


@pytest.mark.parametrize("variant", PUBLISHED_COUNTS)
def test_parameter_counts_are_the_published_ones(variant):
    assert sum(leaf.size for leaf in traced(variant).values()) == PUBLISHED_COUNTS[variant]


@pytest.mark.parametrize("variant", ["RN50", "ViT-L/14", "ViT-g/14", "scenes"])  # ResNet, both depths, MLP ratios
def test_shapes_are_those_of_the_whole_model(variant):
    assert parameter_shapes(VARIANTS[variant]) == {path: leaf.shape for path, leaf in traced(variant).items()}


def test_parameters_are_float32_and_named_like_openai_modules():
    shapes = traced("ViT-B/32")
    assert {leaf.dtype for leaf in shapes.values()} == {jnp.dtype("float32")}
    expected = {
        "logit_scale": (),
        "text/token_embedding": (49408, 512),
        "text/positional_embedding": (77, 512),
        "text/ln_final/scale": (512,),
        "text/text_projection": (512, 512),
        "text/transformer/resblocks_11/mlp/c_fc/kernel": (512, 2048),
        "visual/conv1": (32, 32, 3, 768),
        "visual/class_embedding": (768,),
        "visual/positional_embedding": (50, 768),
        "visual/ln_pre/bias": (768,),
        "visual/ln_post/bias": (768,),
        "visual/proj": (768, 512),
        "visual/transformer/resblocks_0/attn/in_proj/bias": (2304,),
    }
    assert {path: shapes[path].shape for path in expected} == expected


def test_both_towers_in_one_call(tiny_config, tiny_params):
    images, tokens = random_images(tiny_config, 2), one_text_a_row(tiny_config, random_texts(tiny_config, [4, 9, 24]))
    image, text = jax.jit(CLIP(tiny_config).apply)({"params": merge(tiny_params)}, images, tokens)
    expected_image = reference_clip.encode_image(tiny_params, tiny_config, images)
    expected_text = reference_clip.encode_text(tiny_params, tiny_config, tokens)
    np.testing.assert_allclose(image, expected_image, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(text, expected_text, rtol=1e-5, atol=1e-5)


def test_initial_values(tiny_config):
    params = flatten(init_params(tiny_config, jax.random.key(3)))
    assert np.exp(np.float64(params["logit_scale"])) == pytest.approx(1 / 0.07)
    assert np.std(params["text/token_embedding"]) == pytest.approx(0.02, rel=0.05)
    assert np.std(params["text/positional_embedding"]) == pytest.approx(0.01, rel=0.1)
    again = flatten(init_params(tiny_config, jax.random.key(3)))
    assert all(np.array_equal(params[path], again[path]) for path in params)


def test_description_survives_json():
    for config in VARIANTS.values():
        assert ModelConfig.from_dict(json.loads(json.dumps(config.as_dict()))) == config


DAMAGED = {
    "missing key": (lambda values: values.pop("embed_dim"), "embed_dim"),
    "missing tower": (lambda values: values.pop("vision"), "'vision' is missing"),
    "unknown key": (lambda values: values.update(embed_dims=3), "embed_dims"),
    "unknown key of a tower": (lambda values: values["text"].update(depth=3), "depth"),
    "activation": (lambda values: values.update(activation="relu"), "'relu', expected one of quick_gelu, gelu"),
    "heads": (lambda values: values["text"].update(heads=5), "width 32 is not divisible by its 5 heads"),
    "no heads": (lambda values: values["text"].update(heads=0), "text: heads is 0, expected a positive int"),
    "not a number": (
        lambda values: values["vision"].update(width="32"),
        "vision: width is '32', expected a positive int",
    ),
    "a tower that is no dict": (lambda values: values.update(text=[1, 2]), "must be a mapping"),
}


@pytest.mark.parametrize(("damage", "message"), DAMAGED.values(), ids=DAMAGED)
def test_damaged_descriptions_are_one_clear_error(tiny_config, damage, message):
    values = json.loads(json.dumps(tiny_config.as_dict()))
    damage(values)
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(values)


def test_a_width_that_heads_do_not_divide_is_rejected():
    with pytest.raises(ValueError, match="text: width 30 is not divisible by its 4 heads"):
        ModelConfig(8, VisionConfig(16, 8, 32, 1, 4), TextConfig(8, 20, width=30, layers=1, heads=4))


def test_configs_are_constants(tiny_config):
    with pytest.raises(dataclasses.FrozenInstanceError):
        tiny_config.embed_dim = 3
