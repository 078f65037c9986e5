"""The optimiser: warm-up and cosine, clipping, AdamW or Muon, weight-decay mask, learning rates by group, accumulation.

All of it is optax.
"""

import functools
from collections.abc import Mapping

import jax
import optax

from jaxclip.config import ConfigError, OptimizerSettings
from jaxclip.training.trainable import FlatParams, group_by_pattern

# Embeddings and positions are lookup tables, not matrices that map one space to another: Muon leaves them to Adam.
NOT_FOR_MUON = ("token_embedding", "positional_embedding", "class_embedding")


def learning_rate_schedule(peak: float, warmup_steps: int, total_steps: int) -> optax.Schedule:
    """Linear from 0 to `peak` over `warmup_steps`, then half a cosine down to 0 at `total_steps`.

    Raises:
      ConfigError: the warm-up is not shorter than the run.
    """
    if warmup_steps >= total_steps:
        raise ConfigError(f"config.schedule.warmup_steps: {warmup_steps} updates do not fit in a run of {total_steps}")
    return optax.warmup_cosine_decay_schedule(0.0 if warmup_steps else peak, peak, warmup_steps, total_steps)


def decay_mask(params: FlatParams, decay: str) -> dict[str, bool]:
    """Which leaves weight decay acts on: `all` of them, or `matrices` (two or more axes)."""
    return {path: decay == "all" or leaf.ndim >= 2 for path, leaf in params.items()}


def _muon_dimensions(params: FlatParams) -> dict:
    def dimensions(path, leaf):
        # Muon asks again within its own part, where the leaves left to Adam are `MaskedNode`s without axes.
        is_matrix = getattr(leaf, "ndim", 0) == 2 and not path.endswith(NOT_FOR_MUON)
        return optax.contrib.MuonDimensionNumbers() if is_matrix else None

    return {path: dimensions(path, leaf) for path, leaf in params.items()}


def learning_rate_factor(
    params: FlatParams, factors: Mapping[str, float], text_layers: int | None = None
) -> dict[str, float]:
    """The factor of each leaf's learning rate: that of the pattern which matches its path, else 1.

    Args:
      params: the trained parameters.
      factors: pattern → factor, patterns as in `config.trainable`.
      text_layers: how many the text tower has, where not all of them are trained.

    Raises:
      TrainableError: a pattern matches no trained parameter, or two match the same one.
    """
    groups = group_by_pattern(tuple(factors), list(params), text_layers)
    by_path = {path: factors[pattern] for pattern, paths in groups.items() for path in paths}
    return {path: by_path.get(path, 1.0) for path in params}


def _scale_by_group(factors: Mapping[str, float], text_layers: int | None) -> optax.GradientTransformation:
    """Multiplies updates, weight decay included, by their group's factor."""

    def update(updates, params):
        by_path = learning_rate_factor(params, factors, text_layers)
        return jax.tree.map(lambda leaf, factor: factor * leaf, updates, by_path)

    return optax.stateless(update)


def build_optimizer(
    settings: OptimizerSettings, schedule: optax.Schedule, text_layers: int | None = None
) -> optax.GradientTransformation:
    """The optimiser over a flat dict of trained parameters; frozen ones never reach it.

    `text_layers`: see `learning_rate_factor`.
    """
    if settings.name == "adamw":
        update = optax.adamw(
            schedule,
            settings.b1,
            settings.b2,
            settings.eps,
            weight_decay=settings.weight_decay,
            mask=functools.partial(decay_mask, decay=settings.decay),
        )
    else:
        update = optax.contrib.muon(
            schedule,
            eps=settings.eps,
            weight_decay=settings.weight_decay,  # of the matrices that Muon handles
            adam_weight_decay=settings.weight_decay if settings.decay == "all" else 0.0,
            adam_b1=settings.b1,
            adam_b2=settings.b2,
            muon_weight_dimension_numbers=_muon_dimensions,
            consistent_rms=0.2,  # updates as large as Adam's, so that one learning rate serves both
        )
    parts = [] if settings.clip_norm is None else [optax.clip_by_global_norm(settings.clip_norm)]
    parts.append(update)
    if settings.learning_rate_factors:
        parts.append(_scale_by_group(settings.learning_rate_factors, text_layers))
    optimizer = optax.chain(*parts) if len(parts) > 1 else update
    if settings.accumulate > 1:
        optimizer = optax.MultiSteps(optimizer, settings.accumulate).gradient_transformation()
    return optimizer
