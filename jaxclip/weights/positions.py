"""Position embeddings for another image size.

Shapes: N positions along one side, W width; one position more stands in front, the class token's or the mean's.
"""

import dataclasses

import jax
import numpy as np

from jaxclip.model import ModelConfig, ResNetConfig, parameter_shapes
from jaxclip.weights.checkpoint import Checkpoint
from jaxclip.weights.tensors import LazyTensor, WeightsError


def _position_path(config: ModelConfig) -> str:
    """Where the image tower keeps its position embeddings."""
    module = "visual/attnpool" if isinstance(config.vision, ResNetConfig) else "visual"
    return f"{module}/positional_embedding"


def with_image_size(checkpoint: Checkpoint, image_size: int) -> Checkpoint:
    """The same model for images of another size, in pixels: its position embeddings are resized.

    Raises:
      WeightsError: the size is not a multiple of the patches.
    """
    vision = dataclasses.replace(checkpoint.config.vision, image_size=image_size)
    try:
        config = dataclasses.replace(checkpoint.config, vision=vision)
    except ValueError as error:
        raise WeightsError(f"--image_size={image_size}: {error}") from None
    path = _position_path(config)
    positions = resize_positions(checkpoint.params[path], parameter_shapes(config)[path])
    preprocessing = dataclasses.replace(checkpoint.preprocessing, size=image_size)
    return Checkpoint(config, {**checkpoint.params, path: positions}, checkpoint.tokenizer, preprocessing)


def resize_positions(tensor: LazyTensor | np.ndarray, shape: tuple[int, ...]) -> LazyTensor:
    """Position embeddings [1 + N², W] → `shape` [1 + M², W], in the same type.

    Bicubic with anti-aliasing, as OpenCLIP does it; the position in front stays.
    """
    width, old, new = shape[1], round((tensor.shape[0] - 1) ** 0.5), round((shape[0] - 1) ** 0.5)

    def read() -> np.ndarray:
        positions = np.asarray(tensor, np.float32)
        grid = positions[1:].reshape(old, old, width)
        resized = np.asarray(jax.image.resize(grid, (new, new, width), "cubic", antialias=True))
        return np.concatenate([positions[:1], resized.reshape(-1, width)]).astype(tensor.dtype)

    return LazyTensor(shape, tensor.dtype, read)
