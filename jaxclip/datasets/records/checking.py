"""Reading and decoding every image that annotations name, each once."""

import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from jaxclip.data.preprocessing import ImageError, decode_image
from jaxclip.datasets.records.image_files import ImageFiles
from jaxclip.datasets.records.rows import RowError

ImageKey = tuple[str, str]  # place, name: the same name may lie in the places of two image roles


def check_images(
    files: dict[str, ImageFiles], keys: Sequence[ImageKey], *, by_basename: bool, stop_at_first: bool
) -> tuple[dict[ImageKey, tuple[str, str]], dict[ImageKey, str]]:
    """Decodes each image in full.

    Args:
        files: place → its images.
        keys: place and name, as the annotations give it, of each image.
        by_basename: only the last part of a name counts.
        stop_at_first: return at the first bad image.

    Returns:
        Key → (name in its place, SHA-256 of the file's bytes) for good images, and key → reason for bad ones.
    """

    def check(key: ImageKey) -> tuple[str, str] | str:
        place, name = key
        try:
            found = files[place].find_basename(name) if by_basename else files[place].find(name)
            data = files[place].read(found)
            decode_image(data, files[place].describe(found))
        except (RowError, OSError, ImageError) as error:
            return str(error)
        return found, hashlib.sha256(data).hexdigest()

    good, bad = {}, {}
    with (
        ThreadPoolExecutor(os.cpu_count()) as pool,  # threads suffice: Pillow decodes without the interpreter's lock
        contextlib.closing(_ordered(pool, check, keys)) as results,
    ):
        for key, result in zip(tqdm(keys, desc="checking images", unit=" images"), results, strict=True):
            if isinstance(result, tuple):
                good[key] = result
                continue
            bad[key] = result
            if stop_at_first:
                break
    return good, bad


def _ordered(pool: ThreadPoolExecutor, function, items: Iterable) -> Iterator:
    """`pool.map`, but with a bounded number of calls waiting, so that the first error stops soon."""
    waiting = []
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) == 64:
                yield waiting.pop(0).result()
        while waiting:
            yield waiting.pop(0).result()
    finally:
        for future in waiting:
            future.cancel()
