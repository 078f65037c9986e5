"""From a checked config to the things that a run is made of: splits, model, what is trained, streams."""

import contextlib
import dataclasses
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh

from jaxclip import console, objectives
from jaxclip.config import Config, ConfigError
from jaxclip.data.feature_cache import ImageFeatures
from jaxclip.data.pipeline import AugmentedEpochs, BatchStream, batch_order, make_batches
from jaxclip.data.preprocessing import SEMCLIP_RELEASED
from jaxclip.datasets import Split, open_split
from jaxclip.model import CLIP, ModelConfig
from jaxclip.model.clip import INITIAL_LOGIT_SCALE
from jaxclip.pretrained import SHIPPED, Clip, load, random_model
from jaxclip.training.optimizer import learning_rate_factor, learning_rate_schedule
from jaxclip.training.program import features_are_constant, image_tower_frozen
from jaxclip.training.sharding import local_data_shards, make_mesh, record_blocks
from jaxclip.training.step import Term, objective_params
from jaxclip.training.trainable import FlatParams, TrainableError, partition

TOKENIZER_CAPTIONS = 20_000


@dataclasses.dataclass(frozen=True)
class Run:
    """One run, ready to start.

    Attributes:
      start: the model that the run starts from.
      model: the Flax module.
      trained, frozen: the parameters, path → NumPy array; `trained` includes the objectives' own.
      terms: the objectives with their streams and weights.
      roles: stream → the text roles that its objectives need.
      images: stream → the image roles that they need.
      splits: `DATASET/SPLIT` → records, of the streams and of the evaluation.
      steps: the length of the run.
    """

    config: Config
    mesh: Mesh
    start: Clip
    model: CLIP
    trained: FlatParams
    frozen: FlatParams
    terms: tuple[Term, ...]
    roles: Mapping[str, tuple[str, ...]]
    images: Mapping[str, tuple[str, ...]]
    splits: Mapping[str, Split]
    steps: int

    @property
    def image_tower_frozen(self) -> bool:
        """Whether image features are constants of the run, to be computed once."""
        return image_tower_frozen(self.trained)

    @property
    def features_are_constant(self) -> bool:
        """Whether no step needs the image tower."""
        return features_are_constant(self.config, self.trained)

    @property
    def samples_per_step(self) -> int:
        """Records of all streams that one step sees."""
        return sum(stream.batch_size for stream in self.config.streams.values())


def stream_split(config: Config, stream: str) -> str:
    """The `DATASET/SPLIT` that a stream reads."""
    return f"{config.streams[stream].dataset}/{config.streams[stream].split}"


def open_splits(config: Config, data_dir: Path) -> dict[str, Split]:
    """Every split that the streams and the evaluation name, built where it is not on disk yet."""
    names = [stream_split(config, stream) for stream in config.streams]
    names += [*filter(None, [config.evaluation.validation]), *config.evaluation.splits]
    splits = {}
    for name in dict.fromkeys(names):
        dataset = config.datasets[name.partition("/")[0]]
        splits[name] = open_split(name, dataset.builder, dataset.settings, data_dir)
    return splits


def starting_model(config: Config, splits: Mapping[str, Split]) -> Clip:
    """The model that `config.model.init` names: `random:VARIANT`, or whatever `jaxclip.load` takes.

    Raises:
      ConfigError: nothing of that name.
      ModelDirectoryError, CheckpointError, WeightsError, FileNotFoundError: as `jaxclip.load`.
    """
    init = config.model.init
    if init.startswith("random:"):
        try:
            return random_model(init.removeprefix("random:"), config.seed, _tokenizer_texts(config, splits))
        except ValueError as error:
            raise ConfigError(f"config.model.init: {error}") from None
    if init not in SHIPPED and not Path(init).exists():
        raise ConfigError(
            f"config.model.init: {init!r} is not a model directory, work directory or checkpoint file, not a shipped "
            f"model ({', '.join(SHIPPED)}), and not random:VARIANT"
        )
    with console.notes():
        return load(init)


def _tokenizer_texts(config: Config, splits: Mapping[str, Split]) -> list[str] | None:
    """The captions to make a tokenizer from, None where CLIP's own is asked for."""
    kind, _, dataset = config.model.tokenizer.partition(":")
    if kind == "clip":
        return None
    sources = [split for name, split in splits.items() if name.startswith(f"{dataset}/")]
    if kind != "train" or not sources:
        raise ConfigError(
            f"config.model.tokenizer: found {config.model.tokenizer!r}, expected 'clip' or 'train:DATASET' with a data "
            f"set of a stream: {', '.join(sorted({name.partition('/')[0] for name in splits}))}"
        )
    source = sources[0]
    numbers = np.linspace(0, len(source) - 1, min(len(source), TOKENIZER_CAPTIONS)).astype(int)
    return [source[int(number)]["caption"] for number in numbers]


