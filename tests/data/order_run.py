"""A run that only reads: shows record ids, saves where it is every third step, goes on from there. Killed by a test.

python tests/data/order_run.py DIRECTORY PROCESS PROCESSES STEPS SECONDS_A_STEP
"""

import json
import os
import sys
import time
from pathlib import Path

import numpy as np

from jaxclip.data.pipeline import batch_order, make_batches
from jaxclip.data.tokenizer import train_tokenizer

RECORDS, BATCH = 23, 4


def main(directory: Path, process: int, processes: int, steps: int, pause: float) -> None:
    source = [{"id": f"id{number}", "caption": "a"} for number in range(RECORDS)]
    batches = make_batches(
        source,
        batch_order(RECORDS, BATCH, seed=9, process_index=process, process_count=processes),
        roles=["caption"],
        tokenizer=train_tokenizer([], 514, 24),
        shards=1,
        features={"image": lambda numbers: np.asarray(numbers)},
    )
    checkpoint, shown = directory / f"state_{process}.json", directory / f"ids_{process}.txt"
    iterator, step, ids = iter(batches), 0, []
    if checkpoint.exists():
        saved = json.loads(checkpoint.read_text())
        iterator.set_state(saved["iterator"])
        step, ids = saved["step"], saved["ids"]
    while step < steps:
        step += 1
        ids += [source[number]["id"] for number in next(iterator)["features"]["image"]]
        print(step, flush=True)
        time.sleep(pause)
        if step % 3 == 0 or step == steps:
            partial = checkpoint.with_suffix(".partial")
            partial.write_text(json.dumps({"step": step, "iterator": iterator.get_state(), "ids": ids}))
            os.replace(partial, checkpoint)
    shown.write_text("\n".join(ids))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:5]), float(sys.argv[5]))
