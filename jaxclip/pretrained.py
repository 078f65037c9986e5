"""A model that stands alone: weights, architecture, preprocessing and tokenizer in one directory.

DIR/model.json           architecture (`ModelConfig`)
DIR/preprocessing.json   how images become arrays
DIR/tokenizer.json       how texts become tokens (the `tokenizers` library's format)
DIR/params/              Orbax arrays, path → leaf
DIR/checksums.json       of all these files
"""

import contextlib
import dataclasses
import functools
import json
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from importlib import resources
from pathlib import Path

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from orbax.checkpoint import v1 as ocp
from PIL import Image

from jaxclip.checksums import CHECKSUMS, find_damage, write_checksums
from jaxclip.config import MeshSettings
from jaxclip.data.preprocessing import CLIP as CLIP_PREPROCESSING
from jaxclip.data.preprocessing import Preprocessing, preprocess
from jaxclip.data.tokenizer import Tokenizer, train_tokenizer
from jaxclip.embedding import Encoders
from jaxclip.model import CLIP, VARIANTS, ModelConfig, init_params, parameter_shapes
from jaxclip.saved_params import save_params
from jaxclip.training.checkpointing import CheckpointError, load_trained
from jaxclip.training.sharding import make_mesh, on_cpu, shard_params
from jaxclip.training.trainable import FlatParams, flatten, merge
from jaxclip.weights import Checkpoint, WeightsError, open_checkpoint, with_image_size
from jaxclip.weights.destination import check_replaceable, new_directory, partial_directory
from jaxclip.weights.names import FLOAT_TYPES

DESCRIPTION_FILES = ("model.json", "preprocessing.json", "tokenizer.json")
SHIPPED = ("scenes-base",)


class ModelDirectoryError(ValueError):
    """A model directory that cannot be read, with the file, what was found and what was expected."""


# What reading or writing a model raises for something that a user can mend.
MODEL_ERRORS = (ModelDirectoryError, CheckpointError, WeightsError, OSError)


def _ignore(count: int) -> None:
    del count


@dataclasses.dataclass(frozen=True)
class Clip(Checkpoint):
    """A CLIP ready for use. `params` is flat: path → array."""

    @functools.cached_property
    def _mesh(self) -> Mesh:
        return make_mesh(MeshSettings())

    @functools.cached_property
    def _device_params(self) -> dict:
        return merge(shard_params(self._mesh, self.params))

    @functools.cached_property
    def _encoders(self) -> Encoders:
        # On CPUs what a small batch computes stays in their caches; other devices are busy only with large ones.
        return Encoders(CLIP(self.config), self._mesh, batch_size=16 if on_cpu(self._mesh) else 256)

    @property
    def logit_scale(self) -> float:
        """The factor that cosine similarities are multiplied with: exp of the parameter `logit_scale`."""
        return float(np.exp(np.asarray(self.params["logit_scale"], np.float64)))

    def encode_image(
        self, images: Sequence[Image.Image | np.ndarray], on_batch: Callable[[int], None] = _ignore
    ) -> np.ndarray:
        """PIL images or uint8 arrays [H, W, 3] → float32 [n, D], L2-normalised.

        A sequence that opens its images when they are asked for, by several threads, is never held in memory whole.
        `on_batch(items)` is called after each batch, for progress bars.
        """
        images = images if isinstance(images, Sequence) else list(images)
        if not images:
            return np.zeros((0, self.config.embed_dim), np.float32)

        lock = threading.Lock()

        def load(number: int) -> np.ndarray:
            image = images[number]
            if isinstance(image, Image.Image):
                with lock:  # one image may stand in the list twice, and Pillow reads a file in one thread only
                    image.load()
            return preprocess(image, self.preprocessing)

        return _normalised(self._encoders.images(self._device_params, load, len(images), on_batch))

    def encode_text(self, texts: Sequence[str], on_batch: Callable[[int], None] = _ignore) -> np.ndarray:
        """Texts → float32 [n, D], L2-normalised. Texts longer than the context are cut, as CLIP does."""
        if isinstance(texts, str):
            raise TypeError(f"encode_text takes a list of texts, found the text {texts!r}")
        texts = list(texts)
        if not texts:
            return np.zeros((0, self.config.embed_dim), np.float32)
        return _normalised(self._encoders.texts(self._device_params, self.tokenizer, texts, on_batch))