def build_terms(config: Config, mesh: Mesh | None) -> tuple[Term, ...]:
    """The objectives of a config, computed on this mesh; None where they are only looked at.

    Raises:
      ConfigError: an unknown objective or setting.
    """
    terms = []
    for label, settings in config.objectives.items():
        try:
            objective = objectives.build(settings.objective, **settings.settings)
        except (ValueError, TypeError) as error:
            raise ConfigError(f"config.objectives.{label}: {error}") from None
        objective = dataclasses.replace(objective, mesh=mesh, chunk=config.loss_chunk)
        terms.append(Term(label, settings.stream, objective, settings.weight))
    return tuple(terms)


Roles = dict[str, tuple[str, ...]]


def stream_roles(terms: tuple[Term, ...], streams: Iterable[str]) -> tuple[Roles, Roles]:
    """(stream → the text roles that its objectives need, stream → the image roles).

    Raises:
      ConfigError: a stream has no objective.
    """
    roles, images = {}, {}
    for stream in streams:
        users = [term.objective for term in terms if term.stream == stream]
        if not users:
            raise ConfigError(f"config.streams.{stream}: no objective uses it")
        roles[stream] = tuple(dict.fromkeys(role for objective in users for role in objective.roles))
        images[stream] = tuple(dict.fromkeys(role for objective in users for role in objective.images))
    return roles, images


def check_roles(config: Config, roles: Roles, images: Roles, splits: Mapping[str, Split]) -> None:
    """Raises ConfigError where the data of a stream does not have a role (text or image) that it needs."""
    for stream in config.streams:
        split = splits[stream_split(config, stream)]
        available = (*split.roles, *split.images)
        missing = [role for role in (*images[stream], *roles[stream]) if role not in available]
        if missing:
            source = config.datasets[config.streams[stream].dataset].settings.get("annotations")
            made_of = f" of {source}" if source else ""
            raise ConfigError(
                f"config.streams.{stream}: the objectives need the role(s) {', '.join(missing)}; "
                f"{split.name}{made_of} has {', '.join(available)}"
            )


def check_sizes(config: Config, splits: Mapping[str, Split]) -> None:
    """Raises ConfigError where a stream's data has fewer records than one of its batches."""
    for name, stream in config.streams.items():
        split = splits[stream_split(config, name)]
        if len(split) < stream.batch_size:
            raise ConfigError(
                f"config.streams.{name}.batch_size: {split.name} has {len(split):,} records, fewer than one batch of "
                f"{stream.batch_size:,}"
            )


def check_batches(config: Config, mesh: Mesh) -> None:
    """Raises ConfigError where the data shards cannot share a batch equally, or not in whole microbatches."""
    shards = mesh.shape["data"]
    for name, stream in config.streams.items():
        if stream.batch_size % shards:
            raise ConfigError(
                f"config.streams.{name}.batch_size: {stream.batch_size} cannot be divided by the {shards} data shards "
                "of the mesh"
            )
        if config.microbatch and stream.batch_size // shards % config.microbatch:
            raise ConfigError(
                f"config.microbatch: {config.microbatch} does not divide the {stream.batch_size // shards} records of "
                f"stream {name!r} on each of {shards} data shards"
            )


def divide_model(
    config: Config, terms: tuple[Term, ...], architecture: ModelConfig, params: FlatParams
) -> tuple[CLIP, FlatParams, FlatParams]:
    """(the module, the trained parameters with the objectives' own, the frozen ones).

    Only paths of `params` are looked at.

    Raises:
      TrainableError: `config.trainable` or the groups of learning rates do not fit the parameters.
      ConfigError: a setting of an objective does not fit the model.
    """
    with _naming("config.trainable"):
        trained, frozen = partition(params, config.trainable)
    check_objectives(terms, architecture.embed_dim)
    trained |= {path: np.asarray(leaf) for path, leaf in objective_params(terms, architecture.embed_dim).items()}
    with _naming("config.optimizer.learning_rate_factors"):
        learning_rate_factor(trained, config.optimizer.learning_rate_factors, architecture.text.layers)
    model = CLIP(architecture, dtype=np.dtype(config.model.dtype), remat=config.model.remat)
    return model, trained, frozen


@contextlib.contextmanager
def _naming(key: str) -> Iterator[None]:
    """Puts the key of the config before what is wrong with its patterns."""
    try:
        yield
    except TrainableError as error:
        raise TrainableError(f"{key}: {error}") from None


def check_objectives(terms: Iterable[Term], embed_dim: int) -> None:
    """Looks at each objective over embeddings of this width, without computing it.

    Raises:
      ConfigError: a setting does not fit.
    """
    for term in terms:
        alone = dataclasses.replace(term.objective, mesh=None, chunk=None)
        roles = (*alone.images, *alone.roles)
        embeddings = {role: jax.ShapeDtypeStruct((2, embed_dim), np.float32) for role in roles}
        try:
            jax.eval_shape(alone, embeddings, jax.ShapeDtypeStruct((), np.float32))
        except (ValueError, TypeError) as error:
            raise ConfigError(f"config.objectives.{term.label}: {error}") from None


