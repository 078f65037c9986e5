"""NegRefCOCOg (NegationCLIP, arXiv 2501.10913): which of two boxes does a phrase with a negation mean?"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from jaxclip.datasets.records.rows import Annotations, Item, Row, RowError, item_object, parse_items, shown, text_of
from jaxclip.datasets.records.tables import existing_file, list_items, read_json


def read_negrefcocog(*, annotations: str, images: str) -> Annotations:
    """The phrase as `caption`; `boxes` float32 [2, 4] (left, top, width, height in pixels); `answer`, the right box.

    Args:
        annotations: `NegRefCOCOg.json`.
        images: COCO train2014.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: it is no JSON list.
    """
    path = existing_file(Path(annotations))

    def parse(item: Item) -> Iterator[Row]:
        values = item_object(item)
        boxes = values.get("bbox_list")
        if not isinstance(boxes, list) or len(boxes) != 2:
            raise RowError(f"'bbox_list': expected two boxes, found {shown(boxes)}")
        boxes = [_box(box, "bbox_list") for box in boxes]
        right = _box(values.get("ref_bbox"), "ref_bbox")
        if boxes.count(right) != 1:
            raise RowError(f"'ref_bbox': expected it once in 'bbox_list', found {shown(right)} and {shown(boxes)}")
        yield Row(
            item,
            str(item.number),
            {"image": text_of(values, "image")},
            {
                "caption": text_of(values, "phrase"),
                "boxes": np.array(boxes, np.float32),
                "answer": boxes.index(right),
            },
            split="test",
        )

    return Annotations(
        format="negrefcocog",
        files=(path,),
        rows=lambda: parse_items(list_items(path, read_json(path)), parse),
        texts=("caption",),
        images={"image": images},
        fields={"boxes": (2, 4), "answer": int},
        by_basename=True,
    )


def _box(value: Any, key: str) -> list[float]:
    """Left, top, width and height; RowError where it is no box with an area."""
    numbers = isinstance(value, list) and len(value) == 4 and all(type(number) in (int, float) for number in value)
    if not numbers or not all(map(math.isfinite, value)) or min(value[2:]) <= 0:
        raise RowError(f"{key!r}: expected left, top, width, height of a box, found {shown(value)}")
    return value
