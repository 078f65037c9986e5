"""A text and its negation, searched for among one's own photographs by several checkpoints, side by side.

Shapes: n photographs, D embedding.
"""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxclip.data.embedding_cache import content_key
from jaxclip.embed import Photographs
from jaxclip.embedder import Embedder
from jaxclip.evaluation.similarity import unit
from jaxclip.reporting.query_page import Hit
from jaxclip.run_report import thumbnail

SHOWN = 12
# First match wins: what denies is taken out, or else something is denied.
_NEGATIONS = (
    (r"\bwithout (?:any )?", "with "),
    (r"\bwith no ", "with "),
    (r"\b(is|are|was|were|does|do|has|have) not\b ?", r"\1 "),
    (r"\b(?:no|not) ", ""),
    (r"\bwith ", "without "),
    (r"\b(is|are|was|were)\b", r"\1 not"),
)


def negate(text: str) -> str:
    """The text with its denial taken out ("a street without cars", "a street with cars"), or denied if it has none.

    A few patterns of English and no more; `--negation` says it better where they fail.
    """
    for pattern, replacement in _NEGATIONS:
        negated = re.sub(pattern, replacement, text, count=1, flags=re.IGNORECASE).strip()
        if negated != text.strip():
            return negated
    return f"not {text}"


class Search(NamedTuple):
    """What one checkpoint finds for each text: the photographs nearest first, with their cosines."""

    numbers: np.ndarray
    cosines: np.ndarray


def search(embedder: Embedder, texts: Sequence[str], paths: Sequence[Path]) -> list[Search]:
    """The `SHOWN` photographs nearest to each text.

    Raises:
      ImageError: a file that is no image.
    """
    photographs = Photographs(paths, "error")
    keys = [content_key(path.read_bytes()) for path in paths]
    images = unit(embedder.encode_images(keys, lambda number: photographs[number], "the search"))
    cosines = unit(embedder.texts(list(texts), "the search")) @ images.T
    # NaN last; among equals the first by name.
    order = np.argsort(-np.nan_to_num(cosines, nan=-np.inf), axis=1, kind="stable")[:, :SHOWN]
    return [Search(numbers, row[numbers]) for numbers, row in zip(order, cosines, strict=True)]


def hits(found: Mapping[str, Sequence[Search]], paths: Sequence[Path]) -> dict[str, list[list[Hit]]]:
    """Checkpoint -> for each text the photographs as the page shows them."""
    shown = {int(number) for searches in found.values() for one in searches for number in one.numbers}
    pictures = {number: thumbnail(paths[number].read_bytes(), str(paths[number])) for number in shown}
    # From the folder that they share on: photographs of several folders may have one file name.
    folder = os.path.commonpath([path.absolute().parent for path in paths])
    names = {number: os.path.relpath(paths[number], folder) for number in shown}
    return {
        name: [
            [
                Hit(pictures[int(number)], names[int(number)], float(cosine))
                for number, cosine in zip(one.numbers, one.cosines, strict=True)
            ]
            for one in searches
        ]
        for name, searches in found.items()
    }
