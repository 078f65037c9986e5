"""The vision tower: a ViT read at its class token.

Shapes: B images, S image size, P patch size, W width, D embedding.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxclip.model.transformer import LayerNorm, Transformer
from jaxclip.model.variants import VisionConfig


def patchify(images: jax.Array, patch_size: int) -> jax.Array:
    """[B, S, S, 3] → [B, (S/P)², P·P·3]: row-major patches, each flattened as (row, column, channel)."""
    B, S, _, C = images.shape
    P, N = patch_size, S // patch_size
    return images.reshape(B, N, P, N, P, C).transpose(0, 1, 3, 2, 4, 5).reshape(B, N * N, P * P * C)


class VisionTransformer(nn.Module):
    """OpenAI's `VisionTransformer`: patches, class token, ln_pre, transformer, ln_post, projection."""

    config: VisionConfig
    embed_dim: int
    activation: str
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Normalised images [B, S, S, 3] → embeddings float32 [B, D], not L2-normalised."""
        config = self.config
        W, P = config.width, config.patch_size
        scale = nn.initializers.normal(W**-0.5)
        # The convolution of OpenAI's model has stride = kernel size, so it is a matrix product of flat patches.
        kernel = self.param("conv1", nn.initializers.normal((3 * P * P) ** -0.5), (P, P, 3, W))
        patches = patchify(images.astype(self.dtype), P)
        x = jnp.einsum(
            "bnp,pw->bnw", patches, kernel.reshape(-1, W).astype(self.dtype), preferred_element_type=jnp.float32
        ).astype(self.dtype)
        class_embedding = self.param("class_embedding", scale, (W,)).astype(self.dtype)
        x = jnp.concatenate([jnp.broadcast_to(class_embedding, (x.shape[0], 1, W)), x], axis=1)
        x = x + self.param("positional_embedding", scale, (x.shape[1], W)).astype(self.dtype)
        x = LayerNorm(name="ln_pre")(x)
        x = Transformer(
            config.layers,
            config.heads,
            config.mlp_ratio,
            self.activation,
            self.remat,
            name="transformer",
        )(x, read=lambda x: x[:, 0])
        x = LayerNorm(name="ln_post")(x).astype(jnp.float32)
        return x @ self.param("proj", scale, (W, self.embed_dim))
