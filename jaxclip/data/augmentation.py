"""Random crops and flips of training images, each a pure function of (seed, epoch, record): a resumed run repeats them.

Features of augmented images differ from epoch to epoch, so a stream with augmentation cannot use the feature cache.

Shapes: H height, W width, S size (the side of the square that the model reads).
"""

import dataclasses
import math
import zlib

import numpy as np
from PIL import Image

from jaxclip.data.preprocessing import Preprocessing

_ATTEMPTS = 10


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Random resized crop (Szegedy et al. 2015, as torchvision has it) and horizontal flip.

    Attributes:
        scale: least and largest share of the image's area that a crop takes; OpenCLIP's by default.
        ratio: least and largest width/height of a crop.
        flip: probability of a flip. 0 by default, because a flip makes "left" and "right" in a caption false.

    Raises:
        ValueError: a value outside these.
    """

    scale: tuple[float, float] = (0.9, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.0

    def __post_init__(self):
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"augmentation scale: expected two shares of the area in (0, 1], found {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(
                f"augmentation ratio: expected two positive numbers in ascending order, found {self.ratio}"
            )
        if not 0 <= self.flip <= 1:
            raise ValueError(f"augmentation flip: expected a probability, found {self.flip}")


def augment(
    image: Image.Image,
    preprocessing: Preprocessing,
    augmentation: Augmentation,
    *,
    seed: int,
    epoch: int,
    record: int,
    role: str = "image",
) -> Image.Image:
    """An S x S image for `preprocess`, which then only normalises it.

    Args:
        image: of any size.
        preprocessing: says S and the interpolation.
        seed, epoch, record, role: what the randomness comes from: `record` is the record's number, `role` that of the
            image in it.
    """
    generator = np.random.default_rng((seed, epoch, record, zlib.crc32(role.encode())))
    left, top, width, height = crop_box(*image.size, augmentation, generator)
    square = image.crop((left, top, left + width, top + height)).resize(
        (preprocessing.size, preprocessing.size), preprocessing.resampling
    )
    if generator.random() < augmentation.flip:
        square = square.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return square


def crop_box(
    width: int, height: int, augmentation: Augmentation, generator: np.random.Generator
) -> tuple[int, int, int, int]:
    """Left, top, width and height of a random crop of a W x H image.

    Where no crop of the drawn shape fits in ten attempts (a hairline image), it is the centre of the image with the
    nearest allowed ratio.
    """
    low, high = map(math.log, augmentation.ratio)
    for _ in range(_ATTEMPTS):
        area = width * height * generator.uniform(*augmentation.scale)
        ratio = math.exp(generator.uniform(low, high))
        crop_width, crop_height = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < crop_width <= width and 0 < crop_height <= height:
            left = int(generator.integers(width - crop_width + 1))
            top = int(generator.integers(height - crop_height + 1))
            return left, top, crop_width, crop_height
    ratio = min(max(width / height, augmentation.ratio[0]), augmentation.ratio[1])
    crop_width, crop_height = min(width, max(1, round(height * ratio))), min(height, max(1, round(width / ratio)))
    return (width - crop_width) // 2, (height - crop_height) // 2, crop_width, crop_height
