"""NegBench's loss against float64 NumPy, values by hand, choices and errors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import assert_matches_reference
from reference_losses import random_embeddings, symmetric_cross_entropy, unit

from jaxclip.objectives import build

CHOICES = ("caption", "negation", "hard_negative", "false_absence")


def reference(inputs, choice_weight=0.01, choices=CHOICES):
    unit_inputs = {role: unit(values) for role, values in inputs.items() if role != "scale"}
    losses = []
    for row, x in enumerate(unit_inputs["image"]):
        shares = np.exp([inputs["scale"] * x @ unit_inputs[role][row] for role in choices])
        losses.append(-np.log(shares[0] / shares.sum()))
    contrastive = symmetric_cross_entropy(unit_inputs["image"], unit_inputs["caption"], inputs["scale"])
    parts = {"contrastive": contrastive, "multiple_choice": np.mean(losses)}
    return (1 - choice_weight) * contrastive + choice_weight * np.mean(losses), parts


@pytest.mark.parametrize(
    "settings", [{}, {"choices": ("absence", "false_absence", "negation"), "choice_weight": 0.3}], ids=str
)
def test_value_parts_and_gradients(settings):
    assert_matches_reference(build("negbench", **settings), lambda inputs: reference(inputs, **settings))


def test_weights_zero_and_one_leave_one_part():
    embeddings = {role: jnp.float32(values) for role, values in random_embeddings(("image", *CHOICES)).items()}
    for weight, part in ((0.0, "contrastive"), (1.0, "multiple_choice")):
        loss, parts = jax.jit(build("negbench", choice_weight=weight))(embeddings, 5.0)
        assert loss == parts[part] != 0


def test_identical_embeddings_give_the_logarithm_of_the_candidates():
    embeddings = {role: jnp.ones((3, 6)) for role in ("image", *CHOICES)}
    loss, parts = jax.jit(build("negbench"))(embeddings, 10.0)
    assert parts["multiple_choice"] == pytest.approx(np.log(4), rel=1e-5)
    assert loss == pytest.approx(0.99 * np.log(3) + 0.01 * np.log(4), rel=1e-5)


def test_roles_are_the_caption_and_the_choices():
    assert build("negbench").roles == CHOICES
    choices = ["minimal_absence", "minimal_false_absence"]
    assert build("negbench", choices=choices).roles == ("caption", *choices)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"choice_weight": 1.5}, "negbench: choice_weight must be between 0 and 1, found 1.5"),
        ({"choices": ("caption",)}, "two or more different text roles, found .'caption',."),
        ({"choices": ("caption", "negation", "caption")}, "two or more different text roles"),
        ({"choices": "caption"}, "two or more different text roles, found 'caption'"),
    ],
)
def test_settings_out_of_range_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build("negbench", **settings)
