"""`triplet`, this project's own objective: caption, paraphrase, negation and absence in one contrastive loss.

Shapes: B batch, D embedding. x image; p, q texts that are true of the image, n texts that are false of it; all
L2-normalised. s = exp(logit_scale). The equations and the ablation behind each term are in docs/methods.md.
"""

from collections.abc import Sequence

import jax

from jaxclip.objectives.common import choice_cross_entropy, normalise, retrieval_cross_entropy
from jaxclip.objectives.objective import Objective

POSITIVES = ("caption", "paraphrase", "absence")
NEGATIVES = ("negation", "false_absence")
PAIRS = (
    ("caption", "negation"),
    ("paraphrase", "negation"),
    ("absence", "false_absence"),
    ("minimal_absence", "minimal_false_absence"),
)


def triplet(
    retrieval: float = 1.0,
    choice: float = 1.0,
    agreement: float = 1.0,
    positives: Sequence[str] = POSITIVES,
    negatives: Sequence[str] = NEGATIVES,
    pairs: Sequence[Sequence[str]] = PAIRS,
) -> Objective:
    """The joint loss L = (a·L_retrieval + c·L_choice + g·L_agreement) / (a + c + g).

      L_retrieval = ½·mean over p of { CE(s·x [p; n₁; n₂; …]ᵀ) + CE(s·p xᵀ) }
      L_choice    = mean over pairs (p, n) of CE(s·[x·p, x·n])
      L_agreement = ½·{ CE(s·t [t⁺; t⁻]ᵀ) + CE(s·t⁺ [t; t⁻]ᵀ) }

    In L_retrieval each kind of true text is a class of its own against everything false in the batch, so that two true
    sentences never compete. L_choice compares sentences of the same surface form, which the presence of a negation
    word cannot tell apart. L_agreement acts on texts alone: caption t and paraphrase t⁺ against all negations t⁻.

    Args:
      retrieval, choice, agreement: the weights a, c and g.
      positives: text roles that are true of the image.
      negatives: text roles that are false of the image.
      pairs: (true role, false role) of the two-way choices; () leaves the term out.

    Raises:
      ValueError: a negative weight, or no weight at all.
    """
    if min(retrieval, choice, agreement) < 0 or retrieval + choice + agreement == 0:
        raise ValueError(f"triplet: weights must be >= 0 and not all 0, found {retrieval}, {choice}, {agreement}")
    weights = {"retrieval": retrieval, "choice": choice, "agreement": agreement}
    roles = (
        *((*positives, *negatives) if retrieval else ()),
        *((role for pair in pairs for role in pair) if choice else ()),
        *(("caption", "paraphrase", "negation") if agreement else ()),
    )

    def function(embeddings, scale, params):
        del params
        unit = {role: normalise(embeddings[role]) for role in ("image", *roles)}
        parts = {}
        if retrieval:
            parts["retrieval"] = _retrieval(unit, positives, negatives, scale)
        if choice:
            parts["choice"] = _mean(
                choice_cross_entropy(unit["image"], [unit[true], unit[false]], scale) for true, false in pairs
            )
        if agreement:
            t, paraphrase, negation = (unit[role] for role in ("caption", "paraphrase", "negation"))
            parts["agreement"] = _mean(
                retrieval_cross_entropy(query, [key, negation], scale)
                for query, key in ((t, paraphrase), (paraphrase, t))
            )
        return sum(weights[name] * value for name, value in parts.items()) / sum(weights.values()), parts

    return Objective("triplet", tuple(dict.fromkeys(roles)), function)


def _retrieval(unit: dict[str, jax.Array], positives: Sequence[str], negatives: Sequence[str], scale: jax.Array):
    image, false = unit["image"], [unit[role] for role in negatives]
    to_text = [retrieval_cross_entropy(image, [unit[role], *false], scale) for role in positives]
    to_image = [retrieval_cross_entropy(unit[role], [image], scale) for role in positives]
    return _mean([*to_text, *to_image])


def _mean(values) -> jax.Array:
    values = list(values)
    return sum(values) / len(values)
