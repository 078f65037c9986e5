"""Files of tensors: safetensors and torch, whole or in shards."""

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import safetensors

from jaxclip.weights.tensors import LazyTensor, WeightsError
from jaxclip.weights.torch_archive import read_torch

SAFETENSORS_TYPES = {
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "F32": np.dtype(np.float32),
    "F64": np.dtype(np.float64),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
TORCH_SUFFIXES = (".pt", ".pth", ".bin", ".ckpt")


@dataclasses.dataclass(frozen=True)
class TensorFile:
    """Tensors and where they come from.

    Attributes:
      path: the file, or the index of the shards; named in errors.
      tensors: name → tensor.
      scripted: whether it is a TorchScript archive.
    """

    path: Path
    tensors: dict[str, LazyTensor]
    scripted: bool = False


def read_tensors(path: Path) -> TensorFile:
    """Opens a file of tensors by its suffix, or an index `….safetensors.index.json` / `….bin.index.json`.

    Raises:
      FileNotFoundError: the file or a shard is missing.
      WeightsError: the file is damaged or of an unknown kind.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    if path.name.endswith(".index.json"):
        return TensorFile(path, _read_shards(path))
    if path.suffix == ".safetensors":
        return TensorFile(path, _read_safetensors(path))
    if path.suffix in TORCH_SUFFIXES:
        content = read_torch(path)
        return TensorFile(path, content.tensors, content.scripted)
    expected = ", ".join([".safetensors", ".index.json", *TORCH_SUFFIXES])
    raise WeightsError(f"{path}: unknown kind of file {path.suffix!r}, expected one of {expected}")


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      FileNotFoundError: no such file.
      WeightsError: not JSON, or not an object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise WeightsError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(values, dict):
        raise WeightsError(f"{path}: found a {type(values).__name__}, expected an object")
    return values


def section(path: Path, values: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A copy of the object under a key of a JSON file, {} where there is none.

    Raises:
      WeightsError: there is something else.
    """
    found = values.get(key)
    if found is not None and not isinstance(found, dict):
        raise WeightsError(f"{path}: {key} is {found!r:.80}, expected an object")
    return dict(found or {})


@contextlib.contextmanager
def _open_safetensors(path: Path) -> Iterator[Any]:
    try:
        with safetensors.safe_open(path, "numpy") as file:
            yield file
    except (safetensors.SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: damaged safetensors file ({error})") from None


def _read_safetensors(path: Path) -> dict[str, LazyTensor]:
    def read(name: str) -> np.ndarray:
        # The library maps the file into memory; opened anew each time, what was read doesn't stay.
        with _open_safetensors(path) as file:
            return file.get_tensor(name)

    tensors = {}
    with _open_safetensors(path) as file:
        for name in file.keys():  # noqa: SIM118 (not a dict)
            entry = file.get_slice(name)
            if entry.get_dtype() not in SAFETENSORS_TYPES:
                known = ", ".join(SAFETENSORS_TYPES)
                raise WeightsError(f"{path}: key {name!r}: found the type {entry.get_dtype()}, expected one of {known}")
            dtype = SAFETENSORS_TYPES[entry.get_dtype()]
            tensors[name] = LazyTensor(tuple(entry.get_shape()), dtype, functools.partial(read, name))
    return tensors


def _read_shards(path: Path) -> dict[str, LazyTensor]:
    weight_map = read_json(path).get("weight_map")
    if not isinstance(weight_map, dict) or not all(isinstance(shard, str) for shard in weight_map.values()):
        raise WeightsError(f"{path}: 'weight_map' is missing, expected key → file")
    shards = {}
    for shard in sorted(set(weight_map.values())):
        if Path(shard).name != shard or shard.endswith(".index.json"):
            raise WeightsError(f"{path}: shard {shard!r}, expected the name of a file beside it")
        shards[shard] = read_tensors(path.with_name(shard)).tensors
    for name, shard in weight_map.items():
        if name not in shards[shard]:
            raise WeightsError(f"{path}: key {name!r} is not in its shard {shard}")
    return {name: shards[shard][name] for name, shard in weight_map.items()}
