"""CLIP's loss against float64 NumPy: values, gradients, degenerate batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_losses import central_differences, random_embeddings, symmetric_cross_entropy, unit

from jaxclip.objectives import build

SCALE = 1 / 0.07


def loss(inputs, chunk=None):
    """The objective as a function of one dict: embeddings and `scale`."""
    inputs = dict(inputs)
    scale = inputs.pop("scale")
    return dataclasses.replace(build("clip"), chunk=chunk)(inputs, scale)[0]


value_and_gradients = jax.jit(jax.value_and_grad(loss), static_argnames="chunk")


def reference(inputs):
    return symmetric_cross_entropy(unit(inputs["image"]), unit(inputs["caption"]), inputs["scale"])


@pytest.mark.parametrize(("x64", "tolerance"), [(False, 2e-5), (True, 1e-7)])
@pytest.mark.parametrize("scale", [1.0, SCALE, 100.0])
@pytest.mark.parametrize("chunk", [None, 1, 3, 4, 9])
def test_value_and_gradients(scale, x64, tolerance, chunk):
    inputs = {**random_embeddings(["image", "caption"]), "scale": np.array(scale)}
    with jax.enable_x64(x64):
        value, gradients = value_and_gradients(jax.tree.map(jnp.asarray, inputs), chunk=chunk)
    assert value == pytest.approx(reference(inputs), rel=tolerance)
    largest = max(np.abs(values).max() for values in gradients.values())
    for name, expected in central_differences(reference, inputs).items():
        np.testing.assert_allclose(gradients[name], expected, rtol=0, atol=tolerance * largest, err_msg=name)


def test_published_toy_values():
    """Orthonormal pairs: each row's softmax is e^s against B - 1 ones."""
    eye = jnp.eye(4)
    expected = np.log(np.exp(2.0) + 3) - 2.0
    assert build("clip")({"image": 5 * eye, "caption": eye}, 2.0)[0] == pytest.approx(expected, rel=1e-6)


def test_identical_captions_give_the_logarithm_of_the_batch():
    same = jnp.ones((8, 4))
    loss_value, gradients = value_and_gradients({"image": same, "caption": same, "scale": jnp.float32(SCALE)})
    assert loss_value == pytest.approx(np.log(8), rel=1e-6)
    assert all(np.isfinite(values).all() for values in gradients.values())


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("zero", ["image", "caption"])
def test_zero_vectors_and_a_batch_of_one_give_no_nan(batch, zero):
    inputs = {**random_embeddings(["image", "caption"], batch), "scale": np.float32(SCALE)}
    inputs[zero][0] = 0
    value, gradients = value_and_gradients(jax.tree.map(jnp.float32, inputs))
    assert np.isfinite(value) and all(np.isfinite(values).all() for values in gradients.values())
    assert not np.any(gradients[zero][0])
    if batch == 1:
        assert value == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("size", [1e-30, 1e-21, 1e-15, 1e15])
def test_very_short_and_very_long_vectors_give_no_nan(size):
    inputs = jax.tree.map(jnp.float32, {**random_embeddings(["image", "caption"]), "scale": np.float32(SCALE)})
    inputs["image"] = inputs["image"] * size
    value, gradients = value_and_gradients(inputs)
    assert np.isfinite(value) and all(np.isfinite(values).all() for values in gradients.values())


def test_order_and_lengths_do_not_matter():
    embeddings = jax.tree.map(jnp.float32, random_embeddings(["image", "caption"], batch=6))
    value = build("clip")(embeddings, SCALE)[0]
    order = np.array([3, 1, 5, 0, 4, 2])
    permuted = {role: 3 * values[order] for role, values in embeddings.items()}
    assert build("clip")(permuted, SCALE)[0] == pytest.approx(float(value), rel=1e-5)
    mismatched = {**embeddings, "caption": embeddings["caption"][order]}
    assert abs(build("clip")(mismatched, SCALE)[0] - value) > 0.1


def test_parts_and_jit():
    embeddings = jax.tree.map(jnp.float32, random_embeddings(["image", "caption"]))
    value, parts = jax.jit(build("clip"))(embeddings, SCALE)
    assert set(parts) == {"contrastive"} and value == parts["contrastive"]
    assert value.dtype == jnp.float32 and value.shape == ()
