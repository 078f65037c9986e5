"""What a config may say: the schema that every `configs/*.py` is checked against before anything runs.

A config file returns an `ml_collections.ConfigDict`, written to be read by a person; `parse` turns it into these frozen
models. An unknown key, a wrong type or a value out of range is one error that names the key and the near matches.
"""

import difflib
import types
from typing import Annotated, Literal, TypeVar

import ml_collections
import pydantic
from pydantic import Field

from jaxclip.data.augmentation import Augmentation


class ConfigError(ValueError):
    """A config that cannot be run, with the reason."""


class _Section(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, strict=True, protected_namespaces=())


class _OpenSection(_Section):
    """A section whose further keys are the settings of what it names."""

    model_config = pydantic.ConfigDict(extra="allow")

    @property
    def settings(self) -> dict:
        return dict(self.model_extra or {})


def _remat_policy(value):
    """Configs from before there were policies say true or false."""
    return {True: "full", False: "none"}[value] if isinstance(value, bool) else value


class ModelSettings(_Section):
    """Where the model comes from and how it computes.

    `init` is whatever `jaxclip.load` takes (a model directory, the work directory of another run, a file or directory
    of OpenAI, Hugging Face or OpenCLIP, the name `scenes-base`), or `random:VARIANT`.
    `tokenizer`, for random weights only, is `clip` (CLIP's own) or `train:DATASET` (made from its captions).
    `preprocessing` is the checkpoint's own, or that of SemCLIP's released code (squashed images, ImageNet statistics).
    `remat` says what the backward pass recomputes (see `jaxclip.model.transformer.rematerialise`); true is `full`.
    """

    init: str
    tokenizer: str = "clip"
    dtype: Literal["float32", "bfloat16"] = "float32"
    remat: Annotated[Literal["none", "dots", "full"], pydantic.BeforeValidator(_remat_policy)] = "none"
    preprocessing: Literal["checkpoint", "semclip_released"] = "checkpoint"
    reset_logit_scale: bool = False  # start from 1/0.07 instead of the checkpoint's own temperature
    clamp_logit_scale: bool = True  # keep logit_scale in [0, ln 100] after each step


class DatasetSettings(_OpenSection):
    """`builder` is a name of `jaxclip.datasets.BUILDERS`; the other keys are that builder's settings."""

    builder: str


class AugmentationSettings(_Section):
    """Random resized crop and flip of a stream's images, see `jaxclip.data.augmentation.Augmentation`."""

    scale: tuple[float, float] = (0.9, 1.0)
    ratio: tuple[float, float] = (0.75, 4 / 3)
    flip: float = 0.0

    @pydantic.model_validator(mode="after")
    def _possible(self):
        self.augmentation()
        return self

    def augmentation(self) -> Augmentation:
        """The same as the pipeline takes it."""
        return Augmentation(**self.model_dump())


class StreamSettings(_Section):
    """Batches of one split of one data set.

    `batch_size` is global: over all devices and processes. `shuffle = False` keeps the order of the data set, for data
    that is a curriculum. `augmentation` makes the image tower run on every batch: its features cannot be kept.
    """

    dataset: str
    split: str
    batch_size: int = Field(gt=0)
    shuffle: bool = True
    augmentation: AugmentationSettings | None = None


class ObjectiveSettings(_OpenSection):
    """A loss on a stream; the other keys are the objective's settings."""

    objective: str
    stream: str
    weight: float = Field(default=1.0, ge=0)


class OptimizerSettings(_Section):
    """The optimiser.

    `decay` says which trained parameters weight decay acts on: all of them, or only those with two or more axes (of
    Muon's, only the matrices that it handles itself). `learning_rate_factors` multiplies the learning rate of groups of
    trained parameters, named as in `trainable`. `accumulate` averages the gradients of that many steps into one update;
    each softmax stays one batch wide.
    """

    name: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = Field(gt=0)
    b1: float = Field(default=0.9, ge=0, lt=1)
    b2: float = Field(default=0.999, ge=0, lt=1)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    decay: Literal["all", "matrices"] = "all"
    clip_norm: float | None = Field(default=None, gt=0)
    learning_rate_factors: dict[str, Annotated[float, Field(ge=0)]] = {}
    accumulate: int = Field(default=1, gt=0)


