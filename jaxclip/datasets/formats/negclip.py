"""NegCLIP's training table (Yuksekgonul et al. 2023, arXiv 2210.01936)."""

from collections.abc import Iterator
from pathlib import Path

from jaxclip.datasets.records.rows import (
    Annotations,
    BadRow,
    Item,
    Row,
    RowError,
    item_object,
    list_of,
    parse_items,
    text_of,
    texts_of,
)
from jaxclip.datasets.records.tables import read_table, require_columns


def read_negclip(*, annotations: str, images: str, hard_images: bool = True) -> Annotations:
    """One record a hard caption: roles `caption` and `negation` (a caption whose words were swapped or replaced).

    With hard images also the image role `hard_image` and its `hard_caption` and `hard_negation`. The k-th hard caption
    of a row goes with its k-th hard image, in turns where there are fewer; the released code draws both anew each time.

    Args:
        annotations: `train_neg_clip.tsv`: `title`, `filepath`, `neg_caption` and `neg_image`, the last two lists
            (`neg_image` of row numbers, counted from 0 after the header).
        images: a folder with COCO's images, in folders of their own or not.
        hard_images: whether records hold them.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: it has other columns or cannot be read.
    """
    path = Path(annotations)
    require_columns(path, ("title", "filepath", "neg_caption", *(["neg_image"] * hard_images)))

    def rows() -> Iterator[Row | BadRow]:
        items = list(read_table(path))

        def parse(item: Item) -> Iterator[Row]:
            values = item_object(item)
            others = list_of(values, "neg_image", int) if hard_images else []
            for number, negation in enumerate(texts_of(values, "neg_caption")):
                texts = {"caption": text_of(values, "title"), "negation": negation}
                names = {"image": text_of(values, "filepath")}
                if hard_images:
                    hard = _row(items, others[number % len(others)])
                    negations = texts_of(hard, "neg_caption")
                    names["hard_image"] = text_of(hard, "filepath")
                    texts |= {
                        "hard_caption": text_of(hard, "title"),
                        "hard_negation": negations[number % len(negations)],
                    }
                yield Row(item, f"{item.number}#{number}", names, texts)

        return parse_items(items, parse)

    return Annotations(
        format="negclip",
        files=(path,),
        rows=rows,
        texts=("caption", "negation", *(["hard_caption", "hard_negation"] * hard_images)),
        images=dict.fromkeys(("image", *(["hard_image"] * hard_images)), images),
        by_basename=True,
        settings={"hard_images": hard_images},
    )


def _row(items: list[Item], number: int) -> dict:
    if not 0 <= number < len(items):
        raise RowError(f"'neg_image': expected row numbers from 0 to {len(items) - 1}, found {number}")
    return item_object(items[number])
