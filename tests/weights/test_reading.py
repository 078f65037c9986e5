"""Opening foreign checkpoints: which format, which files, and one clear error for each way to be wrong."""

import dataclasses
import json

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from jaxclip.data.preprocessing import CLIP, SEMCLIP_RELEASED
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.model import VARIANTS, ModelConfig, ResNetConfig, TextConfig, VisionConfig, parameter_shapes
from jaxclip.weights import Checkpoint, WeightsError, open_checkpoint, write_huggingface, write_open_clip
from jaxclip.weights.files import TensorFile, read_tensors
from jaxclip.weights.huggingface import config_values, parse_config, parse_preprocessor, preprocessor_values
from jaxclip.weights.names import openai_rule
from jaxclip.weights.openai import infer_architecture
from jaxclip.weights.tensors import LazyTensor

TEXT = TextConfig(context_length=77, vocabulary_size=49408, width=64, layers=2, heads=1)
VIT = ModelConfig(64, VisionConfig(224, 32, 128, 3, 2), TEXT)
RESNET = ModelConfig(64, ResNetConfig(224, 32, (1, 2, 1, 1), 16), TEXT)


def checkpoint(config=VIT, dtype=np.float16):
    """Small towers with CLIP's vocabulary; each parameter is filled with a number of its own."""
    shapes = parameter_shapes(config)
    params = {path: np.full(shape, 0.5 + number, dtype) for number, (path, shape) in enumerate(shapes.items())}
    return Checkpoint(config, params, Tokenizer.clip(), CLIP)


@pytest.fixture(scope="module")
def formats(tmp_path_factory):
    folder = tmp_path_factory.mktemp("formats")
    write_huggingface(checkpoint(), folder / "huggingface")
    write_open_clip(checkpoint(), folder / "open_clip")
    return folder


@pytest.fixture
def copy_of(formats, tmp_path):
    """(format, changes of the tensors) → the path of a damaged copy of the weights, descriptions beside it."""

    def copy(name, change=lambda tensors: None):
        for file in (formats / name).iterdir():
            if file.suffix != ".safetensors":
                (tmp_path / file.name).write_bytes(file.read_bytes())
                continue
            tensors = load_file(file)
            change(tensors)
            save_file(tensors, tmp_path / file.name)
            path = tmp_path / file.name
        return path

    return copy


def assert_same(found, expected):
    assert found.config == expected.config and found.preprocessing == expected.preprocessing
    assert found.tokenizer.vocabulary_size == expected.tokenizer.vocabulary_size
    assert set(found.params) == set(expected.params)
    for path, parameter in expected.params.items():
        assert found.params[path].dtype == parameter.dtype
        np.testing.assert_array_equal(np.asarray(found.params[path]), parameter)


@pytest.mark.parametrize("name", ["huggingface", "open_clip"])
def test_formats_are_told_apart(formats, name):
    assert_same(open_checkpoint(formats / name), checkpoint())
    assert_same(open_checkpoint(next((formats / name).glob("*.safetensors"))), checkpoint())
    assert_same(open_checkpoint(formats / name, format=name), checkpoint())


def test_openai_architecture_is_read_off_the_tensors(copy_of):
    path = copy_of("open_clip", lambda tensors: tensors.update(vocab_size=np.array(49408)))
    assert_same(open_checkpoint(path), checkpoint())
    assert_same(open_checkpoint(path, format="openai"), checkpoint())


def test_openai_resnet_is_read_off_the_tensors(tmp_path):
    write_open_clip(checkpoint(RESNET), tmp_path / "resnet")
    file = tmp_path / "resnet" / "open_clip_model.safetensors"
    assert_same(open_checkpoint(file, format="openai"), checkpoint(RESNET))
    assert_same(open_checkpoint(tmp_path / "resnet"), checkpoint(RESNET))
    with pytest.raises(FileNotFoundError, match="expected the path of a file"):
        open_checkpoint(tmp_path / "resnet", format="openai")


OPENAI = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px")


@pytest.mark.parametrize("config", [VIT, RESNET, *(VARIANTS[name] for name in OPENAI)])
def test_architecture_of_every_size(config):
    tensors = {}
    for path, shape in parameter_shapes(config).items():
        rule = openai_rule(path, len(shape))
        tensors[rule.keys[0]] = LazyTensor(rule.foreign_shape(shape), np.dtype(np.float16), lambda: None)
    assert infer_architecture(TensorFile("model.pt", tensors)) == config


