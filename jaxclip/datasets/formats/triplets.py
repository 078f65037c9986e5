"""Your own table of captions, paraphrases, negations and other texts about images: CSV, TSV, JSONL or Parquet."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from jaxclip.data.schema import IMAGE_ROLES, TEXT_ROLES
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
    text_of,
)
from jaxclip.datasets.records.tables import near, read_columns, read_table

ROLES = ("id", *IMAGE_ROLES, *TEXT_ROLES)

# Column names that are understood without being told. `paraphrased` and `image_number` are SemCLIP's.
_KNOWN_COLUMNS = {
    "image": ("image", "filename", "file_name", "filepath", "image_path", "image_number"),
    "paraphrase": ("paraphrase", "paraphrased"),
}
_IMAGE_NUMBER = "image_number"


def read_triplets(*, annotations: str, images: str, columns: Mapping[str, str] | None = None) -> Annotations:
    """A table with one record a row.

    Args:
        annotations: a UTF-8 .csv or .tsv with a header, a .jsonl of objects, or a .parquet.
        images: the folder, .zip, .tar or tars (`shards/*.tar`) that the image names start from.
        columns: role to column name, where the column isn't called as the role is. Without it, `filename`, `filepath`
            and SemCLIP's `paraphrased` and `image_number` (7 means 000000007.jpg) are understood too.

    Raises:
        FileNotFoundError: no such annotation file.
        DatasetError: columns that do not fit the file, or a file that cannot be read.
    """
    path = Path(annotations)
    chosen = {role: column for role, column in (columns or {}).items() if column is not None}
    by_role = resolve_columns(path, read_columns(path), chosen)
    return Annotations(
        format="triplets",
        files=(path,),
        rows=lambda: read_rows(path, by_role),
        texts=tuple(role for role in by_role if role in TEXT_ROLES),
        images={role: images for role in by_role if role in IMAGE_ROLES},
        settings={"columns": by_role},
    )


def read_rows(path: Path, by_role: Mapping[str, str]) -> Iterator[Row | BadRow]:
    """The rows of a table, of which only these columns are read.

    Args:
        path: the annotation file.
        by_role: role to column, from `resolve_columns`; a row without a column for `id` is called by its number.
    """

    def parse(item: Item) -> Iterator[Row]:
        values = item_object(item)
        if None in values:
            raise RowError(f"expected {len(values) - 1} cells, found {len(values) - 1 + len(values[None])}")
        yield Row(
            item,
            name_of(values, by_role["id"]) if "id" in by_role else str(item.number),
            {role: _image_name(values, column) for role, column in by_role.items() if role in IMAGE_ROLES},
            {role: text_of(values, column) for role, column in by_role.items() if role in TEXT_ROLES},
        )

    return parse_items(read_table(path), parse)


def resolve_columns(path: Path, found: list[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Which column holds which role: the chosen ones, and for other roles a column of a known name, if there is one.

    Args:
        path: the annotation file, for errors.
        found: names of its columns.
        chosen: role to column.

    Returns:
        Role to column, in the order of `ROLES`; always with `image` and one text role.

    Raises:
        DatasetError: an unknown role, a column that is not there, or no column for `image` or for any text.
    """
    for role in chosen:
        if role not in ROLES:
            raise DatasetError(f"columns: unknown role {role!r}{near(role, ROLES)}; expected some of {list(ROLES)}")
    columns = {}
    for role in ROLES:
        candidates = (chosen[role],) if role in chosen else _KNOWN_COLUMNS.get(role, (role,))
        column = next((candidate for candidate in candidates if candidate in found), None)
        if column is not None:
            columns[role] = column
        elif role in chosen or role == "image":
            wanted = " or ".join(map(repr, candidates))
            raise DatasetError(
                f"{path}: no column {wanted} for the role {role!r}; found {found}{near(candidates[0], found)}"
            )
    if not columns.keys() & TEXT_ROLES.keys():
        raise DatasetError(f"{path}: no column for any text, such as 'caption'; found {found}{near('caption', found)}")
    return columns


def _image_name(values: Mapping, column: str) -> str:
    """Name of the image in its folder."""
    text = name_of(values, column).strip()
    if column != _IMAGE_NUMBER:
        return text
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise RowError(f"{column!r}: expected a whole number, found {text!r:.80}")
    return f"{int(text):09d}.jpg"
