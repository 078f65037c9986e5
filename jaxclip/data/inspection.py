"""What a person should know of a split before training on it: its texts in tokens, its images, what is wrong.

Shapes: n records, U distinct images.
"""

import dataclasses
import hashlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxclip.data.preprocessing import ImageError, decode_image
from jaxclip.data.tokenizer import Tokenizer


@dataclasses.dataclass(frozen=True)
class TextSummary:
    """Lengths [n] of one role's texts in tokens, start and end included, before and after cutting to the context."""

    lengths: np.ndarray
    truncated: int

    def quantiles(self) -> tuple[int, int, int]:
        """The shortest, the median and the longest."""
        return tuple(int(np.quantile(self.lengths, share)) for share in (0, 0.5, 1))

    def histogram(self, context_length: int, width: int = 5) -> list[tuple[int, int]]:
        """(first length, count) of each bin of `width` lengths, up to the context."""
        edges = np.arange(0, context_length + width, width)
        counts, _ = np.histogram(self.lengths, edges)
        return list(zip(edges[:-1].tolist(), counts.tolist(), strict=True))


@dataclasses.dataclass(frozen=True)
class ImageSummary:
    """Distinct images of a split.

    Attributes:
      digests: of each distinct image's bytes → number of the first record that shows it.
      broken: number of a record → why its image cannot be decoded.
    """

    digests: Mapping[bytes, int]
    broken: Mapping[int, str]


def summarise_texts(texts: Sequence[str], tokenizer: Tokenizer) -> TextSummary:
    """Token counts of texts."""
    lengths = np.array([len(ids) for ids in tokenizer.ids(texts)], np.int64)
    return TextSummary(lengths, tokenizer.count_truncated(texts))


def summarise_images(
    source, first: np.ndarray, role: str = "image", on_image: Callable[[int], None] = lambda count: None
) -> ImageSummary:
    """Decodes the distinct images of one role, each once.

    Args:
      source: random access to records.
      first: [U] number of the first record of each distinct image (`feature_cache.unique_images`).
      role: the image role.
      on_image: called with 1 after each image.
    """
    digests, broken = {}, {}
    for number in first.tolist():
        record = source[number]
        image = record[role]
        data = image if isinstance(image, bytes) else np.ascontiguousarray(image).tobytes()
        digests.setdefault(hashlib.sha256(data).digest(), number)
        if isinstance(image, bytes):
            try:
                decode_image(image, record["id"])
            except ImageError as error:
                broken[number] = str(error)
        on_image(1)
    return ImageSummary(digests, broken)


def shared_images(summaries: Mapping[str, ImageSummary]) -> list[tuple[str, str, int]]:
    """(split, other split, number of images that both show) for each pair that shares any."""
    names = list(summaries)
    pairs = [(name, other) for index, name in enumerate(names) for other in names[index + 1 :]]
    counts = [(a, b, len(summaries[a].digests.keys() & summaries[b].digests.keys())) for a, b in pairs]
    return [entry for entry in counts if entry[2]]
