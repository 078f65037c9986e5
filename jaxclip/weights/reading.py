"""Opening a foreign checkpoint: which format it is, its architecture, its tokenizer, its preprocessing."""

import dataclasses
import tempfile
import warnings
from pathlib import Path

from jaxclip.data.preprocessing import CLIP as CLIP_PREPROCESSING
from jaxclip.data.preprocessing import Preprocessing
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.model import ModelConfig, parameter_shapes
from jaxclip.weights import huggingface, open_clip, openai
from jaxclip.weights.checkpoint import Checkpoint
from jaxclip.weights.files import TensorFile, read_json, read_tensors, section
from jaxclip.weights.names import huggingface_rule, openai_rule, to_params
from jaxclip.weights.tensors import WeightsError

FORMATS = ("openai", "huggingface", "open_clip")
HUGGINGFACE_CONFIG = "config.json"
OPEN_CLIP_CONFIG = "open_clip_config.json"

# In the order in which the formats' own libraries look for them.
_WEIGHT_FILES = {
    "huggingface": (
        "model.safetensors",
        "model.safetensors.index.json",
        "pytorch_model.bin",
        "pytorch_model.bin.index.json",
    ),
    "open_clip": ("open_clip_model.safetensors", "open_clip_pytorch_model.bin"),
}
_CLIP_VOCABULARY_SIZE = 49408


def open_checkpoint(source: Path, *, format: str = "auto", arch: str | None = None) -> Checkpoint:
    """Opens a checkpoint of OpenAI, Hugging Face or OpenCLIP. Its parameters stay in the file until they are used.

    Args:
      source: a file of tensors, or a directory with one and its descriptions.
      format: one of `FORMATS`, or `auto` to tell it from the keys and from the files beside.
      arch: the architecture by OpenCLIP's name, for an OpenCLIP file without open_clip_config.json.

    Raises:
      FileNotFoundError: the source, or a file that it needs, is missing.
      WeightsError: the checkpoint is damaged, of unknown format, or not one of CLIP's own architectures.
    """
    file = read_tensors(_weights_file(source, format))
    format = _detect(file, arch) if format == "auto" else format
    if arch is not None and format != "open_clip":
        raise WeightsError(
            f"{file.path}: --arch is for OpenCLIP's checkpoints; leave it out for one of format {format}"
        )
    reader = {"openai": _open_openai, "huggingface": _open_huggingface, "open_clip": _open_open_clip}[format]
    checkpoint = reader(file, arch)
    found, expected = checkpoint.tokenizer.vocabulary_size, checkpoint.config.text.vocabulary_size
    if found != expected:
        raise WeightsError(f"{file.path}: the tokenizer has {found} tokens, expected the model's {expected}")
    return checkpoint


def _weights_file(source: Path, format: str) -> Path:
    if source.is_file():
        return source
    if not source.is_dir():
        raise FileNotFoundError(f"{source}: no such file or directory")
    names = [name for kind, names in _WEIGHT_FILES.items() if format in ("auto", kind) for name in names]
    for name in names:
        if (source / name).is_file():
            return source / name
    expected = f"one of {', '.join(names)}" if names else "the path of a file"
    if format == "auto":
        expected += "; or the model.json of a model directory, or the checkpoints/base of a work directory"
    raise FileNotFoundError(f"{source}: found no checkpoint in this directory, expected {expected}")


def _detect(file: TensorFile, arch: str | None) -> str:
    keys = file.tensors
    if any(key.startswith(("text_model.", "vision_model.")) for key in keys):
        return "huggingface"
    if "logit_scale" not in keys:
        raise WeightsError(f"{file.path}: found no CLIP in it: {len(keys)} keys, {', '.join(list(keys)[:3])}, …")
    if file.scripted or any(marker in keys for marker in openai.MARKERS):
        return "openai"
    if arch is not None or file.path.with_name(OPEN_CLIP_CONFIG).is_file():
        return "open_clip"
    raise WeightsError(
        f"{file.path}: OpenAI's and OpenCLIP's state dicts have the same keys but not the same activation; say "
        "--format=openai, or for OpenCLIP --arch=NAME (such as ViT-B-32), to python -m jaxclip.convert"
    )


def _open_openai(file: TensorFile, arch: None) -> Checkpoint:
    del arch
    config = openai.infer_architecture(file)
    params = to_params(file, parameter_shapes(config), openai_rule)
    return Checkpoint(config, params, _clip_tokenizer(file.path, config), _clip_preprocessing(config))


