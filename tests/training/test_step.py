"""The step against a plain one: one text a row, every parameter differentiated, AdamW by hand."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny_runs
from jax.interpreters import partial_eval
from tiny_runs import ROLES

from jaxclip.config import MeshSettings
from jaxclip.model import CLIP
from jaxclip.objectives import build
from jaxclip.objectives.semclip import random_orthonormal
from jaxclip.training.sharding import make_mesh
from jaxclip.training.step import (
    MAX_LOGIT_SCALE,
    NOT_FINITE,
    Term,
    embed_stream,
    make_step,
    objective_params,
    split_roles,
    total_loss,
)
from jaxclip.training.trainable import merge, partition

BATCH = 4
PATTERNS = ("front_text_layers(1)", "text/token_embedding", "text/ln_final", "logit_scale")


@pytest.fixture(scope="module")
def records():
    return tiny_runs.make_records(BATCH)


@pytest.fixture(scope="module")
def features(tiny_config):
    return tiny_runs.make_features(tiny_config, BATCH)


@pytest.fixture(scope="module")
def batch(records, features, tiny_tokenizer):
    return tiny_runs.make_batch(records, tiny_tokenizer, features=features)


@pytest.fixture(scope="module")
def run(tiny_config, tiny_params):
    return tiny_runs.make_run(tiny_config, tiny_params, PATTERNS)


def unit(x):
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def plain_loss(params, config, records, features, tokenizer):
    """SemCLIP written out: one text a row, one role after the other."""
    model = CLIP(config)
    embeddings = {
        role: model.apply(
            {"params": merge(params)}, tokenizer([record[role] for record in records]), method="encode_text"
        )
        for role in ROLES
    }
    V = random_orthonormal(config.embed_dim, 2, 0)
    logits = jnp.exp(params["logit_scale"]) * unit(features) @ unit(embeddings["caption"]).T
    labels = jnp.arange(len(records))
    contrastive = [optax.softmax_cross_entropy_with_integer_labels(x, labels).mean() for x in (logits, logits.T)]
    projected = {role: unit(embeddings[role] @ V) for role in ROLES}
    paraphrase = 1 - jnp.sum(projected["caption"] * projected["paraphrase"], axis=-1)
    negation = jnp.maximum(0, jnp.sum(projected["caption"] * projected["negation"], axis=-1))
    return (sum(contrastive) / 2 + paraphrase.mean() + negation.mean()) / 3


@pytest.fixture(scope="module")
def plain(tiny_config, tiny_params, tiny_tokenizer, records, features):
    """(loss, gradients to every parameter) of the plain form at the start."""
    function = functools.partial(
        plain_loss, config=tiny_config, records=records, features=features, tokenizer=tiny_tokenizer
    )
    return jax.jit(jax.value_and_grad(function))(tiny_params)


@pytest.fixture(scope="module")
def first_steps(run, batch):
    """The states and the metrics of two steps; the learning rate of the first is 0 (warm-up)."""
    step = jax.jit(run.step)
    state, metrics = step(run.state, run.frozen, batch)
    return [(state, metrics), step(state, run.frozen, batch)]


def test_loss_and_update_are_those_of_the_plain_step(run, plain, first_steps):
    loss, gradients = plain
    (first, first_metrics), (second, second_metrics) = first_steps
    assert first_metrics["loss"] == pytest.approx(float(loss), rel=1e-5)
    assert first_metrics["learning_rate"] == 0 and second_metrics["learning_rate"] == pytest.approx(0.005)
    for path, before in run.state.params.items():
        np.testing.assert_array_equal(first.params[path], before)
        # Two steps with the same gradient g: the corrected moments are g and g².
        g = np.float64(gradients[path])
        expected = before - 0.005 * (g / (np.abs(g) + 1e-3) + 0.1 * np.float64(before))
        np.testing.assert_allclose(second.params[path], expected, rtol=0, atol=2e-5, err_msg=path)
    assert first.step == 1 and second.step == 2


def loss_and_gradients(run, batch, **settings):
    """Of the step's own loss, with respect to the trained parameters."""
    loss = functools.partial(total_loss, model=run.model, terms=run.terms, roles={"train": ROLES}, **settings)
    (value, _), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(run.state.params, run.frozen, batch)
    return value, gradients


