"""Both towers on a mesh that mixes the devices of two processes, as that of a TPU slice may; run by test_embedding.py.

    python mixed_mesh_run.py NUMBER PORT OUTPUT

NUMBER is 0 or 1; each process needs 2 devices. Process 0 writes the embeddings to OUTPUT (.npz).
"""

import os
import sys

import jax
import numpy as np
from jax.sharding import AxisType, Mesh

from jaxclip.data.tokenizer import Tokenizer
from jaxclip.distributed import order_cpu_collectives
from jaxclip.embedding import Encoders
from jaxclip.evaluator import replicate
from jaxclip.model import CLIP, ModelConfig, TextConfig, VisionConfig, parameter_shapes

CONFIG = ModelConfig(
    embed_dim=16,
    vision=VisionConfig(image_size=16, patch_size=8, width=32, layers=1, heads=2),
    text=TextConfig(context_length=77, vocabulary_size=49408, width=32, layers=1, heads=2),
)
ORDER = [0, 2, 1, 3]  # of the devices: 0 and 1 are of the first process, 2 and 3 of the second
IMAGES = np.random.default_rng(1).standard_normal((21, 16, 16, 3), np.float32)  # two whole batches of 8 and a part
TEXTS = [f"{number} cats and {number % 7} dogs, {'far ' * (number % 5)}away" for number in range(50)]


def numpy_params() -> dict[str, np.ndarray]:
    """Flat, the same in every process."""
    generator = np.random.default_rng(0)
    shapes = parameter_shapes(CONFIG)
    return {path: np.float32(0.2 * generator.standard_normal(shape)) for path, shape in shapes.items()}


def main(number: int, port: int, output: str) -> None:
    """Embeds everything, 8 images or 2 rows of texts at a time."""
    order_cpu_collectives(os.environ)
    jax.distributed.initialize(f"127.0.0.1:{port}", 2, number)
    devices = np.array(jax.devices())[ORDER].reshape(4, 1)
    mesh = Mesh(devices, ("data", "model"), axis_types=(AxisType.Auto, AxisType.Auto))
    encoders, params = Encoders(CLIP(CONFIG), mesh, batch_size=8), replicate(mesh, numpy_params())
    images = encoders.images(params, IMAGES.__getitem__, len(IMAGES))
    texts = encoders.texts(params, Tokenizer.clip(), TEXTS)
    if number == 0:
        np.savez(output, images=images, texts=texts)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
