"""Encoded image bytes to the pixels that a vision tower reads, as CLIP's own preprocessing makes them.

Shapes: H height, W width, S size (the side of the square that the model reads).
"""

import dataclasses
import io
import math
from typing import Any, Literal

import numpy as np
from PIL import Image, ImageOps

# Raster formats only: Pillow would hand an EPS file to Ghostscript, for one.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_RESIZE = ("crop", "squash")
_LONGEST_RESIZED = 20  # times S


class ImageError(ValueError):
    """Bytes that are not a whole, readable image; the message names the image and the reason."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an image becomes model input. It belongs to a checkpoint as much as its weights do.

    Attributes:
        size: S, the side of the model's square input in pixels.
        mean: subtracted from each of red, green, blue, on the scale from 0 to 1.
        std: divides each of red, green, blue afterwards.
        interpolation: "nearest", "bilinear" or "bicubic", antialiased as Pillow does it.
        resize: "crop" scales the shorter side to S and keeps the centre, as CLIP does; "squash" scales both sides to S
            and so changes the aspect ratio, as SemCLIP's released code does.

    Raises:
        ValueError: a value outside these, named with its key.
    """

    size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["nearest", "bilinear", "bicubic"]
    resize: Literal["crop", "squash"]

    def __post_init__(self):
        if type(self.size) is not int or self.size < 1:
            raise ValueError(f"preprocessing size: expected a positive int, found {self.size!r}")
        for key in ("mean", "std"):
            object.__setattr__(self, key, _three_floats(key, getattr(self, key)))
        if min(self.std) <= 0:
            raise ValueError(f"preprocessing std: expected positive numbers, found {self.std}")
        for key, known in (("interpolation", tuple(_RESAMPLING)), ("resize", _RESIZE)):
            if getattr(self, key) not in known:
                raise ValueError(f"preprocessing {key}: expected one of {known}, found {getattr(self, key)!r}")

    @property
    def resampling(self) -> Image.Resampling:
        """The interpolation as Pillow calls it."""
        return _RESAMPLING[self.interpolation]

    def as_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return dataclasses.asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Preprocessing":
        """Inverse of `as_dict`.

        Raises:
            ValueError: keys missing or unknown, or a bad value.
        """
        expected = {field.name for field in dataclasses.fields(cls)}
        if set(values) != expected:
            raise ValueError(
                f"preprocessing: expected the keys {sorted(expected)}; "
                f"unknown {sorted(set(values) - expected)}, missing {sorted(expected - set(values))}"
            )
        return cls(**values)


def _three_floats(key: str, values: Any) -> tuple[float, float, float]:
    """The values as a tuple; ValueError unless they are three finite numbers."""
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != 3 or not all(map(math.isfinite, numbers)):
        raise ValueError(f"preprocessing {key}: expected three finite numbers, found {values!r}")
    return numbers


CLIP = Preprocessing(
    size=224,
    mean=(0.48145466, 0.4578275, 0.40821073),
    std=(0.26862954, 0.26130258, 0.27577711),
    interpolation="bicubic",
    resize="crop",
)

SEMCLIP_RELEASED = Preprocessing(
    size=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    interpolation="bilinear",
    resize="squash",
)


def decode_image(data: bytes, name: str) -> Image.Image:
    """Decodes an image whole and turns it upright.

    The camera's EXIF orientation is applied. Of an animation the first frame is taken. Alpha is dropped and grey,
    palette and CMYK become RGB by Pillow's `convert`, as in CLIP; 16-bit grey is scaled to 8 bits, which `convert`
    would cut off instead.

    Args:
        data: an encoded JPEG, PNG, WebP, GIF or BMP.
        name: what to call the image in an error, such as its file name.

    Returns:
        An RGB image.

    Raises:
        ImageError: no bytes, an unknown format, a truncated or corrupt file, or more pixels than Pillow takes for
            harmless (twice `PIL.Image.MAX_IMAGE_PIXELS`, 179 million by default).
    """
    if not data:
        raise ImageError(f"{name}: the image has no bytes")
    try:
        with Image.open(io.BytesIO(data), formats=_FORMATS) as image:
            image.load()
            return _to_rgb(ImageOps.exif_transpose(image))
    except Image.UnidentifiedImageError as error:
        raise ImageError(f"{name}: not an image in one of the formats {', '.join(_FORMATS)}") from error
    except Exception as error:  # damaged bytes make Pillow's decoders raise almost any type
        raise ImageError(f"{name}: cannot decode the image ({error})") from error


def preprocess(image: Image.Image | np.ndarray, preprocessing: Preprocessing) -> np.ndarray:
    """Resizes, crops and normalises one image as CLIP does (Radford et al. 2021; `CLIPImageProcessor` of transformers).

    An image that has the right size already is not resampled. The EXIF orientation is not looked at (neither does
    CLIP): `decode_image` has applied it.

    Args:
        image: a Pillow image of any mode, or uint8 [H, W, 3] with values from 0 to 255.
        preprocessing: what the checkpoint asks for.

    Returns:
        float32 [S, S, 3].

    Raises:
        ValueError: an array of another type or shape, or an image without pixels.
    """
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise ValueError(f"expected a uint8 array of shape [H, W, 3], found {image.dtype} {list(image.shape)}")
        image = Image.fromarray(image)
    if min(image.size) < 1:
        raise ValueError(f"the image has no pixels: {image.width} x {image.height}")
    if preprocessing.resize == "crop":
        square = _resize_and_crop(_to_rgb(image), preprocessing.size, preprocessing.resampling)
    else:
        square = _to_rgb(image).resize((preprocessing.size, preprocessing.size), preprocessing.resampling)
    pixels = np.asarray(square, np.float32) / 255
    return (pixels - np.float32(preprocessing.mean)) / np.float32(preprocessing.std)


def _resize_and_crop(image: Image.Image, size: int, resampling: Image.Resampling) -> Image.Image:
    """Scales the shorter side to `size`, then keeps the centre `size` x `size`.

    Lengths round down, as in torchvision and transformers. So do the offsets of the crop, as in transformers;
    torchvision rounds them to the nearest, halves to even, and is one pixel off where 2 * offset is 3 modulo 4.
    """
    shorter = min(image.size)
    width, height = (size * length // shorter for length in image.size)
    left, top = (width - size) // 2, (height - size) // 2
    if max(width, height) <= _LONGEST_RESIZED * size:
        return image.resize((width, height), resampling).crop((left, top, left + size, top + size))
    # Scaled whole, a hairline of 1 x 10,000 pixels would take 2 GB, so here we resample the centre only: columns, then
    # rows, as Pillow does. Asked for both at once it may begin with the rows, which moves pixels by many levels.
    scale_x, scale_y = image.width / width, image.height / height
    columns = (left * scale_x, 0, min((left + size) * scale_x, image.width), image.height)
    rows = (0, top * scale_y, size, min((top + size) * scale_y, image.height))
    return image.resize((size, image.height), resampling, columns).resize((size, size), resampling, rows)


def _to_rgb(image: Image.Image) -> Image.Image:
    """An RGB image of 8 bits a channel."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray(((np.asarray(image, np.uint32) + 128) // 257).astype(np.uint8))
    elif image.mode in ("I", "F"):
        raise ValueError(f"32-bit pixels (mode {image.mode}) have no agreed range")
    elif image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        image = image.convert("RGBA")  # the same colours; straight to RGB, Pillow warns for each image
    return image.convert("RGB")
