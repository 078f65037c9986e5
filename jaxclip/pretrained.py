"""A model that stands alone: weights, architecture, preprocessing and tokenizer in one directory.

    DIR/model.json           architecture (`ModelConfig`)
    DIR/preprocessing.json   how images become arrays
    DIR/tokenizer.json       how texts become tokens (the `tokenizers` library's format)
    DIR/params/              Orbax arrays, path → leaf
"""

import dataclasses
import functools
import json
import os
import shutil
from collections.abc import Sequence
from importlib import resources
from pathlib import Path

import jax
import numpy as np
from etils import epath
from orbax.checkpoint import v1 as ocp
from PIL import Image

from jaxclip.config import MeshSettings
from jaxclip.data.preprocessing import CLIP as CLIP_PREPROCESSING
from jaxclip.data.preprocessing import Preprocessing, preprocess
from jaxclip.data.tokenizer import Tokenizer, train_tokenizer
from jaxclip.embedding import Encoders
from jaxclip.model import CLIP, VARIANTS, ModelConfig, init_params
from jaxclip.training.sharding import make_mesh, shard_params
from jaxclip.training.trainable import FlatParams, flatten, merge

DESCRIPTION_FILES = ("model.json", "preprocessing.json", "tokenizer.json")
SHIPPED = ("scenes-base",)


class ModelDirectoryError(ValueError):
    """A model directory that cannot be read, with the file, what was found and what was expected."""


@dataclasses.dataclass(frozen=True)
class Clip:
    """A CLIP ready for use. `params` is flat: path → array."""

    config: ModelConfig
    params: FlatParams
    tokenizer: Tokenizer
    preprocessing: Preprocessing

    @functools.cached_property
    def _encoders(self) -> Encoders:
        return Encoders(CLIP(self.config), make_mesh(MeshSettings()))

    @functools.cached_property
    def _device_params(self) -> dict:
        return merge(shard_params(self._encoders.mesh, self.params))

    @property
    def logit_scale(self) -> float:
        """The factor that cosine similarities are multiplied with: exp of the parameter `logit_scale`."""
        return float(np.exp(np.asarray(self.params["logit_scale"], np.float64)))

    def encode_image(self, images: Sequence[Image.Image | np.ndarray]) -> np.ndarray:
        """PIL images or uint8 arrays [H, W, 3] → float32 [n, D], L2-normalised."""
        images = list(images)
        if not images:
            return np.zeros((0, self.config.embed_dim), np.float32)
        encoders = dataclasses.replace(self._encoders, batch_size=min(len(images), 64))
        return _normalised(
            encoders.images(self._device_params, lambda n: preprocess(images[n], self.preprocessing), len(images))
        )

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        """Texts → float32 [n, D], L2-normalised. Texts longer than the context are cut, as CLIP does."""
        if isinstance(texts, str):
            raise TypeError(f"encode_text takes a list of texts, found the text {texts!r}")
        texts = list(texts)
        if not texts:
            return np.zeros((0, self.config.embed_dim), np.float32)
        encoders = dataclasses.replace(self._encoders, batch_size=min(len(texts), 256))
        return _normalised(encoders.texts(self._device_params, self.tokenizer, texts))


def _normalised(embeddings: np.ndarray) -> np.ndarray:
    return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)


