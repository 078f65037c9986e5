"""Embeddings on disk, by content: a text or image is encoded once for a tower, whatever data sets it occurs in.

Shapes: n items, U distinct items, D embedding (any shape).

    FOLDER/DIGEST.npz   keys uint8 [k, 16], values float32 [k, D], of at most `SHARD_ITEMS` items

The folder belongs to one tower: weights, architecture, preprocessing or tokenizer, compute type. Each file appears
complete or not at all, and one that is damaged is computed again, so an interrupted evaluation goes on with what it
lacks. Process 0 reads and writes; all processes encode together.
"""

import hashlib
import io
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxclip.files import write_atomically

SHARD_ITEMS = 16_384  # 34 MB of 512 numbers
KEY_BYTES = 16
# What reading a damaged .npz file raises.
DAMAGED = (zipfile.BadZipFile, ValueError, KeyError, OSError, EOFError)


def content_key(*parts: bytes | str) -> bytes:
    """The key of an item made of these parts."""
    digest = hashlib.blake2b(digest_size=KEY_BYTES)
    for part in parts:
        content = part.encode() if isinstance(part, str) else part
        digest.update(len(content).to_bytes(8, "little"))
        digest.update(content)
    return digest.digest()


def cached_embeddings(folder: Path, keys: Sequence[bytes], encode: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """The embeddings of n items: read, or encoded and written.

    Args:
      folder: of the tower.
      keys: of the items, see `content_key`; equal keys are encoded once. The same in every process.
      encode: numbers of items [m] -> float32 [m, D]; called with distinct items only, by all processes alike.

    Returns:
      float32 [n, D].
    """
    rows: dict[bytes, int] = {}
    index = np.array([rows.setdefault(key, len(rows)) for key in keys], np.int64)
    _, first = np.unique(index, return_index=True)  # [U], rows are numbered in the order of their first item
    values = np.zeros((len(rows), 0), np.float32)
    missing = np.ones(len(rows), bool)
    if jax.process_index() == 0:
        values, missing = _read(folder, rows)
    if jax.process_count() > 1:
        missing = np.asarray(multihost_utils.broadcast_one_to_all(missing))
    wanted = np.flatnonzero(missing)
    for start in range(0, len(wanted), SHARD_ITEMS):
        part = wanted[start : start + SHARD_ITEMS]
        encoded = np.asarray(encode(first[part]), np.float32)
        if values.shape[1:] != encoded.shape[1:]:
            values = np.zeros((len(rows), *encoded.shape[1:]), np.float32)
        values[part] = encoded
        if jax.process_index() == 0:
            _write(folder, [keys[first[row]] for row in part], encoded)
    return _from_first_process(values)[index]


def _from_first_process(values: np.ndarray) -> np.ndarray:
    """Process 0's array, in every process."""
    if jax.process_count() == 1:
        return values
    shape = np.zeros(8, np.int64)  # the shape first: another process does not know D where nothing was missing
    shape[: values.ndim] = values.shape
    shape = multihost_utils.broadcast_one_to_all(shape)
    shape = tuple(int(length) for length in shape if length)
    local = values if jax.process_index() == 0 else np.zeros(shape, np.float32)
    return np.asarray(multihost_utils.broadcast_one_to_all(local))


def _read(folder: Path, rows: dict[bytes, int]) -> tuple[np.ndarray, np.ndarray]:
    """(values [U, D] of the items that are there, whether an item is missing [U])."""
    values, missing = None, np.ones(len(rows), bool)
    for path in sorted(folder.glob("*.npz")):
        try:
            with np.load(path) as shard:
                found = [rows.get(key.tobytes(), -1) for key in shard["keys"]]
                here = np.flatnonzero(np.array(found) >= 0)
                if not here.size:
                    continue
                stored = shard["values"]
        except DAMAGED:
            path.unlink(missing_ok=True)  # its items are encoded again
            continue
        if values is None:
            values = np.zeros((len(rows), *stored.shape[1:]), np.float32)
        where = np.array(found)[here]
        values[where] = stored[here]
        missing[where] = False
    return (np.zeros((len(rows), 0), np.float32) if values is None else values), missing


def _write(folder: Path, keys: Sequence[bytes], values: np.ndarray) -> None:
    buffer = io.BytesIO()
    packed = np.frombuffer(b"".join(keys), np.uint8).reshape(-1, KEY_BYTES)
    np.savez(buffer, keys=packed, values=values)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{hashlib.sha256(packed.tobytes()).hexdigest()[:24]}.npz", buffer.getvalue())
