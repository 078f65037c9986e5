"""The run that docs/scaling.md plans: SemCLIP on captions, paraphrases and negations, the whole text tower trained.

bfloat16, and augmented images: their features cannot be kept, so the frozen image tower runs in every step.
"""

from ml_collections import ConfigDict

from configs.semclip import get_config as semclip


def get_config() -> ConfigDict:
    """The config; `jaxclip.plan --arch` says which model."""
    config = semclip("triplets")
    config.model.dtype = "bfloat16"
    config.streams.train.augmentation = ConfigDict({"flip": 0.5})
    return config
