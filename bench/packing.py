"""How many tokens the packed rows compute, and how many programs an epoch compiles.

    python -m bench.packing

SugarCrepe++'s captions, paraphrases and negations, packed batch by batch as training does it: padding makes the tokens
computed more than the real ones, beginnings that texts of a row share make them fewer. Needs no model.
"""

from absl import app, flags

from bench import captions, measure
from jaxclip.data.packing import pack

BATCH_SIZES = flags.DEFINE_list("batch_sizes", ["16", "64", "256"], "Records a batch; a record has three texts.")
ROW_LENGTH = 77


def epoch(batch_size: int) -> dict[str, float]:
    """Tokens computed by real tokens over an epoch, and its distinct row counts."""
    count = len(captions.records())
    texts = {role: captions.ids(role, count) for role in captions.ROLES}
    real, computed, shapes = 0, 0, {}
    for start in range(0, count - batch_size + 1, batch_size):
        batch = [text for role in captions.ROLES for text in texts[role][start : start + batch_size]]
        rows = pack(batch, ROW_LENGTH)["tokens"].shape[1]
        real += sum(map(len, batch))
        computed += rows * ROW_LENGTH
        shapes[rows] = shapes.get(rows, 0) + 1
    return {"computed_by_real_tokens": computed / real, "programs": len(shapes), "batches_by_rows": shapes}


def main(arguments: list[str]) -> None:
    """An epoch at each batch size."""
    del arguments
    measure.keep("packing", {"goal": 1.08, **{f"batch_{size}": epoch(int(size)) for size in BATCH_SIZES.value}})


if __name__ == "__main__":
    app.run(main)
