"""The residual attention blocks that both towers are made of.

Shapes: B rows, L positions, W width, H heads. Parameter names follow OpenAI's modules one to one
(`resblocks_3/attn/in_proj`, `mlp/c_fc`, …); kernels are stored [in, out].

Each layer has its own leaves in the parameter tree, so that freezing is a choice of leaves, and only trained ones get
gradients. Layers follow one another without `jax.lax.scan`, which would copy all weights, gradients and kept
activations into stacks; what a loop over layers would keep XLA from doing on CPUs, `stored` keeps it from.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax
from jax.ad_checkpoint import checkpoint_name

LAYER_NORM_EPSILON = 1e-5


PRODUCT = "product with weights"  # what policies know results of `linear` and of convolutions by
# What the backward pass finds kept, by name; `none` (keep all) needs no policy.
REMATERIALISATION_POLICIES = {"full": None, "dots": jax.checkpoint_policies.save_only_these_names(PRODUCT)}


def keeping_inputs(function: Callable) -> Callable:
    """The same function, of which the backward pass finds the inputs kept and nothing else.

    For cheap functions of large arrays: JAX's own rules keep several arrays as large, which take memory, and as long to
    write and read as computing them again takes.
    """
    wrapped = jax.custom_vjp(function)

    def backward(inputs, gradient):
        # Behind a barrier, or XLA finds what the forward pass has computed, and keeps it.
        return jax.vjp(function, *lax.optimization_barrier(inputs))[1](gradient)

    wrapped.defvjp(lambda *inputs: (function(*inputs), inputs), backward)
    return wrapped


@keeping_inputs
def quick_gelu(x: jax.Array) -> jax.Array:
    """x·sigmoid(1.702x), the GELU approximation that OpenAI's weights were trained with."""
    return x * jax.nn.sigmoid(1.702 * x)


@keeping_inputs
def exact_gelu(x: jax.Array) -> jax.Array:
    """x·Φ(x)."""
    return jax.nn.gelu(x, approximate=False)


Read = Callable[[jax.Array], jax.Array]  # [B, L, W] → [N, W], the tokens that are wanted
ACTIVATION_FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {"quick_gelu": quick_gelu, "gelu": exact_gelu}


def stored(x: jax.Array) -> jax.Array:
    """`x` itself, on CPUs computed once and then read from memory.

    XLA's CPU compiler repeats cheap operations, such as an activation, in each of the loops that use their result. The
    barrier holds where a program is compiled with `jaxclip.compiled_programs.compiler_options`.
    """
    return lax.platform_dependent(x, cpu=lax.optimization_barrier, default=lambda x: x)


def rematerialise(function: Callable, remat: str) -> Callable:
    """The same function, of which the backward pass recomputes what the policy does not keep.

    `none` keeps every intermediate value; `full` the inputs alone (a third more work); `dots` also the results of
    products with weights, which leaves attention, normalisation and activations to be recomputed.
    """
    return function if remat == "none" else jax.checkpoint(function, policy=REMATERIALISATION_POLICIES[remat])


def _sum_in_float32(lhs: jax.Array, rhs: jax.Array, lhs_axes: Sequence[int], rhs_axes: Sequence[int]) -> jax.Array:
    """The product over these axes, summed in float32."""
    return lax.dot_general(lhs, rhs, ((lhs_axes, rhs_axes), ((), ())), preferred_element_type=jnp.float32)


@jax.custom_vjp
def linear(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
    """[..., I] × [I, O] + [O] → [..., O], products in the type of `x` and summed in float32, as those of its gradient.

    Kernel and bias are float32, and so are their gradients.

    JAX's own rule would take the gradient of the float32 sum, and so make both backward products in float32: on CPUs
    and GPUs most of what bfloat16 saves would be lost. Here the operands of all three products are also `stored`, as
    each is read more than once.
    """
    return _linear_forward(x, kernel, bias)[0]


def _linear_forward(x, kernel, bias):
    x, kernel = stored(x), kernel.astype(x.dtype)
    y = _sum_in_float32(x, kernel, (x.ndim - 1,), (0,)) + bias
    return y.astype(x.dtype), (x, kernel)


def _product_of_rows(x, gradient):
    """[..., I] and [..., O] → [I, O], summed over all axes but the last."""
    rows = tuple(range(x.ndim - 1))
    return _sum_in_float32(x, gradient, rows, rows)


def _product_of_flat_rows(x, gradient):
    """The same, with one axis to sum over."""
    return _product_of_rows(x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1]))


