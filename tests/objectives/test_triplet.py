"""The joint objective against float64 NumPy and values by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import assert_matches_reference, needed_roles
from reference_losses import cross_entropy, random_embeddings, unit

from jaxclip.objectives import build
from jaxclip.objectives.triplet import CHOICES, DISTRACTOR_CHOICES, DISTRACTOR_MATCHES, MATCHES

TEXTS = (
    "caption", "paraphrase", "absence", "negation", "false_absence", "minimal_absence", "minimal_false_absence",
)  # fmt: skip
IMAGES = ("image", "distractor_image")
WITH_DISTRACTORS = {
    "matches": MATCHES + DISTRACTOR_MATCHES,
    "negatives": (),
    "choices": CHOICES + DISTRACTOR_CHOICES,
}


def two_way(s, query, true, false):
    return np.mean([np.log1p(np.exp(s * (q @ n - q @ p))) for q, p, n in zip(query, true, false, strict=True)])


def reference(inputs, retrieval=1.0, choice=1.0, agreement=1.0, distractors=False):
    s = inputs["scale"]
    u = {role: unit(values) for role, values in inputs.items() if role != "scale"}
    parts, weights = {}, {"retrieval": retrieval, "choice": choice, "agreement": agreement}
    x, other = u["image"], u.get("distractor_image")
    if retrieval:
        terms = []
        matches = [(x, u["caption"]), (x, u["paraphrase"]), (x, u["absence"])]
        for image, text in [*matches, (other, u["negation"])] if distractors else matches:
            candidates = [text] if distractors else [text, u["negation"], u["false_absence"]]
            terms += [cross_entropy(s * image @ np.concatenate(candidates).T), cross_entropy(s * text @ image.T)]
        parts["retrieval"] = np.mean(terms)
    if choice:
        choices = [
            (x, u["caption"], u["negation"]),
            (x, u["paraphrase"], u["negation"]),
            (x, u["absence"], u["false_absence"]),
            (x, u["minimal_absence"], u["minimal_false_absence"]),
        ]
        if distractors:
            choices += [
                (other, u["negation"], u["caption"]),
                (other, u["negation"], u["paraphrase"]),
                (u["caption"], x, other),
                (u["negation"], other, x),
            ]
        parts["choice"] = np.mean([two_way(s, *triple) for triple in choices])
    if agreement:
        t, paraphrase, negation = u["caption"], u["paraphrase"], u["negation"]
        parts["agreement"] = (two_way(s, t, paraphrase, negation) + two_way(s, paraphrase, t, negation)) / 2
    return sum(weights[name] * value for name, value in parts.items()) / sum(weights.values()), parts


@pytest.mark.parametrize(
    "settings", [{}, {"retrieval": 2.0, "choice": 0.5, "agreement": 0.1}, {"agreement": 0.0}, {"choice": 0.0}], ids=str
)
def test_value_parts_and_gradients(settings):
    assert_matches_reference(build("triplet", **settings), lambda inputs: reference(inputs, **settings))


def test_value_parts_and_gradients_with_distractor_images():
    objective = build("triplet", **WITH_DISTRACTORS)
    assert_matches_reference(objective, lambda inputs: reference(inputs, distractors=True))


def test_identical_embeddings_give_the_logarithms_of_the_candidates():
    embeddings = {role: jnp.ones((4, 6)) for role in (*IMAGES, *TEXTS)}
    _, parts = jax.jit(build("triplet"))(embeddings, 10.0)
    assert parts["retrieval"] == pytest.approx((np.log(12) + np.log(4)) / 2, rel=1e-5)
    assert parts["choice"] == parts["agreement"] == pytest.approx(np.log(2), rel=1e-5)


def test_it_needs_only_what_its_terms_use():
    assert set(needed_roles(build("triplet"))) == {"image", *TEXTS}
    assert set(needed_roles(build("triplet", **WITH_DISTRACTORS))) == {*IMAGES, *TEXTS}
    plain = build("triplet", retrieval=0, agreement=0, choices=(("image", "caption", "negation"),))
    assert (plain.images, set(plain.roles)) == (("image",), {"caption", "negation"})
    assert build("triplet", choice=0, agreement=0, matches=(("image", "caption"),), negatives=()).roles == ("caption",)


def test_matches_alone_are_clip():
    embeddings = {role: jnp.float32(values) for role, values in random_embeddings(("image", "caption")).items()}
    plain = build("triplet", choice=0, agreement=0, matches=(("image", "caption"),), negatives=())
    assert plain(embeddings, 7.0)[0] == pytest.approx(float(build("clip")(embeddings, 7.0)[0]), rel=1e-6)


def test_shunning_every_negation_costs_more_than_chance():
    """The shortcut of other losses: negated sentences far from all images. Here the distractor image needs its own."""
    x, other = np.random.default_rng(0).standard_normal((2, 1, 8))
    x, other = unit(x), unit(other)
    embeddings = {"image": x, "distractor_image": other, "caption": x, "negation": -(x + other)}
    choices = (("image", "caption", "negation"), ("distractor_image", "negation", "caption"))
    loss, _ = build("triplet", retrieval=0, agreement=0, choices=choices)(
        {role: jnp.float32(values) for role, values in embeddings.items()}, 20.0
    )
    only_caption, _ = build("triplet", retrieval=0, agreement=0, choices=choices[:1])(
        {role: jnp.float32(values) for role, values in embeddings.items()}, 20.0
    )
    assert only_caption < 0.01 and loss > np.log(2)


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


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"matches": ()}, "retrieval has the weight 1 but nothing to compare"),
        ({"choices": ()}, "choice has the weight 1 but nothing to compare"),
        ({"negatives": "negation"}, "negatives: expected a sequence of roles, found 'negation'"),
        ({"retrieval": float("nan")}, "weights must be >= 0"),
        (
            {"matches": (("image", "caption"), ("distractor_image", "negation"))},
            "'negation' is both matched with an image and among the negatives of all images",
        ),
    ],
)
def test_settings_that_make_no_loss_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        build("triplet", **settings)
