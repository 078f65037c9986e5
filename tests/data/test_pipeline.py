"""The order of records, the share of each process, and batches that resume exactly."""

import io
import itertools

import numpy as np
import pytest
from PIL import Image

from jaxclip.data.packing import pack
from jaxclip.data.pipeline import batch_order, load_image, make_batches, pack_roles
from jaxclip.data.preprocessing import Preprocessing
from jaxclip.training.step import split_roles

RECORDS, BATCH = 23, 4
PIXELS = Preprocessing(size=4, mean=(0, 0, 0), std=(1, 1, 1), interpolation="nearest", resize="crop")


def png(number):
    buffer = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def source():
    return [
        {"id": str(number), "image": png(number), "caption": f"c{number}", "negation": f"no {number}"}
        for number in range(RECORDS)
    ]


def epochs(order, count):
    """The record numbers of the first epochs, batch by batch: [count, batches, b]."""
    per_epoch = RECORDS // BATCH
    return [[order[epoch * per_epoch + number].tolist() for number in range(per_epoch)] for epoch in range(count)]


def test_an_epoch_shows_a_record_at_most_once_in_batches_of_exactly_the_size():
    for batches in epochs(batch_order(RECORDS, BATCH, seed=1), 3):
        shown = [number for batch in batches for number in batch]
        assert all(len(batch) == BATCH for batch in batches)
        assert len(set(shown)) == len(shown) == RECORDS // BATCH * BATCH
        assert set(shown) <= set(range(RECORDS))


def test_an_epoch_that_batches_divide_is_a_permutation():
    order = batch_order(20, 5, seed=1)
    for epoch in range(3):
        numbers = np.concatenate([order[4 * epoch + batch] for batch in range(4)])
        assert sorted(numbers) == list(range(20)) and numbers.tolist() != list(range(20))


def test_each_epoch_has_its_own_order_and_each_seed():
    first, second, third = epochs(batch_order(RECORDS, BATCH, seed=1), 3)
    assert first != second and second != third and first != third
    assert epochs(batch_order(RECORDS, BATCH, seed=2), 1) != [first]


def test_the_same_seed_gives_the_same_order():
    assert epochs(batch_order(RECORDS, BATCH, seed=1), 2) == epochs(batch_order(RECORDS, BATCH, seed=1), 2)


def test_all_records_are_shown_over_some_epochs():
    shown = np.concatenate([np.concatenate(epoch) for epoch in epochs(batch_order(RECORDS, BATCH, seed=3), 12)])
    assert set(shown) == set(range(RECORDS))


