"""The pictures of docs/results.md. Colours and style are those of the reports."""

from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.figure
import matplotlib.ticker
import numpy as np

from jaxclip.reporting.plots import BLUE, GREEN, MUTED, ORANGE, PURPLE, STYLE, VERMILLION, png

__all__ = ["layer_analysis", "png", "seen_and_held_out", "trade_off"]

_PANELS = {
    "original_over_negation": "caption over negation",
    "absence_accuracy": "true over false absence",
    "itt": "image to texts (ITT)",
    "tot": "texts only (TOT)",
    "absence_to_image_r1": "R@1 of caption + absence",
}
# Split → legend, marker, colour.
_SPLITS = {
    "scenes/test": ("seen frames and words", "o", BLUE),
    "scenes/test_combinations": ("unseen shape-colour pairs", "s", GREEN),
    "scenes/test_templates": ("unseen frames and negation words", "D", VERMILLION),
}
# The two sides of the trade-off: what fine-tuning is for, and what it may cost.
NEGATION = (
    "original_over_negation",
    "absence_accuracy",
    "minimal_absence_accuracy",
    "itt",
    "tot",
    "zeroshot_shape_delta",
    "zeroshot_colour_delta",
)
RETENTION = (
    "caption_to_image_r1",
    "paraphrase_to_image_r1",
    "absence_to_image_r1",
    "zeroshot_shape",
    "zeroshot_colour",
)
_SHOWN_LAYERS = {"base": MUTED, "SemCLIP": BLUE, "Omni-NegCLIP": ORANGE, "CoN-CLIP": PURPLE, "triplet": VERMILLION}


def seen_and_held_out(rows: Mapping[str, Sequence[Mapping]]) -> matplotlib.figure.Figure:
    """A row a method, a panel a metric: the distance of the marks is what was memorised.

    Args:
      rows: method → scores of its seeds (split → metric → {"value"}); marks are means over seeds.
    """
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(
            figsize=(2.6 * len(_PANELS) + 1.4, 0.36 * len(rows) + 1.3), layout="constrained"
        )
        axes = figure.subplots(1, len(_PANELS), sharey=True)
        heights = np.arange(len(rows))[::-1]
        for axis, (metric, title) in zip(axes, _PANELS.items(), strict=True):
            values = {
                split: [100 * np.mean([scores[split][metric]["value"] for scores in seeds]) for seeds in rows.values()]
                for split in _SPLITS
            }
            every = np.array(list(values.values()))
            axis.hlines(heights, every.min(axis=0), every.max(axis=0), color="#c7cbd1", linewidth=2, zorder=1)
            for split, (label, marker, colour) in _SPLITS.items():
                axis.scatter(values[split], heights, s=34, marker=marker, color=colour, label=label, zorder=2)
            axis.set_title(title)
            axis.set_xlim(-3, 103)
            axis.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(decimals=0))
            axis.xaxis.set_major_locator(matplotlib.ticker.MultipleLocator(25))
        axes[0].set_yticks(heights, list(rows))
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=3)
    return figure


def trade_off(points: Mapping[str, Mapping], curves: Mapping[str, Sequence[Mapping]]) -> matplotlib.figure.Figure:
    """What is retained against what is learned of negation, on seen and on unseen frames; up and right is better.

    Args:
      points: label → scores of a model; `base` and `triplet` are marked.
      curves: method → scores of its interpolations with the base, in order, the base first.
    """
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(12.5, 5.0), layout="constrained")
        axes = figure.subplots(1, 2)
        for axis, split in zip(axes, ("scenes/test", "scenes/test_templates"), strict=True):

            def position(scores, split=split):
                return [100 * np.mean([scores[split][metric]["value"] for metric in m]) for m in (RETENTION, NEGATION)]

            for method, colour in (("SemCLIP", BLUE), ("triplet", VERMILLION)):
                if method in curves:
                    where = np.array([position(scores) for scores in curves[method]])
                    axis.plot(*where.T, color=colour, marker=".", zorder=1, label=f"from base to {method}, by weights")
            for number, (label, scores) in enumerate(points.items(), 1):
                colour = {"base": MUTED, "triplet": VERMILLION}.get(label, BLUE)
                x, y = position(scores)
                axis.scatter(x, y, color=colour, s=110, zorder=2)
                axis.text(x, y, str(number), color="white", fontsize=7, ha="center", va="center", zorder=3)
            axis.set_title(_SPLITS[split][0])
            axis.set_xlabel("mean of three R@1 and two zero-shot accuracies")
            for side in (axis.xaxis, axis.yaxis):
                side.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
                side.set_major_formatter(matplotlib.ticker.PercentFormatter(decimals=0))
        axes[0].set_ylabel("mean of seven negation scores")
        if curves:
            axes[0].legend(loc="lower left")
        names = "\n".join(f"{number}  {label}" for number, label in enumerate(points, 1))
        figure.legend([], [], title=names, loc="outside right upper", alignment="left")
    return figure


def layer_analysis(layers: Mapping[str, Mapping]) -> matplotlib.figure.Figure:
    """Curves over layers, one a method; left against the negation, right against the paraphrase.

    Args:
      layers: method → split → role → a score a layer.
    """
    titles = {"negation": "caption and negation (lower is better)", "paraphrase": "caption and paraphrase"}
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(9.5, 3.4), layout="constrained")
        axes = figure.subplots(1, len(titles), sharey=True)
        for axis, (role, title) in zip(axes, titles.items(), strict=True):
            for method, colour in _SHOWN_LAYERS.items():
                if method not in layers:
                    continue
                scores = layers[method]["scenes/test"][role]
                numbers = np.arange(len(scores))
                axis.plot(numbers, [s["value"] for s in scores], color=colour, marker="o", markersize=4, label=method)
                axis.fill_between(
                    numbers, [s["low"] for s in scores], [s["high"] for s in scores], color=colour, alpha=0.15
                )
            axis.set_title(title)
            axis.set_xlabel("text layers passed")
            axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes[0].set_ylabel("mean cosine at end-of-text")
        axes[-1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
