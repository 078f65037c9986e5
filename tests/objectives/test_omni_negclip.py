"""Omni-NegCLIP's two losses against float64 NumPy, values by hand, and the settings' limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import assert_matches_reference
from reference_losses import cross_entropy, random_embeddings, symmetric_cross_entropy, unit

from jaxclip.objectives import build


def presence_reference(inputs):
    x, t, negation = (unit(inputs[role]) for role in ("image", "caption", "negation"))
    scale = inputs["scale"]
    own_pairs = [np.log(1 + np.exp(scale * x[row] @ (negation[row] - t[row]))) for row in range(len(x))]
    parts = {
        "image_to_text": cross_entropy(scale * x @ np.concatenate([t, negation]).T),
        "text_to_image": cross_entropy(scale * t @ x.T),
        "caption_over_negation": np.mean(own_pairs),
    }
    return sum(parts.values()) / 3, parts


def absence_reference(inputs, caption_weight=1.0, margin_weight=1.0, margin=0.9):
    x, t, absent = (unit(inputs[role]) for role in ("image", "caption", "absence"))
    parts = {
        "absence": symmetric_cross_entropy(x, absent, inputs["scale"]),
        "caption": symmetric_cross_entropy(x, t, inputs["scale"]),
        "margin": np.mean([max(0, t[row] @ absent[row] + margin) for row in range(len(t))]),
    }
    return parts["absence"] + caption_weight * parts["caption"] + margin_weight * parts["margin"], parts


def test_presence_value_parts_and_gradients():
    assert_matches_reference(build("presence"), presence_reference)


@pytest.mark.parametrize("settings", [{}, {"caption_weight": 0.5, "margin_weight": 3.0, "margin": 0.1}], ids=str)
def test_absence_value_parts_and_gradients(settings):
    """One of the four pairs lies beyond the margin, where the hinge is flat."""
    embeddings = random_embeddings(("image", "caption", "absence"))
    embeddings["absence"][2] = -2 * embeddings["caption"][2] + 0.01 * embeddings["image"][2]
    assert_matches_reference(
        build("absence", **settings), lambda inputs: absence_reference(inputs, **settings), embeddings
    )


def test_presence_of_orthonormal_pairs():
    """Logits s at the right place and 0 elsewhere: 2B, B and 2 candidates."""
    axes = jnp.eye(8)
    embeddings = {"image": 3 * axes[:4], "caption": axes[:4], "negation": axes[4:]}
    _, parts = jax.jit(build("presence"))(embeddings, 2.0)
    for name, candidates in {"image_to_text": 8, "text_to_image": 4, "caption_over_negation": 2}.items():
        assert parts[name] == pytest.approx(np.log(np.exp(2) + candidates - 1) - 2, rel=1e-6), name


def test_presence_sees_the_negations_of_other_records():
    """The image of record 0 against the negation of record 1: only the in-batch softmax can tell."""
    axes = jnp.eye(8)
    apart = {"image": axes[:2], "caption": axes[:2], "negation": axes[2:4]}
    near = {**apart, "negation": jnp.stack([axes[2], axes[0]])}
    _, expected = jax.jit(build("presence"))(apart, 5.0)
    _, found = jax.jit(build("presence"))(near, 5.0)
    assert found["image_to_text"] > expected["image_to_text"] + 0.1
    assert found["caption_over_negation"] == pytest.approx(expected["caption_over_negation"])


def test_absence_of_equal_and_of_opposite_texts():
    axes = jnp.eye(4)
    contrastive = np.log(np.exp(2) + 3) - 2
    loss, parts = jax.jit(build("absence"))({"image": axes, "caption": axes, "absence": 7 * axes}, 2.0)
    assert parts["margin"] == pytest.approx(1.9) and loss == pytest.approx(2 * contrastive + 1.9)
    _, parts = jax.jit(build("absence"))({"image": axes, "caption": axes, "absence": -axes}, 2.0)
    assert parts["margin"] == 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"caption_weight": -1.0}, "absence: weights must be >= 0, found -1.0, 1.0"),
        ({"margin_weight": -0.5}, "absence: weights must be >= 0, found 1.0, -0.5"),
        ({"margin": 1.5}, "absence: margin must be between -1 and 1, found 1.5"),
        ({"margin": float("nan")}, "absence: margin must be between -1 and 1, found nan"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build("absence", **settings)
