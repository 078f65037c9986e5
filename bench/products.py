"""The products with weights of a text block of ViT-B/32, alone, in XLA and in torch: how much of a ratio they explain.

    python -m bench.products

For each of the four matrices the product itself and its two gradients, on as many rows as the plain step has
(64 records × 3 captions × 77 tokens), in float32. Both sides are in one process and take turns.
"""

import statistics
from collections.abc import Callable

import jax
import numpy as np
import torch
from absl import app, flags

from bench import measure

ROWS = flags.DEFINE_integer("rows", 64 * 3 * 77, "Rows of activations.")
ROUNDS = flags.DEFINE_integer("rounds", 5, "Calls of each product that are timed.")
MATRICES = {"in_proj": (512, 1536), "out_proj": (512, 512), "c_fc": (512, 2048), "c_proj": (2048, 512)}
# (activations x [N, I], kernel w [I, O], gradient of the outputs g [N, O]) → …
PRODUCTS = {
    "forward": lambda x, w, g: x @ w,
    "gradient of inputs": lambda x, w, g: g @ w.T,
    "gradient of kernel": lambda x, w, g: x.T @ g,
}


def calls(product: Callable, arrays: tuple[np.ndarray, ...]) -> dict[str, Callable[[], object]]:
    """The product on both sides."""
    tensors, compiled = tuple(map(torch.from_numpy, arrays)), jax.jit(product)
    on_device = jax.device_put(arrays)
    return {"torch": lambda: product(*tensors), "xla": lambda: jax.block_until_ready(compiled(*on_device))}


def main(arguments: list[str]) -> None:
    """Times all twelve products."""
    del arguments
    generator, rows, found = np.random.default_rng(0), ROWS.value, {}
    for name, (inputs, outputs) in MATRICES.items():
        shapes = ((rows, inputs), (inputs, outputs), (rows, outputs))
        arrays = tuple(generator.standard_normal(shape, np.float32) for shape in shapes)
        for kind, product in PRODUCTS.items():
            seconds = measure.in_turn(calls(product, arrays), ROUNDS.value, bar=False)
            found[f"{name}, {kind}"] = {side: statistics.median(times) for side, times in seconds.items()}
    total = {side: sum(times[side] for times in found.values()) for side in ("torch", "xla")}
    flops = 2 * rows * sum(inputs * outputs for inputs, outputs in MATRICES.values()) * len(PRODUCTS)
    measure.keep(
        "products",
        {
            "ratio": total["torch"] / total["xla"],
            "gflops": {side: flops / seconds / 1e9 for side, seconds in total.items()},
            "seconds": found,
        },
    )


if __name__ == "__main__":
    app.run(main)
