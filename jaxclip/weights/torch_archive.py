"""`torch.save` and TorchScript archives without torch: a zip of one pickle and one entry a storage."""

import dataclasses
import itertools
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jaxclip.weights.tensors import LazyTensor, WeightsError
from jaxclip.weights.torch_pickle import ScriptedModule, StridedTensor, load_pickle

_LARGEST_PICKLE = 64 * 2**20  # of weights; real ones take less than 2 MiB
_LARGEST_OBJECT = 2**31  # of a data set's annotations
_MOST_ENTRIES = 100_000
_MOST_MODULES = 100_000
_DEEPEST_MODULE = 50


@dataclasses.dataclass(frozen=True)
class TorchFile:
    """What a `.pt` or `.bin` file holds.

    Attributes:
      tensors: name → tensor, without the prefix `module.` of data-parallel training.
      scripted: whether it is a TorchScript archive, as OpenAI published them.
    """

    tensors: dict[str, LazyTensor]
    scripted: bool


def read_torch(path: Path) -> TorchFile:
    """Opens a state dict (also one under the key `state_dict`, as training runs save it) or a TorchScript module.

    Raises:
      WeightsError: the file is damaged, of the format before torch 1.6, suspicious, or holds something else.
    """
    archive, root, content = _open(path, _LARGEST_PICKLE)
    scripted = isinstance(content, ScriptedModule)
    named = _module_tensors(path, content) if scripted else _state_dict_tensors(path, content)
    tensors = {name: _lazy(path, archive, root, name, tensor) for name, tensor in named.items()}
    return TorchFile(tensors, scripted)


def read_torch_object(path: Path) -> Any:
    """The object of a `torch.save` file: plain containers, strings and numbers, as data sets publish them.

    Raises:
      WeightsError: as `read_torch`.
    """
    _, _, content = _open(path, _LARGEST_OBJECT)
    return content


def _open(path: Path, largest: int) -> tuple[zipfile.ZipFile, str, Any]:
    """The archive, its root folder, and the object of its pickle, which has at most `largest` bytes."""
    if not zipfile.is_zipfile(path):
        _refuse_other_format(path)
    try:
        archive = zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise WeightsError(f"{path}: damaged archive ({error})") from None
    root = _check_entries(path, archive, largest)
    names = set(archive.namelist())
    if f"{root}/byteorder" in names and _read_entry(path, archive, f"{root}/byteorder", 0, 16) != b"little":
        raise WeightsError(f"{path}: big-endian tensors, expected little-endian ones")
    pickled = _read_entry(path, archive, f"{root}/data.pkl", 0, archive.getinfo(f"{root}/data.pkl").file_size)
    return archive, root, load_pickle(pickled, f"{path}: data.pkl")


def _refuse_other_format(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(_LARGEST_PICKLE)
    if start[:1] == b"\x80":
        # A bare pickle. Its globals are named first: an attack is a worse surprise than an old format.
        load_pickle(start, str(path))
        raise WeightsError(f"{path}: a bare pickle (torch before 1.6), expected a zip archive; save it anew")
    raise WeightsError(f"{path}: found neither a zip archive nor a pickle, expected a file of torch.save (truncated?)")


def _check_entries(path: Path, archive: zipfile.ZipFile, largest: int) -> str:
    """The root folder of the archive; nothing is ever extracted, so strange names are only a sign of a forged file."""
    entries = archive.infolist()
    if len(entries) > _MOST_ENTRIES or len({entry.filename for entry in entries}) != len(entries):
        raise WeightsError(f"{path}: {len(entries)} entries, expected distinct names and at most {_MOST_ENTRIES}")
    roots = [entry.filename.removesuffix("/data.pkl") for entry in entries if entry.filename.endswith("/data.pkl")]
    roots = [root for root in roots if "/" not in root]
    if len(roots) != 1:
        raise WeightsError(f"{path}: found {len(roots)} entries */data.pkl, expected 1; is this a file of torch.save?")
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if "\\" in entry.filename or ".." in parts or parts[:1] != (roots[0],):
            raise WeightsError(f"{path}: entry {entry.filename!r} leads out of the archive's folder {roots[0]!r}")
        if _is_content(entry.filename, roots[0]) and (
            entry.compress_type != zipfile.ZIP_STORED or entry.file_size != entry.compress_size or entry.flag_bits & 1
        ):
            raise WeightsError(f"{path}: entry {entry.filename!r} is compressed or encrypted, expected it plain")
    if sum(entry.compress_size for entry in entries) > path.stat().st_size:
        raise WeightsError(f"{path}: the entries claim more bytes than the file has")
    pickle_size = archive.getinfo(f"{roots[0]}/data.pkl").file_size
    if pickle_size > largest:
        raise WeightsError(f"{path}: data.pkl has {pickle_size} bytes, expected at most {largest}")
    return roots[0]


def _is_content(name: str, root: str) -> bool:
    """Whether we read this entry; TorchScript's code and debugging entries we don't."""
    return name in (f"{root}/data.pkl", f"{root}/byteorder") or name.startswith(f"{root}/data/")


def _read_entry(path: Path, archive: zipfile.ZipFile, name: str, start: int, count: int) -> bytes:
    """Bytes of an entry. One that is read whole is checked against its CRC-32."""
    try:
        with archive.open(name) as file:
            file.seek(start)
            return file.read(count)
    except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, NotImplementedError) as error:
        raise WeightsError(f"{path}: entry {name!r} is damaged ({error})") from None


