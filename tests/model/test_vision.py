"""The vision tower against the NumPy reference, whose convolution is an explicit sum over pixels."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_clip
from model_inputs import random_images

from jaxclip.model import CLIP, VARIANTS, VisionConfig
from jaxclip.model.vision import patchify
from jaxclip.training.trainable import merge


@pytest.fixture
def images(tiny_config):
    return random_images(tiny_config, 3)


@functools.partial(jax.jit, static_argnums=0, static_argnames=("remat", "dtype"))
def encode(config, params, images, **settings):
    return CLIP(config, **settings).apply({"params": merge(params)}, images, method="encode_image")


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_agrees_with_the_reference(tiny_config, tiny_params, images, activation):
    config = dataclasses.replace(tiny_config, activation=activation)
    found = encode(config, tiny_params, images)
    assert found.shape == (3, 16) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, reference_clip.encode_image(tiny_params, config, images), rtol=1e-5, atol=1e-5)


def test_patches_are_row_major_and_flattened_as_row_column_channel():
    rows, columns, channels = np.meshgrid(np.arange(4), np.arange(4), np.arange(3), indexing="ij")
    image = 100 * rows + 10 * columns + channels
    patches = patchify(image[None], 2)
    assert patches.shape == (1, 4, 12)
    np.testing.assert_array_equal(patches[0, 1], [20, 21, 22, 30, 31, 32, 120, 121, 122, 130, 131, 132])
    np.testing.assert_array_equal(patches[0, 2, :3], [200, 201, 202])


def test_gradient_agrees_with_finite_differences_of_the_reference(tiny_config, tiny_params, images):
    gradients = jax.jit(jax.grad(lambda params: jnp.sum(encode(tiny_config, params, images[:1]) ** 2)))(tiny_params)
    generator = np.random.default_rng(6)
    for name in ("visual/conv1", "visual/class_embedding", "visual/ln_pre/scale", "visual/proj"):
        direction = generator.standard_normal(tiny_params[name].shape)

        def value(step, name=name, direction=direction):
            params = {**tiny_params, name: tiny_params[name] + step * direction}
            return np.sum(reference_clip.encode_image(params, tiny_config, images[:1]) ** 2)

        expected = (value(1e-5) - value(-1e-5)) / 2e-5
        assert np.sum(np.float64(gradients[name]) * direction) == pytest.approx(expected, rel=1e-4)


def test_remat_gives_the_same_gradients(tiny_config, tiny_params, images):
    def gradients(remat):
        gradient = jax.grad(lambda params: jnp.sum(encode(tiny_config, params, images, remat=remat) ** 2))
        return jax.jit(gradient)(tiny_params)

    plain, full, dots = map(gradients, ("none", "full", "dots"))
    for path, leaf in plain.items():
        np.testing.assert_allclose(full[path], leaf, rtol=1e-4, atol=1e-4, err_msg=path)
        np.testing.assert_allclose(dots[path], leaf, rtol=1e-4, atol=1e-4, err_msg=path)


def test_bfloat16_is_close(tiny_config, tiny_params, images):
    found, expected = (
        encode(tiny_config, tiny_params, images, dtype=jnp.bfloat16),
        encode(tiny_config, tiny_params, images),
    )
    assert found.dtype == jnp.float32
    assert np.linalg.norm(found - expected) < 0.03 * np.linalg.norm(expected)


def test_an_image_that_does_not_divide_into_patches_is_rejected():
    with pytest.raises(ValueError, match="image_size 224 is not a multiple of patch_size 30"):
        dataclasses.replace(VARIANTS["ViT-B/32"], vision=VisionConfig(224, 30, 768, 12, 12))
