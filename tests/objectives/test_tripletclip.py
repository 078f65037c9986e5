"""TripletCLIP's loss against float64 NumPy and values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import assert_matches_reference
from reference_losses import cross_entropy, random_embeddings, unit

from jaxclip.objectives import build

ROLES = ("image", "caption", "distractor_image", "negation")


def reference(inputs):
    x, t, distractor_image, negation = (unit(inputs[role]) for role in ROLES)

    def with_negatives(image, text, negative):
        image_to_text = cross_entropy(inputs["scale"] * image @ np.concatenate([text, negative]).T)
        return (image_to_text + cross_entropy(inputs["scale"] * text @ image.T)) / 2

    parts = {"caption": with_negatives(x, t, negation), "negation": with_negatives(distractor_image, negation, t)}
    return sum(parts.values()), parts


def test_value_parts_and_gradients():
    assert_matches_reference(build("tripletclip"), reference)


def test_identical_embeddings_give_the_logarithms_of_the_candidates():
    embeddings = {role: jnp.ones((4, 6)) for role in ROLES}
    assert jax.jit(build("tripletclip"))(embeddings, 10.0)[0] == pytest.approx(np.log(8) + np.log(4), rel=1e-5)


def test_exchanging_the_pairs_exchanges_the_parts():
    embeddings = {role: jnp.float32(values) for role, values in random_embeddings(ROLES).items()}
    exchanged = dict(zip(ROLES, [embeddings[role] for role in (*ROLES[2:], *ROLES[:2])], strict=True))
    loss, parts = jax.jit(build("tripletclip"))(embeddings, 5.0)
    other_loss, other_parts = jax.jit(build("tripletclip"))(exchanged, 5.0)
    assert other_loss == pytest.approx(float(loss), rel=1e-6)
    assert other_parts["caption"] == pytest.approx(float(parts["negation"]), rel=1e-6)


def test_what_it_needs():
    objective = build("tripletclip")
    assert (objective.images, objective.roles) == (("image", "distractor_image"), ("caption", "negation"))
