"""In, out and in again: bit-identical in every format, and the reference libraries load what we write."""

import dataclasses
import json

import ml_dtypes
import numpy as np
import pytest
from reference_libraries import open_clip_or_skip, transformers_or_skip
from weights_inputs import assert_agrees, captions, photographs

from jaxclip.data.preprocessing import CLIP, SEMCLIP_RELEASED, preprocess
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.model import ModelConfig, ResNetConfig, TextConfig, VisionConfig, parameter_shapes
from jaxclip.pretrained import Clip, load, open_model, save_directory
from jaxclip.weights import WeightsError, write_huggingface, write_open_clip

TEXT = TextConfig(context_length=77, vocabulary_size=49408, width=64, layers=2, heads=2)
VIT = ModelConfig(32, VisionConfig(64, 16, 88, 2, 2, mlp_ratio=4.3637), TEXT, activation="gelu")
RESNET = ModelConfig(32, ResNetConfig(64, 16, (1, 2, 1, 1), 8), TEXT)
WRITERS = {"huggingface": write_huggingface, "open_clip": write_open_clip}


def random_clip(config=VIT, dtype=np.float32, tokenizer=None, preprocessing=CLIP):
    generator = np.random.default_rng(0)
    params = {}
    for path, shape in parameter_shapes(config).items():
        values = generator.standard_normal(shape) * (0.1 if len(shape) < 2 else np.prod(shape[:-1]) ** -0.5)
        if path.endswith(("/scale", "/var")):
            values = 1 + np.abs(values)
        params[path] = np.asarray(values * (3 if "embedding" in path else 1), dtype)
    params["logit_scale"] = np.asarray(np.log(50), dtype)
    tokenizer = Tokenizer.clip(config.text.context_length) if tokenizer is None else tokenizer
    return Clip(config, params, tokenizer, dataclasses.replace(preprocessing, size=config.vision.image_size))


def own_vocabulary(tiny_tokenizer):
    """A model with a vocabulary of its own, as the built-in data's model has one."""
    text = dataclasses.replace(TEXT, vocabulary_size=tiny_tokenizer.vocabulary_size, context_length=24)
    return random_clip(dataclasses.replace(VIT, text=text), tokenizer=tiny_tokenizer)


def assert_identical(found, expected):
    assert found.tokenizer.vocabulary_size == expected.tokenizer.vocabulary_size
    assert found.preprocessing == expected.preprocessing
    assert set(found.params) == set(expected.params)
    for path, parameter in expected.params.items():
        array = np.asarray(found.params[path])
        assert (array.dtype, array.shape) == (parameter.dtype, parameter.shape), path
        assert array.tobytes() == np.asarray(parameter).tobytes(), path


CASES = [
    ("huggingface", VIT, np.float32),
    ("huggingface", VIT, np.float16),
    ("huggingface", VIT, ml_dtypes.bfloat16),
    ("open_clip", VIT, np.float32),
    ("open_clip", VIT, ml_dtypes.bfloat16),
    ("open_clip", RESNET, np.float16),
]