def _linear_backward(operands, gradient):
    (x, kernel), gradient = operands, stored(gradient)
    rows = tuple(range(x.ndim - 1))
    of_x = _sum_in_float32(gradient, kernel, (x.ndim - 1,), (1,)).astype(x.dtype)
    # Where a sum runs over several axes XLA's CPU compiler writes an operand out transposed. That is what its library
    # for products in bfloat16 needs; in float32 it can be spared. On TPUs rows of 77 tokens, which lie in tiles of 8,
    # would have to be moved to become flat.
    product_on_cpu = _product_of_flat_rows if x.dtype == jnp.float32 else _product_of_rows
    of_kernel = lax.platform_dependent(x, gradient, cpu=product_on_cpu, default=_product_of_rows)
    return of_x, of_kernel, gradient.sum(rows, dtype=jnp.float32)


linear.defvjp(_linear_forward, _linear_backward)


class Linear(nn.Module):
    """A linear layer with float32 parameters, whose products are in the type of its input."""

    features: int
    stddev: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """[..., I] → [..., features]."""
        kernel = self.param("kernel", nn.initializers.normal(self.stddev), (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        return checkpoint_name(linear(x, kernel, bias), PRODUCT)


@keeping_inputs
def layer_norm(x: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """Layer normalisation over the last axis in float32, returned in the type of `x`, as OpenAI's does it."""
    y = x.astype(jnp.float32)
    y = y - y.mean(-1, keepdims=True)
    y = y * lax.rsqrt(jnp.square(y).mean(-1, keepdims=True) + LAYER_NORM_EPSILON)
    return (y * scale + bias).astype(x.dtype)


class LayerNorm(nn.Module):
    """`layer_norm` with its parameters."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        scale = self.param("scale", nn.initializers.ones, (x.shape[-1],))
        bias = self.param("bias", nn.initializers.zeros, (x.shape[-1],))
        return layer_norm(x, scale, bias)


def _product_of_heads(equation: str, lhs: jax.Array, rhs: jax.Array) -> jax.Array:
    """The product of each row and head, summed in float32."""
    return jnp.einsum(equation, lhs, rhs, preferred_element_type=jnp.float32)


@jax.custom_vjp
def attention(query: jax.Array, key: jax.Array, value: jax.Array, mask: jax.Array | None) -> jax.Array:
    """softmax(q·kᵀ/√D)·v of every head, softmax and sums in float32: three times [B, L, H, D] → [B, L, H, D].

    `mask` is boolean, broadcastable to [B, H, L, L], True where attention is allowed; every token must see one.

    The backward pass finds queries, keys, values and probabilities kept, each once. JAX's own rule keeps probabilities
    twice, and copies of the others in several layouts.
    """
    return _attention_forward(query, key, value, mask)[0]


def _attention_forward(query, key, value, mask):
    query, key, value = (stored(x.swapaxes(1, 2)) for x in (query, key, value))  # [B, H, L, D], as products read them
    scores = _product_of_heads("bhqd,bhkd->bhqk", query, key) * query.shape[-1] ** -0.5
    if mask is not None:
        scores = jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
    probabilities = stored(jax.nn.softmax(scores).astype(value.dtype))
    y = _product_of_heads("bhqk,bhkd->bhqd", probabilities, value).astype(value.dtype)
    return y.swapaxes(1, 2), (query, key, value, probabilities)


def _attention_backward(kept, gradient):
    query, key, value, probabilities = kept
    gradient = stored(gradient.swapaxes(1, 2))
    of_value = _product_of_heads("bhqk,bhqd->bhkd", probabilities, gradient)
    of_probabilities = _product_of_heads("bhqd,bhkd->bhqk", gradient, value)
    mean = (of_probabilities * probabilities).sum(-1, keepdims=True)
    of_scores = probabilities * (of_probabilities - mean) * query.shape[-1] ** -0.5
    of_scores = stored(of_scores.astype(query.dtype))
    of_query = _product_of_heads("bhqk,bhkd->bhqd", of_scores, key)
    of_key = _product_of_heads("bhqk,bhqd->bhkd", of_scores, query)
    return *(x.astype(value.dtype).swapaxes(1, 2) for x in (of_query, of_key, of_value)), None


attention.defvjp(_attention_forward, _attention_backward)


class Attention(nn.Module):
    """Multi-head self-attention with one fused query-key-value projection."""

    heads: int
    layers: int

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None, read: Read | None = None) -> jax.Array:
        """[B, L, W] → [B, L, W]; with `read` its tokens alone, [N, W]."""
        B, L, W = x.shape
        qkv = Linear(3 * W, stddev=W**-0.5, name="in_proj")(x)
        q, k, v = jnp.split(qkv.reshape(B, L, 3 * self.heads, W // self.heads), 3, axis=2)
        y = attention(q, k, v, mask).reshape(B, L, W)
        y = y if read is None else read(y)
        return Linear(W, stddev=W**-0.5 * (2 * self.layers) ** -0.5, name="out_proj")(y)


class MLP(nn.Module):
    """Two linear layers with the activation between them."""

    hidden: int
    layers: int
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        W = x.shape[-1]
        y = ACTIVATION_FUNCTIONS[self.activation](Linear(self.hidden, stddev=(2 * W) ** -0.5, name="c_fc")(x))
        return Linear(W, stddev=W**-0.5 * (2 * self.layers) ** -0.5, name="c_proj")(y)


class ResidualAttentionBlock(nn.Module):
    """x + attn(ln_1(x)), then x + mlp(ln_2(x)). `layers` is the depth of the tower, for the initial scale.

    With `read` the result is that of its tokens alone, and only they pass the output projection and the MLP.
    """

    heads: int
    layers: int
    mlp_ratio: float
    activation: str

    @nn.compact
    def __call__(self, x: jax.Array, mask: jax.Array | None, read: Read | None = None) -> jax.Array:
        attended = Attention(self.heads, self.layers, name="attn")(LayerNorm(name="ln_1")(x), mask, read)
        x = (x if read is None else read(x)) + attended
        hidden = int(x.shape[-1] * self.mlp_ratio)
        return x + MLP(hidden, self.layers, self.activation, name="mlp")(LayerNorm(name="ln_2")(x))


class Transformer(nn.Module):
    """`layers` blocks, whose products are in the type of the input.

    `remat` says what of each block the backward pass recomputes, see `rematerialise`.
    """

    layers: int
    heads: int
    mlp_ratio: float
    activation: str
    remat: str = "none"

    @nn.compact
    def __call__(
        self, x: jax.Array, mask: jax.Array | None = None, *, read: Read | None = None, all_layers: bool = False
    ) -> jax.Array:
        """[B, L, W] → [B, L, W]; `mask` is boolean, broadcastable to [B, H, L, L], True where attention is allowed.

        With `read` → [N, W]: the tokens that it picks. The last block computes no others beyond its attention.
        With `all_layers` → [layers + 1, N, W]: those of the input and of each layer's output.
        """
        names = [f"resblocks_{layer}" for layer in range(self.layers)]
        settings = (self.heads, self.layers, self.mlp_ratio, self.activation)
        if self.is_initializing():
            for name in names:
                x = ResidualAttentionBlock(*settings, name=name)(x, mask)
            return x if read is None else read(x)

        block = ResidualAttentionBlock(*settings, parent=None)

        def run(layer: str, x: jax.Array, read: Read | None = None) -> jax.Array:
            apply = rematerialise(lambda params, x: block.apply({"params": params}, x, mask, read), self.remat)
            return apply(self.variables["params"][layer], x)

        states = [x]
        for name in names[:-1]:
            states.append(run(name, states[-1]))
        if all_layers:
            return jnp.stack([read(x) for x in (*states, run(names[-1], states[-1]))])
        return run(names[-1], states[-1], read)
