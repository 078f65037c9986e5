"""Annotated images as TFDS data sets of ArrayRecord files, checked once, when they are built. Needs no TensorFlow.

Shapes: n rows of a split, U distinct images.

    DATA_DIR/annotated_images/FORMAT_NAME_DIGEST/1.0.0/     texts and further fields of each row, in the order of the
                                                            annotations; image_rows.npz; bad_records.jsonl
    DATA_DIR/image_store/DIGEST/1.0.0/                      each distinct image once, as the bytes of its file

A row names its images by their number in the store, so that a photograph with five captions lies on disk once, and
data sets of the same images share them. The digests are those of the settings with the annotation files, and of the
images: other content never comes under an old name.
"""

import dataclasses
import functools
import hashlib
import io
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from tqdm import tqdm

from jaxclip.datasets.errors import DatasetError
from jaxclip.datasets.records.checking import ImageKey, check_images
from jaxclip.datasets.records.image_files import ImageFiles, open_image_files
from jaxclip.datasets.records.rows import Annotations, BadRow, Row
from jaxclip.datasets.records.splitting import Splitting, split_positions
from jaxclip.datasets.tfds_build import prepare_builder, quiet

BAD_RECORDS_FILE = "bad_records.jsonl"
IMAGE_ROWS_FILE = "image_rows.npz"


@dataclasses.dataclass(frozen=True)
class BadRecordPolicy:
    """What to do about rows or images that cannot be used.

    Attributes:
        on_bad_record: "error" stops at the first; "skip" leaves its rows out, counts them in a message and lists them
            in `bad_records.jsonl`.
        allow_bad_fraction: with "skip", the share of bad rows above which the build stops all the same.

    Raises:
        DatasetError: another value.
    """

    on_bad_record: str = "error"
    allow_bad_fraction: float = 0.01

    def __post_init__(self):
        if self.on_bad_record not in ("error", "skip"):
            raise DatasetError(f"on_bad_record: expected 'error' or 'skip', found {self.on_bad_record!r}")
        if not 0 <= self.allow_bad_fraction <= 1:
            raise DatasetError(f"allow_bad_fraction: expected 0 to 1, found {self.allow_bad_fraction}")


@dataclasses.dataclass
class _StoreConfig(tfds.core.BuilderConfig):
    """Which images: (files, name) of each distinct image, in the order of the store."""

    images: Sequence[tuple[ImageFiles, str]] = ()


class ImageStore(tfds.core.GeneratorBasedBuilder):
    """Images as the bytes of their files."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"image": tfds.features.Image()}),
            disable_shuffling=True,  # rows name images by their number
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        return {"images": self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        images = self.builder_config.images
        for number, (files, name) in enumerate(tqdm(images, desc="storing images", unit=" images")):
            # As a file object the image is stored as it is, in its own format.
            yield number, {"image": io.BytesIO(files.read(name))}


@dataclasses.dataclass
class _RecordsConfig(tfds.core.BuilderConfig):
    """What `prepare` was asked for."""

    data_dir: str = ""
    annotations: Annotations | None = None
    splitting: Splitting | None = None
    policy: BadRecordPolicy | None = None


class AnnotatedImages(tfds.core.GeneratorBasedBuilder):
    """Texts about images, from annotations in any of the formats of `jaxclip.datasets`."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        annotations = self.builder_config.annotations
        text = tfds.features.Text()
        fields = {key: _feature(kind) for key, kind in annotations.fields.items()}
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {"id": text, "image_id": text, **dict.fromkeys(annotations.texts, text), **fields}
            ),
            disable_shuffling=True,  # the order of the annotations, which the pipeline shuffles
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        config = self.builder_config
        checked = _checked_rows(config.annotations, config.policy)
        digests = dict.fromkeys(checked.digest(row, role) for row in checked.rows for role in row.images)
        numbers = {digest: number for number, digest in enumerate(digests)}
        store = _prepare_store(config.data_dir, checked, numbers)
        positions = _divided(checked, config.splitting)
        image_rows = {"store": np.array(store.builder_config.name)}
        for split, part in positions.items():
            rows = [checked.rows[position] for position in part]
            for role in config.annotations.images:
                if all(role in row.images for row in rows):
                    found = [numbers[checked.digest(row, role)] for row in rows]
                    image_rows[f"{split}/{role}"] = np.array(found, np.int64)
        # This folder is renamed to its final name once it's complete, so these files appear with the records.
        np.savez(os.path.join(self.data_dir, IMAGE_ROWS_FILE), **image_rows)
        if checked.bad:
            with open(os.path.join(self.data_dir, BAD_RECORDS_FILE), "w", encoding="utf-8") as file:
                file.writelines(json.dumps(_as_dict(row)) + "\n" for row in checked.bad)
        return {
            split: self._generate_examples([checked.rows[position] for position in part])
            for split, part in positions.items()
        }

    def _generate_examples(self, rows: list[Row]) -> Iterator[tuple[int, dict]]:
        for number, row in enumerate(rows):
            yield number, {"id": row.id, "image_id": row.images["image"], **row.values}


