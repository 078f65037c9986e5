"""Data sets: opened by name with the settings that a config gives.

`open_split` is the one way in: it builds the TFDS records where they are missing, and returns a `Split`.
"""

import dataclasses
import difflib
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from jaxclip.datasets.errors import DatasetError
from jaxclip.datasets.formats.ccneg import read_ccneg
from jaxclip.datasets.formats.coco import read_coco_captions, read_karpathy
from jaxclip.datasets.formats.negbench import read_negbench_mcq, read_negbench_retrieval
from jaxclip.datasets.formats.negclip import read_negclip
from jaxclip.datasets.formats.negrefcocog import read_negrefcocog
from jaxclip.datasets.formats.sugarcrepe import read_sugarcrepe, read_sugarcrepe_pp, read_sugarcrepe_pp_triplets
from jaxclip.datasets.formats.triplets import read_triplets
from jaxclip.datasets.records import builder as records_builder
from jaxclip.datasets.records.builder import BadRecordPolicy
from jaxclip.datasets.records.rows import Annotations
from jaxclip.datasets.records.splitting import SPLITS, Splitting
from jaxclip.datasets.scenes import builder as scenes_builder
from jaxclip.datasets.scenes import source as scenes_source
from jaxclip.datasets.splits import (
    AnnotatedRecords,
    Split,
    TfdsRecords,
    ZeroShotSet,
    check_split,
    text_roles,
    tfds_fingerprint,
)
from jaxclip.datasets.zeroshot import open_zeroshot

__all__ = ["BUILDERS", "DatasetError", "Split", "ZeroShotSet", "open_split"]


def _scenes(
    name: str,
    split: str,
    data_dir: Path,
    *,
    seed: int = 0,
    train_size: int = 5000,
    validation_size: int = 512,
    test_size: int = 1024,
) -> Split:
    zeroshot = []
    for attribute, classes in scenes_source.CLASSES.items():
        prompts, negated_prompts = scenes_source.class_prompts(attribute)
        zeroshot.append(ZeroShotSet(attribute, tuple(classes), tuple(prompts), tuple(negated_prompts)))
    sizes = {"train_size": train_size, "validation_size": validation_size, "test_size": test_size}
    builder = scenes_builder.prepare(data_dir, seed=seed, **sizes)
    check_split(name, builder, split)
    records = TfdsRecords(builder, split)
    fingerprint = tfds_fingerprint((builder, split))
    return Split(name, records, text_roles(builder), fingerprint, tuple(zeroshot), scenes_source.IMAGES)


def _pretraining_scenes(
    name: str, split: str, data_dir: Path, *, size: int, seed: int = 0, single_object: int = 0
) -> Split:
    del data_dir
    if split != "train":
        raise DatasetError(f"{name}: no such split; found train")
    records = scenes_source.PretrainingScenes(size, seed, single_object)
    return Split(name, records, ("caption",), f"pretraining_scenes {size} {seed} {single_object}")


@dataclasses.dataclass(frozen=True)
class _Builder:
    """How to open a data set: a function of (name, split, data_dir, **settings), and the settings that it takes."""

    open: Callable[..., Split]
    settings: Mapping[str, inspect.Parameter]


def _made(function: Callable[..., Split]) -> _Builder:
    """A data set that has a function of its own."""
    return _Builder(function, {k: v for k, v in _parameters(function).items() if v.kind is v.KEYWORD_ONLY})


def _annotated(read: Callable[..., Annotations], *, divided: bool) -> _Builder:
    """Annotated images in a format. `divided`: rows name no split, so the settings of `Splitting` divide them."""

    def open_annotated(name: str, split: str, data_dir: Path, **settings) -> Split:
        policy = BadRecordPolicy(**_take(settings, BadRecordPolicy))
        splitting = Splitting(**_take(settings, Splitting)) if divided else None
        builder, store = records_builder.prepare(data_dir, read(**settings), splitting, policy)
        if divided and split in SPLITS and split not in builder.info.splits:
            total = sum(part.num_examples for part in builder.info.splits.values())
            raise DatasetError(
                f"{name}: none of the {total} records came into this split; more images would, or larger shares (the "
                "settings validation and test)"
            )
        check_split(name, builder, split)
        folder = Path(str(builder.data_path))
        with np.load(folder / records_builder.IMAGE_ROWS_FILE) as saved:
            rows = {key.partition("/")[2]: saved[key] for key in saved if key.startswith(f"{split}/")}
        return Split(
            name=name,
            records=AnnotatedRecords(TfdsRecords(builder, split), TfdsRecords(store, "images"), rows),
            roles=text_roles(builder),
            fingerprint=tfds_fingerprint((builder, split), (store, "images")),
            images=tuple(rows),
            image_rows=rows,
            folder=folder,
        )

    settings = _parameters(read) | _parameters(BadRecordPolicy) | (_parameters(Splitting) if divided else {})
    return _Builder(open_annotated, settings)


def _parameters(function: Callable) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def _take(settings: dict, kind: type) -> dict:
    """Removes and returns the settings that `kind` takes."""
    return {key: settings.pop(key) for key in _parameters(kind) if key in settings}


BUILDERS: Mapping[str, _Builder] = {
    "scenes": _made(_scenes),
    "pretraining_scenes": _made(_pretraining_scenes),
    "triplets": _annotated(read_triplets, divided=True),
    "ccneg": _annotated(read_ccneg, divided=False),
    "sugarcrepe": _annotated(read_sugarcrepe, divided=False),
    "sugarcrepe_pp": _annotated(read_sugarcrepe_pp, divided=False),
    "sugarcrepe_pp_triplets": _annotated(read_sugarcrepe_pp_triplets, divided=True),
    "coco_captions": _annotated(read_coco_captions, divided=True),
    "karpathy": _annotated(read_karpathy, divided=False),
    "negclip": _annotated(read_negclip, divided=True),
    "negrefcocog": _annotated(read_negrefcocog, divided=False),
    "negbench_mcq": _annotated(read_negbench_mcq, divided=False),
    "negbench_retrieval": _annotated(read_negbench_retrieval, divided=False),
    "zeroshot": _made(open_zeroshot),
}


def open_split(name: str, builder: str, settings: Mapping, data_dir: Path) -> Split:
    """Opens a split, and builds its data set first where it is not on disk yet.

    Args:
      name: `DATASET/SPLIT`.
      builder: a key of `BUILDERS`.
      settings: the builder's settings; one that is None counts as not given.
      data_dir: the root folder of TFDS data sets.

    Raises:
      DatasetError: an unknown builder, setting or split; errors of the data itself name file and row.
    """
    if builder not in BUILDERS:
        raise DatasetError(f"{name}: unknown builder {builder!r}; {_near(builder, BUILDERS)}")
    given = {key: value for key, value in settings.items() if value is not None}
    known = BUILDERS[builder].settings
    for key in given:
        if key not in known:
            raise DatasetError(f"{name}: unknown setting {key!r} of the builder {builder!r}; {_near(key, known)}")
    required = [key for key, parameter in known.items() if parameter.default is parameter.empty]
    missing = [key for key in required if key not in given]
    if missing:
        raise DatasetError(f"{name}: the builder {builder!r} needs the setting(s) {', '.join(missing)}")
    return BUILDERS[builder].open(name, name.partition("/")[2], data_dir, **given)


def _near(key: str, known: Mapping) -> str:
    near = difflib.get_close_matches(key, known)
    return f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
