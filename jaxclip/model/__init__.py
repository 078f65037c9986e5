"""The CLIP model: pure-functional Flax Linen modules and the table of architectures."""

from jaxclip.model.clip import CLIP, init_params
from jaxclip.model.variants import VARIANTS, ModelConfig, TextConfig, VisionConfig

__all__ = ["CLIP", "VARIANTS", "ModelConfig", "TextConfig", "VisionConfig", "init_params"]
