"""Pieces that several objectives share.

Shapes: B batch, b = rows of it that a device holds (B without a mesh), K candidates, D embedding.
"""

import dataclasses
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


@dataclasses.dataclass(frozen=True)
class Contrast:
    """How the embeddings of a batch are compared.

    Attributes:
      scale: the temperature factor s = exp(logit_scale).
      axis: the mesh axis along which the rows of the batch are spread, where a function sees its device's rows only.
      chunk: how many rows of logits exist at the same time; None for all of them.
    """

    scale: jax.Array
    axis: str | None = None
    chunk: int | None = None
    _gathered: dict[int, tuple[jax.Array, jax.Array]] = dataclasses.field(default_factory=dict, repr=False)

    def everyone(self, rows: jax.Array) -> jax.Array:
        """All devices' rows of an array of which this device has b: [b, D] → [B, D].

        The same array is gathered once, however many softmaxes it takes part in, so that its gradient comes back as one
        reduce-scatter.
        """
        if self.axis is None:
            return rows
        if id(rows) not in self._gathered:  # kept together with its rows: an id is good as long as they live
            self._gathered[id(rows)] = rows, jax.lax.all_gather(rows, self.axis, tiled=True)
        return self._gathered[id(rows)][1]


def retrieval_cross_entropy(query: jax.Array, candidates: Sequence[jax.Array], contrast: Contrast) -> jax.Array:
    """CE(s·q [c₁; c₂; …]ᵀ): each row of q against all rows of all candidates; row i's label is row i of c₁.

    With `contrast.axis` the rows are this device's and the candidates those of all devices. With `contrast.chunk` that
    many rows of logits are made at a time, and again in the backward pass, with the same result.

    Args:
      query: [b, D].
      candidates: K arrays [b, D], the right ones first.
      contrast: how they are compared.
    """
    columns = jnp.concatenate([contrast.everyone(candidate) for candidate in candidates])

    def row_loss(rows):
        row, right = rows
        # A TPU rounds the operands of float32 products to bfloat16 unless told not to; s, up to 100, magnifies that.
        logits = jnp.matmul(row, columns.T, precision=jax.lax.Precision.HIGHEST)
        return jax.nn.logsumexp(logits) - jnp.sum(row * right)

    rows = contrast.scale * query, candidates[0]  # scaled here, s gets its gradient once and not chunk by chunk
    if contrast.chunk is None:
        return jnp.mean(jax.vmap(row_loss)(rows))
    return jnp.mean(jax.lax.map(jax.checkpoint(row_loss), rows, batch_size=min(contrast.chunk, len(query))))


def symmetric_cross_entropy(image: jax.Array, text: jax.Array, contrast: Contrast) -> jax.Array:
    """CLIP's loss: ½[CE(s·x tᵀ) + CE(s·t xᵀ)] for x, t [b, D]."""
    return 0.5 * (retrieval_cross_entropy(image, [text], contrast) + retrieval_cross_entropy(text, [image], contrast))


def choice_cross_entropy(query: jax.Array, choices: Sequence[jax.Array], contrast: Contrast) -> jax.Array:
    """CE of a K-way choice a row: row i of q against row i of each choice only; the first choice is right.

    Args:
      query: [b, D].
      choices: K arrays [b, D].
      contrast: how they are compared.
    """
    logits = contrast.scale * jnp.stack([jnp.sum(query * choice, axis=-1) for choice in choices], axis=-1)
    return jnp.mean(jax.nn.logsumexp(logits, axis=-1) - logits[:, 0])
