"""Hugging Face's descriptions of a CLIP: config.json and the preprocessor's settings, both ways."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jaxclip.data.preprocessing import Preprocessing
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.model import ModelConfig, ResNetConfig, TextConfig, VisionConfig, mlp_ratio
from jaxclip.model.transformer import LAYER_NORM_EPSILON
from jaxclip.weights.files import section
from jaxclip.weights.tensors import WeightsError

# What `transformers` assumes for keys that a config leaves out.
_COMMON_DEFAULTS = {"hidden_act": "quick_gelu", "layer_norm_eps": LAYER_NORM_EPSILON, "num_hidden_layers": 12}
_TEXT_DEFAULTS = _COMMON_DEFAULTS | {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "eos_token_id": 49407,
}
_VISION_DEFAULTS = _COMMON_DEFAULTS | {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
}
_LEGACY_END_ID = 2  # in configs before transformers 4.32 the end of a text is the largest id, whatever this key says
_RESAMPLE = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # Pillow's numbers


def parse_config(path: Path, values: Mapping[str, Any]) -> ModelConfig:
    """The architecture of a config.json.

    Raises:
      WeightsError: another kind of model, or a setting that CLIP doesn't have.
    """
    if values.get("model_type") != "clip":
        raise WeightsError(f"{path}: model_type is {values.get('model_type')!r}, expected 'clip'")
    text = _tower(path, values, "text_config", _TEXT_DEFAULTS)
    vision = _tower(path, values, "vision_config", _VISION_DEFAULTS)
    _expect(path, "vision_config.num_channels", vision["num_channels"], (3,))
    _expect(path, "vision_config.hidden_act", vision["hidden_act"], (text["hidden_act"],))
    _expect(path, "text_config.hidden_act", text["hidden_act"], ("quick_gelu", "gelu"))
    _expect(path, "text_config.eos_token_id", text["eos_token_id"], (_LEGACY_END_ID, text["vocab_size"] - 1))
    try:
        return ModelConfig(
            embed_dim=values.get("projection_dim", 512),
            vision=VisionConfig(image_size=vision["image_size"], patch_size=vision["patch_size"], **_sizes(vision)),
            text=TextConfig(
                context_length=text["max_position_embeddings"], vocabulary_size=text["vocab_size"], **_sizes(text)
            ),
            activation=text["hidden_act"],
        )
    except (ValueError, TypeError) as error:
        raise WeightsError(f"{path}: {error}") from None


def _tower(path: Path, values: Mapping[str, Any], key: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
    # `…_config_dict` is an older name; where both are given, `transformers` lets it win.
    tower = defaults | section(path, values, key) | section(path, values, f"{key}_dict")
    _expect(path, f"{key}.layer_norm_eps", tower["layer_norm_eps"], (LAYER_NORM_EPSILON,))
    for name in (name for name, default in defaults.items() if isinstance(default, int)):
        if type(tower[name]) is not int or tower[name] < 1:
            raise WeightsError(f"{path}: {key}.{name} is {tower[name]!r}, expected a positive integer")
    return tower


def _expect(path: Path, key: str, found: Any, expected: tuple[Any, ...]) -> None:
    if found not in expected:
        raise WeightsError(f"{path}: {key} is {found!r}, expected {' or '.join(map(repr, expected))}")


def _sizes(tower: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "width": tower["hidden_size"],
        "layers": tower["num_hidden_layers"],
        "heads": tower["num_attention_heads"],
        "mlp_ratio": mlp_ratio(tower["intermediate_size"], tower["hidden_size"]),
    }


def config_values(config: ModelConfig, tokenizer: Tokenizer) -> dict[str, Any]:
    """The config.json of an architecture.

    Raises:
      WeightsError: the image tower is a ResNet, which the format doesn't have.
    """
    if isinstance(config.vision, ResNetConfig):
        raise WeightsError(
            "Hugging Face's CLIPModel has no ResNet image tower; export this model with --format=open_clip"
        )

    def tower(sizes: VisionConfig | TextConfig) -> dict[str, Any]:
        return {
            "hidden_size": sizes.width,
            "intermediate_size": int(sizes.width * sizes.mlp_ratio),
            "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads,
            "hidden_act": config.activation,
            "layer_norm_eps": LAYER_NORM_EPSILON,
            "projection_dim": config.embed_dim,
        }

    ids = {"bos_token_id": tokenizer.start_id, "eos_token_id": tokenizer.end_id, "pad_token_id": tokenizer.end_id}
    return {
        "architectures": ["CLIPModel"],
        "model_type": "clip",
        "projection_dim": config.embed_dim,
        "text_config": tower(config.text)
        | ids
        | {"vocab_size": config.text.vocabulary_size, "max_position_embeddings": config.text.context_length},
        "vision_config": tower(config.vision)
        | {"image_size": config.vision.image_size, "patch_size": config.vision.patch_size, "num_channels": 3},
    }


def parse_preprocessor(path: Path, values: Mapping[str, Any]) -> Preprocessing:
    """The settings of a preprocessor_config.json (of a `CLIPImageProcessor`).

    Raises:
      WeightsError: an operation that we don't do, such as padding.
    """
    for step in ("do_resize", "do_rescale", "do_normalize"):
        _expect(path, step, values.get(step, True), (True,))
    _expect(path, "resample", values.get("resample", 3), tuple(_RESAMPLE))
    factor = values.get("rescale_factor", 1 / 255)
    if not isinstance(factor, float) or abs(factor - 1 / 255) > 1e-9:
        raise WeightsError(f"{path}: rescale_factor is {factor!r}, expected 1/255")
    size, crop = _sides(values.get("size", 224)), _sides(values.get("crop_size", 224))
    if not values.get("do_center_crop", True):
        crop = None
    match size, crop:
        case {"shortest_edge": int(side)}, {"height": int(height), "width": int(width)} if side == height == width:
            resize = "crop"
        case {"height": int(side), "width": int(width)}, None if side == width:
            resize = "squash"
        case _:
            raise WeightsError(
                f"{path}: found size {values.get('size')!r} and crop_size {values.get('crop_size')!r} "
                f"(do_center_crop {values.get('do_center_crop', True)}), expected a square cut from an image whose "
                "shorter side has its length, or a square without a cut"
            )
    try:
        interpolation = _RESAMPLE[values.get("resample", 3)]
        return Preprocessing(side, values.get("image_mean"), values.get("image_std"), interpolation, resize)
    except ValueError as error:
        raise WeightsError(f"{path}: {error}") from None


def _sides(size: Any) -> dict[str, Any]:
    """Sizes are mappings; older files have one number, for the shorter side of `size` and for both of `crop_size`."""
    return {"shortest_edge": size, "height": size, "width": size} if isinstance(size, int) else size


def preprocessor_values(preprocessing: Preprocessing) -> dict[str, Any]:
    """The preprocessor_config.json of a preprocessing."""
    square = {"height": preprocessing.size, "width": preprocessing.size}
    crop = preprocessing.resize == "crop"
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": preprocessing.size} if crop else square,
        "resample": {name: number for number, name in _RESAMPLE.items()}[preprocessing.interpolation],
        "do_center_crop": crop,
        "crop_size": square,
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }
