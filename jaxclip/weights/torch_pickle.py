"""Torch's pickles without torch and without trust: tensors, dicts, lists, strings and numbers come in, nothing else.

A pickle is a program. It can do harm only through the globals that it names, so this unpickler resolves a fixed list
of names, each to a function or class of this file that cannot do any, and refuses every other one by name.
"""

import io
import pickle
import pickletools
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from jaxclip.weights.tensors import WeightsError

_STORAGE_TYPES = {
    "FloatStorage": np.float32,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "DoubleStorage": np.float64,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}
# Opcodes that allocate what their argument says before they look whether the bytes are there.
_ALLOCATING_OPCODES = ("BYTEARRAY8", "NEXT_BUFFER", "READONLY_BUFFER")
_MEMO_OPCODES = ("PUT", "BINPUT", "LONG_BINPUT")


# Named tuples, because a pickle can write into the attributes of any other object, a frozen dataclass included.
class _StorageType(NamedTuple):
    dtype: np.dtype


class Storage(NamedTuple):
    """A flat run of `size` numbers in the archive's entry `data/KEY`."""

    key: str
    dtype: np.dtype
    size: int


class StridedTensor(NamedTuple):
    """A view into a storage, offset and strides in elements. Nothing here is checked against the storage yet."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


class ScriptedModule:
    """A TorchScript object, of which only the members are kept: tensors, other modules, plain values."""

    def __init__(self):
        self.members: dict[str, Any] = {}

    def __setstate__(self, state: Any) -> None:
        if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
            raise pickle.UnpicklingError(
                f"the state of a module is a {type(state).__name__}, expected names and values"
            )
        self.members = state


class _OrderedDict(dict):
    """Stands in for `collections.OrderedDict`; torch hangs a version table on it, which we drop."""

    def __setstate__(self, state: Any) -> None:
        del state


def load_pickle(data: bytes, name: str) -> Any:
    """The object of a torch pickle, with `StridedTensor` for tensors and `ScriptedModule` for TorchScript objects.

    Args:
      data: the whole pickle.
      name: what to call it in an error.

    Raises:
      WeightsError: the pickle names a global that is not admitted, or is damaged.
    """
    try:
        _check_opcodes(data)
        return _RestrictedUnpickler(io.BytesIO(data), name).load()
    except WeightsError:
        raise
    except Exception as error:  # bytes of unknown origin make the unpickler raise almost any type
        raise WeightsError(f"{name}: not a readable pickle ({type(error).__name__}: {error})") from None


def _check_opcodes(data: bytes) -> None:
    for opcode, argument, _ in pickletools.genops(data):
        # The memo is an array as long as the largest index, whatever number of entries is used.
        beyond = opcode.name in _MEMO_OPCODES and argument > len(data)
        if beyond or opcode.name in _ALLOCATING_OPCODES:
            raise pickle.UnpicklingError(f"opcode {opcode.name} asks for an absurd amount of memory")


class _RestrictedUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, name: str):
        super().__init__(file, encoding="utf-8")
        self._name = name

    def find_class(self, module: str, name: str) -> Any:
        if module == "torch" and name in _STORAGE_TYPES:
            return _StorageType(np.dtype(_STORAGE_TYPES[name]))
        if module.split(".")[0] == "__torch__":
            return ScriptedModule
        if (module, name) in _ADMITTED:
            return _ADMITTED[module, name]
        module = "builtins" if module == "__builtin__" else module  # its name in old protocols
        raise WeightsError(
            f"{self._name}: the pickle names the global {f'{module}.{name}'!r}, which could run code; "
            "a checkpoint may hold tensors, dicts, lists, strings and numbers only"
        )

    def persistent_load(self, reference: Any) -> Storage:
        match reference:
            case ("storage", _StorageType(dtype), str(key), str(), int(size)) if size >= 0:
                return Storage(key, dtype, size)
        raise pickle.UnpicklingError(f"found the reference {reference!r:.100}, expected that of a storage")


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *rest: Any) -> StridedTensor:
    del rest  # requires_grad, hooks, metadata
    numbers = [offset, *shape, *strides]
    if not isinstance(storage, Storage) or any(type(number) is not int or number < 0 for number in numbers):
        raise pickle.UnpicklingError(f"found a tensor of {storage!r:.100}, {offset=}, {shape=}, {strides=}")
    if len(shape) != len(strides):
        raise pickle.UnpicklingError(f"found a tensor with {len(shape)} axes and {len(strides)} strides")
    return StridedTensor(storage, offset, tuple(shape), tuple(strides))


def _first(value: Any, *rest: Any) -> Any:
    del rest  # flags of a parameter, or the type of a TorchScript list
    return value


_ADMITTED = {
    ("collections", "OrderedDict"): _OrderedDict,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_parameter"): _first,
    ("torch.jit._pickle", "build_intlist"): _first,
    ("torch.jit._pickle", "build_doublelist"): _first,
    ("torch.jit._pickle", "build_boollist"): _first,
    ("torch.jit._pickle", "build_tensorlist"): _first,
    ("torch.jit._pickle", "restore_type_tag"): _first,
}
