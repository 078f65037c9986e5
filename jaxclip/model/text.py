"""The text tower: a causal transformer read at the end-of-text token.

Shapes: N texts, L tokens a row, W width, D embedding; packed: G groups (one a data shard), R rows a group,
n texts a group.

A caption cannot see what follows it (the mask is causal) and is read at its end-of-text token, so several captions can
share a row of tokens, and the tokens that they begin with, with exactly the same result as a row each: see
`jaxclip.data.packing`.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxclip.model.transformer import LayerNorm, Transformer
from jaxclip.model.variants import TextConfig


class TextTransformer(nn.Module):
    """OpenAI's text tower: token and position embeddings, causal transformer, ln_final, projection."""

    config: TextConfig
    embed_dim: int
    activation: str
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"

    @nn.compact
    def __call__(
        self,
        tokens: jax.Array,
        positions: jax.Array | None = None,
        visible_until: jax.Array | None = None,
        ends: jax.Array | None = None,
        layer_states: bool = False,
    ) -> jax.Array:
        """Embeddings of texts, float32, not L2-normalised.

        One text a row: `tokens` int [N, L], padded after end-of-text (the largest id, so `argmax` finds it) → [N, D].

        Packed: `tokens`, `positions` (within the text) and `visible_until` (the place in the row from which on no token
        sees this one) int [G, R, L], `ends` int [G, n], the place of each text's end-of-text token in its group's R·L
        tokens → [G·n, D].

        With `layer_states` returns instead the residual stream at the end-of-text token before the first layer and
        after each: float32 [layers + 1, N, W].
        """

        def read(x):
            if ends is None:
                return x[jnp.arange(x.shape[0]), tokens.argmax(-1)]
            x = x.reshape(ends.shape[0], -1, config.width)
            return jnp.take_along_axis(x, ends[..., None], axis=1).reshape(-1, config.width)

        config = self.config
        L = tokens.shape[-1]
        token_embedding = self.param(
            "token_embedding", nn.initializers.normal(0.02), (config.vocabulary_size, config.width)
        )
        positional_embedding = self.param(
            "positional_embedding", nn.initializers.normal(0.01), (config.context_length, config.width)
        )
        positions = jnp.arange(L) if positions is None else positions
        x = (token_embedding[tokens] + positional_embedding[positions]).astype(self.dtype)
        mask = jnp.tril(jnp.ones((L, L), bool))
        if visible_until is not None:
            mask = mask & (jnp.arange(L)[:, None] < visible_until[..., None, :])
            mask = mask.reshape(-1, 1, L, L)
        transformer = Transformer(
            config.layers,
            config.heads,
            config.mlp_ratio,
            self.activation,
            self.remat,
            name="transformer",
        )
        x = x.reshape(-1, L, config.width)
        if layer_states:
            return transformer(x, mask, read=read, all_layers=True).astype(jnp.float32)
        # Layer norm acts on each token alone: only the tokens that are read need it.
        x = LayerNorm(name="ln_final")(transformer(x, mask, read=read)).astype(jnp.float32)
        return x @ self.param(
            "text_projection", nn.initializers.normal(config.width**-0.5), (config.width, self.embed_dim)
        )
