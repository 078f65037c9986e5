"""Embedding texts and photographs with ViT-B/32, beside OpenCLIP.

    python -m bench.embedding --figure=texts
    python -m bench.embedding --figure=images [--images=photographs]

texts: SugarCrepe++'s captions, from strings to embeddings: ours packed into rows, OpenCLIP's with a row each, as its
own evaluation does it. images: JPEG files to embeddings; OpenCLIP with its own preprocessing in a torch DataLoader.
Same weights; the largest difference of the embeddings is reported.
"""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from absl import app, flags
from PIL import Image

from bench import captions, measure, peers
from jaxclip.embed import Photographs, find_images
from jaxclip.pretrained import Clip

ARCH = "ViT-B-32"
GOALS = {"texts": 5.0, "images": 1.2}
FIGURE = flags.DEFINE_enum("figure", None, list(GOALS), "What to measure.", required=True)
COUNT = flags.DEFINE_integer("count", None, "Texts (default 1,536) or photographs (default 256).")
IMAGES = flags.DEFINE_string("images", None, "A folder of photographs; by default some are made up.")
WORKERS = flags.DEFINE_integer("workers", 2, "Worker processes of the DataLoader.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each side embeds all, timed.")
BATCH_SIZE = 64  # of the peer


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


def embed_texts(model: torch.nn.Module, clip: Clip, texts: list[str]) -> dict[str, Callable[[], np.ndarray]]:
    """Both sides, from strings."""
    tokenizer = peers.open_clip.get_tokenizer(ARCH)

    @torch.no_grad()
    def peer():
        batches = [texts[start : start + BATCH_SIZE] for start in range(0, len(texts), BATCH_SIZE)]
        return torch.cat([model.encode_text(tokenizer(batch), normalize=True) for batch in batches]).numpy()

    return {"peer": peer, "jaxclip": lambda: clip.encode_text(texts)}


def embed_images(model: torch.nn.Module, clip: Clip, paths: list[Path]) -> dict[str, Callable[[], np.ndarray]]:
    """Both sides, from files."""
    size = (clip.config.vision.image_size,) * 2
    preprocess = peers.open_clip.image_transform(size, is_train=False)

    @torch.no_grad()
    def peer():
        loader = torch.utils.data.DataLoader(Files(paths, preprocess), BATCH_SIZE, num_workers=WORKERS.value)
        return torch.cat([model.encode_image(images, normalize=True) for images in loader]).numpy()

    return {"peer": peer, "jaxclip": lambda: clip.encode_image(Photographs(paths, "error"))}


def main(arguments: list[str]) -> None:
    """Embeds the same on both sides, in turn."""
    del arguments
    with tempfile.TemporaryDirectory() as folder:
        model, clip = peers.random_model(ARCH, Path(folder))
        model.eval()
        if FIGURE.value == "texts":
            share = (COUNT.value or 1536) // len(captions.ROLES)
            items = [text for role in captions.ROLES for text in captions.texts(role, share)]
            sides = embed_texts(model, clip, items)
        else:
            if IMAGES.value is None:
                make_photographs(Path(folder), COUNT.value or 256)
            items = find_images(IMAGES.value or folder)[: COUNT.value]
            sides = embed_images(model, clip, items)
        difference = float(np.abs(sides["peer"]() - sides["jaxclip"]()).max())
        seconds = measure.in_turn(sides, ROUNDS.value)
    measure.keep(
        f"embedding_{FIGURE.value}",
        {
            "ratio": measure.ratio(seconds["peer"], seconds["jaxclip"]),
            "goal": GOALS[FIGURE.value],
            "seconds": {name: measure.describe_times(values) for name, values in seconds.items()},
            "items": len(items),
            "largest_difference": difference,
        },
    )


if __name__ == "__main__":
    app.run(main)
