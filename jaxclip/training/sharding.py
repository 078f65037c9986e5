"""Where arrays live: one mesh (`data`, `model`) and a table of rules.

Batches are split along `data`. Parameters are split along `model` by the first rule that matches their path, as in
tensor parallelism: the first matrix of a pair by its outputs, the second by its inputs, so that the MLP needs one
all-reduce. Attention's first matrix holds queries, keys and values side by side, so that its outputs are exchanged once
more. What no rule names, or does not divide, is the same everywhere; or, on request, large leaves are also split along
`data`, with their optimiser moments (as ZeRO does, arXiv 1910.02054; within a step parameters are gathered once and
kept to its end).
"""

import collections
import contextlib
import fnmatch
import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from jaxclip.config import ConfigError, MeshSettings

PARAMETER_RULES: tuple[tuple[str, PartitionSpec], ...] = (
    ("*/attn/in_proj/kernel", PartitionSpec(None, "model")),
    ("*/attn/out_proj/kernel", PartitionSpec("model", None)),
    ("*/mlp/c_fc/kernel", PartitionSpec(None, "model")),
    ("*/mlp/c_fc/bias", PartitionSpec("model")),
    ("*/mlp/c_proj/kernel", PartitionSpec("model", None)),
    ("text/token_embedding", PartitionSpec(None, "model")),
)
_AXES, _AXIS_TYPES = ("data", "model"), (AxisType.Auto, AxisType.Auto)
# Elements from which a leaf is large enough to be split along `data`: below it a collective costs more than it saves.
LARGE_LEAF = 4096


