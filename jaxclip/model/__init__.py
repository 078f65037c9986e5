"""The CLIP model: pure-functional Flax Linen modules and the table of architectures."""

from jaxclip.model.clip import CLIP, init_params, parameter_shapes
from jaxclip.model.variants import VARIANTS, ModelConfig, ResNetConfig, TextConfig, VisionConfig, mlp_ratio

__all__ = [
    "CLIP",
    "VARIANTS",
    "ModelConfig",
    "ResNetConfig",
    "TextConfig",
    "VisionConfig",
    "init_params",
    "mlp_ratio",
    "parameter_shapes",
]
