"""Packing texts: several captions share a row of tokens, and what they begin with.

Shapes: N texts, G groups (one a data shard), n = N / G texts a group, R rows a group, L tokens a row.

CLIP's context has 77 tokens, a caption some 14. The text tower is causal and reads a text at its end-of-text token, so
a token's state depends on the tokens before it in its text and on nothing else. Two things follow:

- a row can hold several texts, if no token sees another text (see `jaxclip.model.text`);
- texts that begin alike (all do, with start-of-text; a caption and its negation often for many words) need their common
  beginning once. A row then holds a tree: each text branches off from the one before it, and equal texts are one.

Both give the result, and the gradients, of a row for each text. Texts are packed group by group, so that no shard needs
another shard's rows.
"""

from collections.abc import Callable, Sequence

import numpy as np


class _OlderRows:
    """Rows by the room that is left in them."""

    def __init__(self, row_length: int):
        self._rows: list[list[int]] = [[] for _ in range(row_length + 1)]
        self._available = 0  # bit s says that there are rows with room for s tokens

    def put(self, row: int, room: int) -> None:
        """Adds a row that has room for so many tokens."""
        self._rows[room].append(row)
        self._available |= 1 << room

    def take_fullest(self, tokens: int) -> tuple[int, int] | None:
        """Removes the fullest row that has room for this many tokens: (row, its room)."""
        fitting = self._available >> tokens
        if not fitting:
            return None
        room = tokens + (fitting & -fitting).bit_length() - 1
        row = self._rows[room].pop()
        if not self._rows[room]:
            self._available &= ~(1 << room)
        return row, room


def assign_rows(lengths: Sequence[int], shared: Sequence[int], row_length: int) -> tuple[np.ndarray, int]:
    """Gives texts in lexicographic order their rows.

    A text follows the one before it, with which it has most in common, into the newest row; where that is full, it goes
    into the fullest row that has room for all of it but the first token; else into a new row.

    Args:
      lengths: tokens of each text, 1 to `row_length`.
      shared: tokens that each text has in common with the one before it; 0 for the first.
      row_length: tokens of a row.

    Returns:
      row [N] of each text, and the number of rows. Texts of a row need no more than `row_length` tokens together, what
      neighbours have in common counted once.
    """
    older, assigned = _OlderRows(row_length), []
    newest, room = -1, -1  # no row yet
    in_common = 0  # tokens that the text has in common with the last one of the newest row
    start = min(1, *shared[1:]) if len(shared) > 1 else 0  # what any two texts have in common
    for length, with_previous in zip(lengths, shared, strict=True):
        in_common = min(in_common, with_previous)
        if room >= length - in_common:
            row, room, in_common = newest, room - (length - in_common), length
        elif (found := older.take_fullest(length - start)) is not None:
            row, room_of_row = found
            older.put(row, room_of_row - (length - start))
        else:
            if newest >= 0:
                older.put(newest, room)
            row = newest = newest + 1
            room, in_common = row_length - length, length
        assigned.append(row)
    return np.array(assigned, np.int64), newest + 1


def common_beginnings(tokens: np.ndarray) -> np.ndarray:
    """How many tokens each text has in common with the one before it [N]; `tokens` [N, L] is padded with -1."""
    equal = (tokens[1:] == tokens[:-1]) & (tokens[1:] >= 0)
    return np.concatenate(
        [np.zeros(min(1, len(tokens)), np.int64), np.logical_and.accumulate(equal, axis=1).sum(axis=1)]
    )


def visible_until(positions: np.ndarray) -> np.ndarray:
    """Where the texts that a token belongs to end: from that place of its row on no token sees it.

    In a row that goes through its tree branch by branch, a token is part of all texts up to the next token that is not
    deeper in the tree than itself.

    Args:
      positions: int [R, L], each token's place in its text; 0 for padding.

    Returns:
      int32 [R, L], each more than the token's own place.
    """
    R, L = positions.shape
    ends = np.full((R, L + 1), L, np.int32)  # by depth: the next token that is at most as deep
    until = np.empty((R, L), np.int32)
    depths = np.arange(L + 1)
    for place in reversed(range(L)):
        here = positions[:, place, None]
        until[:, place] = np.take_along_axis(ends, here, axis=1)[:, 0]
        np.putmask(ends, depths >= here, place)
    return until


