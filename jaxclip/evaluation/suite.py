"""All the scores that one split's embeddings allow, under the names that scores.json uses.

Shapes: N images, n records (several may share an image), D embedding.
"""

from collections.abc import Mapping

import numpy as np

from jaxclip.data.schema import TEXT_ROLES
from jaxclip.evaluation.negation import image_text_text, text_only_test, true_over_false
from jaxclip.evaluation.retrieval import ranks, ranks_both_ways, recall_at
from jaxclip.evaluation.scores import Outcomes, Score, score
from jaxclip.evaluation.similarity import cosine
from jaxclip.evaluation.zeroshot import ZeroShotInput, zeroshot_outcomes

# Text role of the query -> the k of recall at k.
_TEXT_TO_IMAGE = {"caption": (1, 5, 10), "paraphrase": (1, 5), "absence": (1,)}
_IMAGE_TO_TEXT = {"caption": (1, 5, 10)}
# Metric -> (role that is true of the image, role that is false of it).
_TRUE_OVER_FALSE = {
    "original_over_negation": ("caption", "negation"),
    "paraphrase_over_negation": ("paraphrase", "negation"),
    "original_over_hard_negative": ("caption", "hard_negative"),
    "absence_accuracy": ("absence", "false_absence"),
    "minimal_absence_accuracy": ("minimal_absence", "minimal_false_absence"),
}
# Suffix of the SugarCrepe++ metrics -> the role of the negative.
_SUGARCREPE = {"": "negation", "_hard": "hard_negative"}


def score_split(
    embeddings: Mapping[str, np.ndarray],
    image_index: np.ndarray | None = None,
    zeroshot: Mapping[str, ZeroShotInput] | None = None,
    *,
    seed: int = 0,
) -> dict[str, Score]:
    """Every metric that the roles present allow, each with a 95 % bootstrap interval.

    Arguments and errors as for `split_outcomes`; `seed` is that of the bootstrap.

    Returns:
      Metric name -> score.
    """
    outcomes = split_outcomes(embeddings, image_index, zeroshot)
    if not outcomes:
        raise ValueError(f"nothing to score: roles {sorted(embeddings)}, no zero-shot set")
    return {name: score(one, seed=seed) for name, one in outcomes.items()}


def split_outcomes(
    embeddings: Mapping[str, np.ndarray],
    image_index: np.ndarray | None = None,
    zeroshot: Mapping[str, ZeroShotInput] | None = None,
) -> dict[str, Outcomes]:
    """The outcomes behind every metric that the roles present allow.

    Args:
      embeddings: `image` [N, D] and, for each text role at hand (see `TEXT_ROLES`), [n, D]; normalised or not. May be
        empty where only `zeroshot` is to be scored.
      image_index: [n] row of each record's image; None where record i shows image i. An image that no record names
        is a distractor in the gallery of text-to-image retrieval, and no query of image-to-text retrieval.
      zeroshot: classification sets by name: they give `zeroshot_NAME`, `zeroshot_NAME_negated`, `zeroshot_NAME_delta`.

    Returns:
      Metric name -> one outcome a query, record or image; none where the roles allow no metric. Records of one image
      are a cluster.

    Raises:
      ValueError: if a role is unknown or a shape does not fit.
    """
    outcomes: dict[str, Outcomes] = {}
    if embeddings:
        image_index = _check(embeddings, image_index)
        outcomes |= _retrieval_outcomes(embeddings, image_index) | _negation_outcomes(embeddings, image_index)
    for name, inputs in (zeroshot or {}).items():
        by_kind = zeroshot_outcomes(*inputs)
        outcomes[f"zeroshot_{name}"] = Outcomes.of(by_kind["accuracy"])
        outcomes[f"zeroshot_{name}_negated"] = Outcomes.of(by_kind["negated"])
        outcomes[f"zeroshot_{name}_delta"] = Outcomes.of(by_kind["delta"])
    return outcomes


