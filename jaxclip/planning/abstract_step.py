"""The training step of a config with shapes for arrays: nothing is allocated, no data is read.

Shapes: B batch (global), G groups of texts (one for each microbatch of each data shard), n texts a group, R rows a
group, L tokens a row, S image size, D embedding.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from jaxclip.config import Config
from jaxclip.data.packing import assign_rows, bucket
from jaxclip.model import CLIP, VARIANTS, ModelConfig, parameter_shapes
from jaxclip.planning.errors import PlanError
from jaxclip.planning.topology import Topology
from jaxclip.prepare import build_terms, check_batches, divide_model, microbatches, stream_roles
from jaxclip.pretrained import SHIPPED, open_model
from jaxclip.training.program import build_step, frozen_on_devices, image_tower_frozen, jit_step
from jaxclip.training.sharding import batch_sharding, make_mesh, parameter_sharding, state_sharding
from jaxclip.training.step import Term, TrainState, init_state
from jaxclip.training.trainable import FlatParams

Shapes = Mapping[str, jax.ShapeDtypeStruct]


@dataclasses.dataclass(frozen=True)
class AbstractStep:
    """A step that can be traced and compiled: `step` is a function of (state, frozen, batch).

    The leaves of state, frozen and batch are `jax.ShapeDtypeStruct` with the shardings that training gives them.
    """

    config: Config
    mesh: Mesh
    model: CLIP
    terms: tuple[Term, ...]
    roles: Mapping[str, tuple[str, ...]]
    step: Callable
    state: TrainState
    frozen: Shapes
    batch: Mapping[str, Mapping]

    def lower(self) -> jax.stages.Lowered:
        """The step as training compiles it, ready to be compiled for the mesh's devices."""
        layout = jax.tree.map(lambda leaf: leaf.sharding, self.state)
        return jit_step(self.step, self.mesh, layout).lower(self.state, self.frozen, self.batch)


def read_architecture(init: str) -> ModelConfig:
    """The architecture that `config.model.init` stands for.

    Raises:
      PlanError: `random:` and no variant, or there is no such model.
      ModelDirectoryError, WeightsError, OSError: a model that cannot be read.
    """
    if init.startswith("random:"):
        return variant(init.removeprefix("random:"))
    if init not in SHIPPED and not Path(init).exists():
        raise PlanError(f"config.model.init: {init!r} does not exist; a plan needs shapes only: --arch=ViT-B-32")
    return open_model(init).config


def variant(name: str) -> ModelConfig:
    """A row of `jaxclip.model.VARIANTS`, also with `-` for `/` (`ViT-L-14`).

    Raises:
      PlanError: an unknown name.
    """
    by_name = {known.replace("/", "-"): config for known, config in VARIANTS.items()}
    if name.replace("/", "-") not in by_name:
        raise PlanError(f"--arch: {name!r} is not known; expected one of {', '.join(by_name)}")
    return by_name[name.replace("/", "-")]


def text_rows(texts: int, tokens_per_caption: float, row_length: int) -> int:
    """Rows that `texts` captions fill, as training packs them.

    The lengths of captions are taken to be spread evenly from half of `tokens_per_caption` to one and a half of it, and
    captions to have nothing in common but start-of-text.

    Raises:
      PlanError: a caption is shorter than start- and end-of-text, or longer than a row.
    """
    if not 2 <= tokens_per_caption <= row_length:
        raise PlanError(
            f"--tokens_per_caption: found {tokens_per_caption:g}, expected 2 (start- and end-of-text) to {row_length}"
        )
    lengths = np.linspace(0.5, 1.5, texts) * tokens_per_caption if texts > 1 else np.array([tokens_per_caption])
    lengths = np.clip(np.round(lengths), 2, row_length).astype(int)
    lengths = np.random.default_rng(0).permutation(lengths).tolist()
    return bucket(assign_rows(lengths, [0] + [1] * (texts - 1), row_length)[1])


def _batch(
    config: Config, mesh: Mesh, architecture: ModelConfig, roles: Mapping, images: Mapping, cached: bool, tokens: float
) -> dict[str, dict]:
    """One batch of each stream; `cached`: what is not augmented comes as features."""
    sharding = batch_sharding(mesh)
    row_length = architecture.text.context_length
    size, D = architecture.vision.image_size, architecture.embed_dim

    def array(shape, dtype):
        return jax.ShapeDtypeStruct(shape, dtype, sharding=sharding)

    batch = {}
    for name, stream in config.streams.items():
        B = stream.batch_size
        G = mesh.shape["data"] * microbatches(config, mesh, name)
        n = len(roles[name]) * B // G
        rows = (G, text_rows(n, tokens, row_length), row_length)
        texts = {key: array(rows, np.int32) for key in ("tokens", "positions", "visible_until")}
        texts["ends"] = array((G, n), np.int32)
        if cached and stream.augmentation is None:
            pictures = {"features": {role: array((B, D), np.float32) for role in images[name]}}
        else:
            pictures = {"images": {role: array((B, size, size, 3), np.float32) for role in images[name]}}
        batch[name] = {"texts": texts, **pictures}
    return batch


def _laid_out(shardings, leaves):
    return jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), leaves, shardings
    )


def _shapes(params: FlatParams) -> Shapes:
    return {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in params.items()}


def abstract_step(
    config: Config, architecture: ModelConfig, topology: Topology, tokens_per_caption: float
) -> AbstractStep:
    """The step that training on such a machine would compile.

    Raises:
      PlanError: the texts do not fit.
      ConfigError, TrainableError: the config does not fit the model or the mesh.
    """
    mesh = make_mesh(config.mesh, topology.devices)
    check_batches(config, mesh)
    terms = build_terms(config, mesh)
    roles, images = stream_roles(terms, config.streams)
    leaf = functools.partial(jax.ShapeDtypeStruct, dtype=np.float32)  # training holds all parameters in float32
    params = {path: leaf(shape) for path, shape in parameter_shapes(architecture).items()}
    model, trained, frozen = divide_model(config, terms, architecture, params)
    # The length of a run does not change its program; the shortest one that the warm-up allows will do.
    steps = config.schedule.steps or config.optimizer.accumulate * (config.schedule.warmup_steps + 1)
    step, optimizer = build_step(config, model, terms, roles, steps, mesh)
    state = jax.eval_shape(functools.partial(init_state, optimizer=optimizer), _shapes(trained))
    frozen = frozen_on_devices(config, trained, frozen)
    over_data = config.mesh.parameters == "sharded"
    return AbstractStep(
        config=config,
        mesh=mesh,
        model=model,
        terms=terms,
        roles=roles,
        step=step,
        state=_laid_out(state_sharding(mesh, state, over_data=over_data), state),
        frozen={
            path: jax.ShapeDtypeStruct(
                leaf.shape, leaf.dtype, sharding=parameter_sharding(mesh, path, leaf.shape, over_data=over_data)
            )
            for path, leaf in frozen.items()
        },
        batch=_batch(config, mesh, architecture, roles, images, image_tower_frozen(trained), tokens_per_caption),
    )
