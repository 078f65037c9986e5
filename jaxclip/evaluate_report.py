"""From measured outcomes to the page: scores with intervals, paired comparisons, searches and failures with images."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from jaxclip.benchmarks import Benchmark, Measured
from jaxclip.config import EvaluateConfig
from jaxclip.datasets import Split
from jaxclip.evaluation.scores import Outcomes, Score, paired_difference, score
from jaxclip.evaluation.similarity import cosine
from jaxclip.evaluation.suite import scores_document, similarities
from jaxclip.reporting.report import write_report
from jaxclip.run_report import gallery, provenance, thumbnail

FAILURES = 6
_FALSE_ROLES = ("negation", "hard_negative")

Tables = Mapping[str, Mapping[str, Outcomes]]  # table -> metric -> outcomes


class CheckpointResult(NamedTuple):
    """What `jaxclip.benchmarks.measure_checkpoint` returns."""

    tables: Tables
    shown: Mapping[str, Measured]
    layers: Mapping[str, Mapping[str, Sequence[Score]]]


def evaluation_document(results: Mapping[str, CheckpointResult], missing: Mapping[str, str], seed: int) -> dict:
    """The content of scores.json: `checkpoints`; `differences`, NAME -> OTHER -> table -> metric; `layers`; `missing`.

    Differences are those of each checkpoint and every earlier one, by the paired bootstrap.
    """
    scores = {
        name: {
            table: {metric: score(outcomes, seed=seed) for metric, outcomes in metrics.items()}
            for table, metrics in result.tables.items()
        }
        for name, result in results.items()
    }
    document = scores_document(scores)
    names = list(results)
    document["differences"] = {
        name: {other: _differences(results[name].tables, results[other].tables, seed) for other in names[:number]}
        for number, name in enumerate(names)
        if number
    }
    document["layers"] = {
        name: {
            table: {role: [one.as_dict() for one in layers] for role, layers in roles.items()}
            for table, roles in result.layers.items()
        }
        for name, result in results.items()
        if result.layers
    }
    document["missing"] = dict(missing)
    return document


def _differences(tables: Tables, others: Tables, seed: int) -> dict:
    return {
        table: {
            metric: paired_difference(outcomes, others[table][metric], seed=seed).as_dict()
            for metric, outcomes in metrics.items()
        }
        for table, metrics in tables.items()
    }


def failures(split: Split, by_checkpoint: Mapping[str, Measured]) -> list[dict]:
    """The records on which the last checkpoint prefers the false sentence by the widest margin; see `write_report`."""
    false_role = next((role for role in _FALSE_ROLES if role in split.roles), None)
    if false_role is None or "caption" not in split.roles:
        return []
    roles = ("caption", false_role)

    def cosines(measured: Measured) -> np.ndarray:
        image = measured.embeddings["image"][measured.image_index]
        return np.stack([cosine(image, measured.embeddings[role]) for role in roles], axis=1)

    found = {name: cosines(measured) for name, measured in by_checkpoint.items()}
    margins = np.nan_to_num(list(found.values())[-1] @ [-1.0, 1.0], nan=-np.inf)
    worst = [int(number) for number in np.argsort(-margins, kind="stable")[:FAILURES] if margins[number] > 0]
    return [
        {
            "image": thumbnail(split[number]["image"], split[number]["id"]),
            "texts": [(role.replace("_", " "), split[number][role]) for role in roles],
            "checkpoints": {name: cosines[number].tolist() for name, cosines in found.items()},
        }
        for number in worst
    ]


def write_evaluation_report(
    output: Path,
    *,
    config: EvaluateConfig,
    benchmarks: Sequence[Benchmark],
    missing: Mapping[str, str],
    results: Mapping[str, CheckpointResult],
    started: float,
) -> dict:
    """Writes the report's files into `output` and returns the content of scores.json."""
    document = evaluation_document(results, missing, config.seed)
    shown = next((benchmark for benchmark in benchmarks if benchmark.settings.similarities), None)
    samples, split = {}, None
    if shown:
        samples = {name: result.shown[shown.name] for name, result in results.items()}
        split = next(iter(shown.splits.values()))
    histograms = {name: similarities(found.embeddings, found.image_index) for name, found in samples.items()}
    summary = {
        "checkpoints": len(results),
        "benchmarks": f"{len(benchmarks)} of {len(benchmarks) + len(missing)}",
        "records": sum(len(one) for benchmark in benchmarks for one in benchmark.splits.values()),
        "duplicate images": "one image: each of its texts finds it",
        "devices": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        "minutes": round((time.time() - started) / 60, 1),
    }
    write_report(
        output,
        title=config.title,
        document=document,
        summary=summary,
        histograms={name: found for name, found in histograms.items() if found},
        metrics_rows=[],
        gallery=gallery(split, samples, config.seed) if shown else [],
        provenance=provenance(config, "jaxclip.evaluate"),
        baseline=next(iter(results)),
        failures=failures(split, samples) if shown else [],
        missing=missing,
    )
    return document
