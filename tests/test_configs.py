"""Every config file in every variant: read and checked; smoke variants of each form are run for a few steps."""

import importlib
import math
import subprocess
import sys
from pathlib import Path

import pytest

from jaxclip import objectives
from jaxclip.config import EvaluateConfig, parse
from jaxclip.datasets import BUILDERS

ROOT = Path(__file__).resolve().parents[1]
VARIANTS = {
    "clip": ("", "smoke", "triplets"),
    "semclip": ("", "smoke", "triplets", "paper", "released", "sugarcrepe_pp", "captions"),
    "omni_negclip": ("", "smoke", "paper"),
    "conclip": ("", "distractors", "smoke", "paper"),
    "negclip": ("", "smoke", "paper"),
    "negationclip": ("", "smoke", "paper"),
    "tripletclip": ("", "smoke"),
    "negbench": ("", "smoke"),
    "triplet": ("", "smoke", "triplets"),
    "pretrain_scenes": ("", "smoke"),
}


def get_config(name, variant=""):
    """The values of a config; what a user has to give is filled in."""

    def filled(value):
        if isinstance(value, dict):
            return {key: filled(entry) for key, entry in value.items()}
        return "given" if value is None else value

    config = importlib.import_module(f"configs.{name}").get_config(variant)
    values = config.to_dict()
    values["model"]["init"] = filled(values["model"]["init"])
    values["datasets"] = filled(values["datasets"])
    return parse(values)


def test_every_config_file_is_listed():
    assert {path.stem for path in (ROOT / "configs").glob("*.py")} == {*VARIANTS, "common", "evaluate"}


@pytest.mark.parametrize(("name", "variant"), [(name, variant) for name in VARIANTS for variant in VARIANTS[name]])
def test_it_is_a_config(name, variant):
    config = get_config(name, variant)
    for settings in config.objectives.values():
        objectives.build(settings.objective, **settings.settings)


@pytest.mark.parametrize("variant", ["", "scenes", "photographs", "released", "coco", "coco,ccneg"])
def test_the_benchmarks_are_a_config(variant):
    config = parse(importlib.import_module("configs.evaluate").get_config(variant), EvaluateConfig)
    used = {split.partition("/")[0] for benchmark in config.benchmarks.values() for split in benchmark.splits}
    assert used == set(config.datasets)
    for dataset in config.datasets.values():
        assert set(dataset.settings) <= set(BUILDERS[dataset.builder].settings)


def test_benchmarks_are_chosen_by_name():
    get_config = importlib.import_module("configs.evaluate").get_config
    assert set(get_config("coco,ccneg").benchmarks) == {"ccneg", "coco"}
    for variant in ("cocoo", "scenes,coco"):
        with pytest.raises(ValueError, match="unknown variant"):
            get_config(variant)


def test_the_paths_of_photographs_are_given_one_by_one():
    config = importlib.import_module("configs.evaluate").get_config("photographs")
    config.datasets.coco.images = "here"
    assert config.datasets.sugarcrepe_pp.images is None


@pytest.mark.parametrize("name", VARIANTS)
def test_an_unknown_variant_is_refused(name):
    with pytest.raises(ValueError, match=f"configs/{name}.py: unknown variant 'papre'; known: "):
        get_config(name, "papre")


def test_the_settings_of_the_papers():
    """As shared/methods.md has them from the papers and the released code."""
    semclip = get_config("semclip", "paper")
    assert (semclip.optimizer.learning_rate, semclip.optimizer.weight_decay, semclip.optimizer.clip_norm) == (
        5e-5,
        0.2,
        1,
    )
    assert (semclip.optimizer.accumulate, semclip.streams["train"].batch_size) == (2, 256)
    assert (semclip.schedule.epochs, semclip.schedule.warmup_steps, semclip.model.dtype) == (200, 50, "bfloat16")
    assert semclip.objectives["semclip"].settings["normalize"] and semclip.model.clamp_logit_scale
    released = get_config("semclip", "released")
    assert not released.objectives["semclip"].settings["normalize"] and not released.model.clamp_logit_scale
    assert released.model.reset_logit_scale and released.model.preprocessing == "semclip_released"

    omni = get_config("omni_negclip", "paper")
    assert {(stream.dataset, stream.batch_size) for stream in omni.streams.values()} == {("ccneg", 128), ("coco", 128)}
    assert (omni.optimizer.learning_rate, omni.optimizer.clip_norm, omni.schedule.epochs) == (1e-6, None, 30)
    assert "front_text_layers(6)" in omni.trainable and math.isclose(omni.objectives["absence"].settings["margin"], 0.9)

    conclip = get_config("conclip", "paper")
    assert (conclip.streams["train"].batch_size, conclip.schedule.epochs) == (200, 5)
    assert conclip.trainable == ("text", "logit_scale") and conclip.objectives["conclip"].settings["distractors"]

    negationclip = get_config("negationclip", "paper")
    assert (negationclip.streams["train"].batch_size, negationclip.schedule.epochs) == (512, 15)
    assert "text/ln_final" not in negationclip.trainable and negationclip.optimizer.weight_decay == 0.01

    negclip = get_config("negclip", "paper")
    assert (negclip.streams["train"].batch_size, negclip.schedule.epochs) == (256, 5)


@pytest.mark.parametrize("name", ["omni_negclip", "conclip", "tripletclip", "triplet"])
def test_a_few_steps_run(name, tmp_path):
    """The methods with several streams, several images or all texts; SemCLIP's own run is in test_main.py."""
    arguments = ["--config.schedule.steps=2", "--config.schedule.warmup_steps=1"]
    if name == "conclip":
        arguments.append("--config.objectives.conclip.distractors=True")
    result = subprocess.run(
        [sys.executable, "-m", "jaxclip.main", f"--config=configs/{name}.py:smoke", f"--workdir={tmp_path / 'run'}",
         f"--data_dir={tmp_path / 'data'}", "--config.evaluation.splits=('scenes/test',)", *arguments],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    assert (tmp_path / "run" / "report" / "scores.json").exists()
