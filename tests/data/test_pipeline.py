"""The order of records, the share of each process, and batches that resume exactly."""

import io
import itertools
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxclip.data.augmentation import Augmentation, augment
from jaxclip.data.packing import pack
from jaxclip.data.pipeline import AugmentedEpochs, batch_order, load_image, make_batches, pack_roles
from jaxclip.data.preprocessing import Preprocessing, preprocess
from jaxclip.training.step import split_roles

ROOT = Path(__file__).resolve().parents[2]
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


def stream(source, tokenizer, *, processes=1, process=0, workers=0):
    """Batches whose features are the record numbers."""
    order = batch_order(RECORDS, BATCH, seed=9, process_index=process, process_count=processes)
    return make_batches(
        source,
        order,
        roles=["caption"],
        tokenizer=tokenizer,
        shards=1,
        features={"image": lambda numbers: np.asarray(numbers)},
        workers=workers,
    )


def numbers_of(iterators, count):
    """Record numbers of the next global batches."""
    return [np.concatenate([next(each)["features"]["image"] for each in iterators]).tolist() for _ in range(count)]


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 4), (1, 1)])
def test_another_number_of_processes_goes_on_with_the_same_global_batches(source, tiny_tokenizer, before, after):
    expected = numbers_of([iter(stream(source, tiny_tokenizer))], 14)
    first = [iter(stream(source, tiny_tokenizer, processes=before, process=i)) for i in range(before)]
    assert numbers_of(first, 7) == expected[:7]
    (state,) = {tuple(each.get_state().items()) for each in first}  # the same in every process
    second = [iter(stream(source, tiny_tokenizer, processes=after, process=i)) for i in range(after)]
    for each in second:
        each.set_state(dict(state))
    assert numbers_of(second, 7) == expected[7:]


def test_another_number_of_workers_goes_on_with_the_same_batches(source, tiny_tokenizer):
    expected = numbers_of([iter(stream(source, tiny_tokenizer))], 9)
    state, found = {"batches": 0}, []
    for workers in (2, 0, 1):
        iterator = iter(stream(source, tiny_tokenizer, workers=workers))
        iterator.set_state(state)
        found += numbers_of([iterator], 3)
        state = iterator.get_state()
    assert found == expected


def test_a_state_of_something_else_is_refused(source, tiny_tokenizer):
    with pytest.raises(ValueError, match="found the iterator state {'next_index': 3}, expected the number of batches"):
        iter(stream(source, tiny_tokenizer)).set_state({"next_index": 3})


@pytest.mark.parametrize("processes", [1, 2])
def test_killed_at_any_moment_the_sequence_of_record_ids_goes_on_unbroken(tmp_path, processes):
    """Real processes, SIGKILL: what each has shown up to its last checkpoint and after it is the one true sequence."""
    steps, random = 40, np.random.default_rng(processes)
    for attempt in range(4):
        last = attempt == 3
        running = [
            subprocess.Popen(
                [sys.executable, str(Path(__file__).with_name("order_run.py"))]
                + [str(argument) for argument in (tmp_path, process, processes, steps, 0 if last else 0.02)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=subprocess.PIPE,
                text=True,
            )
            for process in range(processes)
        ]
        if not last:
            for each in running:
                for _ in range(int(random.integers(2, 9))):
                    each.stdout.readline()  # a step was made
            for each in running:
                each.kill()
        assert [each.wait() for each in running] == processes * [0 if last else -signal.SIGKILL]
        for each in running:
            each.stdout.close()
    shown = [(tmp_path / f"ids_{process}.txt").read_text().split() for process in range(processes)]
    order = batch_order(RECORDS, BATCH, seed=9)
    expected = [[f"id{number}" for number in order[step]] for step in range(steps)]
    share = BATCH // processes
    together = [[name for ids in shown for name in ids[step * share : (step + 1) * share]] for step in range(steps)]
    assert together == expected
    assert all(len(ids) == steps * share for ids in shown)


def test_a_damaged_image_is_named(source):
    with pytest.raises(ValueError, match="record-5"):
        load_image({"id": "record-5", "image": b"not an image"}, PIXELS)
    pixels = load_image({"id": "a", "image": np.full((4, 4, 3), 255, np.uint8)}, PIXELS)
    np.testing.assert_array_equal(pixels, np.ones((4, 4, 3), np.float32))


def test_augmentation_is_drawn_anew_in_each_epoch_and_again_on_resume(source, tiny_tokenizer):
    """Each image is the one that `augment` makes of its record in that epoch."""
    images = np.random.default_rng(3).integers(0, 256, (RECORDS, 9, 7, 3), dtype=np.uint8)
    records = [{**source[number], "image": images[number]} for number in range(RECORDS)]
    augmentation = Augmentation(scale=(0.3, 1.0), flip=0.5)
    batches = RECORDS // BATCH

    def iterator():
        order = batch_order(RECORDS, BATCH, seed=7)
        epochs = AugmentedEpochs(augmentation, 7, batches)
        return iter(
            make_batches(
                records,
                order,
                roles=["caption"],
                tokenizer=tiny_tokenizer,
                shards=1,
                preprocessing=PIXELS,
                augmentation=epochs,
            )
        )

    order = batch_order(RECORDS, BATCH, seed=7)
    found = list(itertools.islice(iterator(), 2 * batches + 1))
    for index, batch in enumerate(found):
        for place, number in enumerate(order[index].tolist()):
            settings = {"seed": 7, "epoch": index // batches, "record": number}
            expected = augment(Image.fromarray(images[number]), PIXELS, augmentation, **settings)
            np.testing.assert_array_equal(batch["images"]["image"][place], preprocess(expected, PIXELS))
    resumed = iterator()
    resumed.set_state({"batches": batches + 1})
    np.testing.assert_array_equal(next(resumed)["images"]["image"], found[batches + 1]["images"]["image"])
