"""The command: its flags, and from captions to a trained model with nothing else in between."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
COCO = REPOSITORY.parent / "shared" / "data" / "coco_tiny"
COCO_FILES = {
    kind: ",".join(str(COCO / "annotations" / f"{kind}_{split}2017.json") for split in ("train", "val"))
    for kind in ("captions", "instances")
}


def run(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--base_url=rules", "--output=x.csv"], "expected a .jsonl file"),
        (["--base_url=rules", "--roles=paraphrases"], "--roles=paraphrases: expected some of paraphrase,negation"),
        (["--base_url=rules", "--roles=false_absence"], "needs it"),
        (["--base_url=rules", "--roles=absence"], "needs --instances"),
        (["--base_url=rules", "--generator=phi4"], "rules have no models"),
        (["--base_url=rules", "--wordnet=/nowhere"], "apt install wordnet-base"),
        (["--base_url=rules", "--checkpoint=/nowhere"], "--checkpoint=/nowhere: "),
        (["--base_url=rules", "--columns=title"], "expected ROLE=COLUMN"),
        (["--base_url=http://127.0.0.1:9/v1"], "--generator: expected the name of a model"),
        (["--base_url=localhost:9", "--generator=a", "--verifier=b"], "expected rules or http"),
        (["--base_url=http://h/v1", "--generator=a", "--verifier=b", "--vision=c"], "--vision needs --images"),
    ],
)
def test_flags_that_do_not_go_together(tmp_path, flags, message):
    captions = tmp_path / "in.csv"
    captions.write_text("filename,caption\n1.jpg,A red dog\n")
    result = run("jaxclip.generate", f"--captions={captions}", f"--output={tmp_path / 'out.jsonl'}", *flags)
    assert result.returncode == 1
    assert message in result.stdout + result.stderr
    assert "Traceback" not in result.stderr
    assert list(tmp_path.iterdir()) == [captions]  # nothing was written


@pytest.mark.skipif(not COCO.is_dir(), reason="needs the photographs and captions of shared/data")
def test_captions_become_triplets_and_triplets_train(tmp_path):
    output = tmp_path / "triplets.jsonl"
    result = run(
        *("jaxclip.generate", f"--captions={COCO_FILES['captions']}", f"--instances={COCO_FILES['instances']}"),
        *(f"--output={output}", "--base_url=rules", "--roles=paraphrase,negation,absence,false_absence"),
    )
    assert result.returncode == 0, result.stderr
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    failed = (tmp_path / "triplets.failed.jsonl").read_text().splitlines()
    assert len(rows) + len(failed) == 500 and len(rows) > 450
    assert {row["made_by"]["generator"] for row in rows} == {"rules"}
    assert (tmp_path / "report.html").is_file()

    workdir = tmp_path / "run"
    result = run(
        *("jaxclip.main", "--config=configs/semclip.py:triplets", f"--workdir={workdir}"),
        *(f"--data_dir={tmp_path / 'tfds'}", "--config.model.init=scenes-base"),
        f"--config.datasets.triplets.annotations={output}",
        f"--config.datasets.triplets.images={COCO / 'images'}",
        *("--config.streams.train.batch_size=64", "--config.schedule.steps=6", "--config.schedule.warmup_steps=2"),
        "--config.log_every=1",
    )
    assert result.returncode == 0, result.stderr
    losses = [json.loads(line).get("loss") for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    losses = [loss for loss in losses if loss is not None]
    assert len(losses) == 6 and np.isfinite(losses).all()
    scores = json.loads((workdir / "report" / "scores.json").read_text())["checkpoints"]["final"]["triplets/test"]
    assert {"original_over_negation", "absence_accuracy", "paraphrase_to_image_r1"} <= set(scores)
