"""OpenCLIP's architectures and its open_clip_config.json, both ways."""

import dataclasses
import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxclip.data.preprocessing import CLIP as CLIP_PREPROCESSING
from jaxclip.data.preprocessing import Preprocessing
from jaxclip.model import VARIANTS, ModelConfig, ResNetConfig, TextConfig, VisionConfig
from jaxclip.weights.files import section
from jaxclip.weights.tensors import WeightsError

_ARCHITECTURES = {
    "RN50": "RN50",
    "RN101": "RN101",
    "RN50x4": "RN50x4",
    "RN50x16": "RN50x16",
    "RN50x64": "RN50x64",
    "ViT-B-32": "ViT-B/32",
    "ViT-B-16": "ViT-B/16",
    "ViT-L-14": "ViT-L/14",
    "ViT-L-14-336": "ViT-L/14@336px",
    "ViT-H-14": "ViT-H/14",
    "ViT-g-14": "ViT-g/14",
    "ViT-bigG-14": "ViT-bigG/14",
}
_QUICK_GELU_SUFFIX = "-quickgelu"

# Keys of a config that change CLIP's architecture unless they have this value. Any other value is refused.
_PLAIN_TOWER = {
    "ls_init_value": None,
    "final_ln_after_pool": False,
    "output_tokens": False,
    "act_kwargs": None,
    "norm_kwargs": None,
    "block_type": None,
    "qk_norm": False,
    "scaled_cosine_attn": False,
    "scale_heads": False,
    "scale_attn_inner": False,
    "scale_attn": False,
    "scale_fc": False,
}
_PLAIN_VISION = _PLAIN_TOWER | {
    "attentional_pool": False,
    "no_ln_pre": False,
    "pos_embed_type": "learnable",
    "pool_type": "tok",
}
_PLAIN_TEXT = _PLAIN_TOWER | {
    "embed_cls": False,
    "no_causal_mask": False,
    "pool_type": "argmax",
    "proj_bias": False,
    "proj_type": "linear",
    "tokenizer_mode": None,
}
_PLAIN_MODEL = {"init_logit_bias": None, "nonscalar_logit_scale": False}
# Keys without influence on the result: of training, or of features that are off.
_IDLE = (
    "patch_dropout",
    "attn_pooler_queries",
    "attn_pooler_heads",
    "pad_id",
    "eos_id",
    "init_logit_scale",
    "custom_text",
)
_INTERPOLATION = ("bicubic", "bilinear", "nearest")
_RESIZE = {"shortest": "crop", "squash": "squash"}


def architecture(name: str) -> ModelConfig:
    """The architecture of an OpenCLIP name such as `ViT-B-32` (exact GELU) or `ViT-B-32-quickgelu`.

    Raises:
      WeightsError: an unknown name.
    """
    plain = name.replace("/", "-")
    base = plain.removesuffix(_QUICK_GELU_SUFFIX)
    if base not in _ARCHITECTURES:
        near = difflib.get_close_matches(base, _ARCHITECTURES, n=3)
        hint = f"near: {', '.join(near)}; " if near else ""
        known = ", ".join(_ARCHITECTURES)
        raise WeightsError(
            f"--arch={name}: not of CLIP's own architectures; {hint}known: {known} (also with -quickgelu)"
        )
    activation = "quick_gelu" if plain != base else "gelu"
    return dataclasses.replace(VARIANTS[_ARCHITECTURES[base]], activation=activation)


def parse_config(path: Path, values: Mapping[str, Any]) -> ModelConfig:
    """The architecture of an open_clip_config.json.

    Raises:
      WeightsError: a tower that isn't CLIP's own, named, or a setting that CLIP's own towers don't have.
    """
    if "model_cfg" not in values:
        raise WeightsError(f"{path}: 'model_cfg' is missing, expected the architecture")
    model = section(path, values, "model_cfg")
    vision, text = (section(path, {key: model.pop(key, None)}, key) for key in ("vision_cfg", "text_cfg"))
    _refuse_other_towers(path, model, vision, text)
    activation = "quick_gelu" if model.pop("quick_gelu", False) else "gelu"
    try:
        config = ModelConfig(model.pop("embed_dim", None), _vision(path, vision), _text(text), activation)
    except WeightsError:
        raise
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None
    _refuse_other_settings(path, "", model, _PLAIN_MODEL)
    _refuse_other_settings(path, "vision_cfg.", vision, _PLAIN_VISION)
    _refuse_other_settings(path, "text_cfg.", text, _PLAIN_TEXT)
    return config


def _refuse_other_settings(path: Path, where: str, rest: Mapping[str, Any], plain: Mapping[str, Any]) -> None:
    for key, value in rest.items():
        if key not in _IDLE and (key not in plain or value not in (plain[key], {})):
            raise WeightsError(f"{path}: {where}{key} is {value!r}, which CLIP's own towers don't have")


