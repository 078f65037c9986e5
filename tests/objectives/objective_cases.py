"""Every registered objective under the settings that change what it needs, and how tests call one.

Used by a subprocess as well.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference_losses import central_differences, random_embeddings

from jaxclip.objectives import BUILDERS, Objective, build
from jaxclip.objectives.triplet import CHOICES, DISTRACTOR_CHOICES, DISTRACTOR_MATCHES, MATCHES

SCALE = 1 / 0.07

CASES = {name: (name, {}) for name in BUILDERS} | {
    "semclip, learnable": ("semclip", {"learnable": True}),
    "conclip, distractors": ("conclip", {"distractors": True}),
    "negclip, hard images": ("negclip", {"hard_images": True}),
    "semclip, released": ("semclip", {"normalize": False}),
    "semclip, no projection": ("semclip", {"n": None}),
    "triplet, distractors": (
        "triplet",
        {"matches": MATCHES + DISTRACTOR_MATCHES, "negatives": (), "choices": CHOICES + DISTRACTOR_CHOICES},
    ),
}


def build_case(case) -> Objective:
    name, settings = CASES[case]
    return build(name, **settings)


def needed_roles(objective):
    return (*objective.images, *objective.roles)


def value_and_gradients(objective):
    """Jitted: embeddings, scale, params → ((loss, parts), gradients of all three)."""

    def loss_and_parts(embeddings, scale, params):
        return objective(embeddings, scale, params)

    return jax.jit(jax.value_and_grad(loss_and_parts, argnums=(0, 1, 2), has_aux=True))


def degenerate_batches(embeddings):
    """(batch, whether the loss can be differentiated there): equal captions, a single record, a row of zeros."""
    caption = next(iter(embeddings[role] for role in embeddings if "image" not in role))
    yield (
        {role: rows if "image" in role else np.tile(caption[:1], (len(rows), 1)) for role, rows in embeddings.items()},
        True,
    )
    yield {role: rows[:1] for role, rows in embeddings.items()}, True
    yield {role: rows * np.array([[0.0], [1.0], [1.0], [1.0]]) for role, rows in embeddings.items()}, False


def assert_degenerate_batches_match(objective, reference):
    """Loss in float64, and gradients where there are any, on `degenerate_batches`."""
    for embeddings, differentiable in degenerate_batches(random_embeddings(needed_roles(objective))):
        inputs = {**embeddings, "scale": np.array(SCALE)}
        with jax.enable_x64(True):
            arrays = jax.tree.map(jnp.asarray, embeddings)
            (loss, _), (gradients, scale_gradient, _) = value_and_gradients(objective)(arrays, SCALE, {})
        assert loss == pytest.approx(reference(inputs)[0], rel=1e-9, abs=1e-12)
        if differentiable:
            expected = central_differences(lambda inputs: reference(inputs)[0], inputs)
            largest = max(1e-3, *(np.abs(values).max() for values in expected.values()))
            for name, gradient in {**gradients, "scale": scale_gradient}.items():
                np.testing.assert_allclose(gradient, expected[name], rtol=0, atol=1e-6 * largest, err_msg=name)


def assert_matches_reference(objective, reference, embeddings=None):
    """Loss, parts and gradients, in float32 and in float64, against a NumPy function: inputs → (loss, parts).

    Its inputs are the embeddings by role and `scale`. Also in chunks: 3 of 4 rows, then the one that is left.
    """
    assert_degenerate_batches_match(objective, reference)
    embeddings = embeddings or random_embeddings(needed_roles(objective))
    inputs = {**embeddings, "scale": np.array(SCALE)}
    expected_loss, expected_parts = reference(inputs)
    expected_gradients = central_differences(lambda inputs: reference(inputs)[0], inputs)
    largest = max(np.abs(values).max() for values in expected_gradients.values())
    for x64, tolerance, chunk in ((False, 2e-5, None), (True, 1e-7, None), (False, 2e-5, 3), (True, 1e-7, 3)):
        computed = dataclasses.replace(objective, chunk=chunk)
        with jax.enable_x64(x64):
            arrays = jax.tree.map(jnp.asarray, embeddings)
            (loss, parts), (gradients, scale_gradient, _) = value_and_gradients(computed)(arrays, SCALE, {})
        assert loss == pytest.approx(expected_loss, rel=tolerance)
        assert parts.keys() == expected_parts.keys()
        for name, part in expected_parts.items():
            assert parts[name] == pytest.approx(part, rel=tolerance), name
        for name, gradient in {**gradients, "scale": scale_gradient}.items():
            expected = expected_gradients[name]
            np.testing.assert_allclose(gradient, expected, rtol=0, atol=tolerance * largest, err_msg=name)