def similarities(embeddings: Mapping[str, np.ndarray], image_index: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Cosine of every record's image with each of its texts: text role -> [n]; arguments as for `score_split`."""
    image_index = _check(embeddings, image_index)
    image = np.asarray(embeddings["image"])[image_index]
    return {role: cosine(image, embeddings[role]) for role in TEXT_ROLES if role in embeddings}


def scores_document(by_checkpoint: Mapping[str, Mapping[str, Mapping[str, Score]]]) -> dict:
    """The content of scores.json.

    Args:
      by_checkpoint: checkpoint name -> split or benchmark -> metric -> score.

    Returns:
      `{"checkpoints": {NAME: {SPLIT: {METRIC: {"value", "n", "low", "high"}}}}}`, ready for `json.dumps`.
    """
    return {
        "checkpoints": {
            checkpoint: {
                split: {metric: score.as_dict() for metric, score in scores.items()} for split, scores in splits.items()
            }
            for checkpoint, splits in by_checkpoint.items()
        }
    }


def _retrieval_outcomes(embeddings: Mapping[str, np.ndarray], image_index: np.ndarray) -> dict[str, Outcomes]:
    images = np.asarray(embeddings["image"])
    outcomes = {}
    for role, recalls in _TEXT_TO_IMAGE.items():
        if role not in embeddings:
            continue
        if role in _IMAGE_TO_TEXT:
            found, found_by_image = ranks_both_ways(embeddings[role], images, image_index)
            by_image = {k: Outcomes.of(recall_at(found_by_image, k)) for k in _IMAGE_TO_TEXT[role]}
            outcomes |= {f"image_to_{role}_r{k}": one for k, one in by_image.items()}
        else:
            found = ranks(embeddings[role], images, image_index, np.arange(len(images)))
        outcomes |= {f"{role}_to_image_r{k}": Outcomes.of(recall_at(found, k), image_index) for k in recalls}
    return outcomes


def _negation_outcomes(embeddings: Mapping[str, np.ndarray], image_index: np.ndarray) -> dict[str, Outcomes]:
    image = np.asarray(embeddings["image"])[image_index]
    right = {}
    for metric, (true_role, false_role) in _TRUE_OVER_FALSE.items():
        if {true_role, false_role} <= embeddings.keys():
            right[metric] = true_over_false(image, embeddings[true_role], embeddings[false_role])
    for suffix, negative in _SUGARCREPE.items():
        roles = ("caption", "paraphrase", negative)
        if set(roles) <= embeddings.keys():
            texts = [embeddings[role] for role in roles]
            right[f"itt{suffix}"] = image_text_text(image, *texts)
            right[f"tot{suffix}"] = text_only_test(*texts)
    return {metric: Outcomes.of(values, image_index) for metric, values in right.items()}


def _check(embeddings: Mapping[str, np.ndarray], image_index: np.ndarray | None) -> np.ndarray:
    """Checks roles and shapes; returns the image index [n], the identity where it is None."""
    unknown = sorted(embeddings.keys() - {"image", *TEXT_ROLES})
    if unknown or "image" not in embeddings:
        found = ", ".join(sorted(embeddings)) or "none"
        known = ", ".join(TEXT_ROLES)
        raise ValueError(f"embeddings need the role image, and text roles among {known}; found {found}")
    images, dimension = _matrix_shape("image", embeddings["image"])
    records = images if image_index is None else len(image_index)
    for role in embeddings.keys() - {"image"}:
        shape = _matrix_shape(role, embeddings[role])
        if shape != (records, dimension):
            raise ValueError(f"embeddings of role {role} have shape {shape}, expected {(records, dimension)}")
    if image_index is None:
        return np.arange(images)
    image_index = np.asarray(image_index)
    if image_index.ndim != 1 or not np.issubdtype(image_index.dtype, np.integer):
        found = f"{image_index.dtype} of shape {image_index.shape}"
        raise ValueError(f"image_index must be a vector of integers, found {found}")
    strays = np.flatnonzero((image_index < 0) | (image_index >= images))
    if strays.size:
        row = int(strays[0])
        raise ValueError(f"image_index of record {row} is {image_index[row]}, but there are {images} images")
    return image_index


def _matrix_shape(role: str, embeddings: np.ndarray) -> tuple[int, int]:
    shape = np.shape(embeddings)
    if len(shape) != 2:
        raise ValueError(f"embeddings of role {role} have shape {shape}, expected [items, dimension]")
    return shape
