"""CLIP in torch, written from OpenAI's published architecture with OpenAI's names of modules, for any `ModelConfig`.

It writes the files that conversions are tested on and says what the embeddings should be.
"""

import collections
import dataclasses
import json
import math
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from safetensors.torch import save_file  # noqa: E402
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from jaxclip.model import ModelConfig, ResNetConfig  # noqa: E402

torch.set_num_threads(2)


class QuickGELU(nn.Module):
    def forward(self, x):
        return x * torch.sigmoid(1.702 * x)


class Block(nn.Module):
    def __init__(self, width: int, heads: int, hidden: int, activation: str):
        super().__init__()
        self.attn = nn.MultiheadAttention(width, heads, batch_first=True)
        self.ln_1 = nn.LayerNorm(width)
        gelu = QuickGELU() if activation == "quick_gelu" else nn.GELU()
        layers = [("c_fc", nn.Linear(width, hidden)), ("gelu", gelu), ("c_proj", nn.Linear(hidden, width))]
        self.mlp = nn.Sequential(collections.OrderedDict(layers))
        self.ln_2 = nn.LayerNorm(width)

    def forward(self, x, mask: torch.Tensor | None):
        y = self.ln_1(x)
        x = x + self.attn(y, y, y, need_weights=False, attn_mask=mask)[0]
        return x + self.mlp(self.ln_2(x))


class Transformer(nn.Module):
    def __init__(self, tower, activation: str):
        super().__init__()
        hidden = int(tower.width * tower.mlp_ratio)
        self.resblocks = nn.ModuleList(Block(tower.width, tower.heads, hidden, activation) for _ in range(tower.layers))

    def forward(self, x, mask: torch.Tensor | None):
        for block in self.resblocks:
            x = block(x, mask)
        return x


class VisionTransformer(nn.Module):
    def __init__(self, tower, embed_dim: int, activation: str):
        super().__init__()
        width, positions = tower.width, (tower.image_size // tower.patch_size) ** 2 + 1
        self.conv1 = nn.Conv2d(3, width, tower.patch_size, tower.patch_size, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(width))
        self.positional_embedding = nn.Parameter(torch.empty(positions, width))
        self.ln_pre, self.ln_post = nn.LayerNorm(width), nn.LayerNorm(width)
        self.transformer = Transformer(tower, activation)
        self.proj = nn.Parameter(torch.empty(width, embed_dim))

    def forward(self, images):
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(len(images), 1, -1), patches], 1) + self.positional_embedding
        x = self.transformer(self.ln_pre(x), None)
        return self.ln_post(x[:, 0]) @ self.proj


class Bottleneck(nn.Module):
    def __init__(self, inputs: int, channels: int, stride: int):
        super().__init__()
        outputs = channels * 4
        self.conv1, self.bn1 = nn.Conv2d(inputs, channels, 1, bias=False), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False), nn.BatchNorm2d(channels)
        self.conv3, self.bn3 = nn.Conv2d(channels, outputs, 1, bias=False), nn.BatchNorm2d(outputs)
        self.pool = nn.AvgPool2d(stride)
        self.downsample = nn.Sequential()
        if stride > 1 or inputs != outputs:
            shortcut = [("-1", nn.AvgPool2d(stride)), ("0", nn.Conv2d(inputs, outputs, 1, bias=False))]
            self.downsample = nn.Sequential(collections.OrderedDict([*shortcut, ("1", nn.BatchNorm2d(outputs))]))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.pool(F.relu(self.bn2(self.conv2(y))))
        return F.relu(self.bn3(self.conv3(y)) + self.downsample(x))