def test_shards(copy_of, tmp_path):
    tensors = load_file(copy_of("huggingface"))
    halves = sorted(tensors)[::2], sorted(tensors)[1::2]
    for number, keys in enumerate(halves):
        save_file({key: tensors[key] for key in keys}, tmp_path / f"model-{number}.safetensors")
    weight_map = {key: f"model-{number}.safetensors" for number, keys in enumerate(halves) for key in keys}
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": weight_map}))
    (tmp_path / "model.safetensors").unlink()
    assert_same(open_checkpoint(tmp_path), checkpoint())
    assert_same(open_checkpoint(index), checkpoint())

    index.write_text(json.dumps({"weight_map": weight_map | {"extra": "model-0.safetensors"}}))
    with pytest.raises(WeightsError, match="key 'extra' is not in its shard model-0.safetensors"):
        open_checkpoint(index)
    index.write_text(json.dumps({"weight_map": weight_map | {"extra": "../model-0.safetensors"}}))
    with pytest.raises(WeightsError, match="expected the name of a file beside it"):
        open_checkpoint(index)
    index.write_text(json.dumps({"weight_map": weight_map | {"extra": "model-7.safetensors"}}))
    with pytest.raises(FileNotFoundError, match="model-7.safetensors"):
        open_checkpoint(index)
    index.write_text("{}")
    with pytest.raises(WeightsError, match="'weight_map' is missing"):
        open_checkpoint(index)


def test_torch_files_of_huggingface(copy_of, tmp_path):
    torch = pytest.importorskip("torch")
    path = copy_of("huggingface")
    tensors = {key: torch.from_numpy(tensor) for key, tensor in load_file(path).items()}
    path.unlink()
    torch.save(tensors, tmp_path / "pytorch_model.bin")
    assert_same(open_checkpoint(tmp_path), checkpoint())
    assert_same(open_checkpoint(tmp_path / "pytorch_model.bin"), checkpoint())
    (tmp_path / "pytorch_model.bin").rename(tmp_path / "pytorch_model-1.bin")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": dict.fromkeys(tensors, "pytorch_model-1.bin")}))
    assert_same(open_checkpoint(tmp_path), checkpoint())


def test_bfloat16_is_kept(formats, tmp_path):
    write_huggingface(checkpoint(dtype=ml_dtypes.bfloat16), tmp_path / "bfloat16")
    assert_same(open_checkpoint(tmp_path / "bfloat16"), checkpoint(dtype=ml_dtypes.bfloat16))


