"""From config to run: which splits are opened, what is trained, how long it is, and what is refused."""

import copy
import shutil

import numpy as np
import pytest

from jaxclip.config import ConfigError, parse
from jaxclip.main import USER_ERRORS, execute
from jaxclip.prepare import images_to_cache, make_streams, prepare, record_ids, run_length, stream_split
from jaxclip.pretrained import Clip, load, save_directory
from jaxclip.stages import make_evaluator, train_run
from jaxclip.training.preemption import Preemption
from jaxclip.training.watch import SAVING, Watch
from jaxclip.weights import WeightsError, write_huggingface, write_open_clip

VALUES = {
    "title": "test",
    "seed": 1,
    "model": {"init": "set below"},
    "datasets": {"scenes": {"builder": "scenes", "train_size": 20, "validation_size": 4, "test_size": 4}},
    "streams": {"train": {"dataset": "scenes", "split": "train", "batch_size": 8}},
    "objectives": {"semclip": {"objective": "semclip", "stream": "train", "learnable": True}},
    "trainable": ("front_text_layers(1)", "logit_scale"),
    "optimizer": {"learning_rate": 1e-3},
    "schedule": {"epochs": 3.0},
    "evaluation": {"validation": "scenes/validation", "splits": ("scenes/test",)},
}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


@pytest.fixture(scope="module")
def model_directory(tmp_path_factory, tiny_config, tiny_params, tiny_tokenizer):
    from jaxclip.data.preprocessing import Preprocessing

    directory = tmp_path_factory.mktemp("models") / "tiny"
    preprocessing = Preprocessing(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "crop")
    save_directory(Clip(tiny_config, tiny_params, tiny_tokenizer, preprocessing), directory)
    return str(directory)


@pytest.fixture
def values(model_directory):
    found = copy.deepcopy(VALUES)
    found["model"]["init"] = model_directory
    return found


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objectives": {"a": {"objective": "semclip", "stream": "train", "n": 17}}},
            "objectives.a: .*n = 17 .* has 16",
        ),
        (
            {"objectives": {"a": {"objective": "semclip", "stream": "train", "n": 17, "learnable": True}}},
            "objectives.a: .*n = 17 .* has 16",
        ),
        ({"objectives": {"a": {"objective": "semclip", "stream": "train", "alpha": "1"}}}, "config.objectives.a: "),
        ({"trainable": ("text/ln_finl",)}, "config.trainable: 'text/ln_finl' matches no parameter"),
        (
            {"optimizer": {"learning_rate": 1e-3, "learning_rate_factors": {"text/ln_final": 2.0}}},
            "config.optimizer.learning_rate_factors: 'text/ln_final' matches no parameter",
        ),
        (
            {"optimizer": {"learning_rate": 1e-3, "learning_rate_factors": {"back_text_layers(1)": 2.0}}},
            r"config.optimizer.learning_rate_factors: 'back_text_layers\(1\)' matches no parameter",
        ),
    ],
)
def test_what_does_not_fit_the_model_is_refused_before_the_first_step(values, data_dir, changes, message):
    with pytest.raises(USER_ERRORS, match=message):
        prepare(parse(values | changes), data_dir)


def test_the_model_of_an_earlier_start_counts(values, data_dir, model_directory):
    """The one that the config names may have been trained further since then."""
    values["model"]["init"] = "scenes-base"
    run = prepare(parse(values), data_dir, model_directory)
    assert run.start.config.embed_dim == 16
    for path, parameter in load(model_directory).params.items():
        np.testing.assert_array_equal({**run.trained, **run.frozen}[path], parameter)


def test_a_run_goes_on_with_the_model_that_it_began_with(values, data_dir, model_directory, tmp_path, monkeypatch):
    class Stop(Exception):
        pass

    def stop(config, data_dir, base):
        raise Stop(base)

    def started_with():
        with pytest.raises(Stop) as stopped:
            execute(parse(values), tmp_path, data_dir, None)
        return stopped.value.args[0]

    monkeypatch.setattr("jaxclip.main.prepare", stop)
    assert started_with() is None
    shutil.copytree(model_directory, tmp_path / "checkpoints" / "base")
    assert started_with() == tmp_path / "checkpoints" / "base"
    (tmp_path / "checkpoints" / "base" / "model.json").write_bytes(b"{}")  # damaged: it is written again
    assert started_with() is None


