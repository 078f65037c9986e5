"""CLIP's own contrastive loss (Radford et al. 2021, arXiv 2103.00020): the baseline of every comparison."""

from jaxclip.objectives.common import normalise, symmetric_cross_entropy
from jaxclip.objectives.objective import Objective


def clip() -> Objective:
    """sym(x, t) over L2-normalised embeddings."""

    def function(embeddings, contrast, params):
        del params
        loss = symmetric_cross_entropy(normalise(embeddings["image"]), normalise(embeddings["caption"]), contrast)
        return loss, {"contrastive": loss}

    return Objective("clip", ("caption",), function)
