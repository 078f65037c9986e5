"""Architectures as data: every CLIP model is one row of `VARIANTS`.

Sizes of OpenAI's models are those of Radford et al. 2021 (arXiv 2103.00020), tables 19 and 20; H/14, g/14 and bigG/14
are OpenCLIP's (Cherti et al. 2023, arXiv 2212.07143); `scenes` is the small model of the built-in data, the same
architecture with other numbers.
"""

import dataclasses

ACTIVATIONS = ("quick_gelu", "gelu")


# Beyond all models, but small enough to be refused instead of waited for.
_MOST_LAYERS = 1000
_LARGEST_SIZE = 2**20


def _check_sizes(where: str, sizes: dict) -> None:
    for name, size in sizes.items():
        kinds = (int, float) if name == "mlp_ratio" else (int,)
        largest = _MOST_LAYERS if name.startswith("layers") else _LARGEST_SIZE
        for number in size if isinstance(size, tuple) else (size,):
            if type(number) not in kinds or not 0 < number <= largest:
                raise ValueError(f"{where}: {name} is {size!r}, expected a positive {kinds[-1].__name__} ≤ {largest:,}")


def mlp_ratio(hidden: int, width: int) -> float:
    """The ratio by which an MLP of `width` inputs has just `hidden` = int(width · ratio) hidden channels."""
    ratio = hidden / width
    return ratio if int(width * ratio) == hidden else (hidden + 0.5) / width


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
class ResNetConfig:
    """CLIP's modified ResNet: `width` channels after the stem, `layers` bottlenecks in each of the four stages.

    `heads` are those of the attention pool, over 32 · `width` channels.
    """

    image_size: int
    width: int
    layers: tuple[int, int, int, int]
    heads: int

    def __post_init__(self):
        if len(self.layers) != 4:
            raise ValueError(f"vision: layers is {self.layers}, expected the depths of four stages")
        _check_sizes("vision", {f"layers[{stage}]": depth for stage, depth in enumerate(self.layers)})
        _check_sizes("vision", {key: getattr(self, key) for key in ("image_size", "width", "heads")})
        if self.width % 2 or self.width * 32 % self.heads:
            raise ValueError(f"vision: width {self.width} is odd, or 32 · width is not divisible by {self.heads} heads")
        if self.image_size % 32:
            raise ValueError(f"vision: image_size {self.image_size} is not a multiple of 32")


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
    vision: VisionConfig | ResNetConfig
    text: TextConfig
    activation: str = "quick_gelu"

    def __post_init__(self):
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation: found {self.activation!r}, expected one of {', '.join(ACTIVATIONS)}")
        _check_sizes("model", {"embed_dim": self.embed_dim})
        vision_transformers = [("vision", self.vision)] if isinstance(self.vision, VisionConfig) else []
        for name, tower in [*vision_transformers, ("text", self.text)]:
            _check_sizes(name, dataclasses.asdict(tower))
            if tower.width % tower.heads:
                raise ValueError(f"{name}: width {tower.width} is not divisible by its {tower.heads} heads")
        for _, tower in vision_transformers:
            if tower.image_size % tower.patch_size:
                raise ValueError(
                    f"vision: image_size {tower.image_size} is not a multiple of patch_size {tower.patch_size}"
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
            return cls(**{**values, "vision": _vision_config(values["vision"]), "text": TextConfig(**values["text"])})
        except KeyError as error:
            raise ValueError(f"model description: key {error.args[0]!r} is missing; found {sorted(values)}") from None
        except TypeError as error:
            raise ValueError(f"model description: {error}") from None


def _vision_config(values: dict) -> VisionConfig | ResNetConfig:
    """A ResNet is told from a ViT by its list of depths, one a stage."""
    if isinstance(values, dict) and isinstance(values.get("layers"), list | tuple):
        return ResNetConfig(**{**values, "layers": tuple(values["layers"])})
    return VisionConfig(**values)


def _openai_vit(
    embed_dim: int, image_size: int, patch_size: int, width: int, layers: int, text_width: int
) -> ModelConfig:
    return ModelConfig(
        embed_dim=embed_dim,
        vision=VisionConfig(image_size, patch_size, width, layers, heads=width // 64),
        text=TextConfig(77, 49408, text_width, layers=12, heads=text_width // 64),
    )


def _openai_resnet(
    embed_dim: int, image_size: int, width: int, layers: tuple[int, ...], text_width: int
) -> ModelConfig:
    return ModelConfig(
        embed_dim=embed_dim,
        vision=ResNetConfig(image_size, width, layers, heads=width * 32 // 64),
        text=TextConfig(77, 49408, text_width, layers=12, heads=text_width // 64),
    )


def _open_clip_vit(embed_dim: int, vision: VisionConfig, text_layers: int) -> ModelConfig:
    text = TextConfig(77, 49408, embed_dim, text_layers, heads=embed_dim // 64)
    return ModelConfig(embed_dim, vision, text, activation="gelu")


VARIANTS: dict[str, ModelConfig] = {
    "RN50": _openai_resnet(1024, 224, 64, (3, 4, 6, 3), text_width=512),
    "RN101": _openai_resnet(512, 224, 64, (3, 4, 23, 3), text_width=512),
    "RN50x4": _openai_resnet(640, 288, 80, (4, 6, 10, 6), text_width=640),
    "RN50x16": _openai_resnet(768, 384, 96, (6, 8, 18, 8), text_width=768),
    "RN50x64": _openai_resnet(1024, 448, 128, (3, 15, 36, 10), text_width=1024),
    "ViT-B/32": _openai_vit(512, 224, 32, 768, 12, text_width=512),
    "ViT-B/16": _openai_vit(512, 224, 16, 768, 12, text_width=512),
    "ViT-L/14": _openai_vit(768, 224, 14, 1024, 24, text_width=768),
    "ViT-L/14@336px": _openai_vit(768, 336, 14, 1024, 24, text_width=768),
    "ViT-H/14": _open_clip_vit(1024, VisionConfig(224, 14, 1280, 32, heads=16), text_layers=24),
    "ViT-g/14": _open_clip_vit(1024, VisionConfig(224, 14, 1408, 40, heads=16, mlp_ratio=4.3637), text_layers=24),
    "ViT-bigG/14": _open_clip_vit(1280, VisionConfig(224, 14, 1664, 48, heads=16, mlp_ratio=4.9231), text_layers=32),
    "scenes": ModelConfig(
        embed_dim=128,
        vision=VisionConfig(image_size=48, patch_size=8, width=128, layers=6, heads=4),
        text=TextConfig(context_length=64, vocabulary_size=768, width=128, layers=6, heads=4),
    ),
}
