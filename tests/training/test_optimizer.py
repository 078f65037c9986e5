"""Schedule and optimiser against formulas in NumPy float64."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxclip.config import OptimizerSettings
from jaxclip.training.optimizer import build_optimizer, decay_mask, learning_rate_factor, learning_rate_schedule
from jaxclip.training.step import init_state
from jaxclip.training.trainable import TrainableError

PEAK = 0.1


@pytest.fixture
def params():
    generator = np.random.default_rng(0)
    shapes = {"text/text_projection": (4, 3), "text/ln_final/scale": (4,), "logit_scale": ()}
    return {path: jnp.float32(generator.standard_normal(shape)) for path, shape in shapes.items()}


def gradients_like(params, steps, size=1.0):
    generator = np.random.default_rng(1)
    return [
        {path: jnp.float32(size * generator.standard_normal(leaf.shape)) for path, leaf in params.items()}
        for _ in range(steps)
    ]


def run(settings, params, gradients):
    """The parameters after these gradients, under a learning rate that changes every step."""
    optimizer = build_optimizer(settings, lambda step: PEAK / (1 + step))
    state = optimizer.init(params)
    for gradient in gradients:
        updates, state = optimizer.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
    return params


def adamw_reference(
    params, gradients, *, b1=0.9, b2=0.999, eps=1e-8, weight_decay=0.0, decayed=(), clip_norm=None, nesterov=False
):
    """Loshchilov & Hutter 2019, algorithm 2, with the decay multiplied by the learning rate as in PyTorch.

    `nesterov` looks one step ahead with the first moment (Dozat 2016, algorithm 8 with a constant momentum).
    """
    params = {path: np.float64(leaf) for path, leaf in params.items()}
    first = {path: np.zeros_like(leaf) for path, leaf in params.items()}
    second = {path: np.zeros_like(leaf) for path, leaf in params.items()}
    for step, gradient in enumerate(gradients, start=1):
        gradient = {path: np.float64(leaf) for path, leaf in gradient.items()}
        norm = np.sqrt(sum(np.sum(leaf**2) for leaf in gradient.values()))
        factor = 1.0 if clip_norm is None or norm < clip_norm else clip_norm / norm
        for path in params:
            g = factor * gradient[path]
            first[path] = b1 * first[path] + (1 - b1) * g
            second[path] = b2 * second[path] + (1 - b2) * g**2
            momentum = first[path] / (1 - b1**step)
            if nesterov:
                momentum = b1 * first[path] / (1 - b1 ** (step + 1)) + (1 - b1) * g / (1 - b1**step)
            direction = momentum / (np.sqrt(second[path] / (1 - b2**step)) + eps)
            decay = weight_decay * params[path] if path in decayed else 0.0
            params[path] = params[path] - PEAK / step * (direction + decay)
    return params


def assert_close(found, expected):
    for path, leaf in expected.items():
        np.testing.assert_allclose(found[path], leaf, rtol=1e-5, atol=1e-6, err_msg=path)


@pytest.mark.parametrize(("warmup", "total"), [(0, 10), (1, 2), (5, 20), (50, 1000)])
def test_schedule_is_a_line_and_half_a_cosine(warmup, total):
    schedule = learning_rate_schedule(PEAK, warmup, total)
    for step in [0, 1, warmup // 2, warmup, (warmup + total) // 2, total - 1, total, total + 5]:
        if step < warmup:
            expected = PEAK * step / warmup
        else:
            progress = min(1.0, (step - warmup) / (total - warmup))
            expected = PEAK * (1 + np.cos(np.pi * progress)) / 2
        assert schedule(step) == pytest.approx(expected, abs=1e-7), step


def test_a_warm_up_as_long_as_the_run_is_an_error():
    with pytest.raises(ValueError, match="10 updates do not fit in a run of 10"):
        learning_rate_schedule(PEAK, 10, 10)


SETTINGS = {
    "plain": {},
    "paper": {"weight_decay": 0.2, "b2": 0.98, "eps": 1e-6},
    "matrices": {"weight_decay": 0.2, "decay": "matrices"},
    "clipped": {"weight_decay": 0.2, "clip_norm": 1.0},
    "not reached by the clip": {"clip_norm": 1000.0},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("steps", [1, 3])
def test_adamw_agrees_with_the_formula(params, settings, steps):
    gradients = gradients_like(params, steps)
    found = run(OptimizerSettings(learning_rate=PEAK, **settings), params, gradients)
    decayed = ["text/text_projection"] if settings.get("decay") == "matrices" else list(params)
    numbers = {name: value for name, value in settings.items() if name != "decay"}
    assert_close(found, adamw_reference(params, gradients, decayed=decayed, **numbers))


def test_decay_mask(params):
    assert decay_mask(params, "all") == dict.fromkeys(params, True)
    assert decay_mask(params, "matrices") == {
        "text/text_projection": True,
        "text/ln_final/scale": False,
        "logit_scale": False,
    }


@pytest.mark.parametrize("name", ["adamw", "muon"])
def test_frozen_leaves_have_no_optimiser_state(params, name):
    """Two moments a leaf at most, of trained leaves only, and counters."""
    trained = {path: leaf for path, leaf in params.items() if path != "text/ln_final/scale"}
    optimizer = build_optimizer(OptimizerSettings(name=name, learning_rate=PEAK), optax.constant_schedule(PEAK))
    leaves = jax.tree.leaves(init_state(trained, optimizer).optimizer)
    moments = [leaf.shape for leaf in leaves if leaf.dtype == jnp.float32 and leaf.ndim]
    assert (4,) not in moments
    assert moments.count((4, 3)) == (2 if name == "adamw" else 1)


def test_muon_handles_matrices_and_leaves_the_rest_to_adam():
    generator = np.random.default_rng(2)
    shapes = {
        "text/transformer/resblocks_0/mlp/c_fc/kernel": (6, 4),
        "text/token_embedding": (6, 4),
        "text/ln_final/scale": (4,),
    }
    params = {path: jnp.float32(generator.standard_normal(shape)) for path, shape in shapes.items()}
    gradients = gradients_like(params, 1)
    settings = {"learning_rate": PEAK, "b1": 0.8, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.3}
    adam = {"b1": 0.8, "b2": 0.95, "eps": 1e-3, "weight_decay": 0.3, "nesterov": True}
    matrix = "text/transformer/resblocks_0/mlp/c_fc/kernel"
    rest = [path for path in shapes if path != matrix]
    for decay, decayed in (("matrices", []), ("all", rest)):
        found = run(OptimizerSettings(name="muon", decay=decay, **settings), params, gradients)
        expected = adamw_reference(params, gradients, decayed=decayed, **adam)
        assert_close({path: found[path] for path in rest}, {path: expected[path] for path in rest})
        # Muon makes the singular values of the gradient nearly equal; their size is Adam's (0.2 · √(larger side)).
        update = (np.float64(params[matrix]) * (1 - PEAK * 0.3) - np.float64(found[matrix])) / PEAK
        size = np.linalg.svd(update, compute_uv=False) / (0.2 * np.sqrt(6))
        assert np.all((size > 0.6) & (size < 1.3))


def test_accumulated_steps_are_one_update_by_the_mean_gradient(params):
    settings = OptimizerSettings(learning_rate=PEAK, weight_decay=0.2, clip_norm=0.5, accumulate=2)
    gradients = gradients_like(params, 6)
    found = run(settings, params, gradients)
    means = [
        {path: (np.float64(first[path]) + np.float64(second[path])) / 2 for path in params}
        for first, second in zip(gradients[::2], gradients[1::2], strict=True)
    ]
    expected = adamw_reference(params, means, weight_decay=0.2, decayed=params, clip_norm=0.5)
    for path in params:
        np.testing.assert_allclose(found[path], expected[path], rtol=1e-5, atol=1e-6)
    half = run(settings, params, gradients[:3])
    for path, leaf in run(settings, params, gradients[:2]).items():
        np.testing.assert_array_equal(half[path], leaf)  # the third step only adds to the mean


def test_learning_rate_factors_scale_the_updates_of_their_group(params):
    gradients = gradients_like(params, 1)
    settings = {"learning_rate": PEAK, "weight_decay": 0.2}
    plain = run(OptimizerSettings(**settings), params, gradients)
    factors = {"text/ln_final": 0.1, "logit_scale": 0.0}
    scaled = run(OptimizerSettings(**settings, learning_rate_factors=factors), params, gradients)
    for path, factor in (("text/text_projection", 1.0), ("text/ln_final/scale", 0.1), ("logit_scale", 0.0)):
        np.testing.assert_allclose(
            scaled[path] - params[path], factor * (plain[path] - params[path]), rtol=1e-4, atol=1e-7
        )
    with pytest.raises(TrainableError, match="'text/ln_finl' matches no parameter; near: text/ln_final"):
        run(OptimizerSettings(**settings, learning_rate_factors={"text/ln_finl": 2.0}), params, gradients)


def test_layers_are_counted_in_the_whole_tower_and_not_among_the_trained_ones():
    """Three front layers of six are trained; the two in the middle are the third and the fourth."""
    trained = {f"text/transformer/resblocks_{layer}/ln_1/scale": np.ones(4, np.float32) for layer in range(3)}
    found = learning_rate_factor(trained, {"middle_text_layers(2)": 3.0}, text_layers=6)
    assert list(found.values()) == [1.0, 1.0, 3.0]
    with pytest.raises(TrainableError, match="'back_text_layers.* matches no parameter"):
        learning_rate_factor(trained, {"back_text_layers(3)": 3.0}, text_layers=6)
