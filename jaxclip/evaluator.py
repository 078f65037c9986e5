"""Scores models on splits: images encoded once where the tower is frozen, texts packed, progress shown."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from jaxclip.console import Bar
from jaxclip.data import feature_cache
from jaxclip.data.feature_cache import ImageFeatures
from jaxclip.data.pipeline import load_image
from jaxclip.data.preprocessing import Preprocessing
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.embedding import Encoders
from jaxclip.evaluation.scores import Score
from jaxclip.evaluation.splits import SplitTexts, embed_split, read_texts, score_embedded
from jaxclip.training.sharding import shard_params
from jaxclip.training.trainable import FlatParams, merge


@dataclasses.dataclass(frozen=True)
class Scored:
    """A split under one model: its scores and the embeddings that they come from."""

    scores: dict[str, Score]
    embeddings: dict[str, np.ndarray]
    image_index: np.ndarray


class Evaluator:
    """Embeds and scores splits with any parameters of one architecture.

    Args:
      encoders: both towers, compiled once.
      tokenizer, preprocessing: of the model.
      splits: `DATASET/SPLIT` → `jaxclip.datasets.Split`.
      check: called between batches; may raise to stop.
    """

    def __init__(
        self,
        encoders: Encoders,
        tokenizer: Tokenizer,
        preprocessing: Preprocessing,
        splits: Mapping[str, object],
        check: Callable[[], None],
    ):
        self._encoders, self._tokenizer, self._preprocessing = encoders, tokenizer, preprocessing
        self._splits, self._check = splits, check
        self._texts: dict[str, SplitTexts] = {}
        self._features: dict[str, ImageFeatures] = {}

    def _encode_images(
        self, params: dict, name: str, role: str, load: Callable[[int], dict], start: int, count: int, total: int
    ) -> np.ndarray:
        """Features of `count` images, which are those from `start` on of `total`."""

        def image(number):
            return load_image(load(number), self._preprocessing, role)

        description = f"{role.replace('_', ' ')}s of {name}"
        with Bar(description, total, "images", self._check, leave=False, initial=start) as bar:
            return self._encoders.images(params, image, count, bar.advance)

    def cache_features(
        self, images: Mapping[str, Sequence[str]], flat_params: FlatParams, cache: Path
    ) -> dict[str, dict[str, ImageFeatures]]:
        """Features of a frozen image tower, from the cache or computed and put there.

        Args:
          images: split → image roles; the features of `image` are used by all later scores.
          flat_params: the model.
          cache: where features are kept.

        Returns:
          split → image role → features.
        """
        params = replicate(self._encoders.mesh, flat_params)
        image_params = {path: leaf for path, leaf in flat_params.items() if path.startswith("visual/")}
        model = self._encoders.model
        architecture, dtype = model.config.as_dict(), str(np.dtype(model.dtype))
        features = {name: {} for name in images}
        for name, role in ((name, role) for name, roles in images.items() for role in roles):
            split = self._splits[name]
            key = feature_cache.fingerprint(
                image_params, self._preprocessing, split.fingerprint, dtype, architecture, role
            )
            encode = functools.partial(self._encode_images, params, name, role)
            features[name][role] = feature_cache.cached(cache, key, split, encode, role)
        self._features = {name: roles["image"] for name, roles in features.items()}
        return features

    def _image_features(self, name: str, params: dict) -> ImageFeatures:
        if name in self._features:
            return self._features[name]
        split = self._splits[name]
        first, image_index = feature_cache.unique_images(split)
        count = len(first)
        features = self._encode_images(params, name, "image", lambda number: split[int(first[number])], 0, count, count)
        return ImageFeatures(features, image_index)

    def _split_texts(self, name: str) -> SplitTexts:
        if name not in self._texts:
            self._texts[name] = read_texts(self._splits[name])
        return self._texts[name]

    def layer_states(self, name: str, role: str, params: dict) -> np.ndarray:
        """End-of-text states of a split's texts of one role, by layer: [n, layers + 1, W]."""
        return self._encoders.text_layer_states(params, self._tokenizer, self._split_texts(name).texts[role])

    def score(self, name: str, params: dict, label: str) -> Scored:
        """Every score that a split allows, under these (nested, sharded) parameters."""
        texts = self._split_texts(name)
        features = self._image_features(name, params)
        count = sum(map(len, texts.texts.values()))
        with Bar(f"{label}: texts of {name}", count, "texts", self._check, leave=False) as bar:

            def encode_texts(items):
                return self._encoders.texts(params, self._tokenizer, items, bar.advance)

            embeddings = embed_split(texts, features, encode_texts)
            scores = score_embedded(texts, features, embeddings, encode_texts)
        return Scored(scores, embeddings, features.image_index)


def replicate(mesh: Mesh, *parts: Mapping[str, jax.Array]) -> dict:
    """Flat parameters → nested, laid out on the mesh, for `Evaluator.score`."""
    return merge(shard_params(mesh, {path: leaf for part in parts for path, leaf in part.items()}))
