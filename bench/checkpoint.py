"""What saving a checkpoint costs the training loop: stall and bytes, with the frozen image tower of ViT-B/32.

    python -m bench.checkpoint

The run trains the text tower; a checkpoint holds the trained parameters, the optimiser's two moments and counters,
compressed. The stall is the time that `Checkpoints.save` keeps the loop, beside the time of the step of
`bench.training_step`. The files are written while training goes on: how long the next step takes meanwhile is a figure
of its own, and counts in the share of the training time.
"""

import tempfile
import time
from pathlib import Path

import jax
from absl import app, flags

from bench import measure
from bench.our_step import FIGURES, make_inputs, our_batch, our_training
from jaxclip import console
from jaxclip.pretrained import random_model
from jaxclip.training.checkpointing import Checkpoints

BATCH_SIZE = 64  # the default of bench.training_step
ROUNDS = flags.DEFINE_integer("rounds", 5, "How many saves; two steps run before each, one after.")
EVERY = flags.DEFINE_integer("every", 100, "Steps between saves, for the share of the training time.")


def main(arguments: list[str]) -> None:
    """Steps and saves in turn."""
    del arguments
    console.quiet_libraries()  # as in a run
    figure = FIGURES["semclip"]
    clip = random_model("ViT-B/32", 0)
    batch = our_batch(figure, clip, make_inputs(figure, BATCH_SIZE))
    step, state, frozen = our_training(figure, clip)
    trained_bytes = sum(leaf.nbytes for leaf in jax.tree.leaves(state))
    steps, stalls, next_steps, sizes = [], [], [], []

    def timed_step() -> float:
        nonlocal state
        start = time.perf_counter()
        state, metrics = step(state, frozen, batch)
        jax.block_until_ready(metrics)
        return time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        checkpoints = Checkpoints(Path(folder), "none")
        for number in range(ROUNDS.value + 1):
            timed_step()  # does not count: the state lay idle while the rest of the files was written
            steps.append(timed_step())
            start = time.perf_counter()
            checkpoints.save(number + 1, state, {}, None)
            stalls.append(time.perf_counter() - start)
            next_steps.append(timed_step())
            checkpoints.wait()
            newest = Path(folder) / str(number + 1)
            sizes.append(sum(file.stat().st_size for file in newest.rglob("*") if file.is_file()))
        checkpoints.close()
    step_seconds, stall_seconds, next_seconds = (
        measure.describe_times(seconds[1:]) for seconds in (steps, stalls, next_steps)
    )
    measure.keep(
        "checkpoint",
        {
            "goal": 0.05,
            "seconds": {"step": step_seconds, "stall": stall_seconds, "next_step": next_seconds},
            "stall_by_step": stall_seconds["median"] / step_seconds["median"],
            "every": EVERY.value,
            "share_of_time": (stall_seconds["median"] + next_seconds["median"] - step_seconds["median"])
            / (EVERY.value * step_seconds["median"]),
            "bytes_by_trained_state": max(sizes) / trained_bytes,
        },
    )


if __name__ == "__main__":
    app.run(main)
