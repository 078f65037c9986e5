"""NegCLIP (Yuksekgonul et al. 2023, arXiv 2210.01936): hard captions, and hard images with captions of their own.

Shapes: B batch, D embedding. x image, t caption, t⁻ negation of t; xʰ hard image, tʰ its caption, tʰ⁻ the negation of
tʰ; all L2-normalised. s = exp(logit_scale).
"""

from jaxclip.objectives.common import normalise, retrieval_cross_entropy
from jaxclip.objectives.objective import Objective


def negclip(hard_images: bool = False) -> Objective:
    """NegCLIP's loss.

    Without hard images, L = ½[CE(s·x [t; t⁻]ᵀ) + CE(s·t xᵀ)]: logits [B, 2B] and [B, B].

    With them, X = [x; xʰ], T = [t; tʰ] and L = ½[CE(s·X [t; tʰ; t⁻; tʰ⁻]ᵀ) + CE(s·T Xᵀ)]: logits [2B, 4B] and [2B, 2B].

    Args:
      hard_images: use the image role `hard_image` and the text roles `hard_caption` and `hard_negation`.
    """
    if hard_images:
        roles = ("caption", "negation", "hard_caption", "hard_negation")
        return Objective("negclip", roles, _with_hard_images, images=("image", "hard_image"))
    return Objective("negclip", ("caption", "negation"), _without_hard_images)


def _without_hard_images(embeddings, contrast, params):
    del params
    x, t, negation = (normalise(embeddings[role]) for role in ("image", "caption", "negation"))
    parts = {
        "image_to_text": retrieval_cross_entropy(x, [t, negation], contrast),
        "text_to_image": retrieval_cross_entropy(t, [x], contrast),
    }
    return 0.5 * (parts["image_to_text"] + parts["text_to_image"]), parts


def _with_hard_images(embeddings, contrast, params):
    del params
    x, t, negation = (normalise(embeddings[role]) for role in ("image", "caption", "negation"))
    hard_x, hard_t, hard_negation = (
        normalise(embeddings[role]) for role in ("hard_image", "hard_caption", "hard_negation")
    )
    # A mean over 2B rows is that of the means over its halves. The second half's own candidates are put first there:
    # the order of columns does not change a softmax, and a row's label is the column of its own number.
    images_to_texts = [
        retrieval_cross_entropy(x, [t, hard_t, negation, hard_negation], contrast),
        retrieval_cross_entropy(hard_x, [hard_t, t, negation, hard_negation], contrast),
    ]
    texts_to_images = [
        retrieval_cross_entropy(t, [x, hard_x], contrast),
        retrieval_cross_entropy(hard_t, [hard_x, x], contrast),
    ]
    parts = {"image_to_text": sum(images_to_texts) / 2, "text_to_image": sum(texts_to_images) / 2}
    return 0.5 * (parts["image_to_text"] + parts["text_to_image"]), parts
