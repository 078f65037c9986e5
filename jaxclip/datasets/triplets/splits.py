"""Dividing records into train, validation and test, by row or by image."""

from collections.abc import Sequence

import numpy as np


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
    parts = {"train": order[:train_end], "validation": order[train_end:test_start], "test": order[test_start:]}
    return {split: np.flatnonzero(np.isin(group_numbers, part)).tolist() for split, part in parts.items()}
