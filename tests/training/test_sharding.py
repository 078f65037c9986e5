"""One device, eight data shards, and four data × two model shards give the same numbers; leaves lie where asked."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from jaxclip.config import ConfigError, MeshSettings
from jaxclip.training.checkpointing import load_trained
from jaxclip.training.sharding import make_mesh, parameter_sharding, record_blocks, rows_of_process

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def output(tmp_path_factory):
    """What sharded_run.py writes; it needs a process of its own, since the device count is fixed at its start."""
    directory = tmp_path_factory.mktemp("sharded")
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(Path(__file__).with_name("sharded_run.py")), str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return directory


@pytest.fixture(scope="module")
def layouts(output):
    return json.loads((output / "layouts.json").read_text())


@pytest.mark.parametrize("mesh", ["8", "4x2", "8 sharded", "4x2 sharded"])
def test_meshes_give_the_same_losses_gradients_parameters_and_embeddings(output, mesh):
    """To float32 rounding: the sums over shards are made in another order. Learning rate 0.01, 3 steps."""
    expected, found = (dict(np.load(output / f"{name}.npz")) for name in ("1", mesh))
    assert found.keys() == expected.keys()
    np.testing.assert_allclose(found["losses"], expected["losses"], rtol=1e-5)
    assert len({row[0] for row in expected["losses"].tolist()}) == 3
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-4, atol=2e-5, err_msg=name)


def test_data_shards_hold_every_leaf_whole(layouts):
    shapes = {name: shape for name, (_, shape) in layouts["1"].items()}
    assert {name: shape for name, (_, shape) in layouts["8"].items()} == shapes
    assert not any("data" in spec for mesh in ("8", "4x2") for spec, _ in layouts[mesh].values())


def test_model_shards_split_matrices_and_their_moments(layouts):
    layout = layouts["4x2"]
    expected = {
        "text/transformer/resblocks_0/attn/in_proj/kernel": [[None, "model"], [32, 48]],
        "text/transformer/resblocks_1/attn/out_proj/kernel": [["model", None], [16, 32]],
        "visual/transformer/resblocks_0/mlp/c_fc/kernel": [[None, "model"], [32, 64]],
        "visual/transformer/resblocks_0/mlp/c_fc/bias": [["model"], [64]],
        "text/transformer/resblocks_0/mlp/c_proj/kernel": [["model", None], [64, 32]],
        "text/token_embedding": [[None, "model"], [514, 16]],
        "text/ln_final/scale": [[], [32]],
        "visual/conv1": [[], [4, 4, 3, 32]],
        "logit_scale": [[], []],
    }
    for path, where in expected.items():
        assert layout[path] == where, path
        if path != "visual/conv1":
            assert layout[f"mu/{path}"] == layout[f"nu/{path}"] == layout[path]


def test_sharded_parameters_are_split_over_both_axes_with_their_moments(layouts):
    """On the largest axis that divides and `model` has not taken; leaves of less than 4,096 elements are whole."""
    in_proj, c_fc = "text/transformer/resblocks_0/attn/in_proj/kernel", "visual/transformer/resblocks_0/mlp/c_fc/kernel"
    embedding, projection = "text/token_embedding", "text/text_projection"
    expected = {
        "8 sharded": {
            c_fc: [[None, "data"], [32, 16]],
            "text/transformer/resblocks_1/mlp/c_proj/kernel": [["data", None], [16, 32]],
            embedding: [[None, "data"], [514, 4]],  # 514 is not a multiple of 8
            in_proj: [[None, "model"], [32, 96]],
            projection: [[], [32, 16]],
        },
        "4x2 sharded": {
            c_fc: [["data", "model"], [8, 64]],
            "text/transformer/resblocks_1/mlp/c_proj/kernel": [["model", "data"], [64, 8]],
            embedding: [[None, "model"], [514, 16]],
            in_proj: [[None, "model"], [32, 48]],
            projection: [[], [32, 16]],
        },
    }
    for mesh, leaves in expected.items():
        for path, where in leaves.items():
            assert layouts[mesh][path] == layouts[mesh][f"mu/{path}"] == layouts[mesh][f"nu/{path}"] == where, path


def test_a_checkpoint_of_eight_devices_is_read_on_one(output):
    expected = dict(np.load(output / "4x2 sharded.npz"))
    stored = load_trained(output / "checkpoints")
    assert stored.keys() == expected.keys() - {"losses", "embedded_texts", "embedded_images"}
    for path, leaf in stored.items():
        np.testing.assert_array_equal(leaf, expected[path], err_msg=path)


def test_records_are_dealt_to_processes_in_their_order_however_a_mesh_mixes_devices():
    def mesh(*owners):
        return SimpleNamespace(devices=np.array([[SimpleNamespace(process_index=owner)] for owner in owners]))

    assert record_blocks(mesh(0, 0, 1, 1)).tolist() == [0, 1, 2, 3]
    # Process 0 puts the first half of the records on shards 1 and 2, process 1 the second half on 0 and 3.
    assert record_blocks(mesh(1, 0, 0, 1)).tolist() == [2, 0, 1, 3]


def test_a_process_gives_the_rows_of_its_devices():
    def mesh(*owners):
        return SimpleNamespace(devices=np.array([[SimpleNamespace(process_index=owner)] for owner in owners]))

    assert rows_of_process(mesh(0, 0, 0), 6).tolist() == [0, 1, 2, 3, 4, 5]
    assert rows_of_process(mesh(0, 0, 1, 1), 8).tolist() == [0, 1, 2, 3]
    assert rows_of_process(mesh(1, 0, 0, 1), 8).tolist() == [2, 3, 4, 5]
    assert rows_of_process(mesh(0, 1, 0, 1), 4).tolist() == [0, 2]


@dataclasses.dataclass(frozen=True)
class Device:
    """A GPU, as far as making a mesh looks at it."""

    id: int
    slice_index: int
    process_index: int
    platform: str = "gpu"
    device_kind: str = "NVIDIA H100"


def nodes(*sizes, processes=1):
    """Devices of nodes with so many GPUs, in an order that mixes the nodes."""
    owners = [node for node, size in enumerate(sizes) for _ in range(size)]
    gpus = [Device(number, node, node % processes) for number, node in enumerate(owners)]
    return sorted(gpus, key=lambda gpu: gpu.id % 3)


@pytest.mark.parametrize(("data", "model"), [(8, 1), (4, 2), (2, 4)])
def test_devices_of_a_slice_stand_together(data, model):
    """`jax.make_mesh` alone refuses more than one slice, and JAX counts each node of GPUs as one."""
    mesh = make_mesh(MeshSettings(model=model), nodes(4, 4, processes=2))
    assert dict(mesh.shape) == {"data": data, "model": model}
    assert [[gpu.slice_index for gpu in row] for row in mesh.devices] == [[0] * model] * (data // 2) + [[1] * model] * (
        data // 2
    )
    assert sorted(gpu.id for gpu in mesh.devices.flat) == list(range(8))


def test_the_devices_of_a_data_shard_are_of_one_process():
    """Also where another layout follows the wires: here processes 0 and 1 have every second device."""
    devices = [Device(number, 0, number % 2) for number in range(8)]
    mesh = make_mesh(MeshSettings(model=2), devices)
    owners = [[gpu.process_index for gpu in row] for row in mesh.devices]
    assert owners == [[0, 0], [0, 0], [1, 1], [1, 1]]
    assert [gpu.process_index for gpu in make_mesh(MeshSettings(), devices).devices.flat] == [0, 1] * 4
    with pytest.raises(ConfigError, match="2 processes cannot feed 1 data shards"):
        make_mesh(MeshSettings(model=8), devices)


@pytest.mark.parametrize(
    ("sizes", "model", "message"),
    [
        ((5, 3), 1, "2 slices .* of 3 or 5 devices cannot share 8 data shards of 1 devices"),
        ((6, 6), 4, "2 slices .* of 6 devices cannot share 3 data shards of 4 devices"),
    ],
)
def test_slices_that_cannot_share_the_shards_are_an_error(sizes, model, message):
    with pytest.raises(ConfigError, match=message):
        make_mesh(MeshSettings(model=model), nodes(*sizes))


def test_an_axis_that_does_not_divide_is_replicated():
    mesh = AbstractMesh((1, 5), ("data", "model"))
    path = "text/transformer/resblocks_0/mlp/c_fc/kernel"
    assert parameter_sharding(mesh, path, (32, 128)).spec == PartitionSpec()
    assert parameter_sharding(mesh, path, (32, 160)).spec == PartitionSpec(None, "model")


def test_a_mesh_that_does_not_fit_the_devices_is_an_error():
    devices = jax.device_count()
    with pytest.raises(ValueError, match=f"data 7 × model 1 does not make {devices} devices"):
        make_mesh(MeshSettings(data=7))
    with pytest.raises(ValueError, match=f"model {devices + 1} does not make {devices} devices"):
        make_mesh(MeshSettings(model=devices + 1))
    assert dict(make_mesh(MeshSettings()).shape) == {"data": devices, "model": 1}


def test_a_mesh_that_splits_the_model_over_processes_is_an_error():
    """With one device a process, two processes would have to share a data shard."""
    with pytest.raises(ConfigError, match="4 processes cannot feed 2 data shards"):
        make_mesh(MeshSettings(model=2), [Device(number, 0, number) for number in range(4)])
