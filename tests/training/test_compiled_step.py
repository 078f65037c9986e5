"""What the compiled step on 8 devices does and does not do, read from the programs that compiled_step.py writes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from compiled_step import CONFIG, FORMS, RECORDS, TRAINABLE
from hlo_text import operations, shapes
from sharded_run import random_params

from jaxclip.training.trainable import partition

ROOT = Path(__file__).resolve().parents[2]
LAYER_KERNELS = [(32, 96), (32, 32), (32, 128), (128, 32)]  # in_proj, out_proj, c_fc, c_proj


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """The folder that compiled_step.py writes; a process of its own, since the device count is fixed at its start."""
    directory = tmp_path_factory.mktemp("compiled")
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")]),
    }
    command = [sys.executable, str(Path(__file__).with_name("compiled_step.py")), str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return directory


@pytest.fixture(scope="module")
def programs(output):
    """Name of a form → its operations."""
    return {name: operations((output / f"{name}.hlo").read_text()) for name in FORMS}


def weight_gradients(found):
    """Products whose result has the shape of a layer's kernel, either way round."""
    either_way = {shape for kernel in LAYER_KERNELS for shape in (kernel, kernel[::-1])}
    return sum(times for shape, times in shapes(found, "dot").items() if shape in either_way)


def test_frozen_layers_have_no_weight_gradients(programs):
    """One text layer of three is trained, or all are."""
    assert weight_gradients(programs["plain"]) == 4
    assert weight_gradients(programs["all layers trained"]) == 3 * 4


@pytest.mark.parametrize("form", ["plain", "microbatches and chunks"])
def test_embeddings_are_gathered_and_logits_are_not(programs, form):
    """Image and caption, once each, and a bit a record, whether they are finite.

    The gradient of the caption comes back scattered (the image's is not needed).
    """
    found, D = programs[form], CONFIG.embed_dim
    assert shapes(found, "all-gather") == {(RECORDS, D): 2, (RECORDS,): 1}
    assert shapes(found, "reduce-scatter") == {(RECORDS // 8, D): 1}
    assert not shapes(found, "all-to-all") and not shapes(found, "collective-permute")


@pytest.mark.parametrize("form", FORMS)
def test_nothing_that_is_sent_has_a_side_of_the_whole_batch_but_embeddings(programs, form):
    """Logits would be [B, B], [b, B] or [B, b]. The one vector is gathered: which records are finite."""
    for operation in ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute"):
        found = shapes(programs[form], operation)
        assert found.pop((RECORDS,), 0) == (operation == "all-gather")
        for shape in found:
            assert RECORDS not in shape or shape == (RECORDS, CONFIG.embed_dim), (operation, shape)


def test_logits_are_made_a_chunk_at_a_time(programs):
    """Each device has 10 rows of 80 columns: at once, or 2 rows after 2."""
    whole, chunk = (RECORDS // 8, RECORDS), (2, RECORDS)
    either_way = {whole, whole[::-1]}
    assert either_way & set(shapes(programs["plain"], "dot"))
    assert not either_way & set(shapes(programs["microbatches and chunks"], "dot"))
    assert {chunk, chunk[::-1]} & set(shapes(programs["microbatches and chunks"], "dot"))


@pytest.mark.parametrize("form", ["plain", "microbatches and chunks"])
def test_gradients_are_summed_over_devices_once_a_step(programs, form):
    """Not once a microbatch, of which there are 5."""
    found = shapes(programs[form], "all-reduce")
    assert {kernel: found[kernel] for kernel in LAYER_KERNELS} == dict.fromkeys(LAYER_KERNELS, 1)


def test_sharded_parameters_are_gathered_once_and_their_gradients_scattered_once(programs):
    """The two kernels of each MLP and the token embedding are large; of the first layer they are trained."""
    found, D = programs["sharded"], CONFIG.embed_dim
    assert shapes(found, "all-gather") == {(32, 128): 3, (128, 32): 3, (514, 32): 1, (RECORDS, D): 2, (RECORDS,): 1}
    assert shapes(found, "reduce-scatter") == {(RECORDS // 8, D): 1, (32, 128 // 8): 1, (128 // 8, 32): 1}
    assert not {(32, 128), (128, 32)} & set(shapes(found, "all-reduce"))


def bytes_of(params, moments, shards):
    """On one device, of float32 leaves and their moments; those of 4,096 elements and more are split."""
    sizes = [leaf.size // shards if leaf.size >= 4096 else leaf.size for leaf in params.values()]
    return 4 * (1 + moments) * sum(sizes)


def test_each_device_holds_its_part_of_parameters_and_moments(output):
    """On 8 data shards just an eighth of what is large; `model` splits smaller leaves too."""
    trained, frozen = partition(random_params(CONFIG), TRAINABLE)
    frozen = {path: leaf for path, leaf in frozen.items() if not path.startswith("visual/")}  # features stand in for it
    saved = sum(bytes_of(*part, 1) - bytes_of(*part, 8) for part in ((trained, 2), (frozen, 0)))
    found = json.loads((output / "bytes.json").read_text())
    assert found["plain"] - found["sharded"] == saved
    assert found["sharded both ways"] < found["sharded"]