def _read_json(path: Path) -> dict:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelDirectoryError(
            f"{path}: not found; a model directory has {', '.join(DESCRIPTION_FILES)} and params/"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelDirectoryError(f"{path}: not a JSON file ({error})") from None


def _expected_shapes(config: ModelConfig) -> FlatParams:
    return flatten(jax.eval_shape(functools.partial(init_params, config), jax.random.key(0)))


def _check_params(directory: Path, params: FlatParams, config: ModelConfig) -> None:
    expected = _expected_shapes(config)
    for path in sorted({*params, *expected}):
        if path not in params:
            raise ModelDirectoryError(f"{directory}: parameter {path!r} is missing, model.json needs it")
        if path not in expected:
            raise ModelDirectoryError(f"{directory}: parameter {path!r} is not one of the model that model.json describes")
        if params[path].shape != expected[path].shape:
            raise ModelDirectoryError(
                f"{directory}: parameter {path!r} has shape {params[path].shape}, expected {expected[path].shape}"
            )


def load_directory(directory: str | os.PathLike) -> Clip:
    """Reads a model directory. Parameters are widened to float32.

    Raises:
      ModelDirectoryError: a file is missing or damaged, or the arrays are not those of the architecture.
    """
    directory = Path(directory).absolute()
    descriptions = {name: _read_json(directory / name) for name in DESCRIPTION_FILES}
    try:
        config = ModelConfig.from_dict(descriptions["model.json"])
        preprocessing = Preprocessing.from_dict(descriptions["preprocessing.json"])
    except ValueError as error:
        raise ModelDirectoryError(f"{directory}: {error}") from None
    tokenizer = Tokenizer.from_file(directory / "tokenizer.json", config.text.context_length)
    try:
        stored = ocp.load_pytree(epath.Path(directory / "params"))
    except (ValueError, OSError, KeyError) as error:
        raise ModelDirectoryError(f"{directory / 'params'}: cannot be read as an Orbax checkpoint: {error}") from None
    params = {path: np.asarray(leaf, np.float32) for path, leaf in stored.items()}
    _check_params(directory, params, config)
    return Clip(config, params, tokenizer, preprocessing)


def save_directory(clip: Clip, directory: str | os.PathLike, *, dtype: str = "float32") -> None:
    """Writes a model directory, replacing one of that name; it appears complete or not at all."""
    directory = Path(directory).absolute()
    partial = directory.with_name(f".{directory.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    (partial / "model.json").write_text(json.dumps(clip.config.as_dict(), indent=2) + "\n", encoding="utf-8")
    (partial / "preprocessing.json").write_text(json.dumps(clip.preprocessing.as_dict(), indent=2) + "\n", encoding="utf-8")
    clip.tokenizer.save(partial / "tokenizer.json")
    arrays = {path: np.asarray(leaf, dtype) for path, leaf in clip.params.items()}
    ocp.save_pytree(epath.Path(partial / "params"), arrays)
    shutil.rmtree(directory, ignore_errors=True)
    partial.rename(directory)


def random_model(variant: str, seed: int, tokenizer_texts: Sequence[str] | None = None) -> Clip:
    """Random weights of a row of `jaxclip.model.VARIANTS`, with CLIP's own preprocessing.

    Args:
      variant: the row.
      seed: of the weights.
      tokenizer_texts: texts to make a tokenizer from; None for CLIP's own. The model gets as many token embeddings as
        the tokenizer has tokens.

    Raises:
      ValueError: an unknown variant.
    """
    if variant not in VARIANTS:
        raise ValueError(f"unknown model variant {variant!r}; known: {', '.join(VARIANTS)}")
    config = VARIANTS[variant]
    context_length = config.text.context_length
    if tokenizer_texts is None:
        tokenizer = Tokenizer.clip(context_length)
    else:
        tokenizer = train_tokenizer(tokenizer_texts, config.text.vocabulary_size, context_length)
    text = dataclasses.replace(config.text, vocabulary_size=tokenizer.vocabulary_size)
    config = dataclasses.replace(config, text=text)
    params = flatten(init_params(config, jax.random.key(seed)))
    return Clip(
        config,
        {path: np.asarray(leaf) for path, leaf in params.items()},
        tokenizer,
        dataclasses.replace(CLIP_PREPROCESSING, size=config.vision.image_size),
    )


def shipped_directory(name: str) -> Path:
    """Where a model that comes with the package lies."""
    return Path(str(resources.files("jaxclip") / "assets" / name))
