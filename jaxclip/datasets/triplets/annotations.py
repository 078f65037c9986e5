"""Reading a table of annotations (CSV, TSV or JSONL) and checking each of its rows.

What is wrong with a whole file raises `TripletsError`; what is wrong with one row becomes a `BadRecord`, so that the
builder can stop or skip.
"""

import csv
import dataclasses
import difflib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from jaxclip.data.schema import TEXT_ROLES

ROLES = ("id", "image", *TEXT_ROLES)

# Column names that are understood without being told. `paraphrased` and `image_number` are SemCLIP's.
_KNOWN_COLUMNS = {
    "image": ("image", "filename", "file_name", "filepath", "image_path", "image_number"),
    "paraphrase": ("paraphrase", "paraphrased"),
}
_IMAGE_NUMBER = "image_number"
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
# Of each pair one is true of the image and the other false, so equal texts are a mistake.
_OPPOSITES = (
    ("negation", "caption"),
    ("hard_negative", "caption"),
    ("false_absence", "caption"),
    ("negation", "paraphrase"),
    ("hard_negative", "paraphrase"),
    ("false_absence", "absence"),
    ("minimal_false_absence", "minimal_absence"),
)


class TripletsError(ValueError):
    """Annotations or images that cannot be used; the message names the file, the line and what was expected."""


@dataclasses.dataclass(frozen=True)
class Record:
    """One checked row.

    Attributes:
        line: where the row ends in the annotation file, from 1.
        id: unique in the file.
        image: path below the image folder, with forward slashes.
        texts: role to text, for each text role of the file.
    """

    line: int
    id: str
    image: str
    texts: dict[str, str]


@dataclasses.dataclass(frozen=True)
class BadRecord:
    """One row that cannot be used: its line in the annotation file and the reason."""

    line: int
    reason: str


def read_columns(path: Path) -> list[str]:
    """Names of the columns: the header of a CSV or TSV, the keys of the first object of a JSONL file.

    Raises:
        FileNotFoundError: no such file.
        TripletsError: an unknown suffix, an empty file, or a header that was written with another delimiter.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file")
    if path.suffix not in (*_DELIMITERS, ".jsonl"):
        raise TripletsError(f"{path}: expected a .csv, .tsv or .jsonl file")
    if path.suffix == ".jsonl":
        line, first = next(_json_lines(path), (1, None))
        if not isinstance(first, dict):
            raise TripletsError(f"{path}, line {line}: expected a JSON object, found {_shown(first)}")
        return list(first)
    delimiter = _DELIMITERS[path.suffix]
    _, columns = next(_csv_lines(path), (1, []))
    if not columns:
        raise TripletsError(f"{path}: the file is empty; expected a header")
    if len(columns) == 1:
        others = [other for other in ",;\t|" if other != delimiter and other in columns[0]]
        hint = f"; its delimiter seems to be {others[0]!r}" if others else ""
        raise TripletsError(
            f"{path}: only one column found, {columns[0]!r}{hint}; a {path.suffix} file is split at {delimiter!r}"
        )
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise TripletsError(f"{path}: the header has more than one column named {', '.join(map(repr, repeated))}")
    return columns


def resolve_columns(path: Path, found: list[str], chosen: Mapping[str, str]) -> dict[str, str]:
    """Which column holds which role: the chosen ones, and for other roles a column of a known name, if there is one.

    Args:
        path: the annotation file, for errors.
        found: names of its columns.
        chosen: role to column.

    Returns:
        Role to column, in the order of `ROLES`; always with `image` and `caption`.

    Raises:
        TripletsError: an unknown role, a column that is not there, or no column for `image` or `caption`.
    """
    for role in chosen:
        if role not in ROLES:
            raise TripletsError(f"columns: unknown role {role!r}{_near(role, ROLES)}; expected some of {list(ROLES)}")
    columns = {}
    for role in ROLES:
        candidates = (chosen[role],) if role in chosen else _KNOWN_COLUMNS.get(role, (role,))
        column = next((candidate for candidate in candidates if candidate in found), None)
        if column is not None:
            columns[role] = column
        elif role in chosen or role in ("image", "caption"):
            wanted = " or ".join(map(repr, candidates))
            raise TripletsError(
                f"{path}: no column {wanted} for the role {role!r}; found {found}{_near(candidates[0], found)}"
            )
    return columns


def read_records(path: Path, columns: Mapping[str, str]) -> Iterator[Record | BadRecord]:
    """Each row in the order of the file, checked as far as that is possible without the images.

    Args:
        path: the annotation file.
        columns: role to column, from `resolve_columns`.

    Yields:
        A `Record`, or a `BadRecord` where a text or an image name is missing, empty or no text, where a text equals
        one that it should contradict, or where an id was used before.

    Raises:
        TripletsError: the file is not UTF-8, or its quoting or JSON is broken.
    """
    first_lines: dict[str, int] = {}
    for index, (line, values) in enumerate(_rows(path)):
        try:
            record = _check(index, line, values, columns)
        except TripletsError as error:
            yield BadRecord(line, str(error))
            continue
        first_line = first_lines.setdefault(record.id, line)
        if first_line == line:
            yield record
        else:
            yield BadRecord(line, f"the id {record.id!r} was used in line {first_line} already")


def _check(index: int, line: int, values: Any, columns: Mapping[str, str]) -> Record:
    """The row as a record; TripletsError with the reason where it can't be one."""
    if not isinstance(values, dict):
        raise TripletsError(f"expected a JSON object, found {_shown(values)}")
    if None in values:
        raise TripletsError(f"expected {len(values) - 1} cells, found {len(values) - 1 + len(values[None])}")
    texts = {role: _text(values, column) for role, column in columns.items() if role in TEXT_ROLES}
    for false_role, true_role in _OPPOSITES:
        if false_role in texts and true_role in texts and _same(texts[false_role], texts[true_role]):
            raise TripletsError(f"the {false_role} equals the {true_role}: {texts[false_role]!r:.80}")
    record_id = _text(_numbers_as_text(values), columns["id"]) if "id" in columns else str(index)
    return Record(line, record_id, _image_name(values, columns["image"]), texts)


