"""Scenes and their pixels, against geometry computed here."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxclip.datasets.scenes.render import render
from jaxclip.datasets.scenes.source import scene_record
from jaxclip.datasets.scenes.world import BACKGROUNDS, COLOURS, SHAPES, Scene, Thing, place, relation, sample_scene

# The colours as people know them, not as the renderer defines them.
KNOWN_COLOURS = {
    "red": (220, 20, 20), "orange": (255, 140, 0), "yellow": (255, 230, 0), "green": (0, 140, 50),
    "cyan": (0, 220, 230), "blue": (20, 50, 230), "purple": (128, 0, 160), "pink": (255, 130, 200),
}  # fmt: skip
PIXEL_Y, PIXEL_X = np.mgrid[0:48, 0:48] + 0.5


def pixels(record):
    return np.asarray(Image.open(io.BytesIO(record["image"]))).astype(np.float64)


def nearest_colour(rgb):
    return min(KNOWN_COLOURS, key=lambda name: np.linalg.norm(np.subtract(KNOWN_COLOURS[name], rgb)))


def coverage(shape, radius=10.0, x=24.3, y=23.6, colour="red", seed=0):
    """Share of each pixel [48, 48] that an object covers, read back from a plain image."""
    scene = Scene((Thing(shape, colour, "large", x, y, radius),), "plain")
    image = render(scene, np.random.default_rng(seed)).astype(np.float64)
    background = image[0, 0]
    inside = image[np.abs(image - background).sum(-1) > 0.9 * np.abs(image - background).sum(-1).max()].mean(0)
    direction = inside - background
    return ((image - background) @ direction) / (direction @ direction)


@pytest.mark.parametrize("split", ["train", "test_combinations"])
def test_each_object_shows_its_colour(split):
    records = [scene_record(0, index, split) for index in range(200)]
    met = set()
    for record in records:
        image = pixels(record)
        for thing in record["objects"]:
            # The rim of a ring, sampled below the centre; the centre of all others.
            y = thing["y"] + (0.8 * thing["radius"] if thing["shape"] == "ring" else 0)
            assert nearest_colour(image[int(y), int(thing["x"])]) == thing["colour"], (record["id"], thing)
            met.add((thing["shape"], thing["colour"]))
    assert len(met) > 50


def test_circle_has_the_area_of_a_circle():
    for radius in (6.5, 8.25, 10.0):
        assert coverage("circle", radius).sum() == pytest.approx(np.pi * radius**2, rel=0.02)


@pytest.mark.parametrize("shape", SHAPES)
def test_areas_and_extents(shape):
    small, large = coverage(shape, 7.0), coverage(shape, 10.0)
    assert large.sum() / small.sum() == pytest.approx((10 / 7) ** 2, rel=0.05)
    assert 1.2 * 10**2 < large.sum() < 3.3 * 10**2
    distance = np.hypot(PIXEL_X - 24.3, PIXEL_Y - 23.6)
    assert np.abs(large[distance > 1.2 * 10 + 1]).max() < 0.02


def test_shapes_differ_from_one_another():
    masks = {shape: coverage(shape) for shape in SHAPES}
    for first in SHAPES:
        for second in SHAPES:
            overlap = np.minimum(masks[first], masks[second]).sum() / np.maximum(masks[first], masks[second]).sum()
            assert first == second or overlap < 0.85, (first, second, overlap)


def test_ring_is_hollow_and_the_others_are_not():
    for shape in SHAPES:
        assert (coverage(shape)[23, 24] > 0.5) == (shape != "ring")


def test_edges_are_antialiased():
    for shape in SHAPES:
        share = coverage(shape)
        partial = (share > 0.1) & (share < 0.9)
        # Far more than none, far fewer than a blurred shape would have.
        assert 15 < partial.sum() < 90, (shape, partial.sum())


def test_rotation_and_colour_vary_a_little():
    thing = Thing("square", "blue", "large", 24.0, 24.0, 10.0)
    images = [render(Scene((thing,), "plain"), np.random.default_rng(seed)).astype(float) for seed in range(20)]
    colours = np.array([image[24, 24] for image in images])
    assert 2 < colours.std(0).max() < 15
    turned = np.abs(coverage("square", seed=0) - coverage("square", seed=1))
    assert turned.max() > 0.2 and turned.sum() < 80


def test_backgrounds_have_low_contrast_and_no_object_colour():
    rng = np.random.default_rng(0)
    contrast = {texture: [] for texture in BACKGROUNDS}
    for _ in range(300):
        scene = sample_scene(rng, count=1)
        thing = scene.things[0]
        image = render(scene, rng).astype(np.float64)
        free = image[np.hypot(PIXEL_X - thing.x, PIXEL_Y - thing.y) > 1.2 * thing.radius + 2]
        assert np.ptp(free, axis=0).max() <= 22
        contrast[scene.background].append(free.std(0).max())
        nearest = nearest_colour(free.mean(0))
        assert np.linalg.norm(free.mean(0) - KNOWN_COLOURS[nearest]) > 60
        centre = thing.y + (0.8 * thing.radius if thing.shape == "ring" else 0)
        assert np.linalg.norm(free.mean(0) - image[int(centre), int(thing.x)]) > 60
    assert max(contrast["plain"]) == 0
    assert all(min(contrast[texture]) > 0.5 for texture in BACKGROUNDS if texture != "plain")


@pytest.mark.parametrize("held_out", [False, True])
def test_objects_stay_apart_and_inside(held_out):
    rng = np.random.default_rng(1)
    for _ in range(500):
        things = sample_scene(rng, held_out=held_out).things
        assert len({(thing.shape, thing.colour) for thing in things}) == len(things)
        for index, a in enumerate(things):
            assert 1.2 * a.radius - 1 <= min(a.x, a.y) and max(a.x, a.y) <= 48 - 1.2 * a.radius + 1
            assert 6.5 <= a.radius <= 7.3 if a.size == "small" else 8.9 <= a.radius <= 10.8
            assert all(np.hypot(a.x - b.x, a.y - b.y) > a.radius + b.radius + 1 for b in things[:index])


def test_attributes_are_balanced():
    rng = np.random.default_rng(2)
    things = [thing for _ in range(2000) for thing in sample_scene(rng).things]
    for key, values in (("shape", SHAPES), ("colour", COLOURS), ("size", ("small", "large"))):
        shares = [sum(getattr(thing, key) == value for thing in things) / len(things) for value in values]
        np.testing.assert_allclose(shares, 1 / len(values), atol=0.025)


def test_relation_and_place_are_stated_only_where_clear():
    def at(x, y):
        return Thing("circle", "red", "small", x, y, 7.0)

    assert relation(at(10, 20), at(30, 25)) == "left" and relation(at(30, 25), at(10, 20)) == "right"
    assert relation(at(20, 10), at(15, 30)) == "above" and relation(at(15, 30), at(20, 10)) == "below"
    assert relation(at(10, 10), at(30, 28)) is None
    assert place(at(24, 25)) == "centre" and place(at(10, 26)) == "left" and place(at(38, 22)) == "right"
    assert place(at(25, 9)) == "top" and place(at(22, 40)) == "bottom"
    assert place(at(10, 10)) is None and place(at(30, 24)) is None
