"""Memory of losses over large batches, as the compiler plans it; nothing of that size is computed."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest
from objective_cases import needed_roles, value_and_gradients

from jaxclip.objectives import build

WIDTH, CHUNK = 8, 64


def temporary_bytes(name, batch, chunk):
    """What value and gradients need beside inputs and outputs."""
    objective = dataclasses.replace(build(name), chunk=chunk)
    embeddings = {role: jax.ShapeDtypeStruct((batch, WIDTH), jnp.float32) for role in needed_roles(objective)}
    scale = jax.ShapeDtypeStruct((), jnp.float32)
    return value_and_gradients(objective).lower(embeddings, scale, {}).compile().memory_analysis().temp_size_in_bytes


# Candidates of a row in units of the batch.
@pytest.mark.parametrize(("name", "columns"), [("clip", 1), ("conclip", 2), ("triplet", 3)])
def test_chunked_losses_grow_linearly_with_the_batch(name, columns):
    """From 2,048 to 8,192 records: fourfold, where the plain form grows sixteenfold."""
    small, large = (temporary_bytes(name, batch, CHUNK) for batch in (2048, 8192))
    assert 2 * small < large < 6 * small
    logits = 4 * 8192 * columns * 8192
    assert large < logits / 8
    plain = [temporary_bytes(name, batch, None) for batch in (2048, 8192)]
    assert plain[1] > logits and plain[1] > 12 * plain[0]
