"""SemCLIP's loss against float64 NumPy: values and gradients under every switch, degenerate batches, errors."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_losses import central_differences, cosine, random_embeddings, symmetric_cross_entropy, unit

from jaxclip.objectives import build
from jaxclip.objectives.semclip import random_orthonormal

ROLES = ("image", "caption", "paraphrase", "negation")
BATCH, WIDTH = 4, 6
SCALE = 1 / 0.07


def reference(inputs, alpha=1.0, beta=1.0, gamma=1.0, n=2, normalize=True, seed=0, **_):
    """The loss of methods' definition; `projection` may be among the inputs."""
    default = np.eye(WIDTH) if n is None else np.float64(random_orthonormal(WIDTH, n, seed))
    V = inputs.get("projection", default)
    x, t = inputs["image"], inputs["caption"]
    contrastive = symmetric_cross_entropy(*((unit(x), unit(t)) if normalize else (x, t)), inputs["scale"])
    paraphrase = np.mean(1 - cosine(t @ V, inputs["paraphrase"] @ V))
    negation = np.mean(np.maximum(0, cosine(t @ V, inputs["negation"] @ V)))
    return (alpha * contrastive + beta * paraphrase + gamma * negation) / (alpha + beta + gamma)


def random_inputs(seed=0):
    embeddings = random_embeddings(ROLES, BATCH, WIDTH, seed)
    return {**embeddings, "scale": np.array(SCALE)}


def loss(inputs, chunk=None, **switches):
    """The objective as a function of one dict: embeddings, `scale` and perhaps `projection`."""
    inputs = dict(inputs)
    scale = inputs.pop("scale")
    params = {"projection": inputs.pop("projection")} if "projection" in inputs else None
    return dataclasses.replace(build("semclip", **switches), chunk=chunk)(inputs, scale, params)[0]


@functools.cache
def compiled(**switches):
    return jax.jit(jax.value_and_grad(lambda inputs: loss(inputs, **switches)))


def value_and_gradients(inputs, **switches):
    return compiled(**switches)(inputs)


SWITCHES = {
    "semclip": {},
    "baseline": {"beta": 0.0, "gamma": 0.0},
    "paraphrase only": {"gamma": 0.0},
    "negation only": {"beta": 0.0},
    "no contrastive term": {"alpha": 0.0},
    "unequal weights": {"alpha": 0.5, "beta": 2.0, "gamma": 3.0},
    "n = 4": {"n": 4},
    "n = D": {"n": WIDTH},
    "no projection": {"n": None},
    "another projection": {"seed": 5},
    "not normalised": {"normalize": False},
    "learnable": {"learnable": True},
    "learnable, n = 3": {"learnable": True, "n": 3},
}


@pytest.mark.parametrize(
    ("x64", "tolerance", "chunk"),
    [(False, 2e-5, None), (True, 1e-7, None), (False, 2e-5, 3)],
    ids=["float32", "float64", "float32, 3 rows at a time"],
)
@pytest.mark.parametrize("switches", SWITCHES.values(), ids=SWITCHES)
def test_value_and_gradients(switches, x64, tolerance, chunk):
    inputs = random_inputs()
    if switches.get("learnable"):
        inputs["projection"] = np.float64(random_orthonormal(WIDTH, switches.get("n", 2), 0))
    with jax.enable_x64(x64):
        value, gradients = value_and_gradients(jax.tree.map(jnp.asarray, inputs), chunk=chunk, **switches)
    assert value == pytest.approx(reference(inputs, **switches), rel=tolerance)
    largest = max(np.abs(values).max() for values in gradients.values())
    expected = central_differences(lambda inputs: reference(inputs, **switches), inputs)
    for name, derivatives in expected.items():
        np.testing.assert_allclose(gradients[name], derivatives, rtol=0, atol=tolerance * largest, err_msg=name)


def test_negations_already_opposite_get_no_gradient():
    """max(0, ·): the term is 0 where the cosine is negative."""
    inputs = random_inputs()
    inputs["negation"] = -inputs["caption"]
    value, gradients = value_and_gradients(jax.tree.map(jnp.float32, inputs), alpha=0.0, beta=0.0)
    assert value == 0 and not any(np.any(values) for values in gradients.values())


def test_terms_of_roles_with_weight_zero_are_left_out():
    embeddings = {role: values for role, values in random_inputs().items() if role in ("image", "caption")}
    _, parts = build("semclip", beta=0.0, gamma=0.0)(embeddings, SCALE)
    assert set(parts) == {"contrastive"}
    assert build("semclip").roles == ("caption", "paraphrase", "negation")
    assert build("semclip", beta=0.0).roles == ("caption", "negation")
    assert build("semclip", gamma=0.0).roles == ("caption", "paraphrase")


