"""CLIP: two towers and a temperature (Radford et al. 2021, arXiv 2103.00020).

Shapes: B images, N texts, L tokens, D embedding, S image size in pixels.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict

from jaxclip.model.resnet import ModifiedResNet
from jaxclip.model.text import TextTransformer
from jaxclip.model.variants import ModelConfig, ResNetConfig
from jaxclip.model.vision import VisionTransformer

INITIAL_LOGIT_SCALE = 2.6592600369327783  # ln(1 / 0.07)


class CLIP(nn.Module):
    """Both towers. Use `apply(..., method="encode_image" | "encode_text")`; embeddings come un-normalised.

    Attributes:
      config: the architecture.
      dtype: the type of matrix products; parameters and embeddings are float32 either way.
      remat: what of each block the backward pass recomputes, see `jaxclip.model.transformer.rematerialise`.
    """

    config: ModelConfig
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"

    def setup(self):
        config = self.config
        if isinstance(config.vision, ResNetConfig):
            self.visual = ModifiedResNet(config.vision, config.embed_dim, self.dtype, self.remat)
        else:
            self.visual = VisionTransformer(config.vision, config.embed_dim, config.activation, self.dtype, self.remat)
        self.text = TextTransformer(config.text, config.embed_dim, config.activation, self.dtype, self.remat)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(INITIAL_LOGIT_SCALE), ())

    def encode_image(self, images: jax.Array) -> jax.Array:
        """Normalised images [B, S, S, 3] → float32 [B, D]."""
        return self.visual(images)

    def encode_text(
        self,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        visible_until: jax.Array | None = None,
        ends: jax.Array | None = None,
    ) -> jax.Array:
        """Token rows [N, L], or packed rows (see `TextTransformer`) → float32 [N, D]."""
        return self.text(tokens, positions, visible_until, ends)

    def text_layer_states(
        self,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        visible_until: jax.Array | None = None,
        ends: jax.Array | None = None,
    ) -> jax.Array:
        """The residual stream at end-of-text, before the first text layer and after each: [N, layers + 1, W]."""
        return self.text(tokens, positions, visible_until, ends, layer_states=True).swapaxes(0, 1)

    def __call__(self, images: jax.Array, tokens: jax.Array) -> tuple[jax.Array, jax.Array]:
        """(image embeddings [B, D], text embeddings [N, D])."""
        return self.encode_image(images), self.encode_text(tokens)


def init_params(config: ModelConfig, rng: jax.Array) -> dict:
    """Random parameters, float32, drawn with OpenAI's standard deviations in both towers."""
    images = jnp.zeros((1, config.vision.image_size, config.vision.image_size, 3))
    tokens = jnp.zeros((1, config.text.context_length), jnp.int32)
    return jax.jit(CLIP(config).init)(rng, images, tokens)["params"]


def parameter_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Path → shape of every parameter of an architecture, without making any.

    One layer of each transformer is traced and stands for all, since they are alike: tracing the 36 of ViT-L/14 takes
    half a second, a tenth of the time of its conversion.
    """
    shallow, layers = _with_one_layer(config)
    shapes = jax.eval_shape(functools.partial(init_params, shallow), jax.random.key(0))
    found = {}
    for path, leaf in flatten_dict(shapes, sep="/").items():
        for layer in range(layers[path.partition("/")[0]] if "/resblocks_0/" in path else 1):
            found[path.replace("/resblocks_0/", f"/resblocks_{layer}/")] = leaf.shape
    return dict(sorted(found.items()))  # the parameters of a layer together, as they lie in files


def _with_one_layer(config: ModelConfig) -> tuple[ModelConfig, dict[str, int]]:
    """The architecture with transformers of one layer, and how many there are in those of the images and the texts."""
    vision, layers = config.vision, {"text": config.text.layers}
    if not isinstance(vision, ResNetConfig):
        vision, layers["visual"] = dataclasses.replace(vision, layers=1), vision.layers
    return dataclasses.replace(config, vision=vision, text=dataclasses.replace(config.text, layers=1)), layers
