"""Value and gradients of every objective on 1 device and on 8; run by test_sharded_objectives.py.

    python sharded_objectives.py OUTPUT_DIR

Needs 8 devices. Writes NAME.npz for each of RUNS: `CASE/loss`, and `CASE/NAME` for each gradient; and NAME.hlo, the
compiled program.
"""

import dataclasses
import functools
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec
from objective_cases import CASES, SCALE, build_case, needed_roles, value_and_gradients
from reference_losses import random_embeddings

BATCH, WIDTH = 16, 6
# Name → devices, whether the objectives know the mesh, rows of logits a device makes at a time.
RUNS = {
    "one": (1, False, None),
    "eight": (8, True, None),
    "eight, one row at a time": (8, True, 1),
    "eight, by the compiler": (8, False, None),
}


def evaluate(inputs, mesh, chunk):
    """case → its loss and gradients, by name."""
    results = {}
    for case in CASES:
        objective = dataclasses.replace(build_case(case), mesh=mesh, chunk=chunk)
        (loss, _), (gradients, scale, params) = value_and_gradients(objective)(*inputs[case])
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
    for name, (devices, knows_mesh, chunk) in RUNS.items():
        mesh = Mesh(np.array(jax.devices()[:devices]), ("data",), axis_types=(AxisType.Auto,))
        inputs = {case: make_inputs(case, mesh) for case in CASES}
        # One program for all cases: most of the time is that of compiling.
        function = functools.partial(evaluate, mesh=mesh if knows_mesh else None, chunk=chunk)
        compiled = jax.jit(function).lower(inputs).compile()
        np.savez(Path(sys.argv[1]) / f"{name}.npz", **compiled(inputs))
        (Path(sys.argv[1]) / f"{name}.hlo").write_text(compiled.as_text(), encoding="utf-8")


if __name__ == "__main__":
    main()