def _refuse_other_towers(path: Path, model: dict, vision: dict, text: dict) -> None:
    if vision.get("timm_model_name"):
        raise WeightsError(f"{path}: the image tower is timm's {vision['timm_model_name']!r}, expected CLIP's own")
    if text.get("hf_model_name"):
        raise WeightsError(f"{path}: the text tower is Hugging Face's {text['hf_model_name']!r}, expected CLIP's own")
    if "multimodal_cfg" in model:
        raise WeightsError(f"{path}: 'multimodal_cfg' makes this a CoCa, expected a CLIP")
    for tower in (vision, text):
        for key in [key for key in tower if key.startswith(("timm_", "hf_"))]:
            del tower[key]


def _vision(path: Path, values: dict[str, Any]) -> VisionConfig | ResNetConfig:
    """Takes the sizes out of `values`; OpenCLIP's defaults stand for missing ones."""
    image_size = values.pop("image_size", 224)
    if isinstance(image_size, list) and len(set(image_size)) == 1:
        image_size = image_size[0]
    layers, width = values.pop("layers", 12), values.pop("width", 768)
    patch_size, head_width = values.pop("patch_size", 16), values.pop("head_width", 64)
    ratio = values.pop("mlp_ratio", 4.0)
    if not all(isinstance(size, int) and size > 0 for size in (image_size, width, head_width)):
        raise WeightsError(f"{path}: vision_cfg: found {image_size=}, {width=}, {head_width=}, expected positive ints")
    if isinstance(layers, list):
        return ResNetConfig(image_size, width, tuple(layers), heads=width * 32 // head_width)
    return VisionConfig(image_size, patch_size, width, layers, width // head_width, ratio)


def _text(values: dict[str, Any]) -> TextConfig:
    """Takes the sizes out of `values`; OpenCLIP's defaults stand for missing ones."""
    return TextConfig(
        context_length=values.pop("context_length", 77),
        vocabulary_size=values.pop("vocab_size", 49408),
        width=values.pop("width", 512),
        layers=values.pop("layers", 12),
        heads=values.pop("heads", 8),
        mlp_ratio=values.pop("mlp_ratio", 4.0),
    )


def parse_preprocessing(path: Path, values: Mapping[str, Any], image_size: int) -> Preprocessing:
    """The `preprocess_cfg` of an open_clip_config.json; CLIP's own values stand for missing ones.

    Raises:
      WeightsError: an operation that we don't do, such as padding.
    """
    found = section(path, values, "preprocess_cfg")
    interpolation, resize = found.get("interpolation", "bicubic"), found.get("resize_mode", "shortest")
    if interpolation not in _INTERPOLATION:
        raise WeightsError(
            f"{path}: preprocess_cfg.interpolation is {interpolation!r}, expected one of {_INTERPOLATION}"
        )
    if resize not in tuple(_RESIZE):
        raise WeightsError(f"{path}: preprocess_cfg.resize_mode is {resize!r}, expected one of {tuple(_RESIZE)}")
    try:
        return Preprocessing(
            image_size,
            found.get("mean", CLIP_PREPROCESSING.mean),
            found.get("std", CLIP_PREPROCESSING.std),
            interpolation,
            _RESIZE[resize],
        )
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None


def config_values(config: ModelConfig, preprocessing: Preprocessing, own_tokenizer: bool) -> dict[str, Any]:
    """The open_clip_config.json of a model.

    Args:
      config: the architecture.
      preprocessing: how images are made ready.
      own_tokenizer: whether the vocabulary is another one than CLIP's, so that the directory's files are to be read.
    """
    vision, text = config.vision, config.text
    if isinstance(vision, ResNetConfig):
        head_width = vision.width * 32 // vision.heads
        tower = {"layers": list(vision.layers), "patch_size": None}
    else:
        head_width = vision.width // vision.heads
        tower = {"layers": vision.layers, "patch_size": vision.patch_size, "mlp_ratio": vision.mlp_ratio}
    text_values = {
        "context_length": text.context_length,
        "vocab_size": text.vocabulary_size,
        "width": text.width,
        "heads": text.heads,
        "layers": text.layers,
        "mlp_ratio": text.mlp_ratio,
    }
    return {
        "model_cfg": {
            "embed_dim": config.embed_dim,
            "quick_gelu": config.activation == "quick_gelu",
            "vision_cfg": {"image_size": vision.image_size, "width": vision.width, "head_width": head_width} | tower,
            "text_cfg": text_values | ({"hf_tokenizer_name": "local"} if own_tokenizer else {}),
        },
        "preprocess_cfg": {
            "mean": list(preprocessing.mean),
            "std": list(preprocessing.std),
            "interpolation": preprocessing.interpolation,
            "resize_mode": {ours: theirs for theirs, ours in _RESIZE.items()}[preprocessing.resize],
        },
    }
