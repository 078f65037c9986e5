"""The comparison: its trials are valid, its tables are right, a finished trial is not repeated."""

import json
import statistics

import numpy as np
import pytest

from experiments import document, running
from experiments.running import (
    SPLITS,
    interpolated,
    params_file,
    plan,
    result_file,
    run_trial,
    trial_config,
    write_json,
)
from experiments.trials import ABLATIONS, METHODS, Trial
from jaxclip import objectives
from jaxclip.pretrained import load
from jaxclip.training.preemption import Preemption
from jaxclip.training.trainable import partition


@pytest.mark.parametrize("trial", [*METHODS, *ABLATIONS], ids=lambda trial: f"{trial.group}: {trial.label}")
def test_every_trial_can_be_prepared(trial):
    config = trial_config(trial, seed=7)
    assert config.seed == 7
    for settings in config.objectives.values():
        objectives.build(settings.objective, **settings.settings)
    partition(load(config.model.init).params, config.trainable)


def test_a_trial_differs_by_its_changes_only():
    plain = trial_config(Trial("g", "a", "semclip"), 1).model_dump()
    changed = trial_config(Trial("g", "b", "semclip", {"objectives.semclip.n": None}), 1).model_dump()
    assert plain["objectives"]["semclip"].pop("n") == 2 and changed["objectives"]["semclip"].pop("n") is None
    assert plain == changed


def test_methods_take_every_seed_and_ablations_the_first():
    todo = plan([4, 5], [])
    assert [trial.label for trial, _ in todo[: 2 * len(METHODS)]] == 2 * [trial.label for trial in METHODS]
    assert {seed for trial, seed in todo if trial in ABLATIONS} == {4}
    assert {trial.group for trial, _ in plan([1], ["methods"])} == {"methods"}


def test_what_is_the_same_training_under_two_names_is_done_once(tmp_path):
    todo = [trial for trial, _ in plan([1], [])]
    semclip = next(trial for trial in METHODS if trial.label == "SemCLIP")
    same = [trial for trial in ABLATIONS if trial.label in ("n = 2", "front 3", "1, 1, 1 (semclip)")]
    same = [trial for trial in same if trial.config == "semclip"]
    assert len(same) == 3 and not set(same) & set(todo)
    assert {result_file(tmp_path, trial, 1) for trial in same} == {result_file(tmp_path, semclip, 1)}
    half = next(trial for trial in ABLATIONS if trial.interpolation == 0.5 and trial.config == "semclip")
    assert half in todo and params_file(tmp_path, half, 1) == params_file(tmp_path, semclip, 1)
    assert result_file(tmp_path, half, 1) != result_file(tmp_path, semclip, 1)


def test_a_changed_config_does_not_take_over_old_results(tmp_path, monkeypatch):
    semclip = next(trial for trial in METHODS if trial.label == "SemCLIP")
    before = result_file(tmp_path, semclip, 1), params_file(tmp_path, semclip, 1)
    original = running.trial_config

    def changed(trial, seed):
        return original(trial, seed).model_copy(update={"log_every": 7})

    monkeypatch.setattr(running, "trial_config", changed)
    running.first_alike.cache_clear()
    try:
        assert not {result_file(tmp_path, semclip, 1), params_file(tmp_path, semclip, 1)} & set(before)
    finally:
        running.first_alike.cache_clear()


def test_interpolation_is_linear_in_the_weights():
    between = interpolated({"a": np.array([1.0, 2.0])}, {"a": np.array([3.0, 6.0])}, 0.25)
    np.testing.assert_allclose(between["a"], [1.5, 3.0])


def test_intervals_are_students(tmp_path):
    values = [0.5, 0.6, 0.8]
    mean, half_width = document.value_and_half_width(values)
    assert mean == pytest.approx(0.63333, abs=1e-5)
    # Standard deviation 0.152753, so 4.302653 × 0.152753 / √3.
    assert half_width == pytest.approx(0.37946, abs=1e-4)
    assert document.cell([0.5]) == "50.0"


