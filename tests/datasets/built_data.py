"""What the tests of data sets share: small images, tables, and every split of a data set at once."""

import csv
import io
import json
import re
from pathlib import Path

from PIL import Image

from jaxclip.datasets import DatasetError, Split, open_split

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"


def encoded(colour: int, image_format: str = "JPEG", mode: str = "RGB", size=(6, 5)) -> bytes:
    """A small image of one colour."""
    buffer = io.BytesIO()
    Image.new("RGB", size, (colour, 90, 30)).convert(mode).save(buffer, image_format)
    return buffer.getvalue()


def write_images(folder: Path, names) -> Path:
    """A folder with a different image under each name."""
    for number, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(7 * number % 256, size=(6 + number // 30, 5)))
    return folder


def write_table(path: Path, table: list[dict], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)
    return path


def write_lines(path: Path, values: list) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def write_json(path: Path, value) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")
    return path


def open_all(builder: str, data_dir: Path, **settings) -> dict[str, Split]:
    """Every split of a data set."""
    settings = {key: str(value) if isinstance(value, Path) else value for key, value in settings.items()}
    try:
        open_split("data/-", builder, settings, data_dir)
    except DatasetError as error:
        found = re.search("no such split; found (.*)", str(error))
        if not found:
            raise
    names = found.group(1).split(", ")
    return {name: open_split(f"data/{name}", builder, settings, data_dir) for name in names}


def records_of(split: Split) -> list[dict]:
    """All records with their images."""
    return [{**split[number], **{role: split[number][role] for role in split.images}} for number in range(len(split))]


def all_records(splits: dict[str, Split]) -> list[dict]:
    return [record for split in splits.values() for record in records_of(split)]


def bad_records(splits: dict[str, Split]) -> list[dict]:
    folder = next(iter(splits.values())).folder
    return [json.loads(line) for line in (folder / "bad_records.jsonl").read_text().splitlines()]


def by_id(split) -> dict[str, dict]:
    """id → record."""
    return {record["id"]: record for record in records_of(split)}


def image_folder(tmp_path: Path) -> Path:
    """An image folder with 000000000000.jpg to 000000000009.jpg."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(10):
        (images / f"{number:09d}.jpg").write_bytes(encoded(25 * number))
    return images


def triplet_rows(count: int = 10) -> list[dict]:
    """Rows of a table in SemCLIP's columns, for `image_folder`."""
    return [
        {
            "filename": f"{number % 10:09d}.jpg",
            "caption": f"a cat, number {number}",
            "paraphrased": f"cat “{number}”",
            "negation": f"no cat {number}",
        }
        for number in range(count)
    ]


def build_triplets(tmp_path: Path, annotations: Path, **options):
    """All splits of a table with its images in `image_folder`."""
    return open_all("triplets", tmp_path / "out", annotations=annotations, **{"images": tmp_path / "images"} | options)