def bucket(rows: int) -> int:
    """Rounds a row count up: few shapes occur, and few programs are compiled.

    To an even count; from 32 rows on to a multiple of four; from 128 on by at most a sixteenth.
    """
    step = 2 if rows < 32 else max(4, 2 ** (rows.bit_length() - 5))
    return -(-rows // step) * step


def _pack_group(ids: Sequence[Sequence[int]], row_length: int) -> tuple[int, dict[str, np.ndarray]]:
    """(rows, flat `places`, `tokens` and `positions` of the tokens that are computed, `ends` [n])."""
    order = sorted(range(len(ids)), key=ids.__getitem__)
    lengths = np.array([len(ids[text]) for text in order], np.int64)
    depths = np.arange(row_length)
    tokens = np.full((len(ids), row_length), -1, np.int32)
    tokens[depths < lengths[:, None]] = np.concatenate([ids[text] for text in order]) if order else []
    row, count = assign_rows(lengths.tolist(), common_beginnings(tokens).tolist(), row_length)

    by_row = np.argsort(row, kind="stable")  # within a row still in lexicographic order
    row, lengths, tokens = row[by_row], lengths[by_row], tokens[by_row]
    shared = common_beginnings(tokens)
    shared[1:][row[1:] != row[:-1]] = 0
    new = lengths - shared
    after = np.cumsum(new)
    in_rows_before = np.concatenate([[0], after])[np.searchsorted(row, row)]
    end_of_new = row * row_length + after - in_rows_before
    computed = (depths >= shared[:, None]) & (depths < lengths[:, None])
    ends = np.empty(len(ids), np.int64)
    ends[np.array(order, np.int64)[by_row]] = end_of_new - 1
    return count, {
        "places": ((end_of_new - lengths)[:, None] + depths)[computed],
        "tokens": tokens[computed],
        "positions": np.broadcast_to(depths, tokens.shape)[computed],
        "ends": ends,
    }


def pack(
    ids: Sequence[Sequence[int]], row_length: int, *, groups: int = 1, rows: int | None = None
) -> dict[str, np.ndarray]:
    """Packs N tokenised texts into rows, as `CLIP.encode_text` takes them.

    Args:
      ids: token ids (0 or more) of each text, start- and end-of-text included; consecutive N / `groups` texts form a
        group.
      row_length: tokens of a row.
      groups: how many groups; must divide N.
      rows: rows a group; by default as many as the fullest group needs, rounded up by `bucket`.

    Returns:
      int32 `tokens`, `positions`, `visible_until` [G, R, L] and `ends` [G, n]. A token's position is its place in its
      text; the tokens of its row from its own place on and before `visible_until` see it; the end of a text is the
      place of its last token in the R·L tokens of its group. Padding has token 0 and position 0.

    Raises:
      ValueError: the groups do not divide the texts, a text does not fit a row, or the rows do not hold the texts.
    """
    if len(ids) % groups:
        raise ValueError(f"{len(ids)} texts cannot be divided into {groups} equal groups")
    lengths = [len(text) for text in ids]
    if lengths and (min(lengths) < 1 or max(lengths) > row_length):
        raise ValueError(f"text lengths from {min(lengths)} to {max(lengths)} tokens, expected 1 to {row_length}")
    share = len(ids) // groups
    packed = [_pack_group(ids[group * share : (group + 1) * share], row_length) for group in range(groups)]
    needed = max(count for count, _ in packed)
    if rows is not None and needed > rows:
        raise ValueError(f"{len(ids)} texts need {needed} rows of {row_length} tokens a group, only {rows} were given")
    rows = bucket(needed) if rows is None else rows

    laid_out = {name: np.zeros((groups, rows * row_length), np.int32) for name in ("tokens", "positions")}
    for group, (_, content) in enumerate(packed):
        for name, values in laid_out.items():
            values[group, content["places"]] = content[name]
    laid_out = {name: values.reshape(groups, rows, row_length) for name, values in laid_out.items()}
    until = visible_until(laid_out["positions"].reshape(-1, row_length)).reshape(groups, rows, row_length)
    ends = np.stack([content["ends"] for _, content in packed]).astype(np.int32)
    return {**laid_out, "visible_until": until, "ends": ends}


def pad_rows(packed: dict[str, np.ndarray], rows: int) -> dict[str, np.ndarray]:
    """The same texts in groups of `rows` rows: empty rows are added at the end of each group.

    Raises:
      ValueError: the groups already have more rows.
    """
    groups, present, row_length = packed["tokens"].shape
    if present > rows:
        raise ValueError(f"texts are packed in {present} rows a group, expected at most {rows}")
    empty = np.zeros((groups, rows - present, row_length), np.int32)
    added = {"tokens": empty, "positions": empty, "visible_until": empty + np.arange(1, row_length + 1, dtype=np.int32)}
    # `ends` counts tokens within a group, so rows added behind do not move it.
    return {
        name: np.concatenate([values, added[name]], axis=1) if name in added else values
        for name, values in packed.items()
    }


def rows_used(packed: dict[str, np.ndarray]) -> int:
    """Rows of a group that hold texts; what `pack` rounded up to comes behind them."""
    return int(packed["ends"].max(initial=-1)) // packed["tokens"].shape[-1] + 1


def in_batches(
    packed: dict[str, np.ndarray], rows: int, *, groups: int, round_up: Callable[[int], int]
) -> list[tuple[dict[str, np.ndarray], np.ndarray]]:
    """Cuts texts that were packed as one group into batches of `groups` groups of `rows` rows each.

    Args:
      packed: from `pack`, with one group.
      rows: rows of a group.
      groups: groups of a batch.
      round_up: the ends of every group are made as many as this says of the largest count that a group has.

    Returns:
      (batch, numbers int [G, n]: which text each of its ends belongs to, or -1 for none) of each batch.
    """
    row_length = packed["tokens"].shape[-1]
    used = {name: values if name == "ends" else values[:, : rows_used(packed)] for name, values in packed.items()}
    count = -(-rows_used(packed) // (rows * groups)) * groups
    group, ends = np.divmod(packed["ends"][0], rows * row_length)
    numbers = np.argsort(group, kind="stable")
    place = np.arange(len(numbers)) - np.searchsorted(group[numbers], group[numbers])
    laid_out = np.full((count, round_up(int(place.max(initial=0)) + 1)), -1)
    laid_out[group[numbers], place] = numbers
    padded = pad_rows(used, count * rows)
    cut = {name: values.reshape(count, rows, row_length) for name, values in padded.items() if name != "ends"}
    cut["ends"] = np.where(laid_out < 0, 0, ends[laid_out]).astype(np.int32)
    return [
        ({name: values[start : start + groups] for name, values in cut.items()}, laid_out[start : start + groups])
        for start in range(0, count, groups)
    ]
