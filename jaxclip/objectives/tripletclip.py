"""TripletCLIP (Patel et al. 2024, arXiv 2411.02545): negations with images of their own.

Shapes: B batch, D embedding. x image, t caption, t⁻ negation, x⁻ an image of the negation (role
`distractor_image`); all L2-normalised. s = exp(logit_scale).
"""

from jaxclip.objectives.common import normalise, retrieval_cross_entropy
from jaxclip.objectives.objective import Objective


def tripletclip() -> Objective:
    """L = N(x, t, t⁻) + N(x⁻, t⁻, t), a sum and not a mean.

    N(x, t, n) = ½[CE(s·x [t; n]ᵀ) + CE(s·t xᵀ)], over logits [B, 2B] and [B, B].
    """

    def function(embeddings, contrast, params):
        del params
        roles = ("image", "caption", "distractor_image", "negation")
        x, t, distractor_image, negation = (normalise(embeddings[role]) for role in roles)

        def with_negatives(image, text, negative):
            image_to_text = retrieval_cross_entropy(image, [text, negative], contrast)
            return 0.5 * (image_to_text + retrieval_cross_entropy(text, [image], contrast))

        parts = {
            "caption": with_negatives(x, t, negation),
            "negation": with_negatives(distractor_image, negation, t),
        }
        return parts["caption"] + parts["negation"], parts

    return Objective("tripletclip", ("caption", "negation"), function, images=("image", "distractor_image"))
