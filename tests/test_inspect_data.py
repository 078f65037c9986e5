"""`--dry_run`, which shows what is in the data of a config."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from jaxclip.config import parse
from jaxclip.inspect_data import inspect

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def files(tmp_path):
    """20 rows of 10 images; row 3 has no caption, row 5 a long one."""
    (tmp_path / "images").mkdir()
    for number in range(10):
        buffer = io.BytesIO()
        Image.new("RGB", (40, 30), (20 * number, 90, 30)).save(buffer, "JPEG")
        (tmp_path / "images" / f"{number}.jpg").write_bytes(buffer.getvalue())
    rows = [{"image": f"{n % 10}.jpg", "caption": f"a cat {n}", "negation": f"no cat {n}"} for n in range(20)]
    rows[3]["caption"] = ""
    rows[5]["caption"] = 90 * "long "
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return tmp_path


def values(files, **settings):
    return {
        "title": "test",
        "model": {"init": "random:ViT-B/32"},
        "datasets": {
            "mine": {
                "builder": "triplets",
                "annotations": str(files / "rows.csv"),
                "images": str(files / "images"),
                "on_bad_record": "skip",
                "allow_bad_fraction": 0.1,
                **settings,
            }
        },
        "streams": {"train": {"dataset": "mine", "split": "train", "batch_size": 8}},
        "objectives": {"semclip": {"objective": "semclip", "stream": "train"}},
        "trainable": ("logit_scale",),
        "optimizer": {"learning_rate": 1e-3},
        "schedule": {"steps": 3},
        "evaluation": {"splits": ("mine/test",)},
    }


def test_it_says_what_is_there_and_what_is_wrong(files, capsys):
    config = parse(values(files, split_by="row", test=0.5, validation=0.0))
    problems = inspect(config, files / "tfds", files / "out")
    shown = capsys.readouterr().out
    assert "mine/train: 10 records, " in shown and "mine/test: 9 records, " in shown
    assert "1 cut" in shown
    [folder] = (files / "tfds" / "annotated_images").glob("*/*")
    assert f"\n  built in {folder}\n" in shown
    assert "1 bad rows of the whole data set were left out" in shown
    assert problems[0] == "mine/train lacks what its objectives need: paraphrase"
    assert len(problems) == 2 and problems[1].startswith("mine/train and mine/test share ")
    for name in ("mine_train", "mine_test"):
        with Image.open(files / "out" / f"{name}.png") as sheet:
            assert sheet.width > 1000


def test_data_without_a_fault_has_no_problem(files):
    config = values(files)
    config["objectives"]["semclip"]["beta"] = 0.0  # needs no paraphrase
    assert inspect(parse(config), files / "tfds", files / "out") == []


def test_the_command_ends_with_1_where_something_is_wrong(files):
    arguments = [
        *("--config=configs/semclip.py:triplets", f"--workdir={files / 'run'}", f"--data_dir={files / 'tfds'}"),
        "--config.model.init=random:ViT-B/32",
        f"--config.datasets.triplets.annotations={files / 'rows.csv'}",
        f"--config.datasets.triplets.images={files / 'images'}",
    ]
    command = [sys.executable, "-m", "jaxclip.main", "--dry_run", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 1
    assert "Error: " in result.stderr and "rows.csv, line 5: 'caption': expected a text, found ''" in result.stderr
    assert "Traceback" not in result.stdout + result.stderr
    assert not (files / "run").exists()


def test_a_dry_run_of_sound_data_trains_nothing(tmp_path):
    arguments = ["--config=configs/semclip.py:smoke", f"--workdir={tmp_path / 'run'}", f"--data_dir={tmp_path}"]
    command = [sys.executable, "-m", "jaxclip.main", "--dry_run", *arguments]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "scenes/train: 128 records, 128 × image" in result.stdout and "Nothing is wrong." in result.stdout
    assert "colour: " in result.stdout  # classes of the zero-shot labels
    assert [entry.name for entry in (tmp_path / "run").iterdir()] == ["inspection"]
    assert len(list((tmp_path / "run" / "inspection").glob("scenes_*.png"))) == 5
