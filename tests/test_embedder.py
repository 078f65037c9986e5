"""A checkpoint's embeddings: those of the plain towers, encoded once whatever data sets ask for them."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxclip.config import MeshSettings
from jaxclip.data.preprocessing import Preprocessing, preprocess
from jaxclip.datasets import Split
from jaxclip.embedder import Embedder
from jaxclip.embedding import Encoders
from jaxclip.model import CLIP
from jaxclip.pretrained import Clip
from jaxclip.training.sharding import make_mesh
from jaxclip.training.trainable import merge

PREPROCESSING = Preprocessing(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "crop")


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)


def split_of(name: str, *numbers: int) -> Split:
    records = [{"id": str(n), "image": png(pixels_of(n)), "caption": f"dog {n}"} for n in numbers]
    return Split(name, records, ("caption",), name)


@pytest.fixture
def embedder(tiny_config, tiny_params, tiny_tokenizer, tmp_path):
    clip = Clip(tiny_config, tiny_params, tiny_tokenizer, PREPROCESSING)
    return Embedder("tiny", clip, make_mesh(MeshSettings()), tmp_path)


@pytest.fixture
def encoded(monkeypatch):
    """The number of images of each call of the image tower."""
    counts, encode = [], Encoders.images

    def counting(self, params, load, count, on_batch):
        counts.append(count)
        return encode(self, params, load, count, on_batch)

    monkeypatch.setattr(Encoders, "images", counting)
    return counts


def test_images_and_texts_are_those_of_the_plain_towers(embedder, tiny_config, tiny_params, tiny_tokenizer):
    model, params = CLIP(tiny_config), {"params": merge(tiny_params)}
    features = embedder.images(split_of("d/a", 3, 1, 3))
    assert features.features.shape[0] == 2 and features.image_index.tolist() == [0, 1, 0]
    for row, number in zip(features(np.arange(3)), (3, 1, 3), strict=True):
        batch = preprocess(pixels_of(number), PREPROCESSING)[None]
        expected = np.asarray(model.apply(params, batch, method="encode_image"))[0]
        np.testing.assert_allclose(row, expected, atol=1e-5)
    texts = ["no dog", "a dog", "no dog"]
    expected = np.concatenate([model.apply(params, tiny_tokenizer([text]), method="encode_text") for text in texts])
    np.testing.assert_allclose(embedder.texts(texts, "d/a"), expected, atol=1e-5)


def test_a_second_data_set_encodes_the_images_that_are_new_to_it(embedder, encoded):
    first = embedder.images(split_of("d/a", 0, 1, 2))
    second = embedder.images(split_of("d/b", 4, 2, 0))
    assert encoded == [3, 1]
    np.testing.assert_array_equal(second(np.array([1, 2])), first(np.array([2, 0])))


@pytest.mark.parametrize("damage", [lambda content: content[:-30], lambda content: b"", lambda content: b"no archive"])
def test_damaged_files_are_made_again(embedder, encoded, tmp_path, damage):
    split = split_of("d/a", 0, 1, 0)
    first = embedder.images(split)
    paths = list(tmp_path.rglob("*.npz"))
    assert {path.parent.name.partition("-")[0] for path in paths} == {"images", "keys"}
    for path in paths:
        path.write_bytes(damage(path.read_bytes()))
    again = embedder.images(split)
    assert encoded == [2, 2]
    np.testing.assert_array_equal(again(np.arange(3)), first(np.arange(3)))


def test_crops_are_those_of_the_boxes(embedder, monkeypatch):
    """Each box shows its own half of the picture, also where it was drawn over the border."""
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[:, 10:] = 200
    split = Split("boxes/test", [{"id": "0", "image": png(pixels), "caption": "x"}], ("caption",), "")
    seen = []

    def images(self, params, load, count, on_batch):
        seen.extend(load(number) for number in range(count))
        return np.zeros((count, 2), np.float32)

    monkeypatch.setattr("jaxclip.embedding.Encoders.images", images)
    boxes = np.array([[[0, 0, 10, 10], [10, -5, 99, 99], [30, 0, 5, 5]]], np.float32)
    assert embedder.crops(split, boxes).shape == (1, 3, 2)
    assert [float(image.mean()) for image in seen] == pytest.approx([-1.0, 200 / 127.5 - 1, 200 / 127.5 - 1], abs=1e-5)
