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
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from absl import app, flags
from PIL import Image

from jaxclip import console
from jaxclip.command_line import read_flags, refuse_command_line, refuse_words
from jaxclip.compiled_programs import keep_small_programs
from jaxclip.console import Bar, say
from jaxclip.data.preprocessing import ImageError, decode_image
from jaxclip.files import write_atomically
from jaxclip.pretrained import MODEL_ERRORS, Clip, load

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp")


class EmbedError(ValueError):
    """Images or texts that cannot be embedded, named."""


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

    What is left out of a directory, files that are no images by their suffix and links to directories, is counted in a
    message.

    Raises:
      EmbedError: nothing is found.
      OSError: a directory cannot be read.
    """
    if Path(pattern).is_dir():
        entries = _entries(Path(pattern))
        found = [path for path in entries if path.suffix.lower() in IMAGE_SUFFIXES]
        others = sorted(set(entries) - set(found))
        if others:
            examples = ", ".join([*map(str, others[:3]), *["…"] * (len(others) > 3)])
            say(f"Left out of {pattern}, no image by the suffix: {len(others)} of {len(entries)} files: {examples}")
    else:
        found = [Path(name) for name in glob.glob(pattern, recursive=True) if Path(name).is_file()]
    if not found:
        suffixes = ", ".join(IMAGE_SUFFIXES)
        raise EmbedError(f"--images={pattern}: found no image, expected a directory of {suffixes} files, or a pattern")
    return sorted(found)


def _entries(directory: Path) -> list[Path]:
    """All files in a directory and in those within, and the links to directories, which are not followed."""

    def fail(error: OSError) -> None:
        raise error

    entries = []
    for folder, folders, files in os.walk(directory, onerror=fail):
        entries += [Path(folder, name) for name in files]
        entries += [path for name in folders if (path := Path(folder, name)).is_symlink()]
    return entries


def check_output(path: Path) -> None:
    """Makes the folder of the output file: an output that cannot be written is an error before the work, not after it.

    Raises:
      EmbedError: the output is a directory.
      OSError: its folder cannot be made or written.
    """
    if path.is_dir():
        raise EmbedError(
            f"--output={path}: a directory, expected the name of a file, such as {path / 'embeddings.npz'}"
        )
    folder = path.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"--output={path}: the directory {folder} cannot be written")


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
    for number in sorted(photographs.bad):
        say(f"Skipped: {photographs.bad[number]}")
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
    refuse_words(arguments, "put a pattern in quotes: --images='photos/*.jpg'")
    if values.images is None and values.texts is None:
        refuse_command_line("expected --images, --texts or both")
    console.quiet_libraries()
    keep_small_programs()
    with console.user_errors(*MODEL_ERRORS, EmbedError, ImageError):
        check_output(Path(values.output))
        paths = find_images(values.images) if values.images is not None else []
        texts = read_texts(Path(values.texts)) if values.texts is not None else []
        with console.notes():
            clip = load(values.checkpoint, arch=values.arch)
        arrays = embed(clip, paths, texts, values.on_bad_image)
        content = io.BytesIO()
        np.savez(content, **arrays)
        write_atomically(Path(values.output), content.getvalue())
    counts = f"{len(arrays['images']):,} images and {len(arrays['texts']):,} texts"
    say(f"{counts} in {clip.config.embed_dim} dimensions: {values.output}")


if __name__ == "__main__":
    flags.DEFINE_string(
        "checkpoint", None, "The model: a model directory, a run's work directory, ViT-B-32.pt, …", required=True
    )
    flags.DEFINE_string("arch", None, "For an OpenCLIP file without open_clip_config.json: ViT-B-32, …")
    flags.DEFINE_string(
        "images", None, "A directory of images, or a pattern such as 'photos/*.jpg' or 'photos/**/*.png'."
    )
    flags.DEFINE_string("texts", None, "A UTF-8 text file, one text a line.")
    flags.DEFINE_string("output", None, "The .npz file to write.", required=True)
    flags.DEFINE_enum("on_bad_image", "error", ("error", "skip"), "What to do about an image that cannot be read.")
    app.run(main, flags_parser=read_flags)
