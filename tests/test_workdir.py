"""Whose run a work directory holds, by the config.json that earlier runs have left there."""

import json

import pytest

from jaxclip.config import ConfigError, parse
from jaxclip.workdir import check_workdir, write_config


def settings(remat="none", seed=1, log_every=10, init="scenes-base"):
    """A run; `n` is a tuple, which JSON does not have, in a section whose keys the schema does not know."""
    return {
        "title": "A run",
        "seed": seed,
        "log_every": log_every,
        "model": {"init": init, "remat": remat},
        "datasets": {"scenes": {"builder": "scenes", "only": ("colour", "side")}},
        "streams": {"train": {"dataset": "scenes", "split": "train", "batch_size": 64}},
        "objectives": {"main": {"objective": "clip", "stream": "train"}},
        "trainable": ("text", "logit_scale"),
        "optimizer": {"learning_rate": 1e-4},
        "schedule": {"steps": 100},
    }


def test_the_same_run_goes_on_and_another_is_refused(tmp_path):
    check_workdir(tmp_path, parse(settings()))
    write_config(tmp_path, parse(settings()))
    check_workdir(tmp_path, parse(settings()))
    check_workdir(tmp_path, parse(settings(log_every=1)))
    with pytest.raises(ConfigError, match=r"holds a run with other settings \(config.seed, config.model\)"):
        check_workdir(tmp_path, parse(settings(seed=2, init="random:ViT-B/32")))


@pytest.mark.parametrize("saved", [True, False, "full", "none"])
def test_what_is_recomputed_may_change(tmp_path, saved):
    """Runs from before there were policies have true or false."""
    (tmp_path / "config.json").write_text(json.dumps(settings(remat=saved)))
    check_workdir(tmp_path, parse(settings(remat="dots")))


def test_a_setting_that_came_later_is_at_its_default(tmp_path):
    saved = settings()
    del saved["model"]["remat"]
    (tmp_path / "config.json").write_text(json.dumps(saved))
    check_workdir(tmp_path, parse(settings(remat="none")))


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "config: Invalid JSON"),
        (json.dumps(settings() | {"sead": 1}), "config.sead: unknown key; did you mean 'seed'"),
        (json.dumps({"title": "A run"}), "config.model: missing"),
    ],
)
def test_a_config_that_cannot_be_read_is_named(tmp_path, content, problem):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ConfigError) as caught:
        check_workdir(tmp_path, parse(settings()))
    assert str(caught.value).startswith(f"{tmp_path / 'config.json'}: ") and problem in str(caught.value)
