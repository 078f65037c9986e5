"""Architectures as data: every CLIP model is one row of `VARIANTS`.

Sizes are those of Radford et al. 2021 (arXiv 2103.00020), table 19 and 20; `scenes` is the small model
of the built-in data, the same architecture with other numbers.
"""

import dataclasses

ACTIVATIONS = ("quick_gelu", "gelu")


def _check_sizes(where: str, sizes: dict) -> None:
    for name, size in sizes.items():
        kinds = (int, float) if name == "mlp_ratio" else (int,)
        if type(size) not in kinds or size <= 0:
            raise ValueError(f"{where}: {name} is {size!r}, expected a positive {kinds[-1].__name__}")


@dataclasses.dataclass(frozen=True)
class VisionConfig:
    """A vision transformer. Sizes in pixels (`image_size`, `patch_size`) and channels (`width`)."""

    image_size: int
    patch_size: int
    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0


@dataclasses.dataclass(frozen=True)
class TextConfig:
    """A causal text transformer over `context_length` tokens."""

    context_length: int
    vocabulary_size: int
    width: int
    layers: int
    heads: int
    mlp_ratio: float = 4.0


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """Both towers and the space they share.

    `activation` is `quick_gelu` (x·sigmoid(1.702x), OpenAI's weights) or `gelu` (exact, most OpenCLIP weights).
    """

    embed_dim: int
    vision: VisionConfig
    text: TextConfig
    activation: str = "quick_gelu"

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: found {self.activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        _check_sizes("model", {"embed_dim": self.embed_dim})
        for name, tower in (("vision", self.vision), ("text", self.text)):
            _check_sizes(name, dataclasses.asdict(tower))
            if tower.width % tower.heads:
                raise ValueError(f"{name}: width {tower.width} is not divisible by its {tower.heads} heads")
        if self.vision.image_size % self.vision.patch_size:
            raise ValueError(
                f"vision: image_size {self.vision.image_size} is not a multiple of patch_size {self.vision.patch_size}"
            )

    def as_dict(self) -> dict:
        """The architecture as nested plain containers, as written to `model.json`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> "ModelConfig":
        """The inverse of `as_dict`.

        Raises:
          ValueError: a key is missing or unknown, or a value is out of range.
        """
        try:
            return cls(**{**values, "vision": VisionConfig(**values["vision"]), "text": TextConfig(**values["text"])})
        except KeyError as error:
            raise ValueError(f"model description: key {error.args[0]!r} is missing; found {sorted(values)}") from None
        except TypeError as error:
            raise ValueError(f"model description: {error}") from None


def _openai_vit(embed_dim: int, image_size: int, patch_size: int, width: int, layers: int, text_width: int) -> ModelConfig:
    return ModelConfig(
        embed_dim=embed_dim,
        vision=VisionConfig(image_size, patch_size, width, layers, heads=width // 64),
        text=TextConfig(77, 49408, text_width, layers=12, heads=text_width // 64),
    )


VARIANTS: dict[str, ModelConfig] = {
    "ViT-B/32": _openai_vit(512, 224, 32, 768, 12, text_width=512),
    "ViT-B/16": _openai_vit(512, 224, 16, 768, 12, text_width=512),
    "ViT-L/14": _openai_vit(768, 224, 14, 1024, 24, text_width=768),
    "ViT-L/14@336px": _openai_vit(768, 336, 14, 1024, 24, text_width=768),
    "scenes": ModelConfig(
        embed_dim=128,
        vision=VisionConfig(image_size=48, patch_size=8, width=128, layers=6, heads=4),
        text=TextConfig(context_length=64, vocabulary_size=768, width=128, layers=6, heads=4),
    ),
}
