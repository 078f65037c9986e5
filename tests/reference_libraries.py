"""The libraries that results are compared with, imported where they can be."""

import importlib.util
from pathlib import Path

import pytest


def transformers_or_skip():
    """The `transformers` package with torch behind it."""
    pytest.importorskip("torch")
    _mend_torchvision()
    return pytest.importorskip("transformers")


def open_clip_or_skip():
    """The `open_clip` package."""
    pytest.importorskip("torch")
    _mend_torchvision()
    return pytest.importorskip("open_clip")


def _mend_torchvision() -> None:
    """Declares torchvision's operators where its compiled half doesn't fit the torch that is installed.

    A torch for the CPU beside a torchvision for CUDA is common; both libraries need only its Python half.
    """
    import torch

    found = importlib.util.find_spec("torchvision")
    if found is None or hasattr(torch.ops.torchvision, "nms"):
        return
    try:
        torch.ops.load_library(Path(found.origin).parent / "_C.so")
    except OSError:
        global _operators  # a library that is collected takes its operators with it
        _operators = torch.library.Library("torchvision", "DEF")
        for name in ("nms", "qnms"):
            _operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
