"""Compiles the step in several forms for 8 devices and writes the programs; run by test_compiled_step.py.

    python compiled_step.py OUTPUT_DIR

Writes NAME.hlo for each of FORMS, and bytes.json: the bytes of the step's arguments on each device, by name.
"""

import json
import sys
from pathlib import Path

import jax
import tiny_runs
from sharded_run import random_params

from jaxclip.config import MeshSettings
from jaxclip.data.tokenizer import train_tokenizer
from jaxclip.model import ModelConfig, TextConfig, VisionConfig
from jaxclip.training.program import jit_step
from jaxclip.training.sharding import make_mesh, shard_batch, shard_params, state_sharding

CONFIG = ModelConfig(16, VisionConfig(8, 4, 32, 1, 2), TextConfig(24, 514, 32, 3, 4))
TRAINABLE = ("front_text_layers(1)", "text/ln_final", "logit_scale")
RECORDS = 80
# Name → what differs from the plain step on 8 data shards.
FORMS = {
    "plain": {},
    "all layers trained": {"trainable": ("whole_text_layers", *TRAINABLE[1:])},
    "sharded": {"over_data": True},
    "sharded both ways": {"over_data": True, "model": 2},
    "microbatches and chunks": {"microbatches": 5, "chunk": 2},
}


def compile_step(*, trainable=TRAINABLE, over_data=False, model=1, microbatches=1, **settings):
    """The compiled step."""
    mesh = make_mesh(MeshSettings(model=model))
    run = tiny_runs.make_run(CONFIG, random_params(CONFIG), trainable, mesh=mesh, over_data=over_data, **settings)
    layout = state_sharding(mesh, run.state, over_data=over_data)
    state, frozen = jax.device_put(run.state, layout), shard_params(mesh, run.frozen, over_data=over_data)
    batch = tiny_runs.make_batch(
        tiny_runs.make_records(RECORDS),
        train_tokenizer([], 514, 24),
        shards=mesh.shape["data"] * microbatches,
        features=tiny_runs.make_features(CONFIG, RECORDS),
    )
    return jit_step(run.step, mesh, layout).lower(state, frozen, shard_batch(mesh, batch)).compile()


def main() -> None:
    jax.config.update("jax_disable_most_optimizations", True)
    output, argument_bytes = Path(sys.argv[1]), {}
    for name, form in FORMS.items():
        compiled = compile_step(**form)
        (output / f"{name}.hlo").write_text(compiled.as_text(), encoding="utf-8")
        argument_bytes[name] = compiled.memory_analysis().argument_size_in_bytes
    (output / "bytes.json").write_text(json.dumps(argument_bytes), encoding="utf-8")


if __name__ == "__main__":
    main()
