"""NegBench's fine-tuning loss (Alhamoud et al. 2025, arXiv 2501.09425): CLIP's and a multiple-choice loss.

Shapes: B batch, K choices, D embedding. x image, t caption, c₁ … c_K the choices, of which c₁ is right; all
L2-normalised. s = exp(logit_scale).
"""

from collections.abc import Sequence

from jaxclip.objectives.common import choice_cross_entropy, normalise, symmetric_cross_entropy
from jaxclip.objectives.objective import Objective

CHOICES = ("caption", "negation", "hard_negative", "false_absence")


def negbench(choice_weight: float = 0.01, choices: Sequence[str] = CHOICES) -> Objective:
    """L = (1 − w)·sym(x, t) + w·CE(s·[x·c₁, …, x·c_K]), over logits [B, B] and [B, K].

    NegBench draws the batches of the two losses from two data sets. With one data set, both losses see its batch; for
    two, list `clip` on one stream with weight 1 − w, and `negbench` with choice_weight=1 on the other with weight w.

    Args:
      choice_weight: w.
      choices: the text roles to choose from; the first is true of the image, the others false.

    Raises:
      ValueError: a weight that is not between 0 and 1, fewer than two choices, or a choice twice.
    """
    if not 0 <= choice_weight <= 1:
        raise ValueError(f"negbench: choice_weight must be between 0 and 1, found {choice_weight}")
    if isinstance(choices, str) or len(choices) < 2 or len(set(choices)) < len(choices):
        raise ValueError(f"negbench: choices must be two or more different text roles, found {choices!r}")

    def function(embeddings, contrast, params):
        del params
        image = normalise(embeddings["image"])
        parts = {
            "contrastive": symmetric_cross_entropy(image, normalise(embeddings["caption"]), contrast),
            "multiple_choice": choice_cross_entropy(image, [normalise(embeddings[role]) for role in choices], contrast),
        }
        return (1 - choice_weight) * parts["contrastive"] + choice_weight * parts["multiple_choice"], parts

    return Objective("negbench", tuple(dict.fromkeys(("caption", *choices))), function)
