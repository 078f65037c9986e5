"""Embeddings of every architecture family from every format, against the reference libraries.

Some models have their real size, others their real widths with fewer layers. JAXCLIP_FULL_SIZE=1 tests all of the
published architectures at their real size instead, bigG-14 among them: an hour or more, and 40 GB of memory.
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
from jaxclip.weights.open_clip import architecture  # noqa: E402

FULL_SIZE = bool(os.environ.get("JAXCLIP_FULL_SIZE"))
if FULL_SIZE:
    OPENAI = ("RN50", "RN101", "RN50x4", "RN50x16", "RN50x64", "ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px")
    HUGGINGFACE = ("ViT-B/32", "ViT-B/16", "ViT-L/14", "ViT-L/14@336px", "ViT-H/14", "ViT-g/14", "ViT-bigG/14")
    OPEN_CLIP = ("RN50-quickgelu", "ViT-B-32", "ViT-B-16-quickgelu", "ViT-L-14", "ViT-H-14", "ViT-g-14", "ViT-bigG-14")
    REAL_SIZE = OPENAI + HUGGINGFACE
else:
    OPENAI = ("RN50", "RN50x4", "ViT-B/32", "ViT-L/14@336px")
    HUGGINGFACE = ("ViT-B/32", "ViT-H/14")
    OPEN_CLIP = ("RN50x16-quickgelu", "ViT-B-32", "ViT-g-14")
    REAL_SIZE = ("RN50", "ViT-B/32")


def sized(name):
    return VARIANTS[name] if name in REAL_SIZE else torch_clip.shallow(VARIANTS[name])


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
    values = transformers.CLIPConfig(
        text_config=tower(config.text), vision_config=vision, projection_dim=config.embed_dim
    )
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
    ours = architecture(name)
    if not FULL_SIZE and name != "ViT-B-32":
        ours = torch_clip.shallow(ours)
        values["vision_cfg"]["layers"], values["text_cfg"]["layers"] = ours.vision.layers, ours.text.layers
    model = open_clip.CLIP(**values).eval()
    torch_clip.randomise(model)
    torch_clip.save_open_clip_files(model.state_dict(), {"model_cfg": values}, tmp_path)
    clip = jaxclip.load(tmp_path)
    assert clip.config == ours
    assert_agrees(clip, functools.partial(torch_clip.embeddings, model))


@pytest.mark.parametrize("name", ["RN101", "ViT-B/16"])
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
