"""The program of a training step: built here for the loop, which runs it, and for `jaxclip.plan`, which compiles it."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import jax
import optax
from jax.sharding import Mesh

from jaxclip.compiled_programs import compiler_options
from jaxclip.config import Config
from jaxclip.model import CLIP
from jaxclip.training.guard import skip_bad_steps
from jaxclip.training.optimizer import build_optimizer, learning_rate_schedule
from jaxclip.training.sharding import replicated
from jaxclip.training.step import Term, make_step
from jaxclip.training.trainable import FlatParams


@dataclasses.dataclass(frozen=True)
class StepProgram:
    """A training step as the loop runs it.

    Attributes:
      function: (state, frozen parameters, batch) → (state, metrics), see `make_step`.
      mesh: the devices that it is for.
      samples_per_step: records of all streams in a batch.
      count_flops: batch → FLOPs that a step on it cannot do without.
      parameters_over_data: `over_data` of `jaxclip.training.sharding.state_sharding`.
    """

    function: Callable
    mesh: Mesh
    samples_per_step: int
    count_flops: Callable[[dict], int]
    parameters_over_data: bool = False


def build_step(
    config: Config, model: CLIP, terms: Sequence[Term], roles: Mapping[str, Sequence[str]], steps: int, mesh: Mesh
) -> tuple[Callable, optax.GradientTransformation]:
    """(the step of a run of `steps` steps on this mesh, its optimiser); nothing is computed.

    Raises:
      ConfigError: the warm-up is not shorter than the run.
    """
    accumulate = config.optimizer.accumulate
    schedule = learning_rate_schedule(config.optimizer.learning_rate, config.schedule.warmup_steps, steps // accumulate)
    optimizer = build_optimizer(config.optimizer, schedule, model.config.text.layers)
    step = make_step(
        model,
        terms,
        roles,
        optimizer,
        lambda number: schedule(number // accumulate),
        clamp_logit_scale=config.model.clamp_logit_scale,
        mesh=mesh,
        over_data=config.mesh.parameters == "sharded",
    )
    if config.failure.skip_bad_steps:
        step = skip_bad_steps(step, config.failure.max_gradient_norm)
    return step, optimizer


def jit_step(step: Callable, mesh: Mesh, layout) -> Callable:
    """The step under `jax.jit`: its state, laid out by `layout`, is updated in place; metrics are on every device."""
    out_shardings = (layout, replicated(mesh))
    return jax.jit(step, donate_argnums=0, out_shardings=out_shardings, compiler_options=compiler_options(mesh))


def image_tower_frozen(trained: FlatParams) -> bool:
    """Whether image features are constants of the run, to be computed once."""
    return not any(path.startswith("visual/") for path in trained)


def features_are_constant(config: Config, trained: FlatParams) -> bool:
    """Whether no step needs the image tower: it is frozen and no stream augments its images."""
    return image_tower_frozen(trained) and not any(stream.augmentation for stream in config.streams.values())


def frozen_on_devices(config: Config, trained: FlatParams, frozen: FlatParams) -> FlatParams:
    """The frozen parameters that the step reads; cached features stand in for the image tower."""
    without_tower = features_are_constant(config, trained)
    return {path: leaf for path, leaf in frozen.items() if not (without_tower and path.startswith("visual/"))}
