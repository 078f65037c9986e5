"""The report's figures: similarity histograms, training curves, scores before and after.

Figures are made through matplotlib's object interface, without pyplot and its global state. Colours are from the
palette of Okabe and Ito, which people with any colour vision can tell apart; shape or label repeats what colour says.
"""

import io
import math
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.figure
import matplotlib.ticker
import numpy as np

from jaxclip.reporting.scorecard import Table

BLUE, GREEN, VERMILLION, PURPLE, ORANGE = "#0072B2", "#009E73", "#D55E00", "#AA4499", "#B87A00"
INK, MUTED, GRID = "#1f2328", "#6b7280", "#e5e7eb"

STYLE = {
    "font.family": "sans-serif", "font.size": 10, "text.color": INK,
    "axes.edgecolor": "#9ca3af", "axes.labelcolor": INK, "axes.titlesize": 10.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.spines.top": False, "axes.spines.right": False,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": GRID, "grid.linewidth": 0.8,
    "xtick.color": MUTED, "ytick.color": MUTED, "legend.frameon": False, "figure.facecolor": "white",
}  # fmt: skip

# Role -> legend text, colour, line style. Other roles are not drawn: more than these could not be told apart.
_ROLES = {
    "caption": ("caption, true", BLUE, "-"),
    "paraphrase": ("paraphrase, true", GREEN, "--"),
    "negation": ("negation, false", VERMILLION, "-"),
    "hard_negative": ("hard negative, false", PURPLE, "--"),
}
_FEWEST_BINS, _MOST_BINS = 12, 60
# Baseline first: hollow and grey.
_MARKERS = [("o", MUTED), ("o", BLUE), ("s", VERMILLION), ("D", GREEN), ("^", PURPLE), ("v", ORANGE)]
_LEGEND_COLUMNS = 3
# Above this many points a curve is drawn faint, with its running mean on top.
_SMOOTH_ABOVE = 100