def _normalised(embeddings: np.ndarray) -> np.ndarray:
    return embeddings / np.linalg.norm(embeddings, axis=-1, keepdims=True)


def _read_json(path: Path) -> dict:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelDirectoryError(
            f"{path}: not found; a model directory has {', '.join(DESCRIPTION_FILES)} and params/"
        ) from None
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelDirectoryError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(values, dict):
        raise ModelDirectoryError(f"{path}: expected a JSON object, found {type(values).__name__}")
    return values


def _check_params(directory: Path, params: FlatParams, config: ModelConfig) -> None:
    expected = parameter_shapes(config)
    for path in sorted({*params, *expected}):
        if path not in params:
            raise ModelDirectoryError(f"{directory}: parameter {path!r} is missing, model.json needs it")
        if path not in expected:
            raise ModelDirectoryError(
                f"{directory}: parameter {path!r} is not one of the model that model.json describes"
            )
        if params[path].shape != expected[path]:
            raise ModelDirectoryError(
                f"{directory}: parameter {path!r} has shape {params[path].shape}, expected {expected[path]}"
            )
        if params[path].dtype.name not in FLOAT_TYPES:
            found = params[path].dtype.name
            raise ModelDirectoryError(
                f"{directory}: parameter {path!r} is of type {found}, expected one of {', '.join(FLOAT_TYPES)}"
            )


def _check_fit(directory: Path, config: ModelConfig, tokenizer: Tokenizer, preprocessing: Preprocessing) -> None:
    if tokenizer.vocabulary_size > config.text.vocabulary_size:  # JAX would read another row, in silence
        raise ModelDirectoryError(
            f"{directory / 'tokenizer.json'}: has {tokenizer.vocabulary_size} tokens, "
            f"expected at most the {config.text.vocabulary_size} of model.json"
        )
    if preprocessing.size != config.vision.image_size:
        raise ModelDirectoryError(
            f"{directory / 'preprocessing.json'}: size is {preprocessing.size}, "
            f"expected the image_size {config.vision.image_size} of model.json"
        )


def _read_directory(directory: Path) -> Clip:
    """A model directory, with its parameters in the types that they are stored in.

    Raises:
      ModelDirectoryError: a file is missing or damaged, or the arrays are not those of the architecture.
    """
    directory = directory.absolute()
    # Directories of earlier versions have no checksums.
    if (directory / CHECKSUMS).exists() and (damage := find_damage(directory)):
        raise ModelDirectoryError(f"{directory}: is damaged: {damage} (changed on purpose? then remove {CHECKSUMS})")
    descriptions = {name: _read_json(directory / name) for name in DESCRIPTION_FILES}
    try:
        config = ModelConfig.from_dict(descriptions["model.json"])
        preprocessing = Preprocessing.from_dict(descriptions["preprocessing.json"])
        tokenizer = Tokenizer.from_file(directory / "tokenizer.json", config.text.context_length)
    except ValueError as error:
        raise ModelDirectoryError(f"{directory}: {error}") from None
    _check_fit(directory, config, tokenizer, preprocessing)
    try:
        params = ocp.load(epath.Path(directory / "params"))
    except (ValueError, OSError, KeyError) as error:
        raise ModelDirectoryError(f"{directory / 'params'}: cannot be read as an Orbax checkpoint: {error}") from None
    _check_params(directory, params, config)
    return Clip(config, params, tokenizer, preprocessing)


