"""Scenes as data, made on the fly: every record is a pure function of (seed, split, index), without any disk."""

import io
import operator
import zlib
from dataclasses import asdict

import numpy as np
from PIL import Image

from jaxclip.datasets.scenes import held_out
from jaxclip.datasets.scenes.contrasts import describe, distractor_scene, pretraining_caption
from jaxclip.datasets.scenes.grammar import with_determiner
from jaxclip.datasets.scenes.lexicon import TRAIN
from jaxclip.datasets.scenes.render import render
from jaxclip.datasets.scenes.world import COLOURS, SHAPES, sample_scene

SPLITS = ("train", "validation", "validation_templates", "test", "test_combinations", "test_templates")
_FRAMES = {"validation_templates": held_out.VALIDATION, "test_templates": held_out.TEST}
IMAGES = ("image", "distractor_image")  # see `jaxclip.data.schema`
CLASSES = {"shape": SHAPES, "colour": COLOURS}


def scene_record(seed: int, index: int, split: str) -> dict:
    """Makes one record.

    Args:
        seed: of the whole data set.
        index: of the record within its split; any index from 0 on exists.
        split: one of SPLITS. `test_combinations` has a held-out shape-colour pair in every image, no other split
            shows or names one; `validation_templates` and `test_templates` each use sentences and negation words
            that no other split uses.

    Returns:
        `id`, `image` and `distractor_image` (PNG bytes; of the latter the negation is true and the caption false), one
        string for each text role, `objects` (of the image: a list of dicts with shape, colour, size, x, y, radius), and
        `shape` and `colour` of the only object ("" where there are several).

    Raises:
        ValueError: for an unknown split or a negative index.
    """
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r} of the scenes; expected one of {', '.join(SPLITS)}")
    rng = _generator(seed, split, index)
    unseen_pairs = split == "test_combinations"
    scene = sample_scene(rng, held_out=unseen_pairs)
    image = render(scene, rng)
    texts = describe(scene, rng, _FRAMES.get(split, TRAIN), held_out_pairs=unseen_pairs)
    distractor = distractor_scene(
        scene, texts["caption"].form, texts["negation"].form, rng, held_out_pairs=unseen_pairs
    )
    only = scene.things[0] if len(scene.things) == 1 else None
    return {
        "id": f"{split}_{index:06d}",
        "image": _png(image),
        "distractor_image": _png(render(distractor, rng)),
        **{role: statement.words for role, statement in texts.items()},
        "objects": [asdict(thing) for thing in scene.things],
        "shape": only.shape if only else "",
        "colour": only.colour if only else "",
    }


class PretrainingScenes:
    """Images with one caption each, for contrastive pretraining; fresh scenes without any disk.

    The first `single_object` records show one object each, as the first stage of a curriculum. No record shows or
    names a held-out shape-colour pair.

    Args:
        size: number of records.
        seed: of all records.
        single_object: number of one-object scenes at the beginning.

    Raises:
        ValueError: if `single_object` is not between 0 and `size`.
    """

    def __init__(self, size: int, seed: int, single_object: int = 0):
        if not 0 <= single_object <= size:
            raise ValueError(f"single_object is {single_object}; expected 0 to size, which is {size}")
        self._size, self._seed, self._single_object = size, seed, single_object

    def __len__(self) -> int:
        return self._size

    def __getitem__(self, index: int) -> dict:
        """Returns `id`, `image` (uint8 [48, 48, 3]) and `caption`."""
        index = operator.index(index)
        if not 0 <= index < self._size:
            raise IndexError(f"index {index} of {self._size} pretraining scenes")
        rng = _generator(self._seed, "pretraining", index)
        scene = sample_scene(rng, count=1 if index < self._single_object else None)
        image = render(scene, rng)
        return {"id": f"pretraining_{index:08d}", "image": image, "caption": pretraining_caption(scene, rng)}


def class_prompts(attribute: str) -> tuple[list[str], list[str]]:
    """Writes the zero-shot prompts of CLIP for the classes of an attribute.

    Args:
        attribute: a key of CLASSES.

    Returns:
        "this is a photo of a CLASS" and "this is not a photo of a CLASS", each in the order of CLASSES[attribute];
        the classes of "colour" are called "red shape" and so on.

    Raises:
        ValueError: for an unknown attribute.
    """
    if attribute not in CLASSES:
        raise ValueError(f"unknown attribute {attribute!r} of the scenes; expected one of {', '.join(CLASSES)}")
    nouns = [name if attribute == "shape" else f"{name} shape" for name in CLASSES[attribute]]
    nouns = [with_determiner(noun) for noun in nouns]
    return [f"this is a photo of {noun}" for noun in nouns], [f"this is not a photo of {noun}" for noun in nouns]


def _generator(seed: int, split: str, index: int) -> np.random.Generator:
    if index < 0:
        raise ValueError(f"index is {index}; expected 0 or more")
    return np.random.default_rng([seed, zlib.crc32(split.encode()), index])


def _png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()
