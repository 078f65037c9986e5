"""A part of a page that a bench writes: what stands between two lines of it."""

from pathlib import Path

from jaxclip.files import write_atomically


def replace_between(document: Path, begin: str, end: str, text: str) -> None:
    """Puts the text between these two lines of the document.

    Raises:
      ValueError: the document does not have both.
    """
    content = document.read_text(encoding="utf-8")
    before, first, rest = content.partition(begin)
    _, second, after = rest.partition(end)
    if not first or not second:
        raise ValueError(f"{document}: expected the lines {begin} and {end}")
    write_atomically(document, f"{before}{begin}\n{text}\n{end}{after}".encode())
