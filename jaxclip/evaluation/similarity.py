"""Cosine similarity and the one rule by which every metric compares two of them.

Shapes: n items, D embedding.
"""

import numpy as np

# Two cosines that differ by less are a tie. Float32 towers give the same text slightly different embeddings in
# different batches (about 1e-7), and without this margin a collapsed model would win half of its exact ties.
TIE_TOLERANCE = 1e-6


def unit(embeddings: np.ndarray) -> np.ndarray:
    """Scales every row to length one.

    Args:
      embeddings: [n, D], any real type, not necessarily normalised.

    Returns:
      [n, D] float64 where the input is float64 or integer, else float32. A zero row stays zero, so that its cosine
      with anything is 0; a row with NaN or infinity becomes NaN, so that it wins no comparison.

    Raises:
      ValueError: if `embeddings` is not a matrix.
    """
    embeddings = np.asarray(embeddings)
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be a matrix [items, dimension], found shape {embeddings.shape}")
    embeddings = embeddings.astype(np.result_type(embeddings.dtype, np.float32), copy=False)
    norm = np.sqrt(np.einsum("nd,nd->n", embeddings, embeddings, dtype=np.float64))
    norm[~np.isfinite(norm)] = np.nan
    norm[norm == 0] = 1
    return (embeddings / norm[:, None]).astype(embeddings.dtype, copy=False)


def cosine(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Cosine of each row of `first` [n, D] with the same row of `second` [n, D].

    Returns:
      [n] cosines in -1..1; 0 where a vector is zero, NaN where one is not finite.

    Raises:
      ValueError: if the shapes differ or are not matrices.
    """
    if np.shape(first) != np.shape(second):
        raise ValueError(f"embeddings to compare must have one shape, found {np.shape(first)} and {np.shape(second)}")
    return np.einsum("nd,nd->n", unit(first), unit(second))


def beats(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Whether `first` is strictly greater: False for a tie (within `TIE_TOLERANCE`) and for NaN on either side."""
    return first > second + TIE_TOLERANCE
