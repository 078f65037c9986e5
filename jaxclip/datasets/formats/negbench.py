"""NegBench (Alhamoud et al. 2025, arXiv 2501.09425): multiple choice, and retrieval with negations in the captions."""

from collections.abc import Iterator
from pathlib import Path

from jaxclip.datasets.records.rows import (
    Annotations,
    Item,
    Row,
    item_object,
    number_of,
    parse_items,
    text_of,
    texts_of,
)
from jaxclip.datasets.records.tables import read_table, require_columns

_OPTIONS = {f"option_{number}": f"caption_{number}" for number in range(4)}


def read_negbench_mcq(*, annotations: str, images: str) -> Annotations:
    """Four options (`option_0` to `option_3`), the number of the right one (`answer`) and its `template`.

    Args:
        annotations: e.g. `COCO_val_mcq_llama3.1_rephrased.csv`.
        images: the folder of its images (COCO val2017 or VOC2007); the paths in the file are those of another machine.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: it has other columns or cannot be read.
    """
    path = Path(annotations)
    require_columns(path, ("image_path", "correct_answer", "correct_answer_template", *_OPTIONS.values()))

    def parse(item: Item) -> Iterator[Row]:
        values = item_object(item)
        yield Row(
            item,
            str(item.number),
            {"image": text_of(values, "image_path")},
            {option: text_of(values, key) for option, key in _OPTIONS.items()}
            | {
                "answer": number_of(values, "correct_answer", len(_OPTIONS)),
                "template": text_of(values, "correct_answer_template"),
            },
            split="test",
        )

    return Annotations(
        format="negbench_mcq",
        files=(path,),
        rows=lambda: parse_items(read_table(path), parse),
        texts=tuple(_OPTIONS),
        images={"image": images},
        fields={"answer": int, "template": str},
        by_basename=True,
    )


def read_negbench_retrieval(*, annotations: str, images: str) -> Annotations:
    """One record a caption; the captions of an image stand in one row, as a Python list.

    Args:
        annotations: e.g. `COCO_val_negated_retrieval_llama3.1_rephrased_affneg_true.csv`.
        images: the folder of its images.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: it has other columns or cannot be read.
    """
    path = Path(annotations)
    require_columns(path, ("filepath", "captions"))

    def parse(item: Item) -> Iterator[Row]:
        values = item_object(item)
        name = text_of(values, "filepath")
        for number, caption in enumerate(texts_of(values, "captions")):
            yield Row(item, f"{item.number}#{number}", {"image": name}, {"caption": caption}, split="test")

    return Annotations(
        format="negbench_retrieval",
        files=(path,),
        rows=lambda: parse_items(read_table(path), parse),
        texts=("caption",),
        images={"image": images},
        by_basename=True,
    )
