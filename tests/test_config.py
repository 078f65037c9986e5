"""Configs are checked before anything runs: one line a problem, naming the key and what is near."""

import copy

import ml_collections
import pydantic
import pytest

from jaxclip.config import Config, ConfigError, parse

VALID = {
    "title": "A run",
    "model": {"init": "scenes-base"},
    "datasets": {"scenes": {"builder": "scenes", "version": 3}},
    "streams": {"train": {"dataset": "scenes", "split": "train", "batch_size": 64}},
    "objectives": {"main": {"objective": "semclip", "stream": "train", "n": 2, "alpha": 1.0}},
    "trainable": ("text", "logit_scale"),
    "optimizer": {"learning_rate": 1e-4},
    "schedule": {"steps": 100, "warmup_steps": 10},
    "evaluation": {"validation": "scenes/validation", "splits": ("scenes/test",)},
}
MISSING = object()


def changed(key, value):
    """The valid config with one key, as `a.b.c`, set or (`MISSING`) taken out."""
    values = copy.deepcopy(VALID)
    *sections, last = key.split(".")
    section = values
    for name in sections:
        section = section.setdefault(name, {})
    section.pop(last, None)
    if value is not MISSING:
        section[last] = value
    return values


def problems(values):
    with pytest.raises(ConfigError) as caught:
        parse(values)
    return str(caught.value).splitlines()


def test_a_valid_config_is_read_with_its_defaults():
    config = parse(VALID)
    assert config.model.init == "scenes-base" and config.optimizer.learning_rate == 1e-4
    assert config.seed == 42 and config.optimizer.name == "adamw" and config.optimizer.clip_norm is None
    assert config.evaluation.splits == ("scenes/test",)
    assert config.mesh.data == -1 and config.pipeline.workers == 0


def test_config_dict_and_dict_are_the_same():
    assert parse(ml_collections.ConfigDict(VALID)) == parse(VALID)


def test_open_sections_keep_further_keys_as_settings():
    config = parse(VALID)
    assert config.objectives["main"].settings == {"n": 2, "alpha": 1.0}
    assert config.datasets["scenes"].settings == {"version": 3}


def test_a_config_is_frozen():
    with pytest.raises(pydantic.ValidationError):
        parse(VALID).seed = 1


def test_json_of_a_config_is_plain():
    values = parse(VALID).model_dump(mode="json")
    assert values["trainable"] == ["text", "logit_scale"] and values["objectives"]["main"]["n"] == 2
    assert set(values) == set(Config.model_fields)


UNKNOWN = {
    "sead": "config.sead: unknown key; did you mean 'seed'",
    "model.intit": "config.model.intit: unknown key; did you mean 'init'",
    "streams.train.batchsize": "config.streams.train.batchsize: unknown key; did you mean 'batch_size'",
    "streams.train.augmentation.flipp": "config.streams.train.augmentation.flipp: unknown key; did you mean 'flip'",
    "optimizer.lerning_rate": "config.optimizer.lerning_rate: unknown key; did you mean 'learning_rate'",
    "schedule.warmup": "config.schedule.warmup: unknown key; did you mean 'warmup_steps'",
    "mesh.modle": "config.mesh.modle: unknown key; did you mean 'model'",
    "pipeline.thread": "config.pipeline.thread: unknown key; did you mean 'threads'",
    "checkpoint.qqqqq": "config.checkpoint.qqqqq: unknown key; known: every, best",
    "evaluation.split": "config.evaluation.split: unknown key; did you mean 'splits'",
}


@pytest.mark.parametrize(("key", "message"), UNKNOWN.items(), ids=UNKNOWN)
def test_unknown_keys_name_the_near_ones(key, message):
    (problem,) = problems(changed(key, 1))
    assert problem.startswith(message)


@pytest.mark.parametrize(
    "key",
    ["title", "model", "model.init", "streams.train.batch_size", "objectives.main.stream", "trainable"],
)
def test_missing_keys_are_named(key):
    assert problems(changed(key, MISSING)) == [f"config.{key}: missing"]