def test_parts_add_up():
    inputs = random_inputs()
    scale = inputs.pop("scale")
    value, parts = build("semclip", alpha=1.0, beta=2.0, gamma=3.0)(inputs, scale)
    total = parts["contrastive"] + 2 * parts["paraphrase"] + 3 * parts["negation"]
    assert value == pytest.approx(float(total) / 6, rel=1e-6)


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("n", [2, None])
def test_degenerate_batches_give_no_nan(n, normalize):
    same, zeros, one = (random_inputs(seed) for seed in range(3))
    for role in ROLES:
        same[role] = np.ones_like(same[role])
        zeros[role][:2] = 0
        one[role] = one[role][:1]
    one["negation"] = one["caption"]
    one["paraphrase"] = one["caption"]
    for inputs in (same, zeros, one):
        value, gradients = value_and_gradients(jax.tree.map(jnp.float32, inputs), n=n, normalize=normalize)
        assert np.isfinite(value) and all(np.isfinite(values).all() for values in gradients.values())
    expected = (np.log(BATCH) + 0 + 1) / 3  # identical texts: uniform softmax, cosine 1
    assert loss(jax.tree.map(jnp.float32, same), n=n) == pytest.approx(expected, rel=1e-5)


def test_a_text_whose_projection_is_zero_gives_no_nan():
    inputs = random_inputs()
    V = random_orthonormal(WIDTH, 2, 0)
    inputs["caption"] -= inputs["caption"] @ V @ V.T
    value, gradients = value_and_gradients(jax.tree.map(jnp.float32, inputs))
    assert np.isfinite(value) and all(np.isfinite(values).all() for values in gradients.values())


def test_order_of_records_does_not_matter():
    inputs = jax.tree.map(jnp.float32, random_inputs())
    order = np.array([2, 0, 3, 1])
    permuted = {name: values[order] if values.ndim else values for name, values in inputs.items()}
    assert loss(permuted) == pytest.approx(float(loss(inputs)), rel=1e-5)


def test_normalising_before_projecting_changes_nothing():
    inputs = random_inputs()
    scaled = {**inputs, "paraphrase": 7 * inputs["paraphrase"], "negation": unit(inputs["negation"])}
    assert loss(scaled) == pytest.approx(float(loss(inputs)), rel=1e-6)


@pytest.mark.parametrize(("width", "columns"), [(512, 2), (16, 4), (8, 8)])
def test_projection_has_orthonormal_columns_and_depends_on_the_seed_only(width, columns):
    V = random_orthonormal(width, columns, 0)
    assert V.shape == (width, columns) and V.dtype == np.float32
    np.testing.assert_allclose(np.float64(V).T @ V, np.eye(columns), atol=1e-6)
    random_orthonormal.cache_clear()
    np.testing.assert_array_equal(random_orthonormal(width, columns, 0), V)
    assert np.abs(random_orthonormal(width, columns, 1) - V).max() > 0.01


def test_projection_is_uniformly_distributed():
    """Each column's direction is uniform: means 0 and mean squares 1 / D, the first rows included (no sign bias)."""
    draws = np.array([random_orthonormal.__wrapped__(4, 2, seed) for seed in range(2000)])
    np.testing.assert_allclose(draws.mean(axis=0), 0, atol=4 * 0.5 / 2000**0.5)
    np.testing.assert_allclose((draws**2).mean(axis=0), 0.25, atol=0.03)


def test_only_a_learnable_projection_is_a_parameter():
    assert build("semclip").init(8) == {}
    params = build("semclip", learnable=True, n=3, seed=4).init(8)
    assert set(params) == {"projection"}
    np.testing.assert_array_equal(params["projection"], random_orthonormal(8, 3, 4))


def test_errors():
    with pytest.raises(ValueError, match="n must be at least 2 .*found 1"):
        build("semclip", n=1)
    with pytest.raises(ValueError, match="n must be at least 2"):
        build("semclip", n=0)
    with pytest.raises(ValueError, match="weights must be >= 0 and not all 0, found 1.0, -1.0, 1.0"):
        build("semclip", beta=-1.0)
    with pytest.raises(ValueError, match="not all 0"):
        build("semclip", alpha=0.0, beta=0.0, gamma=0.0)
    with pytest.raises(ValueError, match="learnable=True needs a projection"):
        build("semclip", learnable=True, n=None)
    with pytest.raises(ValueError, match="n = 9 projected dimensions of an embedding that has 6"):
        build("semclip", n=9)({role: jnp.ones((2, 6)) for role in ROLES}, SCALE)
