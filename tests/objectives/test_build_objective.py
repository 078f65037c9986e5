"""Objectives by name: the registry, its errors, and what every objective promises."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxclip.objectives import BUILDERS, Objective, build


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


@pytest.mark.parametrize("name", BUILDERS)
def test_every_objective_keeps_the_contract(name):
    """Its name, its roles and nothing else; float32 scalars; the same under `jax.jit`; finite gradients."""
    objective = build(name)
    assert isinstance(objective, Objective) and objective.name == name and objective.roles
    generator = np.random.default_rng(0)
    shape = (4, 8)
    embeddings = {role: jnp.float32(generator.standard_normal(shape)) for role in ("image", *objective.roles)}
    params = objective.init(8)
    loss, parts = objective(embeddings, jnp.float32(10))
    jitted, jitted_parts = jax.jit(objective)(embeddings, jnp.float32(10), params)
    assert loss.shape == () and loss.dtype == jnp.float32 and np.isfinite(loss)
    assert parts and all(part.shape == () for part in parts.values())
    assert jitted == pytest.approx(float(loss), rel=1e-5) and jitted_parts.keys() == parts.keys()
    gradients = jax.jit(jax.grad(lambda *arguments: objective(*arguments)[0], argnums=(0, 1)))(
        embeddings, jnp.float32(10), params
    )
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_objectives_are_constants():
    with pytest.raises(dataclasses.FrozenInstanceError):
        build("clip").name = "other"
