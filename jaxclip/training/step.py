"""The training step: a pure function (state, frozen parameters, batch) → (state, metrics).

Shapes: B batch (global), D embedding, G groups of texts (one for each microbatch of each data shard), b = B / G records
a group.

A batch is a dict, stream name → {"texts": packed texts (see `jaxclip.data.packing`), and "features" (image role →
[B, D]) or "images" (image role → [B, S, S, 3])}. The texts of a group are ordered by role, then by record.

Where a data shard has several microbatches, they are embedded one after another, and once more in the backward pass,
from the gradients of the embeddings: GradCache (Gao et al. 2021, arXiv 2101.06983). Embeddings of the whole batch fit
where activations do not, so every softmax stays one batch wide.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import flax
import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from jaxclip.model import CLIP
from jaxclip.objectives import Objective
from jaxclip.training.sharding import data_axis, parameter_sharding
from jaxclip.training.trainable import FlatParams, merge

MAX_LOGIT_SCALE = math.log(100)
NOT_FINITE = "records_not_finite"  # among the metrics of a step


@flax.struct.dataclass
class TrainState:
    """What a run carries from step to step: a plain pytree."""

    step: jax.Array
    params: FlatParams  # the trained ones only
    optimizer: Any


@dataclasses.dataclass(frozen=True)
class Term:
    """One objective on one stream, with its weight in the total loss."""

    label: str
    stream: str
    objective: Objective
    weight: float


def objective_params(terms: Sequence[Term], embed_dim: int) -> FlatParams:
    """The objectives' own parameters as paths `objectives/LABEL/NAME`."""
    return {
        f"objectives/{term.label}/{name}": value
        for term in terms
        for name, value in term.objective.init(embed_dim).items()
    }


def split_roles(texts: jax.Array, roles: Sequence[str], groups: int) -> dict[str, jax.Array]:
    """Text embeddings [G·roles·b, D], ordered group, role, record → role → [B, D], ordered by record."""
    D = texts.shape[-1]
    by_role = texts.reshape(groups, len(roles), -1, D).swapaxes(0, 1)
    return {role: by_role[index].reshape(-1, D) for index, role in enumerate(roles)}


def embed_stream(
    model: CLIP, params: dict, stream: Mapping, roles: Sequence[str], microbatches: int = 1
) -> dict[str, jax.Array]:
    """One stream of a batch → role of text or image → embeddings [B, D].

    Args:
      model: both towers.
      params: nested parameters.
      stream: texts, and features or images.
      roles: of the texts, in the order in which they are packed.
      microbatches: how many equal parts, of one or more groups each, are embedded one after another.
    """

    def embed(inputs):
        images = {
            role: model.apply({"params": params}, image, method="encode_image")
            for role, image in inputs["images"].items()
        }
        texts = model.apply({"params": params}, **inputs["texts"], method="encode_text")
        return {**images, **split_roles(texts, roles, inputs["texts"]["ends"].shape[0])}

    inputs = {"texts": stream["texts"], "images": stream.get("images", {})}
    features = stream.get("features", {})
    if microbatches == 1:
        return {**features, **embed(inputs)}
    parts = jax.tree.map(lambda rows: rows.reshape(microbatches, -1, *rows.shape[1:]), inputs)
    # The first pass keeps nothing but the embeddings; the backward pass of `map` is the second.
    embedded = jax.lax.map(jax.checkpoint(embed), parts)
    return {**features, **{role: rows.reshape(-1, rows.shape[-1]) for role, rows in embedded.items()}}


def embed_batch(
    model: CLIP,
    params: FlatParams,
    batch: Mapping,
    roles: Mapping[str, Sequence[str]],
    mesh: Mesh | None = None,
    over_data: bool = False,
) -> dict[str, dict[str, jax.Array]]:
    """Stream → role of text or image → embeddings [B, D].

    On a mesh every data shard embeds its own records, one microbatch for each of its groups of texts. What is split
    `over_data` (see `parameter_sharding`) is gathered once a step and its gradient summed and scattered once, the
    gradients of the rest are summed once, whatever the number of microbatches.
    """

    def embed(params, batch):
        nested = merge(params)
        return {
            name: embed_stream(
                model, nested, stream, roles[name], microbatches=1 if mesh is None else len(stream["texts"]["ends"])
            )
            for name, stream in batch.items()
        }

    if mesh is None or mesh.size == 1:
        return embed(params, batch)
    axes = {path: data_axis(mesh, path, leaf.shape) if over_data else None for path, leaf in params.items()}

    def on_this_shard(path, leaf):
        if axes[path] is None:
            leaf = jax.lax.pcast(leaf, "data", to="varying")
        else:
            leaf = jax.lax.all_gather(leaf, "data", axis=axes[path], tiled=True)
        # The compiler, which splits along `model`, would otherwise forget how.
        return jax.lax.with_sharding_constraint(leaf, parameter_sharding(mesh, path, leaf.shape).spec)

    def embed_shard(params, batch):
        return embed({path: on_this_shard(path, leaf) for path, leaf in params.items()}, batch)

    rows, whole = PartitionSpec("data"), PartitionSpec()
    split = {path: whole if axis is None else PartitionSpec(*[None] * axis, "data") for path, axis in axes.items()}
    sharded = jax.shard_map(embed_shard, mesh=mesh, in_specs=(split, rows), out_specs=rows, axis_names={"data"})
    return sharded(params, batch)


