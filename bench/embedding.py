"""Embedding texts and photographs with ViT-B/32, beside OpenCLIP and Hugging Face's CLIP.

    python -m bench.embedding --figure=texts
    python -m bench.embedding --figure=images [--images=photographs]

texts: SugarCrepe++'s captions, from strings to embeddings: ours packed into rows; OpenCLIP's with a row of 77 each, as
its own evaluation does it; Hugging Face's padded to the longest of a batch. images: JPEG files to embeddings; the peers
with their own preprocessing in a torch DataLoader. Same weights; the largest difference of the embeddings is reported.
"""

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from absl import app, flags
from PIL import Image

from bench import captions, measure, peers
from jaxclip.embed import Photographs, find_images

ARCH = "ViT-B-32"
GOALS = {"texts": 5.0, "images": 1.2}
FIGURE = flags.DEFINE_enum("figure", None, list(GOALS), "What to measure.", required=True)
COUNT = flags.DEFINE_integer("count", None, "Texts (default 1,536) or photographs (default 256).")
IMAGES = flags.DEFINE_string("images", None, "A folder of photographs; by default some are made up.")
WORKERS = flags.DEFINE_integer("workers", 2, "Worker processes of the DataLoader.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each side embeds all, timed.")
BATCH_SIZE = flags.DEFINE_integer("batch_size", 64, "Texts or images a batch of the peers.")


class Files(torch.utils.data.Dataset):
    """Image files as OpenCLIP's preprocessing makes them."""

    def __init__(self, paths: list[Path], preprocess: Callable):
        self._paths, self._preprocess = paths, preprocess

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, number: int) -> torch.Tensor:
        with Image.open(self._paths[number]) as image:
            return self._preprocess(image)


def make_photographs(folder: Path, count: int) -> None:
    """JPEG files of 640 × 480 pixels with smooth shapes and some noise: about as long to decode as photographs."""
    generator = np.random.default_rng(0)
    for number in range(count):
        coarse = generator.integers(0, 255, (12, 16, 3), np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((640, 480), Image.Resampling.BICUBIC), np.int16)
        noisy = np.clip(smooth + generator.integers(-12, 12, smooth.shape), 0, 255).astype(np.uint8)
        Image.fromarray(noisy).save(folder / f"{number:05}.jpg", quality=90)


def embed_texts(peer: peers.Embedder, texts: list[str]) -> np.ndarray:
    """By a peer, from strings."""
    batches = [texts[start : start + BATCH_SIZE.value] for start in range(0, len(texts), BATCH_SIZE.value)]
    with torch.no_grad():
        embeddings = torch.cat([peer.encode_text(batch) for batch in batches])
    return torch.nn.functional.normalize(embeddings, dim=-1).numpy()


def embed_images(peer: peers.Embedder, paths: list[Path]) -> np.ndarray:
    """By a peer, from files."""
    files = Files(paths, peer.preprocess)
    loader = torch.utils.data.DataLoader(files, BATCH_SIZE.value, num_workers=WORKERS.value)
    with torch.no_grad():
        embeddings = torch.cat([peer.encode_image(images) for images in loader])
    return torch.nn.functional.normalize(embeddings, dim=-1).numpy()


def main(arguments: list[str]) -> None:
    """Embeds the same on both sides, in turn."""
    del arguments
    with tempfile.TemporaryDirectory() as folder:
        model, clip = peers.random_model(ARCH, Path(folder))
        libraries = {
            "peer": peers.open_clip_embedder(model, ARCH),
            "hugging_face": peers.hugging_face_embedder(clip, Path(folder) / "hugging_face"),
        }
        if FIGURE.value == "texts":
            share = (COUNT.value or 1536) // len(captions.ROLES)
            items = [text for role in captions.ROLES for text in captions.texts(role, share)]
            embed, sides = embed_texts, {"jaxclip": lambda: clip.encode_text(items)}
        else:
            if IMAGES.value is None:
                make_photographs(Path(folder), COUNT.value or 256)
            items = find_images(IMAGES.value or folder)[: COUNT.value]
            embed, sides = embed_images, {"jaxclip": lambda: clip.encode_image(Photographs(items, "error"))}
        sides |= {name: functools.partial(embed, peer, items) for name, peer in libraries.items()}
        ours = sides["jaxclip"]()
        differences = {name: float(np.abs(sides[name]() - ours).max()) for name in libraries}
        seconds = measure.in_turn(sides, ROUNDS.value)
    measure.keep(
        f"embedding_{FIGURE.value}",
        {
            "ratio": measure.ratio(seconds["peer"], seconds["jaxclip"]),
            "ratio_to_hugging_face": measure.ratio(seconds["hugging_face"], seconds["jaxclip"]),
            "goal": GOALS[FIGURE.value],
            "seconds": {name: measure.describe_times(values) for name, values in seconds.items()},
            "items": len(items),
            "largest_difference": differences["peer"],
            "largest_difference_to_hugging_face": differences["hugging_face"],
        },
    )


if __name__ == "__main__":
    app.run(main)
