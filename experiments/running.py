"""Training and measuring one trial, and where its result is kept."""

import functools
import hashlib
import importlib
import io
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from experiments.trials import ABLATIONS, METHODS, Trial
from jaxclip.config import Config, parse
from jaxclip.evaluation.layers import layer_similarities
from jaxclip.evaluator import Evaluator, replicate
from jaxclip.files import write_atomically
from jaxclip.prepare import Run, images_to_cache, prepare
from jaxclip.stages import make_evaluator, score_splits, train_run
from jaxclip.training.preemption import Preemption
from jaxclip.training.sharding import shard_params
from jaxclip.training.trainable import FlatParams
from jaxclip.training.watch import Watch

SPLITS = (
    "scenes/validation",
    "scenes/validation_templates",
    "scenes/test",
    "scenes/test_templates",
    "scenes/test_combinations",
)
LAYER_ANALYSIS_SPLITS = ("scenes/test", "scenes/test_templates")
LAYER_ANALYSIS_ROLES = ("negation", "paraphrase")


def trial_config(trial: Trial, seed: int) -> Config:
    """The config of a trial: its file, its changes, all splits, no validation on the way."""
    name, _, variant = trial.config.partition(":")
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    config.seed = seed
    with config.unlocked():
        for path, value in trial.changes.items():
            *parents, key = path.split(".")
            section = config
            for parent in parents:
                section = section[parent]
            if key in section:  # a value of another type may take its place
                del section[key]
            section[key] = value
        config.evaluation = {"splits": SPLITS}
    return parse(config)


def analyse_layers(run: Run, evaluator: Evaluator, trained: FlatParams) -> dict:
    """split → role → per layer, the mean cosine of the end-of-text states of the caption and of that role's text."""
    params = replicate(run.mesh, run.frozen, trained)
    found = {}
    for split in LAYER_ANALYSIS_SPLITS:
        states = {role: evaluator.layer_states(split, role, params) for role in ("caption", *LAYER_ANALYSIS_ROLES)}
        found[split] = {
            role: [score.as_dict() for score in layer_similarities(states["caption"], states[role])]
            for role in LAYER_ANALYSIS_ROLES
        }
    return found


def measure(run: Run, evaluator: Evaluator, trained: FlatParams, label: str) -> dict:
    """Scores and layer analysis of a model."""
    scored = score_splits(run, evaluator, trained, label)
    scores = {
        name: {metric: score.as_dict() for metric, score in found.scores.items()} for name, found in scored.items()
    }
    return {"scores": scores, "layers": analyse_layers(run, evaluator, trained)}


def interpolated(start: FlatParams, trained: FlatParams, share: float) -> FlatParams:
    """(1 − share)·start + share·trained, leaf by leaf."""
    return {path: (1 - share) * start[path] + share * leaf for path, leaf in trained.items()}


def trained_parameters(
    run: Run, evaluator: Evaluator, features: dict, watch: Watch, path: Path
) -> tuple[FlatParams, float]:
    """What the run's training ends with, and its seconds: from `path` (.npz) if it is there, else trained and kept."""
    seconds = 0.0
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        started = time.perf_counter()
        with tempfile.TemporaryDirectory(dir=path.parent) as scratch:
            trained = train_run(run, evaluator, features, Path(scratch), watch)
        seconds = time.perf_counter() - started
        content = io.BytesIO()
        np.savez(content, **trained)
        write_atomically(path, content.getvalue())
    with np.load(path) as arrays:
        return shard_params(run.mesh, dict(arrays)), seconds


def run_trial(
    config: Config,
    cache: Path,
    data_dir: Path,
    preemption: Preemption,
    *,
    base_file: Path,
    params_file: Path,
    interpolation: float = 1.0,
) -> dict:
    """Trains and measures; the starting model too, where `base_file` is not there yet."""
    run = prepare(config, data_dir)
    watch = Watch(preemption, config.failure)
    evaluator = make_evaluator(run, watch)
    features = evaluator.cache_features(images_to_cache(run), run.start.params, cache)
    if not base_file.exists():
        write_json(base_file, measure(run, evaluator, run.trained, "base"))
    trained, seconds = trained_parameters(run, evaluator, features, watch, params_file)
    trained = interpolated(run.trained, trained, interpolation)
    return {**measure(run, evaluator, trained, "final"), "seconds": seconds, "config": config.model_dump(mode="json")}


def write_json(path: Path, content: dict) -> None:
    """Writes a file that is there complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, (json.dumps(content) + "\n").encode())


def result_file(workdir: Path, trial: Trial, seed: int) -> Path:
    """Where a trial's scores are kept. Trials that are the same under several names share one file."""
    return _folder(workdir, first_alike(trial, same_interpolation=True)) / f"seed_{seed}.json"


def params_file(workdir: Path, trial: Trial, seed: int) -> Path:
    """Where the trained parameters of a trial are kept; those of an interpolation are the whole training's."""
    return _folder(workdir, first_alike(trial, same_interpolation=False)) / f"seed_{seed}.npz"


def _folder(workdir: Path, trial: Trial) -> Path:
    """A trial's own folder; another one when its config has changed, so that no older result passes for a new one."""
    config = trial_config(trial, 0).model_dump(mode="json")
    digest = hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()
    return workdir / trial.group / trial.label / digest[:8]


@functools.cache
def first_alike(trial: Trial, *, same_interpolation: bool) -> Trial:
    """The first trial of all that trains with the same config."""
    config = trial_config(trial, 0)
    for other in (*METHODS, *ABLATIONS):
        if same_interpolation and other.interpolation != trial.interpolation:
            continue
        if other.config.partition(":")[0] == trial.config.partition(":")[0] and trial_config(other, 0) == config:
            return other
    return trial


def plan(seeds: Sequence[int], only: Sequence[str]) -> list[tuple[Trial, int]]:
    """What is to be trained, in order."""
    trials = [(trial, seed) for seed in seeds for trial in METHODS] + [(trial, seeds[0]) for trial in ABLATIONS]
    wanted = [(trial, seed) for trial, seed in trials if not only or trial.group in only]
    return list(dict.fromkeys((first_alike(trial, same_interpolation=True), seed) for trial, seed in wanted))
