"""The joint objective against float64 NumPy and values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import assert_matches_reference, needed_roles
from reference_losses import cross_entropy, random_embeddings, unit

from jaxclip.objectives import build

TEXTS = (
    "caption", "paraphrase", "absence", "negation", "false_absence", "minimal_absence", "minimal_false_absence",
)  # fmt: skip


def reference(inputs, retrieval=1.0, choice=1.0, agreement=1.0):
    s = inputs["scale"]
    u = {role: unit(values) for role, values in inputs.items() if role != "scale"}
    x = u["image"]
    to_text, to_image = [], []
    for role in ("caption", "paraphrase", "absence"):
        candidates = np.concatenate([u[role], u["negation"], u["false_absence"]])
        to_text.append(cross_entropy(s * x @ candidates.T))
        to_image.append(cross_entropy(s * u[role] @ x.T))
    choices = []
    for true, false in (
        ("caption", "negation"),
        ("paraphrase", "negation"),
        ("absence", "false_absence"),
        ("minimal_absence", "minimal_false_absence"),
    )[: 4 if choice else 0]:
        margins = [s * (image @ good - image @ bad) for image, good, bad in zip(x, u[true], u[false], strict=True)]
        choices.append(np.mean([np.log1p(np.exp(-margin)) for margin in margins]))
    texts = [
        cross_entropy(s * u[query] @ np.concatenate([u[key], u["negation"]]).T)
        for query, key in (("caption", "paraphrase"), ("paraphrase", "caption"))
    ]
    parts = {"retrieval": np.mean(to_text + to_image)}
    parts |= {"choice": np.mean(choices)} if choice else {}
    parts |= {"agreement": np.mean(texts)} if agreement else {}
    weights = {"retrieval": retrieval, "choice": choice, "agreement": agreement}
    return sum(weights[name] * value for name, value in parts.items()) / sum(weights.values()), parts


@pytest.mark.parametrize(
    "weights", [{}, {"retrieval": 2.0, "choice": 0.5, "agreement": 0.1}, {"agreement": 0.0}, {"choice": 0.0}], ids=str
)
def test_value_parts_and_gradients(weights):
    assert_matches_reference(build("triplet", **weights), lambda inputs: reference(inputs, **weights))


def test_identical_embeddings_give_the_logarithms_of_the_candidates():
    embeddings = {role: jnp.ones((4, 6)) for role in ("image", *TEXTS)}
    _, parts = jax.jit(build("triplet"))(embeddings, 10.0)
    assert parts["retrieval"] == pytest.approx((np.log(12) + np.log(4)) / 2, rel=1e-5)
    assert parts["choice"] == pytest.approx(np.log(2), rel=1e-5)
    assert parts["agreement"] == pytest.approx(np.log(8), rel=1e-5)


def test_it_needs_only_the_texts_of_its_terms():
    assert set(needed_roles(build("triplet"))) == {"image", *TEXTS}
    assert set(build("triplet", retrieval=0, agreement=0, pairs=(("caption", "negation"),)).roles) == {
        "caption", "negation",
    }  # fmt: skip
    assert set(build("triplet", choice=0, agreement=0, positives=("caption",), negatives=()).roles) == {"caption"}


def test_without_negatives_and_choices_it_is_clip():
    embeddings = {role: jnp.float32(values) for role, values in random_embeddings(("image", "caption")).items()}
    plain = build("triplet", choice=0, agreement=0, positives=("caption",), negatives=())
    assert plain(embeddings, 7.0)[0] == pytest.approx(float(build("clip")(embeddings, 7.0)[0]), rel=1e-6)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"choice": -1.0}, "triplet: weights must be >= 0"),
        ({"retrieval": 0, "choice": 0, "agreement": 0}, "not all 0"),
        ({"retreival": 1}, "did you mean 'retrieval'"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build("triplet", **settings)
