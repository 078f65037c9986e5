"""Features of a frozen, unaugmented image tower: computed once an image, kept on disk, read by memory map.

Shapes: U distinct images, n records, D embedding.

    CACHE_DIR/FINGERPRINT/features.npy      float32 [U, D]
    CACHE_DIR/FINGERPRINT/image_index.npy   int32 [n], the row of each record's image

The fingerprint covers the image tower's weights, the preprocessing, the compute type and the data, so features are
never read under another model or other data. The folder appears complete or not at all.
"""

import dataclasses
import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxclip.data.preprocessing import Preprocessing


@dataclasses.dataclass(frozen=True)
class ImageFeatures:
    """Cached features: `features` [U, D] (a memory map) and `image_index` [n]."""

    features: np.ndarray
    image_index: np.ndarray

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """Record numbers [b] → features [b, D]."""
        return self.features[self.image_index[numbers]]


def fingerprint(image_params: Mapping[str, np.ndarray], preprocessing: Preprocessing, data: str, dtype: str) -> str:
    """A name for features: the same only for the same weights, preprocessing, data and compute type.

    Args:
      image_params: path → leaf of the image tower.
      data: the fingerprint of the split (`jaxclip.datasets.Split.fingerprint`).
      dtype: the type that the tower computes in.
    """
    digest = hashlib.sha256()
    description = {"preprocessing": preprocessing.as_dict(), "data": data, "dtype": dtype}
    digest.update(json.dumps(description, sort_keys=True).encode())
    for path in sorted(image_params):
        leaf = np.ascontiguousarray(image_params[path])
        digest.update(f"{path} {leaf.dtype} {leaf.shape}".encode())
        digest.update(leaf.data)
    return digest.hexdigest()[:32]


def unique_images(source, role: str = "image") -> tuple[np.ndarray, np.ndarray]:
    """(record number of the first record of each distinct image [U], row of each record's image [n]).

    Images are told apart by their bytes: a photograph with five captions is encoded once.
    """
    rows: dict[bytes, int] = {}
    first, index = [], np.empty(len(source), np.int32)
    for number in range(len(source)):
        key = hashlib.blake2b(source[number][role], digest_size=16).digest()
        if key not in rows:
            rows[key] = len(first)
            first.append(number)
        index[number] = rows[key]
    return np.array(first, np.int64), index


def read(directory: Path, name: str) -> ImageFeatures | None:
    """Features of that fingerprint, None where they are not there yet."""
    folder = directory / name
    if not folder.exists():
        return None
    return ImageFeatures(np.load(folder / "features.npy", mmap_mode="r"), np.load(folder / "image_index.npy"))


def write(directory: Path, name: str, features: np.ndarray, image_index: np.ndarray) -> None:
    """Puts features under their fingerprint, complete or not at all."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".partial-", dir=directory) as temporary:
        partial = Path(temporary) / name
        partial.mkdir()
        np.save(partial / "features.npy", features)
        np.save(partial / "image_index.npy", image_index)
        try:
            partial.rename(directory / name)
        except OSError:
            if not (directory / name).exists():  # else another process has just put the same features there
                raise


def _all_processes(condition: bool) -> bool:
    """Whether a condition holds in every process."""
    if jax.process_count() == 1:
        return condition
    return bool(multihost_utils.process_allgather(np.array(condition)).all())


def cached(
    directory: Path,
    name: str,
    source,
    encode: Callable[[Callable[[int], dict], int], np.ndarray],
    role: str = "image",
) -> ImageFeatures:
    """The features of a split's images: read, or computed by `encode` and written.

    Args:
      directory: CACHE_DIR.
      name: from `fingerprint`.
      source: random access to records.
      encode: (number → record, count) → features [count, D]; called with distinct images only.
      role: the image role.
    """
    found = read(directory, name)
    if not _all_processes(found is not None):  # encoding is a joint work: all take part or none
        first, image_index = unique_images(source, role)
        features = encode(lambda number: source[int(first[number])], len(first))
        write(directory, name, features, image_index)
        found = read(directory, name)
    return found
