"""NegationCLIP's loss against float64 NumPy: CLIP's, on absence captions."""

import jax
import jax.numpy as jnp
from objective_cases import assert_matches_reference
from reference_losses import random_embeddings, symmetric_cross_entropy, unit

from jaxclip.objectives import build


def reference(inputs):
    loss = symmetric_cross_entropy(unit(inputs["image"]), unit(inputs["absence"]), inputs["scale"])
    return loss, {"contrastive": loss}


def test_value_parts_and_gradients():
    assert_matches_reference(build("negationclip"), reference)


def test_it_is_clip_on_absence_captions():
    embeddings = {role: jnp.float32(values) for role, values in random_embeddings(("image", "absence")).items()}
    renamed = {"image": embeddings["image"], "caption": embeddings["absence"]}
    assert jax.jit(build("negationclip"))(embeddings, 5.0)[0] == jax.jit(build("clip"))(renamed, 5.0)[0]
    assert build("negationclip").roles == ("absence",)
