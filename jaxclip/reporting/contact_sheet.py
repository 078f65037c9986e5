"""A contact sheet: images with all their texts, for a look at data before it is trained on."""

import textwrap
from collections.abc import Mapping, Sequence

import matplotlib
import matplotlib.figure
import numpy as np

_COLUMNS = 4
_LINE = 58  # characters
_MOST_LINES = 5


def contact_sheet(
    title: str, records: Sequence[tuple[str, Mapping[str, np.ndarray | None], Mapping[str, str]]]
) -> matplotlib.figure.Figure:
    """Draws records in rows of four, each with its images side by side and its texts below.

    Args:
      title: what the records are of.
      records: id, image role → uint8 [H, W, 3] (None where it is broken), text role → text.
    """
    rows = -(-len(records) // _COLUMNS)
    lines = max((len(_lines(texts)) for _, _, texts in records), default=1)
    heights = [1, 0.075 * lines]
    figure = matplotlib.figure.Figure(figsize=(4 * _COLUMNS, rows * (2.7 + 0.175 * lines) + 0.5), layout="constrained")
    figure.suptitle(title, fontsize=13, fontweight="bold")
    grid = figure.add_gridspec(rows, _COLUMNS)
    for number, (name, images, texts) in enumerate(records):
        cell = grid[number // _COLUMNS, number % _COLUMNS].subgridspec(2, max(1, len(images)), height_ratios=heights)
        for column, (role, image) in enumerate(images.items()):
            axes = figure.add_subplot(cell[0, column])
            axes.set_axis_off()
            axes.set_title(name if len(images) == 1 else f"{name}\n{role}", fontsize=8, color="#6b7280")
            if image is None:
                axes.text(0.5, 0.5, "broken", ha="center", va="center", color="#D55E00")
            else:
                axes.imshow(image)
        axes = figure.add_subplot(cell[1, :])
        axes.set_axis_off()
        # parse_math off: a caption with two dollar signs is no formula.
        axes.text(0, 1, "\n".join(_lines(texts)), fontsize=8, va="top", parse_math=False, transform=axes.transAxes)
    return figure


def _lines(texts: Mapping[str, str]) -> list[str]:
    """Each text wrapped behind the name of its role."""
    return [
        line
        for role, text in texts.items()
        for line in textwrap.wrap(
            f"{role}: {' '.join(text.split())}", _LINE, max_lines=_MOST_LINES, placeholder=" …", subsequent_indent="   "
        )
    ]
