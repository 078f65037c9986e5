"""Encoding many items: the same as one at a time, whatever the batch, packing and padding."""

import time

import jax
import numpy as np
import pytest

from jaxclip.config import MeshSettings
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.embedding import Encoders
from jaxclip.model import CLIP, ModelConfig, TextConfig, VisionConfig, init_params
from jaxclip.training.sharding import make_mesh

CONFIG = ModelConfig(
    embed_dim=16,
    vision=VisionConfig(image_size=16, patch_size=8, width=32, layers=2, heads=2),
    text=TextConfig(context_length=77, vocabulary_size=49408, width=32, layers=2, heads=2),
)
TEXTS = [
    "a street without cars",
    "",
    "two dogs and no cat, " * 20,
    "a red circle above a blue square",
    "not a photo",
] * 5


@pytest.fixture(scope="module")
def params():
    return init_params(CONFIG, jax.random.key(0))


@pytest.mark.parametrize("batch_size", [1, 4, 7, 64])
def test_texts_equal_one_text_a_row(params, batch_size):
    tokenizer = Tokenizer.clip()
    expected = CLIP(CONFIG).apply({"params": params}, tokenizer(TEXTS), method="encode_text")
    done = []
    found = Encoders(CLIP(CONFIG), make_mesh(MeshSettings()), batch_size).texts(params, tokenizer, TEXTS, done.append)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert sum(done) >= len(TEXTS)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_images_equal_one_batch(params, batch_size):
    images = np.random.default_rng(0).standard_normal((9, 16, 16, 3)).astype(np.float32)
    expected = CLIP(CONFIG).apply({"params": params}, images, method="encode_image")
    done = []
    encoders = Encoders(CLIP(CONFIG), make_mesh(MeshSettings()), batch_size)
    found = encoders.images(params, lambda number: images[number], len(images), done.append)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert sum(done) == len(images)


def test_raising_in_on_batch_stops(params):
    class Stop(Exception):
        pass

    def stop(count):
        raise Stop

    encoders = Encoders(CLIP(CONFIG), make_mesh(MeshSettings()), 2)
    with pytest.raises(Stop):
        encoders.texts(params, Tokenizer.clip(), TEXTS, stop)


def test_images_that_arrive_in_another_order_keep_their_places(params):
    images = np.random.default_rng(0).standard_normal((9, 16, 16, 3)).astype(np.float32)

    def load(number):
        time.sleep(0.01 * (number % 3 == 0))  # the first of each three is the last to be ready
        return images[number]

    encoders = Encoders(CLIP(CONFIG), make_mesh(MeshSettings()), 4)
    found = encoders.images(params, load, len(images))
    np.testing.assert_allclose(found, CLIP(CONFIG).apply({"params": params}, images, method="encode_image"), atol=2e-5)


def test_an_image_that_cannot_be_loaded_ends_the_work_with_its_error(params):
    loaded = []

    def load(number):
        loaded.append(number)
        if number == 5:
            raise OSError("image 5 is broken")
        return np.zeros((16, 16, 3), np.float32)

    with pytest.raises(OSError, match="image 5 is broken"):
        Encoders(CLIP(CONFIG), make_mesh(MeshSettings()), 4).images(params, load, 40)
    assert max(loaded) < 12  # the batch with the broken one, and nothing after it
