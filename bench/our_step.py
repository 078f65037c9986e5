"""Our training step of ViT-B/32 for the benches: what is trained on what, and the step that `jaxclip.main` runs.

Shapes: B records a stream and step.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax
import numpy as np
import optax

from bench import captions
from configs.common import SHARED_TEXT_PARAMETERS
from jaxclip import objectives
from jaxclip.config import MeshSettings, OptimizerSettings
from jaxclip.data.packing import pack
from jaxclip.model import CLIP
from jaxclip.planning.minimum import minimum_flops
from jaxclip.pretrained import Clip
from jaxclip.training.optimizer import build_optimizer
from jaxclip.training.program import jit_step
from jaxclip.training.sharding import make_mesh, shard_batch, shard_params, state_sharding
from jaxclip.training.step import Term, TrainState, init_state, make_step
from jaxclip.training.trainable import FlatParams, merge, partition

ROW_LENGTH = 77
LEARNING_RATE, WEIGHT_DECAY = 5e-5, 0.2
REMAT = "none"


@dataclasses.dataclass(frozen=True)
class Figure:
    """What is trained, on what, and how.

    Attributes:
      streams: name → (objective, roles of its texts).
      front_layers: how many front text layers are trained, None for all.
      bfloat16: whether matrix products are.
      plain: no cached features, a row a caption.
      clip_norm: None for no clipping.
      goal: the ratio to reach.
    """

    streams: dict[str, tuple[str, tuple[str, ...]]]
    goal: float
    front_layers: int | None = None
    bfloat16: bool = False
    plain: bool = False
    clip_norm: float | None = 1.0


SEMCLIP = {"train": ("semclip", ("caption", "paraphrase", "negation"))}
OMNI_NEGCLIP = {
    "presence": ("presence", ("caption", "negation")),
    "absence": ("absence", ("caption", "absence")),
}
FIGURES = {
    "semclip": Figure(SEMCLIP, 12.0),
    "semclip_bfloat16": Figure(SEMCLIP, 4.0, bfloat16=True),
    "omni_negclip": Figure(OMNI_NEGCLIP, 10.0, front_layers=6, clip_norm=None),
    "plain": Figure(SEMCLIP, 1.0, plain=True),
}


def make_inputs(figure: Figure, batch_size: int) -> dict[str, tuple[np.ndarray, dict[str, list[list[int]]]]]:
    """Stream → (images float32 [B, 224, 224, 3], role → token ids of B texts).

    SugarCrepe++ has no captions that name an absence; its false captions stand in for them.
    """
    generator = np.random.default_rng(0)
    stands_in = {"absence": "negation"}
    return {
        name: (
            generator.standard_normal((batch_size, 224, 224, 3), np.float32),
            {role: captions.ids(stands_in.get(role, role), batch_size, number * batch_size) for role in roles},
        )
        for number, (name, (_, roles)) in enumerate(figure.streams.items())
    }


def rows_of_their_own(ids: list[list[int]], row_length: int) -> dict[str, np.ndarray]:
    """Texts in the form of packed ones, each alone in its row."""
    tokens = captions.one_a_row(ids, row_length).astype(np.int32)[None]
    positions = np.broadcast_to(np.arange(row_length, dtype=np.int32), tokens.shape)
    ends = np.array([[number * row_length + len(text) - 1 for number, text in enumerate(ids)]], np.int32)
    until = np.full_like(tokens, row_length)
    return {"tokens": tokens, "positions": positions, "visible_until": until, "ends": ends}


def our_batch(figure: Figure, clip: Clip, inputs: dict) -> dict:
    """What the data pipeline gives to a step."""
    place = rows_of_their_own if figure.plain else pack
    encode_image = jax.jit(functools.partial(CLIP(clip.config).apply, method="encode_image"))
    batch = {}
    for name, (images, texts) in inputs.items():
        ids = [text for role in texts.values() for text in role]
        if figure.plain:
            seen = {"images": {"image": images}}
        else:
            seen = {"features": {"image": encode_image({"params": merge(clip.params)}, images)}}
        batch[name] = {"texts": place(ids, clip.config.text.context_length), **seen}
    return shard_batch(make_mesh(MeshSettings()), batch)


def divide(figure: Figure, clip: Clip) -> tuple[FlatParams, FlatParams]:
    """(trained parameters, frozen ones)."""
    layers = "whole_text_layers" if figure.front_layers is None else f"front_text_layers({figure.front_layers})"
    return partition(clip.params, (layers, *SHARED_TEXT_PARAMETERS))


def terms_of(figure: Figure) -> list[Term]:
    """The objective of each stream."""
    return [Term(name, name, objectives.build(objective), 1.0) for name, (objective, _) in figure.streams.items()]


def our_training(figure: Figure, clip: Clip, remat: str = REMAT) -> tuple[Callable, TrainState, FlatParams]:
    """(the compiled step that `jaxclip.main` runs, its first state, the frozen parameters that it needs)."""
    trained, frozen = divide(figure, clip)
    if not figure.plain:
        frozen = {path: leaf for path, leaf in frozen.items() if not path.startswith("visual/")}
    model = CLIP(
        clip.config,
        dtype=np.dtype("bfloat16" if figure.bfloat16 else "float32"),
        remat=remat,
    )
    mesh = make_mesh(MeshSettings())
    roles = {name: roles for name, (_, roles) in figure.streams.items()}
    schedule = optax.constant_schedule(LEARNING_RATE)
    settings = OptimizerSettings(learning_rate=LEARNING_RATE, weight_decay=WEIGHT_DECAY, clip_norm=figure.clip_norm)
    optimizer = build_optimizer(settings, schedule)
    step = make_step(model, terms_of(figure), roles, optimizer, schedule, clamp_logit_scale=True, mesh=mesh)
    state = init_state(trained, optimizer)
    layout = state_sharding(mesh, state)
    return jit_step(step, mesh, layout), jax.device_put(state, layout), shard_params(mesh, frozen)


def useful_flops(figure: Figure, clip: Clip, batch: dict) -> int:
    """FLOPs of matrix products that the step cannot do without, as the metrics of a run count them."""
    trained, _ = divide(figure, clip)
    return minimum_flops(clip.config, trained, batch, terms_of(figure)).total


def our_step(figure: Figure, clip: Clip, batch: dict, remat: str = REMAT) -> Callable[[], float]:
    """A step with its state inside; returns the loss."""
    step, state, frozen = our_training(figure, clip, remat)

    def run():
        nonlocal state
        state, metrics = step(state, frozen, batch)
        return float(metrics["loss"])

    return run
