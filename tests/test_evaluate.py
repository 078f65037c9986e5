"""The command: the same scores on any number of devices and processes, real photographs, a search, first errors."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxclip.data.preprocessing import Preprocessing
from jaxclip.pretrained import Clip, save_directory
from jaxclip.query import negate
from tests.free_ports import free_port

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


SMALL_CONFIG = """
from ml_collections import ConfigDict


def files(builder, annotations, **settings):
    return {"builder": builder, "annotations": "{root}/" + annotations, "images": "{root}/images", **settings}


def get_config():
    scenes = {"builder": "scenes", "train_size": 1, "validation_size": 1, "test_size": 11}
    datasets = {
        "scenes": scenes,
        "coco": files("coco_captions", "captions.json", validation=0.0, test=0.0),
        "choices": files("negbench_mcq", "choices.csv"),
        "boxes": files("negrefcocog", "boxes.json"),
        "gone": files("karpathy", "gone.json"),
    }
    benchmarks = {
        "scenes": {"splits": ("scenes/test", "scenes/test_templates"), "similarities": True, "layers": 5},
        "coco": {"splits": ("coco/train",)},
        "choices": {"splits": ("choices/test",)},
        "boxes": {"splits": ("boxes/test",)},
        "gone": {"splits": ("gone/test",), "get": "Ask Andrej."},
    }
    return ConfigDict(
        {"title": "Small", "root": "", "batch_size": 5, "datasets": datasets, "benchmarks": benchmarks}
    )
