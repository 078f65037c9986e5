"""Objectives by name: the registry, its errors, and what every objective promises."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from objective_cases import CASES, SCALE, build_case, needed_roles, value_and_gradients
from reference_losses import random_embeddings

from jaxclip.objectives import Objective, build

WIDTH = 6


@functools.cache
def compiled(case, chunk=None):
    """Embeddings, scale, params → ((loss, parts), gradients), compiled once for each shape."""
    return value_and_gradients(dataclasses.replace(build_case(case), chunk=chunk))


def random_inputs(objective):
    """float32 [4, WIDTH] for each role."""
    return jax.tree.map(np.float32, random_embeddings(needed_roles(objective), 4, WIDTH))


def test_unknown_names_name_the_near_matches():
    with pytest.raises(ValueError, match="unknown objective 'semclp'; did you mean 'semclip'?"):
        build("semclp")
    with pytest.raises(ValueError, match="unknown objective 'xyz'; known: .*semclip"):
        build("xyz")


def test_unknown_settings_name_the_near_matches():
    with pytest.raises(ValueError, match="objective 'semclip': unknown setting 'gama'; did you mean 'gamma'?"):
        build("semclip", gama=1.0)
    with pytest.raises(ValueError, match="objective 'clip': unknown setting 'weight'; known: none"):
        build("clip", weight=1.0)


def test_missing_roles_are_named():
    embeddings = {"image": jnp.ones((2, 4)), "caption": jnp.ones((2, 4))}
    with pytest.raises(
        ValueError, match=r"'semclip' needs .*\['paraphrase', 'negation'\]; found \['caption', 'image'\]"
    ):
        build("semclip")(embeddings, 1.0)
    with pytest.raises(ValueError, match=r"needs the role\(s\) \['image'\]"):
        build("clip")({"caption": jnp.ones((2, 4))}, 1.0)


@pytest.mark.parametrize("case", CASES)
def test_every_objective_keeps_the_contract(case):
    """Its name, its roles and nothing else; float32 scalars; the same under `jax.jit`; finite gradients."""
    objective = build_case(case)
    assert isinstance(objective, Objective) and objective.name == CASES[case][0] and objective.roles
    assert objective.images[0] == "image"
    embeddings = random_inputs(objective)
    loss, parts = objective(embeddings, jnp.float32(SCALE))
    (jitted, jitted_parts), gradients = compiled(case)(embeddings, SCALE, objective.init(WIDTH))
    assert loss.shape == () and loss.dtype == jnp.float32 and np.isfinite(loss)
    assert parts and all(part.shape == () for part in parts.values())
    assert jitted == pytest.approx(float(loss), rel=1e-5) and jitted_parts.keys() == parts.keys()
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))
    assert all(np.any(gradients[0][role]) for role in needed_roles(objective))


@pytest.mark.parametrize("case", CASES)
def test_order_and_lengths_do_not_matter(case):
    """A permuted batch gives the same loss and permuted gradients; three times as long embeddings the same loss."""
    objective = build_case(case)
    embeddings, params = random_inputs(objective), objective.init(WIDTH)
    order = np.array([2, 0, 3, 1])
    (expected, _), (gradients, *_) = compiled(case)(embeddings, SCALE, params)
    permuted = {role: values[order] for role, values in embeddings.items()}
    (found, _), (permuted_gradients, *_) = compiled(case)(permuted, SCALE, params)
    assert found == pytest.approx(float(expected), rel=1e-5)
    largest = max(np.abs(values).max() for values in gradients.values())
    for role, values in gradients.items():
        np.testing.assert_allclose(permuted_gradients[role], values[order], rtol=0, atol=2e-5 * largest, err_msg=role)
    if case == "semclip, released":
        return  # lengths count
    longer = {role: 3 * values for role, values in embeddings.items()}
    assert compiled(case)(longer, SCALE, params)[0][0] == pytest.approx(float(expected), rel=1e-5)


def degenerate_batches(embeddings):
    """Batches in which texts are the same, records are the same, or embeddings are zero or opposite."""
    ones = {role: np.ones_like(values) for role, values in embeddings.items()}
    yield {role: values if "image" in role else ones[role] for role, values in embeddings.items()}
    yield {role: np.broadcast_to(values[:1], values.shape) for role, values in embeddings.items()}
    yield ones
    yield {role: -values if "image" in role else values for role, values in ones.items()}
    yield {role: values * np.float32([[0], [1], [1], [1]]) for role, values in embeddings.items()}
    yield {role: 0 * values for role, values in embeddings.items()}


@pytest.mark.parametrize("scale", [1.0, 100.0])
@pytest.mark.parametrize("case", CASES)
def test_degenerate_batches_give_no_nan(case, scale):
    """And the same in chunks of 3 rows as whole, to float32 rounding."""
    objective = build_case(case)
    for embeddings in degenerate_batches(random_inputs(objective)):
        (loss, parts), gradients = compiled(case)(embeddings, scale, objective.init(WIDTH))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((loss, parts, gradients)))
        in_chunks = compiled(case, 3)(embeddings, scale, objective.init(WIDTH))
        largest = max(np.abs(leaf).max() for leaf in jax.tree.leaves(gradients))
        jax.tree.map(
            functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6 * max(1, scale, largest)),
            in_chunks,
            ((loss, parts), gradients),
        )
        for role, values in embeddings.items():
            zero_rows = ~np.any(values, axis=-1)
            if case != "semclip, released":  # there a row of zeros is a point like any other
                assert not np.any(np.asarray(gradients[0][role])[zero_rows]), role


@pytest.mark.parametrize("case", CASES)
def test_a_batch_of_one_gives_no_nan(case):
    objective = build_case(case)
    embeddings = {role: values[:1] for role, values in random_inputs(objective).items()}
    for batch in (embeddings, jax.tree.map(np.zeros_like, embeddings)):
        results = compiled(case)(batch, SCALE, objective.init(WIDTH))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(results))


def test_objectives_are_constants():
    with pytest.raises(dataclasses.FrozenInstanceError):
        build("clip").name = "other"
