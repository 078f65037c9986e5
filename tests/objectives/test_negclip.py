"""NegCLIP's loss, with and without hard images, against float64 NumPy on the whole matrix of logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import assert_matches_reference
from reference_losses import cross_entropy, unit

from jaxclip.objectives import build


def reference(inputs, images=("image",), captions=("caption",), negations=("negation",)):
    """Images stacked, and captions before negations: [B, 2B] logits, or [2B, 4B] with hard images."""
    images, captions, negations = (
        np.concatenate([unit(inputs[role]) for role in roles]) for roles in (images, captions, negations)
    )
    parts = {
        "image_to_text": cross_entropy(inputs["scale"] * images @ np.concatenate([captions, negations]).T),
        "text_to_image": cross_entropy(inputs["scale"] * captions @ images.T),
    }
    return sum(parts.values()) / 2, parts


def reference_with_hard_images(inputs):
    return reference(inputs, ("image", "hard_image"), ("caption", "hard_caption"), ("negation", "hard_negation"))


def test_value_parts_and_gradients():
    assert_matches_reference(build("negclip"), reference)


def test_value_parts_and_gradients_with_hard_images():
    assert_matches_reference(build("negclip", hard_images=True), reference_with_hard_images)


@pytest.mark.parametrize(("hard_images", "texts", "images"), [(False, 8, 4), (True, 16, 8)])
def test_identical_embeddings_give_the_logarithm_of_the_candidates(hard_images, texts, images):
    objective = build("negclip", hard_images=hard_images)
    embeddings = {role: jnp.ones((4, 6)) for role in (*objective.images, *objective.roles)}
    _, parts = jax.jit(objective)(embeddings, 10.0)
    assert parts["image_to_text"] == pytest.approx(np.log(texts), rel=1e-5)
    assert parts["text_to_image"] == pytest.approx(np.log(images), rel=1e-5)


def test_what_it_needs():
    plain, hard = build("negclip"), build("negclip", hard_images=True)
    assert (plain.images, plain.roles) == (("image",), ("caption", "negation"))
    assert hard.images == ("image", "hard_image")
    assert hard.roles == ("caption", "negation", "hard_caption", "hard_negation")
