"""From records to batches: order, process shards, tokenising, packing, images or cached features.

Shapes: B global batch, b this process's share of it, G_local the data shards this process feeds.

The order is Grain's seeded global shuffle of record numbers, a new one each epoch, cut into batches of exactly B (the
remainder of an epoch is left out). A process then takes its part of each batch, so the global batches are the same for
any number of processes. Only record numbers pass through the shuffle; records are read when their batch is made.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence

import grain
import numpy as np
from absl import flags
from PIL import Image

from jaxclip.data.augmentation import Augmentation, augment
from jaxclip.data.packing import pack
from jaxclip.data.preprocessing import Preprocessing, decode_image, preprocess
from jaxclip.data.tokenizer import Tokenizer

Batch = dict[str, dict[str, np.ndarray]]


class BatchStream:
    """Batches without an end; its iterators can be set to any batch."""

    def __init__(self, start: Callable[[int], Iterator[Batch]]):
        self._start = start

    def __iter__(self) -> "BatchIterator":
        return BatchIterator(self._start)


class BatchIterator(Iterator[Batch]):
    """Batches from number 0 on. Its state is a count, so a run may go on with other processes, threads or workers."""

    def __init__(self, start: Callable[[int], Iterator[Batch]]):
        self._start, self._number = start, 0
        self._batches: Iterator[Batch] | None = None  # started late: a resumed run need not make the first ones

    def __next__(self) -> Batch:
        if self._batches is None:
            self._batches = self._start(self._number)
        batch = next(self._batches)
        self._number += 1
        return batch

    def get_state(self) -> dict[str, int]:
        """How many batches were given out."""
        return {"batches": self._number}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes to where an iterator of the same order was when it had this state.

        Raises:
          ValueError: not a state of `get_state`.
        """
        if set(state) != {"batches"}:
            raise ValueError(f"found the iterator state {dict(state)}, expected the number of batches")
        self._number, self._batches = int(state["batches"]), None


def batch_order(
    record_count: int,
    batch_size: int,
    *,
    seed: int,
    shuffle: bool = True,
    process_index: int = 0,
    process_count: int = 1,
) -> grain.MapDataset:
    """An endless sequence of int arrays [b]: this process's record numbers of each global batch.

    Each epoch has its own order by `seed`, or always that of the data where `shuffle` is False.

    Raises:
      ValueError: fewer records than a batch, or a batch that the processes cannot share equally.
    """
    if record_count < batch_size:
        raise ValueError(f"the split has {record_count} records, fewer than one batch of {batch_size}")
    if batch_size % process_count:
        raise ValueError(f"a batch of {batch_size} cannot be shared by {process_count} processes equally")
    share = batch_size // process_count
    mine = slice(process_index * share, (process_index + 1) * share)
    numbers = grain.MapDataset.range(record_count).seed(seed)
    numbers = numbers.shuffle() if shuffle else numbers
    return numbers.batch(batch_size, drop_remainder=True).repeat().map(lambda numbers: np.asarray(numbers)[mine])


@dataclasses.dataclass(frozen=True)
class AugmentedEpochs:
    """How a stream's images are augmented: anew in each epoch, and the same way when a run is resumed.

    Attributes:
      augmentation: what is done.
      seed: of the stream.
      batches: of an epoch.
    """

    augmentation: Augmentation
    seed: int
    batches: int


def load_image(
    record: dict,
    preprocessing: Preprocessing,
    role: str = "image",
    augmented: Callable[[Image.Image], Image.Image] | None = None,
) -> np.ndarray:
    """A record's image, decoded, augmented and preprocessed: float32 [S, S, 3]."""
    image = record[role]
    image = decode_image(image, record["id"]) if isinstance(image, bytes) else image
    if augmented is not None:
        image = augmented(Image.fromarray(image) if isinstance(image, np.ndarray) else image)
    return preprocess(image, preprocessing)


def pack_roles(
    records: Sequence[dict], roles: Sequence[str], tokenizer: Tokenizer, *, shards: int
) -> dict[str, np.ndarray]:
    """The texts of a batch, packed shard by shard; within a shard ordered by role, then by record."""
    by_shard = np.arange(len(records)).reshape(shards, -1)
    texts = [records[number][role] for shard in by_shard for role in roles for number in shard]
    return pack(tokenizer.ids(texts), tokenizer.context_length, groups=shards)


def make_batches(
    source,
    order: grain.MapDataset,
    *,
    roles: Sequence[str],
    tokenizer: Tokenizer,
    shards: int,
    images: Sequence[str] = ("image",),
    features: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    preprocessing: Preprocessing | None = None,
    augmentation: AugmentedEpochs | None = None,
    threads: int = 2,
    workers: int = 0,
) -> BatchStream:
    """Batches of one stream, read ahead.

    Args:
      source: random access to records, `source[i]` a dict (see `jaxclip.data.schema`).
      order: from `batch_order`.
      roles: the texts that the objectives need.
      shards: groups that the texts of a batch are packed in: the data shards that this process feeds, times the
        microbatches of each; must divide b.
      images: the images that the objectives need.
      features: image role → (record numbers [b] → cached features [b, D]); without it images are decoded.
      preprocessing: of the decoded images.
      augmentation: of the decoded images; not together with `features`.
      threads: batches made at the same time in this process.
      workers: processes that make batches; 0 for none.

    Returns:
      An iterable of {"texts": packed, and "features" (role → [b, D]) or "images" (role → [b, S, S, 3])}.
    """

    def augmented(index: int, number: int, role: str) -> Callable[[Image.Image], Image.Image] | None:
        if augmentation is None:
            return None
        drawn = {"seed": augmentation.seed, "epoch": index // augmentation.batches, "record": number, "role": role}
        return functools.partial(augment, preprocessing=preprocessing, augmentation=augmentation.augmentation, **drawn)

    def load(index: int, numbers: np.ndarray) -> Batch:
        records = [source[int(number)] for number in numbers]
        batch: Batch = {"texts": pack_roles(records, roles, tokenizer, shards=shards)}
        if features is not None:
            batch["features"] = {role: features[role](numbers) for role in images}
        else:
            batch["images"] = {
                role: np.stack(
                    [
                        load_image(record, preprocessing, role, augmented(index, number, role))
                        for number, record in zip(numbers.tolist(), records, strict=True)
                    ]
                )
                for role in images
            }
        return batch

    loaded = order.map_with_index(load)

    def start(number: int) -> Iterator[Batch]:
        read_ahead = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=2 * threads)
        batches = loaded.slice(slice(number, None)).to_iter_dataset(read_ahead)
        if workers:
            if not flags.FLAGS.is_parsed():  # Grain's workers read absl flags, which only a program's main parses
                flags.FLAGS.mark_as_parsed()
            options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=2)
            batches = batches.mp_prefetch(options)
        return iter(batches)

    return BatchStream(start)
