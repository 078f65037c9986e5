"""The whole program on real photographs and captions, at the real size of ViT-B/32, from random weights."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
SHARED = REPOSITORY.parent / "shared" / "data"


def sugarcrepe_rows() -> list[dict]:
    """The SugarCrepe++ items whose photograph is at hand."""
    photographs = {path.name for path in (SHARED / "coco_tiny" / "images").iterdir()}
    rows = []
    for path in sorted((SHARED / "sugarcrepe_pp").glob("*.json")):
        rows += [row for row in json.loads(path.read_text()) if row["filename"] in photographs]
    return rows


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photographs and captions of shared/data")
def test_semclip_trains_on_photographs(tmp_path):
    rows = sugarcrepe_rows()
    assert len(rows) == 179
    table = tmp_path / "triplets.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, ["filename", "caption", "caption2", "negative_caption"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    workdir = tmp_path / "run"
    result = subprocess.run(
        [
            *(sys.executable, "-m", "jaxclip.main", "--config=configs/semclip.py:triplets"),
            *(f"--workdir={workdir}", f"--data_dir={tmp_path / 'tfds'}", "--config.model.init=random:ViT-B/32"),
            f"--config.datasets.triplets.annotations={table}",
            f"--config.datasets.triplets.images={SHARED / 'coco_tiny' / 'images'}",
            "--config.datasets.triplets.columns.paraphrase=caption2",
            "--config.datasets.triplets.columns.negation=negative_caption",
            *("--config.streams.train.batch_size=16", "--config.log_every=1"),
            *("--config.schedule.steps=3", "--config.schedule.warmup_steps=1"),
        ],
        cwd=REPOSITORY,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert "63,428,097  of 151,277,313" in result.stdout

    losses = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite([row["loss"] for row in losses if "loss" in row]).all()
    scores = json.loads((workdir / "report" / "scores.json").read_text())["checkpoints"]["final"]["triplets/test"]
    assert {"original_over_negation", "itt", "tot", "caption_to_image_r1"} <= set(scores)

    caches = sorted((workdir / "cache" / "image_features").iterdir())
    features = [np.load(cache / "features-00000-of-00001.npy") for cache in caches]
    indices = [np.load(cache / "image_index.npy") for cache in caches]
    assert sum(map(len, indices)) == 179  # every record has its row ...
    assert sum(map(len, features)) == len({row["filename"] for row in rows})  # ... and each photograph is encoded once
    assert all(cache.shape[1] == 512 for cache in features)
    trained = [entry.name for entry in (workdir / "checkpoints").iterdir()]
    assert sorted(trained) == ["3", "base"]


def test_a_work_directory_is_free_after_settings_that_could_not_run(tmp_path):
    """Whoever mistyped a path corrects it and types the same command again."""
    found = []
    for name in ("mistyped.csv", "other.csv"):
        arguments = [
            *("--config=configs/semclip.py:triplets", f"--workdir={tmp_path / 'run'}", f"--data_dir={tmp_path}"),
            *("--config.model.init=scenes-base", f"--config.datasets.triplets.annotations={tmp_path / name}"),
            f"--config.datasets.triplets.images={tmp_path}",
        ]
        command = [sys.executable, "-m", "jaxclip.main", *arguments]
        found.append(subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True))
    assert [result.returncode for result in found] == [1, 1]
    assert "mistyped.csv: no such annotation file" in found[0].stderr
    assert "other.csv: no such annotation file" in found[1].stderr


@pytest.mark.skipif(not SHARED.is_dir(), reason="needs the photographs and captions of shared/data")
@pytest.mark.parametrize(
    ("variant", "annotations", "records", "scores"),
    [
        ("sugarcrepe_pp", SHARED / "sugarcrepe_pp", 179, {"original_over_negation", "itt", "paraphrase_to_image_r1"}),
        (
            "captions",
            SHARED / "coco_tiny" / "annotations" / "captions_train2017.json",
            250,
            {"caption_to_image_r1", "image_to_caption_r1", "paraphrase_to_image_r1"},
        ),
    ],
)
def test_semclip_trains_on_downloaded_files(tmp_path, variant, annotations, records, scores):
    """As a user has them: the five JSON files, or COCO's captions file; a small model, so that it is quick."""
    workdir = tmp_path / "run"
    arguments = [
        *(f"--config=configs/semclip.py:{variant}", f"--workdir={workdir}", f"--data_dir={tmp_path / 'tfds'}"),
        "--config.model.init=random:scenes",
        f"--config.datasets.{variant}.annotations={annotations}",
        f"--config.datasets.{variant}.images={SHARED / 'coco_tiny' / 'images'}",
        # Most of SugarCrepe++ is about photographs that are not among the hundred.
        f"--config.datasets.{variant}.on_bad_record=skip",
        f"--config.datasets.{variant}.allow_bad_fraction=1.0",
        *("--config.streams.train.batch_size=16", "--config.schedule.steps=3", "--config.schedule.warmup_steps=1"),
    ]
    result = subprocess.run(
        [sys.executable, "-m", "jaxclip.main", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    index = [np.load(path) for path in (workdir / "cache" / "image_features").glob("*/image_index.npy")]
    assert sum(map(len, index)) == records
    found = json.loads((workdir / "report" / "scores.json").read_text())["checkpoints"]["final"][f"{variant}/test"]
    assert scores <= set(found)
