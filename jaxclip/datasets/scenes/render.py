"""Draws a scene: anti-aliased shapes by signed distance, in NumPy, on a low-contrast background."""

import numpy as np

from jaxclip.datasets.scenes.world import EXTENT, IMAGE_SIZE, Scene, Thing

COLOUR_VALUES = {
    "red": (215, 35, 35),
    "orange": (248, 135, 15),
    "yellow": (245, 225, 40),
    "green": (35, 160, 60),
    "cyan": (45, 205, 220),
    "blue": (40, 75, 215),
    "purple": (130, 45, 165),
    "pink": (250, 130, 195),
}

_COLOUR_JITTER = 12.0  # levels of 255, either way
_ROTATION_JITTER = 0.15  # radians, either way
# Backgrounds are nearly grey, so that they stay far from every object colour, all of which are saturated.
_GREY_RANGE = (45.0, 215.0)
_TINT = 14.0
_TEXTURE_RANGE = (4.0, 10.0)

_PIXELS = np.arange(IMAGE_SIZE, dtype=np.float32) + 0.5
_UNIT = (np.stack(np.meshgrid(_PIXELS, _PIXELS, indexing="xy")) / IMAGE_SIZE * 2 - 1).astype(np.float32)


def render(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draws a scene with slight random variation in colour and rotation.

    Returns:
        uint8 [48, 48, 3] RGB image.
    """
    image = _background(scene.background, rng)
    for thing in scene.things:
        _draw(image, thing, rng)
    return (image + 0.5).astype(np.uint8)


def _background(texture: str, rng: np.random.Generator) -> np.ndarray:
    """Returns a float32 [48, 48, 3] background of low contrast."""
    grey, strength, angle = rng.random(3)
    low, high = _GREY_RANGE
    base = low + (high - low) * grey + _TINT * (2 * rng.random(3) - 1)
    strength = np.float32(_TEXTURE_RANGE[0] + (_TEXTURE_RANGE[1] - _TEXTURE_RANGE[0]) * strength)
    image = np.empty((IMAGE_SIZE, IMAGE_SIZE, 3), np.float32)
    image[:] = base
    if texture == "plain":
        return image
    if texture == "speckle":
        pattern = 2 * rng.random((IMAGE_SIZE, IMAGE_SIZE), dtype=np.float32) - 1
    else:
        angle *= 2 * np.pi
        ramp = np.float32(np.cos(angle)) * _UNIT[0] + np.float32(np.sin(angle)) * _UNIT[1]
        # The ramp spans at most +-sqrt(2); the stripes then have a period of some 8 pixels.
        pattern = ramp / np.float32(np.sqrt(2)) if texture == "gradient" else np.sin(ramp * np.float32(6 * np.pi))
    image += (strength * pattern)[:, :, None]
    return image


def _draw(image: np.ndarray, thing: Thing, rng: np.random.Generator) -> None:
    """Blends one object into the float32 image [48, 48, 3], in place, touching only the patch around it."""
    draws = 2 * rng.random(4) - 1
    colour = np.clip(np.asarray(COLOUR_VALUES[thing.colour]) + _COLOUR_JITTER * draws[:3], 0, 255).astype(np.float32)
    angle = _ROTATION_JITTER * draws[3]
    reach = EXTENT * thing.radius + 1
    left, top = max(0, int(thing.x - reach)), max(0, int(thing.y - reach))
    right, bottom = int(thing.x + reach) + 1, int(thing.y + reach) + 1
    x = (_PIXELS[left:right] - np.float32(thing.x)) / np.float32(thing.radius)
    y = ((_PIXELS[top:bottom] - np.float32(thing.y)) / np.float32(thing.radius))[:, None]
    cos, sin = np.float32(np.cos(angle)), np.float32(np.sin(angle))
    distance = _DISTANCES[thing.shape](cos * x + sin * y, cos * y - sin * x)
    # One pixel wide ramp across the edge: the share of the pixel that the shape covers, to first order.
    coverage = np.clip(0.5 - distance * np.float32(thing.radius), 0, 1)[:, :, None]
    patch = image[top:bottom, left:right]
    patch += coverage * (colour - patch)


# Signed distances in units of the radius, negative inside; u to the right, v downwards, float32 arrays.


def _circle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.hypot(u, v) - 1


def _ring(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.abs(np.hypot(u, v) - np.float32(0.8)) - np.float32(0.22)


def _square(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(np.abs(u), np.abs(v)) - np.float32(0.84)


def _diamond(u: np.ndarray, v: np.ndarray, width: float = 0.8, height: float = 1.18) -> np.ndarray:
    # Taller than wide: a square that is merely turned would be told apart by its rotation alone.
    scale = np.float32(1 / np.hypot(1 / width, 1 / height))
    return (np.abs(u) / np.float32(width) + np.abs(v) / np.float32(height) - 1) * scale


def _triangle(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.maximum(v, np.abs(u) * np.float32(np.sqrt(3) / 2) - v / 2) - np.float32(0.59)


def _cross(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    u, v = np.abs(u), np.abs(v)
    return np.maximum(np.maximum(u, v) - 1, np.minimum(u, v) - np.float32(0.34))


def _star(u: np.ndarray, v: np.ndarray, outer: float = 1.18, inner: float = 0.5) -> np.ndarray:
    # Fold the plane onto one half of one arm; there the outline is a single straight edge.
    fifth = 2 * np.pi / 5
    angle = np.abs((np.arctan2(u, -v) + np.float32(fifth / 2)) % np.float32(fifth) - np.float32(fifth / 2))
    radius = np.hypot(u, v)
    run, rise = inner * np.cos(fifth / 2) - outer, inner * np.sin(fifth / 2)
    length = np.hypot(run, rise)
    along, across = radius * np.cos(angle), radius * np.sin(angle)
    return (along - np.float32(outer)) * np.float32(rise / length) - across * np.float32(run / length)


def _heart(u: np.ndarray, v: np.ndarray, half: float = 0.62) -> np.ndarray:
    # A square standing on its corner, and a disc on each of its two upper edges.
    v = v - np.float32(0.1)
    u = np.abs(u)
    diagonal = np.float32(np.sqrt(0.5))
    square = np.maximum(np.abs(u + v), np.abs(u - v)) * diagonal - np.float32(half)
    disc = np.hypot(u - np.float32(half) * diagonal, v + np.float32(half) * diagonal) - np.float32(half)
    return np.minimum(square, disc)


_DISTANCES = {
    "circle": _circle,
    "square": _square,
    "triangle": _triangle,
    "star": _star,
    "cross": _cross,
    "heart": _heart,
    "ring": _ring,
    "diamond": _diamond,
}
