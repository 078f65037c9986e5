"""OpenAI's checkpoints: the architecture is read off the tensors (Radford et al. 2021, arXiv 2103.00020)."""

import re

from jaxclip.model import ModelConfig, ResNetConfig, TextConfig, VisionConfig, mlp_ratio
from jaxclip.weights.files import TensorFile
from jaxclip.weights.tensors import WeightsError

HEAD_WIDTH = 64  # of every tower and attention pool of OpenAI's

# Keys that OpenAI's archives have and no other checkpoint does.
MARKERS = ("input_resolution", "context_length", "vocab_size")


def infer_architecture(file: TensorFile) -> ModelConfig:
    """The architecture whose tensors these are, with OpenAI's QuickGELU.

    Raises:
      WeightsError: a tensor that tells a size is missing, or no architecture has such sizes.
    """
    vocabulary_size, text_width = _shape(file, "token_embedding.weight", 2)
    embed_dim = _shape(file, "text_projection", 2)[1]
    try:
        text = TextConfig(
            context_length=_shape(file, "positional_embedding", 2)[0],
            vocabulary_size=vocabulary_size,
            width=text_width,
            layers=_count(file, r"transformer\.resblocks\.(\d+)\."),
            heads=text_width // HEAD_WIDTH,
            mlp_ratio=mlp_ratio(_shape(file, "transformer.resblocks.0.mlp.c_fc.weight", 2)[0], text_width),
        )
        vision = _vision_transformer(file) if "visual.proj" in file.tensors else _resnet(file)
        return ModelConfig(embed_dim, vision, text)
    except WeightsError:
        raise
    except ValueError as error:
        raise WeightsError(f"{file.path}: the tensors fit no CLIP: {error}") from None


def _vision_transformer(file: TensorFile) -> VisionConfig:
    width, _, patch_size, _ = _shape(file, "visual.conv1.weight", 4)
    return VisionConfig(
        image_size=_grid(file, "visual.positional_embedding") * patch_size,
        patch_size=patch_size,
        width=width,
        layers=_count(file, r"visual\.transformer\.resblocks\.(\d+)\."),
        heads=width // HEAD_WIDTH,
        mlp_ratio=mlp_ratio(_shape(file, "visual.transformer.resblocks.0.mlp.c_fc.weight", 2)[0], width),
    )


def _resnet(file: TensorFile) -> ResNetConfig:
    width = _shape(file, "visual.layer1.0.conv1.weight", 4)[0]
    return ResNetConfig(
        image_size=_grid(file, "visual.attnpool.positional_embedding") * 32,
        width=width,
        layers=tuple(_count(file, rf"visual\.layer{stage}\.(\d+)\.") for stage in (1, 2, 3, 4)),
        heads=width * 32 // HEAD_WIDTH,
    )


def _shape(file: TensorFile, key: str, ndim: int) -> tuple[int, ...]:
    if key not in file.tensors:
        raise WeightsError(f"{file.path}: key {key!r} is missing, which every CLIP of OpenAI's has")
    shape = file.tensors[key].shape
    if len(shape) != ndim or 0 in shape:
        raise WeightsError(f"{file.path}: key {key!r}: found the shape {shape}, expected {ndim} axes")
    return shape


def _count(file: TensorFile, pattern: str) -> int:
    """The number of different numbers that the pattern finds at the start of keys."""
    return len({match[1] for match in (re.match(pattern, key) for key in file.tensors) if match})


def _grid(file: TensorFile, key: str) -> int:
    """Positions along one side of the image; one more position is the class token's or the mean's."""
    positions = _shape(file, key, 2)[0]
    grid = round((positions - 1) ** 0.5)
    if grid**2 + 1 != positions:
        raise WeightsError(f"{file.path}: key {key!r}: found {positions} positions, expected a square and one")
    return grid
