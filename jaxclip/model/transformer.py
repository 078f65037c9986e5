"""The residual attention blocks that both towers are made of.

Shapes: B rows, L positions, W width, H heads. Parameter names follow OpenAI's modules one to one
(`resblocks_3/attn/in_proj`, `mlp/c_fc`, …); kernels are stored [in, out].

Each layer has its own leaves in the parameter tree, so that freezing is a choice of leaves, but the layers run
under `jax.lax.scan`: one block is compiled instead of `layers`, and XLA does not fuse (and then recompute) the
residual chain across blocks, which on CPU makes the float32 backward pass 3–4 times slower.
"""

import itertools
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

LAYER_NORM_EPSILON = 1e-5


PRODUCT = "product with weights"  # what policies know results of `product` by
# What the backward pass finds kept, by name; `none` (keep all) needs no policy.
REMATERIALISATION_POLICIES = {"full": None, "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT)}


def quick_gelu(x: jax.Array) -> jax.Array:
    """x·sigmoid(1.702x), the GELU approximation that OpenAI's weights were trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


def exact_gelu(x: jax.Array) -> jax.Array:
    """x·Φ(x)."""
    return jax.nn.gelu(x, approximate=False)


Read = Callable[[jax.Array], jax.Array]  # [B, L, W] → [N, W], the tokens that are wanted
ACTIVATION_FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"quick_gelu": quick_gelu, "gelu": exact_gelu}


def rematerialise(function: Callable, remat: str) -> Callable:
    """The same function, of which the backward pass recomputes what the policy does not keep.

    `none` keeps every intermediate value; `full` the inputs alone (a third more work); `dots` also the results of
    products with weights, which leaves attention, normalisation and activations to be recomputed.
    """
    return function if remat == "none" else jax.checkpoint(function, policy=REMATERIALISATION_POLICIES[remat])


def _sum_in_float32(lhs: jax.Array, rhs: jax.Array, lhs_axes: Sequence[int], rhs_axes: Sequence[int]) -> jax.Array:
    """The product over these axes, summed in float32 and returned in the operands' type."""
    total = lax.dot_general(lhs, rhs, ((lhs_axes, rhs_axes), ((), ())), preferred_element_type=jnp.float32)
    return total.astype(lhs.dtype)


def plain_product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., I] × [I, O] → [..., O], in the operands' type and summed in float32."""
    return _sum_in_float32(x, kernel, (x.ndim - 1,), (0,))


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """[..., I] × [I, O] → [..., O], in the operands' type and summed in float32, as both products of its gradient are.

    JAX's own rule would take the gradient of the float32 sum, and so make both backward products in float32: on CPUs
    and GPUs most of what bfloat16 saves would be lost.
    """
    return plain_product(x, kernel)


def _product_forward(x, kernel):
    return product(x, kernel), (x, kernel)


def _product_backward(operands, gradient):
    x, kernel = operands
    rows = range(x.ndim - 1)
    return _sum_in_float32(gradient, kernel, (x.ndim - 1,), (1,)), _sum_in_float32(x, gradient, rows, rows)


product.defvjp(_product_forward, _product_backward)


def dense(features: int, *, dtype: jnp.dtype, stddev: float, name: str, use_bias: bool = True) -> nn.Dense:
    """A linear layer with float32 parameters, `dtype` products and float32 accumulation."""
    multiply = plain_product if dtype == jnp.float32 else product
    return nn.Dense(
        features,
        use_bias=use_bias,
        dtype=dtype,
        kernel_init=nn.initializers.normal(stddev),
        # Dense asks for nothing but this product. In float32 JAX's own rule for its gradients will do.
        dot_general=lambda x, kernel, *_, **__: checkpoint_name(multiply(x, kernel), PRODUCT),
        name=name,
    )


