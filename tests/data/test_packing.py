"""Packing by its properties, on random lengths: nothing is lost, nothing overlaps, little is wasted."""

import numpy as np
import pytest

from jaxclip.data.packing import PADDING_SEGMENT, best_fit_decreasing, bucket, pack, pad_rows


def random_ids(lengths, generator):
    """Texts of these lengths, all tokens of a batch different and none 0, so that a token's origin is known."""
    tokens = iter(generator.permutation(np.sum(lengths)) + 1)
    return [[int(next(tokens)) for _ in range(length)] for length in lengths]


def clip_like_lengths(count, generator):
    """Tokens of captions with start- and end-of-text: some 14 on average, a long tail, at most 77."""
    return np.clip(np.rint(generator.lognormal(np.log(13), 0.35, count)), 2, 77).astype(int)


@pytest.mark.parametrize("seed", range(20))
def test_every_text_is_found_once_whole_and_alone(seed):
    generator = np.random.default_rng(seed)
    row_length, groups = int(generator.integers(4, 78)), int(generator.integers(1, 5))
    lengths = generator.integers(1, row_length + 1, groups * int(generator.integers(1, 30)))
    ids = random_ids(lengths, generator)
    packed = pack(ids, row_length, groups=groups)

    rows = packed["tokens"].shape[1]
    assert packed["tokens"].shape == packed["positions"].shape == packed["segments"].shape == (groups, rows, row_length)
    assert packed["ends"].shape == (groups, len(ids) // groups)
    assert {values.dtype for values in packed.values()} == {np.dtype("int32")}
    assert np.sum(packed["tokens"] > 0) == lengths.sum()

    per_group = len(ids) // groups
    for number, text in enumerate(ids):
        group = number // per_group
        flat = {name: packed[name][group].ravel() for name in ("tokens", "positions", "segments")}
        end = packed["ends"][group, number % per_group]
        start = end - len(text) + 1
        assert start // row_length == end // row_length, "a text is in one row"
        places = slice(start, end + 1)
        assert flat["tokens"][places].tolist() == text
        assert flat["positions"][places].tolist() == list(range(len(text)))
        segment = flat["segments"][end]
        assert segment != PADDING_SEGMENT
        assert np.flatnonzero(flat["segments"] == segment).tolist() == list(range(start, end + 1))


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_not_overfull_and_texts_do_not_overlap(seed):
    generator = np.random.default_rng(100 + seed)
    row_length = int(generator.integers(3, 78))
    lengths = generator.integers(1, row_length + 1, int(generator.integers(1, 200)))
    rows, offsets, row_count = best_fit_decreasing(lengths, row_length)
    used = np.zeros((row_count, row_length), int)
    for row, offset, length in zip(rows, offsets, lengths, strict=True):
        assert offset + length <= row_length
        used[row, offset : offset + length] += 1
    assert used.max() == 1 and used.any(axis=1).all()
    # A row is opened only where a text fits into none: no two rows could be one.
    assert row_count == 1 or np.sort(used.sum(axis=1))[:2].sum() > row_length


def test_the_fullest_row_that_has_room_is_taken():
    # 6 and 5 open rows with 4 and 5 free tokens; 4 fills the first exactly, 3 goes to the second, 2 there too.
    rows, offsets, row_count = best_fit_decreasing([2, 6, 3, 5, 4], 10)
    assert rows.tolist() == [1, 0, 1, 1, 0]
    assert offsets.tolist() == [8, 0, 5, 0, 6]
    assert row_count == 2


@pytest.mark.parametrize("seed", range(5))
def test_captions_fill_rows_to_92_percent(seed):
    lengths = clip_like_lengths(3 * 256, np.random.default_rng(seed))
    ids = [[1] * length for length in lengths]
    assert lengths.sum() / pack(ids, 77)["tokens"].size >= 0.92


def test_bucket_adds_at_most_a_sixteenth_and_keeps_few_counts():
    counts = range(1, 2000)
    assert all(rows <= bucket(rows) <= rows * (1 + 1 / 16) for rows in counts)
    assert [bucket(rows) for rows in (1, 31, 32, 33, 64, 65, 130)] == [1, 31, 32, 34, 64, 68, 136]
    assert len({bucket(rows) for rows in range(1024, 2048)}) == 17
    assert all(bucket(bucket(rows)) == bucket(rows) for rows in counts)


def test_groups_are_packed_on_their_own():
    generator = np.random.default_rng(3)
    ids = random_ids(generator.integers(2, 20, 24), generator)
    together = pack(ids, 32, groups=3, rows=12)
    for group in range(3):
        alone = pack(ids[8 * group : 8 * (group + 1)], 32, rows=12)
        for name, values in alone.items():
            np.testing.assert_array_equal(together[name][group], values[0])


def test_pad_rows_adds_rows_behind_and_moves_nothing():
    generator = np.random.default_rng(4)
    ids = random_ids(generator.integers(2, 20, 10), generator)
    packed = pack(ids, 32, groups=2, rows=5)
    wider = pad_rows(packed, 8)
    expected = pack(ids, 32, groups=2, rows=8)
    assert set(wider) == set(expected)
    for name in expected:
        np.testing.assert_array_equal(wider[name], expected[name])
        assert wider[name].dtype == np.int32


def test_no_texts_give_no_rows():
    packed = pack([], 16)
    assert packed["tokens"].shape == (1, 0, 16) and packed["ends"].shape == (1, 0)


def test_errors_say_what_was_found():
    with pytest.raises(ValueError, match="3 texts cannot be divided into 2 equal groups"):
        pack([[1], [1], [1]], 8, groups=2)
    with pytest.raises(ValueError, match="lengths from 1 to 9 tokens, expected 1 to 8"):
        pack([[1], [1] * 9], 8)
    with pytest.raises(ValueError, match="lengths from 0 to 1 tokens"):
        pack([[1], []], 8)
    with pytest.raises(ValueError, match="need 2 rows of 8 tokens a group, only 1"):
        pack([[1] * 5, [1] * 5], 8, rows=1)
    with pytest.raises(ValueError, match="packed in 2 rows a group, expected at most 1"):
        pad_rows(pack([[1] * 5, [1] * 5], 8), 1)
