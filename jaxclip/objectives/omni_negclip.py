"""Omni-NegCLIP (arXiv 2603.29258): its two losses, each on a stream of its own.

Shapes: B batch, D embedding. x image, t caption, t⁻ negation (false of the image), tᵃ absence (true of the image); all
L2-normalised. s = exp(logit_scale).

The method's loss is L_presence + λ₂·L_absence with λ₂ = 1: the weights of the two objectives in a config.
"""

import jax.numpy as jnp

from jaxclip.objectives.common import choice_cross_entropy, normalise, retrieval_cross_entropy, symmetric_cross_entropy
from jaxclip.objectives.objective import Objective


def presence() -> Objective:
    """Captions over presence-based negations.

    L_presence = (L₁ + L₂ + L₃) / 3 with

      L₁ = CE(s·x [t; t⁻]ᵀ)             [B, 2B]: every negation of the batch is a negative
      L₂ = CE(s·t xᵀ)                   [B, B]
      L₃ = CE(s·[x·t, x·t⁻])            [B, 2]: an image's own caption against its own negation
    """

    def function(embeddings, contrast, params):
        del params
        x, t, negation = (normalise(embeddings[role]) for role in ("image", "caption", "negation"))
        parts = {
            "image_to_text": retrieval_cross_entropy(x, [t, negation], contrast),
            "text_to_image": retrieval_cross_entropy(t, [x], contrast),
            "caption_over_negation": choice_cross_entropy(x, [t, negation], contrast),
        }
        return sum(parts.values()) / 3, parts

    return Objective("presence", ("caption", "negation"), function)


def absence(caption_weight: float = 1.0, margin_weight: float = 1.0, margin: float = 0.9) -> Objective:
    """Images close to caption and to absence caption, and the two texts apart from each other.

    L_absence = sym(x, tᵃ) + λ_o·sym(x, t) + λ_t·mean(max(0, t·tᵃ + m))

    Args:
      caption_weight: λ_o.
      margin_weight: λ_t.
      margin: m; the last term is 0 once the cosine t·tᵃ is −m or less.

    Raises:
      ValueError: a negative weight, or a margin that is not between −1 and 1.
    """
    if min(caption_weight, margin_weight) < 0:
        raise ValueError(f"absence: weights must be >= 0, found {caption_weight}, {margin_weight}")
    if not -1 <= margin <= 1:
        raise ValueError(f"absence: margin must be between -1 and 1, found {margin}")

    def function(embeddings, contrast, params):
        del params
        x, t, absent = (normalise(embeddings[role]) for role in ("image", "caption", "absence"))
        parts = {
            "absence": symmetric_cross_entropy(x, absent, contrast),
            "caption": symmetric_cross_entropy(x, t, contrast),
            "margin": jnp.mean(jnp.maximum(0.0, jnp.sum(t * absent, axis=-1) + margin)),
        }
        return parts["absence"] + caption_weight * parts["caption"] + margin_weight * parts["margin"], parts

    return Objective("absence", ("caption", "absence"), function)
