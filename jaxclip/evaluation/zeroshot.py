"""Zero-shot classification with plain and with negated class prompts.

"this is a photo of a cat" should pick the cats; "this is not a photo of a cat" should not. A model that ignores the
negation picks the same class with both.

Shapes: n images, C classes, D embedding.
"""

from importlib import resources
from typing import NamedTuple

import numpy as np

from jaxclip.evaluation.similarity import TIE_TOLERANCE, unit

_ENTRIES_PER_BLOCK = 4_000_000


class ZeroShotInput(NamedTuple):
    """One classification set, encoded.

    Attributes:
      image: [n, D].
      labels: [n] integers below C.
      prompts: [C, D] one embedding a class (the mean over the templates, where there are several).
      negated_prompts: [C, D] the same for the negated prompts.
    """

    image: np.ndarray
    labels: np.ndarray
    prompts: np.ndarray
    negated_prompts: np.ndarray


def imagenet_templates() -> list[str]:
    """The 80 prompts that CLIP's authors published for ImageNet (Radford et al. 2021), with {} for the class."""
    return (resources.files("jaxclip") / "evaluation" / "imagenet_templates.txt").read_text("utf-8").splitlines()


def ensemble(prompts: np.ndarray) -> np.ndarray:
    """One embedding a class from several templates: the mean of their unit embeddings: [C, D] from [T, C, D]."""
    return unit(np.mean([unit(template) for template in prompts], axis=0))


def zeroshot_accuracy(image: np.ndarray, labels: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """Whether the prompts pick the label, a tie or NaN being wrong: [n] bool; arguments as for `zeroshot_outcomes`."""
    labels = np.asarray(labels)
    _check(np.shape(image), labels, np.shape(prompts), np.shape(prompts))
    return _margins(image, labels, prompts) > TIE_TOLERANCE


def zeroshot_outcomes(
    image: np.ndarray, labels: np.ndarray, prompts: np.ndarray, negated_prompts: np.ndarray
) -> dict[str, np.ndarray]:
    """Per-image outcomes of plain and negated zero-shot classification (SemCLIP, arXiv 2511.16527).

    Args:
      image: [n, D].
      labels: [n] integers below C.
      prompts: [C, D].
      negated_prompts: [C, D].

    Returns:
      `accuracy` [n] bool: the plain prompts pick the label. `negated` [n] bool: the negated prompts STILL pick it,
      lower is better. `delta` [n] float64 in -1..1: accuracy minus negated. A tie or a NaN takes the unfavourable
      side each time: wrong for `accuracy`, "still picks it" for `negated`.

    Raises:
      ValueError: if the shapes do not fit, there are fewer than two classes, or a label names no class.
    """
    labels = np.asarray(labels)
    _check(np.shape(image), labels, np.shape(prompts), np.shape(negated_prompts))
    accuracy = zeroshot_accuracy(image, labels, prompts)
    negated = ~(_margins(image, labels, negated_prompts) < -TIE_TOLERANCE)
    return {"accuracy": accuracy, "negated": negated, "delta": accuracy.astype(np.float64) - negated}


def _margins(image: np.ndarray, labels: np.ndarray, prompts: np.ndarray) -> np.ndarray:
    """Cosine with the label's prompt minus the best other cosine: [n], NaN where any is NaN."""
    image, prompts = unit(image), unit(prompts)
    margins = np.empty(len(image))
    block = max(1, _ENTRIES_PER_BLOCK // len(prompts))
    for start in range(0, len(image), block):
        rows = slice(start, start + block)
        scores = image[rows] @ prompts.T
        own = (np.arange(len(scores)), labels[rows])
        own_scores = scores[own]
        scores[own] = -np.inf
        margins[rows] = own_scores - scores.max(axis=1)
    return margins


def _check(image: tuple, labels: np.ndarray, prompts: tuple, negated_prompts: tuple) -> None:
    if len(image) != 2 or len(prompts) != 2 or prompts != negated_prompts or image[1] != prompts[1] or prompts[0] < 2:
        raise ValueError(
            "expected image [n, D] and prompts, negated_prompts [C, D] with C of at least 2, "
            f"found {image}, {prompts} and {negated_prompts}"
        )
    if labels.shape != image[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels must be {image[0]} integers, found {labels.dtype} of shape {labels.shape}")
    strays = np.flatnonzero((labels < 0) | (labels >= prompts[0]))
    if strays.size:
        row = int(strays[0])
        raise ValueError(f"label {labels[row]} of image {row} names none of the {prompts[0]} classes")
