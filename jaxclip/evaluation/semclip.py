"""The two scores of SemCLIP's own evaluation (arXiv 2511.16527), which are no plain means over items.

Shapes: S strata, K outcomes an item.
"""

from collections.abc import Mapping

import numpy as np

from jaxclip.evaluation.scores import Outcomes, joined

_COMBINED = ("caption_to_image_r1", "paraphrase_to_image_r1", "original_over_negation")


def scaled_negation(means: np.ndarray) -> np.ndarray:
    """max(0, 2 (a - 1/2)) of the original-over-negation accuracy a, so that chance is 0: [...] from [..., S, K].

    The accuracy is the last of the K outcomes; several strata count the same each.
    """
    return np.maximum(0.0, 2 * (means[..., -1] - 0.5)).mean(axis=-1)


def combined(means: np.ndarray) -> np.ndarray:
    """Mean of top-1 original retrieval, top-1 paraphrase retrieval and `scaled_negation`: [...] from [..., S, 3]."""
    return (means[..., 0].mean(axis=-1) + means[..., 1].mean(axis=-1) + scaled_negation(means)) / 3


def semclip_outcomes(outcomes: Mapping[str, Outcomes]) -> dict[str, Outcomes]:
    """`scaled_negation` and `semclip_combined`, where the metrics that they need are there.

    Args:
      outcomes: from `jaxclip.evaluation.suite.split_outcomes`.
    """
    found = {}
    if "original_over_negation" in outcomes:
        found["scaled_negation"] = joined([outcomes["original_over_negation"]], scaled_negation)
    if set(_COMBINED) <= outcomes.keys():
        found["semclip_combined"] = joined([outcomes[name] for name in _COMBINED], combined)
    return found
