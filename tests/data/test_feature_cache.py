"""Cached features: found under exactly their model and data, each image encoded once, complete or absent."""

import dataclasses
import pickle

import jax.numpy as jnp
import numpy as np
import pytest

from jaxclip import files
from jaxclip.data import feature_cache
from jaxclip.data.preprocessing import CLIP as CLIP_PREPROCESSING

IMAGES = [b"one", b"two", b"one", b"three", b"two", b"one"]
SOURCE = [{"id": str(number), "image": image} for number, image in enumerate(IMAGES)]


class Encoder:
    """Stands for the image tower: an image's feature is its length and its first byte."""

    def __init__(self, stop_at=None):
        self.seen, self.calls, self._stop_at = [], [], stop_at

    def __call__(self, load, start, count, total):
        if len(self.calls) == self._stop_at:
            raise KeyboardInterrupt
        self.calls.append((start, count, total))
        images = [load(number)["image"] for number in range(count)]
        self.seen += images
        return np.array([[len(image), image[0]] for image in images], np.float32)


ARCHITECTURE = {"activation": "quick_gelu", "vision": {"layers": 1, "heads": 2}}
PARAMS = {
    "visual/conv1": np.linspace(-1, 1, 48, dtype=np.float32).reshape(2, 2, 3, 4),
    "visual/proj": np.linspace(2, 3, 12, dtype=np.float32).reshape(4, 3),
    "logit_scale": np.float32(2.6),
}


def fingerprint(params=PARAMS, preprocessing=CLIP_PREPROCESSING, data="split", dtype="float32", **others):
    return feature_cache.fingerprint(params, preprocessing, data, dtype, **{"architecture": ARCHITECTURE} | others)


def test_fingerprint_is_the_same_for_the_same_ingredients():
    reversed_order = dict(reversed(PARAMS.items()))
    on_device = {path: jnp.asarray(leaf) for path, leaf in PARAMS.items()}
    assert fingerprint() == fingerprint(reversed_order) == fingerprint(on_device)
    assert len(fingerprint()) == 32 and fingerprint().isalnum()


def test_fingerprint_changes_with_each_ingredient():
    bits = PARAMS["visual/proj"].view(np.int32).copy()
    bits[3, 2] ^= 1
    one_bit = PARAMS | {"visual/proj": bits.view(np.float32)}
    renamed = {path.replace("proj", "projection"): leaf for path, leaf in PARAMS.items()}
    reshaped = PARAMS | {"visual/proj": PARAMS["visual/proj"].reshape(3, 4)}
    scalar = PARAMS | {"logit_scale": np.float32(1)}
    others = [
        fingerprint(one_bit),
        fingerprint(renamed),
        fingerprint(reshaped),
        fingerprint(scalar),
        fingerprint(preprocessing=dataclasses.replace(CLIP_PREPROCESSING, interpolation="bilinear")),
        fingerprint(preprocessing=dataclasses.replace(CLIP_PREPROCESSING, resize="squash")),
        fingerprint(preprocessing=dataclasses.replace(CLIP_PREPROCESSING, mean=(0, 0, 0))),
        fingerprint(data="other split"),
        fingerprint(dtype="bfloat16"),
        fingerprint(role="hard_image"),
        fingerprint(architecture=ARCHITECTURE | {"activation": "gelu"}),
    ]
    assert len({fingerprint(), *others}) == 1 + len(others)


def test_images_are_told_apart_by_their_bytes():
    first, index = feature_cache.unique_images(SOURCE)
    assert first.tolist() == [0, 1, 3]
    assert index.tolist() == [0, 1, 0, 2, 1, 0] and index.dtype == np.int32


def test_images_are_told_apart_without_reading_them_where_the_source_knows():
    class Source:
        image_rows = {"image": np.array([7, 3, 7, 0]), "hard_image": np.array([1, 1, 1, 1])}

        def __len__(self):
            return 4

    first, index = feature_cache.unique_images(Source())
    assert first.tolist() == [0, 1, 3] and index.tolist() == [0, 1, 0, 2]
    first, index = feature_cache.unique_images(Source(), "hard_image")
    assert first.tolist() == [0] and index.tolist() == [0, 0, 0, 0]


def expected_features(images):
    return np.array([[len(image), image[0]] for image in images], np.float32)


