"""What all HTML pages share: escaping, templates beside this file, images within the page."""

import base64
import pathlib

import jinja2

_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "png", b"\xff\xd8\xff": "jpeg"}


def page_environment(*folders: pathlib.Path) -> jinja2.Environment:
    """Templates of these folders and of this one; everything is escaped, a missing name is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([*folders, pathlib.Path(__file__).parent]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    return environment


def data_uri(content: bytes) -> str:
    """A PNG or JPEG as an address that holds the whole image."""
    return f"data:image/{image_type(content)};base64,{base64.b64encode(content).decode()}"


def image_type(content: bytes) -> str:
    """`png` or `jpeg`, by the first bytes; ValueError for anything else."""
    for signature, kind in _SIGNATURES.items():
        if content.startswith(signature):
            return kind
    raise ValueError(f"a gallery image is neither PNG nor JPEG: it begins with {content[:8]!r}")
