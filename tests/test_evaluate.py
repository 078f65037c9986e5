"""The command: the same scores on any number of devices and processes, real photographs, a search, first errors."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from jaxclip.query import negate

ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


def environment(devices=1, **more):
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
        "PYTHONPATH": str(ROOT),
        **more,
    }


def start(script, *arguments, devices=1, **more):
    command = [sys.executable, *script, *map(str, arguments)]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(devices, **more), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process, code: int | None = 0):
    output, _ = process.communicate(timeout=900)
    assert process.returncode == code if code is not None else process.returncode, output[-4000:]
    return output


def evaluate(*arguments, code=0):
    return finish(start(["-m", "jaxclip.evaluate"], *arguments), code)


SHARDED = [str(Path(__file__).with_name("sharded_evaluation.py"))]


def test_devices_and_processes_give_the_same_scores(tmp_path):
    """11 records on 7 images: neither divides by 2 or 8."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    meshes = start(SHARDED, tmp_path / "meshes", 1, 2, 8, devices=8)
    pair = [
        start(
            SHARDED,
            tmp_path / f"process{number}",
            2,
            JAX_COORDINATOR_ADDRESS=address,
            JAX_NUM_PROCESSES="2",
            JAX_PROCESS_ID=str(number),
        )
        for number in range(2)
    ]
    for process in (meshes, *pair):
        finish(process)
    found = {path.stem: json.loads(path.read_text()) for path in (tmp_path / "meshes").glob("*.json")}
    assert set(found) == {"1", "2", "8"}
    assert found["2"] == found["1"] and found["8"] == found["1"]
    for number in range(2):
        assert json.loads((tmp_path / f"process{number}" / "2.json").read_text()) == found["1"]
    assert len({round(score["value"], 3) for score in found["1"].values()}) > 3


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the photographs and captions of shared/data")
def test_photographs_with_captions_in_coco_format_and_sugarcrepe_pp(tmp_path):
    """All 100 photographs of coco_tiny, and the 179 items of SugarCrepe++ that have theirs among them."""
    captions = [DATA / "coco_tiny" / "annotations" / f"captions_{split}2017.json" for split in ("train", "val")]
    parts = [json.loads(path.read_text()) for path in captions]
    joined = {key: [entry for part in parts for entry in part[key]] for key in ("images", "annotations")}
    (tmp_path / "captions.json").write_text(json.dumps(joined))
    images = DATA / "coco_tiny" / "images"
    evaluate(
        "--config=configs/evaluate.py:photographs",
        "--checkpoint=scenes-base",
        f"--output={tmp_path / 'out'}",
        f"--data_dir={tmp_path / 'data'}",
        f"--config.datasets.coco.annotations={tmp_path / 'captions.json'}",
        f"--config.datasets.coco.images={images}",
        f"--config.datasets.sugarcrepe_pp.annotations={DATA / 'sugarcrepe_pp'}",
        f"--config.datasets.sugarcrepe_pp.images={images}",
    )
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["checkpoints"]["scenes-base"]
    assert scores["captions"]["image_to_caption_r1"]["n"] == 100
    assert scores["captions"]["caption_to_image_r1"]["n"] == len(joined["annotations"])
    assert scores["sugarcrepe_pp"]["itt_hard"]["n"] == scores["sugarcrepe_pp"]["tot_hard"]["n"] == 179
    subsets = [metrics["tot_hard"] for name, metrics in scores.items() if name.startswith("sugarcrepe_pp/")]
    assert len(subsets) == 5 and sum(one["n"] for one in subsets) == 179
    mean = np.mean([one["value"] for one in subsets])
    assert scores["sugarcrepe_pp"]["tot_hard"]["value"] == pytest.approx(mean)

    page = tmp_path / "search"
    evaluate(
        "--checkpoint=scenes-base",
        "--query=a street without cars",
        f"--images={images}",
        f"--output={page}",
        f"--cache={tmp_path / 'out' / 'cache'}",
    )
    html = (page / "query.html").read_text()
    assert "a street without cars" in html and "a street with cars" in html and html.count("<li>") == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/evaluate.py:scenes", "--checkpoint=nowhere"], "'nowhere': no such file or directory"),
        (["--config=configs/evaluate.py:scene", "--checkpoint=scenes-base"], "unknown variant 'scene'"),
        (["--checkpoint=scenes-base", "--query=a"], "--query and --images go together"),
    ],
)
def test_the_first_error_is_clear(tmp_path, arguments, message):
    output = finish(start(["-m", "jaxclip.evaluate"], *arguments, f"--output={tmp_path}"), code=None)
    assert message in output and "Traceback" not in output


@pytest.mark.parametrize(
    ("text", "negated"),
    [
        ("a street without cars", "a street with cars"),
        ("a street without any cars", "a street with cars"),
        ("a room with no people", "a room with people"),
        ("the door is not open", "the door is open"),
        ("no dog on the beach", "dog on the beach"),
        ("a man with a hat", "a man without a hat"),
        ("the light is green", "the light is not green"),
        ("a beach", "not a beach"),
    ],
)
def test_negation_of_a_query(text, negated):
    assert negate(text) == negated
