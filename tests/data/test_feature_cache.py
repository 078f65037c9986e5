"""Cached features: found under exactly their model and data, each image encoded once, complete or absent."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from jaxclip.data import feature_cache
from jaxclip.data.preprocessing import CLIP as CLIP_PREPROCESSING

IMAGES = [b"one", b"two", b"one", b"three", b"two", b"one"]
SOURCE = [{"id": str(number), "image": image} for number, image in enumerate(IMAGES)]


class Encoder:
    """Stands for the image tower: an image's feature is its length and its first byte."""

    def __init__(self):
        self.seen = []

    def __call__(self, load, count):
        images = [load(number)["image"] for number in range(count)]
        self.seen += images
        return np.array([[len(image), image[0]] for image in images], np.float32)


PARAMS = {
    "visual/conv1": np.linspace(-1, 1, 48, dtype=np.float32).reshape(2, 2, 3, 4),
    "visual/proj": np.linspace(2, 3, 12, dtype=np.float32).reshape(4, 3),
    "logit_scale": np.float32(2.6),
}


def fingerprint(params=PARAMS, preprocessing=CLIP_PREPROCESSING, data="split", dtype="float32"):
    return feature_cache.fingerprint(params, preprocessing, data, dtype)


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
    ]
    assert len({fingerprint(), *others}) == 1 + len(others)


def test_images_are_told_apart_by_their_bytes():
    first, index = feature_cache.unique_images(SOURCE)
    assert first.tolist() == [0, 1, 3]
    assert index.tolist() == [0, 1, 0, 2, 1, 0] and index.dtype == np.int32


def test_each_image_is_encoded_once_and_each_record_finds_its_own(tmp_path):
    encode = Encoder()
    features = feature_cache.cached(tmp_path / "cache", "name", SOURCE, encode)
    assert encode.seen == [b"one", b"two", b"three"]
    expected = np.array([[len(image), image[0]] for image in IMAGES], np.float32)
    np.testing.assert_array_equal(features(np.arange(6)), expected)
    np.testing.assert_array_equal(features(np.array([5, 3])), expected[[5, 3]])
    assert features.features.dtype == np.float32 and isinstance(features.features, np.memmap)


def test_a_second_call_reads_and_does_not_encode(tmp_path):
    first, second = Encoder(), Encoder()
    written = feature_cache.cached(tmp_path, "name", SOURCE, first)
    read = feature_cache.cached(tmp_path, "name", SOURCE, second)
    assert second.seen == []
    np.testing.assert_array_equal(read(np.arange(6)), written(np.arange(6)))
    feature_cache.cached(tmp_path, "other name", SOURCE, second)
    assert len(second.seen) == 3


def test_an_interrupted_run_leaves_nothing_under_the_name(tmp_path):
    def interrupted(load, count):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        feature_cache.cached(tmp_path, "name", SOURCE, interrupted)
    assert feature_cache.read(tmp_path, "name") is None


def test_a_write_that_fails_half_way_leaves_nothing_under_the_name(tmp_path, monkeypatch):
    features, index = np.ones((3, 2), np.float32), np.zeros(6, np.int32)
    save, calls = np.save, []

    def disk_full(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError("no space left on device")
        save(*arguments)

    monkeypatch.setattr(feature_cache.np, "save", disk_full)
    with pytest.raises(OSError, match="no space left"):
        feature_cache.write(tmp_path, "name", features, index)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    feature_cache.write(tmp_path, "name", features, index)
    np.testing.assert_array_equal(feature_cache.read(tmp_path, "name").features, features)


def test_two_processes_that_write_the_same_features_do_not_disturb_each_other(tmp_path):
    features, index = np.ones((3, 2), np.float32), np.zeros(6, np.int32)
    feature_cache.write(tmp_path, "name", features, index)
    feature_cache.write(tmp_path, "name", features, index)
    assert [path.name for path in tmp_path.iterdir()] == ["name"]


def test_a_rename_that_fails_for_another_reason_is_an_error(tmp_path, monkeypatch):
    def refuse(path, target):
        raise PermissionError("rename refused")

    monkeypatch.setattr(feature_cache.Path, "rename", refuse)
    with pytest.raises(PermissionError, match="rename refused"):
        feature_cache.cached(tmp_path, "name", SOURCE, Encoder())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OSError, match="file"):
        feature_cache.cached(tmp_path / "file", "name", SOURCE, Encoder())
