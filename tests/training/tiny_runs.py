"""A run in miniature that the training tests share: records, batches, model, step. Used by a subprocess as well."""

import dataclasses
from typing import Any

import jax
import numpy as np
import optax

from jaxclip import objectives
from jaxclip.config import OptimizerSettings
from jaxclip.data.pipeline import BatchStream, batch_order, make_batches, pack_roles
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.model import CLIP, ModelConfig
from jaxclip.training.optimizer import build_optimizer, learning_rate_schedule
from jaxclip.training.step import Term, TrainState, init_state, make_step, objective_params
from jaxclip.training.trainable import FlatParams, partition

ROLES = ("caption", "paraphrase", "negation")
WORDS = ["the", "red", "big", "cat", "dog", "not", "mat", "sun", "hat", "cup"]


def make_records(count, words=(1, 5)):
    """Records with three texts each, of a random number of words in this range."""
    generator = np.random.default_rng(0)

    def text():
        return " ".join(generator.choice(WORDS, generator.integers(words[0], words[1] + 1)))

    return [{"id": str(number), **{role: text() for role in ROLES}} for number in range(count)]


def make_features(config: ModelConfig, count):
    """Stands for cached image features: float32 [count, D]."""
    return np.random.default_rng(1).standard_normal((count, config.embed_dim)).astype(np.float32)


def make_images(config: ModelConfig, count):
    """Normalised images: float32 [count, S, S, 3]."""
    size = config.vision.image_size
    return np.random.default_rng(2).standard_normal((count, size, size, 3)).astype(np.float32)


def make_batch(records, tokenizer: Tokenizer, *, shards=1, **image):
    """One batch of one stream, `train`, of all these records; `image` is `features=` or `images=` with an array."""
    images = {kind: {"image": values} for kind, values in image.items()}
    return {"train": {"texts": pack_roles(records, ROLES, tokenizer, shards=shards), **images}}


def make_stream(config: ModelConfig, tokenizer: Tokenizer, *, records=22, batch_size=4) -> BatchStream:
    """An endless shuffled stream over records with cached features.

    All texts have the same length, so that all batches have the same shape and a step is compiled once.
    """
    features = make_features(config, records)
    return make_batches(
        make_records(records, words=(3, 3)),
        batch_order(records, batch_size, seed=3),
        roles=ROLES,
        tokenizer=tokenizer,
        shards=1,
        features={"image": lambda numbers: features[numbers]},
    )


@dataclasses.dataclass(frozen=True)
class TinyRun:
    """A step function and what it is called with first."""

    step: Any
    state: TrainState
    frozen: FlatParams
    model: CLIP
    terms: tuple[Term, ...]
    optimizer: optax.GradientTransformation
    schedule: optax.Schedule


def make_run(
    config: ModelConfig,
    params: FlatParams,
    trainable,
    *,
    objective="semclip",
    objective_settings=None,
    clamp_logit_scale=True,
    mesh=None,
    over_data=False,
    chunk=None,
    remat="none",
    steps=10,
    **optimizer_settings,
) -> TinyRun:
    """One stream, one objective, AdamW."""
    objective = objectives.build(objective, **(objective_settings or {}))
    terms = (Term("main", "train", dataclasses.replace(objective, mesh=mesh, chunk=chunk), 1.0),)
    trained, frozen = partition(params, trainable)
    own = {path: np.asarray(leaf) for path, leaf in objective_params(terms, config.embed_dim).items()}
    model = CLIP(config, remat=remat)
    settings = OptimizerSettings(**{"learning_rate": 0.01, "weight_decay": 0.1, "eps": 1e-3} | optimizer_settings)
    schedule = learning_rate_schedule(settings.learning_rate, 2, steps)
    optimizer = build_optimizer(settings, schedule)
    step = make_step(
        model,
        terms,
        {"train": ROLES},
        optimizer,
        schedule,
        clamp_logit_scale=clamp_logit_scale,
        mesh=mesh,
        over_data=over_data,
    )
    state = init_state(jax.tree.map(jax.numpy.asarray, {**trained, **own}), optimizer)
    return TinyRun(step, state, frozen, model, terms, optimizer, schedule)
