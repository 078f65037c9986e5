"""The scorecard: one table a split, metrics down, checkpoints across, differences to a baseline."""

import dataclasses
import itertools
from collections.abc import Mapping

import rich.box
import rich.console
import rich.table
import rich.text

from jaxclip.reporting.markdown import escape
from jaxclip.reporting.metrics import Metric, describe, position

LEGEND = (
    "Percent, with the 95 % bootstrap interval; differences in percentage points. "
    "▲ better, ▼ worse; hollow (△ ▽) where the two intervals overlap. Ties count as wrong."
)
MISSING = "–"
_MARKS = {("better", True): "▲", ("better", False): "△", ("worse", True): "▼", ("worse", False): "▽"}


@dataclasses.dataclass(frozen=True)
class Cell:
    """One score as shown, and how it compares with the baseline's.

    Attributes:
      score: as in scores.json: `value`, `n`, `low`, `high`.
      percent: such as `68.1`.
      interval: such as `65.2–71.0`.
      difference: such as `▲ +10.0`; empty for the baseline and where it has no such score.
      verdict: `better`, `worse`, `same` or empty.
      clear: whether the two intervals are apart.
    """

    score: Mapping[str, float]
    percent: str
    interval: str
    difference: str = ""
    verdict: str = ""
    clear: bool = False


@dataclasses.dataclass(frozen=True)
class Row:
    """One metric: its name in scores.json, what it means, its sample count, and a cell (or None) a checkpoint."""

    name: str
    metric: Metric
    n: int
    cells: list[Cell | None]


@dataclasses.dataclass(frozen=True)
class Table:
    """One split; `compared` holds the columns that have a difference to the baseline."""

    split: str
    checkpoints: list[str]
    compared: list[int]
    rows: list[Row]

    @property
    def groups(self) -> list[tuple[str, list[Row]]]:
        """The rows under their group's name; the rows' order keeps each group together."""
        return [(group, list(rows)) for group, rows in itertools.groupby(self.rows, lambda row: row.metric.group)]


def scorecard_tables(document: Mapping, baseline: str = "base") -> list[Table]:
    """Arranges scores for display.

    Args:
      document: the content of scores.json.
      baseline: checkpoint that comes first and that the others are compared with; without it nothing is compared.

    Returns:
      One table a split, in the order of the document.

    Raises:
      ValueError: if the document does not have the form of scores.json.
    """
    checkpoints = _check(document)
    names = sorted(checkpoints, key=lambda name: name != baseline)
    tables = []
    for split in dict.fromkeys(split for name in names for split in checkpoints[name]):
        scores = {name: checkpoints[name][split] for name in names if split in checkpoints[name]}
        metrics = sorted(dict.fromkeys(metric for one in scores.values() for metric in one), key=position)
        rows = []
        for metric in metrics:
            found = [one.get(metric) for one in scores.values()]
            base = scores.get(baseline, {}).get(metric)
            description = describe(metric)
            cells = [score and _cell(score, None if score is base else base, description) for score in found]
            rows.append(Row(metric, description, next(score["n"] for score in found if score), cells))
        compared = [column for column, name in enumerate(scores) if baseline in scores and name != baseline]
        tables.append(Table(split, list(scores), compared, rows))
    return tables


def scorecard_markdown(document: Mapping, baseline: str = "base") -> str:
    """The scorecard as Markdown tables, one a split; arguments and errors as for `scorecard_tables`."""
    parts = []
    for table in scorecard_tables(document, baseline):
        differences = [f"{table.checkpoints[column]} − {baseline}" for column in table.compared]
        header = ["Metric", "What it counts", "n", *table.checkpoints, *differences]
        lines = [f"### {escape(table.split)}", "", _line(header), _line(["---", "---", *["---:"] * (len(header) - 2)])]
        for row in table.rows:
            better = " (lower is better)" if row.metric.lower_is_better else ""
            scores = [f"{cell.percent} ({cell.interval})" if cell else MISSING for cell in row.cells]
            lines.append(_line([
                row.metric.label + better, row.metric.explanation, f"{row.n:,}", *scores, *_differences(table, row)
            ]))  # fmt: skip
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, LEGEND]) + "\n"


def print_scorecard(document: Mapping, baseline: str = "base", console: rich.console.Console | None = None) -> None:
    """Prints the scorecard to the terminal; arguments and errors as for `scorecard_tables`."""
    console = console or rich.console.Console()
    for table in scorecard_tables(document, baseline):
        title = rich.text.Text(table.split, style="bold")
        grid = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column("metric")
        grid.add_column("n", justify="right", no_wrap=True)
        for name in table.checkpoints:
            grid.add_column(rich.text.Text(name), justify="right", no_wrap=True)
        for column in table.compared:
            header = f"{table.checkpoints[column]} − {baseline}" if len(table.compared) > 1 else "change"
            grid.add_column(rich.text.Text(header), justify="right", no_wrap=True)
        for row in table.rows:
            scores = [f"{cell.percent} ({cell.interval})" if cell else MISSING for cell in row.cells]
            grid.add_row(rich.text.Text(row.metric.label), f"{row.n:,}", *scores, *_differences(table, row))
        console.print(grid)
    console.print(LEGEND, style="dim")


def percent(fraction: float) -> str:
    """A fraction as percent with one decimal and a true minus sign, such as `68.1` or `−3.0`."""
    return f"{100 * fraction:.1f}".replace("-0.0", "0.0").replace("-", "−")


def _differences(table: Table, row: Row) -> list[str]:
    return [(row.cells[column] and row.cells[column].difference) or MISSING for column in table.compared]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell if set(cell) <= set('-:') else escape(cell) for cell in cells)} |"


def _cell(score: Mapping, base: Mapping | None, metric: Metric) -> Cell:
    shown = percent(score["value"])
    separator = " to " if score["low"] < 0 else "–"
    interval = f"{percent(score['low'])}{separator}{percent(score['high'])}"
    if base is None:
        return Cell(score, shown, interval)
    difference = percent(score["value"] - base["value"])
    if difference == "0.0":
        return Cell(score, shown, interval, "0.0", "same")
    rises = score["value"] > base["value"]
    verdict = "better" if rises != metric.lower_is_better else "worse"
    clear = score["low"] > base["high"] or score["high"] < base["low"]
    sign = "+" if rises else ""
    return Cell(score, shown, interval, f"{_MARKS[verdict, clear]} {sign}{difference}", verdict, clear)


def _check(document: Mapping) -> Mapping:
    checkpoints = document.get("checkpoints") if isinstance(document, Mapping) else None
    if not isinstance(checkpoints, Mapping):
        raise ValueError('scores must be {"checkpoints": {NAME: {SPLIT: {METRIC: {...}}}}}')
    for checkpoint, splits in checkpoints.items():
        for split, scores in splits.items():
            for metric, score in scores.items():
                if not isinstance(score, Mapping) or not {"value", "n", "low", "high"} <= score.keys():
                    raise ValueError(
                        f"score {metric} of checkpoint {checkpoint}, split {split}: "
                        f"expected value, n, low and high, found {score!r}"
                    )
    return checkpoints