def run_length(config: Config, splits: Mapping[str, Split]) -> int:
    """Steps of the run: whole updates; an epoch is one pass over the longest stream.

    Raises:
      ConfigError: the steps are not a multiple of the accumulated ones, or the warm-up is not shorter than the run.
    """
    accumulate = config.optimizer.accumulate
    if config.schedule.steps is not None:
        steps = config.schedule.steps
        if steps % accumulate:
            raise ConfigError(
                f"config.schedule.steps: {steps} is not a multiple of optimizer.accumulate = {accumulate}"
            )
    else:
        per_epoch = max(len(splits[stream_split(config, name)]) // s.batch_size for name, s in config.streams.items())
        steps = max(1, math.ceil(config.schedule.epochs * per_epoch / accumulate)) * accumulate
    # Here already: what depends on a run's length comes before a model is opened.
    learning_rate_schedule(config.optimizer.learning_rate, config.schedule.warmup_steps, steps // accumulate)
    return steps


def microbatches(config: Config, mesh: Mesh, stream: str) -> int:
    """How many microbatches a data shard makes of its part of a batch."""
    share = config.streams[stream].batch_size // mesh.shape["data"]
    return share // (config.microbatch or share)


def prepare(config: Config, data_dir: Path, base: Path | None = None) -> Run:
    """Opens the data and the model, and decides what is trained.

    Args:
      config: of the run.
      data_dir: the root folder of TFDS data sets.
      base: the model that an earlier start of the run began with. It counts, since what `config.model.init` names may
        have been trained further since then.

    Raises:
      ConfigError, TrainableError, DatasetError: the config does not fit the data or the model.
      ModelDirectoryError, CheckpointError, WeightsError, FileNotFoundError: the model cannot be read.
    """
    mesh = make_mesh(config.mesh)
    check_batches(config, mesh)
    terms = build_terms(config, mesh)
    splits = open_splits(config, data_dir)
    roles, images = stream_roles(terms, config.streams)
    check_roles(config, roles, images, splits)
    check_sizes(config, splits)
    start = starting_model(config, splits) if base is None else load(base)
    if config.model.preprocessing == "semclip_released":
        released = dataclasses.replace(SEMCLIP_RELEASED, size=start.preprocessing.size)
        start = dataclasses.replace(start, preprocessing=released)
    params = dict(start.params)
    if config.model.reset_logit_scale:
        params["logit_scale"] = np.float32(INITIAL_LOGIT_SCALE)
    model, trained, frozen = divide_model(config, terms, start.config, params)
    return Run(
        config=config,
        mesh=mesh,
        start=start,
        model=model,
        trained=trained,
        frozen=frozen,
        terms=terms,
        roles=roles,
        images=images,
        splits=splits,
        steps=run_length(config, splits),
    )


def images_to_cache(run: Run) -> Roles:
    """split → the image roles whose features the run needs, where the image tower is frozen.

    Those of the evaluation, and of the streams that do not augment their images.
    """
    evaluation = run.config.evaluation
    roles = {name: ["image"] for name in (*filter(None, [evaluation.validation]), *evaluation.splits)}
    for stream, images in run.images.items():
        if run.config.streams[stream].augmentation is None:
            roles.setdefault(stream_split(run.config, stream), []).extend(images)
    return {name: tuple(dict.fromkeys(images)) for name, images in roles.items()}


def record_ids(run: Run, step: int) -> dict[str, list[str]]:
    """Stream → the ids of the records in its global batch of a step, in the order of its rows; the first step is 1."""
    ids, blocks = {}, record_blocks(run.mesh)
    for number, (name, stream) in enumerate(run.config.streams.items()):
        split = run.splits[stream_split(run.config, name)]
        order = batch_order(len(split), stream.batch_size, seed=run.config.seed + number, shuffle=stream.shuffle)
        rows = order[step - 1].reshape(len(blocks), -1)[blocks].ravel()
        ids[name] = [split[int(record)]["id"] for record in rows]
    return ids


def make_streams(run: Run, features: Mapping[str, Mapping[str, ImageFeatures]]) -> dict[str, BatchStream]:
    """The batches of each stream; images come as features where `features` (split → image role) has the split."""
    streams = {}
    for number, (name, stream) in enumerate(run.config.streams.items()):
        split = run.splits[stream_split(run.config, name)]
        order = batch_order(
            len(split),
            stream.batch_size,
            seed=run.config.seed + number,
            shuffle=stream.shuffle,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
        )
        seed, augmentation = run.config.seed + number, None
        if stream.augmentation is not None:
            augmentation = AugmentedEpochs(stream.augmentation.augmentation(), seed, len(split) // stream.batch_size)
        streams[name] = make_batches(
            split,
            order,
            roles=run.roles[name],
            images=run.images[name],
            tokenizer=run.start.tokenizer,
            shards=local_data_shards(run.mesh) * microbatches(run.config, run.mesh, name),
            features=features.get(split.name) if augmentation is None else None,
            augmentation=augmentation,
            preprocessing=run.start.preprocessing,
            threads=run.config.pipeline.threads,
            workers=run.config.pipeline.workers,
        )
    return streams
