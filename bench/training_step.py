"""A fine-tuning step of ViT-B/32 beside the same step in torch and OpenCLIP.

    python -m bench.training_step --figure=semclip

Both start from the same random weights, see the same images and captions (SugarCrepe++'s) and update the
same parameters; the losses of the first two steps stand beside each other. Ours embeds the images once before (the
tower is frozen) and packs captions into rows; the peer is the step as the papers' authors run it, see bench/peers.py.

  semclip           SemCLIP, whole text tower trained, float32
  semclip_bfloat16  the same, matrix products in bfloat16 on both sides
  omni_negclip      Omni-NegCLIP, the front 6 of 12 text layers trained, a presence and an absence batch a step
  plain             SemCLIP without cached features and without packing, on both sides alike
"""

import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from absl import app, flags

from bench import captions, measure, our_step, peers
from jaxclip.objectives.semclip import random_orthonormal

ARCH = "ViT-B-32"
PEER_LOSSES = {
    "semclip": peers.semclip(random_orthonormal(512, 2, 0)),
    "presence": peers.presence,
    "absence": peers.absence,
}
FIGURE = flags.DEFINE_enum("figure", None, list(our_step.FIGURES), "What to measure.", required=True)
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Records a stream and step.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "Steps of each side that are timed.")


def peer_step(figure: our_step.Figure, model: torch.nn.Module, inputs: dict) -> Callable[[], float]:
    """The step in torch."""
    front = None if figure.front_layers is None else range(figure.front_layers)
    streams = [
        (
            PEER_LOSSES[figure.streams[name][0]],
            torch.from_numpy(images).permute(0, 3, 1, 2).contiguous(),
            {role: torch.from_numpy(captions.one_a_row(ids, our_step.ROW_LENGTH)) for role, ids in texts.items()},
        )
        for name, (images, texts) in inputs.items()
    ]
    return peers.make_step(
        model,
        peers.train_text_tower(model, front),
        streams,
        learning_rate=our_step.LEARNING_RATE,
        weight_decay=our_step.WEIGHT_DECAY,
        clip_norm=figure.clip_norm,
        bfloat16=figure.bfloat16,
    )


def main(arguments: list[str]) -> None:
    """Compares the losses, then times both steps in turn."""
    del arguments
    figure = our_step.FIGURES[FIGURE.value]
    with tempfile.TemporaryDirectory() as folder:
        model, clip = peers.random_model(ARCH, Path(folder))
    inputs = our_step.make_inputs(figure, BATCH_SIZE.value)
    batch = our_step.our_batch(figure, clip, inputs)
    steps = {
        "peer": peer_step(figure, model, inputs),
        "jaxclip": our_step.our_step(figure, clip, batch),
    }
    losses = {name: [step() for _ in range(2)] for name, step in steps.items()}
    seconds = measure.in_turn(steps, ROUNDS.value)
    flops_a_second = our_step.useful_flops(figure, clip, batch) / statistics.median(seconds["jaxclip"])
    peak = measure.matmul_peak("bfloat16" if figure.bfloat16 else "float32")
    measure.keep(
        f"training_step_{FIGURE.value}",
        {
            "ratio": measure.ratio(seconds["peer"], seconds["jaxclip"]),
            "goal": figure.goal,
            "seconds": {name: measure.describe_times(values) for name, values in seconds.items()},
            "losses": losses,
            "share_of_matmul_peak": flops_a_second / peak,
            "matmul_peak_gflops": peak / 1e9,
            "batch": {"records_a_stream": BATCH_SIZE.value, "streams": len(figure.streams)},
        },
    )


if __name__ == "__main__":
    app.run(main)