QUERY = "text_model.encoder.layers.1.self_attn.q_proj.weight"
DAMAGED = {
    "missing": ("huggingface", lambda t: t.pop(QUERY), rf"key '{QUERY}' is missing, expected .* \(64, 64\)"),
    "extra": ("huggingface", lambda t: t.update(more=np.zeros(1)), r"key 'more' has no place .*\(1 such keys\)"),
    "shape": (
        "huggingface",
        lambda t: t.update({QUERY: np.zeros((64, 65))}),
        rf"'{QUERY}': found .*\(64, 65\), expected \(64, 64\)",
    ),
    "type": (
        "huggingface",
        lambda t: t.update({QUERY: np.zeros((64, 64), np.int64)}),
        "found the type int64, expected",
    ),
    "double": ("huggingface", lambda t: t.update({QUERY: np.zeros((64, 64))}), "found the type float64, expected"),
    "several types": ("huggingface", lambda t: t.update({QUERY: np.zeros((64, 64), "f4")}), "found several types"),
    "OpenCLIP missing": ("open_clip", lambda t: t.pop("visual.proj"), "key 'visual.proj' is missing"),
    "OpenCLIP extra": ("open_clip", lambda t: t.update(logit_bias=np.zeros(())), "key 'logit_bias' has no place"),
    "OpenCLIP deeper": (
        "open_clip",
        lambda t: t.update(
            {k.replace("ks.1.", "ks.2."): v for k, v in t.items() if k.startswith("transformer.resblocks.1.")}
        ),
        r"key 'transformer.resblocks.2.* \(12 such keys\)",
    ),
    "no CLIP": ("open_clip", lambda t: t.pop("logit_scale"), "found no CLIP in it"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_damaged_tensors_give_one_error(damage, copy_of):
    name, change, message = DAMAGED[damage]
    path = copy_of(name, change)
    with pytest.raises(WeightsError, match=message) as error:
        open_checkpoint(path)
    assert str(error.value).startswith(str(path))


OPENAI_DAMAGED = {
    "no text tower": (lambda t: t.pop("token_embedding.weight"), "key 'token_embedding.weight' is missing"),
    "axes": (
        lambda t: t.update(text_projection=np.zeros(3)),
        r"'text_projection': found the shape \(3,\), expected 2 axes",
    ),
    "positions": (
        lambda t: t.update({"visual.positional_embedding": np.zeros((51, 128), "f2")}),
        "found 51 positions, expected a square and one",
    ),
    "vocabulary": (
        lambda t: t.update({"token_embedding.weight": np.zeros((100, 64), "f2")}),
        "a vocabulary of 100 tokens without a tokenizer.json",
    ),
}


@pytest.mark.parametrize("damage", OPENAI_DAMAGED)
def test_damaged_openai_tensors_give_one_error(damage, copy_of):
    change, message = OPENAI_DAMAGED[damage]
    path = copy_of("open_clip", change)
    with pytest.raises(WeightsError, match=message) as error:
        open_checkpoint(path, format="openai")
    assert str(error.value).startswith(str(path))


def test_truncated_safetensors(copy_of):
    path = copy_of("huggingface")
    whole = path.read_bytes()
    for length in (0, 5, 1000, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(WeightsError, match="model.safetensors: damaged safetensors file"):
            open_checkpoint(path)
    path.write_bytes((2**62).to_bytes(8, "little") + whole[8:])
    with pytest.raises(WeightsError, match="damaged safetensors file"):
        open_checkpoint(path)


def test_an_ambiguous_state_dict_is_not_guessed(copy_of, tmp_path):
    path = copy_of("open_clip")
    (tmp_path / "open_clip_config.json").unlink()
    with pytest.raises(WeightsError, match="say --format=openai, or for OpenCLIP --arch=NAME"):
        open_checkpoint(path)
    with pytest.raises(FileNotFoundError, match="open_clip_config.json"):
        open_checkpoint(path, format="open_clip")
    with pytest.raises(WeightsError, match="--arch is for OpenCLIP"):
        open_checkpoint(path, format="openai", arch="ViT-B-32")
    with pytest.raises(WeightsError, match="--arch=ViT-X: not of CLIP's own architectures"):
        open_checkpoint(path, arch="ViT-X")


def test_missing_files_are_named(tmp_path, copy_of):
    with pytest.raises(FileNotFoundError, match="nowhere: no such file or directory"):
        open_checkpoint(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="expected one of model.safetensors, .*open_clip_model.safetensors"):
        open_checkpoint(tmp_path)
    path = copy_of("huggingface")
    (tmp_path / "config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"config\.json"):
        open_checkpoint(path)
    (tmp_path / "weights.h5").write_bytes(b"")
    with pytest.raises(WeightsError, match=r"weights\.h5: unknown kind of file '\.h5', expected one of \.safetensors"):
        read_tensors(tmp_path / "weights.h5")


def test_custom_text_prefix_of_open_clip(copy_of):
    text = ("text_projection", "positional_embedding", "token_embedding", "transformer", "ln_final")

    def rename(tensors):
        for key in [key for key in tensors if key.startswith(text)]:
            tensors[f"text.{key}"] = tensors.pop(key)

    assert_same(open_checkpoint(copy_of("open_clip", rename)), checkpoint())


def test_older_huggingface_files(copy_of, tmp_path, formats):
    """vocab.json instead of tokenizer.json, one number for sizes, position ids among the tensors, end-of-text 2."""
    path = copy_of("huggingface", lambda t: t.update({"text_model.embeddings.position_ids": np.arange(77)[None]}))
    vocabulary = json.loads((tmp_path / "tokenizer.json").read_text())["model"]["vocab"]
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary))
    config = json.loads((tmp_path / "config.json").read_text())
    config["text_config"]["eos_token_id"] = 2
    config["vision_config_dict"] = config.pop("vision_config")
    (tmp_path / "config.json").write_text(json.dumps(config))
    values = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values | {"size": 224, "crop_size": 224}))
    assert_same(open_checkpoint(path), checkpoint())
    (tmp_path / "vocab.json").write_text(json.dumps(vocabulary | {"!": 5}))
    with pytest.raises(WeightsError, match="another vocabulary than CLIP's own needs a tokenizer.json"):
        open_checkpoint(path)