@pytest.mark.parametrize(("format", "config", "dtype"), CASES)
def test_convert_export_convert_is_bit_identical(format, config, dtype, tmp_path):
    original = random_clip(config, dtype)
    for step in ("first", "second"):
        WRITERS[format](original if step == "first" else open_model(tmp_path / "first"), tmp_path / f"out-{step}")
        save_directory(open_model(tmp_path / f"out-{step}"), tmp_path / step, dtype=None)
        assert_identical(open_model(tmp_path / step), original)
    first, second = (sorted((tmp_path / f"out-{step}").iterdir()) for step in ("first", "second"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_openai_archive_survives(tmp_path):
    torch_clip = pytest.importorskip("torch_clip")
    model = torch_clip.random_model(dataclasses.replace(RESNET, text=dataclasses.replace(TEXT, heads=1)))
    torch_clip.to_half(model)
    torch_clip.save_openai_archive(model, tmp_path / "model.pt")
    save_directory(open_model(tmp_path / "model.pt"), tmp_path / "converted", dtype=None)
    write_open_clip(open_model(tmp_path / "converted"), tmp_path / "exported")
    exported = open_model(tmp_path / "exported")
    assert_identical(exported, open_model(tmp_path / "converted"))
    names = {parameter.dtype.name for parameter in exported.params.values()}
    assert names == {"float16", "float32"}


@pytest.mark.parametrize("preprocessing", [CLIP, SEMCLIP_RELEASED])
def test_transformers_loads_what_we_write(preprocessing, tmp_path):
    transformers = transformers_or_skip()
    import torch

    clip = random_clip(preprocessing=preprocessing)
    write_huggingface(clip, tmp_path / "hf")
    model, report = transformers.CLIPModel.from_pretrained(tmp_path / "hf", output_loading_info=True)
    assert not any(report.values()), report
    images, texts = photographs(4), captions(4)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")
    # The processor for Pillow images; the other one resizes tensors and rounds differently.
    module = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    processor = transformers.CLIPProcessor(module.CLIPImageProcessorPil.from_pretrained(tmp_path / "hf"), tokenizer)
    batch = processor(text=texts, images=images, return_tensors="pt", padding=True, truncation=True)
    ours = np.stack([preprocess(image, clip.preprocessing) for image in images])
    np.testing.assert_allclose(batch.pixel_values.numpy().transpose(0, 2, 3, 1), ours, atol=1 / 255)
    with torch.no_grad():
        found = model.eval()(**batch)
    np.testing.assert_allclose(found.image_embeds.numpy(), clip.encode_image(images), atol=1e-4)
    np.testing.assert_allclose(found.text_embeds.numpy(), clip.encode_text(texts), atol=1e-4)


def test_the_processor_of_transformers_loads_by_name(tmp_path):
    transformers = transformers_or_skip()
    write_huggingface(random_clip(), tmp_path / "hf")
    try:
        processor = transformers.CLIPProcessor.from_pretrained(tmp_path / "hf")
    except ImportError as error:
        pytest.skip(f"transformers has no image processor here: {error}")
    assert processor.tokenizer("a photo").input_ids == [49406, 320, 1125, 49407]
    assert processor.tokenizer.model_max_length == 77
    assert processor.image_processor.crop_size["height"] == 64


def test_own_vocabulary_in_transformers(tiny_tokenizer, tmp_path):
    transformers = transformers_or_skip()
    import torch

    clip = own_vocabulary(tiny_tokenizer)
    write_huggingface(clip, tmp_path / "hf")
    texts = ["two cats", "no dog at all", ""]
    batch = transformers.AutoTokenizer.from_pretrained(tmp_path / "hf")(texts, return_tensors="pt", padding=True)
    for row, ids in zip(batch.input_ids.tolist(), tiny_tokenizer.ids(texts), strict=True):
        assert row[: len(ids)] == ids
    model = transformers.CLIPModel.from_pretrained(tmp_path / "hf").eval()
    with torch.no_grad():
        found = torch.nn.functional.normalize(model.get_text_features(**batch).pooler_output, dim=-1)
    np.testing.assert_allclose(found.numpy(), clip.encode_text(texts), atol=1e-4)
    assert_identical(open_model(tmp_path / "hf"), clip)


@pytest.mark.parametrize("config", [VIT, RESNET])
def test_open_clip_loads_what_we_write(config, tmp_path):
    open_clip = open_clip_or_skip()
    import torch

    clip = random_clip(config)
    write_open_clip(clip, tmp_path / "oc")
    model, transform = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'oc'}")
    # The library loads strictly; torch forgives missing batch counters, so we compare the names ourselves.
    values = json.loads((tmp_path / "oc" / "open_clip_config.json").read_text())
    fresh = open_clip.CLIP(**values["model_cfg"]).eval()
    from safetensors.torch import load_file

    tensors = load_file(tmp_path / "oc" / "open_clip_model.safetensors")
    fresh.load_state_dict(tensors, strict=True)
    assert set(tensors) == set(fresh.state_dict())

    def reference(pixels, tokens):
        images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
        with torch.no_grad():
            found = model.eval()(images, torch.from_numpy(tokens.astype(np.int64)))
        return tuple(part.numpy() for part in found[:2])

    assert_agrees(clip, reference)
    for image in photographs(4):
        ours = preprocess(image, clip.preprocessing)
        theirs = transform(image).numpy().transpose(1, 2, 0)
        # torchvision rounds the offset of the crop where transformers and we cut it: one pixel at most.
        shifts = [np.abs(ours - np.roll(theirs, (dy, dx), (0, 1)))[2:-2, 2:-2].max() for dy in (0, 1) for dx in (0, 1)]
        assert min(shifts) <= 1 / 255 / min(clip.preprocessing.std) + 1e-5
    tokenize = open_clip.get_tokenizer(f"local-dir:{tmp_path / 'oc'}")
    np.testing.assert_array_equal(tokenize(captions(4)).numpy(), clip.tokenizer(captions(4)))


def test_own_vocabulary_in_open_clip(tiny_tokenizer, tmp_path):
    open_clip = open_clip_or_skip()
    import torch

    clip = own_vocabulary(tiny_tokenizer)
    write_open_clip(clip, tmp_path / "oc")
    model, _ = open_clip.create_model_from_pretrained(f"local-dir:{tmp_path / 'oc'}")
    texts = ["two cats", "no dog at all"]
    with torch.no_grad():
        found = model.eval().encode_text(open_clip.get_tokenizer(f"local-dir:{tmp_path / 'oc'}")(texts), normalize=True)
    np.testing.assert_allclose(found.numpy(), clip.encode_text(texts), atol=1e-4)
    assert_identical(open_model(tmp_path / "oc"), clip)


def test_resnets_have_no_huggingface_form(tmp_path):
    with pytest.raises(WeightsError, match="no ResNet image tower; export this model with --format=open_clip"):
        write_huggingface(random_clip(RESNET), tmp_path / "hf")
    assert not list(tmp_path.iterdir())


def test_other_directories_are_left_alone(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    for writer in WRITERS.values():
        with pytest.raises(FileExistsError, match="it will not be replaced"):
            writer(random_clip(), tmp_path)
    assert (tmp_path / "letter.txt").read_text() == "dear" and len(list(tmp_path.iterdir())) == 1


def test_an_export_replaces_its_like(tmp_path):
    write_huggingface(random_clip(), tmp_path / "hf")
    changed = random_clip()
    changed.params["logit_scale"] = np.float32(1.5)
    write_huggingface(changed, tmp_path / "hf")
    assert load(tmp_path / "hf").logit_scale == pytest.approx(np.exp(1.5))
    assert [path.name for path in tmp_path.iterdir()] == ["hf"]
