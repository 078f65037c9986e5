"""How fast images become model input: our pipeline beside torch's DataLoader with the same decoding.

    python -m bench.decode --images=photographs [--count=1000] [--workers=2] [--batch_size=50]

Each reader makes the same batches of float32 [B, 224, 224, 3] from the same files, with the same functions
(`decode_image`, `preprocess`), so what differs is the machinery around them. "images/s per core" is images by seconds
of CPU time, of this process and its workers together: unlike the wall clock it hardly depends on what else the machine
does. Each reader is measured once it runs, without its start. Torch is needed here only, and left out where it is not
installed. Readers take turns; the best of three rounds counts.
"""

import itertools
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import psutil
from absl import app, flags
from PIL import Image

from jaxclip.data.pipeline import batch_order, load_image, make_batches
from jaxclip.data.preprocessing import CLIP
from jaxclip.data.tokenizer import train_tokenizer

IMAGES = flags.DEFINE_string("images", None, "A folder of JPEG files.", required=True)
COUNT = flags.DEFINE_integer("count", 1000, "Images a reader makes a round; files repeat where they are fewer.")
WORKERS = flags.DEFINE_integer("workers", 2, "Worker processes of the readers that have some.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 50, "Images a batch.")
ROUNDS = 3
WARM_UP = 6  # batches; more than any reader reads ahead


class Files:
    """Records read from files, over and over."""

    def __init__(self, paths: list[Path]):
        self._paths = paths

    def __len__(self) -> int:
        return 1_000_000

    def __getitem__(self, number: int) -> dict:
        path = self._paths[number % len(self._paths)]
        return {"id": path.name, "image": path.read_bytes(), "caption": "a"}


def cpu_seconds() -> float:
    """CPU time of this process and of its living children."""
    this = psutil.Process()
    times = [process.cpu_times() for process in (this, *this.children(recursive=True))]
    return sum(time.user + time.system for time in times)


def plain_loop(source: Files, batch_size: int) -> Iterable[np.ndarray]:
    """The two functions and nothing around them: the most that one core can do."""
    for start in itertools.count(step=batch_size):
        yield np.stack([load_image(source[number], CLIP) for number in range(start, start + batch_size)])


def our_pipeline(source: Files, batch_size: int, workers: int) -> Iterable[np.ndarray]:
    """Batches as training reads them."""
    order = batch_order(len(source), batch_size, seed=0)
    tokenizer = train_tokenizer([], 514, 24)
    stream = make_batches(
        source, order, roles=["caption"], tokenizer=tokenizer, shards=1, preprocessing=CLIP, threads=1, workers=workers
    )
    for batch in stream:
        yield batch["images"]["image"]


def torch_loader(source: Files, batch_size: int, workers: int) -> Iterable[np.ndarray]:
    """torch's DataLoader on the same source."""
    import torch

    class Pixels(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(source)

        def __getitem__(self, number: int):
            return torch.from_numpy(load_image(source[number], CLIP))

    torch.set_num_threads(1)
    loader = torch.utils.data.DataLoader(
        Pixels(), batch_size, shuffle=True, num_workers=workers, prefetch_factor=2 if workers else None
    )
    for batch in loader:
        yield batch.numpy()


def measure(batches: Iterable[np.ndarray], count: int, batch_size: int) -> tuple[float, float]:
    """(images per second of CPU time, images per second of the wall clock), once workers run and have read ahead."""
    iterator = iter(batches)
    for batch in itertools.islice(iterator, WARM_UP):
        assert batch.shape == (batch_size, 224, 224, 3) and batch.dtype == np.float32
    cpu, wall = cpu_seconds(), time.perf_counter()
    for _ in itertools.islice(iterator, count // batch_size):
        pass
    return count / (cpu_seconds() - cpu), count / (time.perf_counter() - wall)


def main(arguments: list[str]) -> None:
    """Measures every reader and prints a table and one JSON line."""
    del arguments
    paths = sorted(path for path in Path(IMAGES.value).iterdir() if path.suffix.lower() in (".jpg", ".jpeg"))
    count = COUNT.value // BATCH_SIZE.value * BATCH_SIZE.value
    source, size, workers = Files(paths), BATCH_SIZE.value, WORKERS.value
    readers = {
        "the functions alone": lambda: plain_loop(source, size),
        "jaxclip, 1 thread": lambda: our_pipeline(source, size, 0),
        f"jaxclip, {workers} workers": lambda: our_pipeline(source, size, workers),
    }
    try:
        import torch

        readers["torch DataLoader, no workers"] = lambda: torch_loader(source, size, 0)
        readers[f"torch DataLoader, {workers} workers"] = lambda: torch_loader(source, size, workers)
        print(f"torch {torch.__version__}")
    except ImportError:
        print("torch is not installed: no peer", file=sys.stderr)
    best = dict.fromkeys(readers, (0.0, 0.0))
    for _ in range(ROUNDS):
        for name, batches in readers.items():
            best[name] = tuple(map(max, best[name], measure(batches(), count, size)))
    pixels = np.mean([load_size(path) for path in paths])
    print(
        f"{len(paths)} files of {pixels / 1e6:.2f} million pixels on average, {count} images a round, best of {ROUNDS}"
    )
    print(f"{'reader':<34}{'images/s per core':>18}{'images/s':>10}")
    for name, (per_core, by_clock) in best.items():
        print(f"{name:<34}{per_core:>18.1f}{by_clock:>10.1f}")
    print(json.dumps({name: {"per_core": core, "wall": clock} for name, (core, clock) in best.items()}))


def load_size(path: Path) -> int:
    """Pixels of a file."""
    with Image.open(path) as image:
        return image.width * image.height


if __name__ == "__main__":
    app.run(main)
