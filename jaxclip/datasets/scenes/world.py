"""What a scene is: coloured shapes placed on a 48 x 48 pixel image, and how one is drawn at random.

Pixel coordinates have their origin in the top left corner; x grows to the right, y grows downwards.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

IMAGE_SIZE = 48
SHAPES = ("circle", "square", "triangle", "star", "cross", "heart", "ring", "diamond")
COLOURS = ("red", "orange", "yellow", "green", "cyan", "blue", "purple", "pink")
SIZES = ("small", "large")
BACKGROUNDS = ("plain", "gradient", "stripes", "speckle")

# Each shape and each colour is held out exactly once, so that no attribute is rarer than another in training.
HELD_OUT_PAIRS = frozenset(
    zip(SHAPES, ("purple", "cyan", "pink", "blue", "yellow", "green", "red", "orange"), strict=True)
)

# No shape reaches further from its centre than this many radii (render.py).
EXTENT = 1.2

_ALL_PAIRS = tuple((shape, colour) for shape in SHAPES for colour in COLOURS)
_SEEN_PAIRS = tuple(pair for pair in _ALL_PAIRS if pair not in HELD_OUT_PAIRS)
_UNSEEN_PAIRS = tuple(pair for pair in _ALL_PAIRS if pair in HELD_OUT_PAIRS)

_OBJECT_COUNTS, _OBJECT_COUNT_BOUNDS = (1, 2, 3), (0.25, 0.65, 1.0)
# Three large objects fit into the image without overlap only when they are a little smaller.
_RADII = {"small": (6.5, 7.3), "large": (9.5, 10.8), "large of three": (8.9, 9.5)}
_APART = 1.1  # least distance of two centres, in sums of their radii
_OVERHANG = 1.0  # pixels by which a corner may leave the image
_PLACEMENTS_PER_DRAW = 48

# A relation is stated only where one axis clearly dominates; otherwise people would disagree on the word.
_DOMINANCE = 1.5
_OFF_CENTRE = 8.0  # pixels from the image centre beyond which an object is "on the left" and so on
_CENTRED = 4.5


@dataclass(frozen=True)
class Thing:
    """One object of a scene: three attributes, its centre and its radius in pixels."""

    shape: str
    colour: str
    size: str
    x: float
    y: float
    radius: float


@dataclass(frozen=True)
class Scene:
    """One to three objects, no two of which share both shape and colour, and a background texture."""

    things: tuple[Thing, ...]
    background: str


def choose(rng: np.random.Generator, options: Sequence) -> Any:
    """Draws one option uniformly; several times faster than ``rng.choice`` on a short sequence."""
    return options[int(rng.random() * len(options))]


def sample_scene(rng: np.random.Generator, *, count: int | None = None, held_out: bool = False) -> Scene:
    """Draws a scene.

    Args:
        rng: source of randomness.
        count: number of objects, 1 to 3; None draws it (25 % one, 40 % two, 35 % three).
        held_out: if True at least one object is a held-out shape-colour pair and the others are any pair; if False
            no object is a held-out pair.
    """
    if count is None:
        count = _OBJECT_COUNTS[int(np.searchsorted(_OBJECT_COUNT_BOUNDS, rng.random(), side="right"))]
    first = choose(rng, _UNSEEN_PAIRS if held_out else _SEEN_PAIRS)
    pairs = _draw_pairs(rng, [first], count, held_out)
    return _compose(rng, pairs, [choose(rng, SIZES) for _ in pairs])


def sample_like(scene: Scene, rng: np.random.Generator, *, held_out: bool = False) -> Scene:
    """Draws a scene of as many objects: each old one is kept or replaced, and all are placed anew.

    Args:
        scene: the model.
        rng: source of randomness.
        held_out: whether new objects may be held-out pairs.
    """
    kept = [thing for thing in scene.things if rng.random() < 0.5]
    pairs = _draw_pairs(rng, [(thing.shape, thing.colour) for thing in kept], len(scene.things), held_out)
    sizes = [thing.size for thing in kept]
    return _compose(rng, pairs, sizes + [choose(rng, SIZES) for _ in pairs[len(kept) :]])


def _draw_pairs(rng: np.random.Generator, given: list, count: int, held_out: bool) -> list[tuple[str, str]]:
    """Adds shape-colour pairs to the given ones until there are `count` different ones."""
    pairs = list(given)
    while len(pairs) < count:
        pair = choose(rng, _ALL_PAIRS if held_out else _SEEN_PAIRS)
        if pair not in pairs:
            pairs.append(pair)
    return pairs


def _compose(rng: np.random.Generator, pairs: Sequence[tuple[str, str]], sizes: Sequence[str]) -> Scene:
    """Places objects on a background."""
    count = len(pairs)
    radii = [_radius(rng, size, count) for size in sizes]
    centres = _place(rng, np.asarray(radii))
    things = [
        Thing(shape, colour, size, x, y, radius)
        for (shape, colour), size, radius, (x, y) in zip(pairs, sizes, radii, centres.tolist(), strict=True)
    ]
    return Scene(tuple(things), choose(rng, BACKGROUNDS))


def relation(subject: Thing, other: Thing) -> str | None:
    """Returns where `subject` clearly lies as seen from `other`: left, right, above or below; None if unclear."""
    dx, dy = subject.x - other.x, subject.y - other.y
    if abs(dx) > _DOMINANCE * abs(dy):
        return "left" if dx < 0 else "right"
    if abs(dy) > _DOMINANCE * abs(dx):
        return "above" if dy < 0 else "below"
    return None


def place(thing: Thing) -> str | None:
    """Returns the part of the image that an object clearly lies in: left, right, top, bottom, centre; or None."""
    dx, dy = thing.x - IMAGE_SIZE / 2, thing.y - IMAGE_SIZE / 2
    if max(abs(dx), abs(dy)) < _CENTRED:
        return "centre"
    if abs(dx) > _OFF_CENTRE and abs(dx) > _DOMINANCE * abs(dy):
        return "left" if dx < 0 else "right"
    if abs(dy) > _OFF_CENTRE and abs(dy) > _DOMINANCE * abs(dx):
        return "top" if dy < 0 else "bottom"
    return None


def _radius(rng: np.random.Generator, size: str, count: int) -> float:
    low, high = _RADII["large of three" if size == "large" and count == 3 else size]
    return low + (high - low) * rng.random()


def _place(rng: np.random.Generator, radii: np.ndarray) -> np.ndarray:
    """Draws centres [n, 2] uniformly among those that keep n objects apart and inside the image."""
    margin = (EXTENT * radii - _OVERHANG)[:, None]
    first, second = np.triu_indices(len(radii), k=1)
    apart = (_APART * (radii[first] + radii[second])) ** 2
    while True:
        centres = margin + (IMAGE_SIZE - 2 * margin) * rng.random((_PLACEMENTS_PER_DRAW, len(radii), 2))
        separation = centres[:, first] - centres[:, second]
        fits = ((separation**2).sum(-1) > apart).all(-1)
        best = int(fits.argmax())
        if fits[best]:
            return centres[best]
