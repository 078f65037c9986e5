"""Blocks against the NumPy reference; rematerialisation and what is kept for gradients against plain ones."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference_clip
from jax.extend.core import jaxprs_in_params
from model_inputs import assert_close_leaf_by_leaf

from jaxclip.compiled_programs import compiler_options
from jaxclip.model.transformer import (
    ACTIVATION_FUNCTIONS,
    LAYER_NORM_EPSILON,
    LayerNorm,
    Linear,
    ResidualAttentionBlock,
    Transformer,
    attention,
    layer_norm,
    linear,
)
from jaxclip.training.trainable import merge

LAYERS, HEADS, RATIO = 3, 4, 4.0
CAUSAL = np.tril(np.ones((6, 6), bool))


@pytest.fixture(scope="module")
def blocks(tiny_params):
    """The text tower's blocks, flat."""
    return reference_clip.subtree(tiny_params, "text/transformer/")


@pytest.fixture(scope="module")
def rows():
    return np.random.default_rng(2).standard_normal((2, 6, 32)).astype(np.float32)


def apply(blocks, rows, activation="quick_gelu", mask=CAUSAL, **settings):
    transformer = Transformer(LAYERS, HEADS, RATIO, activation, **settings)
    return jax.jit(transformer.apply)({"params": merge(blocks)}, rows, mask)


def block_by_block(params, rows, activation="quick_gelu"):
    """The same blocks, one after another."""
    block = ResidualAttentionBlock(HEADS, LAYERS, RATIO, activation)
    for layer in range(LAYERS):
        rows = block.apply({"params": params[f"resblocks_{layer}"]}, rows, CAUSAL)
    return rows


def value_and_gradients(function, blocks, rows, shape=None):
    """A scalar that weighs every output differently, and its gradients to parameters and input."""
    weights = np.random.default_rng(3).standard_normal(shape or rows.shape).astype(np.float32)
    return jax.jit(jax.value_and_grad(lambda params, x: jnp.sum(weights * function(params, x)), (0, 1)))(
        merge(blocks), jnp.asarray(rows)
    )


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_agrees_with_the_reference(blocks, rows, activation):
    params = reference_clip.as_float64(blocks)
    expected = [reference_clip.transformer(row, params, LAYERS, HEADS, activation, causal=True) for row in rows]
    np.testing.assert_allclose(apply(blocks, rows, activation), expected, rtol=1e-5, atol=1e-5)


def test_activations_differ(blocks, rows):
    assert np.abs(apply(blocks, rows, "quick_gelu") - apply(blocks, rows, "gelu")).max() > 1e-3


def test_without_mask_every_position_sees_all(blocks, rows):
    found = apply(blocks, rows, "gelu", mask=None)
    params = reference_clip.as_float64(blocks)
    expected = [reference_clip.transformer(row, params, LAYERS, HEADS, "gelu", causal=False) for row in rows]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def plain_gradients(blocks, rows):
    return value_and_gradients(block_by_block, blocks, rows)


