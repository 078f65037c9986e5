"""The matrix-product FLOPs that a step cannot do without, counted by hand from the architecture.

A matrix product with B inputs costs as much forward as for the gradient of its inputs and as for that of its weights.
The first is always needed; the second where something before it is trained; the third where its weights are trained.
Attention has two products forward (scores, and the mix of values) and four backward.

Shapes: B images, n texts, R rows of texts, L positions a row, W width, D embedding; all over the whole machine.
"""

import dataclasses
from collections.abc import Iterable, Iterator

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from jaxclip.model.variants import ResNetConfig, TextConfig, VisionConfig
from jaxclip.planning.abstract_step import AbstractStep
from jaxclip.planning.traced_flops import traced_flops
from jaxclip.training.step import Term


@dataclasses.dataclass(frozen=True)
class Part:
    """A stretch of a tower: the path of its parameters (None for attention, which has none) and its forward FLOPs."""

    path: str | None
    flops: int = 0


@dataclasses.dataclass(frozen=True)
class Needed:
    """FLOPs by kind."""

    forward: int = 0
    activation_gradients: int = 0
    weight_gradients: int = 0

    def __add__(self, other: "Needed") -> "Needed":
        return Needed(*(a + b for a, b in zip(dataclasses.astuple(self), dataclasses.astuple(other), strict=True)))

    @property
    def total(self) -> int:
        return sum(dataclasses.astuple(self))


def blocks(prefix: str, tower: VisionConfig | TextConfig, rows: int, L: int, read: int) -> Iterator[Part]:
    """The residual attention blocks of a tower over `rows` rows of L positions, in order.

    Behind the last block `read` tokens are read: no others need its output projection and MLP.
    """
    W, hidden = tower.width, int(tower.width * tower.mlp_ratio)
    for layer in range(tower.layers):
        block = f"{prefix}/transformer/resblocks_{layer}"
        tokens = rows * L
        passing = read if layer == tower.layers - 1 else tokens
        yield Part(f"{block}/ln_1")
        yield Part(f"{block}/attn/in_proj", 2 * tokens * W * 3 * W)
        yield Part(None, 2 * 2 * tokens * L * W)
        yield Part(f"{block}/attn/out_proj", 2 * passing * W * W)
        yield Part(f"{block}/ln_2")
        yield Part(f"{block}/mlp/c_fc", 2 * passing * W * hidden)
        yield Part(f"{block}/mlp/c_proj", 2 * passing * hidden * W)


def text_tower(config: TextConfig, D: int, rows: int, n: int) -> Iterator[Part]:
    """The text tower over `rows` rows of tokens that hold n texts."""
    yield Part("text/token_embedding")
    yield Part("text/positional_embedding")
    yield from blocks("text", config, rows, config.context_length, n)
    yield Part("text/ln_final")
    yield Part("text/text_projection", 2 * n * config.width * D)


def vision_tower(config: VisionConfig, D: int, B: int) -> Iterator[Part]:
    """The ViT over B images."""
    patches = (config.image_size // config.patch_size) ** 2
    yield Part("visual/conv1", 2 * B * patches * 3 * config.patch_size**2 * config.width)
    yield Part("visual/class_embedding")
    yield Part("visual/positional_embedding")
    yield Part("visual/ln_pre")
    yield from blocks("visual", config, B, patches + 1, B)
    yield Part("visual/ln_post")
    yield Part("visual/proj", 2 * B * config.width * D)


def needed(parts: Iterable[Part], trained: Iterable[str]) -> Needed:
    """What a tower costs when the parameters at these paths are trained."""
    trained = tuple(trained)
    total, below_trained = Needed(), False
    for part in parts:
        is_trained = part.path is not None and any(
            path == part.path or path.startswith(part.path + "/") for path in trained
        )
        backward = part.flops * (2 if part.path is None else 1)
        total += Needed(part.flops, backward * below_trained, part.flops * is_trained)
        below_trained = below_trained or is_trained
    return total


def _resnet(step: AbstractStep, images: jax.ShapeDtypeStruct) -> Needed:
    """The ResNet, from its traced forward pass; trained, its gradients cost twice that."""
    params = unflatten_dict({**step.state.params, **step.frozen}, sep="/")
    forward = traced_flops(lambda p, x: step.model.apply({"params": p}, x, method="encode_image"), params, images)
    trained = any(path.startswith("visual/") for path in step.state.params)
    return Needed(forward, forward * trained, forward * trained)


def _losses(step: AbstractStep, terms: Iterable[Term], trained: Iterable[str]) -> Needed:
    """The objectives, traced with respect to the embeddings that come from a tower with something trained in it."""
    D = step.model.config.embed_dim
    towers = {
        "texts": any(p.startswith("text/") for p in trained),
        "images": any(p.startswith("visual") for p in trained),
    }
    total = Needed()
    for term in terms:
        stream = step.batch[term.stream]
        B = next(iter(stream.get("features", stream.get("images")).values())).shape[0]
        kinds = {role: "texts" for role in term.objective.roles} | {role: "images" for role in term.objective.images}
        embeddings = {role: jax.ShapeDtypeStruct((B, D), jnp.float32) for role in kinds}
        moving = {role: leaf for role, leaf in embeddings.items() if towers[kinds[role]]}
        fixed = {role: leaf for role, leaf in embeddings.items() if role not in moving}

        def loss(moving, fixed, scale, term=term):
            return term.objective({**moving, **fixed}, scale)[0]

        scale = jax.ShapeDtypeStruct((), jnp.float32)
        forward = traced_flops(loss, moving, fixed, scale)
        both = traced_flops(jax.value_and_grad(loss), moving, fixed, scale) if moving else forward
        total += Needed(forward, both - forward, 0)
    return total


def minimum_flops(step: AbstractStep, terms: Iterable[Term]) -> Needed:
    """What one step needs on the whole machine: towers that run, gradients where needed, and these losses.

    The losses are counted as they are written; their `terms` are to keep their logits instead of making them again.
    """
    config, trained = step.model.config, tuple(step.state.params)
    total = _losses(step, terms, trained)
    for stream in step.batch.values():
        G, R, _ = stream["texts"]["tokens"].shape
        n = stream["texts"]["ends"].size
        total += needed(text_tower(config.text, config.embed_dim, G * R, n), trained)
        for images in stream.get("images", {}).values():
            if isinstance(config.vision, ResNetConfig):
                total += _resnet(step, images)
            else:
                total += needed(vision_tower(config.vision, config.embed_dim, images.shape[0]), trained)
    return total


def recomputed_flops(step: AbstractStep, plain: AbstractStep) -> int:
    """What `step` computes a second time, where `plain` is the same run with all activations kept.

    Each is traced and compared with its own minimum, since microbatches change how texts are packed.
    """
    beyond = [
        traced_flops(each.step, each.state, each.frozen, each.batch) - minimum_flops(each, plain.terms).total
        for each in (step, plain)
    ]
    return max(0, beyond[0] - beyond[1])
