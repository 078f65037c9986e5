"""Value and gradients of every objective on 1 device and on 8; run by test_sharded_objectives.py.

    python sharded_objectives.py OUTPUT_DIR

Needs 8 devices. Writes 1.npz and 8.npz: `CASE/loss`, and `CASE/NAME` for each gradient.
"""

import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from objective_cases import CASES, SCALE, build_case, needed_roles, value_and_gradients
from reference_losses import random_embeddings

BATCH, WIDTH = 16, 6


def evaluate(inputs):
    """case → its loss and gradients, by name."""
    results = {}
    for case in CASES:
        (loss, _), (gradients, scale, params) = value_and_gradients(build_case(case))(*inputs[case])
        results |= {
            f"{case}/{name}": value for name, value in {"loss": loss, **gradients, "scale": scale, **params}.items()
        }
    return results


def make_inputs(case, mesh: Mesh):
    """Embeddings with their rows split along the mesh, scale and parameters."""
    objective = build_case(case)
    rows, whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())
    embeddings = jax.tree.map(np.float32, random_embeddings(needed_roles(objective), BATCH, WIDTH))
    embeddings = jax.device_put(embeddings, rows)
    assert all(values.addressable_shards[0].data.shape[0] == BATCH / mesh.size for values in embeddings.values())
    return embeddings, *jax.device_put((np.float32(SCALE), objective.init(WIDTH)), whole)


def main() -> None:
    jax.config.update("jax_disable_most_optimizations", True)
    for devices in (1, 8):
        mesh = Mesh(np.array(jax.devices()[:devices]), ("data",), axis_types=(AxisType.Auto,))
        # One program for all cases: most of the time is that of compiling.
        results = jax.jit(evaluate)({case: make_inputs(case, mesh) for case in CASES})
        np.savez(Path(sys.argv[1]) / f"{devices}.npz", **results)


if __name__ == "__main__":
    main()
