"""Data sets: one package each, opened by name with the settings that a config gives.

`open_split` is the one way in: it builds the TFDS records where they are missing, and returns a `Split`.
"""

import dataclasses
import difflib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import tensorflow_datasets as tfds

from jaxclip.data.schema import IMAGE_ROLES, TEXT_ROLES
from jaxclip.datasets.scenes import builder as scenes_builder
from jaxclip.datasets.scenes import source as scenes_source
from jaxclip.datasets.triplets import builder as triplets_builder


class DatasetError(ValueError):
    """A data set or split that cannot be opened, with what was found and what was expected."""


@dataclasses.dataclass(frozen=True)
class ZeroShotSet:
    """Classes of a split's images. The class of a record is `record[name]`, "" where it has none."""

    name: str
    classes: tuple[str, ...]
    prompts: tuple[str, ...]
    negated_prompts: tuple[str, ...]


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
    """

    name: str
    records: "TfdsRecords | scenes_source.PretrainingScenes"
    roles: tuple[str, ...]
    fingerprint: str
    zeroshot: tuple[ZeroShotSet, ...] = ()
    images: tuple[str, ...] = ("image",)

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, number: int) -> dict:
        return self.records[number]


class TfdsRecords:
    """A TFDS data source with texts as `str` and images as encoded bytes."""

    def __init__(self, builder: tfds.core.DatasetBuilder, split: str):
        self._builder, self._split = builder, split
        encoded = {role: tfds.decode.SkipDecoding() for role in IMAGE_ROLES if role in builder.info.features}
        self._source = builder.as_data_source(split=split, decoders=encoded)

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, number: int) -> dict:
        record = self._source[number]
        return {
            name: value.decode() if isinstance(value, bytes) and name not in IMAGE_ROLES else value
            for name, value in record.items()
        }

    def __reduce__(self):
        # Readers hold open files; a worker process opens its own.
        return TfdsRecords, (self._builder, self._split)


def _tfds_fingerprint(builder: tfds.core.DatasetBuilder, split: str) -> str:
    """Of the record files' names, sizes and times: cheap, and another one whenever a file is written again."""
    files = sorted(Path(str(builder.data_path)).glob(f"*-{split}.*"))
    facts = [f"{builder.name}/{builder.builder_config.name}/{split}"]
    facts += [f"{file.name} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
    return hashlib.sha256("\n".join(facts).encode()).hexdigest()


def _open_tfds(
    name: str, builder: tfds.core.DatasetBuilder, split: str, zeroshot: tuple[ZeroShotSet, ...] = ()
) -> Split:
    if split not in builder.info.splits:
        raise DatasetError(f"{name}: no such split; found {', '.join(sorted(builder.info.splits))}")
    roles = tuple(role for role in TEXT_ROLES if role in builder.info.features)
    images = tuple(role for role in IMAGE_ROLES if role in builder.info.features)
    return Split(name, TfdsRecords(builder, split), roles, _tfds_fingerprint(builder, split), zeroshot, images)


def _scenes(name: str, split: str, data_dir: Path, **settings) -> Split:
    zeroshot = []
    for attribute, classes in scenes_source.CLASSES.items():
        prompts, negated_prompts = scenes_source.class_prompts(attribute)
        zeroshot.append(ZeroShotSet(attribute, tuple(classes), tuple(prompts), tuple(negated_prompts)))
    return _open_tfds(name, scenes_builder.prepare(data_dir, **settings), split, tuple(zeroshot))


def _triplets(
    name: str, split: str, data_dir: Path, *, annotations=None, images=None, columns=None, **settings
) -> Split:
    if annotations is None or images is None:
        raise DatasetError(f"{name}: needs `annotations` (a CSV, TSV or JSONL file) and `images` (a folder)")
    given = {role: column for role, column in (columns or {}).items() if column is not None}
    settings |= {"annotations": annotations, "images": images, "columns": given}
    return _open_tfds(name, triplets_builder.prepare(data_dir, **settings), split)


def _pretraining_scenes(
    name: str, split: str, data_dir: Path, *, size: int, seed: int = 0, single_object: int = 0
) -> Split:
    del data_dir
    if split != "train":
        raise DatasetError(f"{name}: no such split; found train")
    records = scenes_source.PretrainingScenes(size, seed, single_object)
    return Split(name, records, ("caption",), f"pretraining_scenes {size} {seed} {single_object}")


BUILDERS: Mapping[str, Callable[..., Split]] = {
    "scenes": _scenes,
    "triplets": _triplets,
    "pretraining_scenes": _pretraining_scenes,
}


def open_split(name: str, builder: str, settings: Mapping, data_dir: Path) -> Split:
    """Opens a split, and builds its data set first where it is not on disk yet.

    Args:
      name: `DATASET/SPLIT`.
      builder: a key of `BUILDERS`.
      settings: the builder's settings.
      data_dir: the root folder of TFDS data sets.

    Raises:
      DatasetError: an unknown builder, setting or split; other errors of the builder name file and row.
    """
    if builder not in BUILDERS:
        near = difflib.get_close_matches(builder, BUILDERS)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(BUILDERS)}"
        raise DatasetError(f"{name}: unknown builder {builder!r}; {hint}")
    try:
        return BUILDERS[builder](name, name.partition("/")[2], data_dir, **settings)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise DatasetError(f"{name}: settings of builder {builder!r}: {error}") from None
