"""Random crops and flips: inside the image, of the asked size and shape, and the same whenever they are drawn again."""

import numpy as np
import pytest
from PIL import Image

from jaxclip.data.augmentation import Augmentation, augment, crop_box
from jaxclip.data.preprocessing import Preprocessing, preprocess

PIXELS = Preprocessing(size=8, mean=(0, 0, 0), std=(1, 1, 1), interpolation="bicubic", resize="crop")


def picture(width=60, height=40) -> Image.Image:
    """Red tells the column, green the row."""
    columns, rows = np.meshgrid(np.arange(width), np.arange(height))
    return Image.fromarray(np.stack([4 * columns, 6 * rows, 0 * rows], axis=-1).astype(np.uint8))


@pytest.mark.parametrize("scale", [(0.08, 1.0), (0.5, 0.5), (0.9, 1.0)])
def test_crops_have_the_asked_area_and_shape_and_lie_everywhere(scale):
    generator = np.random.default_rng(0)
    augmentation = Augmentation(scale=scale)
    boxes = np.array([crop_box(600, 500, augmentation, generator) for _ in range(4000)])
    left, top, width, height = boxes.T
    assert (left >= 0).all() and (top >= 0).all() and (left + width <= 600).all() and (top + height <= 500).all()
    area, ratio = width * height / 300_000, width / height
    assert area.min() > scale[0] - 0.01 and area.max() < scale[1] + 0.01
    assert ratio.min() > 0.74 and ratio.max() < 1.35
    if scale[1] < 0.9:  # such crops always fit: position and ratio are as drawn
        np.testing.assert_allclose((left / (600 - width)).mean(), 0.5, atol=0.02)
        np.testing.assert_allclose((top / (500 - height)).mean(), 0.5, atol=0.02)
        np.testing.assert_allclose(np.log(ratio).mean(), 0, atol=0.01)  # the ratio is log-uniform


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1), (2, 3)])
def test_images_that_no_crop_fits_in_give_their_centre(size):
    for seed in range(20):
        left, top, width, height = crop_box(*size, Augmentation(), np.random.default_rng(seed))
        assert 0 <= left <= left + width <= size[0] and 0 <= top <= top + height <= size[1]
        assert width >= 1 and height >= 1
    assert augment(picture(*size), PIXELS, Augmentation(), seed=0, epoch=0, record=0).size == (8, 8)


def test_a_whole_crop_is_a_resize_and_flips_mirror_it():
    image = picture(40, 40)
    whole = Augmentation(scale=(1, 1), ratio=(1, 1))
    expected = np.asarray(image.resize((8, 8), Image.Resampling.BICUBIC))
    draw = {"seed": 3, "epoch": 1, "record": 5}
    np.testing.assert_array_equal(np.asarray(augment(image, PIXELS, whole, **draw)), expected)
    flipped = augment(image, PIXELS, Augmentation(scale=(1, 1), ratio=(1, 1), flip=1.0), **draw)
    np.testing.assert_array_equal(np.asarray(flipped), expected[:, ::-1])
    np.testing.assert_array_equal(preprocess(flipped, PIXELS), expected[:, ::-1].astype(np.float32) / 255)


def test_the_same_draw_gives_the_same_crop_and_any_other_draw_another_one():
    image, augmentation = picture(), Augmentation(scale=(0.2, 0.8), flip=0.5)
    first = {"seed": 1, "epoch": 2, "record": 3, "role": "image"}
    changes = [{"seed": 2}, {"epoch": 3}, {"record": 4}, {"role": "hard_image"}, {"epoch": 3, "record": 2}]

    def pixels(draw):
        return augment(image, PIXELS, augmentation, **draw).tobytes()

    assert pixels(first) == pixels(first)
    assert len({pixels(first), *(pixels({**first, **change}) for change in changes)}) == 1 + len(changes)


def test_flips_come_as_often_as_asked():
    image, augmentation = picture(40, 40), Augmentation(scale=(1, 1), ratio=(1, 1), flip=0.25)
    plain = image.resize((8, 8), Image.Resampling.BICUBIC).tobytes()
    flips = [augment(image, PIXELS, augmentation, seed=0, epoch=0, record=n).tobytes() != plain for n in range(2000)]
    np.testing.assert_allclose(np.mean(flips), 0.25, atol=0.04)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"scale": (0.0, 1.0)}, "scale: .* found"),
        ({"scale": (0.9, 0.8)}, "scale"),
        ({"ratio": (2.0, 1.0)}, "ratio"),
        ({"flip": 1.5}, "flip: expected a probability, found 1.5"),
    ],
)
def test_impossible_settings_are_named(values, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(**values)
