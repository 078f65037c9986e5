"""One checkpoint's embeddings of whatever a benchmark needs, each text and image encoded once and kept on disk.

Shapes: n texts or records, U distinct images, C boxes, D embedding, K states of the text tower, W its width.
"""

import functools
import hashlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jax.sharding import Mesh
from PIL import Image

from jaxclip.console import Bar
from jaxclip.data.embedding_cache import DAMAGED, cached_embeddings, content_key
from jaxclip.data.feature_cache import ImageFeatures, unique_images
from jaxclip.data.preprocessing import decode_image, preprocess
from jaxclip.datasets import Split
from jaxclip.digests import digest_of_params
from jaxclip.embedding import Encoders
from jaxclip.evaluator import replicate
from jaxclip.files import write_atomically
from jaxclip.model import CLIP
from jaxclip.pretrained import Clip


class Embedder:
    """A checkpoint on a mesh, with its cache.

    Args:
      name: of the checkpoint, for the progress bars.
      clip: the checkpoint.
      mesh: all devices.
      cache: where embeddings are kept; checkpoints with equal towers share them.
      dtype: the type that the towers compute in.
      batch_size: images of a batch; a batch of packed texts has a quarter as many rows.
    """

    def __init__(
        self, name: str, clip: Clip, mesh: Mesh, cache: Path, *, dtype: str = "float32", batch_size: int = 256
    ):
        self.name, self._clip, self._cache, self._dtype = name, clip, cache, dtype
        self._encoders = Encoders(CLIP(clip.config, dtype=np.dtype(dtype)), mesh, batch_size)

    @functools.cached_property
    def _params(self) -> dict:
        return replicate(self._encoders.mesh, self._clip.params)

    @functools.cached_property
    def _text_folder(self) -> Path:
        return self._cache / f"texts-{self._fingerprint('text/')}"

    @functools.cached_property
    def _image_folder(self) -> Path:
        preprocessing = json.dumps(self._clip.preprocessing.as_dict(), sort_keys=True)
        return self._cache / f"images-{self._fingerprint('visual/', preprocessing)}"

    def _fingerprint(self, tower: str, *facts: str) -> str:
        """Of a tower's weights and of what else decides its output."""
        architecture = json.dumps(self._clip.config.as_dict(), sort_keys=True)
        params = {path: leaf for path, leaf in self._clip.params.items() if path.startswith(tower)}
        return digest_of_params(params, architecture, self._dtype, *facts).hex()[:24]

    def texts(self, texts: Sequence[str], of: str) -> np.ndarray:
        """float32 [n, D]; `of` names what they belong to, for the progress bar."""
        return self._texts(self._text_folder, self._encoders.texts, texts, of)

    def layer_states(self, texts: Sequence[str], of: str) -> np.ndarray:
        """End-of-text states of the text tower, layer by layer: float32 [n, K, W]."""
        folder = self._text_folder.with_name(self._text_folder.name.replace("texts", "layers"))
        return self._texts(folder, self._encoders.text_layer_states, texts, f"{of}, layer by layer")

    def _texts(self, folder: Path, method: Callable, texts: Sequence[str], of: str) -> np.ndarray:
        tokenizer = self._clip.tokenizer

        def encode(numbers: np.ndarray) -> np.ndarray:
            with Bar(f"{self.name}: texts of {of}", len(numbers), "texts", _go_on, leave=False) as bar:
                return method(self._params, tokenizer, [texts[number] for number in numbers], bar.advance)

        # By token ids: the tower sees nothing else of a text.
        keys = [content_key(np.asarray(ids, "<i4").tobytes()) for ids in tokenizer.ids(texts)]
        return cached_embeddings(folder, keys, encode)

    def images(self, split: Split) -> ImageFeatures:
        """Features [U, D] of a split's distinct images, and which of them each record shows."""
        first, index, keys = _image_keys(self._cache, split)

        def load(number: int) -> Image.Image:
            record = split[int(first[number])]
            return decode_image(record["image"], record["id"])

        return ImageFeatures(self.encode_images(keys, load, split.name), index)

    def crops(self, split: Split, boxes: np.ndarray) -> np.ndarray:
        """Each record's image cut out along its boxes [n, C, 4] (left, top, width, height): float32 [n, C, D]."""
        first, index, image_keys = _image_keys(self._cache, split)
        del first
        n, C = boxes.shape[:2]
        items = [(record, box) for record in range(n) for box in range(C)]
        keys = [content_key(image_keys[index[record]], boxes[record, box].tobytes()) for record, box in items]

        def load(number: int) -> Image.Image:
            number, box = items[number]
            record = split[number]
            left, top, width, height = boxes[number, box]
            image = decode_image(record["image"], record["id"])
            # Whole pixels, at least one; a box that was drawn over the border ends there.
            x, y = min(max(round(left), 0), image.width - 1), min(max(round(top), 0), image.height - 1)
            right, bottom = min(round(left + width), image.width), min(round(top + height), image.height)
            return image.crop((x, y, max(right, x + 1), max(bottom, y + 1)))

        return self.encode_images(keys, load, f"{split.name}, boxes").reshape(n, C, -1)

    def encode_images(self, keys: Sequence[bytes], load: Callable[[int], Image.Image], of: str) -> np.ndarray:
        """float32 [n, D] of the images `load(0)` … `load(n - 1)` with these content keys."""

        def encode(numbers: np.ndarray) -> np.ndarray:
            def pixels(number: int) -> np.ndarray:
                return preprocess(load(int(numbers[number])), self._clip.preprocessing)

            with Bar(f"{self.name}: images of {of}", len(numbers), "images", _go_on, leave=False) as bar:
                return self._encoders.images(self._params, pixels, len(numbers), bar.advance)

        return cached_embeddings(self._image_folder, keys, encode)


def _go_on() -> None:
    pass


def _image_keys(cache: Path, split: Split) -> tuple[np.ndarray, np.ndarray, list[bytes]]:
    """(first record of each distinct image [U], image of each record [n], content keys of the images).

    Kept on disk by the split's fingerprint, so that a second evaluation reads no image.
    """
    path = cache / "keys" / f"{hashlib.sha256(split.fingerprint.encode()).hexdigest()[:24]}.npz"
    try:
        with np.load(path) as stored:
            return stored["first"], stored["index"], [key.tobytes() for key in stored["keys"]]
    except DAMAGED:  # or not there yet
        first, index = unique_images(split)
        keys = [content_key(split[int(number)]["image"]) for number in first]
        buffer = io.BytesIO()
        np.savez(buffer, first=first, index=index, keys=np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), -1))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, buffer.getvalue())
        return first, index, keys
