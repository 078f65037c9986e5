"""Reading captions: CSV, TSV, JSONL and Parquet with the columns of the `triplets` builder, and COCO captions JSON."""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from jaxclip.datasets.errors import DatasetError
from jaxclip.datasets.formats.triplets import read_rows, resolve_columns
from jaxclip.datasets.records.rows import BadRow
from jaxclip.datasets.records.tables import near, read_columns
from jaxclip.generation.errors import GenerateError


@dataclasses.dataclass(frozen=True)
class Caption:
    """One caption of one image.

    Attributes:
        id: unique in all files of the run.
        image: path below the image folder.
        text: the caption, without white space around it.
    """

    id: str
    image: str
    text: str


def read_captions(paths: Sequence[Path], columns: Mapping[str, str]) -> tuple[list[Caption], int]:
    """All captions in the order of the files, and how many were left out since image and caption came before.

    Args:
        paths: .csv, .tsv, .jsonl or .parquet files with an image and a caption in each row (and an id, if they have
            one), or .json files of COCO captions.
        columns: of .csv, .tsv and .jsonl: role (`id`, `image`, `caption`) to column, where the names differ.

    Raises:
        FileNotFoundError: no such file.
        GenerateError: a file that cannot be read, a bad row, or an id that is used twice.
    """
    captions, ids, seen, repeated = [], {}, set(), 0
    for path in paths:
        for place, caption in _read_coco(path) if path.suffix == ".json" else _read_table(path, columns):
            if caption.id in ids:
                raise GenerateError(f"{path}, {place}: the id {caption.id!r} was used before, {ids[caption.id]}")
            ids[caption.id] = f"{path}, {place}"
            if (caption.image, caption.text) in seen:
                repeated += 1
                continue
            seen.add((caption.image, caption.text))
            captions.append(caption)
    if not captions:
        raise GenerateError(f"{', '.join(map(str, paths))}: no captions")
    return captions, repeated


def read_json(path: Path) -> dict:
    """The object that a JSON file holds.

    Raises:
        FileNotFoundError: no such file.
        GenerateError: not JSON, or no object.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file")
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise GenerateError(f"{path}: not a JSON file ({error})") from None
    if not isinstance(content, dict):
        raise GenerateError(f"{path}: expected a JSON object, found {type(content).__name__}")
    return content


def coco_image_names(path: Path, content: Mapping[str, Any]) -> dict[Any, str]:
    """Image id → file name, of a file in COCO's format.

    Raises:
        GenerateError: no `images`, or one without id or file name.
    """
    images = content.get("images")
    if not isinstance(images, list):
        raise GenerateError(f"{path}: expected a list 'images', as COCO has it, found the keys {list(content)}")
    try:
        return {image["id"]: image["file_name"] for image in images}
    except (KeyError, TypeError):
        raise GenerateError(f"{path}: expected 'id' and 'file_name' in each of 'images'") from None


def _read_coco(path: Path) -> Iterator[tuple[str, Caption]]:
    content = read_json(path)
    names = coco_image_names(path, content)
    annotations = content.get("annotations")
    if not isinstance(annotations, list):
        raise GenerateError(f"{path}: expected a list 'annotations', found the keys {list(content)}")
    for number, annotation in enumerate(annotations):
        place = f"annotation {number}"
        try:
            image, text = names[annotation["image_id"]], annotation["caption"]
        except (KeyError, TypeError) as error:
            raise GenerateError(
                f"{path}, {place}: expected 'caption' and an 'image_id' that is in 'images', found no {error}"
            ) from None
        if not isinstance(text, str) or not text.strip() or text.encode("utf-8", "ignore").decode() != text:
            raise GenerateError(f"{path}, {place}: expected a caption, found {text!r:.80}")
        _check_image_name(image, f"{path}, {place}")
        yield place, Caption(str(annotation.get("id", f"{path.stem}:{number}")), image, text.strip())


def _check_image_name(name: str, where: str) -> None:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise GenerateError(f"{where}: expected a path inside the image folder, found {name!r:.80}")


def _read_table(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[str, Caption]]:
    try:
        header = read_columns(path)
        if columns.get("caption", "caption") not in header:
            hint = near("caption", header) or "; --columns=caption=NAME takes another"
            raise GenerateError(f"{path}: no column 'caption'; found {header}{hint}")
        found = resolve_columns(path, header, columns)
        wanted = {role: column for role, column in found.items() if role in ("id", "image", "caption")}
        for row in read_rows(path, wanted):
            if isinstance(row, BadRow):
                raise GenerateError(str(row))
            _check_image_name(row.images["image"], f"{path}, {row.item.place}")
            # Without an id of its own a row is known by its number, which other files have too.
            name = row.id if "id" in wanted else f"{path.stem}:{row.id}"
            yield row.item.place, Caption(name, row.images["image"], row.values["caption"].strip())
    except DatasetError as error:
        raise GenerateError(str(error)) from None
