"""CoN-CLIP (Singh et al. 2024, arXiv 2403.20312): negations as further negatives of the image.

Shapes: B batch, D embedding. x image, t caption, t⁻ negation, x′ distractor image; all L2-normalised.
s = exp(logit_scale).
"""

from jaxclip.objectives.common import normalise, retrieval_cross_entropy
from jaxclip.objectives.objective import Objective


def conclip(distractors: bool = False) -> Objective:
    """CoN-CLIP's loss.

    With distractor images, of which the negations are true, L = (L₁ + L₂ + L₃) / 3:

      L₁ = CE(s·x [t; t⁻]ᵀ)             [B, 2B]
      L₂ = CE(s·t [x; x′]ᵀ)             [B, 2B]
      L₃ = CE(s·x′ [t⁻; t]ᵀ)            [B, 2B]

    Without them, L = (L₁ + CE(s·t xᵀ)) / 2.

    Args:
      distractors: use the image role `distractor_image`.
    """

    def function(embeddings, contrast, params):
        del params
        x, t, negation = (normalise(embeddings[role]) for role in ("image", "caption", "negation"))
        distractor = [normalise(embeddings["distractor_image"])] if distractors else []
        parts = {
            "image_to_text": retrieval_cross_entropy(x, [t, negation], contrast),
            "text_to_image": retrieval_cross_entropy(t, [x, *distractor], contrast),
        }
        if distractors:
            parts["distractor_to_text"] = retrieval_cross_entropy(*distractor, [negation, t], contrast)
        return sum(parts.values()) / len(parts), parts

    images = ("image", "distractor_image") if distractors else ("image",)
    return Objective("conclip", ("caption", "negation"), function, images=images)
