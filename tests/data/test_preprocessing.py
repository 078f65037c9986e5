"""Preprocessing against transformers' CLIPImageProcessor and a float64 formula; decoding of odd and bad bytes."""

import contextlib
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reference_libraries import transformers_or_skip

from jaxclip.data.preprocessing import CLIP, SEMCLIP_RELEASED, ImageError, Preprocessing, decode_image, preprocess

PHOTOGRAPHS = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "coco_tiny" / "images"


def noise(width: int, height: int) -> Image.Image:
    """An image of random pixels."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, image_format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def orientation(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def levels(pixels: np.ndarray, preprocessing: Preprocessing = CLIP) -> np.ndarray:
    """Undoes the normalisation: values from 0 to 255."""
    return (pixels.astype(np.float64) * preprocessing.std + preprocessing.mean) * 255


def _a_photograph() -> Path:
    if not PHOTOGRAPHS.is_dir():
        pytest.skip(f"needs {PHOTOGRAPHS}")
    return min(PHOTOGRAPHS.glob("*.jpg"))


@pytest.fixture(scope="module")
def reference():
    """Pixels [S, S, 3] by transformers' CLIPImageProcessor on Pillow, given the same Pillow image."""
    transformers_or_skip()
    module = pytest.importorskip("transformers.models.clip.image_processing_pil_clip")
    processor = module.CLIPImageProcessorPil()

    def run(image: Image.Image) -> np.ndarray:
        return np.moveaxis(np.asarray(processor(image, input_data_format="channels_first").pixel_values[0]), 0, -1)

    return run


def test_equals_transformers_on_photographs(reference):
    paths = sorted(_a_photograph().parent.glob("*.jpg"))
    assert len(paths) == 100
    for path in paths:
        image = decode_image(path.read_bytes(), path.name)
        np.testing.assert_allclose(preprocess(image, CLIP), reference(image), atol=1e-5, err_msg=path.name)


@pytest.mark.parametrize(
    "size", [(1, 1), (2, 3), (1, 19), (19, 1), (224, 224), (225, 224), (224, 227), (301, 224), (500, 333), (999, 50)]
)
def test_equals_transformers_at_odd_sizes(reference, size):
    image = noise(*size)
    np.testing.assert_allclose(preprocess(image, CLIP), reference(image), atol=1e-5)


@pytest.mark.parametrize("size", [(1, 700), (700, 2), (2, 701), (5, 777)])
def test_equals_transformers_on_hairlines(reference, size):
    image = noise(*size)
    assert np.abs(levels(preprocess(image, CLIP)) - levels(reference(image))).max() < 1.01


@pytest.mark.parametrize("kind", ["grey", "CMYK", "palette", "alpha", "rotated", "thin"])
def test_equals_transformers_from_the_file_on(reference, kind, tmp_path):
    """A photograph stored in an odd way, read by `transformers.image_utils.load_image` and by us."""
    image_utils = pytest.importorskip("transformers.image_utils")
    photograph = Image.open(_a_photograph()).convert("RGB")
    path = tmp_path / ("photo.jpg" if kind in ("grey", "CMYK", "rotated") else "photo.png")
    stored = {
        "grey": lambda: photograph.convert("L"),
        "CMYK": lambda: photograph.convert("CMYK"),
        "palette": lambda: photograph.quantize(64),
        "alpha": lambda: Image.merge("RGBA", (*photograph.split(), photograph.convert("L"))),
        "rotated": lambda: photograph,
        "thin": lambda: photograph.crop((100, 0, 101, photograph.height)),
    }[kind]()
    path.write_bytes(
        encoded(stored, Image.registered_extensions()[path.suffix], exif=orientation(6 * (kind == "rotated")))
    )
    image = image_utils.load_image(str(path))
    if kind == "rotated":
        assert image.size == photograph.size[::-1]
    ours = preprocess(decode_image(path.read_bytes(), path.name), CLIP)
    assert np.abs(levels(ours) - levels(reference(image))).max() < 1.01