class ScheduleSettings(_Section):
    """Linear warm-up, then cosine to zero. Give the length as `steps` or as `epochs` of the longest stream.

    A step is one batch of each stream. `warmup_steps` count updates (see `OptimizerSettings.accumulate`).
    """

    steps: int | None = Field(default=None, gt=0)
    epochs: float | None = Field(default=None, gt=0)
    warmup_steps: int = Field(default=0, ge=0)

    @pydantic.model_validator(mode="after")
    def _one_length(self):
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("give exactly one of schedule.steps and schedule.epochs")
        return self


class MeshSettings(_Section):
    """Devices along each axis of the mesh; `data = -1` takes all that `model` leaves."""

    data: int = -1
    model: int = Field(default=1, gt=0)


class TrainingMeshSettings(MeshSettings):
    """The mesh of a run. `parameters`, with their optimiser moments, are whole on every data shard or split over them.

    What `model` splits is split either way.
    """

    parameters: Literal["replicated", "sharded"] = "replicated"


class PipelineSettings(_Section):
    """`threads` load batches ahead in this process; `workers` > 0 decodes images in that many worker processes."""

    threads: int = Field(default=2, gt=0)
    workers: int = Field(default=0, ge=0)


class CheckpointSettings(_Section):
    """Save every `every` steps; keep the last two and the best by `best`, a metric of the validation split."""

    every: int = Field(default=100, gt=0)
    best: str = "original_over_negation"


class FailureSettings(_Section):
    """What is done where something goes wrong.

    `skip_bad_steps` leaves out up to so many steps whose loss, gradient or update is not finite; 0 stops at the first.
    `max_gradient_norm` makes a step with a larger gradient a bad one as well; unlike `optimizer.clip_norm` it scales
    nothing. Of several processes one that says nothing for `peer_timeout` seconds is lost (JAX itself gives up after
    100), and a run that does not get on for `hang_timeout` seconds is ended: in its first step, which compiles, after
    1,800 seconds at the earliest; before it, while data is prepared, never.
    """

    skip_bad_steps: int = Field(default=0, ge=0)
    max_gradient_norm: float | None = Field(default=None, gt=0)
    peer_timeout: float = Field(default=90.0, gt=0)
    hang_timeout: float = Field(default=1800.0, gt=0)


class EvaluationSettings(_Section):
    """Splits are written `DATASET/SPLIT`. `validation` is scored every `every` steps, `splits` at both ends."""

    validation: str | None = None
    splits: tuple[str, ...] = ()
    every: int = Field(default=100, gt=0)
    batch_size: int = Field(default=256, gt=0)


class Config(_Section):
    """One run.

    For batches that do not fit, both with the same result: `microbatch` is how many records of a stream a device embeds
    at a time, twice over (gradient caching: every softmax stays one batch wide); `loss_chunk` is how many rows of
    logits it makes at a time. None is all of them.
    """

    seed: int = Field(default=42, ge=0)
    title: str
    model: ModelSettings
    datasets: dict[str, DatasetSettings]
    streams: dict[str, StreamSettings]
    objectives: dict[str, ObjectiveSettings]
    trainable: tuple[str, ...]
    optimizer: OptimizerSettings
    schedule: ScheduleSettings
    microbatch: int | None = Field(default=None, gt=0)
    loss_chunk: int | None = Field(default=None, gt=0)
    mesh: TrainingMeshSettings = TrainingMeshSettings()
    pipeline: PipelineSettings = PipelineSettings()
    checkpoint: CheckpointSettings = CheckpointSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    failure: FailureSettings = FailureSettings()
    log_every: int = Field(default=10, gt=0)

    @pydantic.model_validator(mode="after")
    def _references(self):
        for name, stream in self.streams.items():
            _known(stream.dataset, self.datasets, f"streams.{name}.dataset")
        for name, objective in self.objectives.items():
            _known(objective.stream, self.streams, f"objectives.{name}.stream")
        for split in (*self.evaluation.splits, *filter(None, [self.evaluation.validation])):
            dataset, slash, _ = split.partition("/")
            if not slash:
                raise ValueError(f"evaluation: found {split!r}, expected DATASET/SPLIT, e.g. 'scenes/test'")
            _known(dataset, self.datasets, f"evaluation split {split!r}")
        if not self.objectives:
            raise ValueError("objectives: found none, expected at least one")
        return self


