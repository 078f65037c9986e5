"""Packing by its properties, on random texts: each is found whole, sees nothing else, and little is wasted."""

import numpy as np
import pytest

from jaxclip.data.packing import assign_rows, bucket, in_batches, pack, pad_rows, rows_used


def random_ids(lengths, generator):
    """Texts of these lengths, all tokens of a batch different and none 0, so that a token's origin is known."""
    tokens = iter(generator.permutation(np.sum(lengths)) + 1)
    return [[int(next(tokens)) for _ in range(length)] for length in lengths]


def clip_like_lengths(count, generator):
    """Tokens of captions with start- and end-of-text: some 14 on average, a long tail, at most 77."""
    return np.clip(np.rint(generator.lognormal(np.log(13), 0.35, count)), 2, 77).astype(int)


def branching_ids(count, row_length, generator):
    """Texts over an alphabet of three tokens: many begin alike, some are beginnings of others, some are equal."""
    lengths = generator.integers(1, row_length + 1, count)
    return [generator.choice([0, 1, 2], length, p=[0.8, 0.1, 0.1]).tolist() for length in lengths]


def seen_from(packed, group, end):
    """(tokens, positions) that the token at `end` sees, itself included, by the definition of `visible_until`."""
    row_length = packed["tokens"].shape[-1]
    row, place = divmod(int(end), row_length)
    seen = [before for before in range(place + 1) if packed["visible_until"][group, row, before] > place]
    return tuple(packed[name][group, row, seen].tolist() for name in ("tokens", "positions"))


