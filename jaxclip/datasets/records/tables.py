"""Reading annotation files: CSV, TSV, JSONL and Parquet tables, and JSON documents.

What is wrong with a whole file raises `DatasetError`. What the rows hold is for a format's parser to judge.
"""

import csv
import difflib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from jaxclip.datasets.errors import DatasetError
from jaxclip.datasets.records.rows import Item, shown

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
TABLE_SUFFIXES = (*_DELIMITERS, ".jsonl", ".parquet")


def read_columns(path: Path) -> list[str]:
    """Names of the columns: the header of a CSV or TSV, the keys of the first object of a JSONL, a Parquet's schema.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: an unknown suffix, an empty file, or a header that was written with another delimiter.
    """
    existing_file(path)
    if path.suffix not in TABLE_SUFFIXES:
        raise DatasetError(f"{path}: expected a {', '.join(TABLE_SUFFIXES)} file")
    if path.suffix == ".parquet":
        return _open_parquet(path).schema_arrow.names
    if path.suffix == ".jsonl":
        number, first = next(_json_lines(path), (1, None))
        if not isinstance(first, dict):
            raise DatasetError(f"{path}, line {number}: expected a JSON object, found {shown(first)}")
        return list(first)
    delimiter = _DELIMITERS[path.suffix]
    _, columns = next(_csv_lines(path), (1, []))
    if not columns:
        raise DatasetError(f"{path}: the file is empty; expected a header")
    if len(columns) == 1:
        others = [other for other in ",;\t|" if other != delimiter and other in columns[0]]
        hint = f"; its delimiter seems to be {others[0]!r}" if others else ""
        raise DatasetError(
            f"{path}: only one column found, {columns[0]!r}{hint}; a {path.suffix} file is split at {delimiter!r}"
        )
    repeated = sorted({column for column in columns if columns.count(column) > 1})
    if repeated:
        raise DatasetError(f"{path}: the header has more than one column named {', '.join(map(repr, repeated))}")
    return columns


def require_columns(path: Path, expected: Iterable[str]) -> None:
    """Checks that a table has all these columns.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: a column is missing, with the near matches, or the file is no table.
    """
    found = read_columns(path)
    for column in expected:
        if column not in found:
            raise DatasetError(f"{path}: no column {column!r}; found {found}{near(column, found)}")


def read_table(path: Path) -> Iterator[Item]:
    """Each row in the order of the file as a dict; in JSONL whatever value stands in the line.

    A cell that a CSV row lacks is None; the cells that it has too many of are under the key None.

    Raises:
        DatasetError: the file is not UTF-8, or its quoting, JSON or Parquet is broken.
    """
    if path.suffix == ".jsonl":
        for number, (line, value) in enumerate(_json_lines(path)):
            yield Item(path, number, f"line {line}", value)
    elif path.suffix == ".parquet":
        for number, value in enumerate(_parquet_rows(path)):
            yield Item(path, number, f"row {number + 1}", value)
    else:
        lines = _csv_lines(path)
        _, header = next(lines)
        for number, (line, cells) in enumerate(lines):
            values: dict[str | None, Any] = dict(zip(header, cells, strict=False))
            values |= dict.fromkeys(header[len(cells) :])
            if len(cells) > len(header):
                values[None] = cells[len(header) :]
            yield Item(path, number, f"line {line}", values)


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        FileNotFoundError: no such file.
        DatasetError: not UTF-8 or not JSON.
    """
    existing_file(path)
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 ({error})") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"{path}: not JSON ({error})") from error


def list_items(path: Path, values: Any, name: str = "item") -> Iterator[Item]:
    """The elements of a list in a JSON file, places counted from 0 as the list counts them.

    Raises:
        DatasetError: it is no list.
    """
    if not isinstance(values, list):
        raise DatasetError(f"{path}: expected a list ({name}s), found {shown(values)}")
    for number, value in enumerate(values):
        yield Item(path, number, f"{name} {number}", value)


def existing_file(path: Path) -> Path:
    """The path; FileNotFoundError where there is no such file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such annotation file")
    return path


def near(name: str, known: Iterable[str]) -> str:
    """A hint at names that look like `name`, or nothing."""
    by_folded = {other.casefold(): other for other in known}
    matches = difflib.get_close_matches(name.casefold(), by_folded, n=3)
    return f"; did you mean {' or '.join(repr(by_folded[match]) for match in matches)}?" if matches else ""


def _csv_lines(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of each row that isn't blank, the header included; a row counts where it ends."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=_DELIMITERS[path.suffix], strict=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except csv.Error as error:
        raise DatasetError(f"{path}, line {reader.line_num}: broken quoting ({error})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 ({error})") from error


def _json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """Line number and value of each line that isn't blank."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line.strip():
                    yield number, json.loads(line)
    except (json.JSONDecodeError, RecursionError) as error:
        raise DatasetError(f"{path}, line {number}: not JSON ({error})") from error
    except UnicodeDecodeError as error:
        raise DatasetError(f"{path}: not UTF-8 ({error})") from error


def _open_parquet(path: Path):
    from pyarrow import ArrowException, parquet  # 0.3 s, for Parquet only

    try:
        return parquet.ParquetFile(path)
    except (ArrowException, OSError) as error:
        raise DatasetError(f"{path}: not a readable Parquet file ({error})") from error


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    from pyarrow import ArrowException

    try:
        for batch in _open_parquet(path).iter_batches():
            yield from batch.to_pylist()
    except (ArrowException, OSError) as error:
        raise DatasetError(f"{path}: not a readable Parquet file ({error})") from error