@pytest.mark.parametrize("microbatches", [2, 4])
def test_microbatches_give_the_loss_and_gradients_of_the_plain_step(
    run, plain, records, features, tiny_tokenizer, microbatches
):
    """With softmaxes over the whole batch: two batches of half the size have another loss."""
    batch = tiny_runs.make_batch(records, tiny_tokenizer, shards=microbatches, features=features)
    loss, gradients = loss_and_gradients(run, batch, mesh=make_mesh(MeshSettings(data=1)))
    assert loss == pytest.approx(float(plain[0]), rel=1e-5)
    largest = max(np.abs(plain[1][path]).max() for path in gradients)
    for path, gradient in gradients.items():
        np.testing.assert_allclose(gradient, plain[1][path], rtol=1e-4, atol=2e-6 * largest, err_msg=path)
    halves = [
        loss_and_gradients(run, tiny_runs.make_batch(records[half], tiny_tokenizer, features=features[half]))[0]
        for half in (slice(0, 2), slice(2, 4))
    ]
    assert abs(np.mean(halves) - loss) > 1e-3


def test_a_step_on_one_device_has_the_numbers_of_a_step_without_mesh(tiny_config, tiny_params, batch, first_steps):
    """Also gradients are not summed over the one device, which would copy them."""
    run = tiny_runs.make_run(tiny_config, tiny_params, PATTERNS, mesh=make_mesh(MeshSettings(data=1)))
    step = jax.jit(run.step).lower(run.state, run.frozen, batch).compile()
    summed = [line for line in step.as_text().splitlines() if " all-reduce(" in line]
    assert not any("f32[32,128]" in line for line in summed), summed
    (state, metrics), expected = step(*step(run.state, run.frozen, batch)[:1], run.frozen, batch), first_steps[1]
    for name in ("loss", "gradient_norm"):
        assert metrics[name] == pytest.approx(float(expected[1][name]), rel=1e-5)
    for path, leaf in expected[0].params.items():
        np.testing.assert_allclose(state.params[path], leaf, rtol=0, atol=2e-5, err_msg=path)


def test_microbatches_of_images_give_the_gradients_of_both_towers(tiny_config, tiny_params, tiny_tokenizer, records):
    run = tiny_runs.make_run(tiny_config, tiny_params, ["visual", "text/transformer", "logit_scale"])
    images = tiny_runs.make_images(tiny_config, BATCH)
    whole, parts = (
        loss_and_gradients(
            run,
            tiny_runs.make_batch(records, tiny_tokenizer, shards=groups, images=images),
            mesh=make_mesh(MeshSettings(data=1)),
        )
        for groups in (1, 2)
    )
    assert parts[0] == pytest.approx(float(whole[0]), rel=1e-6)
    largest = max(np.abs(leaf).max() for leaf in whole[1].values())
    for path, gradient in whole[1].items():
        np.testing.assert_allclose(parts[1][path], gradient, rtol=1e-4, atol=2e-6 * largest, err_msg=path)


def test_norms_are_those_of_trained_parameters_only(run, plain, first_steps):
    gradients = {path: np.float64(leaf) for path, leaf in plain[1].items()}
    trained = np.sqrt(sum(np.sum(gradients[path] ** 2) for path in run.state.params))
    everything = np.sqrt(sum(np.sum(leaf**2) for leaf in gradients.values()))
    metrics = first_steps[0][1]
    assert metrics["gradient_norm"] == pytest.approx(trained, rel=1e-4) and trained < 0.9 * everything
    size = np.sqrt(sum(np.sum(np.float64(leaf) ** 2) for leaf in run.state.params.values()))
    assert metrics["parameter_norm"] == pytest.approx(size, rel=1e-5)
    moved = first_steps[1][0].params
    distance = np.sqrt(sum(np.sum(np.float64(moved[path] - leaf) ** 2) for path, leaf in run.state.params.items()))
    assert first_steps[1][1]["update_norm"] == pytest.approx(distance, rel=1e-3)