@pytest.mark.parametrize("make_ids", [random_ids, branching_ids])
@pytest.mark.parametrize("seed", range(20))
def test_the_end_of_every_text_sees_that_text_and_nothing_else(seed, make_ids):
    generator = np.random.default_rng(seed)
    row_length, groups = int(generator.integers(4, 78)), int(generator.integers(1, 5))
    count = groups * int(generator.integers(1, 30))
    if make_ids is random_ids:
        ids = random_ids(generator.integers(1, row_length + 1, count), generator)
    else:
        ids = branching_ids(count, row_length, generator)
    packed = pack(ids, row_length, groups=groups)

    rows = packed["tokens"].shape[1]
    for name in ("tokens", "positions", "visible_until"):
        assert packed[name].shape == (groups, rows, row_length)
    assert packed["ends"].shape == (groups, count // groups)
    assert {values.dtype for values in packed.values()} == {np.dtype("int32")}
    for number, text in enumerate(ids):
        group, within = divmod(number, count // groups)
        assert seen_from(packed, group, packed["ends"][group, within]) == (text, list(range(len(text))))


@pytest.mark.parametrize("seed", range(5))
def test_every_token_sees_itself_and_rows_are_independent_of_padding(seed):
    generator = np.random.default_rng(seed)
    packed = pad_rows(pack(branching_ids(12, 9, generator), 9, groups=2), 14)
    assert (packed["visible_until"] > np.arange(9)).all() and (packed["visible_until"] <= 9).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_row_holds_each_beginning_once(seed):
    """As many tokens as the texts of the row have different beginnings: counted here as a set."""
    generator = np.random.default_rng(50 + seed)
    row_length = int(generator.integers(3, 40))
    ids = [[7, *text] for text in branching_ids(30, row_length - 1, generator)]  # 7 stands for start-of-text
    packed = pack(ids, row_length)
    for row in range(packed["tokens"].shape[1]):
        texts = [text for text, end in zip(ids, packed["ends"][0], strict=True) if end // row_length == row]
        beginnings = {tuple(text[: length + 1]) for text in texts for length in range(len(text))}
        padding = packed["positions"][0, row] == 0
        padding[0] = not texts
        assert row_length - padding.sum() == len(beginnings)


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_not_overfull_and_one_is_opened_only_where_a_text_fits_into_none(seed):
    generator = np.random.default_rng(100 + seed)
    row_length, count = int(generator.integers(3, 78)), int(generator.integers(1, 200))
    lengths = generator.integers(1, row_length + 1, count)
    rows, row_count = assign_rows(lengths.tolist(), [0] * count, row_length)  # nothing in common
    used = np.bincount(rows, lengths, minlength=row_count)
    assert (used > 0).all() and used.max() <= row_length
    assert row_count == 1 or np.sort(used)[:2].sum() > row_length, "two rows could be one"


def test_a_text_follows_the_one_before_it_or_goes_where_it_fits_best():
    # Rows of 10. The second shares 3 tokens with the first: 9 are used. The third needs 5 beyond the first token: a new
    # row. The fourth shares 2 with the third and fills that row; the last needs 1 token, which the first row has.
    rows, count = assign_rows([6, 6, 6, 6, 2], [0, 3, 1, 2, 1], 10)
    assert (rows.tolist(), count) == ([0, 0, 1, 1, 0], 2)


def test_equal_texts_are_one():
    packed = pack([[8, 1, 9]] * 5 + [[8, 9]], 10, rows=1)
    assert packed["tokens"].tolist() == [[[8, 1, 9, 9, 0, 0, 0, 0, 0, 0]]]
    assert packed["positions"].tolist() == [[[0, 1, 2, 1, 0, 0, 0, 0, 0, 0]]]
    assert packed["visible_until"].tolist() == [[[4, 3, 3, 4, 5, 6, 7, 8, 9, 10]]]
    assert packed["ends"].tolist() == [[2, 2, 2, 2, 2, 3]]


@pytest.mark.parametrize("seed", range(5))
def test_captions_fill_rows_to_92_percent(seed):
    """Even those that have nothing in common."""
    generator = np.random.default_rng(seed)
    lengths = clip_like_lengths(3 * 256, generator)
    assert lengths.sum() / pack(random_ids(lengths, generator), 77)["tokens"].size >= 0.92


def test_bucket_adds_little_and_keeps_few_counts():
    counts = range(1, 2000)
    assert all(rows <= bucket(rows) <= rows + 1 for rows in counts if rows < 32)
    assert all(rows <= bucket(rows) <= rows + 3 for rows in counts if rows < 128)
    assert all(rows <= bucket(rows) <= rows * (1 + 1 / 16) for rows in counts if rows >= 128)
    assert [bucket(rows) for rows in (0, 1, 31, 32, 33, 64, 65, 130)] == [0, 2, 32, 32, 36, 64, 68, 136]
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


@pytest.mark.parametrize(("rows", "groups"), [(1, 1), (2, 3), (50, 2)])
def test_batches_of_rows_hold_every_text_once(rows, groups):
    generator = np.random.default_rng(6)
    ids = branching_ids(40, 12, generator)
    batches = in_batches(pack(ids, 12), rows, groups=groups, round_up=lambda count: count + 2)
    assert len({(batch["tokens"].shape, batch["ends"].shape) for batch, _ in batches}) == 1
    found = []
    for batch, numbers in batches:
        assert batch["tokens"].shape == (groups, rows, 12) and batch["ends"].shape == numbers.shape
        assert (batch["visible_until"] > np.arange(12)).all()
        for group, place in zip(*np.nonzero(numbers >= 0), strict=True):
            number = numbers[group, place]
            assert seen_from(batch, group, batch["ends"][group, place])[0] == ids[number]
            found.append(int(number))
    assert sorted(found) == list(range(40))


def test_no_batch_holds_nothing_but_padding():
    generator = np.random.default_rng(7)
    packed = pack(random_ids([9] * 33, generator), 10)
    assert (packed["tokens"].shape[1], rows_used(packed)) == (36, 33)
    batches = in_batches(packed, 3, groups=1, round_up=lambda count: count)
    assert [int((numbers >= 0).sum()) for _, numbers in batches] == [3] * 11


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
        pack([[1] * 5, [2] * 5], 8, rows=1)
    with pytest.raises(ValueError, match="packed in 2 rows a group, expected at most 1"):
        pad_rows(pack([[1] * 5, [2] * 5], 8), 1)