WRONG = [
    ("seed", "42", "valid integer", "found '42'"),
    ("seed", True, "valid integer", "found True"),
    ("seed", -1, "greater than or equal to 0", "found -1"),
    ("model.dtype", "float16", "'float32' or 'bfloat16'", "found 'float16'"),
    ("model.remat", "some", "'none', 'dots' or 'full'", "found 'some'"),
    ("microbatch", 0, "greater than 0", "found 0"),
    ("loss_chunk", 2.5, "valid integer", "found 2.5"),
    ("mesh.parameters", "split", "'replicated' or 'sharded'", "found 'split'"),
    ("optimizer.learning_rate", 0.0, "greater than 0", "found 0.0"),
    ("optimizer.learning_rate", float("nan"), "greater than 0", "found nan"),
    ("optimizer.name", "sgd", "'adamw' or 'muon'", "found 'sgd'"),
    ("optimizer.b1", 1.0, "less than 1", "found 1.0"),
    ("optimizer.decay", "none", "'all' or 'matrices'", "found 'none'"),
    ("streams.train.batch_size", 0, "greater than 0", "found 0"),
    ("streams.train.batch_size", 2.5, "valid integer", "found 2.5"),
    ("streams.train.augmentation", {"flip": 2.0}, "a probability", "found 2.0"),
    ("objectives.main.weight", -1.0, "greater than or equal to 0", "found -1.0"),
    ("trainable", "text", "valid tuple", "found 'text'"),
    ("streams", ["train"], "valid dictionary", "found ['train']"),
    ("optimizer", 3, "valid dictionary", "found 3"),
]


@pytest.mark.parametrize(("key", "value", "expected", "found"), WRONG, ids=lambda part: str(part)[:24])
def test_wrong_types_and_values_say_what_was_found(key, value, expected, found):
    (problem,) = problems(changed(key, value))
    assert problem.startswith(f"config.{key}: ") and expected in problem and found in problem


@pytest.mark.parametrize(
    ("given", "meant"), [(True, "full"), (False, "none"), ("full", "full"), ("dots", "dots"), ("none", "none")]
)
def test_rematerialisation_by_policy_or_as_it_was_before_there_were_some(given, meant):
    assert parse(changed("model.remat", given)).model.remat == meant


def test_a_placeholder_that_nobody_filled_names_its_flag():
    assert problems(changed("model.init", None)) == ["config.model.init: not given; expected --config.model.init=VALUE"]


def test_whole_numbers_pass_for_floats():
    assert parse(changed("optimizer.weight_decay", 0)).optimizer.weight_decay == 0.0


REFERENCES = [
    ("streams.train.dataset", "scene", "streams.train.dataset: 'scene' is not defined; did you mean 'scenes'?"),
    ("objectives.main.stream", "tain", "objectives.main.stream: 'tain' is not defined; did you mean 'train'?"),
    ("evaluation.validation", "coco/val", "evaluation split 'coco/val': 'coco' is not defined; known: scenes"),
    ("evaluation.splits", ("scenes",), "found 'scenes', expected DATASET/SPLIT"),
    ("objectives", {}, "objectives: found none, expected at least one"),
]


@pytest.mark.parametrize(("key", "value", "message"), REFERENCES, ids=[row[0] for row in REFERENCES])
def test_references_to_what_is_not_defined(key, value, message):
    (problem,) = problems(changed(key, value))
    assert message in problem


@pytest.mark.parametrize("schedule", [{}, {"steps": 10, "epochs": 1.0}])
def test_a_run_has_exactly_one_length(schedule):
    assert problems(changed("schedule", schedule)) == [
        "config.schedule: give exactly one of schedule.steps and schedule.epochs"
    ]


def test_all_problems_are_told_at_once():
    values = changed("optimizer", {"learning_rate": -1.0, "bb1": 0.9})
    values["sead"] = 3
    assert len(problems(values)) == 3
