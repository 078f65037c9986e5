"""Time and memory of the metrics at the benchmarks' full sizes, on made-up embeddings.

    python -m bench.evaluation

Each part runs in a process of its own, whose peak memory is reported together with wall and processor time. The goal is
less than 30 s and 2 GB on 2 idle cores for each.
"""

import resource
import subprocess
import sys
import time

import numpy as np
from absl import app, flags

from jaxclip.evaluation.scores import Outcomes, paired_difference, score
from jaxclip.evaluation.suite import split_outcomes

DIMENSION = 512
# Part -> (images, captions an image, further text roles).
PARTS = {
    "ccneg": (40_000, 1, ("negation",)),  # all its metrics, retrieval among 40,000 images both ways included
    "coco": (5_000, 5, ()),  # the Karpathy test split: 5,000 x 25,000
}
PART = flags.DEFINE_enum("part", None, list(PARTS), "The part to run in this process; by default each in its own.")


def embeddings(images: int, captions: int, roles: tuple[str, ...]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Random texts that lean towards their image: (role -> embeddings, image of each record)."""
    generator = np.random.default_rng(0)
    image = generator.standard_normal((images, DIMENSION), np.float32)
    index = np.repeat(np.arange(images), captions)
    texts = {
        role: generator.standard_normal((len(index), DIMENSION), np.float32) + 0.25 * image[index]
        for role in ("caption", *roles)
    }
    return {"image": image, **texts}, index


def run(part: str) -> None:
    """Scores one part, with intervals and a paired comparison, and prints what it took."""
    arrays, index = embeddings(*PARTS[part])
    wall, processor = time.perf_counter(), time.process_time()
    outcomes = split_outcomes(arrays, index)
    for one in outcomes.values():
        score(one)
        paired_difference(one, Outcomes(tuple(stratum[::-1] for stratum in one.strata), one.sizes))
    wall, processor = time.perf_counter() - wall, time.process_time() - processor
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20  # kibibytes on Linux
    print(
        f"{part:<8}{len(outcomes):>3} metrics{wall:>8.1f} s wall{processor:>8.1f} s processor{peak:>7.2f} GiB at most"
    )


def main(arguments: list[str]) -> None:
    """One part, or all of them."""
    del arguments
    if PART.value:
        run(PART.value)
        return
    for part in PARTS:
        subprocess.run([sys.executable, "-m", "bench.evaluation", f"--part={part}"], check=True)


if __name__ == "__main__":
    app.run(main)
