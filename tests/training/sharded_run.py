"""Three steps of one run on 1 device, on 8 data shards, and on 4 data × 2 model shards, each also with parameters split
over the data shards; run by test_sharding.py.

    python sharded_run.py OUTPUT_DIR

Needs 8 devices. Writes NAME.npz (losses and parameters) for each run and layouts.json, and a checkpoint of the run
whose parameters are split over both axes of the mesh.
"""

import functools
import json
import sys
from pathlib import Path

import jax
import numpy as np
import tiny_runs
from jax.sharding import AxisType, Mesh

from jaxclip.config import MeshSettings
from jaxclip.data.tokenizer import train_tokenizer
from jaxclip.embedding import Encoders
from jaxclip.evaluator import replicate
from jaxclip.model import CLIP, ModelConfig, TextConfig, VisionConfig, init_params
from jaxclip.training.checkpointing import Checkpoints
from jaxclip.training.program import jit_step
from jaxclip.training.sharding import make_mesh, shard_batch, shard_params, state_sharding
from jaxclip.training.trainable import flatten

CONFIG = ModelConfig(16, VisionConfig(8, 4, 32, 1, 2), TextConfig(24, 514, 32, 2, 4))
TRAINABLE = ("text", "visual/transformer", "visual/proj", "logit_scale")
RECORDS, STEPS = 16, 3


def random_params(config=CONFIG):
    """float32 NumPy, the same in every process that asks."""
    generator = np.random.default_rng(0)
    shapes = flatten(jax.eval_shape(functools.partial(init_params, config), jax.random.key(0)))
    noise = {path: 0.15 * generator.standard_normal(leaf.shape) for path, leaf in shapes.items()}
    return {path: np.float32(values + path.endswith("/scale")) for path, values in noise.items()}


def one_device() -> Mesh:
    return Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def train(mesh: Mesh, output: Path, name: str, over_data: bool) -> dict:
    """The layout of the state by leaf; losses, parameters and embeddings go to a file."""
    tokenizer = train_tokenizer([], 514, 24)
    run = tiny_runs.make_run(CONFIG, random_params(), TRAINABLE, mesh=mesh, over_data=over_data, clip_norm=1.0)
    layout = state_sharding(mesh, run.state, over_data=over_data)
    state, frozen = jax.device_put(run.state, layout), shard_params(mesh, run.frozen, over_data=over_data)
    step = jit_step(run.step, mesh, layout)
    records, images = tiny_runs.make_records(RECORDS), tiny_runs.make_images(CONFIG, RECORDS)
    losses = []
    for number in range(STEPS):
        moved = np.roll(images, number, axis=0)
        batch = tiny_runs.make_batch(records, tokenizer, shards=mesh.shape["data"], images=moved)
        state, metrics = step(state, frozen, shard_batch(mesh, batch))
        losses.append([float(metrics["loss"]), float(metrics["gradient_norm"])])

    encoders = Encoders(CLIP(CONFIG), mesh, batch_size=5)
    texts = [record["caption"] for record in records[:13]]
    params = replicate(mesh, state.params, frozen)
    embeddings = {
        "embedded_texts": encoders.texts(params, tokenizer, texts),
        "embedded_images": encoders.images(params, lambda number: images[number], 13),
    }
    np.savez(output / f"{name}.npz", losses=losses, **embeddings, **state.params)
    if name == "4x2 sharded":
        checkpoints = Checkpoints(output / "checkpoints", "r1")
        checkpoints.save(STEPS, state, {}, None)
        checkpoints.wait()
        restored = checkpoints.restore(STEPS, state, {})
        assert jax.tree.map(lambda leaf: leaf.sharding, restored) == jax.tree.map(lambda leaf: leaf.sharding, state)
        checkpoints.close()
    return layout_of(state, frozen)


def layout_of(state, frozen) -> dict[str, list]:
    """Where a leaf is: name → [its partition, the shape of a shard]; moments as `mu/…` and `nu/…`."""
    leaves = {path: leaf for path, leaf in [*state.params.items(), *frozen.items()]}
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.optimizer):
        keys = [getattr(key, "name", getattr(key, "key", None)) for key in path]
        if "mu" in keys or "nu" in keys:
            leaves["/".join(keys[-2:])] = leaf
    return {name: [list(leaf.sharding.spec), leaf.addressable_shards[0].data.shape] for name, leaf in leaves.items()}


def main() -> None:
    jax.config.update("jax_disable_most_optimizations", True)
    output = Path(sys.argv[1])
    meshes = {"1": one_device(), "8": make_mesh(MeshSettings()), "4x2": make_mesh(MeshSettings(data=4, model=2))}
    layouts = {name: train(mesh, output, name, over_data=False) for name, mesh in meshes.items()}
    for name in ("8", "4x2"):
        layouts[f"{name} sharded"] = train(meshes[name], output, f"{name} sharded", over_data=True)
    (output / "layouts.json").write_text(json.dumps(layouts), encoding="utf-8")


if __name__ == "__main__":
    main()
