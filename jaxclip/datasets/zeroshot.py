"""Classification sets for zero-shot evaluation, as TFDS's own builders make them."""

import re
from collections.abc import Sequence
from pathlib import Path

import tensorflow_datasets as tfds

from jaxclip.datasets.errors import DatasetError, MissingDataError
from jaxclip.datasets.splits import Split, TfdsRecords, ZeroShotSet, check_split, tfds_fingerprint

SETS = ("cifar10", "cifar100", "food101", "oxford_flowers102", "oxford_iiit_pet", "imagenet2012")
PROMPT = "this is a photo of a {}"
NEGATED_PROMPT = "this is not a photo of a {}"


class LabelledRecords:
    """TFDS records with their class by name, under the name of the set."""

    def __init__(self, records: TfdsRecords, dataset: str, classes: Sequence[str]):
        self._records, self._dataset, self._classes = records, dataset, classes

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, number: int) -> dict:
        record = self._records[number]
        label = int(record["label"])
        return {"id": str(number), "image": record["image"], self._dataset: self._classes[label] if label >= 0 else ""}


def open_zeroshot(name: str, split: str, data_dir: Path, *, dataset: str, class_names: str | None = None) -> Split:
    """Opens a set that `tfds build` has prepared. Preparing needs TensorFlow, reading doesn't.

    Args:
        name: `DATASET/SPLIT`, as configs write it.
        split: of TFDS: `test` (Food-101 and ImageNet: `validation`).
        data_dir: root folder of TFDS data sets.
        dataset: one of `SETS`.
        class_names: a text file with a name for each class, a line each, in the order of the labels; ImageNet's
            `n01440764 tench, Tinca tinca` is understood too (the first name counts). Needed for ImageNet, whose labels
            have no names in TFDS.

    Raises:
        FileNotFoundError: no such file of names.
        MissingDataError: a set that isn't prepared.
        DatasetError: an unknown set, an unknown split, or a wrong number of names.
    """
    if dataset not in SETS:
        raise DatasetError(f"{name}: unknown zero-shot set {dataset!r}; known: {', '.join(SETS)}")
    builder = tfds.builder(dataset, data_dir=str(data_dir), file_format="array_record")
    if not builder.is_prepared():
        raise MissingDataError(
            f"{name}: not found in {builder.data_path}; in an environment with TensorFlow run: "
            f"tfds build {dataset} --data_dir={data_dir} --file_format=array_record"
        )
    check_split(name, builder, split)
    label = builder.info.features["label"]
    classes = _read_names(Path(class_names), label.num_classes) if class_names else _readable(name, label.names)
    zeroshot = ZeroShotSet(
        dataset,
        tuple(classes),
        tuple(PROMPT.format(class_name) for class_name in classes),
        tuple(NEGATED_PROMPT.format(class_name) for class_name in classes),
    )
    records = LabelledRecords(TfdsRecords(builder, split), dataset, zeroshot.classes)
    return Split(name, records, (), tfds_fingerprint((builder, split)), (zeroshot,))


def _readable(name: str, labels: Sequence[str]) -> list[str]:
    """`apple_pie` → `apple pie`."""
    if re.fullmatch(r"n\d{8}", labels[0]):
        raise DatasetError(f"{name}: the labels are WordNet ids ({labels[0]}); give class_names, a file of names")
    return [label.replace("_", " ") for label in labels]


def _read_names(path: Path, count: int) -> list[str]:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    if len(lines) != count:
        raise DatasetError(f"{path}: {len(lines)} names, expected one for each of {count} classes")
    return [re.sub(r"^n\d{8}\s+", "", line).split(",")[0].strip() for line in lines]
