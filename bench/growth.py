"""How time and memory grow: step time with the batch and with the layers trained, the loss's memory with the batch.

    python -m bench.growth

ViT-B/32, SemCLIP, float32; the timed steps keep only the inputs of blocks (remat=full), so that 1,024 records fit into
the memory of a laptop. The memory is the compiler's own figure of what value and gradients of the loss need beside
their inputs and outputs, with all logits at once and in chunks; nothing is run for it.
"""

import dataclasses
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
from absl import app, flags

from bench import measure
from bench.our_step import FIGURES, make_inputs, our_batch, our_step
from jaxclip import objectives
from jaxclip.pretrained import Clip, random_model

BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["16", "64", "256", "1024"], "Batches to time.")
LOSS_BATCH_SIZES = flags.DEFINE_list(
    "loss_batch_sizes", ["1024", "2048", "4096", "8192", "16384", "32768"], "Batches whose loss is compiled."
)
ROUNDS = flags.DEFINE_integer("rounds", 2, "Timed steps of each batch; of each number of layers five times as many.")
LAYERS = (1, 3, 6, 9, 12)
CHUNK, EMBED_DIM = 256, 512


def make_step(clip: Clip, batch_size: int, front_layers: int | None = None) -> Callable[[], float]:
    """A training step."""
    figure = dataclasses.replace(FIGURES["semclip"], front_layers=front_layers)
    return our_step(figure, clip, our_batch(figure, clip, make_inputs(figure, batch_size)), remat="full")


def step_seconds(steps: Mapping[int, Callable[[], float]], rounds: int) -> dict[int, float]:
    """The least seconds of each of the steps, taken in turn: those that nothing else on the machine added to."""
    return {name: min(times) for name, times in measure.in_turn(steps, rounds).items()}


def loss_bytes(batch_size: int, chunk: int | None) -> int:
    """Temporary memory of SemCLIP's loss and its gradients."""
    objective = dataclasses.replace(objectives.build("semclip"), chunk=chunk)
    roles = ("image", *objective.roles)
    embeddings = {role: jax.ShapeDtypeStruct((batch_size, EMBED_DIM), jnp.float32) for role in roles}
    gradients = jax.jit(jax.value_and_grad(lambda embeddings: objective(embeddings, jnp.float32(100))[0]))
    return gradients.lower(embeddings).compile().memory_analysis().temp_size_in_bytes


def main(arguments: list[str]) -> None:
    """All three curves."""
    del arguments
    clip = random_model("ViT-B/32", 0)
    sizes, loss_sizes = (list(map(int, flag.value)) for flag in (BATCH_SIZES, LOSS_BATCH_SIZES))
    measure.keep(
        "growth",
        {
            # One after another, as their memory adds up.
            "step_seconds_by_batch": {
                size: step_seconds({size: make_step(clip, size)}, ROUNDS.value)[size] for size in sizes
            },
            # In turn and more often, as they differ by little.
            "step_seconds_by_front_layers": step_seconds(
                {layers: make_step(clip, 16, layers) for layers in LAYERS}, 5 * ROUNDS.value
            ),
            "loss_bytes_by_batch": {size: loss_bytes(size, None) for size in loss_sizes},
            "chunked_loss_bytes_by_batch": {size: loss_bytes(size, CHUNK) for size in loss_sizes},
        },
    )


if __name__ == "__main__":
    app.run(main)
