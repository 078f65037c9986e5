"""CoN-CLIP's loss, with and without distractor images, against float64 NumPy and values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import assert_matches_reference
from reference_losses import cross_entropy, unit

from jaxclip.objectives import build


def reference(inputs):
    x, t, negation = (unit(inputs[role]) for role in ("image", "caption", "negation"))
    image_to_text = cross_entropy(inputs["scale"] * x @ np.concatenate([t, negation]).T)
    text_to_image = cross_entropy(inputs["scale"] * t @ x.T)
    return (image_to_text + text_to_image) / 2, {"image_to_text": image_to_text, "text_to_image": text_to_image}


def reference_with_distractors(inputs):
    x, t, negation = (unit(inputs[role]) for role in ("image", "caption", "negation"))
    distractor = unit(inputs["distractor_image"])
    parts = {
        "image_to_text": cross_entropy(inputs["scale"] * x @ np.concatenate([t, negation]).T),
        "text_to_image": cross_entropy(inputs["scale"] * t @ np.concatenate([x, distractor]).T),
        "distractor_to_text": cross_entropy(inputs["scale"] * distractor @ np.concatenate([negation, t]).T),
    }
    return sum(parts.values()) / 3, parts


def test_value_parts_and_gradients():
    assert_matches_reference(build("conclip"), reference)


def test_value_parts_and_gradients_with_distractors():
    assert_matches_reference(build("conclip", distractors=True), reference_with_distractors)


def test_identical_embeddings_give_the_logarithm_of_the_candidates():
    same = jnp.ones((4, 6))
    embeddings = {"image": same, "caption": same, "negation": same, "distractor_image": same}
    assert jax.jit(build("conclip"))(embeddings, 10.0)[0] == pytest.approx((np.log(8) + np.log(4)) / 2, rel=1e-5)
    assert jax.jit(build("conclip", distractors=True))(embeddings, 10.0)[0] == pytest.approx(np.log(8), rel=1e-5)


def test_what_it_needs():
    assert build("conclip").images == ("image",)
    with_distractors = build("conclip", distractors=True)
    assert with_distractors.images == ("image", "distractor_image")
    embeddings = {role: jnp.ones((2, 4)) for role in ("image", "caption", "negation")}
    with pytest.raises(ValueError, match=r"objective 'conclip' needs the role\(s\) \['distractor_image'\]"):
        with_distractors(embeddings, 1.0)