def prepare(
    data_dir: str | os.PathLike,
    annotations: Annotations,
    splitting: Splitting | None = None,
    policy: BadRecordPolicy = BadRecordPolicy(),  # noqa: B008 (frozen)
) -> tuple[AnnotatedImages, ImageStore]:
    """Builds the records and their images unless they are there already, built from the same annotations.

    Images that are changed later in the same folder are not noticed.

    Args:
        data_dir: root folder of TFDS data sets.
        annotations: from a format's reader.
        splitting: how rows that name no split are divided; None where all do.
        policy: what to do about bad rows and images.

    Returns:
        The rows and the images. Splits that would be empty do not exist.

    Raises:
        FileNotFoundError: no such annotation file or image folder.
        DatasetError: annotations that cannot be read, a bad row or image, or too many.
    """
    root = os.fspath(data_dir)
    name = _dataset_name(annotations, splitting, policy)
    config = _RecordsConfig(name=name, data_dir=root, annotations=annotations, splitting=splitting, policy=policy)
    records = prepare_builder(lambda: AnnotatedImages(config=config, data_dir=root, file_format="array_record"))
    with np.load(Path(str(records.data_path)) / IMAGE_ROWS_FILE) as image_rows:
        store_name = str(image_rows["store"])
    with quiet():
        store = ImageStore(config=_StoreConfig(name=store_name), data_dir=root, file_format="array_record")
    if not store.is_prepared():
        raise DatasetError(f"{store.data_path}: the images of {records.data_path} are gone; remove both to build anew")
    return records, store


@dataclasses.dataclass(frozen=True)
class _Checked:
    """All rows, checked with their images.

    Attributes:
        places: image role → place.
        rows: the good ones.
        bad: the others.
        files: place → its images.
        names: key → name in its place.
        digests: key → SHA-256 of the image.
    """

    places: dict[str, str]
    rows: list[Row]
    bad: list[BadRow]
    files: dict[str, ImageFiles]
    names: dict[ImageKey, str]
    digests: dict[ImageKey, str]

    def digest(self, row: Row, role: str) -> str:
        return self.digests[self.places[role], row.images[role]]


def _checked_rows(annotations: Annotations, policy: BadRecordPolicy) -> _Checked:
    """Reads and checks everything.

    Raises:
        DatasetError: the first bad row or image, or with "skip" too many of them.
    """
    stop = policy.on_bad_record == "error"
    entries = []
    for entry in annotations.rows():
        if stop and isinstance(entry, BadRow):
            raise DatasetError(str(entry))
        entries.append(entry)
    places = dict(annotations.images)
    files = {place: open_image_files(place) for place in places.values()}
    keys = dict.fromkeys(key for entry in entries if isinstance(entry, Row) for key in _keys(entry, places))
    found, reasons = check_images(files, list(keys), by_basename=annotations.by_basename, stop_at_first=stop)
    good, bad = [], []
    for entry in entries:
        if isinstance(entry, BadRow):
            bad.append(entry)
        elif reason := next((reasons[key] for key in _keys(entry, places) if key in reasons), None):
            bad.append(BadRow(entry.item, reason))
        else:
            good.append(entry)
    if stop and bad:
        raise DatasetError(str(bad[0]))
    _judge(annotations, len(good), bad, policy.allow_bad_fraction)
    names = {key: name for key, (name, _) in found.items()}
    digests = {key: digest for key, (_, digest) in found.items()}
    return _Checked(places, good, bad, files, names, digests)


