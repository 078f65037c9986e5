"""Scores a small split on meshes of some sizes; run by test_evaluate.py.

    python sharded_evaluation.py OUTPUT_DIR SIZE [SIZE …]

Writes OUTPUT_DIR/SIZE.json. Joins the other processes where the environment names a coordinator.
"""

import functools
import io
import json
import os
import sys
from pathlib import Path

import jax
import numpy as np
from jax.sharding import AxisType, Mesh
from PIL import Image

from jaxclip.benchmarks import Benchmark, measure_checkpoint, read_all_texts
from jaxclip.config import BenchmarkSettings
from jaxclip.data.preprocessing import Preprocessing
from jaxclip.data.tokenizer import train_tokenizer
from jaxclip.datasets import Split, ZeroShotSet
from jaxclip.embedder import Embedder
from jaxclip.evaluation.scores import score
from jaxclip.model import ModelConfig, TextConfig, VisionConfig, init_params
from jaxclip.pretrained import Clip
from jaxclip.training.trainable import flatten

CONFIG = ModelConfig(16, VisionConfig(8, 4, 32, 1, 2), TextConfig(24, 514, 32, 2, 4))
IMAGES, RECORDS = 7, 11


def make_clip() -> Clip:
    """Random weights, the same in every process."""
    generator = np.random.default_rng(0)
    shapes = flatten(jax.eval_shape(functools.partial(init_params, CONFIG), jax.random.key(0)))
    params = {
        path: np.float32(0.15 * generator.standard_normal(leaf.shape) + path.endswith("/scale"))
        for path, leaf in shapes.items()
    }
    preprocessing = Preprocessing(8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "crop")
    return Clip(CONFIG, params, train_tokenizer([], 514, 24), preprocessing)


def make_split() -> Split:
    """Records with a caption, a paraphrase and a negation, and a class."""
    images = []
    for number in range(IMAGES):
        buffer = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(buffer, "PNG")
        images.append(buffer.getvalue())
    records = [
        {
            "id": str(number),
            "image": images[number % IMAGES],
            "caption": f"dog {number}",
            "paraphrase": f"the {number}th dog",
            "negation": f"no dog {number}",
            "kind": ("cat", "dog", "")[number % 3],
        }
        for number in range(RECORDS)
    ]
    kinds = ZeroShotSet("kind", ("cat", "dog"), ("a cat", "a dog"), ("no cat", "no dog"))
    return Split("d/test", records, ("caption", "paraphrase", "negation"), "d", (kinds,))


def main() -> None:
    jax.config.update("jax_disable_most_optimizations", True)
    if "JAX_COORDINATOR_ADDRESS" in os.environ:
        jax.distributed.initialize(
            num_processes=int(os.environ["JAX_NUM_PROCESSES"]), process_id=int(os.environ["JAX_PROCESS_ID"])
        )
    output, split = Path(sys.argv[1]), make_split()
    benchmark = Benchmark("d", BenchmarkSettings(splits=(split.name,), layers=5), {split.name: split}, False)
    output.mkdir(parents=True, exist_ok=True)
    for size in map(int, sys.argv[2:]):
        devices = np.array(jax.devices()[:size]).reshape(-1, 1)
        mesh = Mesh(devices, ("data", "model"), axis_types=(AxisType.Auto,) * 2)
        embedder = Embedder("tiny", make_clip(), mesh, output / f"cache{size}", batch_size=5)
        tables, _, layers = measure_checkpoint([benchmark], read_all_texts([benchmark]), embedder)
        # Once more, from the cache.
        again, _, _ = measure_checkpoint([benchmark], read_all_texts([benchmark]), embedder)
        scores = {metric: score(outcomes).as_dict() for metric, outcomes in tables["d"].items()}
        assert scores == {metric: score(outcomes).as_dict() for metric, outcomes in again["d"].items()}
        assert len(layers["d"]["negation"]) == CONFIG.text.layers + 1
        (output / f"{size}.json").write_text(json.dumps(scores), encoding="utf-8")


if __name__ == "__main__":
    main()
