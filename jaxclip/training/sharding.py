"""Where arrays live: one mesh (`data`, `model`) and a table of rules.

Batches are split along `data`. Parameters are split along `model` by the first rule that matches their path, as in
tensor parallelism: the first matrix of a pair by its outputs, the second by its inputs, so that a block needs one
all-reduce a pair. What no rule names, or does not divide, is the same everywhere.
"""

import fnmatch
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxclip.config import MeshSettings

PARAMETER_RULES: tuple[tuple[str, PartitionSpec], ...] = (
    ("*/attn/in_proj/kernel", PartitionSpec(None, "model")),
    ("*/attn/out_proj/kernel", PartitionSpec("model", None)),
    ("*/mlp/c_fc/kernel", PartitionSpec(None, "model")),
    ("*/mlp/c_fc/bias", PartitionSpec("model")),
    ("*/mlp/c_proj/kernel", PartitionSpec("model", None)),
    ("text/token_embedding", PartitionSpec(None, "model")),
)


def make_mesh(settings: MeshSettings, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh over `devices`, by default all of all processes.

    Raises:
      ValueError: the axes do not multiply to the device count.
    """
    devices = jax.devices() if devices is None else devices
    data = len(devices) // settings.model if settings.data == -1 else settings.data
    if data * settings.model != len(devices):
        raise ValueError(f"mesh: data {settings.data} × model {settings.model} does not make {len(devices)} devices")
    axis_types = (AxisType.Auto, AxisType.Auto)
    return jax.make_mesh((data, settings.model), ("data", "model"), axis_types=axis_types, devices=devices)


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis split along `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def parameter_sharding(mesh: Mesh, path: str, shape: tuple[int, ...]) -> NamedSharding:
    """The sharding of one parameter by `PARAMETER_RULES`; replicated where its axis does not divide."""
    for pattern, spec in PARAMETER_RULES:
        if fnmatch.fnmatchcase(path, pattern):
            divides = all(axis is None or size % mesh.shape[axis] == 0 for size, axis in zip(shape, spec, strict=True))
            return NamedSharding(mesh, spec if divides else PartitionSpec())
    return replicated(mesh)


def state_sharding(mesh: Mesh, state):
    """A sharding for every leaf of a train state: optimiser moments lie where their parameter lies.

    Leaves are told apart by their path: one that ends in a parameter's name and is not a scalar is laid out like it.
    """

    def sharding(path, leaf):
        keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        return parameter_sharding(mesh, keys[-1], leaf.shape) if keys and leaf.ndim else replicated(mesh)

    return jax.tree_util.tree_map_with_path(sharding, state)


def shard_params(mesh: Mesh, params: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """Flat parameters laid out by the rules. Every process must hold the same values."""
    return {path: _laid_out(leaf, parameter_sharding(mesh, path, np.shape(leaf))) for path, leaf in params.items()}


def _laid_out(leaf: jax.Array | np.ndarray, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array):
        return jax.device_put(leaf, sharding)
    # Among several processes `device_put` would gather each NumPy leaf from all of them, to compare.
    return jax.make_array_from_callback(np.shape(leaf), sharding, lambda index: np.asarray(leaf)[index])


def shard_batch(mesh: Mesh, batch):
    """A pytree of this process's NumPy rows → global arrays split along `data`."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, rows), batch)


def local_data_shards(mesh: Mesh) -> int:
    """How many of the mesh's data shards this process feeds.

    Raises:
      ValueError: the data axis is not a multiple of the process count.
    """
    data = mesh.shape["data"]
    if data % jax.process_count():
        raise ValueError(f"mesh: {data} data shards cannot be fed by {jax.process_count()} processes in equal parts")
    return data // jax.process_count()
