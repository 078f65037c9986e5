"""COCO's captions, NegationCLIP's rewriting of them, and the Karpathy splits of COCO and Flickr30k."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxclip.datasets.errors import DatasetError
from jaxclip.datasets.records.rows import (
    Annotations,
    BadRow,
    Item,
    Row,
    RowError,
    item_object,
    name_of,
    parse_items,
    shown,
    text_of,
)
from jaxclip.datasets.records.tables import existing_file, list_items, read_json

_KARPATHY_SPLITS = {"train": "train", "restval": "train", "val": "validation", "test": "test"}


def read_coco_captions(
    *, annotations: str, images: str, absence: bool = False, other_caption_as_paraphrase: bool = False
) -> Annotations:
    """One record a caption.

    Args:
        annotations: `captions_*.json` of COCO, or NegationCLIP's copy of it; several with commas between.
        images: the folder of their images.
        absence: take `updated_caption` as the role `absence`; captions without one are left out (NegationCLIP).
        other_caption_as_paraphrase: take the image's next caption as the role `paraphrase`; the last one takes the
            first, and an image with one caption only is left out.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: it is not in COCO's format.
    """
    paths = tuple(existing_file(Path(path)) for path in str(annotations).split(","))
    texts = ("caption", *(["paraphrase"] * other_caption_as_paraphrase), *(["absence"] * absence))

    def rows_of(path: Path) -> Iterator[Row | BadRow]:
        content = _coco_object(path)
        files = _file_names(path, content["images"])
        entries = list(list_items(path, content["annotations"], "annotation"))
        paraphrases = _next_captions(entries) if other_caption_as_paraphrase else {}

        def parse(item: Item) -> Iterator[Row]:
            values = item_object(item)
            if absence and "updated_caption" not in values:
                return
            if other_caption_as_paraphrase and item.number not in paraphrases:
                return
            image = values.get("image_id")
            if not isinstance(image, int | str) or image not in files:
                raise RowError(f"'image_id': {shown(image)} is no image of this file")
            found = {"caption": text_of(values, "caption")}
            if other_caption_as_paraphrase:
                found["paraphrase"] = text_of(paraphrases[item.number], "caption")
            if absence:
                found["absence"] = text_of(values, "updated_caption")
            yield Row(item, name_of(values, "id"), {"image": files[image]}, found)

        return parse_items(entries, parse)

    return Annotations(
        format="coco_captions",
        files=paths,
        rows=lambda: itertools.chain.from_iterable(map(rows_of, paths)),
        texts=texts,
        images={"image": images},
        by_basename=True,
        settings={"texts": texts},
    )


def _coco_object(path: Path) -> dict[str, Any]:
    content = read_json(path)
    if not isinstance(content, dict) or not {"images", "annotations"} <= content.keys():
        raise DatasetError(f"{path}: expected an object with 'images' and 'annotations', as COCO's captions files are")
    return content


def _file_names(path: Path, images: Any) -> dict[int | str, str]:
    """Image id → file name."""
    names = {}
    for item in list_items(path, images, "image"):
        values = item.value if isinstance(item.value, dict) else {}
        if not isinstance(values.get("id"), int | str) or not isinstance(values.get("file_name"), str):
            raise DatasetError(f"{path}, {item.place}: expected 'id' and 'file_name', found {shown(item.value)}")
        names[values["id"]] = values["file_name"]
    return names


def sorted_file_names(path: Path) -> list[str]:
    """File names in the order of their image ids: how torchvision's `CocoCaptions` counts the images.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: it is not in COCO's format.
    """
    names = _file_names(path, _coco_object(path)["images"])
    return [name for _, name in sorted(names.items(), key=lambda pair: int(pair[0]))]


def _next_captions(entries: list[Item]) -> dict[int, dict]:
    """Number of an annotation → the next annotation of the same image; none for an image with a single caption."""
    by_image: dict[Any, list[Item]] = {}
    for item in entries:
        if isinstance(item.value, dict):
            by_image.setdefault(str(item.value.get("image_id")), []).append(item)
    return {
        item.number: other.value
        for items in by_image.values()
        if len(items) > 1
        for item, other in zip(items, [*items[1:], items[0]], strict=True)
    }


def read_karpathy(*, annotations: str, images: str) -> Annotations:
    """One record a caption, in Karpathy's train (with `restval`), validation and test splits.

    Args:
        annotations: `dataset_coco.json` or `dataset_flickr30k.json`.
        images: the folder with the images, in folders of their own or not.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: it is not in this format.
    """
    path = existing_file(Path(annotations))

    def parse(item: Item) -> Iterator[Row]:
        values = item_object(item)
        split = values.get("split")
        if split not in _KARPATHY_SPLITS:
            raise RowError(f"'split': expected one of {', '.join(_KARPATHY_SPLITS)}, found {shown(split)}")
        sentences = values.get("sentences")
        if not isinstance(sentences, list) or not sentences:
            raise RowError(f"'sentences': expected a list with at least one, found {shown(sentences)}")
        name = text_of(values, "filename")
        for number, sentence in enumerate(sentences):
            if not isinstance(sentence, dict):
                raise RowError(f"'sentences': expected JSON objects, found {shown(sentence)}")
            yield Row(
                item,
                f"{name}#{number}",
                {"image": name},
                {"caption": text_of(sentence, "raw")},
                split=_KARPATHY_SPLITS[split],
            )

    def rows() -> Iterator[Row | BadRow]:
        content = read_json(path)
        if not isinstance(content, dict) or "images" not in content:
            raise DatasetError(f"{path}: expected an object with 'images', as Karpathy's files are")
        return parse_items(list_items(path, content["images"], "image"), parse)

    return Annotations(
        format="karpathy", files=(path,), rows=rows, texts=("caption",), images={"image": images}, by_basename=True
    )
