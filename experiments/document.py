"""docs/results.md from the scores of finished trials: tables, pictures, what they are made by."""

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib.figure
import scipy.stats

from experiments import pictures
from experiments.running import SPLITS, result_file
from experiments.trials import ABLATIONS, METHODS, Trial
from jaxclip.files import write_atomically

# Everything below this line of the document is written by `write`; what is above is kept.
MARKER = "<!-- Below this line everything is written by experiments/compare.py. -->"

SPLIT_TITLES = {
    "scenes/test": "Seen sentence frames and words (`scenes/test`)",
    "scenes/test_templates": "Unseen sentence frames and negation words (`scenes/test_templates`)",
    "scenes/test_combinations": "Unseen shape-colour pairs (`scenes/test_combinations`)",
}
METRICS = {
    "original_over_negation": "caption over negation",
    "absence_accuracy": "true over false absence",
    "minimal_absence_accuracy": "the same, short",
    "itt": "ITT",
    "tot": "TOT",
    "itt_hard": "ITT, hard",
    "tot_hard": "TOT, hard",
    "zeroshot_shape_delta": "negated prompt delta, shape",
    "zeroshot_colour_delta": "negated prompt delta, colour",
    "caption_to_image_r1": "R@1 caption",
    "paraphrase_to_image_r1": "R@1 paraphrase",
    "absence_to_image_r1": "R@1 caption + absence",
    "zeroshot_shape": "zero-shot shape",
    "zeroshot_colour": "zero-shot colour",
}
Scores = Mapping[str, Mapping[str, Mapping[str, float]]]  # split → metric → value, n, low, high


def read_results(workdir: Path, trials: Sequence[Trial], seeds: int | None = None) -> dict[tuple[str, str], list[dict]]:
    """(group, label) → the results of its first `seeds` seeds (None: all), of the trials that are finished."""
    results = {}
    for trial in trials:
        files = sorted(result_file(workdir, trial, 0).parent.glob("seed_*.json"))[:seeds]
        if files:
            results[trial.group, trial.label] = [json.loads(file.read_text(encoding="utf-8")) for file in files]
    return results


def mean_of_metrics(scores: Scores, split: str) -> float:
    """The plain mean of METRICS on a split."""
    return statistics.fmean(scores[split][metric]["value"] for metric in METRICS)


