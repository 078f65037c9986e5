"""What a format's parser hands to the record writer, and the checks that every format's rows go through.

A parser turns each item of an annotation file (a row of a table, an element of a JSON list) into rows, and raises
`RowError` where it cannot. That makes a `BadRow`, so that the writer can stop or skip.
"""

import ast
import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from jaxclip.data.schema import TEXT_ROLES

# A stray quote makes CSV readers swallow row after row into one text. No caption is as long as this.
LONGEST_TEXT = 4000
_MARKS = re.compile(r"[,.;:!]")
# Of each pair one is true of the image and the other false, so equal texts are a mistake.
_OPPOSITES = (
    ("negation", "caption"),
    ("hard_negative", "caption"),
    ("false_absence", "caption"),
    ("negation", "paraphrase"),
    ("hard_negative", "paraphrase"),
    ("false_absence", "absence"),
    ("minimal_false_absence", "minimal_absence"),
    ("hard_negation", "hard_caption"),
)


class RowError(ValueError):
    """One item of an annotation file that cannot be a row, with the reason."""


@dataclasses.dataclass(frozen=True)
class Item:
    """One item of an annotation file.

    Attributes:
        file: the file.
        number: counted from 0.
        place: where it stands, for a person: `line 7`, `item 3`.
        value: what stands there.
    """

    file: Path
    number: int
    place: str
    value: Any


@dataclasses.dataclass(frozen=True)
class Row:
    """One record before its images are read.

    Attributes:
        item: where it comes from.
        id: unique in the data set.
        images: image role → name of the image file.
        values: text role or further field → its value.
        split: where the format says it; None where rows are divided by the splitting settings.
        benchmark: others have published scores of exactly these rows, so one whose false text equals a true one stays,
            and counts as wrong.
    """

    item: Item
    id: str
    images: Mapping[str, str]
    values: Mapping[str, Any]
    split: str | None = None
    benchmark: bool = False


@dataclasses.dataclass(frozen=True)
class BadRow:
    """One item that cannot be used, with the reason."""

    item: Item
    reason: str

    def __str__(self) -> str:
        return f"{self.item.file}, {self.item.place}: {self.reason}"


@dataclasses.dataclass(frozen=True)
class Annotations:
    """A data set as its annotation files describe it, not read yet.

    Attributes:
        format: name of the format.
        files: the annotation files; their bytes name the data set on disk.
        rows: reads them; each row in the order of the files.
        texts: the text roles of every row.
        images: image role → the folder, zip or tars that its files are in.
        fields: further key of every row → str, int, or the shape of a float32 array.
        by_basename: the annotations name images by paths of another machine; only the last part counts.
        settings: the parser's settings that change rows.
    """

    format: str
    files: tuple[Path, ...]
    rows: Callable[[], Iterator[Row | BadRow]]
    texts: tuple[str, ...]
    images: Mapping[str, str]
    fields: Mapping[str, type | tuple[int, ...]] = dataclasses.field(default_factory=dict)
    by_basename: bool = False
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def parse_items(items: Iterable[Item], parse: Callable[[Item], Iterable[Row]]) -> Iterator[Row | BadRow]:
    """The rows of all items; an item's rows are all good or it is one bad row.

    Args:
        items: in the order of the files.
        parse: an item's rows; raises `RowError`.
    """
    places: dict[str, str] = {}
    for item in items:
        try:
            rows = list(parse(item))
            for row in rows:
                _check(row, places)
        except RowError as error:
            yield BadRow(item, str(error))
            continue
        places |= {row.id: item.place for row in rows}
        yield from rows


def _check(row: Row, places: Mapping[str, str]) -> None:
    """RowError where an id was used before, or (outside benchmarks) a text equals one that it should contradict."""
    if row.id in places:
        raise RowError(f"the id {row.id!r} was used in {places[row.id]} already")
    if row.benchmark:
        return
    texts = {role: text for role, text in row.values.items() if role in TEXT_ROLES}
    for false_role, true_role in _OPPOSITES:
        if false_role in texts and true_role in texts and _same(texts[false_role], texts[true_role]):
            raise RowError(f"the {false_role} equals the {true_role}: {texts[false_role]!r:.80}")


def _same(text: str, other: str) -> bool:
    """Whether two texts differ in case, white space and the marks between words at most."""
    return _MARKS.sub(" ", text.casefold()).split() == _MARKS.sub(" ", other.casefold()).split()


def item_object(item: Item) -> dict[str, Any]:
    """The item's value; RowError unless it is an object with names and values."""
    if not isinstance(item.value, dict):
        raise RowError(f"expected a JSON object, found {shown(item.value)}")
    return item.value


def text_of(values: Mapping[str, Any], key: str) -> str:
    """The text under a key; RowError unless it holds some, in valid Unicode and of a sane length."""
    text = values.get(key)
    # Pandas writes a missing text as `nan` once its column was made a column of strings.
    if not isinstance(text, str) or not text.strip() or text.strip().lower() == "nan":
        raise RowError(f"{key!r}: expected a text, found {shown(text)}")
    if len(text) > LONGEST_TEXT:
        raise RowError(f"{key!r}: a text of {len(text)} characters, expected at most {LONGEST_TEXT}: {text!r:.80}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:  # JSON can escape half a character
        raise RowError(f"{key!r}: not valid Unicode ({error.reason}): {text!r:.80}") from error
    return text


def texts_of(values: Mapping[str, Any], key: str) -> list[str]:
    """The texts of a list under a key (see `list_of`), each as `text_of` wants it."""
    return [text_of({key: text}, key) for text in list_of(values, key, str)]


def name_of(values: Mapping[str, Any], key: str) -> str:
    """A name under a key, such as an id: a text or a whole number."""
    value = values.get(key)
    return str(value) if type(value) is int else text_of(values, key)


def list_of(values: Mapping[str, Any], key: str, kind: type) -> list:
    """A list under a key that isn't empty, also one written as Python text; RowError where it is none."""
    value = values.get(key)
    if isinstance(value, str):
        try:
            value = ast.literal_eval(value)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            raise RowError(f"{key!r}: expected a list, found {shown(value)}") from None
    good = isinstance(value, list | tuple) and value and all(type(element) is kind for element in value)
    if not good:
        raise RowError(f"{key!r}: expected a list of {kind.__name__} with at least one, found {shown(value)}")
    return list(value)


def number_of(values: Mapping[str, Any], key: str, count: int) -> int:
    """A whole number from 0 to `count` - 1 under a key, also one written as text."""
    value = values.get(key)
    text = str(value).removesuffix(".0")  # Pandas writes whole numbers so where others are missing
    if isinstance(value, bool) or not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) < count):
        raise RowError(f"{key!r}: expected a whole number from 0 to {count - 1}, found {shown(value)}")
    return int(text)


def shown(value: Any) -> str:
    """A value from a file as an error shows it."""
    return "nothing" if value is None else f"{value!r:.80}"
