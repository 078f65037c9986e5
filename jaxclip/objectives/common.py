"""Pieces that several objectives share.

Shapes: B batch, D embedding.
"""

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