def test_state_holds_trained_parameters_only(run, first_steps):
    state = first_steps[1][0]
    assert state.params.keys() == run.state.params.keys()
    assert not state.params.keys() & run.frozen.keys()
    in_optimizer = {
        path[-1].key
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.optimizer)
        if isinstance(path[-1], jax.tree_util.DictKey)
    }
    assert in_optimizer == state.params.keys()


def test_metrics_are_float32_scalars_with_every_part(first_steps):
    metrics = dict(first_steps[0][1])
    assert metrics.pop(NOT_FINITE)["train"].dtype == bool
    parts = {"main/contrastive", "main/paraphrase", "main/negation"}
    norms = {"gradient_norm", "update_norm", "parameter_norm"}
    assert metrics.keys() == {"loss", "learning_rate", "logit_scale", *parts, *norms}
    assert all(value.shape == () and value.dtype == jnp.float32 for value in metrics.values())
    assert sum(float(metrics[part]) for part in parts) / 3 == pytest.approx(float(metrics["loss"]), rel=1e-5)


def used_dot_outputs(run, batch):
    """`dot_outputs` of a step, of what somebody reads; test_compiled_step.py shows that the compiler drops the rest."""
    jaxpr = jax.make_jaxpr(run.step)(run.state, run.frozen, batch).jaxpr
    return dot_outputs(partial_eval.dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0])


def dot_outputs(jaxpr, repeat=1):
    """(shape, how often) of the result of every matrix product, scans counted as often as they run."""
    for equation in jaxpr.eqns:
        if equation.primitive.name == "dot_general":
            yield equation.outvars[0].aval.shape, repeat
        times = repeat * equation.params.get("length", 1) if equation.primitive.name == "scan" else repeat
        branches = equation.params.get("branches", ())  # of `lax.platform_dependent`: that of CPUs is the first
        for value in (*equation.params.values(), *branches[:1]):
            inner = getattr(value, "jaxpr", value)
            if hasattr(inner, "eqns"):
                yield from dot_outputs(inner, times)


@pytest.mark.parametrize(
    ("patterns", "trained_layers"),
    [
        (("whole_text_layers", "logit_scale"), 3),
        (("front_text_layers(1)", "logit_scale"), 1),
        (("middle_text_layers(1)", "logit_scale"), 1),
        (("back_text_layers(2)", "logit_scale"), 2),
        (("text/token_embedding", "logit_scale"), 0),
    ],
)
def test_frozen_layers_have_no_weight_gradients(tiny_config, tiny_params, batch, patterns, trained_layers):
    """The products whose result has the shape of an MLP kernel are weight gradients: two a trained layer."""
    run = tiny_runs.make_run(tiny_config, tiny_params, patterns)
    width = tiny_config.text.width
    count = sum(times for shape, times in used_dot_outputs(run, batch) if sorted(shape) == [width, 4 * width])
    assert count == 2 * trained_layers


def test_layers_before_the_first_trained_one_are_not_differentiated(tiny_config, tiny_params, batch):
    """With back layers trained only, no activation gradient runs through the front ones."""

    def products(*patterns):
        run = tiny_runs.make_run(tiny_config, tiny_params, [*patterns, "logit_scale"])
        return sum(times for _, times in used_dot_outputs(run, batch))

    whole, front, back = map(products, ("whole_text_layers", "front_text_layers(1)", "back_text_layers(1)"))
    assert back < front < whole


@pytest.mark.parametrize(
    ("start", "clamp", "expected"), [(4.6, True, MAX_LOGIT_SCALE), (0.004, True, 0.0), (4.6, False, 4.65)]
)
def test_logit_scale_is_clamped_after_the_step(tiny_config, tiny_params, batch, start, clamp, expected):
    """By an optimiser that moves it by 0.05, up or down, whatever the gradient."""
    params = tiny_params | {"logit_scale": np.float32(start)}
    run = tiny_runs.make_run(tiny_config, params, ["logit_scale"], clamp_logit_scale=clamp)
    sign = 1.0 if start > 1 else -1.0
    nudge = optax.stateless(lambda updates, _: jax.tree.map(lambda leaf: jnp.full_like(leaf, sign * 0.05), updates))
    step = make_step(run.model, run.terms, {"train": ROLES}, nudge, run.schedule, clamp_logit_scale=clamp)
    state, metrics = jax.jit(step)(run.state.replace(optimizer=nudge.init(run.state.params)), run.frozen, batch)
    assert state.params["logit_scale"] == pytest.approx(expected, abs=1e-6)
    assert metrics["logit_scale"] == pytest.approx(np.exp(start), rel=1e-5)