@pytest.mark.parametrize("size", [(1, 60_000), (60_000, 1)])
def test_hairline_of_any_length_gives_its_centre(size):
    line = np.random.default_rng(0).integers(0, 256, (60_000, 1, 3), dtype=np.uint8)
    array = line if size[0] == 1 else line.transpose(1, 0, 2)
    nearest = Preprocessing(224, (0.0,) * 3, (1.0,) * 3, "nearest", "crop")
    seen = np.unique(np.rint(preprocess(array, nearest) * 255).reshape(-1, 3), axis=0)
    np.testing.assert_array_equal(seen, np.unique(line[29_999:30_001].reshape(-1, 3), axis=0))


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1"])
def test_modes_equal_transformers(reference, mode):
    image = noise(250, 230).convert(mode)
    np.testing.assert_allclose(preprocess(image, CLIP), reference(image), atol=1e-5)


def test_orientation_in_a_pillow_image_is_ignored_as_in_transformers(reference):
    rotated = Image.open(io.BytesIO(encoded(noise(300, 200), "JPEG", exif=orientation(6))))
    np.testing.assert_allclose(preprocess(rotated, CLIP), reference(rotated), atol=1e-5)


def test_an_image_of_the_right_size_is_only_normalised():
    image = noise(224, 224)
    for preprocessing in (CLIP, SEMCLIP_RELEASED):
        expected = (np.asarray(image, np.float64) / 255 - preprocessing.mean) / preprocessing.std
        got = preprocess(image, preprocessing)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected, atol=1e-6)
    np.testing.assert_array_equal(preprocess(np.asarray(image), CLIP), preprocess(image, CLIP))


def test_squash_is_antialiased_bilinear_of_both_sides():
    """The triangle filter, widened to the scale, in float64; Pillow rounds to 8 bits after each of its two passes."""

    def weights(length: int, size: int) -> np.ndarray:
        scale = length / size
        centres = (np.arange(size) + 0.5) * scale
        distance = np.abs(np.arange(length)[None] + 0.5 - centres[:, None]) / max(scale, 1)
        kernel = np.maximum(0, 1 - distance)
        return kernel / kernel.sum(axis=1, keepdims=True)

    image = noise(90, 40)
    small = Preprocessing(32, SEMCLIP_RELEASED.mean, SEMCLIP_RELEASED.std, "bilinear", "squash")
    pixels = np.asarray(image, np.float64)
    expected = np.einsum("hH,wW,HWc->hwc", weights(40, 32), weights(90, 32), pixels)
    assert np.abs(levels(preprocess(image, small), small) - expected).max() <= 1


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((4, 4, 3), np.float32), r"float32 \[4, 4, 3\]"),
        (np.zeros((4, 4), np.uint8), r"uint8 \[4, 4\]"),
        (np.zeros((3, 4, 4), np.uint8), r"uint8 \[3, 4, 4\]"),
    ],
)
def test_arrays_that_are_not_images_are_refused(array, found):
    with pytest.raises(ValueError, match=r"expected a uint8 array of shape \[H, W, 3\], found " + found):
        preprocess(array, CLIP)


def test_an_image_without_pixels_is_refused():
    with pytest.raises(ValueError, match="no pixels: 0 x 5"):
        preprocess(Image.new("RGB", (0, 5)), CLIP)


@pytest.mark.parametrize("value", range(1, 9))
def test_decode_turns_images_upright(value):
    # What a camera held that way stores; undoing it by hand gives the scene.
    store = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    scene = noise(7, 4)
    stored = scene.transpose(store[value]) if value in store else scene
    decoded = decode_image(encoded(stored, "PNG", exif=orientation(value)), "photo.png")
    np.testing.assert_array_equal(decoded, scene)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_decode_gives_rgb_as_pillow_converts(mode):
    image = noise(9, 5).convert(mode)
    decoded = decode_image(encoded(image), "a.png")
    assert decoded.mode == "RGB"
    np.testing.assert_array_equal(decoded, image.convert("RGB"))