def png(figure: matplotlib.figure.Figure) -> bytes:
    """The figure as PNG bytes, without the date and version that would make equal figures differ."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, bbox_inches="tight", pad_inches=0.12, metadata={"Software": None})
    return buffer.getvalue()


def similarity_histograms(similarities: Mapping[str, Mapping[str, np.ndarray]]) -> matplotlib.figure.Figure:
    """How close images are to true and to false sentences, one panel a checkpoint on the same axes.

    Args:
      similarities: checkpoint -> text role -> cosines [n] of image and text. Drawn are the roles caption, paraphrase,
        negation and hard_negative; values that are not finite are left out.
    """
    panels = {
        checkpoint: {role: _finite(roles[role]) for role in _ROLES if role in roles}
        for checkpoint, roles in similarities.items()
    }
    values = np.concatenate([np.zeros(0), *(array for roles in panels.values() for array in roles.values())])
    low, high = (values.min(), values.max()) if values.size else (-1.0, 1.0)
    # Few values in narrow bins would show each value by itself, not how they are spread.
    most = max((array.size for roles in panels.values() for array in roles.values()), default=0)
    bins = int(np.clip(2 * np.sqrt(most), _FEWEST_BINS, _MOST_BINS))
    edges = np.linspace(low - 0.005, high + 0.005, bins + 1)
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(8, 0.6 + 2.5 * len(panels)), layout="constrained")
        axes = figure.subplots(len(panels), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for axis, (checkpoint, roles) in zip(axes, panels.items(), strict=True):
            for role, array in roles.items():
                if array.size:
                    _histogram(axis, array, edges, *_ROLES[role])
            axis.set_title(checkpoint)
            axis.set_ylabel("share of pairs")
            axis.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
            axis.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
            axis.set_xlim(edges[0], edges[-1])
            axis.set_ylim(bottom=0)
            if axis.get_legend_handles_labels()[0]:
                axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9, handlelength=1.6)
        axes[-1].set_xlabel("cosine similarity of image and sentence")
    return figure


def training_curves(rows: Sequence[Mapping[str, object]]) -> matplotlib.figure.Figure:
    """One panel for each number that was logged, over the training step.

    Args:
      rows: lines of metrics.jsonl: `step` and any keys; a key may be missing from some rows. Values that are not
        finite numbers are left out.

    Raises:
      ValueError: if a row has no `step`.
    """
    curves: dict[str, list[tuple[float, float]]] = {}
    for number, row in enumerate(rows):
        if "step" not in row:
            raise ValueError(f"metrics row {number} has no step, found the keys {sorted(row)}")
        for key, value in row.items():
            if key != "step" and _is_number(value):
                curves.setdefault(key, []).append((row["step"], value))
    columns = min(2, max(1, len(curves)))
    lines = max(1, math.ceil(len(curves) / columns))
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(8, 2.1 * lines + 0.3), layout="constrained")
        axes = figure.subplots(lines, columns, sharex=True, squeeze=False).ravel()
        for axis, (key, points) in zip(axes, curves.items(), strict=False):
            _curve(axis, *np.array(points, np.float64).T)
            axis.set_title(key.replace("_", " "))
            axis.yaxis.set_major_formatter(lambda value, _: f"{value:.6g}")
        for axis in axes[len(curves) :]:
            axis.set_visible(False)
        # The last panel of each column carries the steps, also where the grid ends one short.
        for axis in axes[max(0, len(curves) - columns) : len(curves)]:
            axis.tick_params(labelbottom=True)
            axis.set_xlabel("step")
    return figure


def score_dots(table: Table) -> matplotlib.figure.Figure:
    """Every score of one split as a dot with its interval, a marker for each checkpoint.

    Args:
      table: from `scorecard.scorecard_tables`.
    """
    heights = _row_heights(table)
    checkpoints = len(table.checkpoints)
    with matplotlib.rc_context(STYLE):
        legend_lines = math.ceil(checkpoints / _LEGEND_COLUMNS)
        size = (8, 0.7 + 0.22 * legend_lines + 0.33 * (max(heights) + 1))
        figure = matplotlib.figure.Figure(figsize=size, layout="constrained")
        axis = figure.subplots()
        # Grey and hollow means "before": only where there is something to compare.
        first = 0 if table.compared else 1
        for column, name in enumerate(table.checkpoints):
            marker, colour = _MARKERS[(column + first) % len(_MARKERS)]
            drawn = [(height, row.cells[column]) for height, row in zip(heights, table.rows, strict=True)]
            drawn = [(height, cell.score) for height, cell in drawn if cell]
            offset = min(0.26, 0.8 / checkpoints) * (column - (checkpoints - 1) / 2)
            y = np.array([height for height, _ in drawn]) + offset
            value, low, high = (100 * np.array([score[key] for _, score in drawn]) for key in ("value", "low", "high"))
            axis.hlines(y, low, high, color=colour, linewidth=1.6, alpha=0.65)
            fill = "white" if column + first == 0 else colour
            axis.plot(value, y, marker, color=colour, markerfacecolor=fill, markersize=6.5, label=name)
        _label_rows(axis, table, heights)
        low = min(cell.score["low"] for row in table.rows for cell in row.cells if cell)
        axis.set_xlim(min(-1.5, 100 * low - 3), 101.5)
        axis.set_xlabel("percent, with 95 % interval")
        axis.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=min(checkpoints, _LEGEND_COLUMNS), borderaxespad=0.2)
    return figure


def layer_curves(layers: Mapping[str, Mapping[str, Sequence[Mapping]]]) -> matplotlib.figure.Figure:
    """How close captions and other texts are inside the text tower: a panel a role, a curve a checkpoint.

    Args:
      layers: checkpoint -> role -> a score (`value`, `low`, `high`) for each state, the first before the first layer.
    """
    roles = list(dict.fromkeys(role for found in layers.values() for role in found))
    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(8, 3.2), layout="constrained")
        axes = figure.subplots(1, len(roles), sharey=True, squeeze=False)[0]
        for axis, role in zip(axes, roles, strict=True):
            for number, (checkpoint, found) in enumerate(layers.items()):
                marker, colour = _MARKERS[number % len(_MARKERS)]
                scores = found.get(role, [])
                value, low, high = ([score[key] for score in scores] for key in ("value", "low", "high"))
                axis.plot(value, color=colour, marker=marker, markersize=4, label=checkpoint)
                axis.fill_between(range(len(scores)), low, high, color=colour, alpha=0.15)
            axis.set_title(f"caption and {role}")
            axis.set_xlabel("text layer")
            axis.xaxis.set_major_locator(matplotlib.ticker.MaxNLocator(integer=True))
        axes[0].set_ylabel("mean cosine")
        handles, labels = axes[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=_LEGEND_COLUMNS)
    return figure


def _row_heights(table: Table) -> list[float]:
    """Vertical position of each row; a new group leaves room for its heading."""
    heights, height, group = [], -1.0, None
    for row in table.rows:
        height += 1 if row.metric.group == group else 2
        group = row.metric.group
        heights.append(height)
    return heights


def _label_rows(axis: matplotlib.axes.Axes, table: Table, heights: list[float]) -> None:
    labels = [row.metric.label + (" (lower is better)" if row.metric.lower_is_better else "") for row in table.rows]
    axis.set_yticks(heights, labels, color=INK)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    axis.set_ylim(max(heights) + 0.7, -0.5)
    previous = None
    for row, height in zip(table.rows, heights, strict=True):
        if row.metric.group != previous:
            previous = row.metric.group
            place = {"xytext": (-6, 0), "textcoords": "offset points", "annotation_clip": False}
            axis.annotate(previous, (0, height - 1), xycoords=("axes fraction", "data"), ha="right", va="center",
                          color=MUTED, fontweight="bold", **place)  # fmt: skip
            axis.axhline(height - 1, color=GRID, linewidth=0.8)


def _histogram(axis, values: np.ndarray, edges: np.ndarray, label: str, colour: str, line: str) -> None:
    shares = np.histogram(values, edges)[0] / values.size
    mean = values.mean()
    axis.stairs(shares, edges, fill=True, color=colour, alpha=0.16)
    axis.stairs(shares, edges, color=colour, linewidth=1.6, linestyle=line, label=f"{label}\nmean {mean:.3f}")
    axis.axvline(mean, color=colour, linewidth=1, linestyle=line, alpha=0.9)


def _curve(axis, steps: np.ndarray, values: np.ndarray) -> None:
    # A schedule such as the learning rate is smooth already, and a mean would round off its corners.
    if len(values) <= _SMOOTH_ABOVE or np.abs(np.diff(values, 2)).mean() <= 0.01 * np.ptp(values):
        axis.plot(steps, values, color=BLUE, linewidth=1.5, marker="o" if len(values) <= 12 else None, markersize=4)
        return
    axis.plot(steps, values, color=BLUE, linewidth=0.7, alpha=0.35)
    axis.plot(steps, _running_mean(values, len(values) // 25), color=BLUE, linewidth=1.6)


def _running_mean(values: np.ndarray, width: int) -> np.ndarray:
    """Mean over a centred window of `width`, which is cut short at both ends: [n] from [n]."""
    window = np.ones(width)
    return np.convolve(values, window, mode="same") / np.convolve(np.ones_like(values), window, mode="same")


def _finite(values: np.ndarray) -> np.ndarray:
    values = np.asarray(values, np.float64)
    return values[np.isfinite(values)]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
