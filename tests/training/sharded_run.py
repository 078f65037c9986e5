"""Three steps of one run on 1 device, 8 data shards, and 4 data × 2 model shards; run by test_sharding.py.

    python sharded_run.py OUTPUT_DIR

Needs 8 devices. Writes MESH.npz (losses and parameters) and layouts.json for each mesh, and a checkpoint made on the
4 × 2 mesh.
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
from jaxclip.model import CLIP, ModelConfig, TextConfig, VisionConfig, init_params
from jaxclip.training.checkpointing import Checkpoints
from jaxclip.training.sharding import make_mesh, replicated, shard_batch, shard_params, state_sharding
from jaxclip.training.trainable import flatten, merge

CONFIG = ModelConfig(16, VisionConfig(8, 4, 32, 1, 2), TextConfig(24, 514, 32, 2, 4))
TRAINABLE = ("text", "visual/transformer", "visual/proj", "logit_scale")
RECORDS, STEPS = 16, 3


def random_params():
    """float32 NumPy, the same in every process that asks."""
    generator = np.random.default_rng(0)
    shapes = flatten(jax.eval_shape(functools.partial(init_params, CONFIG), jax.random.key(0)))
    noise = {path: 0.15 * generator.standard_normal(leaf.shape) for path, leaf in shapes.items()}
    return {path: np.float32(values + path.endswith("/scale")) for path, values in noise.items()}


def one_device() -> Mesh:
    return Mesh(np.array(jax.devices()[:1]).reshape(1, 1), ("data", "model"), axis_types=(AxisType.Auto,) * 2)


def train(mesh: Mesh, output: Path, name: str) -> dict:
    """The layout of the state by leaf; losses, parameters and embeddings go to a file."""
    tokenizer = train_tokenizer([], 514, 24)
    run = tiny_runs.make_run(CONFIG, random_params(), TRAINABLE, clip_norm=1.0)
    layout = state_sharding(mesh, run.state)
    state, frozen = jax.device_put(run.state, layout), shard_params(mesh, run.frozen)
    step = jax.jit(run.step, donate_argnums=0, out_shardings=(layout, replicated(mesh)))
    records, images = tiny_runs.make_records(RECORDS), tiny_runs.make_images(CONFIG, RECORDS)
    losses = []
    for number in range(STEPS):
        moved = np.roll(images, number, axis=0)
        batch = tiny_runs.make_batch(records, tokenizer, shards=mesh.shape["data"], images=moved)
        state, metrics = step(state, frozen, shard_batch(mesh, batch))
        losses.append([float(metrics["loss"]), float(metrics["gradient_norm"])])

    encoders = Encoders(CLIP(CONFIG), mesh, batch_size=5)
    texts = [record["caption"] for record in records[:13]]
    params = merge(state.params, frozen)
    embeddings = {
        "embedded_texts": encoders.texts(params, tokenizer, texts),
        "embedded_images": encoders.images(params, lambda number: images[number], 13),
    }
    np.savez(output / f"{name}.npz", losses=losses, **embeddings, **state.params)
    if name == "4x2":
        checkpoints = Checkpoints(output / "checkpoints", "r1")
        checkpoints.save(STEPS, state, {}, None)
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
    layouts = {name: train(mesh, output, name) for name, mesh in meshes.items()}
    (output / "layouts.json").write_text(json.dumps(layouts), encoding="utf-8")


if __name__ == "__main__":
    main()
