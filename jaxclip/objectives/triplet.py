"""`triplet`, this project's own objective: caption, paraphrase, negation and absence in one contrastive loss.

Shapes: B batch, D embedding. x image, x′ distractor image; p text that is true of an image, n text that is false of it;
t caption, t⁺ paraphrase, t⁻ negation. All L2-normalised. s = exp(logit_scale). docs/methods.md has the equations,
docs/results.md the ablation of the terms.
"""

from collections.abc import Iterable, Sequence

import jax

from jaxclip.objectives.common import Contrast, choice_cross_entropy, normalise, retrieval_cross_entropy
from jaxclip.objectives.objective import Objective

# (image role, text role that is true of it).
MATCHES = (("image", "caption"), ("image", "paraphrase"), ("image", "absence"))
NEGATIVES = ("negation", "false_absence")
# (query, what is true of it, what is false of it).
CHOICES = (
    ("image", "caption", "negation"),
    ("image", "paraphrase", "negation"),
    ("image", "absence", "false_absence"),
    ("image", "minimal_absence", "minimal_false_absence"),
)
# The same for an image of which the negation is true: with these no sentence is always the wrong one.
DISTRACTOR_MATCHES = (("distractor_image", "negation"),)
DISTRACTOR_CHOICES = (
    ("distractor_image", "negation", "caption"),
    ("distractor_image", "negation", "paraphrase"),
    ("caption", "image", "distractor_image"),
    ("negation", "distractor_image", "image"),
)
# (query, what means the same, what contradicts it).
AGREEMENTS = (("caption", "paraphrase", "negation"), ("paraphrase", "caption", "negation"))
_IMAGES = ("image", "distractor_image")


def triplet(
    retrieval: float = 1.0,
    choice: float = 1.0,
    agreement: float = 1.0,
    matches: Sequence[Sequence[str]] = MATCHES,
    negatives: Sequence[str] = NEGATIVES,
    choices: Sequence[Sequence[str]] = CHOICES,
    agreements: Sequence[Sequence[str]] = AGREEMENTS,
) -> Objective:
    """The joint loss L = (a·L_retrieval + c·L_choice + g·L_agreement) / (a + c + g).

      L_retrieval = mean over matches (x, p) of ½·{ CE(s·x [p; n₁; …]ᵀ) + CE(s·p xᵀ) }
      L_choice    = mean over choices (q, p, n) of CE(s·[q·p, q·n])
      L_agreement = mean over agreements (t, t⁺, t⁻) of CE(s·[t·t⁺, t·t⁻])

    Args:
      retrieval, choice, agreement: the weights a, c and g.
      matches: (image role, text role) pairs.
      negatives: text roles whose whole batch is added to the candidates of every image.
      choices: (query role, true role, false role), two-way and within a record.
      agreements: the same among texts.

    Raises:
      ValueError: a negative weight, or no weight at all; nothing to compare; a text that is matched with an image and
        a negative of all images at once.
    """
    weights = {"retrieval": retrieval, "choice": choice, "agreement": agreement}
    if not (min(weights.values()) >= 0 and sum(weights.values()) > 0):
        raise ValueError(f"triplet: weights must be >= 0 and not all 0, found {retrieval}, {choice}, {agreement}")
    for name, groups in {"retrieval": matches, "choice": choices, "agreement": agreements}.items():
        if weights[name] and not groups:
            raise ValueError(f"triplet: {name} has the weight {weights[name]:g} but nothing to compare")
    if isinstance(negatives, str):
        raise ValueError(f"triplet: negatives: expected a sequence of roles, found {negatives!r}")
    if retrieval and (twice := sorted({text for _, text in matches} & set(negatives))):
        raise ValueError(f"triplet: {twice[0]!r} is both matched with an image and among the negatives of all images")
    used = [*matches, negatives] * bool(retrieval) + [*choices] * bool(choice) + [*agreements] * bool(agreement)
    roles = tuple(dict.fromkeys(role for group in used for role in group))

    def function(embeddings, contrast, params):
        del params
        unit = {role: normalise(embeddings[role]) for role in roles}
        parts = {}
        if retrieval:
            parts["retrieval"] = _retrieval(unit, matches, negatives, contrast)
        for name, triples in (("choice", choices), ("agreement", agreements)):
            if weights[name]:
                parts[name] = _mean(
                    choice_cross_entropy(unit[query], [unit[true], unit[false]], contrast)
                    for query, true, false in triples
                )
        return sum(weights[name] * value for name, value in parts.items()) / sum(weights.values()), parts

    texts = tuple(role for role in roles if role not in _IMAGES)
    images = ("image", *(role for role in _IMAGES[1:] if role in roles))
    return Objective("triplet", texts, function, images=images)


def _retrieval(
    unit: dict[str, jax.Array], matches: Sequence[Sequence[str]], negatives: Sequence[str], contrast: Contrast
) -> jax.Array:
    false = [unit[role] for role in negatives]
    to_text = [retrieval_cross_entropy(unit[image], [unit[text], *false], contrast) for image, text in matches]
    to_image = [retrieval_cross_entropy(unit[text], [unit[image]], contrast) for image, text in matches]
    return _mean([*to_text, *to_image])


def _mean(values: Iterable[jax.Array]) -> jax.Array:
    values = list(values)
    return sum(values) / len(values)
