"""A split of a data set: random access to its records, and what can be asked of all of them.

Shapes: n records.
"""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
import tensorflow_datasets as tfds

from jaxclip.data.schema import TEXT_ROLES
from jaxclip.datasets.errors import DatasetError


@dataclasses.dataclass(frozen=True)
class ZeroShotSet:
    """Classes of a split's images. The class of a record is `record[name]`, "" where it has none."""

    name: str
    classes: tuple[str, ...]
    prompts: tuple[str, ...]
    negated_prompts: tuple[str, ...]


class Records(Protocol):
    """Random access to records (see `jaxclip.data.schema`)."""

    def __len__(self) -> int: ...

    def __getitem__(self, number: int) -> dict: ...


@dataclasses.dataclass(frozen=True)
class Split:
    """Random access to the records of one split.

    Attributes:
      name: `DATASET/SPLIT`, as configs write it.
      records: `records[i]` gives a record (see `jaxclip.data.schema`).
      roles: the text roles that every record has.
      fingerprint: names the data: another fingerprint wherever a record could differ.
      zeroshot: the classifications that its images are labelled for.
      images: the image roles that every record has.
      image_rows: image role → int64 [n], equal numbers for equal images, where that is known without reading them.
      folder: where the data set lies on disk, with the list of its bad records; None where it is made on the fly.
    """

    name: str
    records: Records
    roles: tuple[str, ...]
    fingerprint: str
    zeroshot: tuple[ZeroShotSet, ...] = ()
    images: tuple[str, ...] = ("image",)
    image_rows: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)
    folder: Path | None = None

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> dict:
        return self.records[number]


class TfdsRecords:
    """A TFDS data source with texts as `str` and images as encoded bytes."""

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._builder, self._split = builder, split
        images = [key for key, feature in builder.info.features.items() if isinstance(feature, tfds.features.Image)]
        self._images = frozenset(images)
        decoders = {key: tfds.decode.SkipDecoding() for key in images}
        self._source = builder.as_data_source(split=split, decoders=decoders)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int) -> dict:
        record = self._source[number]
        return {
            name: value.decode() if isinstance(value, bytes) and name not in self._images else value
            for name, value in record.items()
        }

    def __reduce__(self):
        # Readers hold open files; a worker process opens its own.
        return TfdsRecords, (self._builder, self._split)


class _LazyImages(dict):
    """A record whose images are read from the store when they are asked for: cached features don't need them."""

    def __init__(self, values: dict, rows: Mapping[str, int], store: TfdsRecords):
        super().__init__(values)
        self._rows, self._store = rows, store

    def __missing__(self, role: str):
        return self._store[self._rows[role]]["image"]


class AnnotatedRecords:
    """Rows with their images from the store; `record["image"]` reads one, `image_rows` [n] says which."""

    def __init__(self, rows: TfdsRecords, store: TfdsRecords, image_rows: Mapping[str, np.ndarray]):
        self._rows, self._store, self._image_rows = rows, store, image_rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, number: int) -> dict:
        images = {role: int(rows[number]) for role, rows in self._image_rows.items()}
        return _LazyImages(self._rows[number], images, self._store)


def tfds_fingerprint(*parts: tuple[tfds.core.DatasetBuilder, str]) -> str:
    """Of the record files' names, sizes and times: cheap, and another one whenever a file is written again.

    Args:
      *parts: builders, each with the split whose files count.
    """
    facts = []
    for builder, split in parts:
        config = builder.builder_config.name if builder.builder_config else ""
        facts.append(f"{builder.name}/{config}/{split}")
        files = sorted(Path(str(builder.data_path)).glob(f"*-{split}.*"))
        facts += [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def check_split(name: str, builder: tfds.core.DatasetBuilder, split: str) -> None:
    """DatasetError where the data set has no such split."""
    if split not in builder.info.splits:
        raise DatasetError(f"{name}: no such split; found {', '.join(sorted(builder.info.splits))}")


def text_roles(builder: tfds.core.DatasetBuilder) -> tuple[str, ...]:
    """The text roles among a builder's features."""
    return tuple(role for role in TEXT_ROLES if role in builder.info.features)
