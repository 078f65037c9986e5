"""Benchmarks of `jaxclip.evaluate`: opened where their data is on disk, and measured for one checkpoint after another.

Shapes: n records, U distinct images, D embedding.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxclip.config import BenchmarkSettings, EvaluateConfig
from jaxclip.data.feature_cache import ImageFeatures
from jaxclip.datasets import Split, open_split
from jaxclip.embedder import Embedder
from jaxclip.evaluation.choices import right_choice
from jaxclip.evaluation.layers import layer_similarities
from jaxclip.evaluation.scores import Outcomes, Score, stratified_mean
from jaxclip.evaluation.semclip import semclip_outcomes
from jaxclip.evaluation.splits import SplitTexts, embed_split, read_texts, zeroshot_inputs
from jaxclip.evaluation.suite import split_outcomes
from jaxclip.evaluation.zeroshot import ensemble, imagenet_templates, zeroshot_accuracy

# Data sets whose captions are negated queries: retrieval with them is a metric of its own.
_NEGATED_QUERIES = ("negbench_retrieval",)
# Classifications that are also scored with the published templates.
_ENSEMBLED = ("imagenet2012",)
LAYER_ROLES = ("negation", "paraphrase")


@dataclasses.dataclass(frozen=True)
class Benchmark:
    """A benchmark whose data is there.

    Attributes:
      splits: `DATASET/SPLIT` -> records.
      negated_queries: whether its captions are negated queries.
    """

    name: str
    settings: BenchmarkSettings
    splits: Mapping[str, Split]
    negated_queries: bool


@dataclasses.dataclass(frozen=True)
class Measured:
    """A split under one checkpoint.

    Attributes:
      outcomes: metric -> what it is computed from.
      embeddings: `image` [U, D] and each text role [n, D].
      image_index: [n], the image of each record.
    """

    outcomes: Mapping[str, Outcomes]
    embeddings: Mapping[str, np.ndarray]
    image_index: np.ndarray


def open_benchmarks(config: EvaluateConfig, data_dir: Path) -> tuple[list[Benchmark], dict[str, str]]:
    """The benchmarks whose data is on disk, and for each other one what is missing and how to get it.

    Raises:
      DatasetError: data that is there and cannot be used, or a setting that is wrong.
    """
    found, missing = [], {}
    for name, settings in config.benchmarks.items():
        try:
            splits = {split: _open(config, split, data_dir) for split in settings.splits}
        except FileNotFoundError as error:
            missing[name] = f"{error}. {settings.get}".strip()
            continue
        builders = {config.datasets[split.partition("/")[0]].builder for split in splits}
        found.append(Benchmark(name, settings, splits, builders <= set(_NEGATED_QUERIES)))
    return found, missing


def _open(config: EvaluateConfig, split: str, data_dir: Path) -> Split:
    dataset = config.datasets[split.partition("/")[0]]
    settings = {
        key: value.replace("{root}", config.root) if isinstance(value, str) else value
        for key, value in dataset.settings.items()
    }
    return open_split(split, dataset.builder, settings, data_dir)


def measure(benchmark: Benchmark, split: Split, texts: SplitTexts, embedder: Embedder) -> Measured:
    """Everything that a split's roles and fields allow, under one checkpoint.

    Args:
      benchmark: that the split belongs to.
      split: its records.
      texts: from `read_texts(split)`.
      embedder: the checkpoint.
    """

    def encode_texts(items: list[str]) -> np.ndarray:
        return embedder.texts(items, split.name)

    features = embedder.images(split)
    embeddings = embed_split(texts, features, encode_texts)
    outcomes = split_outcomes(embeddings, features.image_index, zeroshot_inputs(texts, features, encode_texts))
    if benchmark.negated_queries:
        outcomes = {f"negated_retrieval_r{k}": outcomes[f"caption_to_image_r{k}"] for k in (1, 5)}
    outcomes |= _choice_outcomes(split, embeddings, features, embedder) | _ensembled_outcomes(texts, features, embedder)
    return Measured(outcomes | semclip_outcomes(outcomes), embeddings, features.image_index)


def _choice_outcomes(
    split: Split, embeddings: Mapping[str, np.ndarray], features: ImageFeatures, embedder: Embedder
) -> dict[str, Outcomes]:
    """Multiple choice (total and by template) and boxes, where the records have such questions."""
    outcomes, image = {}, features.image_index
    options = [role for role in split.roles if role.startswith("option_")]
    fields = split[0].keys()
    if "answer" in fields and len(options) > 1:
        answers = np.array([int(split[number]["answer"]) for number in range(len(split))])
        choices = np.stack([embeddings[role] for role in options], axis=1)
        right = right_choice(features(np.arange(len(split))), choices, answers)
        outcomes["mcq_accuracy"] = Outcomes.of(right, image)
        if "template" in fields:
            templates = np.array([split[number]["template"] for number in range(len(split))])
            for name in np.unique(templates):
                rows = templates == name
                outcomes[f"mcq_accuracy_{name}"] = Outcomes.of(right[rows], image[rows])
    if "answer" in fields and "boxes" in fields:
        records = [split[number] for number in range(len(split))]
        crops = embedder.crops(split, np.stack([record["boxes"] for record in records]))
        answers = np.array([int(record["answer"]) for record in records])
        outcomes["box_accuracy"] = Outcomes.of(right_choice(embeddings["caption"], crops, answers), image)
    return outcomes


def _ensembled_outcomes(texts: SplitTexts, features: ImageFeatures, embedder: Embedder) -> dict[str, Outcomes]:
    """Zero-shot accuracy with the published templates."""
    outcomes = {}
    for name, zeroshot in texts.zeroshot.items():
        if name in _ENSEMBLED:
            templates = imagenet_templates()
            prompts = [template.format(label) for template in templates for label in zeroshot.classes]
            embedded = embedder.texts(prompts, f"{name}, {len(templates)} templates")
            classes = ensemble(embedded.reshape(len(templates), len(zeroshot.classes), -1))
            right = zeroshot_accuracy(features(zeroshot.numbers), zeroshot.labels, classes)
            outcomes[f"zeroshot_{name}_ensemble"] = Outcomes.of(right)
    return outcomes


def subset_means(measured: Mapping[str, Measured]) -> dict[str, Outcomes]:
    """Metric -> its mean over the splits of a benchmark, for the metrics that every split has."""
    shared = set.intersection(*(set(one.outcomes) for one in measured.values()))
    first = next(iter(measured.values())).outcomes
    return {
        metric: stratified_mean([one.outcomes[metric] for one in measured.values()])
        for metric in first
        if metric in shared
    }


def layer_analysis(split: str, texts: SplitTexts, pairs: int, embedder: Embedder) -> dict[str, list[Score]]:
    """Role -> the mean cosine of captions' and that role's states, layer by layer (Omni-NegCLIP, arXiv 2603.29258).

    Args:
      split: its name.
      texts: of the split.
      pairs: how many records are used, spread evenly over the split.
      embedder: the checkpoint.
    """
    roles = [role for role in LAYER_ROLES if role in texts.texts]
    if "caption" not in texts.texts or not roles:
        return {}
    count = len(texts.texts["caption"])
    numbers = np.unique(np.linspace(0, count - 1, min(pairs, count)).astype(int))
    states = {
        role: embedder.layer_states([texts.texts[role][number] for number in numbers], split)
        for role in ("caption", *roles)
    }
    return {role: layer_similarities(states["caption"], states[role]) for role in roles}


def measure_checkpoint(
    benchmarks: list[Benchmark], texts: Mapping[str, SplitTexts], embedder: Embedder
) -> tuple[dict[str, dict[str, Outcomes]], dict[str, Measured], dict[str, dict[str, list[Score]]]]:
    """Every benchmark under one checkpoint.

    Args:
      benchmarks: whose data is there.
      texts: `DATASET/SPLIT` -> its texts.
      embedder: the checkpoint.

    Returns:
      Table name -> metric -> outcomes, with a table `BENCHMARK/SPLIT` for each of several splits; benchmark -> its
      first split with embeddings, for those that ask for similarities; benchmark -> layer analysis.
    """
    tables, shown, layers = {}, {}, {}
    for benchmark in benchmarks:
        measured = {}
        for name, split in benchmark.splits.items():
            measured[name] = measure(benchmark, split, texts[name], embedder)
            if benchmark.settings.similarities and benchmark.name not in shown:
                shown[benchmark.name] = measured[name]
            else:
                measured[name] = dataclasses.replace(measured[name], embeddings={})  # they may be large
        tables[benchmark.name] = subset_means(measured)
        if len(measured) > 1:
            for name, one in measured.items():
                tables[f"{benchmark.name}/{name.partition('/')[2]}"] = dict(one.outcomes)
        if benchmark.settings.layers:
            first = next(iter(benchmark.splits))
            found = layer_analysis(first, texts[first], benchmark.settings.layers, embedder)
            layers |= {benchmark.name: found} if found else {}
    return tables, shown, layers


def read_all_texts(benchmarks: list[Benchmark]) -> dict[str, SplitTexts]:
    """`DATASET/SPLIT` -> its texts, for every split of every benchmark."""
    splits = {name: split for benchmark in benchmarks for name, split in benchmark.splits.items()}
    return {name: read_texts(split) for name, split in splits.items()}
