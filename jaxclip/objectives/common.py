"""Pieces that several objectives share.

Shapes: B batch, K candidates, D embedding, C logits a row.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def normalise(x: jax.Array) -> jax.Array:
    """x / ‖x‖ along the last axis; a vector shorter than 1e-12 becomes zero and has zero gradient instead of NaN."""
    squared = jnp.sum(jnp.square(x), axis=-1, keepdims=True)
    is_zero = squared < 1e-24  # below 1e-25 the derivative of rsqrt overflows float32
    return jnp.where(is_zero, 0.0, x * jax.lax.rsqrt(jnp.where(is_zero, 1.0, squared)))


def cosine(x: jax.Array, y: jax.Array) -> jax.Array:
    """Row-wise cosine of [B, D] and [B, D] → [B]; 0 where a vector is zero."""
    return jnp.sum(normalise(x) * normalise(y), axis=-1)


def cross_entropy(logits: jax.Array) -> jax.Array:
    """Mean over rows of −log softmax at the diagonal: row i's label is column i. [B, C ≥ B] → scalar."""
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - jnp.diagonal(logits))


def symmetric_cross_entropy(image: jax.Array, text: jax.Array, scale: jax.Array) -> jax.Array:
    """CLIP's loss: ½[CE(s·x tᵀ) + CE(s·t xᵀ)] for x, t [B, D] and the temperature factor s = exp(logit_scale)."""
    logits = scale * image @ text.T
    return 0.5 * (cross_entropy(logits) + cross_entropy(logits.T))


def retrieval_cross_entropy(query: jax.Array, candidates: Sequence[jax.Array], scale: jax.Array) -> jax.Array:
    """CE(s·q [c₁; c₂; …]ᵀ): each row of q against all rows of all candidates; row i's label is row i of c₁.

    Args:
      query: [B, D].
      candidates: K arrays [B, D], the right ones first.
      scale: the temperature factor s.
    """
    # Joining columns of logits, not rows of embeddings, leaves the rows on the devices that hold them.
    return cross_entropy(jnp.concatenate([scale * query @ candidate.T for candidate in candidates], axis=-1))


def choice_cross_entropy(query: jax.Array, choices: Sequence[jax.Array], scale: jax.Array) -> jax.Array:
    """CE of a K-way choice a row: row i of q against row i of each choice only; the first choice is right.

    Args:
      query: [B, D].
      choices: K arrays [B, D].
      scale: the temperature factor s.
    """
    logits = scale * jnp.stack([jnp.sum(query * choice, axis=-1) for choice in choices], axis=-1)
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[:, 0])
