"""Checking the image files that annotations name, each once."""

import contextlib
import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from jaxclip.data.preprocessing import ImageError, decode_image


def check_images(folder: Path, names: Sequence[str], *, stop_at_first: bool) -> tuple[dict[str, str], dict[str, str]]:
    """Decodes each image in full.

    Args:
        folder: the image folder.
        names: paths below it.
        stop_at_first: return at the first bad image.

    Returns:
        Name to SHA-256 of the file's bytes for good images, and name to reason for bad ones.
    """
    digests, reasons = {}, {}
    with (
        ThreadPoolExecutor() as pool,  # threads suffice: Pillow decodes without the interpreter's lock
        contextlib.closing(pool.map(lambda name: _check(folder, name), names)) as results,
    ):
        for name, (digest, reason) in zip(tqdm(names, desc="checking images", unit=" images"), results, strict=True):
            if reason is None:
                digests[name] = digest
                continue
            reasons[name] = reason
            if stop_at_first:
                break
    return digests, reasons


def _check(folder: Path, name: str) -> tuple[str | None, str | None]:
    """Digest and no reason, or no digest and the reason why the image is bad."""
    try:
        data = (folder / name).read_bytes()
        decode_image(data, str(folder / name))
    except FileNotFoundError:
        return None, f"{folder / name}: no such image file"
    except (OSError, ImageError) as error:
        return None, str(error)
    return hashlib.sha256(data).hexdigest(), None