def test_decode_palette_with_transparency_keeps_the_colours(recwarn):
    image = noise(9, 5).convert("P")
    decoded = decode_image(encoded(image, transparency=bytes(range(256))), "a.png")
    np.testing.assert_array_equal(decoded, image.convert("RGB"))
    assert not recwarn.list


def test_decode_cmyk_and_grey_jpeg():
    for mode in ("CMYK", "L"):
        data = encoded(noise(16, 16).convert(mode), "JPEG")
        np.testing.assert_array_equal(decode_image(data, "a.jpg"), Image.open(io.BytesIO(data)).convert("RGB"))


def test_decode_scales_16_bit_grey():
    values = np.array([[0, 128, 129, 257, 32768, 65406, 65407, 65535]], np.uint16)
    decoded = decode_image(encoded(Image.fromarray(values)), "a.png")
    expected = np.rint(values.astype(np.float64) * 255 / 65535)
    np.testing.assert_array_equal(np.asarray(decoded), np.repeat(expected[..., None], 3, axis=-1))


@pytest.mark.parametrize("image_format", ["GIF", "PNG", "WEBP"])
def test_decode_takes_the_first_frame(image_format):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if image_format == "WEBP" else {}
    data = encoded(frames[0], image_format, save_all=True, append_images=frames[1:], **options)
    np.testing.assert_array_equal(decode_image(data, "a.gif"), frames[0])


def bomb() -> bytes:
    """A PNG of a kilobyte that says it has 1.6 billion pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(9))) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "has no bytes"),
        (b"not an image", "not an image in one of the formats JPEG, PNG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in one of the formats"),
        (encoded(noise(40, 40))[:-500], "cannot decode the image .*truncated"),
        (encoded(noise(40, 40), "JPEG")[:-100], "cannot decode the image .*truncated"),
        (bomb(), "cannot decode the image .*1600000000 pixels"),
    ],
)
def test_bad_bytes_are_named(data, reason):
    with pytest.raises(ImageError, match=r"^cats/7\.jpg: .*" + reason):
        decode_image(data, "cats/7.jpg")


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "GIF", "BMP", "WEBP"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_bytes_raise_nothing_but_image_error(image_format):
    generator = np.random.default_rng(0)
    whole = encoded(noise(20, 16), image_format)
    for _ in range(200):
        data = bytearray(whole)
        for position in generator.integers(0, min(len(data), 200), 3):
            data[position] = generator.integers(0, 256)
        with contextlib.suppress(ImageError):
            assert decode_image(bytes(data), "a").mode == "RGB"


def test_settings_survive_a_dict():
    for preprocessing in (CLIP, SEMCLIP_RELEASED):
        assert Preprocessing.from_dict(preprocessing.as_dict()) == preprocessing
    assert CLIP.as_dict()["mean"] == [0.48145466, 0.4578275, 0.40821073]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"size": 0}, "size: expected a positive int, found 0"),
        ({"size": 224.0}, "size: expected a positive int, found 224.0"),
        ({"mean": [0.5, 0.5]}, "mean: expected three finite numbers"),
        ({"mean": None}, "mean: expected three finite numbers"),
        ({"std": [0.5, 0.0, 0.5]}, "std: expected positive numbers"),
        ({"interpolation": "lanczos"}, "interpolation: expected one of .*, found 'lanczos'"),
        ({"resize": "pad"}, "resize: expected one of .*, found 'pad'"),
        ({"colour": 1}, r"unknown \['colour'\], missing \[\]"),
    ],
)
def test_bad_settings_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        Preprocessing.from_dict(CLIP.as_dict() | change)


def test_missing_settings_are_named():
    with pytest.raises(ValueError, match=r"unknown \[\], missing \['std'\]"):
        Preprocessing.from_dict({key: value for key, value in CLIP.as_dict().items() if key != "std"})