def load(
    source: str | os.PathLike, *, format: str = "auto", arch: str | None = None, image_size: int | None = None
) -> Clip:
    """Loads a CLIP for use, with float32 parameters: `clip.encode_image(images)`, `clip.encode_text(texts)`.

    Args:
      source: a model directory, the work directory of a run (its newest checkpoint), the name of a model that comes
        with the package (`scenes-base`), or a checkpoint of OpenAI, Hugging Face or OpenCLIP (a file or a directory).
      format: `openai`, `huggingface` or `open_clip` where that cannot be told from the files.
      arch: the architecture of an OpenCLIP file that comes without open_clip_config.json, such as `ViT-B-32`.
      image_size: the side of the images in pixels, if another one than the checkpoint's.

    Raises:
      FileNotFoundError: the source, or a file that it needs, is missing.
      ModelDirectoryError, CheckpointError: a damaged model directory or checkpoint of a run.
      WeightsError: a foreign checkpoint that is damaged or not a CLIP.
    """
    clip = open_model(source, format=format, arch=arch, image_size=image_size)
    return dataclasses.replace(clip, params={path: np.asarray(leaf, np.float32) for path, leaf in clip.params.items()})


def open_model(
    source: str | os.PathLike, *, format: str = "auto", arch: str | None = None, image_size: int | None = None
) -> Clip:
    """As `load`, but with parameters in the types that they are stored in; foreign ones are read when they are used."""
    path = shipped_directory(source) if source in SHIPPED else Path(source)
    if format != "auto" or arch is not None:
        clip = Clip(**vars(open_checkpoint(path, format=format, arch=arch)))
    elif any((path / name).exists() for name in ("model.json", "params")):
        clip = _read_directory(path)
    elif (path / "checkpoints" / "base").is_dir():
        clip = _with_trained(_read_directory(path / "checkpoints" / "base"), path / "checkpoints")
    else:
        clip = Clip(**vars(open_checkpoint(path)))
    return clip if image_size is None else Clip(**vars(with_image_size(clip, image_size)))


def _with_trained(base: Clip, checkpoints: Path) -> Clip:
    """The model of a run: what it started from, with what it has trained since; parameters of objectives stay out."""
    trained = {path: leaf for path, leaf in load_trained(checkpoints).items() if not path.startswith("objectives/")}
    params = {**base.params, **trained}
    _check_params(checkpoints, params, base.config)
    return dataclasses.replace(base, params=params)


def save_directory(
    checkpoint: Checkpoint,
    directory: str | os.PathLike,
    *,
    dtype: str | None = "float32",
    on_written: Callable[[int], None] = _ignore,
) -> None:
    """Writes a model directory, replacing one of that name; it appears complete or not at all.

    Parameters that still lie in a file pass through memory a few at a time. Of several processes all must call this.

    Args:
      checkpoint: the model.
      directory: where to.
      dtype: the type of the stored parameters; None keeps the type of each.
      on_written: called with the number of bytes each time some are written, for progress bars.

    Raises:
      ModelDirectoryError: something else than a model directory is there; it is left alone.
    """
    try:
        with _new_model_directory(Path(directory)) as partial:
            if jax.process_index() == 0:
                _write_json(partial / "model.json", checkpoint.config.as_dict())
                _write_json(partial / "preprocessing.json", checkpoint.preprocessing.as_dict())
                checkpoint.tokenizer.save(partial / "tokenizer.json")
            save_params(checkpoint.params, partial / "params", dtype, on_written)
            if jax.process_index() == 0:
                write_checksums(partial)
    except FileExistsError as error:
        raise ModelDirectoryError(str(error)) from None


@contextlib.contextmanager
def _new_model_directory(directory: Path) -> Iterator[Path]:
    """As `new_directory`; the first process makes and renames it, and all fill it, because Orbax lets none write alone.

    A name that is taken is an error in every process, so that none waits for the others.
    """
    kind = ("model.json", "a model directory")
    check_replaceable(directory, *kind)
    with new_directory(directory, *kind) if jax.process_index() == 0 else contextlib.nullcontext():
        multihost_utils.sync_global_devices(f"{directory}: begun")
        yield partial_directory(directory)
        multihost_utils.sync_global_devices(f"{directory}: written")


def _write_json(path: Path, values: dict) -> None:
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


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
