"""`python -m jaxclip.export` and `jaxclip.load`: every kind of checkpoint that they take."""

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import orbax.checkpoint as ocp
import pytest

import jaxclip
from jaxclip.checksums import write_checksums
from jaxclip.data.preprocessing import CLIP
from jaxclip.pretrained import Clip, ModelDirectoryError, open_model, save_directory
from jaxclip.training.checkpointing import CheckpointError
from jaxclip.weights import WeightsError

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def clip(tiny_config, tiny_params, tiny_tokenizer):
    return Clip(tiny_config, tiny_params, tiny_tokenizer, dataclasses.replace(CLIP, size=16))


@pytest.fixture
def workdir(clip, tmp_path):
    """A work directory of a run: the base model and, at step 20, the trained part."""
    save_directory(clip, tmp_path / "run" / "checkpoints" / "base")
    return tmp_path / "run"


def save_step(workdir, step, params):
    checkpointer = ocp.StandardCheckpointer()
    checkpointer.save(workdir / "checkpoints" / str(step) / "params", params)
    checkpointer.wait_until_finished()
    write_checksums(workdir / "checkpoints" / str(step))


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jaxclip.export", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_same_params(found, expected):
    assert set(found) == set(expected)
    for path, parameter in expected.items():
        np.testing.assert_array_equal(np.asarray(found[path]), parameter, err_msg=path)


@pytest.mark.parametrize("format", ["huggingface", "open_clip"])
def test_command_line(format, clip, tmp_path):
    save_directory(clip, tmp_path / "model")
    done = command(f"--checkpoint={tmp_path}/model", f"--dest={tmp_path}/out", f"--format={format}")
    assert done.returncode == 0, done.stderr
    assert "safetensors" in done.stdout
    assert_same_params(open_model(tmp_path / "out").params, clip.params)


def test_errors_are_one_line(tmp_path):
    failed = command(f"--checkpoint={tmp_path}/nowhere", f"--dest={tmp_path}/out", "--format=open_clip")
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert f"Error: {tmp_path}/nowhere: no such file or directory" in failed.stderr
    assert not (tmp_path / "out").exists()


def test_load_takes_a_model_directory(clip, tmp_path):
    save_directory(clip, tmp_path / "model", dtype="float16")
    loaded = jaxclip.load(str(tmp_path / "model"))
    assert {leaf.dtype for leaf in loaded.params.values()} == {np.dtype("float32")}
    assert_same_params(loaded.params, {path: np.float32(np.float16(leaf)) for path, leaf in clip.params.items()})


def test_load_takes_a_work_directory(workdir, clip):
    assert_same_params(jaxclip.load(workdir).params, clip.params)
    save_step(workdir, 9, {"logit_scale": np.float32(1.0)})
    save_step(workdir, 20, {"logit_scale": np.float32(3.0), "text/ln_final/bias": np.ones(32, np.float32)})
    newest = {**clip.params, "logit_scale": np.float32(3.0), "text/ln_final/bias": np.ones(32, np.float32)}
    assert_same_params(jaxclip.load(workdir).params, newest)


def test_parameters_of_objectives_are_not_part_of_the_model(workdir, clip):
    trained = {"logit_scale": np.float32(3.0), "objectives/semclip/projection": np.ones((16, 2), np.float32)}
    save_step(workdir, 20, trained)
    assert_same_params(open_model(workdir).params, {**clip.params, "logit_scale": np.float32(3.0)})


def test_a_damaged_checkpoint_of_a_run_is_named(workdir):
    save_step(workdir, 20, {"text/ln_final/bias": np.ones(31, np.float32)})
    with pytest.raises(ModelDirectoryError, match=r"text/ln_final/bias' has shape \(31,\), expected \(32,\)"):
        jaxclip.load(workdir)
    shutil.rmtree(workdir / "checkpoints" / "20" / "params")
    with pytest.raises(CheckpointError, match="no checkpoint is whole: .*/20/params/.* is missing"):
        jaxclip.load(workdir)


def test_load_takes_the_name_of_a_shipped_model():
    embeddings = jaxclip.load("scenes-base").encode_text(["a red circle"])
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=-1), 1, rtol=1e-5)


def test_load_converts_on_the_fly(clip, tmp_path):
    jaxclip.weights.write_huggingface(clip, tmp_path / "hf")
    loaded = jaxclip.load(tmp_path / "hf")
    texts = ["two dogs", "no dogs"]
    np.testing.assert_allclose(loaded.encode_text(texts), clip.encode_text(texts), atol=1e-5)


def test_load_for_another_image_size(clip, tmp_path):
    save_directory(clip, tmp_path / "model")
    loaded = jaxclip.load(tmp_path / "model", image_size=24)
    assert loaded.config.vision.image_size == loaded.preprocessing.size == 24
    assert loaded.encode_image([np.zeros((30, 40, 3), np.uint8)]).shape == (1, 16)
    with pytest.raises(WeightsError, match="--image_size=25"):
        jaxclip.load(tmp_path / "model", image_size=25)


def test_load_names_what_is_wrong(tmp_path, clip):
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or directory"):
        jaxclip.load(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="expected one of model.safetensors"):
        jaxclip.load(tmp_path)
    save_directory(clip, tmp_path / "model")
    (tmp_path / "model" / "tokenizer.json").unlink()
    with pytest.raises((ModelDirectoryError, FileNotFoundError), match="tokenizer.json"):
        jaxclip.load(tmp_path / "model")


def test_images_are_encoded_in_any_number(clip):
    images = [np.full((20, 30, 3), value, np.uint8) for value in (0, 100, 200)]
    one_by_one = np.concatenate([clip.encode_image([image]) for image in images])
    np.testing.assert_allclose(clip.encode_image(images), one_by_one, atol=1e-5)
    assert clip.encode_image([]).shape == (0, 16)