"""


def write_small_benchmarks(root):
    """7 pictures with 11 captions, 5 multiple choices and 3 pairs of boxes: nothing divides by 2 or 8."""
    generator = np.random.default_rng(0)
    (root / "images").mkdir()
    for number in range(7):
        pixels = generator.integers(0, 256, (12, 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / "images" / f"{number}.png")
    captions = {
        "images": [{"id": number, "file_name": f"{number}.png"} for number in range(7)],
        "annotations": [{"id": n, "image_id": n % 7, "caption": f"the {n}th dog"} for n in range(11)],
    }
    (root / "captions.json").write_text(json.dumps(captions))
    boxes = [
        {"image": f"{n}.png", "phrase": f"dog {n}", "ref_bbox": [0, 0, 9, 9], "bbox_list": [[0, 0, 9, 9], [9, 0, 9, 9]]}
        for n in range(3)
    ]
    (root / "boxes.json").write_text(json.dumps(boxes))
    rows = [f"{n % 4},a cat {n},no dog {n},a dog,no cat {n},positive,{n}.png" for n in range(5)]
    header = "correct_answer,caption_0,caption_1,caption_2,caption_3,correct_answer_template,image_path"
    (root / "choices.csv").write_text("\n".join([header, *rows]) + "\n")


def test_devices_and_processes_give_the_same_scores(tmp_path, tiny_config, tiny_params, tiny_tokenizer):
    """The whole command with two checkpoints: 1, 2 and 8 devices, and two processes that share all directories."""
    generator = np.random.default_rng(1)
    preprocessing = Preprocessing(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "crop")
    other = {path: leaf + 0.1 * generator.standard_normal(leaf.shape) for path, leaf in tiny_params.items()}
    for name, params in (("one", tiny_params), ("two", {path: np.float32(leaf) for path, leaf in other.items()})):
        save_directory(Clip(tiny_config, params, tiny_tokenizer, preprocessing), tmp_path / name)
    write_small_benchmarks(tmp_path)
    (tmp_path / "config.py").write_text(SMALL_CONFIG)

    def begin(name, *more, devices=1, **variables):
        return start(
            ["-m", "jaxclip.evaluate"],
            f"--config={tmp_path / 'config.py'}",
            f"--config.root={tmp_path}",
            f"--checkpoint={tmp_path / 'one'},{tmp_path / 'two'}",
            f"--output={tmp_path / name}",
            f"--data_dir={tmp_path / name / 'data'}",
            *more,
            devices=devices,
            JAX_DISABLE_MOST_OPTIMIZATIONS="1",
            **variables,
        )

    cluster = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{free_port()}"}
    # As under Slurm.
    cluster |= {"SLURM_JOB_ID": "1", "SLURM_STEP_NODELIST": "localhost", "SLURM_STEP_NUM_NODES": "1"}
    running = [begin(f"{devices} devices", devices=devices) for devices in (1, 2, 8)]
    running += [
        begin("2 processes", SLURM_NTASKS="2", SLURM_PROCID=rank, SLURM_LOCALID=rank, **cluster) for rank in "01"
    ]
    shown = [finish(process) for process in running]
    assert "8 ×" in shown[2] and "2 process(es)" in shown[3] and "Report" not in shown[4]
    cache = tmp_path / "2 processes" / "cache"
    kept = sorted(cache.rglob("*.npz"))
    finish(begin("cached", f"--cache={cache}", f"--data_dir={tmp_path / '2 processes' / 'data'}"))
    assert kept and sorted(cache.rglob("*.npz")) == kept

    first, *others = (
        json.loads((tmp_path / name / "scores.json").read_text())
        for name in ("1 devices", "2 devices", "8 devices", "2 processes", "cached")
    )
    layers = first.pop("layers")
    for document in others:
        same = document.pop("layers")
        for name in ("one", "two"):
            for role in ("negation", "paraphrase"):
                found, expected = ([state["value"] for state in one[name]["scenes"][role]] for one in (same, layers))
                assert found == pytest.approx(expected, abs=1e-5) and len(found) == tiny_config.text.layers + 1
        assert document == first
    assert list(first["missing"]) == ["gone"] and first["missing"]["gone"].endswith(
        "gone.json: no such annotation file. Ask Andrej."
    )
    tables = first["checkpoints"]["one"]
    assert set(tables) == {"scenes", "scenes/test", "scenes/test_templates", "coco", "choices", "boxes"}
    assert tables["coco"]["caption_to_image_r1"]["n"] == 11 and tables["coco"]["image_to_caption_r1"]["n"] == 7
    assert tables["choices"]["mcq_accuracy"]["n"] == 5 and tables["boxes"]["box_accuracy"]["n"] == 3
    assert len({score["value"] for table in tables.values() for score in table.values()}) > 5


@pytest.mark.skipif(not DATA.is_dir(), reason="needs the photographs and captions of shared/data")
def test_photographs_with_captions_in_coco_format_and_sugarcrepe_pp(tmp_path):
    """All 100 photographs of coco_tiny, and the 179 items of SugarCrepe++ that have theirs among them."""
    captions = [DATA / "coco_tiny" / "annotations" / f"captions_{split}2017.json" for split in ("train", "val")]
    count = sum(len(json.loads(path.read_text())["annotations"]) for path in captions)
    images = DATA / "coco_tiny" / "images"
    evaluate(
        "--config=configs/evaluate.py:photographs",
        "--checkpoint=scenes-base",
        f"--output={tmp_path / 'out'}",
        f"--data_dir={tmp_path / 'data'}",
        f"--config.datasets.coco.annotations={captions[0]},{captions[1]}",
        f"--config.datasets.coco.images={images}",
        f"--config.datasets.sugarcrepe_pp.annotations={DATA / 'sugarcrepe_pp'}",
        f"--config.datasets.sugarcrepe_pp.images={images}",
    )
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())["checkpoints"]["scenes-base"]
    assert scores["captions"]["image_to_caption_r1"]["n"] == 100
    assert scores["captions"]["caption_to_image_r1"]["n"] == count
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
    assert "a street without cars" in html and "a street with cars" in html and html.count("<li") == 24


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/evaluate.py:scenes", "--checkpoint=nowhere"], "'nowhere': no such file or directory"),
        (["--config=configs/evaluate.py:scene", "--checkpoint=scenes-base"], "unknown variant 'scene'"),
        (
            ["--config=configs/evaluate.py:scenes", "--checkpoint="],
            "expected checkpoints with commas",
        ),
        (["--checkpoint=scenes-base"], "give the benchmarks by --config=configs/evaluate.py"),
        (["--checkpoint=scenes-base", "--query= ", "--images=."], "--query: found an empty text"),
        (["--checkpoint=scenes-base", "--query=a"], "--query and --images go together"),
        (["--checkpoint=scenes-base", "--query=a", "--images=/nowhere"], "--images=/nowhere: found no image"),
        (["--config=configs/evaluate.py:scenes", "--checkpoint=scenes-base", f"--cache={__file__}"], "is a file"),
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
