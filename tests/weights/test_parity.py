"""Embeddings of every architecture family from every format, against the reference libraries.

Widths are the real ones. Depths are reduced where two cores would take minutes; JAXCLIP_FULL_SIZE=1 runs all of them
at full depth (tens of GB of memory and half an hour).
"""

import functools
import os
import warnings

import pytest

torch_clip = pytest.importorskip("torch_clip")
import torch  # noqa: E402
from reference_libraries import open_clip_or_skip, transformers_or_skip  # noqa: E402
from weights_inputs import assert_agrees  # noqa: E402

import jaxclip  # noqa: E402
from jaxclip.model import VARIANTS  # noqa: E402

FULL_SIZE = bool(os.environ.get("JAXCLIP_FULL_SIZE"))
OPENAI = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px")
SMALL_ENOUGH = ("RN50", "ViT-B/32")
HUGGINGFACE = ("ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px", "ViT-H/14", "ViT-g/14", "ViT-bigG/14")
OPEN_CLIP = {
    "RN50-quickgelu": "RN50",
    "ViT-B-32": "ViT-B/32",
    "ViT-B-32-quickgelu": "ViT-B/32",
    "ViT-B-16": "ViT-B/16",
    "ViT-L-14": "ViT-L/14",
    "ViT-H-14": "ViT-H/14",
    "ViT-g-14": "ViT-g/14",
    "ViT-bigG-14": "ViT-bigG/14",
}


def sized(name):
    config = VARIANTS[name]
    return config if FULL_SIZE or name in SMALL_ENOUGH else torch_clip.shallow(config)


@pytest.mark.parametrize("name", OPENAI)
def test_openai_archive(name, tmp_path):
    model = torch_clip.random_model(sized(name))
    torch_clip.to_half(model)
    torch_clip.save_openai_archive(model, tmp_path / "model.pt")
    clip = jaxclip.load(tmp_path / "model.pt")
    assert clip.config == sized(name)
    assert_agrees(clip, functools.partial(torch_clip.embeddings, model.float()))


def huggingface_model(transformers, config):
    def tower(sizes):
        return {
            "hidden_size": sizes.width,
            "intermediate_size": int(sizes.width * sizes.mlp_ratio),
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "projection_dim": config.embed_dim,
            "hidden_act": config.activation,
        }

    vision = tower(config.vision) | {"image_size": config.vision.image_size, "patch_size": config.vision.patch_size}
    values = transformers.CLIPConfig(tower(config.text), vision, projection_dim=config.embed_dim)
    model = transformers.CLIPModel(values).eval()
    torch_clip.randomise(model)
    return model


def huggingface_embeddings(model, pixels, tokens):
    with torch.no_grad():
        found = model(
            pixel_values=torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()),
            input_ids=torch.from_numpy(tokens.astype("int64")),
        )
    return found.image_embeds.numpy(), found.text_embeds.numpy()


@pytest.mark.parametrize("name", HUGGINGFACE)
def test_huggingface_directory(name, tmp_path):
    transformers = transformers_or_skip()
    config = sized(name)
    model = huggingface_model(transformers, config)
    model.save_pretrained(tmp_path, max_shard_size="200MB" if name == "ViT-B/32" else "50GB")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # no tokenizer and no preprocessor beside it
        clip = jaxclip.load(tmp_path)
    assert clip.config.activation == config.activation
    assert_agrees(clip, functools.partial(huggingface_embeddings, model))


@pytest.mark.parametrize("name", OPEN_CLIP)
def test_open_clip_by_the_library(name, tmp_path):
    open_clip = open_clip_or_skip()
    values = open_clip.get_model_config(name)
    config = sized(OPEN_CLIP[name])
    values["vision_cfg"]["layers"] = config.vision.layers
    values["text_cfg"]["layers"] = config.text.layers
    model = open_clip.CLIP(**values).eval()
    torch_clip.randomise(model)
    torch_clip.save_open_clip_files(model.state_dict(), {"model_cfg": values}, tmp_path)
    clip = jaxclip.load(tmp_path)
    assert clip.config.activation == ("quick_gelu" if name.endswith("quickgelu") else "gelu")
    assert_agrees(clip, functools.partial(torch_clip.embeddings, model))


@pytest.mark.parametrize("name", ["RN50", "ViT-B/32", "ViT-g/14"])
def test_open_clip_by_its_layout(name, tmp_path):
    config = torch_clip.shallow(VARIANTS[name])
    model = torch_clip.random_model(config)
    torch_clip.save_open_clip_directory(model, config, tmp_path)
    clip = jaxclip.load(tmp_path)
    assert clip.config == config
    assert_agrees(clip, functools.partial(torch_clip.embeddings, model))


def test_open_clip_training_checkpoint(tmp_path):
    config = VARIANTS["ViT-B/32"]
    model = torch_clip.random_model(config)
    state_dict = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 32, "name": "run", "state_dict": state_dict}, tmp_path / "epoch_32.pt")
    with pytest.warns(UserWarning, match="preprocessing is taken to be CLIP's own"):
        clip = jaxclip.load(tmp_path / "epoch_32.pt", arch="ViT-B-32-quickgelu")
    assert_agrees(clip, functools.partial(torch_clip.embeddings, model))
