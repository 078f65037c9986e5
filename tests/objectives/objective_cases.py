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

SCALE = 1 / 0.07

CASES = {name: (name, {}) for name in BUILDERS} | {
    "semclip, learnable": ("semclip", {"learnable": True}),
    "conclip, distractors": ("conclip", {"distractors": True}),
    "negclip, hard images": ("negclip", {"hard_images": True}),
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


def assert_matches_reference(objective, reference, embeddings=None):
    """Loss, parts and gradients, in float32 and in float64, against a NumPy function: inputs → (loss, parts).

    Its inputs are the embeddings by role and `scale`. Also in chunks: 3 of 4 rows, then the one that is left.
    """
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
