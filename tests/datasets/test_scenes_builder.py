"""The scenes on disk: the same records as made on the fly, and no TensorFlow."""

import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from jaxclip.datasets.scenes.builder import ScenesConfig, prepare
from jaxclip.datasets.scenes.source import IMAGES, SPLITS, scene_record

REPOSITORY = Path(__file__).resolve().parents[2]
SIZES = {"train_size": 12, "validation_size": 2, "test_size": 3}
ENCODED = {role: tfds.decode.SkipDecoding() for role in IMAGES}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tfds")
    prepare(folder, seed=3, **SIZES)
    return folder


def test_records_on_disk_equal_those_made_on_the_fly(data_dir):
    builder = prepare(data_dir, seed=3, **SIZES)
    expected_sizes = dict(zip(SPLITS, (12, 2, 2, 3, 3, 3), strict=True))
    assert {split: info.num_examples for split, info in builder.info.splits.items()} == expected_sizes
    for split, size in expected_sizes.items():
        records = builder.as_data_source(split=split, decoders=ENCODED)
        assert len(records) == size
        for index in range(size):
            expected = scene_record(3, index, split)
            objects = expected.pop("objects")
            stored = dict(records[index])
            stored_objects = stored.pop("objects")
            assert {k: v if k in IMAGES else v.decode() for k, v in stored.items()} == expected
            for key in ("shape", "colour", "size"):
                assert [value.decode() for value in stored_objects[key]] == [thing[key] for thing in objects]
            for key in ("x", "y", "radius"):
                assert stored_objects[key] == pytest.approx([thing[key] for thing in objects], rel=1e-6)


def test_second_call_reads_what_the_first_one_built(data_dir, monkeypatch):
    def rebuild(*_):
        raise AssertionError("built again")

    monkeypatch.setattr("jaxclip.datasets.scenes.builder.scene_record", rebuild)
    assert len(prepare(data_dir, seed=3, **SIZES).as_data_source(split="train")) == 12


def test_a_failed_build_leaves_nothing_that_looks_complete(tmp_path, monkeypatch):
    def fail(seed, index, split):
        if split == "test":
            raise RuntimeError("disk on fire")
        return scene_record(seed, index, split)

    with monkeypatch.context() as patch:
        patch.setattr("jaxclip.datasets.scenes.builder.scene_record", fail)
        with pytest.raises(RuntimeError, match="disk on fire"):
            prepare(tmp_path, **SIZES)
    assert not list(tmp_path.rglob("dataset_info.json"))
    assert len(prepare(tmp_path, **SIZES).as_data_source(split="test")) == 3


def test_settings_never_share_a_folder():
    names = {ScenesConfig(**settings).name for settings in ({}, {"seed": 1}, {"train_size": 1}, {"test_size": 512})}
    assert len(names) == 4


def test_preparing_is_quiet(tmp_path, capfd):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        prepare(tmp_path, **SIZES)
    output = capfd.readouterr()
    assert output.out == output.err == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"test_size": 0}, "test_size is 0; expected a whole number of at least 1"),
        ({"seed": 1.5}, "seed is 1.5"),
        ({"train_sise": 5}, "unknown setting train_sise; expected some of seed, train_size"),
    ],
)
def test_bad_settings_are_refused(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        prepare(tmp_path, **settings)


def test_two_processes_at_once_and_no_tensorflow(tmp_path):
    program = (
        "import sys\n"
        "from jaxclip.datasets.scenes.builder import prepare\n"
        f"builder = prepare({str(tmp_path)!r}, train_size=200, validation_size=9, test_size=9)\n"
        "print(len(builder.as_data_source(split='train')))\n"
        "assert 'tensorflow' not in sys.modules and 'torch' not in sys.modules\n"
    )
    command = [sys.executable, "-c", program]
    runs = [subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [run.communicate(timeout=300)[0].strip() for run in runs] == ["200", "200"]
