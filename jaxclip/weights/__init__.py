"""Checkpoints of OpenAI, Hugging Face and OpenCLIP, in and out, without torch."""

from jaxclip.weights.checkpoint import Checkpoint
from jaxclip.weights.positions import with_image_size
from jaxclip.weights.reading import FORMATS, open_checkpoint
from jaxclip.weights.tensors import LazyTensor, WeightsError
from jaxclip.weights.writing import write_huggingface, write_open_clip

__all__ = [
    "FORMATS",
    "Checkpoint",
    "LazyTensor",
    "WeightsError",
    "open_checkpoint",
    "with_image_size",
    "write_huggingface",
    "write_open_clip",
]
