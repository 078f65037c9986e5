"""Machines by name: `v5e:4x4` is a TPU slice that need not be there, `cpu:8` is eight devices on this processor."""

import dataclasses
import importlib.metadata
import importlib.util
import math
import os
import re
from collections.abc import Sequence

import jax
from jax.experimental import topologies

from jaxclip.chips import CHIPS, Chip
from jaxclip.planning.errors import PlanError

# The slices that Google Cloud rents out (https://cloud.google.com/tpu/docs/v5e and the pages beside it).
_FLAT = ("1x1", "2x2", "2x4", "4x4", "4x8", "8x8", "8x16", "16x16")
_CUBES = ("2x2x1", "2x2x2", "2x2x4", "2x4x4", "4x4x4", "4x4x8", "4x8x8", "8x8x8", "8x8x16", "8x16x16", "16x16x16")
SLICES = {"v5e": _FLAT, "v5p": _CUBES, "v6e": _FLAT}

# Without these libtpu asks a metadata server, which only a Cloud TPU host has, what machine it runs on.
_OFFLINE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_ACCELERATOR_TYPE": "v5litepod-16",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_WORKER_ID": "0",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",  # no TPU is used: nothing to lock
}


@dataclasses.dataclass(frozen=True)
class Topology:
    """A machine: its name, its devices (for which programs can be compiled), and its chip; None for CPUs."""

    name: str
    devices: Sequence[jax.Device]
    chip: Chip | None


def open_topology(name: str) -> Topology:
    """The machine of that name. To be called before the first use of JAX: this process computes on the CPU alone.

    Args:
      name: a key of `SLICES` and one of its slices (`v5e:4x4`), or `cpu:N`.

    Raises:
      PlanError: an unknown name, or the TPU compiler is not installed.
    """
    kind, _, size = name.partition(":")
    jax.config.update("jax_platforms", "cpu")
    if kind == "cpu" and re.fullmatch("[1-9][0-9]{0,3}", size):
        return Topology(name, _cpu_devices(int(size)), None)
    if size not in SLICES.get(kind, ()):
        known = "; ".join(f"{kind}: {', '.join(slices)}" for kind, slices in SLICES.items())
        raise PlanError(f"--topology: {name!r} is not known; expected cpu:N, or a slice of {known} (e.g. v5e:4x4)")
    if importlib.util.find_spec("libtpu") is None:
        raise PlanError(f"--topology={name} needs the TPU compiler: pip install {_libtpu_requirement()}")
    for variable, value in _OFFLINE.items():
        os.environ.setdefault(variable, value)
    settings = {"chips_per_host_bounds": (1, 1, 1)} if size == "1x1" else {}  # by default a host has 2×2 chips
    described = topologies.get_topology_desc(platform="tpu", topology_name=name, **settings)
    if len(described.devices) != math.prod(map(int, size.split("x"))):
        raise PlanError(f"--topology={name}: the TPU compiler makes {len(described.devices)} devices of it")
    return Topology(name, described.devices, CHIPS[kind])


def _cpu_devices(count: int) -> Sequence[jax.Device]:
    jax.config.update("jax_num_cpu_devices", count)
    return jax.devices()


def _libtpu_requirement() -> str:
    """The version of libtpu that this JAX was made for, as pip takes it."""
    found = [line.partition(";")[0].strip() for line in importlib.metadata.requires("jax") if line.startswith("libtpu")]
    return f'"{found[0]}"' if found else "libtpu"
