"""SugarCrepe (Hsieh et al. 2023, arXiv 2306.14610) and SugarCrepe++ (Dumpala et al. 2024, arXiv 2406.11171)."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxclip.datasets.errors import DatasetError
from jaxclip.datasets.records.rows import Annotations, BadRow, Item, Row, item_object, name_of, parse_items, text_of
from jaxclip.datasets.records.tables import existing_file, list_items, read_json

SUGARCREPE_SUBSETS = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
SUGARCREPE_PP_SUBSETS = ("replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
_KEYS = {"caption": "caption", "paraphrase": "caption2", "hard_negative": "negative_caption"}


def read_sugarcrepe(*, annotations: str, images: str) -> Annotations:
    """Captions and hard negatives; each subset is a split.

    Args:
        annotations: the folder of the seven JSON files, each an object of numbered items.
        images: COCO val2017.

    Raises:
        FileNotFoundError: a file is missing.
        DatasetError: a file that cannot be read.
    """
    texts = {role: key for role, key in _KEYS.items() if role != "paraphrase"}
    return _read("sugarcrepe", annotations, images, SUGARCREPE_SUBSETS, texts, benchmark=True)


def read_sugarcrepe_pp(*, annotations: str, images: str) -> Annotations:
    """Captions, paraphrases and hard negatives; each subset is a split.

    Args:
        annotations: the folder of the five JSON files, each a list.
        images: COCO val2017.

    Raises:
        FileNotFoundError: a file is missing.
        DatasetError: a file that cannot be read.
    """
    return _read("sugarcrepe_pp", annotations, images, SUGARCREPE_PP_SUBSETS, _KEYS, benchmark=True)


def read_sugarcrepe_pp_triplets(*, annotations: str, images: str) -> Annotations:
    """All of SugarCrepe++ as SemCLIP trains on it: the hard negatives in the role of negations, splits made by us.

    Two published items (2 and 8 of swap_obj) have a false caption that equals the true one: bad rows here.
    """
    texts = {"caption": "caption", "paraphrase": "caption2", "negation": "negative_caption"}
    return _read("sugarcrepe_pp_triplets", annotations, images, SUGARCREPE_PP_SUBSETS, texts, benchmark=False)


def _read(
    name: str, folder: str, images: str, subsets: Sequence[str], texts: dict[str, str], *, benchmark: bool
) -> Annotations:
    files = tuple(existing_file(Path(folder) / f"{subset}.json") for subset in subsets)

    def parse(item: Item) -> Iterator[Row]:
        values, subset = item_object(item), item.file.stem
        yield Row(
            item,
            f"{subset}/{name_of(values, 'id')}",
            {"image": text_of(values, "filename")},
            {role: text_of(values, key) for role, key in texts.items()} | {"subset": subset},
            split=subset,
            benchmark=benchmark,
        )

    def rows() -> Iterator[Row | BadRow]:
        return parse_items((item for file in files for item in _items(file)), parse)

    return Annotations(
        format=name,
        files=files,
        rows=rows,
        texts=tuple(texts),
        images={"image": images},
        fields={"subset": str},
        by_basename=True,
    )


def _items(file: Path) -> Iterator[Item]:
    """The items of a list, or of an object whose keys are their ids (SugarCrepe)."""
    content = read_json(file)
    if not isinstance(content, dict):
        yield from list_items(file, content)
        return
    if not content:
        raise DatasetError(f"{file}: no items in it")
    for number, (key, value) in enumerate(content.items()):
        item = Item(file, number, f"item {key!r}", value)
        yield dataclasses.replace(item, value={"id": key, **value}) if isinstance(value, dict) else item
