"""CC-Neg (CoN-CLIP; Singh et al. 2024, arXiv 2403.20312): captions of CC-3M images and their negations."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxclip.datasets.errors import DatasetError
from jaxclip.datasets.formats.coco import sorted_file_names
from jaxclip.datasets.records.rows import Annotations, BadRow, Item, Row, RowError, parse_items, shown, text_of
from jaxclip.datasets.records.tables import existing_file
from jaxclip.weights.tensors import WeightsError
from jaxclip.weights.torch_archive import read_torch_object

TEST_SIZE = 40_000


def read_ccneg(
    *,
    annotations: str,
    images: str,
    distractors: str | None = None,
    distractor_images: str | None = None,
    distractor_captions: str | None = None,
    remove_commas: bool = True,
    test_size: int = TEST_SIZE,
) -> Annotations:
    """Captions and negations; the last `test_size` items are the test split, the others train.

    Args:
        annotations: `ccneg_preprocessed.pt`, read by an unpickler that admits plain containers only.
        images: the folder of its images; the paths in the file are those of another machine.
        distractors: `distractor_image_mapping.pt`: gives the image role `distractor_image` to the items that it
            covers, the first image of each list.
        distractor_images: COCO train2017.
        distractor_captions: `captions_train2017.json`, by which the mapping counts the images.
        remove_commas: from negations, as the released code does.
        test_size: 40,000 in the papers.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: a file that is not what it should be, or distractors without their images and captions.
    """
    path = existing_file(Path(annotations))
    if len({distractors is None, distractor_images is None, distractor_captions is None}) > 1:
        raise DatasetError("distractors, distractor_images and distractor_captions: give all three or none")
    files = (path,)
    places = {"image": images}
    if distractors is not None:
        files += (existing_file(Path(distractors)), existing_file(Path(distractor_captions)))
        places["distractor_image"] = distractor_images

    def rows() -> Iterator[Row | BadRow]:
        items = _items(path)
        others = _distractor_names(*files[1:]) if distractors is not None else []

        def parse(item: Item) -> Iterator[Row]:
            image, annotation = item.value
            if not isinstance(image, str) or not isinstance(annotation, dict):
                raise RowError(f"expected a path and an annotation, found {shown(item.value)}")
            negation = text_of(_part(annotation, "sop_data"), "negative-prompt")
            test = item.number >= len(items) - test_size
            names = {"image": image}
            if not test and item.number < len(others):
                names["distractor_image"] = others[item.number]
            texts = {
                "caption": _caption(annotation),
                "negation": negation.replace(",", "") if remove_commas else negation,
            }
            yield Row(item, str(item.number), names, texts, split="test" if test else "train", benchmark=test)

        return parse_items(items, parse)

    return Annotations(
        format="ccneg",
        files=files,
        rows=rows,
        texts=("caption", "negation"),
        images=places,
        by_basename=True,
        settings={"remove_commas": remove_commas, "test_size": test_size},
    )


def _caption(annotation: dict[str, Any]) -> str:
    """From either of the two versions of the file that are about."""
    return text_of(annotation if "caption" in annotation else _part(annotation, "json"), "caption")


def _part(annotation: dict[str, Any], key: str) -> dict[str, Any]:
    part = annotation.get(key)
    if not isinstance(part, dict):
        raise RowError(f"{key!r}: expected a dict, found {shown(part)}")
    return part


def _items(path: Path) -> list[Item]:
    content = _load(path)
    lists = [content.get(key) for key in ("image_paths", "annotations")] if isinstance(content, dict) else [None, None]
    if not all(isinstance(values, list) for values in lists) or len(lists[0]) != len(lists[1]):
        raise DatasetError(f"{path}: expected a dict with the equally long lists 'image_paths' and 'annotations'")
    return [Item(path, number, f"item {number}", pair) for number, pair in enumerate(zip(*lists, strict=True))]


def _distractor_names(mapping: Path, captions: Path) -> list[str]:
    """The first distractor's file name for each item that the mapping covers."""
    names, found = sorted_file_names(captions), []
    content = _load(mapping)
    if not isinstance(content, list):
        raise DatasetError(f"{mapping}: expected a list, found {shown(content)}")
    for number, indices in enumerate(content):
        first = indices[0] if isinstance(indices, list) and indices else None
        if type(first) is not int or not 0 <= first < len(names):
            raise DatasetError(
                f"{mapping}, item {number}: expected a list of numbers below {len(names)}, the images of {captions}, "
                f"found {shown(indices)}"
            )
        found.append(names[first])
    return found


def _load(path: Path) -> Any:
    try:
        return read_torch_object(path)
    except WeightsError as error:
        raise DatasetError(str(error)) from None
