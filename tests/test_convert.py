"""`python -m jaxclip.convert`: what is written, memory, and that a failure leaves nothing behind."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxclip.convert import convert
from jaxclip.data.preprocessing import CLIP
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.model import ModelConfig, TextConfig, VisionConfig, parameter_shapes
from jaxclip.pretrained import ModelDirectoryError, load, open_model, save_directory
from jaxclip.weights import Checkpoint, WeightsError, write_huggingface, write_open_clip
from jaxclip.weights.open_clip import architecture

REPOSITORY = Path(__file__).resolve().parents[1]
SMALL = ModelConfig(32, VisionConfig(224, 32, 64, 2, 1), TextConfig(77, 49408, 64, 2, 1))


def random_checkpoint(config=SMALL, dtype=np.float16):
    generator = np.random.default_rng(0)
    shapes = parameter_shapes(config)
    params = {path: generator.standard_normal(shape, np.float32).astype(dtype) for path, shape in shapes.items()}
    return Checkpoint(config, params, Tokenizer.clip(), CLIP)


@pytest.fixture
def source(tmp_path):
    write_open_clip(random_checkpoint(), tmp_path / "source")
    return tmp_path / "source"


def command(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "jaxclip.convert", *arguments],
        cwd=REPOSITORY,
        env=os.environ | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )


def assert_identical(found, expected):
    assert set(found) == set(expected)
    for path, parameter in expected.items():
        assert found[path].dtype == parameter.dtype
        np.testing.assert_array_equal(np.asarray(found[path]), parameter)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.float32])
def test_types_are_kept_or_widened(dtype, tmp_path):
    original = random_checkpoint(dtype=dtype)
    write_open_clip(original, tmp_path / "source")
    convert(tmp_path / "source", tmp_path / "kept")
    assert_identical(open_model(tmp_path / "kept").params, original.params)
    convert(tmp_path / "source", tmp_path / "wide", dtype="float32")
    wide = {path: np.asarray(leaf, np.float32) for path, leaf in original.params.items()}
    assert_identical(open_model(tmp_path / "wide").params, wide)
    assert_identical(load(tmp_path / "kept").params, wide)


def test_the_directory_stands_alone(source, tmp_path):
    convert(source, tmp_path / "converted")
    assert {path.name for path in (tmp_path / "converted").iterdir()} == {
        "model.json",
        "preprocessing.json",
        "tokenizer.json",
        "params",
        "checksums.json",
    }
    clip = load(tmp_path / "converted")
    assert clip.config == SMALL and clip.preprocessing == CLIP
    np.testing.assert_array_equal(clip.tokenizer(["a photo"]), Tokenizer.clip()(["a photo"]))


def test_image_size(source, tmp_path):
    convert(source, tmp_path / "converted", image_size=320)
    clip = load(tmp_path / "converted")
    assert clip.config.vision.image_size == clip.preprocessing.size == 320
    assert clip.params["visual/positional_embedding"].shape == (101, 64)
    assert clip.encode_image([np.zeros((320, 320, 3), np.uint8)]).shape == (1, 32)


def test_command_line(source, tmp_path):
    (source / "open_clip_config.json").unlink()
    arguments = (f"--source={source}/open_clip_model.safetensors", f"--dest={tmp_path}/converted")
    failed = command(*arguments)
    assert failed.returncode == 1 and "Traceback" not in failed.stderr
    assert "Error: " in failed.stderr and "say --format=openai" in failed.stderr
    assert not (tmp_path / "converted").exists()
    done = command(*arguments, "--format=openai", "--dtype=float32")
    assert done.returncode == 0, done.stderr
    assert "parameters in float32; activation quick_gelu" in done.stdout
    assert "100%" in done.stderr
    assert load(tmp_path / "converted").config == SMALL


def test_help_teaches():
    text = command("--help").stdout
    assert "python -m jaxclip.convert --source=ViT-B-32.pt --dest=models/vit-b-32" in text
    assert "--dtype: <keep|float32>" in text and "--arch:" in text


@pytest.mark.parametrize("when", ["before writing", "while writing", "interrupted"])
@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_conversion_leaves_what_was_there(when, existing, source, tmp_path, monkeypatch):
    dest = tmp_path / "out" / "converted"
    if existing:
        convert(source, dest)
        before = open_model(dest).params
    file = source / "open_clip_model.safetensors"
    error = KeyboardInterrupt if when == "interrupted" else WeightsError
    if when == "before writing":
        tensors = load_file(file)
        tensors.pop("visual.proj")
        save_file(tensors, file)
    elif when == "while writing":
        # Its sizes are right and are checked first; its bytes are gone when they are read.
        model = open_model(source)
        file.write_bytes(b"")
        monkeypatch.setattr("jaxclip.convert.open_model", lambda *_, **__: model)
    else:
        monkeypatch.setattr("jaxclip.saved_params._groups", lambda params: interrupt())
    with pytest.raises(error):
        convert(source, dest)
    assert (dest.exists()) == existing
    if dest.parent.exists():
        assert [path.name for path in dest.parent.iterdir()] == ["converted"] * existing
    if existing:
        assert_identical(open_model(dest).params, before)


def interrupt():
    raise KeyboardInterrupt
    yield


def test_other_directories_are_not_replaced(source, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    with pytest.raises(ModelDirectoryError, match="mine: exists and is not a model directory"):
        convert(source, tmp_path / "mine")
    assert (tmp_path / "mine" / "letter.txt").read_text() == "dear"


def test_what_is_assumed_is_said(tmp_path, capsys):
    write_huggingface(random_checkpoint(), tmp_path / "source")
    (tmp_path / "source" / "tokenizer.json").unlink()
    convert(tmp_path / "source", tmp_path / "converted")
    assert "Note: " in capsys.readouterr().out
    assert load(tmp_path / "converted").tokenizer.vocabulary_size == 49408


PEAK = """
import re, sys
from pathlib import Path
from jaxclip import convert
convert.convert(Path(sys.argv[1]), Path(sys.argv[2]))
# Not getrusage: its peak is handed down by the process that started this one.
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) * 1024)
"""


def peak_memory(source, dest):
    """Bytes that a conversion takes at most, in a process of its own."""
    run = subprocess.run([sys.executable, "-c", PEAK, source, dest], cwd=REPOSITORY, capture_output=True, check=True)
    return int(run.stdout.split()[-1])


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc/self/status")
def test_memory_stays_below_one_and_a_half_times_vit_l_14(tmp_path):
    config = architecture("ViT-L-14-quickgelu")
    block = np.random.default_rng(0).standard_normal(2**20).astype(np.float16)
    params = {path: np.resize(block, shape) for path, shape in parameter_shapes(config).items()}
    write_open_clip(Checkpoint(config, params, Tokenizer.clip(), CLIP), tmp_path / "source")
    size = (tmp_path / "source" / "open_clip_model.safetensors").stat().st_size
    assert size > 850e6
    assert peak_memory(tmp_path / "source", tmp_path / "converted") < 1.5 * size
    shutil.rmtree(tmp_path)  # pytest would keep it for a while


def test_many_small_steps_make_one_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr("jaxclip.saved_params._WRITTEN_AT_ONCE", 1000)
    written = []
    original = random_checkpoint()
    save_directory(original, tmp_path / "model", dtype=None, on_written=written.append)
    assert len(written) > 20 and sum(written) == sum(leaf.nbytes for leaf in original.params.values())
    assert_identical(open_model(tmp_path / "model").params, original.params)
    assert json.loads((tmp_path / "model" / "model.json").read_text()) == json.loads(json.dumps(SMALL.as_dict()))
