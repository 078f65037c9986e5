"""The matrix-product FLOPs that a step cannot do without, counted by hand from the architecture.

A matrix product with B inputs costs as much forward as for the gradient of its inputs and as for that of its weights.
The first is always needed; the second where something before it is trained; the third where its weights are trained.
Attention has two products forward (scores, and the mix of values) and four backward.

Shapes: B images, n texts, R rows of texts, L positions a row, W width, D embedding; all over the whole machine.
"""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping

import jax
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict

from jaxclip.model import CLIP, ModelConfig, parameter_shapes
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


def _resnet(model: ModelConfig, images: jax.ShapeDtypeStruct, trained: Iterable[str]) -> Needed:
    """The ResNet, from its traced forward pass; trained, its gradients cost twice that."""
    params = {path: jax.ShapeDtypeStruct(shape, jnp.float32) for path, shape in parameter_shapes(model).items()}

    def encode(params, images):
        return CLIP(model).apply({"params": unflatten_dict(params, sep="/")}, images, method="encode_image")

    forward = traced_flops(encode, params, images)
    is_trained = any(path.startswith("visual/") for path in trained)
    return Needed(forward, forward * is_trained, forward * is_trained)


def _loss(term: Term, stream: Mapping[str, Mapping], D: int, trained: Iterable[str]) -> Needed:
    """An objective, traced with respect to its own parameters and to the embeddings of towers that are trained.

    Gradients with respect to its parameters are counted among those of activations.
    """
    objective = dataclasses.replace(term.objective, chunk=None)
    B = next(iter(stream.get("features", stream.get("images")).values())).shape[0]
    roles = dict.fromkeys(objective.roles, "text/") | dict.fromkeys(objective.images, "visual/")
    own = jax.eval_shape(lambda: objective.init(D))
    below = {prefix: any(path.startswith(prefix) for path in trained) for prefix in ("text/", "visual/")}
    inputs = {role: jax.ShapeDtypeStruct((B, D), jnp.float32) for role in roles}
    moving = {role: leaf for role, leaf in inputs.items() if below[roles[role]]}
    moving_own = {name: leaf for name, leaf in own.items() if f"objectives/{term.label}/{name}" in trained}

    def loss(moving, moving_own, inputs, own, scale):
        return objective({**inputs, **moving}, scale, {**own, **moving_own})[0]

    arguments = (moving, moving_own, inputs, own, jax.ShapeDtypeStruct((), jnp.float32))
    forward = traced_flops(loss, *arguments)
    both = traced_flops(jax.value_and_grad(loss, argnums=(0, 1)), *arguments) if moving or moving_own else forward
    return Needed(forward, both - forward, 0)


def minimum_flops(
    model: ModelConfig, trained: Iterable[str], batch: Mapping[str, Mapping], terms: Iterable[Term]
) -> Needed:
    """What one step needs on the whole machine: towers that run, gradients where needed, and the losses.

    What microbatches, chunks of logits and rematerialisation compute a second time is not in it.

    Args:
      model: the architecture.
      trained: paths of the trained parameters, those of the objectives among them.
      batch: a batch of `jaxclip.training.step`, arrays or `jax.ShapeDtypeStruct`.
      terms: the objectives.
    """
    trained = frozenset(trained)
    total = sum((_loss(term, batch[term.stream], model.embed_dim, trained) for term in terms), Needed())
    for stream in batch.values():
        G, R, _ = stream["texts"]["tokens"].shape
        n = stream["texts"]["ends"].size
        total += needed(text_tower(model.text, model.embed_dim, G * R, n), trained)
        for images in stream.get("images", {}).values():
            if isinstance(model.vision, ResNetConfig):
                total += _resnet(model, images, trained)
            else:
                total += needed(vision_tower(model.vision, model.embed_dim, images.shape[0]), trained)
    return total


def minimum_of(step: AbstractStep) -> Needed:
    """`minimum_flops` of a planned step."""
    return minimum_flops(step.model.config, step.state.params, step.batch, step.terms)


def recomputed_flops(step: AbstractStep, plain: AbstractStep) -> int:
    """What `step` computes a second time, where `plain` is the same run with all activations kept.

    Each is traced and compared with its own minimum, since microbatches change how texts are packed.
    """
    beyond = [
        traced_flops(each.step, each.state, each.frozen, each.batch) - minimum_of(each).total for each in (step, plain)
    ]
    return max(0, beyond[0] - beyond[1])