class LayerNorm(nn.Module):
    """Layer normalisation in float32, returned in the type of its input, as OpenAI's does it."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        y = x.astype(jnp.float32)
        y = y - y.mean(-1, keepdims=True)
        y = y * lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + LAYER_NORM_EPSILON)
        return (y * scale + bias).astype(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention with one fused query-key-value projection."""

    heads: int
    layers: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None, read: Read | None = None) -> jax.Array:
        """[B, L, W] → [B, L, W]; with `read` its tokens alone, [N, W]."""
        B, L, W = x.shape
        qkv = dense(3 * W, dtype=self.dtype, stddev=W**-0.5, name="in_proj")(x)
        q, k, v = jnp.split(qkv.reshape(B, L, 3 * self.heads, W // self.heads), 3, axis=2)
        y = jax.nn.dot_product_attention(q, k, v, mask=mask).reshape(B, L, W)
        y = y if read is None else read(y)
        return dense(W, dtype=self.dtype, stddev=W**-0.5 * (2 * self.layers) ** -0.5, name="out_proj")(y)


class MLP(nn.Module):
    """Two linear layers with the activation between them."""

    hidden: int
    layers: int
    activation: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        W = x.shape[-1]
        y = dense(self.hidden, dtype=self.dtype, stddev=(2 * W) ** -0.5, name="c_fc")(x)
        y = ACTIVATION_FUNCTIONS[self.activation](y)
        return dense(W, dtype=self.dtype, stddev=W**-0.5 * (2 * self.layers) ** -0.5, name="c_proj")(y)


class ResidualAttentionBlock(nn.Module):
    """x + attn(ln_1(x)), then x + mlp(ln_2(x)). `layers` is the depth of the tower, for the initial scale.

    With `read` the result is that of its tokens alone, and only they pass the output projection and the MLP.
    """

    heads: int
    layers: int
    mlp_ratio: float
    activation: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None, read: Read | None = None) -> jax.Array:
        attended = Attention(self.heads, self.layers, self.dtype, name="attn")(LayerNorm(name="ln_1")(x), mask, read)
        x = (x if read is None else read(x)) + attended
        hidden = int(x.shape[-1] * self.mlp_ratio)
        return x + MLP(hidden, self.layers, self.activation, self.dtype, name="mlp")(LayerNorm(name="ln_2")(x))


class Transformer(nn.Module):
    """`layers` blocks under `lax.scan`.

    Attributes:
      splits: layer indices at which a new scan starts. The layers of one scan are differentiated together, so a
        border between trained and frozen layers must be a split for the frozen ones to cost no weight gradients.
      remat: what of each block the backward pass recomputes, see `rematerialise`.
    """

    layers: int
    heads: int
    mlp_ratio: float
    activation: str
    dtype: jnp.dtype = jnp.float32
    remat: str = "none"
    splits: Sequence[int] = ()

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, *, read: Read | None = None, all_layers: bool = False
    ) -> jax.Array:
        """[B, L, W] → [B, L, W]; `mask` is boolean, broadcastable to [B, H, L, L], True where attention is allowed.

        With `read` → [N, W]: the tokens that it picks. The last block computes no others beyond its attention.
        With `all_layers` → [layers + 1, N, W]: those of the input and of each layer's output.
        """
        settings = (self.heads, self.layers, self.mlp_ratio, self.activation, self.dtype)
        if self.is_initializing():
            for layer in range(self.layers):
                x = ResidualAttentionBlock(*settings, name=f"resblocks_{layer}")(x, mask)
            return x if read is None else read(x)

        block = ResidualAttentionBlock(*settings, parent=None)
        params = [self.variables["params"][f"resblocks_{layer}"] for layer in range(self.layers)]

        def run_block(x, params):
            x = block.apply({"params": params}, x, mask)
            return x, read(x) if all_layers else None

        def run_last_block(x, params):
            return block.apply({"params": params}, x, mask, read)

        run_block, run_last_block = rematerialise(run_block, self.remat), rematerialise(run_last_block, self.remat)
        apart = read is not None and not all_layers  # the last block, which is another program then
        borders = sorted({0, *self.splits, self.layers - apart})
        kept = [read(x)[None]] if all_layers else []
        for start, end in itertools.pairwise(borders):
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params[start:end])
            x, read_here = lax.scan(run_block, x, stacked)
            kept.append(read_here)
        if apart:
            x = run_last_block(x, params[-1])
        return jnp.concatenate(kept) if all_layers else x
