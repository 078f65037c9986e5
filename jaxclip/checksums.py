"""Checksums of a directory's files, in a file of the directory: damage is found before damaged values are used.

DIR/checksums.json    relative path → [bytes, SHA-256], of every other file
"""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from jaxclip.files import write_atomically

CHECKSUMS = "checksums.json"
_THREADS = min(8, os.cpu_count() or 1)  # SHA-256 takes one core a file; more readers than this don't help a disk


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sha256_of_all(paths: Sequence[Path]) -> list[str]:
    with ThreadPoolExecutor(_THREADS) as pool:
        return list(pool.map(_sha256, paths))


def write_checksums(directory: Path, but: Sequence[str] = ()) -> None:
    """Writes DIR/checksums.json for the files that are there now, those of the names `but` left out."""
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name not in (CHECKSUMS, *but))
    sums = {
        path.relative_to(directory).as_posix(): [path.stat().st_size, digest]
        for path, digest in zip(files, _sha256_of_all(files), strict=True)
    }
    write_atomically(directory / CHECKSUMS, (json.dumps(sums, indent=1) + "\n").encode())


def find_damage(directory: Path, part: str = "") -> str | None:
    """What is wrong with the files, in words; None where they are what was written.

    Args:
      directory: one that `write_checksums` was called for.
      part: look only at files whose relative path begins so.
    """
    listing = directory / CHECKSUMS
    try:
        sums = {name: (int(size), str(digest)) for name, (size, digest) in json.loads(listing.read_bytes()).items()}
    except FileNotFoundError:
        return f"{listing} is missing"
    except (ValueError, TypeError, AttributeError):
        return f"{listing} is not a list of checksums"
    sums = {directory / name: entry for name, entry in sums.items() if name.startswith(part)}
    for path, (size, _) in sums.items():
        if not path.is_file():
            return f"{path} is missing"
        if path.stat().st_size != size:
            return f"{path} has {path.stat().st_size} bytes, {size} were written"
    for (path, (_, digest)), found in zip(sums.items(), _sha256_of_all(list(sums)), strict=True):
        if found != digest:
            return f"{path} does not hold what was written"
    return None