def test_without_shuffle_the_order_is_that_of_the_data():
    order = batch_order(RECORDS, BATCH, seed=1, shuffle=False)
    assert epochs(order, 2) == 2 * [np.arange(20).reshape(5, 4).tolist()]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_together_make_the_global_batch_in_order(processes):
    whole = batch_order(RECORDS, BATCH, seed=5)
    parts = [batch_order(RECORDS, BATCH, seed=5, process_index=i, process_count=processes) for i in range(processes)]
    for number in range(12):
        np.testing.assert_array_equal(np.concatenate([part[number] for part in parts]), whole[number])
        assert {len(part[number]) for part in parts} == {BATCH // processes}


def test_order_errors():
    with pytest.raises(ValueError, match="3 records, fewer than one batch of 4"):
        batch_order(3, 4, seed=0)
    with pytest.raises(ValueError, match="batch of 4 cannot be shared by 3 processes"):
        batch_order(10, 4, seed=0, process_count=3)


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_roles_come_back_from_the_shards_as_they_went_in(source, tiny_tokenizer, shards):
    """`step.split_roles` undoes the order of `pack_roles`; a text's first byte stands for its embedding."""
    packed = pack_roles(source[8:16], ["caption", "negation"], tiny_tokenizer, shards=shards)
    groups = np.arange(shards)[:, None]
    tokens = packed["tokens"].reshape(shards, -1)
    end, second_last = tokens[groups, packed["ends"]], tokens[groups, packed["ends"] - 1]
    embeddings = np.stack([end.ravel(), second_last.ravel()], axis=-1)
    roles = split_roles(embeddings, ["caption", "negation"], shards)
    for role in ("caption", "negation"):
        expected = [tiny_tokenizer.ids([record[role]])[0][-2] for record in source[8:16]]
        assert roles[role][:, 0].tolist() == 8 * [tiny_tokenizer.end_id]
        assert roles[role][:, 1].tolist() == expected
    first_role_first = pack(tiny_tokenizer.ids([record["caption"] for record in source[8:16]]), 24, groups=shards)
    np.testing.assert_array_equal(packed["ends"].shape[1], 2 * first_role_first["ends"].shape[1])


def test_batches_hold_texts_and_images_of_the_same_records(source, tiny_tokenizer):
    order = batch_order(RECORDS, BATCH, seed=7)
    dataset = make_batches(source, order, roles=["caption"], tokenizer=tiny_tokenizer, shards=1, preprocessing=PIXELS)
    for number, batch in enumerate(itertools.islice(iter(dataset), 8)):
        assert set(batch) == {"texts", "images"}
        (images,) = batch["images"].values()
        assert images.shape == (BATCH, 4, 4, 3) and images.dtype == np.float32
        np.testing.assert_array_equal(np.rint(255 * images[:, 0, 0, 0]), order[number])
        expected = pack_roles([source[i] for i in order[number]], ["caption"], tiny_tokenizer, shards=1)
        for name, values in expected.items():
            np.testing.assert_array_equal(batch["texts"][name], values)


def test_cached_features_take_the_place_of_images(source, tiny_tokenizer):
    order = batch_order(RECORDS, BATCH, seed=7)
    table = np.random.default_rng(0).standard_normal((RECORDS, 3)).astype(np.float32)
    dataset = make_batches(
        source,
        order,
        roles=["caption"],
        tokenizer=tiny_tokenizer,
        shards=1,
        images=("image", "distractor_image"),
        features={"image": lambda numbers: table[numbers], "distractor_image": lambda numbers: -table[numbers]},
    )
    batch = next(iter(dataset))
    assert set(batch) == {"texts", "features"} and set(batch["features"]) == {"image", "distractor_image"}
    np.testing.assert_array_equal(batch["features"]["image"], table[order[0]])
    np.testing.assert_array_equal(batch["features"]["distractor_image"], -table[order[0]])


def test_several_images_a_record_are_decoded_by_role(source, tiny_tokenizer):
    order = batch_order(RECORDS, BATCH, seed=7)
    records = [
        {**source[number], "distractor_image": source[RECORDS - 1 - number]["image"]} for number in range(RECORDS)
    ]
    dataset = make_batches(
        records,
        order,
        roles=["caption"],
        tokenizer=tiny_tokenizer,
        shards=1,
        images=("image", "distractor_image"),
        preprocessing=PIXELS,
    )
    images = next(iter(dataset))["images"]
    for role, numbers in (("image", order[0]), ("distractor_image", RECORDS - 1 - order[0])):
        np.testing.assert_array_equal(np.rint(255 * images[role][:, 0, 0, 0]), numbers)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("taken", [0, 1, 7])
def test_an_iterator_goes_on_exactly_where_its_state_was_taken(source, tiny_tokenizer, threads, taken):
    """Over the end of an epoch too, and although more batches are already being made."""

    def iterator():
        return iter(
            make_batches(
                source,
                batch_order(RECORDS, BATCH, seed=9),
                roles=["caption", "negation"],
                tokenizer=tiny_tokenizer,
                shards=2,
                preprocessing=PIXELS,
                threads=threads,
            )
        )

    uninterrupted = iterator()
    for _ in range(taken):
        next(uninterrupted)
    state = uninterrupted.get_state()
    resumed = iterator()
    next(resumed)
    resumed.set_state(state)
    for expected, found in itertools.islice(zip(uninterrupted, resumed, strict=True), 6):
        np.testing.assert_array_equal(found["images"]["image"], expected["images"]["image"])
        for name, values in expected["texts"].items():
            np.testing.assert_array_equal(found["texts"][name], values)


def test_a_damaged_image_is_named(source):
    with pytest.raises(ValueError, match="record-5"):
        load_image({"id": "record-5", "image": b"not an image"}, PIXELS)
    pixels = load_image({"id": "a", "image": np.full((4, 4, 3), 255, np.uint8)}, PIXELS)
    np.testing.assert_array_equal(pixels, np.ones((4, 4, 3), np.float32))
