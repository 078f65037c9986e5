"""NegationCLIP (Park et al. 2025, arXiv 2501.10913): CLIP's own loss on captions that name something absent.

Shapes: B batch, D embedding. x image, tᵃ absence caption (true of the image); both L2-normalised.
"""

from jaxclip.objectives.common import normalise, symmetric_cross_entropy
from jaxclip.objectives.objective import Objective


def negationclip() -> Objective:
    """L = sym(x, tᵃ), over logits [B, B]."""

    def function(embeddings, contrast, params):
        del params
        loss = symmetric_cross_entropy(normalise(embeddings["image"]), normalise(embeddings["absence"]), contrast)
        return loss, {"contrastive": loss}

    return Objective("negationclip", ("absence",), function)
