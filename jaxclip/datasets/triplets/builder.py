"""Your annotations and images as a TFDS data set of ArrayRecord files, checked once, when it is built.

Needs no TensorFlow. Encoded images come back as the bytes of their files, texts as UTF-8 bytes:

    builder = prepare("data/tfds", annotations="pairs.csv", images="photographs")
    records = builder.as_data_source(split="train", decoders={"image": tfds.decode.SkipDecoding()})
    records[0]["image"]      # JPEG or PNG bytes, untouched
    records[0]["caption"]    # UTF-8 bytes
"""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import tensorflow_datasets as tfds
from absl import logging
from tqdm import tqdm

from jaxclip.datasets.triplets.annotations import (
    BadRecord,
    Record,
    TripletsError,
    read_columns,
    read_records,
    resolve_columns,
)
from jaxclip.datasets.triplets.images import check_images
from jaxclip.datasets.triplets.splits import split_positions

BAD_RECORDS_FILE = "bad_records.jsonl"


@dataclasses.dataclass(kw_only=True)
class TripletsConfig(tfds.core.BuilderConfig):
    """Settings of the data set, as `prepare` explains them; the name is a digest of them and of the annotations.

    Raises:
        FileNotFoundError: no such annotation file or image folder.
        TripletsError: an impossible setting, or columns that do not fit the file.
    """

    name: str = ""
    annotations: Path
    images: Path
    columns: Mapping[str, str]
    split_by: str
    validation: float
    test: float
    seed: int
    on_bad_record: str
    allow_bad_fraction: float

    def __post_init__(self):
        self.annotations, self.images = Path(self.annotations).resolve(), Path(self.images).resolve()
        if not self.images.is_dir():
            raise FileNotFoundError(f"{self.images}: no such image folder")
        for key, known in (("split_by", ("image", "row")), ("on_bad_record", ("error", "skip"))):
            if getattr(self, key) not in known:
                raise TripletsError(f"{key}: expected one of {known}, found {getattr(self, key)!r}")
        if min(self.validation, self.test) < 0 or self.validation + self.test >= 1:
            raise TripletsError(
                f"validation and test: expected fractions that leave some for train, "
                f"found {self.validation} and {self.test}"
            )
        if not 0 <= self.allow_bad_fraction <= 1:
            raise TripletsError(f"allow_bad_fraction: expected 0 to 1, found {self.allow_bad_fraction}")
        self.columns = resolve_columns(self.annotations, read_columns(self.annotations), self.columns)
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(TripletsConfig)}
        digest = hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode())
        with self.annotations.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
        self.name = f"{re.sub(r'[^A-Za-z0-9_-]', '_', self.annotations.stem)}_{digest.hexdigest()[:16]}"