def value_and_half_width(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean over seeds, and the half-width of its 95 % t-interval (None for one seed)."""
    mean = statistics.fmean(values)
    if len(values) < 2:
        return mean, None
    return mean, scipy.stats.t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / len(values) ** 0.5


def cell(values: Sequence[float]) -> str:
    """`97.0 ± 0.4` in per cent."""
    mean, half_width = value_and_half_width(values)
    return f"{100 * mean:.1f}" if half_width is None else f"{100 * mean:.1f} ± {100 * half_width:.1f}"


def table(rows: Mapping[str, Sequence[Scores]], split: str) -> list[str]:
    """Rows × metrics as Markdown; the last column is the mean over all metrics."""
    lines = [
        "| | " + " | ".join([*METRICS.values(), "mean of all"]) + " |",
        "|---|" + "---|" * (len(METRICS) + 1),
    ]
    for label, seeds in rows.items():
        cells = [cell([scores[split][metric]["value"] for scores in seeds]) for metric in METRICS]
        cells.append(cell([mean_of_metrics(scores, split) for scores in seeds]))
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def means_table(rows: Mapping[str, Sequence[Scores]]) -> list[str]:
    """Rows × splits as Markdown: the mean over all metrics."""
    lines = ["| mean of all metrics | " + " | ".join(SPLITS) + " |", "|---|" + "---|" * len(SPLITS)]
    for label, seeds in rows.items():
        cells = [cell([mean_of_metrics(scores, split) for scores in seeds]) for split in SPLITS]
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def base_table(base: dict) -> list[str]:
    """The starting model: values with their bootstrap intervals."""
    lines = ["| | " + " | ".join(SPLIT_TITLES) + " |", "|---|" + "---|" * len(SPLIT_TITLES)]
    for metric, title in METRICS.items():
        found = [base["scores"][split][metric] for split in SPLIT_TITLES]
        cells = [f"{100 * s['value']:.1f} ({100 * s['low']:.1f}–{100 * s['high']:.1f}, n = {s['n']})" for s in found]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return [*lines, ""]


def _scores(results: Mapping, group: str) -> dict[str, list[Scores]]:
    return {label: [r["scores"] for r in seeds] for (found, label), seeds in results.items() if found == group}


def _trade_off(base: dict, methods: Mapping, ablations: Mapping) -> matplotlib.figure.Figure:
    """The picture of the first seed of every method, the attempts, and the interpolations."""
    attempts = _scores(ablations, "attempts with triplet")
    points = {label: seeds[0] for label, seeds in {**methods, **attempts}.items()}
    curves = {
        method: [base["scores"], *(seeds[0] for seeds in _scores(ablations, f"{method} interpolated").values())]
        for method in ("SemCLIP", "triplet")
    }
    return pictures.trade_off(
        {"base": base["scores"], **points}, {method: curve for method, curve in curves.items() if len(curve) > 1}
    )


def generated(workdir: Path, folder: Path) -> list[str]:
    """The lines below the marker; writes the pictures into `folder`."""
    base = json.loads((workdir / "base.json").read_text(encoding="utf-8"))
    results = read_results(workdir, METHODS)
    ablations = read_results(workdir, ABLATIONS, seeds=1)
    methods = _scores(results, "methods")
    base_row = {"base": [base["scores"]]}
    # A training has one place in this set, whatever the tables that it is a row of.
    trained = {
        (r["seconds"], json.dumps(r["config"])) for seeds in (*results.values(), *ablations.values()) for r in seeds
    }
    trainings = [seconds for seconds, _ in trained]
    lines = [
        "## The starting model",
        "",
        "Value, 95 % bootstrap interval over the records, number of items; in per cent.",
        "",
        *base_table(base),
        "## Methods",
        "",
        "Mean over seeds ± half-width of its 95 % t-interval, in per cent. The sampling error of the records comes on "
        "top of it: see the intervals of the starting model.",
        "",
    ]
    lines += means_table({**base_row, **methods})
    for split, title in SPLIT_TITLES.items():
        lines += [f"### {title}", "", *table({**base_row, **methods}, split)]
    drawn = {
        "seen_and_held_out": pictures.seen_and_held_out({**base_row, **methods}),
        "trade_off": _trade_off(base, methods, ablations),
        "layer_analysis": pictures.layer_analysis(
            {"base": base["layers"], **{label: r[0]["layers"] for (g, label), r in results.items() if g == "methods"}}
        ),
    }
    lines += [
        "### Learned or memorised",
        "",
        "![Seen against held-out scores, method by method](images/results_seen_and_held_out.png)",
        "",
        "### What is learned and what it costs",
        "",
        "One seed; the last points are attempts of the table below. The curves lead through weights that lie between "
        "those of the starting model and of a fine-tuned one.",
        "",
        "![Negation scores against retrieval and zero-shot accuracy](images/results_trade_off.png)",
        "",
        "### Where in the text tower caption and negation come apart",
        "",
        "Cosine of the end-of-text states of a caption and of its negation, before the first layer and after each, on "
        "`scenes/test`.",
        "",
        "![Cosine of caption and negation by layer](images/results_layer_analysis.png)",
        "",
        "## Ablations",
        "",
        "One seed each.",
        "",
    ]
    for group in dict.fromkeys(trial.group for trial in ABLATIONS):
        rows = _scores(ablations, group)
        if rows:
            lines += [f"### {group[0].upper()}{group[1:]}", "", *means_table(rows)]
        for split in ("scenes/test", "scenes/test_templates") if rows else ():
            lines += [f"On `{split}`:", "", *table(rows, split)]
    folder.mkdir(parents=True, exist_ok=True)
    for name, figure in drawn.items():
        (folder / f"results_{name}.png").write_bytes(pictures.png(figure))
    lines += [f"{sum(s > 0 for s in trainings)} trainings, {sum(trainings) / 60:.0f} minutes of training in all.", ""]
    return lines


def write(path: Path, workdir: Path) -> None:
    """Writes the document; what stands above the marker in an older one is kept."""
    above = "# Results on the built-in data\n\n"
    if path.exists():
        above = path.read_text(encoding="utf-8").partition(MARKER)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [above + MARKER, "", *generated(workdir, path.parent / "images")]
    write_atomically(path, "\n".join(lines).encode())
