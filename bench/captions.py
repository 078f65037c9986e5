"""The captions of the benches: those of SugarCrepe++, which come along in bench/sugarcrepe_pp (4,757 records, MIT).

Shapes: N texts.
"""

import functools
import gzip
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxclip.data.tokenizer import Tokenizer

ROLES = ("caption", "paraphrase", "negation")
FILE = Path(__file__).parent / "sugarcrepe_pp" / "captions.jsonl.gz"


@functools.cache
def records() -> tuple[dict[str, str], ...]:
    """Every record once, role → text, in an order that mixes the benchmark's five files."""
    with gzip.open(FILE, "rt", encoding="utf-8") as lines:
        in_order = [json.loads(line) for line in lines]
    return tuple(in_order[number] for number in np.random.default_rng(0).permutation(len(in_order)))


def texts(role: str, count: int, start: int = 0) -> list[str]:
    """The texts of `count` records from number `start` on; behind the last one the first follows."""
    return [records()[(start + number) % len(records())][role] for number in range(count)]


def ids(role: str, count: int, start: int = 0) -> list[list[int]]:
    """The same as CLIP's token ids, start- and end-of-text included."""
    return Tokenizer.clip().ids(texts(role, count, start))


def one_a_row(ids: Sequence[Sequence[int]], row_length: int) -> np.ndarray:
    """Token rows int64 [N, `row_length`], padded with 0: what CLIP's own tokenizer gives."""
    rows = np.zeros((len(ids), row_length), np.int64)
    for row, text in zip(rows, ids, strict=True):
        row[: len(text)] = text
    return rows