def test_what_is_assumed_is_said(copy_of, tmp_path):
    path = copy_of("huggingface")
    (tmp_path / "tokenizer.json").unlink()
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.warns(UserWarning) as notes:
        assert_same(open_checkpoint(path), checkpoint())
    assert ["vocabulary is taken" in str(note.message) for note in notes] == [True, False]
    assert "CLIP's own preprocessing is taken" in str(notes[1].message)


def test_joint_processor_file(copy_of, tmp_path):
    path = copy_of("huggingface")
    values = json.loads((tmp_path / "preprocessor_config.json").read_text())
    (tmp_path / "preprocessor_config.json").unlink()
    (tmp_path / "processor_config.json").write_text(
        json.dumps({"image_processor": values | {"image_mean": [0.5, 0.5, 0.5]}})
    )
    assert open_checkpoint(path).preprocessing.mean == (0.5, 0.5, 0.5)


CONFIGS = {
    "kind": ({"model_type": "siglip"}, "model_type is 'siglip', expected 'clip'"),
    "activation": (
        {"text_config": {"hidden_act": "gelu"}},
        "vision_config.hidden_act is 'quick_gelu', expected 'gelu'",
    ),
    "tanh": ({f"{t}_config": {"hidden_act": "gelu_new"} for t in ("text", "vision")}, "hidden_act is 'gelu_new'"),
    "epsilon": ({"vision_config": {"layer_norm_eps": 1e-6}}, "vision_config.layer_norm_eps is 1e-06, expected 1e-05"),
    "end of text": ({"text_config": {"eos_token_id": 7}}, "eos_token_id is 7, expected 2 or 49407"),
    "channels": ({"vision_config": {"num_channels": 1}}, "num_channels is 1, expected 3"),
    "heads": ({"vision_config": {"num_attention_heads": 7}}, "not divisible by its 7 heads"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_other_huggingface_models_are_refused(case):
    values, message = CONFIGS[case]
    with pytest.raises(WeightsError, match=f"config.json: .*{message}"):
        parse_config("config.json", {"model_type": "clip"} | values)


@pytest.mark.parametrize("name", [name for name in VARIANTS if not name.startswith("RN")])
def test_huggingface_config_of_every_architecture_is_read_back(name, tiny_tokenizer):
    values = json.loads(json.dumps(config_values(VARIANTS[name], tiny_tokenizer)))
    values["text_config"]["eos_token_id"] = VARIANTS[name].text.vocabulary_size - 1
    found = parse_config("config.json", values)
    # The format keeps the hidden channels of an MLP, not their ratio to the width.
    for tower in ("vision", "text"):
        sizes, expected = getattr(found, tower), getattr(VARIANTS[name], tower)
        assert int(sizes.width * sizes.mlp_ratio) == int(expected.width * expected.mlp_ratio)
        found = dataclasses.replace(found, **{tower: dataclasses.replace(sizes, mlp_ratio=expected.mlp_ratio)})
    assert found == VARIANTS[name]


def test_defaults_of_huggingface_configs_are_those_of_vit_b_32():
    assert parse_config("config.json", {"model_type": "clip"}) == VARIANTS["ViT-B/32"]


@pytest.mark.parametrize("preprocessing", [CLIP, SEMCLIP_RELEASED])
def test_preprocessor_round_trip(preprocessing):
    assert parse_preprocessor("p", json.loads(json.dumps(preprocessor_values(preprocessing)))) == preprocessing


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"resample": 1}, "resample is 1, expected 0 or 2 or 3"),
        ({"do_resize": False}, "do_resize is False"),
        ({"rescale_factor": 1}, "rescale_factor is 1, expected 1/255"),
        ({"crop_size": {"height": 200, "width": 200}}, "found size .* and crop_size"),
        ({"size": {"height": 224, "width": 200}, "do_center_crop": False}, "found size"),
        ({"size": {"longest_edge": 224}}, "found size"),
        ({"image_mean": "0.5"}, "mean: expected three"),
    ],
)
def test_other_preprocessors_are_refused(values, message):
    with pytest.raises(WeightsError, match=f"preprocessor_config.json: .*{message}"):
        parse_preprocessor("preprocessor_config.json", preprocessor_values(CLIP) | values)


def test_sizes_that_disagree_are_refused(copy_of, tmp_path):
    path = copy_of("huggingface")
    values = json.loads((tmp_path / "preprocessor_config.json").read_text())
    sides = {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}}
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(values | sides))
    with pytest.raises(WeightsError, match="images of 336 pixels, expected the model's 224"):
        open_checkpoint(path)