def make_mesh(settings: MeshSettings, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """The mesh over `devices`, by default all of all processes.

    Devices of one slice (of a TPU; on GPUs a node is one) stand together along `data`: the network between slices is
    slower, and only sums and gathered embeddings cross it. The devices along `model` are of one process.

    Raises:
      ConfigError: the axes do not multiply to the device count, or the processes or the slices cannot share the data
        shards equally.
    """
    devices = jax.devices() if devices is None else devices
    processes = len({device.process_index for device in devices})
    data = len(devices) // settings.model if settings.data == -1 else settings.data
    if data * settings.model != len(devices):
        raise ConfigError(
            f"config.mesh: data {settings.data} × model {settings.model} does not make {len(devices)} devices"
        )
    if data % processes:
        raise ConfigError(
            f"config.mesh: {processes} processes cannot feed {data} data shards in equal parts; each process needs the "
            f"{settings.model} devices of a shard, or a multiple of them"
        )
    slices = collections.defaultdict(list)
    for device in devices:
        slices[getattr(device, "slice_index", 0)].append(device)
    sizes = {len(members) for members in slices.values()}
    if len(sizes) > 1 or data % len(slices):
        raise ConfigError(
            f"config.mesh: {len(slices)} slices (nodes of GPUs) of {' or '.join(map(str, sorted(sizes)))} devices "
            f"cannot share {data} data shards of {settings.model} devices in equal parts"
        )
    shape = (data // len(slices), settings.model)
    parts = [_along_the_wires(slices[number], shape) for number in sorted(slices)]
    return Mesh(np.concatenate(parts), _AXES, axis_types=_AXIS_TYPES)


def _along_the_wires(devices: Sequence[jax.Device], shape: tuple[int, int]) -> np.ndarray:
    """The devices of a slice as `jax.make_mesh`, which knows its wires, lays them out; each row of one process."""
    with contextlib.suppress(NotImplementedError):  # not every shape fits the wires of a TPU
        found = jax.make_mesh(shape, _AXES, _AXIS_TYPES, devices=devices).devices
        if all(len({device.process_index for device in row}) == 1 for row in found):
            return found
    found = np.empty(len(devices), object)
    found[:] = sorted(devices, key=lambda device: (device.process_index, device.id))
    return found.reshape(shape)


def on_cpu(mesh: Mesh) -> bool:
    """Whether its devices are CPUs."""
    return mesh.devices.flat[0].platform == "cpu"


def replicated(mesh: Mesh) -> NamedSharding:
    """The same on every device."""
    return NamedSharding(mesh, PartitionSpec())


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """The leading axis split along `data`."""
    return NamedSharding(mesh, PartitionSpec("data"))


def parameter_sharding(mesh: Mesh, path: str, shape: tuple[int, ...], *, over_data: bool = False) -> NamedSharding:
    """The sharding of one parameter by `PARAMETER_RULES`; replicated where its axis does not divide.

    With `over_data` a leaf of `LARGE_LEAF` elements or more is also split along `data`: on the largest of its axes that
    divides and that `model` has not taken.
    """
    spec = next((spec for pattern, spec in PARAMETER_RULES if fnmatch.fnmatchcase(path, pattern)), PartitionSpec())
    if any(name is not None and size % mesh.shape[name] for size, name in zip(shape, spec, strict=False)):
        spec = PartitionSpec()
    if over_data and math.prod(shape) >= LARGE_LEAF:
        taken = [name if name and mesh.shape[name] > 1 else None for name in spec]
        names = [*taken, *[None] * (len(shape) - len(spec))]
        free = [axis for axis, name in enumerate(names) if name is None and shape[axis] % mesh.shape["data"] == 0]
        if free:
            names[max(free, key=lambda axis: shape[axis])] = "data"
            spec = PartitionSpec(*names)
    return NamedSharding(mesh, spec)


def data_axis(mesh: Mesh, path: str, shape: tuple[int, ...]) -> int | None:
    """The axis on which `parameter_sharding` splits a leaf over data; None where it does not."""
    spec = parameter_sharding(mesh, path, shape, over_data=True).spec
    return spec.index("data") if "data" in spec else None


def state_sharding(mesh: Mesh, state, *, over_data: bool = False):
    """A sharding for every leaf of a train state: optimiser moments lie where their parameter lies.

    Leaves are told apart by their path: one that ends in a parameter's name and is not a scalar is laid out like it.
    """

    def sharding(path, leaf):
        keys = [key.key for key in path if isinstance(key, jax.tree_util.DictKey)]
        if not keys or not leaf.ndim:
            return replicated(mesh)
        return parameter_sharding(mesh, keys[-1], leaf.shape, over_data=over_data)

    return jax.tree_util.tree_map_with_path(sharding, state)


def shard_params(mesh: Mesh, params: Mapping[str, jax.Array], *, over_data: bool = False) -> dict[str, jax.Array]:
    """Flat parameters laid out by `parameter_sharding`. Every process must hold the same values."""
    return {
        path: _laid_out(leaf, parameter_sharding(mesh, path, np.shape(leaf), over_data=over_data))
        for path, leaf in params.items()
    }


def _laid_out(leaf: jax.Array | np.ndarray, sharding: NamedSharding) -> jax.Array:
    if isinstance(leaf, jax.Array):
        return jax.device_put(leaf, sharding)
    # Among several processes `device_put` would gather each NumPy leaf from all of them, to compare.
    return jax.make_array_from_callback(np.shape(leaf), sharding, lambda index: np.asarray(leaf)[index])


def shard_batch(mesh: Mesh, batch):
    """A pytree of this process's NumPy rows → global arrays split along `data`."""
    sharding = batch_sharding(mesh)
    return jax.tree.map(lambda rows: jax.make_array_from_process_local_data(sharding, rows), batch)


def rows_of_process(mesh: Mesh, count: int) -> np.ndarray:
    """The numbers of those of a batch's `count` rows that `shard_batch` takes from this process, in order.

    They need not be side by side: a mesh, which follows the wires of a slice, may mix the devices of processes.
    """
    mine = [device.process_index == jax.process_index() for device in mesh.devices[:, 0]]
    return np.arange(count).reshape(len(mine), -1)[mine].ravel()


def record_blocks(mesh: Mesh) -> np.ndarray:
    """int [data], data shard → which of as many equal parts of a batch's records it holds.

    The streams give processes parts in their order, but a mesh may mix their devices (see `rows_of_process`).
    """
    owners = [device.process_index for device in mesh.devices[:, 0]]
    return np.argsort(np.argsort(owners, kind="stable"))


def local_data_shards(mesh: Mesh) -> int:
    """How many of the mesh's data shards this process feeds."""
    return mesh.shape["data"] // jax.process_count()
