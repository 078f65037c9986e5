"""The program of a step: what it keeps for the backward pass depends on the policy, on CPUs as well."""

import functools

import jax
import numpy as np
import pytest
import tiny_runs
from sharded_run import one_device, random_params

from jaxclip.data.tokenizer import train_tokenizer
from jaxclip.model import ModelConfig, TextConfig, VisionConfig
from jaxclip.training.program import jit_step
from jaxclip.training.sharding import shard_batch, shard_params, state_sharding

RECORDS = 64
CONFIG = ModelConfig(16, VisionConfig(8, 4, 32, 1, 2), TextConfig(24, 514, 32, layers=8, heads=2))


@pytest.fixture(scope="module")
def programs():
    """Policy → (compiled step, its arguments)."""
    mesh = one_device()
    batch = tiny_runs.make_batch(
        tiny_runs.make_records(RECORDS),
        train_tokenizer([], CONFIG.text.vocabulary_size, CONFIG.text.context_length),
        features=tiny_runs.make_features(CONFIG, RECORDS),
    )
    params, found = random_params(CONFIG), {}
    for remat in ("none", "dots", "full"):
        run = tiny_runs.make_run(CONFIG, params, ("whole_text_layers", "logit_scale"), mesh=mesh, remat=remat)
        layout = state_sharding(mesh, run.state)
        arguments = jax.device_put(run.state, layout), shard_params(mesh, run.frozen), shard_batch(mesh, batch)
        found[remat] = jit_step(run.step, mesh, layout).lower(*arguments).compile(), arguments
    return found


def test_rematerialisation_saves_memory(programs):
    needed = {remat: program.memory_analysis().temp_size_in_bytes for remat, (program, _) in programs.items()}
    assert needed["full"] < 0.8 * needed["dots"] and needed["dots"] < 0.8 * needed["none"]


def test_rematerialisation_changes_no_figure(programs):
    """Programs give away their state: each is run once."""
    figures = {remat: program(*arguments)[1] for remat, (program, arguments) in programs.items()}
    for remat in ("dots", "full"):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5), figures[remat], figures["none"])