def _text(values: Mapping[str, Any], column: str) -> str:
    """The text of one cell; TripletsError unless it holds some."""
    text = values.get(column)
    # Pandas writes a missing text as `nan` once its column was made a column of strings.
    if not isinstance(text, str) or not text.strip() or text.strip().lower() == "nan":
        raise TripletsError(f"column {column!r}: expected a text, found {_shown(text)}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can escape half a character
        raise TripletsError(f"column {column!r}: not valid Unicode ({error.reason}): {text!r:.80}") from error
    return text


def _image_name(values: Mapping[str, Any], column: str) -> str:
    """Path of the image below the image folder; TripletsError where it is none or leads out of the folder."""
    text = _text(_numbers_as_text(values), column).strip()
    if column == _IMAGE_NUMBER:
        if not (text.isascii() and text.isdigit()):
            raise TripletsError(f"column {column!r}: expected a whole number, found {text!r:.80}")
        return f"{int(text):09d}.jpg"
    name = PurePosixPath(text)
    if name.is_absolute() or ".." in name.parts:
        raise TripletsError(f"column {column!r}: expected a path inside the image folder, found {text!r:.80}")
    return str(name)


def _numbers_as_text(values: Mapping[str, Any]) -> dict[str, Any]:
    """Whole numbers turned into text: in JSON, ids and image numbers are often given as numbers."""
    return {key: str(value) if type(value) is int else value for key, value in values.items()}


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and values of each row: a dict, or in JSONL whatever stands there."""
    if path.suffix == ".jsonl":
        yield from _json_lines(path)
        return
    lines = _csv_lines(path)
    _, header = next(lines)
    for line, cells in lines:
        values: dict[str | None, Any] = dict(zip(header, cells, strict=False))
        values |= dict.fromkeys(header[len(cells) :])
        if len(cells) > len(header):
            values[None] = cells[len(header) :]
        yield line, values


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that isn't blank, the header included."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=_DELIMITERS[path.suffix], strict=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except csv.Error as error:
        raise TripletsError(f"{path}, line {reader.line_num}: broken quoting ({error})") from error
    except UnicodeDecodeError as error:
        raise TripletsError(f"{path}: not UTF-8 ({error})") from error


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and value of each line that isn't blank."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise TripletsError(f"{path}, line {number}: not JSON ({error})") from error
    except UnicodeDecodeError as error:
        raise TripletsError(f"{path}: not UTF-8 ({error})") from error


def _same(text: str, other: str) -> bool:
    """Whether two texts differ in case and white space at most."""
    return text.casefold().split() == other.casefold().split()


def _shown(value: Any) -> str:
    """A value from the file as an error shows it."""
    return "nothing" if value is None else f"{value!r:.80}"


def _near(name: str, known: list[str] | tuple[str, ...]) -> str:
    """A hint at names that look like `name`, or nothing."""
    by_folded = {other.casefold(): other for other in known}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=3)
    return f"; did you mean {' or '.join(repr(by_folded[match]) for match in matches)}?" if matches else ""
