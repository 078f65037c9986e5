"""Fine-tune CLIP in JAX so that it understands negation and paraphrase.

    clip = jaxclip.load("ViT-B-32.pt")
    clip.encode_image(images) @ clip.encode_text(["a street without cars"]).T

The commands are python -m jaxclip.main, generate, convert, export, embed, evaluate and plan; each one explains itself
with --help.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
__all__ = ["load", "objectives"]


def __getattr__(name: str) -> Any:
    # On first use: a command that needs neither should not wait for JAX and Orbax.
    if name == "load":
        return importlib.import_module("jaxclip.pretrained").load
    if name == "objectives":
        return importlib.import_module("jaxclip.objectives")
    raise AttributeError(f"module 'jaxclip' has no attribute {name!r}")