class AttentionPool(nn.Module):
    def __init__(self, tower, embed_dim: int):
        super().__init__()
        width = tower.width * 32
        self.heads = tower.heads
        self.positional_embedding = nn.Parameter(torch.empty((tower.image_size // 32) ** 2 + 1, width))
        self.q_proj, self.k_proj, self.v_proj = (
            nn.Linear(width, width),
            nn.Linear(width, width),
            nn.Linear(width, width),
        )
        self.c_proj = nn.Linear(width, embed_dim)

    def forward(self, x):
        x = x.flatten(2).transpose(1, 2)
        x = torch.cat([x.mean(1, keepdim=True), x], 1) + self.positional_embedding
        batch, width = x.shape[0], x.shape[2]
        q = self.q_proj(x[:, :1]).reshape(batch, 1, self.heads, width // self.heads).transpose(1, 2)
        k = self.k_proj(x).reshape(batch, x.shape[1], self.heads, width // self.heads).transpose(1, 2)
        v = self.v_proj(x).reshape(batch, x.shape[1], self.heads, width // self.heads).transpose(1, 2)
        weights = torch.softmax(q @ k.transpose(2, 3) / (width // self.heads) ** 0.5, -1)
        return self.c_proj((weights @ v).reshape(batch, width))


class ModifiedResNet(nn.Module):
    def __init__(self, tower, embed_dim: int):
        super().__init__()
        width = tower.width
        self.conv1, self.bn1 = nn.Conv2d(3, width // 2, 3, 2, 1, bias=False), nn.BatchNorm2d(width // 2)
        self.conv2, self.bn2 = nn.Conv2d(width // 2, width // 2, 3, padding=1, bias=False), nn.BatchNorm2d(width // 2)
        self.conv3, self.bn3 = nn.Conv2d(width // 2, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        stages, inputs = [], width
        for stage, depth in enumerate(tower.layers):
            channels = width * 2**stage
            blocks = []
            for index in range(depth):
                blocks.append(Bottleneck(inputs, channels, 2 if stage > 0 and index == 0 else 1))
                inputs = channels * 4
            stages.append(nn.Sequential(*blocks))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.attnpool = AttentionPool(tower, embed_dim)

    def forward(self, images):
        x = F.relu(self.bn1(self.conv1(images)))
        x = F.relu(self.bn2(self.conv2(x)))
        x = F.avg_pool2d(F.relu(self.bn3(self.conv3(x))), 2)
        return self.attnpool(self.layer4(self.layer3(self.layer2(self.layer1(x)))))


class TorchCLIP(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        text, resnet = config.text, isinstance(config.vision, ResNetConfig)
        arguments = (config.vision, config.embed_dim)
        self.visual = ModifiedResNet(*arguments) if resnet else VisionTransformer(*arguments, config.activation)
        self.transformer = Transformer(text, config.activation)
        self.token_embedding = nn.Embedding(text.vocabulary_size, text.width)
        self.positional_embedding = nn.Parameter(torch.empty(text.context_length, text.width))
        self.ln_final = nn.LayerNorm(text.width)
        self.text_projection = nn.Parameter(torch.empty(text.width, config.embed_dim))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def encode_text(self, tokens):
        x = self.token_embedding(tokens) + self.positional_embedding
        mask = torch.full((tokens.shape[1], tokens.shape[1]), float("-inf")).triu(1)
        x = self.ln_final(self.transformer(x, mask))
        return x[torch.arange(len(tokens)), tokens.argmax(-1)] @ self.text_projection

    def forward(self, images, tokens):
        return self.visual(images), self.encode_text(tokens)


def random_model(config: ModelConfig, seed: int = 0) -> TorchCLIP:
    """A model in which every tensor counts: nothing is 0 or 1 as it is in a fresh model, and activations stay tame."""
    model = TorchCLIP(config).eval()
    randomise(model, seed)
    return model


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Random values for every parameter and statistic, of the size that training gives them."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point() or name.endswith("logit_scale"):
            continue
        noise = torch.empty(tensor.shape).normal_(generator=generator)
        if name.endswith("running_var"):
            values = 1 + 0.2 * noise.abs()
        elif tensor.ndim <= 1:
            values = 0.1 * noise + (1 if name.endswith("weight") else 0)
        else:
            embedding = "embed" in name and "patch" not in name
            gain = 2 if tensor.ndim == 4 else 1  # ReLUs halve: a deep ResNet would forget its image
            values = noise * (0.3 if embedding else (gain / _fan_in(name, tensor)) ** 0.5)
        tensor.copy_(values)


def _fan_in(name: str, tensor) -> int:
    return len(tensor) if name.endswith(("text_projection", ".proj")) else tensor[0].numel()


def to_half(model: TorchCLIP) -> None:
    """Half precision where OpenAI's archives have it: convolutions, linear layers, attention and projections."""
    for name, parameter in model.named_parameters():
        if not any(part in name for part in ("ln_", "bn", "downsample.1", "embedding", "logit_scale")):
            parameter.data = parameter.data.half()


def save_openai_archive(model: TorchCLIP, path: Path) -> None:
    """A TorchScript archive with OpenAI's keys, among them the three sizes that OpenAI keeps as tensors."""
    for name in ("input_resolution", "context_length", "vocab_size"):
        model.register_buffer(name, torch.tensor(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch prefers other ways of exporting now; OpenAI published in this one
        torch.jit.script(model).save(path)


def save_open_clip_directory(model: TorchCLIP, config: ModelConfig, directory: Path) -> None:
    """OpenCLIP's documented layout: the same keys in open_clip_model.safetensors, open_clip_config.json beside."""
    text, vision = config.text, config.vision
    resnet = isinstance(vision, ResNetConfig)
    model_values = {
        "embed_dim": config.embed_dim,
        "quick_gelu": config.activation == "quick_gelu",
        "vision_cfg": {
            "image_size": vision.image_size,
            "width": vision.width,
            "layers": vision.layers,
            "head_width": vision.width * (32 if resnet else 1) // vision.heads,
            **({} if resnet else {"patch_size": vision.patch_size, "mlp_ratio": vision.mlp_ratio}),
        },
        "text_cfg": {
            "context_length": text.context_length,
            "vocab_size": text.vocabulary_size,
            "width": text.width,
            "heads": text.heads,
            "layers": text.layers,
        },
    }
    save_open_clip_files(model.state_dict(), {"model_cfg": model_values, "preprocess_cfg": {}}, directory)


def save_open_clip_files(state_dict: dict, values: dict, directory: Path) -> None:
    """The two files of an OpenCLIP directory."""
    directory.mkdir(parents=True, exist_ok=True)
    save_file(state_dict, directory / "open_clip_model.safetensors")
    (directory / "open_clip_config.json").write_text(json.dumps(values))


def embeddings(model: nn.Module, pixels: np.ndarray, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Embeddings of images [B, S, S, 3] and token rows [N, L], L2-normalised, by the reference."""
    images = torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())
    with torch.no_grad():
        found = model(images, torch.from_numpy(tokens.astype(np.int64)))
    return tuple(F.normalize(part, dim=-1).numpy() for part in found[:2])


def shallow(config: ModelConfig, layers: int = 2) -> ModelConfig:
    """The architecture with its real widths and fewer layers."""
    resnet = isinstance(config.vision, ResNetConfig)
    vision = dataclasses.replace(config.vision, layers=(1, 2, 1, 1) if resnet else layers)
    return dataclasses.replace(config, vision=vision, text=dataclasses.replace(config.text, layers=layers))