def test_images_and_their_features_give_the_same_loss(tiny_config, tiny_params, tiny_tokenizer, records):
    run = tiny_runs.make_run(tiny_config, tiny_params, ["text/ln_final"])
    images = tiny_runs.make_images(tiny_config, BATCH)
    encode_image = functools.partial(CLIP(tiny_config).apply, {"params": merge(tiny_params)}, method="encode_image")
    loss = jax.jit(functools.partial(total_loss, model=run.model, terms=run.terms, roles={"train": ROLES}))
    losses = [
        loss(run.state.params, run.frozen, tiny_runs.make_batch(records, tiny_tokenizer, **image))[0]
        for image in ({"images": images}, {"features": jax.jit(encode_image)(images)})
    ]
    assert losses[0] == pytest.approx(float(losses[1]), rel=1e-6)


def test_cached_features_need_no_image_tower(run, batch):
    text_only = {path: leaf for path, leaf in run.frozen.items() if not path.startswith("visual/")}
    shapes = jax.eval_shape(run.step, run.state, text_only, batch)
    assert shapes[1]["loss"].shape == ()


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_shards_give_the_same_embeddings_by_role(tiny_config, tiny_params, tiny_tokenizer, records, features, shards):
    batch = tiny_runs.make_batch(records, tiny_tokenizer, shards=shards, features=features)
    model, params = CLIP(tiny_config), merge(jax.tree.map(jnp.asarray, tiny_params))
    found = jax.jit(lambda stream: embed_stream(model, params, stream, ROLES))(batch["train"])
    assert found.keys() == {"image", *ROLES}
    encode_text = jax.jit(functools.partial(model.apply, method="encode_text"))
    for role in ROLES:
        expected = encode_text({"params": params}, tiny_tokenizer([record[role] for record in records]))
        np.testing.assert_allclose(found[role], expected, rtol=1e-5, atol=1e-5)


def test_split_roles_orders_by_record():
    embeddings = np.array([[0.0], [1], [10], [11], [2], [3], [12], [13]])  # shard 0: caption 0 1, negation 0 1; shard 1
    roles = split_roles(jnp.asarray(embeddings), ("caption", "negation"), groups=2)
    assert roles["caption"].ravel().tolist() == [0, 1, 2, 3] and roles["negation"].ravel().tolist() == [10, 11, 12, 13]


def test_terms_add_up_with_their_weights_over_streams(tiny_config, tiny_params, tiny_tokenizer, records, features, run):
    """Two objectives on two streams; the second has parameters of its own."""
    learnable = build("semclip", learnable=True, n=3)
    terms = (Term("a", "first", build("clip"), 0.5), Term("b", "second", learnable, 2.0))
    own = objective_params(terms, tiny_config.embed_dim)
    assert {path: leaf.shape for path, leaf in own.items()} == {"objectives/b/projection": (16, 3)}
    first, second = (
        tiny_runs.make_batch(part, tiny_tokenizer, features=image)["train"]
        for part, image in ((records, features), (records[::-1], features[::-1]))
    )
    trained, frozen = partition(tiny_params, ["text/ln_final", "logit_scale"])
    roles = {"first": ROLES, "second": ROLES}

    @jax.jit
    @jax.value_and_grad
    def loss(trained, weights):
        weighted = [
            Term(term.label, term.stream, term.objective, weight) for term, weight in zip(terms, weights, strict=True)
        ]
        batch = {"first": first, "second": second}
        return total_loss(trained, frozen, batch, model=run.model, terms=weighted, roles=roles)[0]

    both, gradients = loss({**trained, **own}, (0.5, 2.0))
    alone = [loss({**trained, **own}, weights)[0] for weights in ((1.0, 0.0), (0.0, 1.0))]
    assert both == pytest.approx(0.5 * float(alone[0]) + 2 * float(alone[1]), rel=1e-5)
    assert np.any(gradients["objectives/b/projection"])