def _keys(row: Row, places: dict[str, str]) -> list[ImageKey]:
    return [(places[role], name) for role, name in row.images.items()]


def _judge(annotations: Annotations, good: int, bad: list[BadRow], allowed: float) -> None:
    """Says how many rows are bad; DatasetError where they are too many, or where no good one is left."""
    files = ", ".join(map(str, annotations.files))
    if not good and not bad:
        raise DatasetError(f"{files}: no rows in it")
    if not bad:
        return
    summary = f"{len(bad)} of {good + len(bad)} rows are bad, the first: {bad[0]}"
    if not good or len(bad) > allowed * (good + len(bad)):
        raise DatasetError(f"{files}: {summary}; allow_bad_fraction is {allowed}")
    tqdm.write(f"{files}: {summary}; all are in {BAD_RECORDS_FILE}", file=sys.stderr)


def _divided(checked: _Checked, splitting: Splitting | None) -> dict[str, list[int]]:
    """Split → positions of its rows, ascending; no split is empty, which TFDS would refuse."""
    if splitting is None:
        positions: dict[str, list[int]] = {}
        for position, row in enumerate(checked.rows):
            positions.setdefault(row.split, []).append(position)
        return positions
    by_row = splitting.split_by == "row"
    groups = [str(position) if by_row else checked.digest(row, "image") for position, row in enumerate(checked.rows)]
    positions = split_positions(groups, splitting.validation, splitting.test, splitting.seed)
    return {split: part for split, part in positions.items() if part}


def _prepare_store(data_dir: str, checked: _Checked, numbers: dict[str, int]) -> ImageStore:
    """Builds the store of these distinct images unless it is there already."""
    digest = hashlib.sha256("".join(numbers).encode()).hexdigest()[:16]
    keys = {image: key for key, image in reversed(checked.digests.items())}
    images = [(checked.files[keys[image][0]], checked.names[keys[image]]) for image in numbers]
    config = _StoreConfig(name=digest, images=images)
    return prepare_builder(lambda: ImageStore(config=config, data_dir=data_dir, file_format="array_record"))


def _dataset_name(annotations: Annotations, splitting: Splitting | None, policy: BadRecordPolicy) -> str:
    """A readable name and a digest of all settings and of the annotation files."""
    settings = {
        "format": annotations.format,
        "images": {role: str(Path(place).absolute()) for role, place in annotations.images.items()},
        "settings": annotations.settings,
        "splitting": dataclasses.asdict(splitting) if splitting else None,
        "policy": dataclasses.asdict(policy),
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for file in annotations.files:
        stat = file.stat()
        digest.update(_file_digest(file.absolute(), stat.st_size, stat.st_mtime_ns))
    stem = re.sub(r"[^A-Za-z0-9_-]", "_", annotations.files[0].stem)
    return f"{annotations.format}_{stem}_{digest.hexdigest()[:16]}"


@functools.lru_cache(maxsize=64)
def _file_digest(file: Path, size: int, modified: int) -> bytes:
    """SHA-256 of a file; size and time of modification tell when it has to be read again."""
    del size, modified
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").digest()


def _feature(kind: type | tuple[int, ...]) -> tfds.features.FeatureConnector:
    if kind is str:
        return tfds.features.Text()
    if kind is int:
        return tfds.features.Scalar(np.int64)
    return tfds.features.Tensor(shape=kind, dtype=np.float32)


def _as_dict(row: BadRow) -> dict[str, str]:
    return {"file": str(row.item.file), "place": row.item.place, "reason": row.reason}
