"""Records are pure functions of (seed, split, index), and complete."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxclip.datasets.scenes.source import CLASSES, SPLITS, PretrainingScenes, class_prompts, scene_record


def test_record_depends_on_its_own_index_alone():
    forwards = [scene_record(1, index, "train") for index in range(20)]
    backwards = [scene_record(1, index, "train") for index in reversed(range(20))]
    assert forwards == backwards[::-1]
    assert len({record["image"] for record in forwards}) == 20


def test_seeds_and_splits_differ():
    records = [scene_record(seed, 7, split) for seed in (0, 1) for split in SPLITS]
    assert len({record["image"] for record in records}) == len(records)


@pytest.mark.parametrize("split", SPLITS)
def test_record_is_complete(split):
    record = scene_record(0, 12, split)
    assert record["id"] == f"{split}_000012"
    assert record["image"].startswith(b"\x89PNG")
    assert np.asarray(Image.open(io.BytesIO(record["image"]))).shape == (48, 48, 3)
    for role in (
        "caption", "paraphrase", "negation", "absence", "false_absence", "minimal_absence", "minimal_false_absence",
        "hard_negative",
    ):  # fmt: skip
        assert isinstance(record[role], str) and record[role] == record[role].strip().lower() != ""
        assert "{" not in record[role] and "  " not in record[role]


def test_single_objects_carry_their_class():
    records = [scene_record(0, index, "test") for index in range(400)]
    counts = np.bincount([len(record["objects"]) for record in records], minlength=4)[1:] / len(records)
    np.testing.assert_allclose(counts, [0.25, 0.4, 0.35], atol=0.08)
    for record in records:
        only = record["objects"][0] if len(record["objects"]) == 1 else {"shape": "", "colour": ""}
        assert (record["shape"], record["colour"]) == (only["shape"], only["colour"])
        assert record["shape"] in ("", *CLASSES["shape"]) and record["colour"] in ("", *CLASSES["colour"])


def test_bad_requests_are_refused():
    with pytest.raises(ValueError, match="unknown split 'tset'.*train, validation, validation_templates, test"):
        scene_record(0, 0, "tset")
    with pytest.raises(ValueError, match="index is -1"):
        scene_record(0, -1, "test")
    with pytest.raises(ValueError, match="unknown attribute 'size'.*shape, colour"):
        class_prompts("size")
    with pytest.raises(ValueError, match="single_object is 9"):
        PretrainingScenes(5, seed=0, single_object=9)


def test_pretraining_scenes():
    scenes = PretrainingScenes(50, seed=2, single_object=20)
    assert len(scenes) == 50
    first = scenes[3]
    assert set(first) == {"id", "image", "caption"}
    assert first["image"].shape == (48, 48, 3) and first["image"].dtype == np.uint8
    again = PretrainingScenes(500, seed=2, single_object=20)[3]
    assert again["caption"] == first["caption"] and (again["image"] == first["image"]).all()
    assert (PretrainingScenes(50, seed=3)[3]["image"] != first["image"]).any()
    assert scenes[np.int64(4)]["id"] == scenes[4]["id"]
    for index in (50, -1):
        with pytest.raises(IndexError):
            scenes[index]
    assert len(list(scenes)) == 50
