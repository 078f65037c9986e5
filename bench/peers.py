"""The peers: the same work in plain torch with OpenCLIP's model, as the papers' authors run it, or Hugging Face's.

In a training step every caption has a row of 77 tokens, each text role is embedded by a call of its own, and the frozen
image tower runs. Needs requirements-test.txt.

Shapes: B batch, S image size, L = 77 tokens a row.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from jaxclip.pretrained import Clip, load
from jaxclip.weights.writing import write_huggingface
from tests.reference_libraries import open_clip_or_skip, transformers_or_skip

open_clip = open_clip_or_skip()
transformers = transformers_or_skip()
Embeddings = Mapping[str, torch.Tensor]
Loss = Callable[[Embeddings, torch.Tensor], torch.Tensor]  # (embeddings by role, scale) → scalar


def random_model(arch: str, folder: Path) -> tuple[torch.nn.Module, Clip]:
    """The same random weights twice: as OpenCLIP's model and as ours, handed over in a file in `folder`."""
    torch.manual_seed(0)
    model = open_clip.create_model(arch)
    path = folder / f"{arch}.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    clip = load(path, format="open_clip", arch=arch)
    path.unlink()
    return model, clip


@dataclasses.dataclass(frozen=True)
class Embedder:
    """How a library embeds: a batch of strings → [B, D], a picture → a tensor, a batch of those → [B, D]."""

    encode_text: Callable[[list[str]], torch.Tensor]
    preprocess: Callable[[Image.Image], torch.Tensor]
    encode_image: Callable[[torch.Tensor], torch.Tensor]


def open_clip_embedder(model: torch.nn.Module, arch: str) -> Embedder:
    """OpenCLIP with its own tokeniser and preprocessing."""
    model.eval()
    tokenizer = open_clip.get_tokenizer(arch)
    preprocess = open_clip.image_transform(model.visual.image_size, is_train=False)
    return Embedder(lambda texts: model.encode_text(tokenizer(texts)), preprocess, model.encode_image)


def hugging_face_embedder(clip: Clip, folder: Path) -> Embedder:
    """Hugging Face's CLIP with its own tokeniser and its preprocessing of Pillow images, exported to a new `folder`."""
    write_huggingface(clip, folder)
    model = transformers.CLIPModel.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    processor = transformers.models.clip.image_processing_pil_clip.CLIPImageProcessorPil.from_pretrained(folder)
    return Embedder(
        lambda texts: (
            model.get_text_features(
                **tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
            ).pooler_output
        ),
        lambda image: processor(image, return_tensors="pt").pixel_values[0],
        lambda images: model.get_image_features(images).pooler_output,
    )


def train_text_tower(model: torch.nn.Module, layers: Sequence[int] | None) -> list[torch.nn.Parameter]:
    """Freezes the image tower and all text layers but these (None: all are trained); the trained parameters."""
    for name, parameter in model.named_parameters():
        layer = int(name.split(".")[2]) if name.startswith("transformer.resblocks.") else None
        frozen = name.startswith("visual.") or (layers is not None and layer is not None and layer not in layers)
        parameter.requires_grad_(not frozen)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def cross_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Row i's label is column i."""
    return functional.cross_entropy(logits, torch.arange(len(logits)))


def symmetric(image: torch.Tensor, text: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """CLIP's loss over normalised embeddings."""
    logits = scale * image @ text.T
    return (cross_entropy(logits) + cross_entropy(logits.T)) / 2


def semclip(projection: np.ndarray) -> Loss:
    """SemCLIP's loss (arXiv 2511.16527) with this projection [D, n]."""
    projection = torch.from_numpy(projection)

    def loss(embeddings, scale):
        caption, paraphrase, negation = (
            embeddings[role] @ projection for role in ("caption", "paraphrase", "negation")
        )
        contrastive = symmetric(
            functional.normalize(embeddings["image"], dim=-1),
            functional.normalize(embeddings["caption"], dim=-1),
            scale,
        )
        paraphrased = (1 - functional.cosine_similarity(caption, paraphrase)).mean()
        negated = functional.cosine_similarity(caption, negation).clamp(min=0).mean()
        return (contrastive + paraphrased + negated) / 3

    return loss


def presence(embeddings: Embeddings, scale: torch.Tensor) -> torch.Tensor:
    """Omni-NegCLIP's loss of a presence batch (arXiv 2603.29258)."""
    image, caption, negation = (functional.normalize(embeddings[r], dim=-1) for r in ("image", "caption", "negation"))
    to_texts = cross_entropy(scale * image @ torch.cat([caption, negation]).T)
    to_images = cross_entropy(scale * caption @ image.T)
    pair = scale * torch.stack([(image * caption).sum(-1), (image * negation).sum(-1)], dim=-1)
    return (to_texts + to_images + functional.cross_entropy(pair, torch.zeros(len(pair), dtype=torch.long))) / 3


def absence(embeddings: Embeddings, scale: torch.Tensor) -> torch.Tensor:
    """Omni-NegCLIP's loss of an absence batch."""
    image, caption, negated = (functional.normalize(embeddings[r], dim=-1) for r in ("image", "caption", "absence"))
    apart = (caption * negated).sum(-1).add(0.9).clamp(min=0).mean()
    return symmetric(image, negated, scale) + symmetric(image, caption, scale) + apart


def make_step(
    model: torch.nn.Module,
    trained: Sequence[torch.nn.Parameter],
    streams: Sequence[tuple[Loss, torch.Tensor, Mapping[str, torch.Tensor]]],
    *,
    learning_rate: float,
    weight_decay: float,
    clip_norm: float | None,
    bfloat16: bool,
) -> Callable[[], float]:
    """A training step that returns its loss.

    Args:
      streams: (loss, images float32 [B, 3, S, S], role → token rows int64 [B, L]); the losses are added up.
    """
    optimizer = torch.optim.AdamW(trained, lr=learning_rate, weight_decay=weight_decay)

    def step():
        optimizer.zero_grad(set_to_none=True)
        total = torch.zeros(())
        with torch.autocast("cpu", torch.bfloat16) if bfloat16 else contextlib.nullcontext():
            for loss, images, texts in streams:
                with torch.no_grad():
                    embeddings = {"image": model.encode_image(images)}
                embeddings |= {role: model.encode_text(tokens) for role, tokens in texts.items()}
                embeddings = {role: values.float() for role, values in embeddings.items()}
                total = total + loss(embeddings, model.logit_scale.exp())
        total.backward()
        if clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(trained, clip_norm)
        optimizer.step()
        return total.item()

    return step
