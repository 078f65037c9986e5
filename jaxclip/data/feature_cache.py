"""Features of a frozen, unaugmented image tower: computed once an image, kept on disk, read by memory map.

Shapes: U distinct images, n records, D embedding, R images a shard.

    CACHE_DIR/FINGERPRINT/image_index.npy   int32 [n], the row of each record's image
    CACHE_DIR/FINGERPRINT/features-00003-of-00014.npy        float32 [R, D], rows 3·R to 4·R - 1
    CACHE_DIR/FINGERPRINT/features-00003-of-00014.sha256     of that file

The fingerprint covers the architecture, the image tower's weights, the preprocessing, the compute type and the data, so
features are never read under another model or other data. Each file appears complete or not at all, its checksum after
it; a shard without a matching checksum is computed again, so an interrupted run goes on with the shards that it lacks.
"""

import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxclip.data.preprocessing import Preprocessing
from jaxclip.digests import digest_of_params
from jaxclip.files import write_atomically

SHARD_IMAGES = 16_384  # R; 34 MB of 512 numbers
# (number → record, first number, count, U) → features [count, D] of the distinct images first … first + count - 1.
Encode = Callable[[Callable[[int], dict], int, int, int], np.ndarray]


@dataclasses.dataclass(frozen=True)
class ImageFeatures:
    """Cached features: `features` [U, D] and `image_index` [n]."""

    features: "np.ndarray | ShardedRows"
    image_index: np.ndarray

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """Record numbers [b] → features [b, D]."""
        return self.features[self.image_index[numbers]]


class ShardedRows:
    """Rows [U, D] in several memory-mapped files of R rows each; `rows[numbers]` copies the rows asked for."""

    def __init__(self, paths: Sequence[Path]):
        self._paths = tuple(paths)
        self._shards = [np.load(path, mmap_mode="r") for path in paths]
        self._shard_rows = len(self._shards[0])
        self.shape = (sum(map(len, self._shards)), self._shards[0].shape[1])
        self.dtype = self._shards[0].dtype

    def __reduce__(self):
        return ShardedRows, (self._paths,)  # a worker process maps the files again instead of getting a copy

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, numbers: np.ndarray) -> np.ndarray:
        numbers = np.asarray(numbers)
        shards, rows = np.divmod(numbers, self._shard_rows)
        found = np.empty((len(numbers), self.shape[1]), self.dtype)
        for shard in np.unique(shards):
            here = shards == shard
            found[here] = self._shards[shard][rows[here]]
        return found

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        del copy  # it is always one
        return np.concatenate(self._shards).astype(dtype or self.dtype, copy=False)


def fingerprint(
    image_params: Mapping[str, np.ndarray],
    preprocessing: Preprocessing,
    data: str,
    dtype: str,
    architecture: Mapping,
    role: str = "image",
) -> str:
    """A name for features: the same only for the same model, preprocessing, data and compute type.

    Args:
      image_params: path → leaf of the image tower.
      data: the fingerprint of the split (`jaxclip.datasets.Split.fingerprint`).
      dtype: the type that the tower computes in.
      architecture: of the model, as plain containers: weights do not tell heads and activation.
      role: which of a record's images.
    """
    facts = {"preprocessing": preprocessing.as_dict(), "data": data, "dtype": dtype, "role": role}
    description = json.dumps({**facts, "architecture": architecture}, sort_keys=True)
    return digest_of_params(image_params, description).hex()[:32]


def unique_images(source, role: str = "image") -> tuple[np.ndarray, np.ndarray]:
    """(record number of the first record of each distinct image [U], row of each record's image [n]).

    Images are told apart by what `source.image_rows` says of them, or else by their bytes: a photograph with five
    captions is encoded once.
    """
    known = getattr(source, "image_rows", {}).get(role)
    if known is not None:
        keys = known.tolist()
    else:
        keys = (hashlib.blake2b(source[number][role], digest_size=16).digest() for number in range(len(source)))
    rows: dict = {}
    first, index = [], np.empty(len(source), np.int32)
    for number, key in enumerate(keys):
        if key not in rows:
            rows[key] = len(first)
            first.append(number)
        index[number] = rows[key]
    return np.array(first, np.int64), index


def cached(directory: Path, name: str, source, encode: Encode, role: str = "image") -> ImageFeatures:
    """The features of a split's images: read, or computed by `encode` shard by shard and written.

    Args:
      directory: CACHE_DIR.
      name: from `fingerprint`.
      source: random access to records.
      encode: see `Encode`; called for the shards that are missing or damaged, with distinct images only.
      role: which of a record's images.
    """
    folder = directory / name
    folder.mkdir(parents=True, exist_ok=True)
    # Finding the distinct images may mean to read them all: the index of an earlier run saves that.
    index = _read_index(folder, len(source))
    if index is None:
        _, index = unique_images(source, role)
        _write(folder / "image_index.npy", index)
    _, first = np.unique(index, return_index=True)  # [U]; rows are numbered in the order of their first record
    images = int(index.max()) + 1
    shards = -(-images // SHARD_IMAGES)
    paths = [folder / f"features-{number:05d}-of-{shards:05d}.npy" for number in range(shards)]
    present = np.array([_is_whole(path) for path in paths])
    for number in np.flatnonzero(~_in_all_processes(present)):  # encoding is a joint work: all take part or none
        start = int(number) * SHARD_IMAGES
        count = min(SHARD_IMAGES, images - start)
        features = encode(lambda k, start=start: source[int(first[start + k])], start, count, images)
        if not present[number]:
            _write(paths[number], np.asarray(features, np.float32))
    return ImageFeatures(ShardedRows(paths), index)


def _read_index(folder: Path, records: int) -> np.ndarray | None:
    """The index of an earlier run; None where it is missing, damaged, or that of another number of records."""
    path = folder / "image_index.npy"
    if not _is_whole(path):
        return None
    index = np.load(path)
    return index if len(index) == records else None


def _write(path: Path, values: np.ndarray) -> None:
    """Writes a file and then its checksum, each complete or not at all; several processes may do so at once."""
    buffer = io.BytesIO()
    np.save(buffer, values)
    content = buffer.getvalue()
    write_atomically(path, content)
    write_atomically(path.with_suffix(".sha256"), hashlib.sha256(content).hexdigest().encode())


def _is_whole(path: Path) -> bool:
    """Whether the file is there and is what was written."""
    try:
        expected = path.with_suffix(".sha256").read_text(encoding="ascii")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == expected
    except (FileNotFoundError, UnicodeDecodeError):
        return False


def _in_all_processes(conditions: np.ndarray) -> np.ndarray:
    """Where a condition holds in every process: bool [k] → bool [k]."""
    if jax.process_count() == 1:
        return conditions
    return np.asarray(multihost_utils.process_allgather(conditions)).all(axis=0)
