"""Writing a CLIP in the formats of Hugging Face and OpenCLIP."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from jaxclip.data.tokenizer import END_OF_TEXT, START_OF_TEXT, Tokenizer
from jaxclip.model import ResNetConfig
from jaxclip.weights import huggingface, open_clip
from jaxclip.weights.checkpoint import Checkpoint
from jaxclip.weights.destination import new_directory
from jaxclip.weights.names import huggingface_rule, openai_rule, to_foreign
from jaxclip.weights.reading import HUGGINGFACE_CONFIG, OPEN_CLIP_CONFIG


def write_huggingface(checkpoint: Checkpoint, directory: Path) -> None:
    """Writes a directory for `transformers`: `CLIPModel.from_pretrained` and `CLIPProcessor.from_pretrained`.

    Parameters keep their types.

    Raises:
      WeightsError: the image tower is a ResNet, which the format doesn't have.
      FileExistsError: the directory exists and is of another kind.
    """
    config = huggingface.config_values(checkpoint.config, checkpoint.tokenizer)
    with new_directory(directory, HUGGINGFACE_CONFIG, "a Hugging Face directory") as partial:
        tensors = to_foreign(checkpoint.params, huggingface_rule)
        save_file(tensors, partial / "model.safetensors", metadata={"format": "pt"})
        _write_json(partial / HUGGINGFACE_CONFIG, config)
        _write_json(partial / "preprocessor_config.json", huggingface.preprocessor_values(checkpoint.preprocessing))
        _write_tokenizer(partial, checkpoint.tokenizer)


def write_open_clip(checkpoint: Checkpoint, directory: Path) -> None:
    """Writes a directory for OpenCLIP: `open_clip.create_model_from_pretrained("local-dir:DIRECTORY")`.

    Parameters keep their types.

    Raises:
      FileExistsError: the directory exists and is of another kind.
    """
    own_tokenizer = checkpoint.tokenizer.vocabulary_size != Tokenizer.clip().vocabulary_size
    with new_directory(directory, OPEN_CLIP_CONFIG, "an OpenCLIP directory") as partial:
        tensors = to_foreign(checkpoint.params, openai_rule)
        if isinstance(checkpoint.config.vision, ResNetConfig):
            tensors |= _batch_counters(tensors)
        save_file(tensors, partial / "open_clip_model.safetensors", metadata={"format": "pt"})
        values = open_clip.config_values(checkpoint.config, checkpoint.preprocessing, own_tokenizer)
        _write_json(partial / OPEN_CLIP_CONFIG, values)
        if own_tokenizer:
            _write_tokenizer(partial, checkpoint.tokenizer)


def _batch_counters(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """How many batches torch's batch norms have seen: without meaning for frozen ones, but part of the state dict."""
    statistics = [key for key in tensors if key.endswith(".running_mean")]
    return {key.replace("running_mean", "num_batches_tracked"): np.zeros((), np.int64) for key in statistics}


def _write_tokenizer(directory: Path, tokenizer: Tokenizer) -> None:
    tokenizer.save(directory / "tokenizer.json")
    names = {"bos_token": START_OF_TEXT, "eos_token": END_OF_TEXT, "pad_token": END_OF_TEXT, "unk_token": END_OF_TEXT}
    settings = {"tokenizer_class": "CLIPTokenizer", "model_max_length": tokenizer.context_length}
    _write_json(directory / "tokenizer_config.json", settings | names)


def _write_json(path: Path, values: dict[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
