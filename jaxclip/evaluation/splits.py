"""From a split to its embeddings to its scores.

Shapes: n records, U distinct images, D embedding.
"""

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from jaxclip.data.feature_cache import ImageFeatures
from jaxclip.data.schema import TEXT_ROLES
from jaxclip.evaluation.scores import Score
from jaxclip.evaluation.suite import score_split
from jaxclip.evaluation.zeroshot import ZeroShotInput

EncodeTexts = Callable[[list[str]], np.ndarray]


@dataclasses.dataclass(frozen=True)
class SplitTexts:
    """What evaluation needs of a split, read once: its texts by role, and the class labels of its images.

    Attributes:
      texts: role → n texts.
      zeroshot: set name → (record numbers that have a class, their labels, prompts, negated prompts).
    """

    texts: Mapping[str, list[str]]
    zeroshot: Mapping[str, tuple[np.ndarray, np.ndarray, tuple[str, ...], tuple[str, ...]]]


def read_texts(split) -> SplitTexts:
    """Reads a `jaxclip.datasets.Split`."""
    records = [split[number] for number in range(len(split))]
    zeroshot = {}
    for classes in split.zeroshot:
        labels = {name: label for label, name in enumerate(classes.classes)}
        numbers = np.array([number for number, record in enumerate(records) if record[classes.name]], np.int64)
        targets = np.array([labels[records[number][classes.name]] for number in numbers], np.int64)
        if len(numbers):
            zeroshot[classes.name] = (numbers, targets, classes.prompts, classes.negated_prompts)
    texts = {role: [record[role] for record in records] for role in TEXT_ROLES if role in split.roles}
    return SplitTexts(texts, zeroshot)


def embed_split(texts: SplitTexts, features: ImageFeatures, encode_texts: EncodeTexts) -> dict[str, np.ndarray]:
    """`image` [U, D] and each text role [n, D], in one pass over all texts."""
    roles = list(texts.texts)
    embedded = encode_texts([text for role in roles for text in texts.texts[role]])
    by_role = np.split(embedded, len(roles))
    return {"image": np.asarray(features.features), **dict(zip(roles, by_role, strict=True))}


def score_embedded(
    texts: SplitTexts, features: ImageFeatures, embeddings: Mapping[str, np.ndarray], encode_texts: EncodeTexts
) -> dict[str, Score]:
    """Every score that the split allows (see `jaxclip.evaluation.suite.score_split`)."""
    zeroshot = {}
    for name, (numbers, labels, prompts, negated_prompts) in texts.zeroshot.items():
        prompt_embeddings = encode_texts([*prompts, *negated_prompts])
        zeroshot[name] = ZeroShotInput(
            features(numbers), labels, prompt_embeddings[: len(prompts)], prompt_embeddings[len(prompts) :]
        )
    return score_split(embeddings, features.image_index, zeroshot)
