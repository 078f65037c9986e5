"""Dividing records into train, validation and test, by row or by image."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from jaxclip.datasets.errors import DatasetError

SPLITS = ("train", "validation", "test")


@dataclasses.dataclass(frozen=True)
class Splitting:
    """How rows are divided into train, validation and test.

    Attributes:
        split_by: "image" keeps all rows of an image (also of an equal file under another name) in one split; "row" is
            the split of SemCLIP's released code, which lets test images be seen in training.
        validation: fraction of the images, or rows, for validation.
        test: fraction for test.
        seed: of the split.

    Raises:
        DatasetError: another value.
    """

    split_by: str = "image"
    validation: float = 0.1
    test: float = 0.1
    seed: int = 42

    def __post_init__(self):
        if self.split_by not in ("image", "row"):
            raise DatasetError(f"split_by: expected 'image' or 'row', found {self.split_by!r}")
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise DatasetError(
                f"validation and test: expected fractions that leave some for train, "
                f"found {self.validation} and {self.test}"
            )


def split_positions(groups: Sequence[str], validation: float, test: float, seed: int) -> dict[str, list[int]]:
    """Divides positions into splits so that a group is never in two of them.

    The distinct groups, in the order of their first appearance, are permuted by `RandomState(seed).permutation`; the
    last `int(test * n)` are the test split, the `int(validation * n)` before them validation, the rest train. With a
    group of its own for each position this is the split by row of SemCLIP's released code (seed 42, 0.1 and 0.1).

    Args:
        groups: for each position, what must not be torn apart, such as its image.
        validation: fraction of the groups.
        test: fraction of the groups.
        seed: of the permutation.

    Returns:
        Split name to positions, in ascending order; a split may be empty.
    """
    numbers: dict[str, int] = {}
    group_numbers = np.array([numbers.setdefault(group, len(numbers)) for group in groups], np.int64)
    count = len(numbers)
    order = np.random.RandomState(seed).permutation(count)
    train_end = count - int(validation * count) - int(test * count)
    test_start = count - int(test * count)
    parts = dict(zip(SPLITS, (order[:train_end], order[train_end:test_start], order[test_start:]), strict=True))
    return {split: np.flatnonzero(np.isin(group_numbers, part)).tolist() for split, part in parts.items()}
