"""Captions as long as SugarCrepe++'s: made up, with lengths that follow that benchmark's, so that no data is needed.

Shapes: N texts.
"""

from collections.abc import Sequence

import numpy as np

# Role → how many of SugarCrepe++'s 4,757 texts have 7, 8, 9 … tokens (start- and end-of-text included).
FEWEST_TOKENS = 7
# fmt: off
LENGTH_COUNTS = {
    "caption": (2, 1, 10, 135, 573, 791, 892, 766, 570, 355, 249, 144, 91, 50, 32, 20, 16, 17, 2, 8, 9, 7, 3, 0, 2, 0,
                5, 0, 2, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 2, 0, 0, 0, 0, 2),
    "paraphrase": (0, 2, 16, 63, 172, 318, 565, 701, 664, 597, 443, 385, 250, 175, 126, 80, 60, 44, 19, 17, 22, 4, 6,
                   10, 4, 1, 1, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 1, 0, 0, 0, 0, 0, 1),
    "negation": (0, 2, 19, 109, 480, 792, 844, 774, 605, 422, 260, 163, 100, 56, 29, 22, 20, 17, 6, 6, 5, 10, 2, 0, 1,
                 1, 5, 0, 2, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0, 1, 1),
}
# fmt: on
START_ID, END_ID = 49_406, 49_407  # CLIP's


def random_ids(role: str, count: int, seed: int) -> list[list[int]]:
    """`count` texts of random token ids between start- and end-of-text, lengths drawn as the role's are distributed."""
    generator = np.random.default_rng([seed, list(LENGTH_COUNTS).index(role)])
    counts = np.array(LENGTH_COUNTS[role])
    lengths = FEWEST_TOKENS + generator.choice(len(counts), count, p=counts / counts.sum())
    return [[START_ID, *generator.integers(0, START_ID, length - 2).tolist(), END_ID] for length in lengths]


def one_a_row(ids: Sequence[Sequence[int]], row_length: int) -> np.ndarray:
    """Token rows int64 [N, `row_length`], padded with 0: what CLIP's own tokenizer gives."""
    rows = np.zeros((len(ids), row_length), np.int64)
    for row, text in zip(rows, ids, strict=True):
        row[: len(text)] = text
    return rows


# Each is one token of CLIP's vocabulary.
WORDS = ("dog", "street", "car", "red", "table", "woman", "two", "on", "the", "with", "large", "train", "bird", "near")


def random_texts(role: str, count: int, seed: int) -> list[str]:
    """`count` texts of simple words, as many tokens long as the role's texts are."""
    generator = np.random.default_rng(seed)
    ids = random_ids(role, count, seed)
    return [" ".join(generator.choice(WORDS, len(text) - 2)) for text in ids]
