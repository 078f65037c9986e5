"""Tensors that stay in their file until they are asked for, so that a conversion never holds a whole model."""

import dataclasses
import math
from collections.abc import Callable

import numpy as np


class WeightsError(ValueError):
    """A checkpoint that cannot be read or written: the file, the key, what was found and what was expected."""


@dataclasses.dataclass(frozen=True)
class LazyTensor:
    """A tensor of known shape and type whose numbers are read by `np.asarray`, anew each time.

    Attributes:
      shape: its shape.
      dtype: its NumPy type (bfloat16 is that of `ml_dtypes`).
      read: gives the array.
    """

    shape: tuple[int, ...]
    dtype: np.dtype
    read: Callable[[], np.ndarray]

    @property
    def size(self) -> int:
        """The number of elements."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """The bytes that the array takes in memory."""
        return self.size * self.dtype.itemsize

    def __array__(self, dtype: np.dtype | None = None, copy: bool | None = None) -> np.ndarray:
        del copy  # what is read is always new
        array = self.read()
        return array if dtype is None else array.astype(dtype, copy=False)
