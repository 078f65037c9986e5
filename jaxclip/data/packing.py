"""Packing texts: several captions share a row of tokens.

Shapes: N texts, G groups (one a data shard), n = N / G texts a group, R rows a group, L tokens a row.

CLIP's context has 77 tokens, a caption some 14. A caption's embedding depends only on the tokens up to its
end-of-text token, so a row can hold several captions under a segment mask, with the same result (see
`jaxclip.model.text`). Texts are packed group by group, so that no shard needs another shard's rows.
"""

from collections.abc import Sequence

import numpy as np

PADDING_SEGMENT = 0


def best_fit_decreasing(lengths: Sequence[int], row_length: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Places texts in rows, longest first, each in the fullest row that has room.

    Args:
      lengths: tokens of each text, 1 to `row_length`.
      row_length: tokens of a row.

    Returns:
      row [n] and offset [n] of each text, and the number of rows used.

    Raises:
      ValueError: a text is empty or longer than a row.
    """
    lengths = np.asarray(lengths, np.int64)
    if len(lengths) and (lengths.min() < 1 or lengths.max() > row_length):
        raise ValueError(f"text lengths from {lengths.min()} to {lengths.max()} tokens, expected 1 to {row_length}")
    rows, offsets = np.zeros(len(lengths), np.int64), np.zeros(len(lengths), np.int64)
    # rows_with_room[s] lists the rows that have exactly s free tokens; bit s of `available` says it is not empty.
    rows_with_room: list[list[int]] = [[] for _ in range(row_length + 1)]
    available, row_count = 0, 0
    for text in np.argsort(-lengths, kind="stable"):
        length = int(lengths[text])
        fitting = available >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = rows_with_room[room].pop()
            if not rows_with_room[room]:
                available &= ~(1 << room)
        else:
            row, room, row_count = row_count, row_length, row_count + 1
        rows[text], offsets[text] = row, row_length - room
        rows_with_room[room - length].append(row)
        available |= 1 << (room - length)
    return rows, offsets, row_count


def bucket(rows: int) -> int:
    """Rounds a row count up by at most a sixteenth, so that few shapes occur and few programs are compiled."""
    step = 2 ** max(0, rows.bit_length() - 5)
    return -(-rows // step) * step


def pack(
    ids: Sequence[Sequence[int]], row_length: int, *, groups: int = 1, rows: int | None = None
) -> dict[str, np.ndarray]:
    """Packs N tokenised texts into rows, as `CLIP.encode_text` takes them.

    Args:
      ids: token ids of each text, start- and end-of-text included; consecutive N / `groups` texts form a group.
      row_length: tokens of a row.
      groups: how many groups; must divide N.
      rows: rows a group; by default as many as the fullest group needs, rounded up by `bucket`.

    Returns:
      int32 `tokens`, `positions`, `segments` [G, R, L] and `ends` [G, n]. Padding has token 0, position 0, segment 0.

    Raises:
      ValueError: the groups do not divide the texts, a text does not fit a row, or the rows do not hold the texts.
    """
    if len(ids) % groups:
        raise ValueError(f"{len(ids)} texts cannot be divided into {groups} equal groups")
    lengths = np.array([len(text) for text in ids], np.int64).reshape(groups, -1)
    placed = [best_fit_decreasing(group, row_length) for group in lengths]
    needed = max(row_count for _, _, row_count in placed)
    if rows is not None and needed > rows:
        raise ValueError(f"{len(ids)} texts need {needed} rows of {row_length} tokens a group, only {rows} were given")
    rows = bucket(needed) if rows is None else rows

    starts = np.stack([row * row_length + offset for row, offset, _ in placed])
    starts_in_batch = (starts + np.arange(groups)[:, None] * rows * row_length).ravel()
    flat_lengths = lengths.ravel()
    within = np.arange(flat_lengths.sum()) - np.repeat(np.cumsum(flat_lengths) - flat_lengths, flat_lengths)
    places = np.repeat(starts_in_batch, flat_lengths) + within
    segment_ids = np.tile(np.arange(1, lengths.shape[1] + 1), groups)

    packed = {name: np.zeros(groups * rows * row_length, np.int32) for name in ("tokens", "positions", "segments")}
    packed["tokens"][places] = np.concatenate([np.asarray(text, np.int32) for text in ids]) if len(ids) else 0
    packed["positions"][places] = within
    packed["segments"][places] = np.repeat(segment_ids, flat_lengths)
    packed = {name: values.reshape(groups, rows, row_length) for name, values in packed.items()}
    return {**packed, "ends": (starts + lengths - 1).astype(np.int32)}


def pad_rows(packed: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """The same texts in groups of `rows` rows: empty rows are added at the end of each group.

    Raises:
      ValueError: the groups already have more rows.
    """
    groups, present, row_length = packed["tokens"].shape
    if present > rows:
        raise ValueError(f"texts are packed in {present} rows a group, expected at most {rows}")

    def pad(values):
        return np.concatenate([values, np.zeros((groups, rows - present, row_length), values.dtype)], axis=1)

    # `ends` counts tokens within a group, so rows added behind do not move it.
    return {name: values if name == "ends" else pad(values) for name, values in packed.items()}
