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
IMAGES = ("image", "distractor_image")


def two_way(s, query, true, false):
    return np.mean([np.log1p(np.exp(s * (q @ n - q @ p))) for q, p, n in zip(query, true, false, strict=True)])


def reference(inputs, retrieval=1.0, choice=1.0, agreement=1.0, negatives=()):
    s = inputs["scale"]
    u = {role: unit(values) for role, values in inputs.items() if role != "scale"}
    parts, weights = {}, {"retrieval": retrieval, "choice": choice, "agreement": agreement}
    if retrieval:
        terms = []
        for image, text in zip(["image"] * 3 + ["distractor_image"], ["caption", "paraphrase", "absence", "negation"]):
            candidates = np.concatenate([u[text], *(u[role] for role in negatives)])
            terms += [cross_entropy(s * u[image] @ candidates.T), cross_entropy(s * u[text] @ u[image].T)]
        parts["retrieval"] = np.mean(terms)
    if choice:
        x, other = u["image"], u["distractor_image"]
        parts["choice"] = np.mean(
            [
                two_way(s, x, u["caption"], u["negation"]),
                two_way(s, x, u["paraphrase"], u["negation"]),
                two_way(s, x, u["absence"], u["false_absence"]),
                two_way(s, x, u["minimal_absence"], u["minimal_false_absence"]),
                two_way(s, other, u["negation"], u["caption"]),
                two_way(s, other, u["negation"], u["paraphrase"]),
                two_way(s, u["caption"], x, other),
                two_way(s, u["negation"], other, x),
            ]
        )
    if agreement:
        t, paraphrase, negation = u["caption"], u["paraphrase"], u["negation"]
        parts["agreement"] = (two_way(s, t, paraphrase, negation) + two_way(s, paraphrase, t, negation)) / 2
    return sum(weights[name] * value for name, value in parts.items()) / sum(weights.values()), parts


@pytest.mark.parametrize(
    "settings",
    [{}, {"retrieval": 2.0, "choice": 0.5, "agreement": 0.1}, {"agreement": 0.0, "negatives": ("negation",)}],
    ids=str,
)
def test_value_parts_and_gradients(settings):
    assert_matches_reference(build("triplet", **settings), lambda inputs: reference(inputs, **settings))


def test_identical_embeddings_give_the_logarithms_of_the_candidates():
    embeddings = {role: jnp.ones((4, 6)) for role in (*IMAGES, *TEXTS)}
    _, parts = jax.jit(build("triplet", negatives=("negation", "false_absence")))(embeddings, 10.0)
    assert parts["retrieval"] == pytest.approx((np.log(12) + np.log(4)) / 2, rel=1e-5)
    assert parts["choice"] == parts["agreement"] == pytest.approx(np.log(2), rel=1e-5)


def test_it_needs_only_what_its_terms_use():
    assert set(needed_roles(build("triplet"))) == {*IMAGES, *TEXTS}
    plain = build("triplet", retrieval=0, agreement=0, choices=(("image", "caption", "negation"),))
    assert (plain.images, set(plain.roles)) == (("image",), {"caption", "negation"})
    assert build("triplet", choice=0, agreement=0, matches=(("image", "caption"),)).roles == ("caption",)


def test_matches_alone_are_clip():
    embeddings = {role: jnp.float32(values) for role, values in random_embeddings(("image", "caption")).items()}
    plain = build("triplet", choice=0, agreement=0, matches=(("image", "caption"),))
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
