"""Odd images come through the pipeline; bad ones are named with file and row, or skipped and counted."""

import io
import struct
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from built_data import bad_records, encoded, open_all, write_table
from PIL import Image

from jaxclip.data.pipeline import load_image
from jaxclip.data.preprocessing import CLIP, SEMCLIP_RELEASED
from jaxclip.datasets import DatasetError
from jaxclip.datasets.records import image_files


def saved(image: Image.Image, image_format: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, image_format, **options)
    return buffer.getvalue()


def photograph(width=40, height=30) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def png_of_size(width: int, height: int) -> bytes:
    """A PNG that claims this size and holds almost nothing."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(bytes(100))), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def sixteen_bits() -> bytes:
    return saved(Image.fromarray(np.arange(0, 1200, dtype=np.uint16).reshape(30, 40) * 50), "PNG")


FRAMES = [photograph(), photograph().rotate(90), photograph().rotate(180)]
GOOD = {
    "one_pixel.png": saved(photograph(1, 1), "PNG"),
    "wide.png": saved(Image.new("RGB", (20_000, 3), (200, 10, 10)), "PNG"),
    "animated.gif": saved(FRAMES[0], "GIF", save_all=True, append_images=FRAMES[1:]),
    "animated.webp": saved(FRAMES[0], "WEBP", save_all=True, append_images=FRAMES[1:], lossless=True),
    "sixteen_bits.png": sixteen_bits(),
    "cmyk.jpg": saved(photograph().convert("CMYK"), "JPEG"),
    "palette.png": saved(photograph().convert("P"), "PNG", transparency=bytes(range(256))),
    "black_and_white.png": saved(photograph().convert("1"), "PNG"),
}
BAD = {
    "zero_bytes.jpg": (b"", "the image has no bytes"),
    "truncated.jpg": (saved(photograph(), "JPEG")[:-100], "cannot decode the image .*truncated"),
    "half_a_png.png": (saved(photograph(), "PNG")[:700], "cannot decode the image"),
    "corrupt.png": (saved(photograph(), "PNG").replace(b"IDAT", b"IXAT"), "cannot decode the image|not an image"),
    "text.jpg": (b"<html>404 Not Found</html>", "not an image in one of the formats JPEG, PNG"),
    "drawing.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image in one of the formats"),
    "bomb.png": (png_of_size(30_000, 30_000), "cannot decode the image .*exceeds limit .* decompression bomb"),
}


def table(folder: Path, contents: dict[str, bytes], good: int = 0) -> Path:
    """A CSV with a row for each image; `good` more rows before them, of one good image."""
    (folder / "images").mkdir()
    (folder / "images" / "good.jpg").write_bytes(encoded(1))
    for name, data in contents.items():
        (folder / "images" / name).write_bytes(data)
    names = good * ["good.jpg"] + list(contents)
    rows = [{"image": name, "caption": f"caption {number}"} for number, name in enumerate(names)]
    return write_table(folder / "rows.csv", rows)


def build(folder: Path, **settings):
    return open_all("triplets", folder / "out", annotations=folder / "rows.csv", images=folder / "images", **settings)


@pytest.mark.parametrize("preprocessing", [CLIP, SEMCLIP_RELEASED])
def test_odd_images_become_model_input(tmp_path, preprocessing):
    table(tmp_path, GOOD)
    splits = build(tmp_path, validation=0, test=0)
    records = {split["image_id"]: split for split in (splits["train"][n] for n in range(len(GOOD)))}
    assert records.keys() == GOOD.keys()
    for name, record in records.items():
        pixels = load_image(record, preprocessing)
        assert pixels.shape == (224, 224, 3) and np.isfinite(pixels).all(), name
    # Of an animation it is the first frame, and grey of 16 bits is not cut off to white.
    first = np.asarray(FRAMES[0].resize((224, 224), Image.Resampling.BILINEAR), np.float64)
    if preprocessing is SEMCLIP_RELEASED:
        for name in ("animated.gif", "animated.webp"):
            shown = (load_image(records[name], preprocessing) * preprocessing.std + preprocessing.mean) * 255
            assert np.corrcoef(shown.ravel(), first.ravel())[0, 1] > 0.8, name
        grey = load_image(records["sixteen_bits.png"], preprocessing) * preprocessing.std + preprocessing.mean
        assert grey.min() < 0.05 and 0.85 < grey.max() < 0.95  # 1199 · 50 of 65535


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_named_with_its_file_and_row(tmp_path, name):
    data, reason = BAD[name]
    table(tmp_path, {name: data}, good=2)
    with pytest.raises(DatasetError, match=rf"rows\.csv, line 4: .*{name}: ({reason})"):
        build(tmp_path)


def test_bad_images_are_skipped_counted_and_listed(tmp_path, capsys):
    table(tmp_path, {name: data for name, (data, _) in BAD.items()}, good=100)
    with pytest.raises(
        DatasetError, match=r"7 of 107 rows are bad, the first: .*zero_bytes.*; allow_bad_fraction is 0\.01"
    ):
        build(tmp_path, on_bad_record="skip")
    splits = build(tmp_path, on_bad_record="skip", allow_bad_fraction=0.07)
    assert sum(map(len, splits.values())) == 100
    assert "7 of 107 rows are bad" in capsys.readouterr().err
    listed = bad_records(splits)
    assert [entry["place"] for entry in listed] == [f"line {number}" for number in range(102, 109)]
    assert [Path(entry["reason"].split(": ")[0]).name for entry in listed] == list(BAD)


def test_up_to_one_percent_is_skipped_without_a_setting(tmp_path):
    table(tmp_path, {"zero_bytes.jpg": b""}, good=99)
    assert sum(map(len, build(tmp_path, on_bad_record="skip").values())) == 99


def test_an_archive_member_that_is_too_large_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(image_files, "_LARGEST_FILE", 5000)
    table(tmp_path, {"large.jpg": bytes(6000)})
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(tmp_path / "images" / "large.jpg", "large.jpg")
    for images in (tmp_path / "images", tmp_path / "images.zip"):
        with pytest.raises(DatasetError, match=r"large\.jpg: 6000 bytes, expected an image of at most 5000"):
            open_all("triplets", tmp_path / "out", annotations=tmp_path / "rows.csv", images=images)