def test_run_has_its_splits_parameters_and_roles(values, data_dir, tiny_params):
    run = prepare(parse(values), data_dir)
    assert list(run.splits) == ["scenes/train", "scenes/validation", "scenes/test"]
    assert run.roles == {"train": ("caption", "paraphrase", "negation")}
    model_paths = {path for path in run.trained if not path.startswith("objectives/")}
    assert model_paths == {
        path for path in tiny_params if path.startswith("text/transformer/resblocks_0/") or path == "logit_scale"
    }
    assert set(run.frozen) == set(tiny_params) - model_paths
    assert run.trained["objectives/semclip/projection"].shape == (16, 2)
    assert run.image_tower_frozen
    assert run.samples_per_step == 8
    assert stream_split(run.config, "train") == "scenes/train"


def test_length_by_epochs_counts_full_batches(values, data_dir):
    run = prepare(parse(values), data_dir)
    assert run.steps == 3 * (20 // 8)
    assert run_length(parse({**values, "schedule": {"steps": 7}}), run.splits) == 7


def test_logit_scale_can_be_reset(values, data_dir):
    values["model"]["reset_logit_scale"] = True
    run = prepare(parse(values), data_dir)
    np.testing.assert_allclose(np.exp(run.trained["logit_scale"]), 1 / 0.07, rtol=1e-6)


def test_streams_carry_features_or_images(values, data_dir):
    run = prepare(parse(values), data_dir)
    images = next(iter(make_streams(run, {})["train"]))
    assert images["images"]["image"].shape == (8, 16, 16, 3)
    cached = {"scenes/train": {"image": lambda numbers: numbers[:, None] * 1.0}}
    features = next(iter(make_streams(run, cached)["train"]))
    assert features["features"]["image"].shape == (8, 1)
    assert features["texts"]["ends"].shape == (1, 24)


def test_record_ids_are_those_of_the_batches(values, data_dir):
    run = prepare(parse(values), data_dir)
    numbers = {"scenes/train": {"image": lambda numbers: numbers}}
    batches = iter(make_streams(run, numbers)["train"])
    for step in range(1, 6):
        found = [run.splits["scenes/train"][int(n)]["id"] for n in next(batches)["features"]["image"]]
        assert record_ids(run, step) == {"train": found}


def test_record_ids_are_in_the_order_of_rows_where_a_mesh_mixes_processes(values, data_dir, monkeypatch):
    run = prepare(parse(values), data_dir)
    first, second = np.split(np.array(record_ids(run, 2)["train"]), 2)
    monkeypatch.setattr("jaxclip.prepare.record_blocks", lambda mesh: np.array([1, 0]))
    assert record_ids(run, 2)["train"] == [*second, *first]


def test_augmented_streams_run_the_frozen_image_tower(values, data_dir, tmp_path, monkeypatch):
    """Their features are not kept, those of the evaluation are; two steps show that the weights are at hand."""
    plain = prepare(parse(values), data_dir)
    assert plain.features_are_constant and set(images_to_cache(plain)) == set(plain.splits)
    values["streams"]["train"]["augmentation"] = {"scale": (0.5, 1.0), "flip": 0.5}
    values["schedule"] = {"steps": 2}
    run = prepare(parse(values), data_dir)
    assert run.image_tower_frozen and not run.features_are_constant
    assert set(images_to_cache(run)) == {"scenes/validation", "scenes/test"}
    watch, phases = Watch(Preemption(), run.config.failure), []
    monkeypatch.setattr(watch, "beat", lambda phase, step=None: phases.append(phase))
    evaluator = make_evaluator(run, watch)
    features = evaluator.cache_features(images_to_cache(run), run.start.params, tmp_path / "cache")
    assert set(next(iter(make_streams(run, features)["train"]))) == {"texts", "images"}
    trained = train_run(run, evaluator, features, tmp_path / "run", watch)
    assert any(np.any(np.asarray(trained[path]) != run.trained[path]) for path in run.trained)
    assert SAVING in phases and phases[-1] == "scoring"  # what follows is no longer without a bound


def test_worker_processes_give_the_same_batches(values, data_dir):
    plain = iter(make_streams(prepare(parse(values), data_dir), {})["train"])
    values["pipeline"] = {"workers": 1}
    worked = iter(make_streams(prepare(parse(values), data_dir), {})["train"])
    for _ in range(3):
        expected, found = next(plain), next(worked)
        np.testing.assert_array_equal(found["images"]["image"], expected["images"]["image"])
        np.testing.assert_array_equal(found["texts"]["tokens"], expected["texts"]["tokens"])


@pytest.mark.parametrize("kind", ["huggingface", "open_clip", "shipped"])
def test_the_model_can_be_whatever_load_takes(kind, values, data_dir, model_directory, tiny_params, tmp_path):
    if kind == "shipped":
        values["model"]["init"] = "scenes-base"
        assert prepare(parse(values), data_dir).start.config.embed_dim == 128
        return
    write = {"huggingface": write_huggingface, "open_clip": write_open_clip}[kind]
    write(load(model_directory), tmp_path / "foreign")
    values["model"]["init"] = str(tmp_path / "foreign")
    start = prepare(parse(values), data_dir).start
    for path, parameter in tiny_params.items():
        np.testing.assert_array_equal(start.params[path], parameter)


def test_what_a_foreign_model_leaves_open_is_said(values, data_dir, model_directory, tmp_path, capsys):
    write_huggingface(load(model_directory), tmp_path / "hf")
    (tmp_path / "hf" / "preprocessor_config.json").unlink()
    values["model"]["init"] = str(tmp_path / "hf")
    prepare(parse(values), data_dir)
    assert "Note: " in (said := capsys.readouterr().out) and "CLIP's own preprocessing is taken" in said


def test_a_damaged_foreign_model_is_one_error(values, data_dir, tmp_path):
    (tmp_path / "ViT-B-32.pt").write_bytes(b"PK")
    values["model"]["init"] = str(tmp_path / "ViT-B-32.pt")
    with pytest.raises(WeightsError, match=r"ViT-B-32\.pt: found neither a zip archive nor a pickle"):
        prepare(parse(values), data_dir)
    assert issubclass(WeightsError, USER_ERRORS)
    refused(
        {**values, "model": {"init": "ViT-B/32"}}, "'ViT-B/32' is not a model directory, .*random:VARIANT", data_dir
    )


def refused(values, message, data_dir):
    with pytest.raises(ConfigError, match=message):
        prepare(parse(values), data_dir)


def test_missing_role_is_refused_before_the_first_step(values, data_dir):
    values["datasets"] = {"scenes": {"builder": "pretraining_scenes", "size": 20}}
    values["evaluation"] = {}
    refused(values, "need the role.s. paraphrase, negation; scenes/train has caption", data_dir)


def test_missing_image_is_refused_before_the_first_step(values, data_dir):
    values["objectives"] = {"negclip": {"objective": "negclip", "stream": "train", "hard_images": True}}
    missing = "hard_image, hard_caption, hard_negation"
    refused(values, f"need the role.s. {missing}; scenes/train has caption, .*, image, distractor_image$", data_dir)


def test_stream_without_objective_is_refused(values, data_dir):
    values["streams"]["other"] = {"dataset": "scenes", "split": "train", "batch_size": 8}
    refused(values, "streams.other: no objective uses it", data_dir)


def test_a_batch_larger_than_the_data_is_refused(values, data_dir):
    values["streams"]["train"]["batch_size"] = 4096
    refused(
        values,
        r"config.streams.train.batch_size: scenes/train has \d+ records, fewer than one batch of 4,096",
        data_dir,
    )


def test_a_microbatch_that_does_not_divide_the_batch_is_refused(values, data_dir):
    values["microbatch"] = 3
    with pytest.raises(ConfigError, match="config.microbatch: 3 does not divide the 8 records of stream 'train' on"):
        prepare(parse(values), data_dir)


def test_texts_are_packed_by_microbatch_and_the_loss_is_chunked(values, data_dir):
    values |= {"microbatch": 2, "loss_chunk": 5}
    run = prepare(parse(values), data_dir)
    texts = next(iter(make_streams(run, {})["train"]))["texts"]
    assert texts["ends"].shape == (4, 3 * 2) and len(texts["tokens"]) == 4
    assert [term.objective.chunk for term in run.terms] == [5]


def test_unknown_objective_setting_names_the_near_one(values, data_dir):
    values["objectives"]["semclip"]["alfa"] = 1.0
    refused(values, "unknown setting 'alfa'; did you mean 'alpha'", data_dir)


def test_unknown_tokenizer_is_refused(values, data_dir):
    values["model"] = {"init": "random:scenes", "tokenizer": "train:nothing"}
    refused(values, "expected 'clip' or 'train:DATASET'", data_dir)


def test_tokenizer_is_made_from_the_captions(values, data_dir):
    values["model"] = {"init": "random:scenes", "tokenizer": "train:scenes"}
    run = prepare(parse(values), data_dir)
    size = run.start.tokenizer.vocabulary_size
    assert 514 < size <= 768
    assert run.start.params["text/token_embedding"].shape == (size, 128)
