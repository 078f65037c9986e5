"""The vision tower of CLIP's `RN…` models: a ResNet with three changes (Radford et al. 2021, section 2.4).

The stem has three convolutions and an average pool; a stride is an average pool in front of a convolution of stride 1
(anti-aliasing); the features are pooled by attention. Batch normalisation is frozen: it uses the stored statistics,
which get no gradient.

Shapes: B images, S image size, H = S/32 height and width of the last feature map, W width of the first stage,
C = 32·W channels of the last stage, D embedding.
"""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

from jaxclip.model.transformer import PRODUCT, REMATERIALISATION_POLICIES, Linear
from jaxclip.model.variants import ResNetConfig

BATCH_NORM_EPSILON = 1e-5
EXPANSION = 4  # output channels of a bottleneck, per channel of its 3×3 convolution


class FrozenBatchNorm(nn.Module):
    """Batch normalisation by stored statistics, in float32, returned in the type of its input."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1],)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean = lax.stop_gradient(self.param("mean", nn.initializers.zeros, shape))
        variance = lax.stop_gradient(self.param("var", nn.initializers.ones, shape))
        y = (x.astype(jnp.float32) - mean) * (scale * lax.rsqrt(variance + BATCH_NORM_EPSILON)) + bias
        return y.astype(x.dtype)


def _convolved(x: jax.Array, features: int, size: int, name: str, stride: int = 1) -> jax.Array:
    """A convolution without bias that keeps height and width (but for the stride); kernel [size, size, in, out].

    Its result is known to `REMATERIALISATION_POLICIES` as that of a product with weights.
    """
    convolution = nn.Conv(
        features,
        (size, size),
        (stride, stride),
        padding=size // 2,
        use_bias=False,
        dtype=x.dtype,
        kernel_init=nn.initializers.he_normal(),
        name=name,
    )
    return checkpoint_name(convolution(x), PRODUCT)


def _average_pool(x: jax.Array, size: int) -> jax.Array:
    """Means of `size` × `size` squares side by side; what is left over at the border is dropped."""
    return nn.avg_pool(x, (size, size), (size, size))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions around a shortcut, all of stride 1; pooled after the 3×3 where `stride` > 1."""

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        outputs = self.channels * EXPANSION
        y = nn.relu(FrozenBatchNorm(name="bn1")(_convolved(x, self.channels, 1, "conv1")))
        y = nn.relu(FrozenBatchNorm(name="bn2")(_convolved(y, self.channels, 3, "conv2")))
        y = _average_pool(y, self.stride)
        y = FrozenBatchNorm(name="bn3")(_convolved(y, outputs, 1, "conv3"))
        if self.stride > 1 or x.shape[-1] != outputs:
            x = _convolved(_average_pool(x, self.stride), outputs, 1, "downsample_0")
            x = FrozenBatchNorm(name="downsample_1")(x)
        return nn.relu(x + y)


class AttentionPool(nn.Module):
    """One step of multi-head attention in which the mean of all positions asks and every position answers."""

    heads: int
    embed_dim: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Feature map [B, H, H, C] → float32 [B, D]."""
        B, C = x.shape[0], x.shape[-1]
        x = x.reshape(B, -1, C)
        x = jnp.concatenate([x.mean(1, keepdims=True), x], axis=1)
        positions = self.param("positional_embedding", nn.initializers.normal(C**-0.5), (x.shape[1], C))
        x = x + positions.astype(x.dtype)

        def project(name: str, inputs: jax.Array) -> jax.Array:
            y = Linear(C, stddev=C**-0.5, name=name)(inputs)
            return y.reshape(B, -1, self.heads, C // self.heads)

        y = jax.nn.dot_product_attention(project("q_proj", x[:, :1]), project("k_proj", x), project("v_proj", x))
        # As the last product of the other towers: in float32.
        return Linear(self.embed_dim, stddev=C**-0.5, name="c_proj")(y.reshape(B, C).astype(jnp.float32))


class ModifiedResNet(nn.Module):
    """OpenAI's `ModifiedResNet`: stem, four stages of bottlenecks, attention pooling.

    Attributes:
      config: widths, depths and heads.
      embed_dim: D.
      dtype: the type of convolutions and matrix products.
      remat: what of each bottleneck the backward pass recomputes, see `jaxclip.model.transformer.rematerialise`.
    """

    config: ResNetConfig
    embed_dim: int
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Normalised images [B, S, S, 3] → embeddings float32 [B, D], not L2-normalised."""
        x = self._stem(images.astype(self.dtype))
        block = Bottleneck
        if self.remat != "none":
            block = nn.remat(Bottleneck, policy=REMATERIALISATION_POLICIES[self.remat])
        for stage, depth in enumerate(self.config.layers):
            for index in range(depth):
                stride = 2 if stage > 0 and index == 0 else 1
                name = f"layer{stage + 1}_{index}"
                x = block(self.config.width * 2**stage, stride, name=name)(x)
        return AttentionPool(self.config.heads, self.embed_dim, name="attnpool")(x)

    def _stem(self, x: jax.Array) -> jax.Array:
        """[B, S, S, 3] → [B, S/4, S/4, W]."""
        widths: Sequence[int] = (self.config.width // 2, self.config.width // 2, self.config.width)
        for index, width in enumerate(widths, start=1):
            x = _convolved(x, width, 3, f"conv{index}", stride=2 if index == 1 else 1)
            x = nn.relu(FrozenBatchNorm(name=f"bn{index}")(x))
        return _average_pool(x, 2)