@pytest.mark.parametrize("remat", ["none", "full", "dots"])
def test_remat_changes_neither_values_nor_gradients(blocks, rows, plain_gradients, remat):
    transformer = Transformer(LAYERS, HEADS, RATIO, "quick_gelu", remat)
    found = value_and_gradients(lambda params, x: transformer.apply({"params": params}, x, CAUSAL), blocks, rows)
    expected = plain_gradients
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    assert_close_leaf_by_leaf(found[1][0], expected[1][0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[1][1], expected[1][1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("remat", ["none", "full"])
def test_what_is_read_is_the_same_and_has_the_same_gradients(blocks, rows, remat):
    """The last block leaves out what nobody reads; here two tokens of the first row and one of the second are read."""
    transformer = Transformer(LAYERS, HEADS, RATIO, "quick_gelu", remat)
    places = np.array([0, 0, 1]), np.array([5, 2, 3])
    expected = value_and_gradients(lambda params, x: block_by_block(params, x)[places], blocks, rows, shape=(3, 32))

    def function(params, x):
        return transformer.apply({"params": params}, x, CAUSAL, read=lambda y: y[places])

    found = value_and_gradients(function, blocks, rows, shape=(3, 32))
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-5)
    assert_close_leaf_by_leaf(found[1][0], expected[1][0], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[1][1], expected[1][1], rtol=1e-4, atol=1e-4)


def test_the_last_block_multiplies_only_what_is_read(blocks, rows):
    """Of 2 rows of 6 tokens one token is read: the last of three MLPs has one row."""
    transformer = Transformer(LAYERS, HEADS, RATIO, "quick_gelu")

    def hidden_shapes(read):
        lowered = jax.jit(lambda x: transformer.apply({"params": merge(blocks)}, x, CAUSAL, read=read)).lower(rows)
        shapes = re.findall(r"stablehlo.dot_general .*-> tensor<(\S+)xf32>", lowered.as_text())
        return sorted(shape for shape in shapes if shape.endswith("x128"))

    assert hidden_shapes(None) == ["2x6x128"] * 3
    assert hidden_shapes(lambda y: y[:1, 0]) == ["1x128", "2x6x128", "2x6x128"]


def test_each_policy_keeps_less(blocks, rows):
    """`full` keeps the input of each block, `dots` also what its four products with weights give."""

    def kept(remat):
        transformer = Transformer(LAYERS, HEADS, RATIO, "quick_gelu", remat=remat)
        _, backward = jax.vjp(lambda params, x: transformer.apply({"params": params}, x, CAUSAL), merge(blocks), rows)
        return sum(leaf.size for leaf in jax.tree.leaves(backward) if leaf.ndim > 2)  # parameters have one or two axes

    sizes = {remat: kept(remat) for remat in ("none", "dots", "full")}
    assert sizes["full"] < sizes["dots"] < sizes["none"]
    width, tokens = rows.shape[-1], rows.shape[0] * rows.shape[1]
    # Outputs of in_proj (3), out_proj (1), c_fc (4) and c_proj (1, which nothing in the backward pass needs).
    assert sizes["dots"] - sizes["full"] == LAYERS * tokens * width * (3 + 1 + 4)


def test_initialisation_gives_each_layer_its_own_leaves_with_openai_scales():
    transformer = Transformer(layers=3, heads=4, mlp_ratio=4.0, activation="gelu")
    params = jax.jit(transformer.init)(jax.random.key(0), jnp.zeros((1, 2, 256)))["params"]
    assert sorted(params) == ["resblocks_0", "resblocks_1", "resblocks_2"]
    for block in params.values():
        assert block["attn"]["in_proj"]["kernel"].shape == (256, 768)
        deviations = {
            ("attn", "in_proj"): 256**-0.5,
            ("attn", "out_proj"): 256**-0.5 * 6**-0.5,
            ("mlp", "c_fc"): 512**-0.5,
            ("mlp", "c_proj"): 256**-0.5 * 6**-0.5,
        }
        for (module, layer), deviation in deviations.items():
            assert np.std(block[module][layer]["kernel"]) == pytest.approx(deviation, rel=0.02)
            assert not np.any(block[module][layer]["bias"])
    first, second = params["resblocks_0"], params["resblocks_1"]
    assert not np.array_equal(first["mlp"]["c_fc"]["kernel"], second["mlp"]["c_fc"]["kernel"])


def test_bfloat16_is_close_and_keeps_float32_parameters_and_gradients(blocks, rows):
    exact = apply(blocks, rows)
    rounded = apply(blocks, rows.astype(jnp.bfloat16))
    assert rounded.dtype == jnp.bfloat16
    # bf16 has 8 bits of mantissa: a relative error of 2^-8 a rounding, some 20 roundings on the residual path.
    assert np.linalg.norm(rounded.astype(np.float32) - exact) < 0.03 * np.linalg.norm(exact)
    loss = jax.jit(lambda params: apply(params, rows.astype(jnp.bfloat16)).sum())
    gradients = jax.eval_shape(jax.grad(loss), blocks)
    assert {leaf.dtype for leaf in gradients.values()} == {jnp.dtype("float32")}


def test_bfloat16_products_are_summed_in_float32():
    """256 + 1 + … + 1 is 256 in bf16 arithmetic; summed in float32 it is exact."""
    layer = Linear(1, stddev=1.0)
    row = jnp.asarray([[256.0] + [1.0] * 256], jnp.bfloat16)
    params = {"kernel": jnp.ones((257, 1)), "bias": jnp.zeros(1)}
    assert layer.apply({"params": params}, row).item() == 512


def test_layer_norm_works_in_float32_on_bfloat16_input():
    row = np.asarray([[1000.0, 1004.0, 1008.0, 996.0]], jnp.bfloat16)  # bf16 holds these exactly, but not their squares
    params = {"scale": np.ones(4), "bias": np.zeros(4)}
    found = LayerNorm().apply({"params": jax.tree.map(jnp.float32, params)}, row)
    assert found.dtype == jnp.bfloat16
    expected = reference_clip.layer_norm(np.asarray(row, np.float64), params)
    np.testing.assert_allclose(np.asarray(found, np.float64), expected, atol=0.01)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_linear_layers_and_their_gradients_are_those_of_float64(dtype):
    generator = np.random.default_rng(0)
    shapes = {"x": (3, 5, 7), "kernel": (7, 4), "bias": (4,), "gradient": (3, 5, 4)}
    x, kernel, bias, gradient = (jnp.asarray(generator.standard_normal(shape), dtype) for shape in shapes.values())
    kernel, bias = kernel.astype(jnp.float32), bias.astype(jnp.float32)  # parameters always are
    found, pull_back = jax.vjp(linear, x, kernel, bias)
    exact = [np.asarray(array, np.float64) for array in (x, kernel, bias, gradient)]
    expected = {
        "y": exact[0] @ exact[1] + exact[2],
        "x": exact[3] @ exact[1].T,
        "kernel": np.einsum("bli,blo->io", exact[0], exact[3]),
        "bias": exact[3].sum((0, 1)),
    }
    types = {"y": dtype, "x": dtype, "kernel": "float32", "bias": "float32"}
    for (name, theirs), ours in zip(expected.items(), (found, *pull_back(gradient)), strict=True):
        assert ours.dtype == types[name], name
        np.testing.assert_allclose(
            np.asarray(ours, np.float64), theirs, rtol=2 * jnp.finfo(types[name]).eps, atol=1e-5, err_msg=name
        )


def attention_inputs(dtype):
    """Queries, keys, values, the gradient of the result, [2, 5, 3, 8]; a causal mask, with a gap."""
    generator = np.random.default_rng(5)
    arrays = [np.asarray(generator.standard_normal((2, 5, 3, 8)), dtype) for _ in range(4)]
    mask = np.tril(np.ones((2, 1, 5, 5), bool))
    mask[1, :, 4, :2] = False
    return *arrays, mask


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_and_its_gradients_are_those_of_float64(dtype, masked):
    """The published formula (Vaswani et al. 2017, equation 1) and its derivative, head by head."""
    *arrays, mask = attention_inputs(dtype)
    mask = mask if masked else None
    found, pull_back = jax.vjp(jax.jit(attention), *arrays[:3], mask)
    wide = [array.astype(np.float64) for array in arrays]
    expected = [np.empty_like(wide[0]) for _ in range(4)]
    for row, head in np.ndindex(2, 3):
        q, k, v, gradient = (array[row, :, head] for array in wide)
        scores = q @ k.T / np.sqrt(8)
        if masked:
            scores = np.where(mask[row, 0], scores, -np.inf)
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        of_weights = gradient @ v.T
        of_scores = weights * (of_weights - (weights * of_weights).sum(-1, keepdims=True)) / np.sqrt(8)
        for array, value in zip(
            expected, (weights @ v, of_scores @ k, of_scores.T @ q, weights.T @ gradient), strict=True
        ):
            array[row, :, head] = value
    tolerance = 1e-5 if dtype == "float32" else 2e-2
    for ours, theirs in zip((found, *pull_back(arrays[3])[:3]), expected, strict=True):
        assert ours.dtype == dtype
        np.testing.assert_allclose(np.asarray(ours, np.float64), theirs, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_keeps_probabilities_once_and_multiplies_in_the_type_of_its_input(dtype):
    *arrays, mask = attention_inputs(dtype)
    kept = jax.tree.leaves(jax.vjp(attention, *arrays[:3], mask)[1])
    assert sorted(leaf.shape for leaf in kept) == [(2, 3, 5, 5)] + 3 * [(2, 3, 5, 8)]
    gradients = jax.make_jaxpr(lambda *inputs: jax.vjp(attention, *inputs, mask)[1](inputs[0]))(*arrays[:3])
    dots = [equation for equation in equations(gradients.jaxpr) if equation.primitive.name == "dot_general"]
    assert len(dots) == 6
    assert {operand.aval.dtype for dot in dots for operand in dot.invars} == {jnp.dtype(dtype)}
    assert {dot.outvars[0].aval.dtype for dot in dots} == {jnp.dtype("float32")}


def equations(jaxpr):
    """All of a program, those of functions that it calls included."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in jaxprs_in_params(equation.params):
            yield from equations(inner)


def test_bfloat16_gradients_are_made_of_bfloat16_products():
    layer, x = Linear(4, stddev=1.0), jnp.ones((3, 5), jnp.bfloat16)
    params = {"kernel": jnp.ones((5, 4)), "bias": jnp.zeros(4)}
    gradients = jax.make_jaxpr(jax.grad(lambda params, x: layer.apply({"params": params}, x).sum(), (0, 1)))(params, x)
    dots = [equation for equation in equations(gradients.jaxpr) if equation.primitive.name == "dot_general"]
    assert len(dots) == 4  # the kernel's gradient is written down for CPUs and for others
    assert {operand.aval.dtype for dot in dots for operand in dot.invars} == {jnp.dtype("bfloat16")}
    assert {dot.outvars[0].aval.dtype for dot in dots} == {jnp.dtype("float32")}


def kernel_gradient(dtype):
    """What gives it for 7 rows of 5 tokens, lowered for a platform."""
    x, kernel, gradient = jnp.ones((7, 5, 24), dtype), jnp.ones((24, 40)), jnp.ones((7, 5, 40), dtype)
    pullback = jax.jit(lambda kernel: jax.vjp(lambda kernel: linear(x, kernel, jnp.zeros(40)), kernel)[1](gradient))
    return lambda platform: pullback.trace(kernel).lower(lowering_platforms=(platform,))


def test_gradients_of_kernels_need_no_transposed_copies():
    """Of three axes, the first two summed over, XLA's CPU compiler would write one operand out transposed."""
    dots = [line for line in kernel_gradient("float32")("cpu").compile().as_text().splitlines() if " dot(" in line]
    assert len(dots) == 1 and "lhs_contracting_dims={0}" in dots[0], dots


@pytest.mark.parametrize(("dtype", "platform"), [("float32", "tpu"), ("bfloat16", "tpu"), ("bfloat16", "cpu")])
def test_rows_stay_rows_where_flat_ones_are_slower(dtype, platform):
    """A TPU would have to move them, and CPUs multiply bfloat16 fast in another order of axes only."""
    assert "contracting_dims = [0, 1] x [0, 1]" in kernel_gradient(dtype)(platform).as_text()


def test_only_cpus_get_barriers_about_products():
    heads = 3 * [jnp.ones((2, 3, 4, 5))]
    for function, inputs in ((linear, (jnp.ones((2, 3)), jnp.ones((3, 4)), jnp.ones(4))), (attention, (*heads, None))):
        traced = jax.jit(function).trace(*inputs)
        barriers = {
            platform: "optimization_barrier" in traced.lower(lowering_platforms=(platform,)).as_text()
            for platform in ("cpu", "tpu", "cuda")
        }
        assert barriers == {"cpu": True, "tpu": False, "cuda": False}


def compiled(layers, gradients, count=2):
    """The program of so many layers, or of its gradients, for `count` rows."""
    transformer = Transformer(layers, HEADS, RATIO, "gelu")
    rows = jax.ShapeDtypeStruct((count, 6, 32), jnp.float32)
    shapes = jax.eval_shape(transformer.init, jax.random.key(0), rows)

    def function(params, x):
        return jnp.sin(transformer.apply(params, x, CAUSAL)).sum()

    options = compiler_options(jax.make_mesh((1,), ("data",)))
    program = jax.jit(jax.value_and_grad(function) if gradients else function, compiler_options=options)
    return program.lower(shapes, rows).compile()


@pytest.mark.parametrize("gradients", [False, True])
def test_no_loop_computes_the_residual_stream_of_several_blocks_again(gradients):
    """What a loop reads does not grow with the depth."""
    most = {}
    for layers in (4, 8):
        loops = [line for line in compiled(layers, gradients).as_text().splitlines() if " fusion(" in line]
        most[layers] = max(line.count("%") for line in loops)
    assert most[8] == most[4]


def test_operands_of_products_are_computed_once(monkeypatch):
    """Without barriers the activation is computed for each of the products that read it."""

    def multiplications():
        """Of the MLPs' hidden values: 2 rows of 6 tokens, 128 wide."""
        text = compiled(4, gradients=True).as_text()
        return len(re.findall(r"= f32\[(?:2,6|12),128\]\S* multiply\(", text))

    once = multiplications()
    monkeypatch.setattr("jaxclip.model.transformer.stored", lambda x: x)
    assert 0 < once < 0.7 * multiplications()


def test_the_compiler_does_not_keep_what_is_to_be_computed_again(monkeypatch):
    """Without barriers it finds in the forward pass what the backward pass computes, and keeps it."""
    needed = compiled(4, gradients=True, count=64).memory_analysis().temp_size_in_bytes
    monkeypatch.setattr("jax.lax.optimization_barrier", lambda x: x)
    assert needed < 0.95 * compiled(4, gradients=True, count=64).memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("activation", ["quick_gelu", "gelu"])
def test_normalisation_and_activation_keep_their_inputs_alone(activation):
    x, scale, bias = jnp.ones((2, 6, 32)), jnp.ones(32), jnp.ones(32)
    for function, inputs in ((ACTIVATION_FUNCTIONS[activation], (x,)), (layer_norm, (x, scale, bias))):
        kept = jax.tree.leaves(jax.vjp(function, *inputs)[1])
        assert sorted(leaf.shape for leaf in kept) == sorted(value.shape for value in inputs)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradients_of_normalisation(dtype):
    """The published formula (Ba et al. 2016) in float64."""
    generator = np.random.default_rng(8)
    x, gradient = (np.asarray(generator.standard_normal((3, 5, 32)), dtype) for _ in range(2))
    scale, bias = generator.standard_normal((2, 32)).astype(np.float32)
    found = jax.jit(lambda *inputs: jax.vjp(layer_norm, *inputs[:3])[1](inputs[3]))(x, scale, bias, gradient)
    wide, pulled = x.astype(np.float64), gradient.astype(np.float64)
    deviation = np.sqrt(wide.var(-1, keepdims=True) + LAYER_NORM_EPSILON)
    normal = (wide - wide.mean(-1, keepdims=True)) / deviation
    scaled = pulled * scale
    of_x = scaled - scaled.mean(-1, keepdims=True) - normal * (scaled * normal).mean(-1, keepdims=True)
    expected = of_x / deviation, (pulled * normal).sum((0, 1)), pulled.sum((0, 1))
    tolerances = (1e-5 if dtype == "float32" else 2e-2, 1e-5, 1e-5)
    for value, other, tolerance in zip(found, expected, tolerances, strict=True):
        np.testing.assert_allclose(np.asarray(value, np.float64), other, rtol=tolerance, atol=tolerance)
