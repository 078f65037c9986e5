"""Retrieval: the rank of the right item in a gallery, and recall.

Shapes: Q queries, G gallery items, D embedding.
"""

import numpy as np

from jaxclip.evaluation.similarity import TIE_TOLERANCE, unit

# The rank of a query that no comparison can find: beyond every k, also where k exceeds the gallery.
NOT_FOUND = np.iinfo(np.int64).max

# The similarity matrix is held in blocks of about this many entries (64 MB in float32).
_ENTRIES_PER_BLOCK = 16_000_000


def ranks(queries: np.ndarray, gallery: np.ndarray, query_labels: np.ndarray, gallery_labels: np.ndarray) -> np.ndarray:
    """Rank of each query's best match: 1 + the number of other gallery items that score at least as well.

    A gallery item matches a query when their labels are equal; several may. With images as labels, text to image is
    `ranks(texts, images, image_index, arange(G))` and image to text is `ranks(images, texts, arange(Q), image_index)`,
    where any of an image's texts counts.

    Args:
      queries: [Q, D].
      gallery: [G, D].
      query_labels: [Q] integers.
      gallery_labels: [G] integers.

    Returns:
      [Q] int64, 1 is best. A tie counts against the match, so does a NaN among the others; a query whose every match
      scores NaN gets `NOT_FOUND`.

    Raises:
      ValueError: if the shapes do not fit, or a query has no match in the gallery.
    """
    queries, gallery = unit(queries), unit(gallery)
    query_labels, gallery_labels = np.asarray(query_labels), np.asarray(gallery_labels)
    if queries.shape[1] != gallery.shape[1]:
        raise ValueError(f"queries have {queries.shape[1]} dimensions, the gallery has {gallery.shape[1]}")
    for name, items, labels in (("query", queries, query_labels), ("gallery", gallery, gallery_labels)):
        if labels.shape != (len(items),):
            raise ValueError(f"{name} labels have shape {labels.shape}, expected ({len(items)},)")
    unmatched = np.flatnonzero(~np.isin(query_labels, gallery_labels))
    if unmatched.size:
        row = int(unmatched[0])
        raise ValueError(f"query {row} (label {query_labels[row]}) has no match in the gallery of {len(gallery)} items")
    # With equal labels side by side, a query's matches are a run of columns: no matrix of matches is needed.
    order = np.argsort(gallery_labels, kind="stable")
    gallery, gallery_labels = gallery[order], gallery_labels[order]
    first = np.searchsorted(gallery_labels, query_labels, side="left")
    last = np.searchsorted(gallery_labels, query_labels, side="right")
    result = np.empty(len(queries), np.int64)
    block = max(1, _ENTRIES_PER_BLOCK // max(1, len(gallery)))
    for start in range(0, len(queries), block):
        rows = slice(start, start + block)
        result[rows] = _block_ranks(queries[rows] @ gallery.T, first[rows], last[rows])
    return result


def _block_ranks(scores: np.ndarray, first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Ranks [q] from similarities [q, G]; the matches of row i are the columns first[i] to last[i] - 1."""
    columns = first[:, None] + np.arange((last - first).max())
    is_match = columns < last[:, None]
    own = np.take_along_axis(scores, np.minimum(columns, scores.shape[1] - 1), axis=1)
    best = np.where(is_match & ~np.isnan(own), own, -np.inf).max(axis=1, keepdims=True).astype(scores.dtype)
    # Ahead is what is not clearly behind: a NaN as well.
    threshold = best - TIE_TOLERANCE
    ahead = scores.shape[1] - np.count_nonzero(scores < threshold, axis=1)
    own_ahead = np.count_nonzero(is_match & ~(own < threshold), axis=1)
    return np.where(np.isneginf(best[:, 0]), NOT_FOUND, 1 + ahead - own_ahead)


def ranks_both_ways(texts: np.ndarray, images: np.ndarray, image_index: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ranks of text-to-image and image-to-text retrieval from one pass over the similarities.

    The same numbers as `ranks` gives in each direction, in half of the time.

    Args:
      texts: [n, D].
      images: [N, D]; those that no text names are distractors for the texts, and no queries.
      image_index: [n] integers below N, the image of each text.

    Returns:
      (rank of each text's image [n], rank of the best of its texts for each image that has any, by number).
    """
    texts, images, image_index = unit(texts), unit(images), np.asarray(image_index)
    own = np.einsum("nd,nd->n", texts, images[image_index])
    best = np.full(len(images), -np.inf, own.dtype)
    np.maximum.at(best, image_index, np.where(np.isnan(own), -np.inf, own))
    threshold = best - TIE_TOLERANCE
    text_ranks = np.empty(len(texts), np.int64)
    behind, own_behind = np.zeros(len(images), np.int64), np.zeros(len(images), np.int64)
    block = max(1, _ENTRIES_PER_BLOCK // max(1, len(images)))
    for start in range(0, len(texts), block):
        rows = slice(start, start + block)
        scores, number = texts[rows] @ images.T, image_index[rows]
        text_ranks[rows] = _block_ranks(scores, number, number + 1)
        behind += np.count_nonzero(scores < threshold, axis=0)
        np.add.at(own_behind, number, scores[np.arange(len(scores)), number] < threshold[number])
    count = np.bincount(image_index, minlength=len(images))
    # What is not clearly behind is ahead, a NaN as well; an image's own texts do not compete.
    image_ranks = 1 + (len(texts) - behind) - (count - own_behind)
    return text_ranks, np.where(np.isneginf(best), NOT_FOUND, image_ranks)[count > 0]


def recall_at(ranks_of_queries: np.ndarray, k: int) -> np.ndarray:
    """Whether each query's best match is among the first `k`: [Q] bool from ranks [Q]."""
    return np.asarray(ranks_of_queries) <= k
