"""From a split to its embeddings to its scores.

Shapes: n records, U distinct images, D embedding.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from jaxclip.data.feature_cache import ImageFeatures
from jaxclip.data.schema import TEXT_ROLES
from jaxclip.evaluation.scores import Score
from jaxclip.evaluation.suite import score_split
from jaxclip.evaluation.zeroshot import ZeroShotInput

EncodeTexts = Callable[[list[str]], np.ndarray]


class LabelledImages(NamedTuple):
    """A classification of a split's images.

    Attributes:
      numbers: the records that have a class.
      labels: their classes, by number.
      classes: the names of the classes.
      prompts, negated_prompts: one a class.
    """

    numbers: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    prompts: tuple[str, ...]
    negated_prompts: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class SplitTexts:
    """What evaluation needs of a split, read once: its texts by role, and the class labels of its images.

    Attributes:
      texts: role → n texts.
      zeroshot: set name → its classes.
    """

    texts: Mapping[str, list[str]]
    zeroshot: Mapping[str, LabelledImages]


def read_texts(split) -> SplitTexts:
    """Reads a `jaxclip.datasets.Split`."""
    roles = [role for role in TEXT_ROLES if role in split.roles]
    kept = [*roles, *(classes.name for classes in split.zeroshot)]
    records = []
    for number in range(len(split)):
        record = split[number]
        records.append({key: record[key] for key in kept})  # not the images, which may not fit into memory
    zeroshot = {}
    for found in split.zeroshot:
        labels = {name: label for label, name in enumerate(found.classes)}
        numbers = np.array([number for number, record in enumerate(records) if record[found.name]], np.int64)
        targets = np.array([labels[records[number][found.name]] for number in numbers], np.int64)
        if len(numbers):
            zeroshot[found.name] = LabelledImages(numbers, targets, found.classes, found.prompts, found.negated_prompts)
    return SplitTexts({role: [record[role] for record in records] for role in roles}, zeroshot)


def embed_split(texts: SplitTexts, features: ImageFeatures, encode_texts: EncodeTexts) -> dict[str, np.ndarray]:
    """`image` [U, D] and each text role [n, D], in one pass over all texts."""
    roles = list(texts.texts)
    if not roles:
        return {"image": np.asarray(features.features)}
    embedded = encode_texts([text for role in roles for text in texts.texts[role]])
    by_role = np.split(embedded, len(roles))
    return {"image": np.asarray(features.features), **dict(zip(roles, by_role, strict=True))}


def score_embedded(
    texts: SplitTexts, features: ImageFeatures, embeddings: Mapping[str, np.ndarray], encode_texts: EncodeTexts
) -> dict[str, Score]:
    """Every score that the split allows (see `jaxclip.evaluation.suite.score_split`)."""
    return score_split(embeddings, features.image_index, zeroshot_inputs(texts, features, encode_texts))


def zeroshot_inputs(texts: SplitTexts, features: ImageFeatures, encode_texts: EncodeTexts) -> dict[str, ZeroShotInput]:
    """Set name -> images, labels and prompts, encoded."""
    inputs = {}
    for name, classes in texts.zeroshot.items():
        embedded = encode_texts([*classes.prompts, *classes.negated_prompts])
        prompts, negated_prompts = np.split(embedded, 2)
        inputs[name] = ZeroShotInput(features(classes.numbers), classes.labels, prompts, negated_prompts)
    return inputs