def records_not_finite(embeddings: Mapping[str, Mapping[str, jax.Array]]) -> dict[str, jax.Array]:
    """Stream → bool [B], whether a record has an embedding, of whatever role, that is not finite."""
    return {
        name: ~jnp.stack([jnp.isfinite(rows).all(-1) for rows in roles.values()]).all(0)
        for name, roles in embeddings.items()
    }


def total_loss(
    trained: FlatParams,
    frozen: FlatParams,
    batch: Mapping,
    *,
    model: CLIP,
    terms: Sequence[Term],
    roles: Mapping[str, Sequence[str]],
    mesh: Mesh | None = None,
    over_data: bool = False,
) -> tuple[jax.Array, dict]:
    """Σ weight·objective over the terms; and every part by name (`LABEL/PART`), with `records_not_finite`."""
    params = {**trained, **frozen}
    objective_trees = merge({path: params.pop(path) for path in list(params) if path.startswith("objectives/")})
    embeddings = embed_batch(model, params, batch, roles, mesh, over_data)
    scale = jnp.exp(params["logit_scale"])
    total, parts = jnp.float32(0), {NOT_FINITE: records_not_finite(embeddings)}
    for term in terms:
        own = objective_trees.get("objectives", {}).get(term.label, {})
        loss, term_parts = term.objective(embeddings[term.stream], scale, own)
        total = total + term.weight * loss
        parts |= {f"{term.label}/{name}": value for name, value in term_parts.items()}
    return total, parts


def init_state(trained: FlatParams, optimizer: optax.GradientTransformation) -> TrainState:
    """The state before the first step."""
    return TrainState(step=jnp.zeros((), jnp.int32), params=trained, optimizer=optimizer.init(trained))


def make_step(
    model: CLIP,
    terms: Sequence[Term],
    roles: Mapping[str, Sequence[str]],
    optimizer: optax.GradientTransformation,
    schedule: optax.Schedule,
    *,
    clamp_logit_scale: bool,
    mesh: Mesh | None = None,
    over_data: bool = False,
) -> Callable[[TrainState, FlatParams, Mapping], tuple[TrainState, dict]]:
    """The step for these objectives, ready for `jax.jit`. `mesh` and `over_data` are those of `embed_batch`.

    Its metrics are float32 scalars: `loss`, each part, the global norms of gradient, update and parameters (trained
    ones only), `learning_rate` and `logit_scale` (the factor exp(logit_scale) before the update); and `NOT_FINITE`,
    what `records_not_finite` says of the batch.
    """

    def step(state, frozen, batch):
        def loss_function(trained):
            return total_loss(
                trained, frozen, batch, model=model, terms=terms, roles=roles, mesh=mesh, over_data=over_data
            )

        (loss, parts), gradients = jax.value_and_grad(loss_function, has_aux=True)(state.params)
        updates, optimizer_state = optimizer.update(gradients, state.optimizer, state.params)
        params = optax.apply_updates(state.params, updates)
        if clamp_logit_scale and "logit_scale" in params:
            params["logit_scale"] = jnp.clip(params["logit_scale"], 0.0, MAX_LOGIT_SCALE)
        logit_scale = state.params["logit_scale"] if "logit_scale" in state.params else frozen["logit_scale"]
        metrics = {
            "loss": loss,
            **parts,
            "gradient_norm": optax.tree.norm(gradients),
            "update_norm": optax.tree.norm(updates),
            "parameter_norm": optax.tree.norm(state.params),
            "learning_rate": jnp.asarray(schedule(state.step), jnp.float32),
            "logit_scale": jnp.exp(logit_scale),
        }
        return TrainState(step=state.step + 1, params=params, optimizer=optimizer_state), metrics

    return step
