"""Encoding many items: the same as one at a time, whatever the batch, packing and padding."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import jax
import mixed_mesh_run
import numpy as np
import pytest

from jaxclip import embedding
from jaxclip.config import MeshSettings
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.embedding import Encoders, _rounded
from jaxclip.model import CLIP, ModelConfig, TextConfig, VisionConfig, init_params
from jaxclip.training.sharding import make_mesh
from jaxclip.training.trainable import merge
from tests.free_ports import free_port

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
    assert sum(done) == len(TEXTS)


@pytest.mark.parametrize("batch_size", [1, 4, 64])
def test_images_equal_one_batch(params, batch_size):
    images = np.random.default_rng(0).standard_normal((9, 16, 16, 3)).astype(np.float32)
    expected = CLIP(CONFIG).apply({"params": params}, images, method="encode_image")
    done = []
    encoders = Encoders(CLIP(CONFIG), make_mesh(MeshSettings()), batch_size)
    found = encoders.images(params, lambda number: images[number], len(images), done.append)
    np.testing.assert_allclose(found, expected, atol=2e-5)
    assert sum(done) == len(images)


@pytest.mark.skipif(os.cpu_count() < 2, reason="one core, one thread")
def test_images_are_loaded_at_the_same_time_and_each_once(params):
    """Two loads wait for each other: one after the other they would wait for ever."""
    together, seen = threading.Barrier(2), []

    def load(number):
        seen.append(number)
        if number < 2:
            together.wait(timeout=60)
        return np.zeros((16, 16, 3), np.float32)

    Encoders(CLIP(CONFIG), make_mesh(MeshSettings()), 4).images(params, load, 5)  # the second batch holds one image
    assert sorted(seen) == [0, 1, 2, 3, 4]


def test_texts_are_encoded_once_and_some_at_a_time(params, monkeypatch):
    """18 texts of which 12 are equal; packed 4 together, two parts hold the 7 different ones."""
    texts = [*(f"a street with {number} cars" for number in range(6)), *["a street"] * 12]
    tokenizer, encoders = Tokenizer.clip(), Encoders(CLIP(CONFIG), make_mesh(MeshSettings()))
    packed, pack_texts = [], embedding.pack

    def pack(ids, row_length):
        packed.append(len(ids))
        return pack_texts(ids, row_length)

    monkeypatch.setattr("jaxclip.embedding.pack", pack)
    monkeypatch.setattr("jaxclip.embedding._PACKED_TOGETHER", 4)
    done = []
    found = encoders.texts(params, tokenizer, texts, done.append)
    assert packed == [4, 3] and sum(done) == 18
    expected = CLIP(CONFIG).apply({"params": params}, tokenizer(texts), method="encode_text")
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_an_image_that_cannot_be_loaded_stops(params):
    def load(number):
        if number == 3:
            raise ValueError("image 3 is broken")
        return np.zeros((16, 16, 3), np.float32)

    with pytest.raises(ValueError, match="image 3 is broken"):
        Encoders(CLIP(CONFIG), make_mesh(MeshSettings()), 2).images(params, load, 9)


def test_raising_in_on_batch_stops(params):
    class Stop(Exception):
        pass

    def stop(count):
        raise Stop

    encoders = Encoders(CLIP(CONFIG), make_mesh(MeshSettings()), 2)
    with pytest.raises(Stop):
        encoders.texts(params, Tokenizer.clip(), TEXTS, stop)


def test_every_embedding_is_that_of_its_item_on_a_mesh_that_mixes_processes(tmp_path):
    """Two processes with devices 0, 1 and 2, 3 on the mesh 0, 2, 1, 3."""
    port, output = free_port(), tmp_path / "embeddings.npz"
    environment = os.environ | {
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=2",
        "PYTHONPATH": str(Path(__file__).resolve().parents[1]),
    }
    script = Path(mixed_mesh_run.__file__)
    processes = [
        subprocess.Popen(
            [sys.executable, script, str(number), str(port), output], env=environment, stderr=subprocess.PIPE, text=True
        )
        for number in (0, 1)
    ]
    try:
        errors = [process.communicate(timeout=300)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], errors
    model, params = CLIP(mixed_mesh_run.CONFIG), {"params": merge(mixed_mesh_run.numpy_params())}
    tokens = Tokenizer.clip()(mixed_mesh_run.TEXTS)
    with np.load(output) as found:
        expected = model.apply(params, mixed_mesh_run.IMAGES, method="encode_image")
        np.testing.assert_allclose(found["images"], expected, atol=2e-5)
        np.testing.assert_allclose(found["texts"], model.apply(params, tokens, method="encode_text"), atol=2e-5)


def test_counts_are_rounded_up_to_few():
    assert [_rounded(count) for count in (1, 3, 4, 5, 17, 76, 100)] == [1, 3, 4, 5, 20, 80, 112]
    assert all(count <= _rounded(count) <= 1.25 * count for count in range(1, 1000))
    assert len({_rounded(count) for count in range(512, 1024)}) == 5