def _open_huggingface(file: TensorFile, arch: None) -> Checkpoint:
    del arch
    config_path = file.path.with_name(HUGGINGFACE_CONFIG)
    config = huggingface.parse_config(config_path, read_json(config_path))
    params = to_params(file, parameter_shapes(config), huggingface_rule)
    tokenizer = _huggingface_tokenizer(file.path, config)
    return Checkpoint(config, params, tokenizer, _huggingface_preprocessing(file.path, config))


def _open_open_clip(file: TensorFile, arch: str | None) -> Checkpoint:
    config_path = file.path.with_name(OPEN_CLIP_CONFIG)
    if arch is None:
        values = read_json(config_path)
        config = open_clip.parse_config(config_path, values)
        preprocessing = open_clip.parse_preprocessing(config_path, values, config.vision.image_size)
        text = section(config_path, values["model_cfg"], "text_cfg")
        own_tokenizer = bool(text.get("hf_tokenizer_name"))
    else:
        config = open_clip.architecture(arch)
        preprocessing, own_tokenizer = _clip_preprocessing(config), False
        _assume(f"{file.path}: the preprocessing is taken to be CLIP's own (--arch tells nothing of it)")
    # With `custom_text`, OpenCLIP keeps the same text tower under a name of its own.
    tensors = {key.removeprefix("text."): tensor for key, tensor in file.tensors.items()}
    params = to_params(dataclasses.replace(file, tensors=tensors), parameter_shapes(config), openai_rule)
    tokenizer = _own_tokenizer(file.path, config) if own_tokenizer else _clip_tokenizer(file.path, config)
    return Checkpoint(config, params, tokenizer, preprocessing)


def _assume(note: str) -> None:
    """Says what a checkpoint left open."""
    warnings.warn(note, stacklevel=2)


def _clip_preprocessing(config: ModelConfig) -> Preprocessing:
    return dataclasses.replace(CLIP_PREPROCESSING, size=config.vision.image_size)


def _clip_tokenizer(path: Path, config: ModelConfig) -> Tokenizer:
    if config.text.vocabulary_size != _CLIP_VOCABULARY_SIZE:
        raise WeightsError(
            f"{path}: a vocabulary of {config.text.vocabulary_size} tokens without a tokenizer.json, "
            f"expected CLIP's own of {_CLIP_VOCABULARY_SIZE}"
        )
    return Tokenizer.clip(config.text.context_length)


def _own_tokenizer(path: Path, config: ModelConfig) -> Tokenizer:
    try:
        return Tokenizer.from_file(path.with_name("tokenizer.json"), config.text.context_length)
    except ValueError as error:
        raise WeightsError(str(error)) from None


def _huggingface_tokenizer(path: Path, config: ModelConfig) -> Tokenizer:
    if path.with_name("tokenizer.json").is_file():
        return _own_tokenizer(path, config)
    tokenizer = _clip_tokenizer(path, config)
    vocabulary = path.with_name("vocab.json")
    if not vocabulary.is_file():
        _assume(f"{path}: no tokenizer.json or vocab.json beside it; CLIP's own vocabulary is taken")
    elif read_json(vocabulary) != _vocabulary(tokenizer):
        raise WeightsError(f"{vocabulary}: another vocabulary than CLIP's own needs a tokenizer.json")
    return tokenizer


def _vocabulary(tokenizer: Tokenizer) -> dict[str, int]:
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder) / "tokenizer.json")
        return read_json(Path(folder) / "tokenizer.json")["model"]["vocab"]


def _huggingface_preprocessing(path: Path, config: ModelConfig) -> Preprocessing:
    own, joint = (path.with_name(name) for name in ("preprocessor_config.json", "processor_config.json"))
    if own.is_file():
        source, values = own, read_json(own)
    elif joint.is_file() and section(joint, read_json(joint), "image_processor"):
        source, values = joint, section(joint, read_json(joint), "image_processor")
    else:
        _assume(f"{path}: no preprocessor_config.json beside it; CLIP's own preprocessing is taken")
        return _clip_preprocessing(config)
    preprocessing = huggingface.parse_preprocessor(source, values)
    if preprocessing.size != config.vision.image_size:
        expected = config.vision.image_size
        raise WeightsError(f"{source}: images of {preprocessing.size} pixels, expected the model's {expected}")
    return preprocessing
