"""Opening data sets by name: what a record is like, fingerprints, and errors."""

import io
import pickle

import numpy as np
import pytest
from PIL import Image

from jaxclip.datasets import DatasetError, open_split
from jaxclip.datasets.scenes.contrasts import TEXTS
from jaxclip.datasets.scenes.source import scene_record

SIZES = {"train_size": 12, "validation_size": 3, "test_size": 5}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


def test_scenes_records_are_those_of_the_source(data_dir):
    split = open_split("scenes/test", "scenes", SIZES, data_dir)
    assert len(split) == 5
    assert split.roles == tuple(TEXTS)
    for number in (0, 4):
        expected = scene_record(0, number, "test")
        assert {role: split[number][role] for role in TEXTS} == {role: expected[role] for role in TEXTS}
        assert split.images == ("image", "distractor_image")
        assert all(split[number][role] == expected[role] for role in split.images)
        assert isinstance(split[number]["id"], str)


def test_scenes_have_their_zeroshot_sets(data_dir):
    split = open_split("scenes/test", "scenes", SIZES, data_dir)
    sets = {found.name: found for found in split.zeroshot}
    assert set(sets) == {"shape", "colour"}
    red = sets["colour"].classes.index("red")
    assert sets["colour"].prompts[red] == "this is a photo of a red shape"
    assert sets["colour"].negated_prompts[red] == "this is not a photo of a red shape"


def test_fingerprints_tell_splits_and_settings_apart(data_dir):
    found = {
        open_split(name, "scenes", settings, data_dir).fingerprint
        for name, settings in (
            ("scenes/test", SIZES),
            ("scenes/train", SIZES),
            ("scenes/test", {**SIZES, "seed": 1}),
        )
    }
    assert len(found) == 3
    again = open_split("scenes/test", "scenes", SIZES, data_dir).fingerprint
    assert again in found


def test_a_split_can_be_sent_to_a_worker_process(data_dir):
    split = open_split("scenes/train", "scenes", SIZES, data_dir)
    received = pickle.loads(pickle.dumps(split))
    assert received[11] == split[11] or received[11]["caption"] == split[11]["caption"]


def test_triplets_open_with_given_columns_only(tmp_path):
    images = tmp_path / "images"
    images.mkdir()
    rows = ["filename,caption,paraphrase,wrong"]
    for number in range(10):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(buffer, "PNG")
        (images / f"{number}.png").write_bytes(buffer.getvalue())
        rows.append(f"{number}.png,caption {number},other {number},not {number}")
    (tmp_path / "rows.csv").write_text("\n".join(rows))
    settings = {
        "annotations": str(tmp_path / "rows.csv"),
        "images": str(images),
        "columns": {"negation": "wrong", "caption": None, "image": None, "paraphrase": None},
    }
    split = open_split("mine/train", "triplets", settings, tmp_path / "tfds")
    assert split.roles == ("caption", "paraphrase", "negation")
    assert len(split) == 8
    number = split[0]["caption"].split()[1]
    assert split[0]["negation"] == f"not {number}"


def test_a_split_that_got_no_record_says_so(tmp_path):
    (tmp_path / "images").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "images" / "a.png")
    (tmp_path / "rows.csv").write_text("image,caption\na.png,one\na.png,two\n")
    settings = {"annotations": str(tmp_path / "rows.csv"), "images": str(tmp_path / "images")}
    assert len(open_split("mine/train", "triplets", settings, tmp_path / "tfds")) == 2
    with pytest.raises(DatasetError, match=r"mine/test: none of the 2 records came into this split; more images would"):
        open_split("mine/test", "triplets", settings, tmp_path / "tfds")


def test_pretraining_scenes_have_arrays_and_one_split(tmp_path):
    split = open_split("p/train", "pretraining_scenes", {"size": 4, "single_object": 2}, tmp_path)
    assert split[0]["image"].shape == (48, 48, 3)
    assert split.roles == ("caption",)
    with pytest.raises(DatasetError, match="p/test: no such split; found train"):
        open_split("p/test", "pretraining_scenes", {"size": 4}, tmp_path)


@pytest.mark.parametrize(
    ("builder", "settings", "message"),
    [
        ("scene", {}, "unknown builder 'scene'; did you mean 'scenes'"),
        ("pretraining_scenes", {"sise": 3}, "sise"),
        ("triplets", {"images": None}, r"the builder 'triplets' needs the setting\(s\) annotations, images"),
        (
            "triplets",
            {"annotation": "a"},
            "unknown setting 'annotation' of the builder 'triplets'; did you mean 'annotations'",
        ),
    ],
)
def test_errors_say_what_was_found(tmp_path, builder, settings, message):
    with pytest.raises(DatasetError, match=message):
        open_split("d/train", builder, settings, tmp_path)


def test_unknown_split_names_those_there_are(data_dir):
    with pytest.raises(DatasetError, match="scenes/tests: no such split; found test, test_combinations"):
        open_split("scenes/tests", "scenes", SIZES, data_dir)