def test_each_image_is_encoded_once_and_each_record_finds_its_own(tmp_path):
    encode = Encoder()
    features = feature_cache.cached(tmp_path / "cache", "name", SOURCE, encode)
    assert encode.seen == [b"one", b"two", b"three"]
    expected = expected_features(IMAGES)
    np.testing.assert_array_equal(features(np.arange(6)), expected)
    np.testing.assert_array_equal(features(np.array([5, 3])), expected[[5, 3]])
    np.testing.assert_array_equal(np.asarray(features.features), expected[[0, 1, 3]])
    assert features.features.dtype == np.float32 and features.features.shape == (3, 2)


def test_a_second_call_reads_and_does_not_encode(tmp_path):
    first, second = Encoder(), Encoder()
    written = feature_cache.cached(tmp_path, "name", SOURCE, first)
    read = feature_cache.cached(tmp_path, "name", SOURCE, second)
    assert second.seen == []
    np.testing.assert_array_equal(read(np.arange(6)), written(np.arange(6)))
    feature_cache.cached(tmp_path, "other name", SOURCE, second)
    assert len(second.seen) == 3


MANY = [{"image": bytes([number % 251, number // 251, *([7] * (number % 5))])} for number in range(40)]


@pytest.fixture
def small_shards(monkeypatch):
    """16 images a shard: 40 images make two whole shards and a rest."""
    monkeypatch.setattr(feature_cache, "SHARD_IMAGES", 16)


def test_shards_are_those_of_one_array(tmp_path, small_shards):
    encode = Encoder()
    features = feature_cache.cached(tmp_path, "name", MANY, encode)
    assert encode.calls == [(0, 16, 40), (16, 16, 40), (32, 8, 40)]
    expected = expected_features([record["image"] for record in MANY])
    np.testing.assert_array_equal(np.asarray(features.features), expected)
    numbers = np.random.default_rng(0).integers(0, 40, 100)
    np.testing.assert_array_equal(features(numbers), expected[numbers])
    assert features(np.array([], np.int64)).shape == (0, 2)
    copy = pickle.loads(pickle.dumps(features))
    np.testing.assert_array_equal(copy(numbers), expected[numbers])
    assert len(pickle.dumps(features.features)) < 1000  # the files' names, not their content


def test_an_interrupted_run_goes_on_with_the_shards_that_it_lacks(tmp_path, small_shards):
    with pytest.raises(KeyboardInterrupt):
        feature_cache.cached(tmp_path, "name", MANY, Encoder(stop_at=2))
    encode = Encoder()
    features = feature_cache.cached(tmp_path, "name", MANY, encode)
    assert encode.calls == [(32, 8, 40)]
    np.testing.assert_array_equal(features(np.arange(40)), expected_features([record["image"] for record in MANY]))


@pytest.mark.parametrize("damage", ["flip", "cut", "no checksum", "empty checksum", "gone"])
def test_a_damaged_shard_is_computed_again(tmp_path, small_shards, damage):
    feature_cache.cached(tmp_path, "name", MANY, Encoder())
    shard = tmp_path / "name" / "features-00001-of-00003.npy"
    content, checksum = shard.read_bytes(), shard.with_suffix(".sha256")
    if damage == "flip":
        shard.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    elif damage == "cut":
        shard.write_bytes(content[:-4])
    elif damage == "no checksum":
        checksum.unlink()
    elif damage == "empty checksum":
        checksum.write_text("")
    else:
        shard.unlink()
    encode = Encoder()
    features = feature_cache.cached(tmp_path, "name", MANY, encode)
    assert encode.calls == [(16, 16, 40)]
    np.testing.assert_array_equal(features(np.arange(40)), expected_features([record["image"] for record in MANY]))


def test_a_damaged_index_is_made_again(tmp_path):
    feature_cache.cached(tmp_path, "name", SOURCE, Encoder())
    index = tmp_path / "name" / "image_index.npy"
    np.save(index, np.zeros(6, np.int32))
    encode = Encoder()
    features = feature_cache.cached(tmp_path, "name", SOURCE, encode)
    assert encode.seen == []
    np.testing.assert_array_equal(features(np.arange(6)), expected_features(IMAGES))


def test_a_write_that_fails_leaves_no_part_under_a_name(tmp_path, monkeypatch):
    def disk_full(source, target):
        raise OSError("no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files.os, "replace", disk_full)
        with pytest.raises(OSError, match="no space left"):
            feature_cache.cached(tmp_path, "name", SOURCE, Encoder())
    assert list((tmp_path / "name").iterdir()) == []
    features = feature_cache.cached(tmp_path, "name", SOURCE, Encoder())
    np.testing.assert_array_equal(features(np.arange(6)), expected_features(IMAGES))


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        feature_cache.cached(tmp_path / "file", "name", SOURCE, Encoder())