class Triplets(tfds.core.GeneratorBasedBuilder):
    """Images with captions, paraphrases, negations and other texts, from a CSV, TSV or JSONL file."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text()
        roles = [role for role in self.builder_config.columns if role not in ("id", "image")]
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict(
                {"id": text, "image": tfds.features.Image(), "image_id": text, **dict.fromkeys(roles, text)}
            ),
            disable_shuffling=True,  # the order of the annotations, which the pipeline shuffles
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        config = self.builder_config
        records, groups, bad = _checked_records(config)
        if config.split_by == "row":
            groups = [str(position) for position in range(len(records))]
        positions = split_positions(groups, config.validation, config.test, config.seed)
        logging.info("%s: %s", config.annotations, {split: len(part) for split, part in positions.items()})
        # This folder is renamed to its final name once it's complete, so the list appears together with the records.
        if bad:
            with open(os.path.join(self.data_dir, BAD_RECORDS_FILE), "w", encoding="utf-8") as file:
                file.writelines(json.dumps(dataclasses.asdict(record)) + "\n" for record in bad)
        return {
            split: self._generate_examples(split, [records[position] for position in part])
            for split, part in positions.items()
            if part  # TFDS refuses a split without records
        }

    def _generate_examples(self, split: str, records: list[Record]) -> Iterator[tuple[int, dict]]:
        for index, record in enumerate(tqdm(records, desc=f"triplets/{split}", unit=" records")):
            # As a file object the image is stored as it is, in its own format.
            image = io.BytesIO((self.builder_config.images / record.image).read_bytes())
            yield index, {"id": record.id, "image": image, "image_id": record.image, **record.texts}


def prepare(
    data_dir: str | os.PathLike,
    *,
    annotations: str | os.PathLike,
    images: str | os.PathLike,
    columns: Mapping[str, str] | None = None,
    split_by: Literal["image", "row"] = "image",
    validation: float = 0.1,
    test: float = 0.1,
    seed: int = 42,
    on_bad_record: Literal["error", "skip"] = "error",
    allow_bad_fraction: float = 0.01,
) -> Triplets:
    """Builds the data set unless it is there already, built with the same settings from the same annotations.

    Images are stored as they are, once for each row. Images changed later in the same folder are not noticed.

    Args:
        data_dir: root folder of TFDS data sets; the records go to triplets/CONFIG/VERSION below it, appearing there
            only when complete.
        annotations: a UTF-8 .csv or .tsv file with a header, or a .jsonl file of objects.
        images: the folder that the image names in the annotations start from.
        columns: role to column name, where the column isn't called as the role is. Without it, `filename`, `filepath`
            and SemCLIP's `paraphrased` and `image_number` (7 means 000000007.jpg) are understood too.
        split_by: "image" keeps all rows of an image (also of an equal file under another name) in one split; "row" is
            the split of SemCLIP's released code, which lets test images be seen in training.
        validation: fraction of the images, or rows, for validation.
        test: fraction for test.
        seed: of the split.
        on_bad_record: "error" stops at a bad row or image; "skip" leaves its rows out, counts them in a warning and
            lists them in `bad_records.jsonl` beside the records.
        allow_bad_fraction: with "skip", the share of bad rows above which the build stops all the same.

    Returns:
        The builder, ready for `as_data_source`. Splits that would be empty do not exist.

    Raises:
        FileNotFoundError: no such annotation file or image folder.
        TripletsError: an impossible setting, annotations that cannot be read, a bad row or image, or too many.
    """
    config = TripletsConfig(
        annotations=Path(annotations),
        images=Path(images),
        columns=columns or {},
        split_by=split_by,
        validation=validation,
        test=test,
        seed=seed,
        on_bad_record=on_bad_record,
        allow_bad_fraction=allow_bad_fraction,
    )
    with _quiet_logging():  # TFDS warns that a configuration is custom; here each one is
        builder = Triplets(config=config, data_dir=os.fspath(data_dir), file_format="array_record")
    tfds.disable_progress_bar()  # our own bars say all there is to say
    with contextlib.redirect_stdout(io.StringIO()):
        builder.download_and_prepare()
    return builder


@contextlib.contextmanager
def _quiet_logging() -> Iterator[None]:
    """Within it, absl's log shows errors only."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def _checked_records(config: TripletsConfig) -> tuple[list[Record], list[str], list[BadRecord]]:
    """All rows, checked with their images: the good ones, the digests of their images, and the bad ones."""
    stop = config.on_bad_record == "error"
    rows, bad = [], []
    for row in read_records(config.annotations, config.columns):
        if isinstance(row, Record):
            rows.append(row)
        elif stop:
            raise TripletsError(f"{config.annotations}, line {row.line}: {row.reason}")
        else:
            bad.append(row)
    names = list(dict.fromkeys(row.image for row in rows))
    digests, reasons = check_images(config.images, names, stop_at_first=stop)
    bad += [BadRecord(row.line, reasons[row.image]) for row in rows if row.image in reasons]
    bad.sort(key=lambda record: record.line)
    if stop and bad:
        raise TripletsError(f"{config.annotations}, line {bad[0].line}: {bad[0].reason}")
    records = [row for row in rows if row.image in digests]
    _judge(config.annotations, len(records), bad, config.allow_bad_fraction)
    return records, [digests[record.image] for record in records], bad


def _judge(annotations: Path, good: int, bad: list[BadRecord], allowed: float) -> None:
    """Warns about bad records; TripletsError where there are too many of them, or no good one."""
    if not good and not bad:
        raise TripletsError(f"{annotations}: no rows after the header")
    if not bad:
        return
    summary = f"{annotations}: {len(bad)} of {good + len(bad)} rows are bad; line {bad[0].line}: {bad[0].reason}"
    if not good or len(bad) > allowed * (good + len(bad)):
        raise TripletsError(f"{summary}; allow_bad_fraction is {allowed}")
    logging.warning("%s; all are in %s", summary, BAD_RECORDS_FILE)