class BenchmarkSettings(_Section):
    """What is scored together and shown as one table.

    `splits` are written `DATASET/SPLIT`; with several, each is scored by itself, and their mean as the benchmark.
    `get` says where the data comes from, for those who do not have it. `similarities` puts the histograms, the searches
    and the failures of the report on it. `layers` compares the text tower's states of captions and negations, layer by
    layer, on that many pairs.
    """

    splits: tuple[str, ...] = Field(min_length=1)
    get: str = ""
    similarities: bool = False
    layers: int = Field(default=0, ge=0)


class EvaluateConfig(_Section):
    """What `jaxclip.evaluate` measures.

    In the data sets' settings, `{root}` stands for `root`. `preprocessing` is each checkpoint's own, or that of
    SemCLIP's released code.
    """

    seed: int = Field(default=0, ge=0)
    title: str
    root: str = "."
    datasets: dict[str, DatasetSettings]
    benchmarks: dict[str, BenchmarkSettings]
    dtype: Literal["float32", "bfloat16"] = "float32"
    preprocessing: Literal["checkpoint", "semclip_released"] = "checkpoint"
    batch_size: int = Field(default=256, gt=0)
    mesh: MeshSettings = MeshSettings()

    @pydantic.model_validator(mode="after")
    def _references(self):
        for name, benchmark in self.benchmarks.items():
            for split in benchmark.splits:
                _dataset_of(split, self.datasets, f"benchmarks.{name}.splits")
        if not self.benchmarks:
            raise ValueError("benchmarks: found none, expected at least one")
        return self


def _dataset_of(split: str, datasets: dict, where: str) -> None:
    dataset, slash, _ = split.partition("/")
    if not slash:
        raise ValueError(f"{where}: found {split!r}, expected DATASET/SPLIT, e.g. 'scenes/test'")
    _known(dataset, datasets, f"{where}: the data set of {split!r}")


def _near(key: str, known) -> str:
    near = difflib.get_close_matches(key, list(known), n=2, cutoff=0.5)
    return f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(map(str, known))}"


def _known(name: str, table: dict, where: str) -> None:
    if name not in table:
        raise ValueError(f"{where}: {name!r} is not defined; {_near(name, table)}")


_Parsed = TypeVar("_Parsed", bound=_Section)


def _fields_at(schema: type[pydantic.BaseModel], path: tuple) -> list[str]:
    """The keys that the schema knows at a path such as ("optimizer",) or ("streams", "train")."""
    section = schema
    for key in path:
        if isinstance(section, type) and issubclass(section, pydantic.BaseModel):
            section = section.model_fields[key].annotation
            if isinstance(section, types.UnionType):  # Section | None
                section = section.__args__[0]
        else:
            section = section.__args__[1]  # dict[str, Section]
    return list(section.model_fields)


def parse(config: ml_collections.ConfigDict | dict | bytes, schema: type[_Parsed] = Config) -> _Parsed:
    """Checks a config and freezes it.

    Args:
      config: as a config file returns it, or the content of a config.json.
      schema: `Config` of a training run, or `EvaluateConfig`.

    Raises:
      ConfigError: one line a problem: the key, what was found, what was expected, near matches of an unknown key.
    """
    values = config.to_dict() if isinstance(config, ml_collections.ConfigDict) else config
    try:
        # JSON has no tuples: there a list is one.
        return schema.model_validate_json(values) if isinstance(values, bytes) else schema.model_validate(values)
    except pydantic.ValidationError as error:
        problems = []
        for problem in error.errors():
            where = ".".join(("config", *map(str, problem["loc"])))
            if problem["type"] == "extra_forbidden":
                *path, key = problem["loc"]
                problems.append(f"{where}: unknown key; {_near(key, _fields_at(schema, tuple(path)))}")
            elif problem["type"] == "missing":
                problems.append(f"{where}: missing")
            elif problem["type"] == "string_type" and problem["input"] is None:  # a placeholder of the config file
                problems.append(f"{where}: not given; expected --{where}=VALUE")
            else:
                message = problem["msg"].removeprefix("Value error, ")
                found = "" if problem["type"] in ("value_error", "json_invalid") else f" (found {problem['input']!r})"
                problems.append(f"{where}: {message}{found}")
        raise ConfigError("\n".join(problems)) from None
