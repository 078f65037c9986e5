"""Where images lie: in a folder, in a zip, or in WebDataset tars; read by name, in any order, without unpacking.

A name is a path with forward slashes below the folder, or within the archive. In tars it may also be a WebDataset key:
the name without its suffix.
"""

import os
import tarfile
import threading
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Protocol

from jaxclip.datasets.errors import DatasetError
from jaxclip.datasets.records.rows import RowError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")
# What Pillow takes for harmless (179 million pixels) has less than this when encoded sensibly.
_LARGEST_FILE = 2**28


class ImageFiles(Protocol):
    """Images by name."""

    def find(self, name: str) -> str:
        """The name that `read` takes, for a name as annotations give it. RowError where there is no such image."""

    def find_basename(self, name: str) -> str:
        """The same for the last part of a path of another machine, wherever such a file lies here."""

    def read(self, name: str) -> bytes:
        """The encoded image. OSError or RowError where it cannot be read."""

    def describe(self, name: str) -> str:
        """Where the image is, for errors."""


def open_image_files(place: str) -> ImageFiles:
    """Opens a folder, a zip, a tar or a folder or pattern of tars (`shards/*.tar`).

    Raises:
        FileNotFoundError: nothing there.
        DatasetError: an archive that cannot be read.
    """
    path = Path(place)
    if any(character in path.name for character in "*?["):
        tars = sorted(path.parent.glob(path.name))
        if not tars:
            raise FileNotFoundError(f"{place}: no file matches the pattern")
        return _Tars(place, tars)
    if path.is_dir():
        tars = sorted(path.glob("*.tar"))
        return _Tars(place, tars) if tars else _Folder(path)
    if not path.is_file():
        raise FileNotFoundError(f"{place}: no such image folder, zip or tar")
    if path.suffix == ".zip":
        return _Zip(path)
    if path.suffix == ".tar":
        return _Tars(place, [path])
    raise DatasetError(f"{place}: expected a folder, a .zip or a .tar of images (unpack others, such as .tar.gz)")


def _inside(name: str) -> str:
    """The name as a clean relative path; RowError where it leads out."""
    path = PurePosixPath(name.strip())
    if path.is_absolute() or ".." in path.parts:
        raise RowError(f"expected a path inside the image folder, found {name!r:.80}")
    return str(path)


def _basename(name: str) -> str:
    """The last part of a path, written with slashes of either kind."""
    return name.strip().replace("\\", "/").rsplit("/", 1)[-1]


def _by_basename(names: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(_basename(name), []).append(name)
    return found


def _only(place: object, basename: str, names: Mapping[str, list[str]]) -> str:
    """The one file of that name; RowError where there is none or more than one."""
    candidates = names.get(basename, [])
    if not candidates:
        raise RowError(f"{place}: no image named {basename!r} in it")
    if len(candidates) > 1:
        raise RowError(f"{place}: more than one image named {basename!r}: {candidates[0]}, {candidates[1]}")
    return candidates[0]


def _check_size(size: int, where: str) -> None:
    if size > _LARGEST_FILE:
        raise RowError(f"{where}: {size} bytes, expected an image of at most {_LARGEST_FILE}")


class _Folder:
    def __init__(self, path: Path):
        self._path = path
        self._lock = threading.Lock()
        self._basenames: dict[str, list[str]] | None = None

    def find(self, name: str) -> str:
        return _inside(name)

    def find_basename(self, name: str) -> str:
        with self._lock:
            if self._basenames is None:
                files = (path for path in self._path.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
                self._basenames = _by_basename(path.relative_to(self._path).as_posix() for path in files)
        return _only(self._path, _basename(name), self._basenames)

    def read(self, name: str) -> bytes:
        path = self._path / name
        try:
            _check_size(path.stat().st_size, str(path))
            return path.read_bytes()
        except FileNotFoundError:
            raise RowError(f"{path}: no such image file") from None

    def describe(self, name: str) -> str:
        return str(self._path / name)


class _Zip:
    def __init__(self, path: Path):
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except (zipfile.BadZipFile, OSError) as error:
            raise DatasetError(f"{path}: not a readable zip ({error})") from None
        self._sizes = {entry.filename: entry.file_size for entry in self._archive.infolist() if not entry.is_dir()}
        self._basenames = _by_basename(self._sizes)

    def find(self, name: str) -> str:
        name = _inside(name)
        if name not in self._sizes:
            inside = self._basenames.get(_basename(name), [])
            hint = f"; did you mean {inside[0]!r}?" if inside else ""
            raise RowError(f"{self._path}: no image {name!r} in it{hint}")
        return name

    def find_basename(self, name: str) -> str:
        return _only(self._path, _basename(name), self._basenames)

    def read(self, name: str) -> bytes:
        _check_size(self._sizes[name], self.describe(name))
        try:
            return self._archive.read(name)
        except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError, OSError) as error:
            raise RowError(f"{self.describe(name)}: damaged or encrypted ({error})") from None

    def describe(self, name: str) -> str:
        return f"{self._path}/{name}"


class _Tars:
    """Tars that are indexed once and then read by offset. Members have no order that a shuffle would follow."""

    def __init__(self, place: str, paths: list[Path]):
        self._place = place
        self._members: dict[str, tuple[Path, int, int]] = {}
        for path in paths:
            self._index(path)
        self._keys = {}
        for name in self._members:
            self._keys.setdefault(str(PurePosixPath(name).with_suffix("")), name)
        self._basenames = _by_basename(self._members)

    def _index(self, path: Path) -> None:
        try:
            with tarfile.open(path, "r:") as archive:  # a compressed tar can't be read by offset
                for member in archive:
                    if not member.isreg() or Path(member.name).suffix.lower() not in IMAGE_SUFFIXES:
                        continue
                    name = str(PurePosixPath(member.name))
                    if name in self._members:
                        other = self._members[name][0]
                        raise DatasetError(f"{path}: the image {name!r} is in {other.name} too; keys must be unique")
                    self._members[name] = (path, member.offset_data, member.size)
        except (tarfile.TarError, OSError, EOFError) as error:
            raise DatasetError(f"{path}: not a readable, uncompressed tar ({error})") from None

    def find(self, name: str) -> str:
        name = _inside(name)
        if name in self._members:
            return name
        if name in self._keys:
            return self._keys[name]
        raise RowError(f"{self._place}: no image {name!r} in it")

    def find_basename(self, name: str) -> str:
        return _only(self._place, _basename(name), self._basenames)

    def read(self, name: str) -> bytes:
        path, offset, size = self._members[name]
        _check_size(size, self.describe(name))
        with path.open("rb") as file:
            return os.pread(file.fileno(), size, offset)

    def describe(self, name: str) -> str:
        return f"{self._members[name][0]}/{name}"
