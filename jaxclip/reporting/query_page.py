"""The page of a search: texts down, checkpoints side by side, the photographs found, best first."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from jaxclip.files import write_atomically
from jaxclip.reporting.pages import page_environment


class Hit(NamedTuple):
    """A photograph that was found: PNG or JPEG bytes, its name (of no other one), and its cosine with the text."""

    image: bytes
    name: str
    cosine: float


def write_query_page(
    path: pathlib.Path, *, texts: Sequence[str], found: Mapping[str, Sequence[Sequence[Hit]]], photographs: int
) -> None:
    """Writes one self-contained HTML page; all text is escaped.

    Args:
      path: of the page; its directory is made where it is missing.
      texts: what was searched for.
      found: checkpoint -> for each text its hits, best first.
      photographs: how many were searched.

    Raises:
      ValueError: an image that is neither PNG nor JPEG.
    """
    template = page_environment().get_template("query.html.j2")
    # A photograph that is found for one of the texts only is what the page is about.
    names = {name: [{hit.name for hit in hits} for hits in searches] for name, searches in found.items()}
    shared = {name: set.intersection(*by_text) for name, by_text in names.items()}
    page = template.render(texts=texts, found=found, shared=shared, photographs=photographs)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, page.encode())
