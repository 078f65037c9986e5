"""The ResNet tower against NumPy in float64, written from the paper's description with explicit sums."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxclip.model import CLIP, VARIANTS, ModelConfig, ResNetConfig, TextConfig, parameter_shapes
from jaxclip.training.trainable import merge

CONFIG = ModelConfig(
    embed_dim=6,
    vision=ResNetConfig(image_size=64, width=4, layers=(1, 2, 1, 1), heads=4),
    text=TextConfig(context_length=8, vocabulary_size=514, width=16, layers=1, heads=2),
)


@pytest.fixture(scope="module")
def params():
    generator = np.random.default_rng(0)
    values = {}
    for path, shape in parameter_shapes(CONFIG).items():
        scale = 0.3 if len(shape) < 2 else (1.4 / np.prod(shape[:-1])) ** 0.5
        values[path] = (scale * generator.standard_normal(shape)).astype(np.float32)
        if path.endswith("/scale"):
            values[path] += 1
        if path.endswith("/var"):
            values[path] = np.abs(values[path]) + np.float32(0.5)
    return values


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(1).standard_normal((2, 64, 64, 3)).astype(np.float32)


def convolve(x, kernel, stride=1):
    """[B, H, W, I] with [K, K, I, O], zeros around, as a sum over the places of the kernel."""
    size = kernel.shape[0]
    padded = np.pad(x, ((0, 0), (size // 2,) * 2, (size // 2,) * 2, (0, 0)))
    rows, columns = ((length + stride - 1) // stride for length in x.shape[1:3])
    y = 0
    for i in range(size):
        for j in range(size):
            window = padded[:, i : i + rows * stride : stride, j : j + columns * stride : stride][:, :rows, :columns]
            y = y + window @ kernel[i, j]
    return y


def pool(x, size):
    batch, rows, columns, channels = x.shape
    return x.reshape(batch, rows // size, size, columns // size, size, channels).mean((2, 4))


def reference(params, images):
    """The published architecture (openai/CLIP): stem, bottlenecks with pooled strides, attention pool."""
    params = {path.removeprefix("visual/"): np.float64(leaf) for path, leaf in params.items()}

    def normalise(x, name):
        scale = params[f"{name}/scale"] / np.sqrt(params[f"{name}/var"] + 1e-5)
        return (x - params[f"{name}/mean"]) * scale + params[f"{name}/bias"]

    def layer(x, convolution, norm, stride=1):
        return normalise(convolve(x, params[f"{convolution}/kernel"], stride), norm)

    x = np.float64(images)
    for index in (1, 2, 3):
        x = np.maximum(layer(x, f"conv{index}", f"bn{index}", 2 if index == 1 else 1), 0)
    x = pool(x, 2)
    for stage, depth in enumerate(CONFIG.vision.layers, start=1):
        for index in range(depth):
            name, stride = f"layer{stage}_{index}", 2 if stage > 1 and index == 0 else 1
            y = np.maximum(layer(x, f"{name}/conv1", f"{name}/bn1"), 0)
            y = pool(np.maximum(layer(y, f"{name}/conv2", f"{name}/bn2"), 0), stride)
            y = layer(y, f"{name}/conv3", f"{name}/bn3")
            if index == 0:
                x = layer(pool(x, stride), f"{name}/downsample_0", f"{name}/downsample_1")
            x = np.maximum(x + y, 0)

    x = x.reshape(len(x), -1, x.shape[-1])
    x = np.concatenate([x.mean(1, keepdims=True), x], 1) + params["attnpool/positional_embedding"]
    q, k, v = (
        x @ params[f"attnpool/{n}/kernel"] + params[f"attnpool/{n}/bias"] for n in ("q_proj", "k_proj", "v_proj")
    )
    width, parts = x.shape[-1] // CONFIG.vision.heads, []
    for head in range(CONFIG.vision.heads):
        place = slice(head * width, (head + 1) * width)
        logits = np.einsum("bc,bnc->bn", q[:, 0, place], k[:, :, place]) / np.sqrt(width)
        weights = np.exp(logits - logits.max(-1, keepdims=True))
        parts.append(np.einsum("bn,bnc->bc", weights / weights.sum(-1, keepdims=True), v[:, :, place]))
    return np.concatenate(parts, -1) @ params["attnpool/c_proj/kernel"] + params["attnpool/c_proj/bias"]


@functools.partial(jax.jit, static_argnames=("dtype", "remat"))
def encode(params, images, **settings):
    return CLIP(CONFIG, **settings).apply({"params": merge(params)}, images, method="encode_image")


def test_agrees_with_the_reference(params, images):
    found, expected = encode(params, images), reference(params, images)
    assert found.shape == (2, 6) and found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5 * np.abs(expected).max())
    assert np.linalg.norm(expected[0] - expected[1]) > 0.1 * np.linalg.norm(expected[0])


def test_bfloat16_is_close(params, images):
    found, expected = encode(params, images, dtype=jnp.bfloat16), reference(params, images)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, atol=0.05 * np.abs(expected).max())


def test_statistics_get_no_gradient_and_everything_else_does(params, images):
    gradients = jax.grad(lambda params: jnp.sum(encode(params, images) ** 2))(params)
    for path, gradient in gradients.items():
        if path.startswith("visual/"):
            assert np.any(gradient) != path.endswith(("/mean", "/var")), path


@pytest.mark.parametrize("policy", ["full", "dots"])
def test_remat_changes_nothing(params, images, policy):
    def loss(remat):
        return jax.value_and_grad(lambda params: jnp.sum(encode(params, images, remat=remat) ** 2))(params)

    (plain, plain_gradients), (recomputed, recomputed_gradients) = loss("none"), loss(policy)
    np.testing.assert_allclose(plain, recomputed, rtol=1e-5)
    for path in params:
        bound = 1e-4 * max(1.0, np.abs(plain_gradients[path]).max())
        np.testing.assert_allclose(plain_gradients[path], recomputed_gradients[path], atol=bound, err_msg=path)


def test_convolutions_are_products_that_dots_keeps(params, images):
    def convolutions(remat):
        gradient = jax.grad(lambda params: jnp.sum(encode(params, images, remat=remat) ** 2))
        return str(jax.make_jaxpr(gradient)(params)).count(" conv_general_dilated[")

    assert convolutions("none") == convolutions("dots") < convolutions("full")


# Parameters without the statistics of batch norm, as torch counts them, of the published models.
@pytest.mark.parametrize(("variant", "count"), [("RN50", 102_007_137), ("RN101", 119_688_033), ("RN50x4", 178_300_601)])
def test_parameter_counts_are_the_published_ones(variant, count):
    shapes = parameter_shapes(VARIANTS[variant])
    assert (
        sum(np.prod(shape, dtype=int) for path, shape in shapes.items() if not path.endswith(("/mean", "/var")))
        == count
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 225}, "image_size 225 is not a multiple of 32"),
        ({"layers": (1, 2, 3)}, "expected the depths of four stages"),
        ({"layers": (1, 2, 3, 0)}, r"layers\[3\] is 0, expected a positive int"),
        ({"heads": 7}, "not divisible by 7 heads"),
        ({"width": 5}, "width 5 is odd"),
    ],
)
def test_impossible_sizes_are_refused(change, message):
    values = CONFIG.as_dict()
    values["vision"] |= change
    with pytest.raises(ValueError, match=message):
        ModelConfig.from_dict(values)