def _module_tensors(path: Path, module: ScriptedModule) -> dict[str, StridedTensor]:
    """The tensors of a module and of its submodules, by torch's dotted names."""
    found: dict[str, StridedTensor] = {}
    visits = itertools.count()

    def walk(module: ScriptedModule, prefix: str, depth: int) -> None:
        # A module may hold another one twice, or itself: the tree can be far larger than the file.
        if depth > _DEEPEST_MODULE or next(visits) > _MOST_MODULES:
            raise WeightsError(f"{path}: modules without end at {prefix!r:.80}")
        for name, member in module.members.items():
            if isinstance(member, StridedTensor):
                found[prefix + name] = member
            elif isinstance(member, ScriptedModule):
                walk(member, f"{prefix}{name}.", depth + 1)

    walk(module, "", 0)
    return found


def _state_dict_tensors(path: Path, content: Any) -> dict[str, StridedTensor]:
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict):
        raise WeightsError(f"{path}: found a {type(content).__name__}, expected a state dict (names and tensors)")
    for name, value in content.items():
        if not isinstance(name, str) or not isinstance(value, StridedTensor):
            raise WeightsError(f"{path}: key {name!r}: found a {type(value).__name__}, expected a tensor")
    if content and all(name.startswith("module.") for name in content):
        return {name.removeprefix("module."): value for name, value in content.items()}
    return content


def _lazy(path: Path, archive: zipfile.ZipFile, root: str, name: str, tensor: StridedTensor) -> LazyTensor:
    """A tensor, checked against its storage and the storage against the file.

    Raises:
      WeightsError: the storage is missing or of another size, or the tensor reaches beyond it.
    """
    storage, dtype = tensor.storage, tensor.storage.dtype
    entry = f"{root}/data/{storage.key}"
    try:
        found = archive.getinfo(entry).file_size
    except KeyError:
        raise WeightsError(f"{path}: key {name!r}: its storage {entry!r} is missing") from None
    if found != storage.size * dtype.itemsize:
        raise WeightsError(
            f"{path}: key {name!r}: its storage {entry!r} has {found} bytes, expected {storage.size} × {dtype.name}"
        )
    view = LazyTensor(tensor.shape, dtype, lambda: None)
    reach = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.strides, strict=True))
    span = 1 + reach if view.size else 0
    # Strides of 0 repeat numbers: a few bytes could claim to be any amount of memory.
    if tensor.offset + span > storage.size or view.size > storage.size:
        raise WeightsError(
            f"{path}: key {name!r}: shape {tensor.shape}, strides {tensor.strides} and offset {tensor.offset} "
            f"reach beyond its storage of {storage.size} elements"
        )

    def read() -> np.ndarray:
        data = _read_entry(path, archive, entry, tensor.offset * dtype.itemsize, span * dtype.itemsize)
        flat = np.frombuffer(data, dtype, span)
        strides = tuple(stride * dtype.itemsize for stride in tensor.strides)
        return np.lib.stride_tricks.as_strided(flat, tensor.shape, strides, writeable=False)

    return dataclasses.replace(view, read=read)
