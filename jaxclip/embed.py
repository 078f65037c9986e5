"""Embeds photographs and texts and keeps the embeddings in one NumPy file.

    python -m jaxclip.embed --checkpoint=models/vit-b-32 --images=photos/ --texts=captions.txt --output=embeddings.npz
    python -m jaxclip.embed --checkpoint=ViT-B-32.pt --images='photos/*.jpg' --output=photos.npz

The file has four arrays: `images` float32 [N, D] and `image_paths` [N] in the order of their names, `texts` float32
[M, D] in the order of the lines, and `logit_scale`. Embeddings are L2-normalised; what CLIP thinks of image i and the
texts is softmax(logit_scale * images[i] @ texts.T).

Nothing is skipped in silence: an image that cannot be read stops the command with its name, or with
--on_bad_image=skip it is left out of the arrays and listed at the end.
"""

import glob
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

from jaxclip import console
from jaxclip.console import Bar, say
from jaxclip.data.preprocessing import ImageError, decode_image
from jaxclip.pretrained import Clip, ModelDirectoryError, load
from jaxclip.reporting.files import write_atomically
from jaxclip.training.checkpointing import CheckpointError
from jaxclip.weights import WeightsError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


class EmbedError(ValueError):
    """Images or texts that cannot be embedded, named."""


USER_ERRORS = (EmbedError, ImageError, WeightsError, ModelDirectoryError, CheckpointError, FileNotFoundError)


class Photographs(Sequence):
    """Images that are opened when they are asked for.

    Attributes:
      bad: number → what is wrong with it, for the images that could not be read so far.
    """

    def __init__(self, paths: Sequence[Path], on_bad_image: str):
        self._paths = paths
        self._skip = on_bad_image == "skip"
        self.bad: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> Image.Image:
        path = self._paths[number]
        try:
            return decode_image(path.read_bytes(), str(path))
        except (ImageError, OSError) as error:
            if not self._skip:
                raise ImageError(str(error)) from None
            self.bad[number] = str(error)
            return Image.new("RGB", (1, 1))  # stands in; its embedding is dropped


def find_images(pattern: str) -> list[Path]:
    """The image files in a directory (and in those within), or all files that a glob pattern matches, sorted.

    Files of a directory that are no images by their suffix are counted in a message.

    Raises:
      EmbedError: nothing is found.
    """
    if Path(pattern).is_dir():
        files = [path for path in Path(pattern).rglob("*") if path.is_file()]
        found = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
        others = sorted(set(files) - set(found))
        if others:
            say(f"{len(others)} files in {pattern} are no images by their suffix: {', '.join(map(str, others[:3]))}, …")
    else:
        found = [Path(name) for name in glob.glob(pattern, recursive=True) if Path(name).is_file()]
    if not found:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise EmbedError(f"--images={pattern}: found no image, expected a directory of {suffixes} files, or a pattern")
    return sorted(found)


def read_texts(path: Path) -> list[str]:
    """The lines of a UTF-8 file.

    Raises:
      FileNotFoundError: no such file.
      EmbedError: no text in it, a blank line, or another encoding.
    """
    try:
        texts = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise EmbedError(f"{path}: not UTF-8 ({error})") from None
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            raise EmbedError(f"{path}, line {number}: blank, expected a text on every line")
    if not texts:
        raise EmbedError(f"{path}: found no text in it, expected one on every line")
    return texts


def embed(
    clip: Clip, paths: Sequence[Path], texts: Sequence[str], on_bad_image: str = "error"
) -> dict[str, np.ndarray]:
    """The arrays of the output file: `images`, `image_paths`, `texts`, `logit_scale`.

    Raises:
      ImageError: an image cannot be read and `on_bad_image` is not `skip`.
    """
    photographs = Photographs(paths, on_bad_image)
    with Bar("Images", len(paths), "images", lambda: None) as bar:
        images = clip.encode_image(photographs, bar.advance)
    kept = [number for number in range(len(paths)) if number not in photographs.bad]
    for reason in photographs.bad.values():
        say(f"Skipped: {reason}")
    truncated = clip.tokenizer.count_truncated(texts)
    if truncated:
        say(f"{truncated} of {len(texts)} texts are longer than {clip.tokenizer.context_length} tokens and were cut")
    with Bar("Texts", len(texts), "texts", lambda: None) as bar:
        embedded = clip.encode_text(texts, bar.advance)
    return {
        "images": images[kept],
        "image_paths": np.array([str(paths[number]) for number in kept], dtype=np.str_),
        "texts": embedded,
        "logit_scale": np.float32(clip.logit_scale),
    }


def main(arguments: Sequence[str]) -> None:
    """Reads the flags, embeds and writes."""
    values = flags.FLAGS
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected argument {arguments[1]!r}; put a pattern in quotes: --images='photos/*.jpg'")
    if values.images is None and values.texts is None:
        raise app.UsageError("expected --images, --texts or both")
    console.quiet_libraries()
    try:
        paths = find_images(values.images) if values.images is not None else []
        texts = read_texts(Path(values.texts)) if values.texts is not None else []
        clip = load(values.checkpoint, arch=values.arch)
        arrays = embed(clip, paths, texts, values.on_bad_image)
        content = io.BytesIO()
        np.savez(content, **arrays)
        os.makedirs(Path(values.output).absolute().parent, exist_ok=True)
        write_atomically(Path(values.output), content.getvalue())
    except USER_ERRORS as error:
        say(f"Error: {error}")
        sys.exit(1)
    counts = f"{len(arrays['images']):,} images and {len(arrays['texts']):,} texts"
    say(f"{counts} in {clip.config.embed_dim} dimensions: {values.output}")


if __name__ == "__main__":
    flags.DEFINE_string("checkpoint", None, "The model: whatever jaxclip.load takes.", required=True)
    flags.DEFINE_string("arch", None, "For an OpenCLIP file without open_clip_config.json: ViT-B-32, …")
    flags.DEFINE_string(
        "images", None, "A directory of images, or a pattern such as 'photos/*.jpg' or 'photos/**/*.png'."
    )
    flags.DEFINE_string("texts", None, "A UTF-8 text file, one text a line.")
    flags.DEFINE_string("output", None, "The .npz file to write.", required=True)
    flags.DEFINE_enum("on_bad_image", "error", ("error", "skip"), "What to do about an image that cannot be read.")
    app.run(main)