def fake_scores(seed):
    generator = np.random.default_rng(seed)
    return {
        split: {
            metric: {"value": float(generator.uniform()), "n": 10, "low": 0.0, "high": 1.0}
            for metric in document.METRICS
        }
        for split in SPLITS
    }


def test_the_document_has_every_finished_trial_and_keeps_what_was_written_by_hand(tmp_path):
    layers = {
        split: {role: [{"value": 0.5, "n": 3, "low": 0.4, "high": 0.6}] * 3 for role in ("negation", "paraphrase")}
        for split in ("scenes/test", "scenes/test_templates")
    }
    result = {"layers": layers, "seconds": 60.0}
    write_json(tmp_path / "base.json", {"scores": fake_scores(0), "layers": layers})
    semclip = next(trial for trial in METHODS if trial.label == "SemCLIP")
    for seed in (1, 2, 3):
        values = {"scores": fake_scores(seed), "config": {"seed": seed}, **result}
        write_json(result_file(tmp_path, semclip, seed), values)
    path = tmp_path / "docs" / "results.md"
    document.write(path, tmp_path)
    text = path.read_text()
    values = [fake_scores(seed)["scenes/test"]["tot"]["value"] for seed in (1, 2, 3)]
    assert f"{100 * statistics.fmean(values):.1f} ± " in text
    assert "3 trainings, 3 minutes" in text and "CoN-CLIP" not in text
    assert {image.name for image in (tmp_path / "docs" / "images").iterdir()} == {
        "results_seen_and_held_out.png",
        "results_layer_analysis.png",
        "results_trade_off.png",
    }
    path.write_text(text.replace("# Results", "# Findings\n\nBy hand.\n\n# Results", 1))
    document.write(path, tmp_path)
    again = path.read_text()
    assert "By hand." in again and again.count(document.MARKER) == 1
    assert again.partition(document.MARKER)[2] == text.partition(document.MARKER)[2]


def test_what_is_written_is_complete_or_absent(tmp_path):
    with pytest.raises(TypeError):
        write_json(tmp_path / "a.json", {"x": object()})
    assert not (tmp_path / "a.json").exists()
    write_json(tmp_path / "a.json", {"x": 1})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": 1}


def test_a_trial_is_trained_and_measured_and_the_base_once(tmp_path):
    """Two streams, two steps, few scenes: every split gets scores, and every layer a cosine."""
    sizes = {"train_size": 64, "validation_size": 16, "test_size": 16}
    changes = {f"datasets.scenes.{key}": size for key, size in sizes.items()}
    trial = Trial("methods", "few steps", "omni_negclip", {**changes, "schedule.steps": 2, "schedule.warmup_steps": 1})
    base_file = tmp_path / "base.json"

    def run(seed, interpolation=1.0):
        files = {"base_file": base_file, "params_file": tmp_path / f"seed_{seed}.npz"}
        config = trial_config(trial, seed)
        folders = tmp_path / "cache", tmp_path / "data"
        return run_trial(config, *folders, Preemption(), **files, interpolation=interpolation)

    result = run(1)
    base = json.loads(base_file.read_text())
    assert set(result["scores"]) == set(base["scores"]) == set(SPLITS)
    assert result["scores"]["scenes/test"]["caption_to_image_r1"]["n"] == 16
    assert len(result["layers"]["scenes/test"]["negation"]) == 7  # before the first of six layers, and after each
    assert result["scores"] != base["scores"] and result["config"]["schedule"]["steps"] == 2
    written = base_file.stat().st_mtime_ns
    run(2)
    assert base_file.stat().st_mtime_ns == written
    # No scratch is left, and what is trained is trained once.
    kept = {"base.json", "cache", "data", "seed_1.npz", "seed_2.npz"}
    assert {entry.name for entry in tmp_path.iterdir()} == kept
    assert run(1)["scores"] == result["scores"]
    assert run(1, interpolation=0.0)["scores"] == base["scores"]
