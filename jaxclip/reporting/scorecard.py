"""The scorecard: one table a split, metrics down, checkpoints across, differences to a baseline."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

import rich.box
import rich.console
import rich.table
import rich.text

from jaxclip.reporting.markdown import escape
from jaxclip.reporting.metrics import Metric, describe, main_metric, position

LEGEND = (
    "Percent, with the 95 % bootstrap interval over images, each drawn with all of its texts; differences in "
    "percentage points. ▲ better, ▼ worse; hollow (△ ▽) where the two intervals overlap. Ties count as wrong."
)
PAIRED_LEGEND = (
    "Percent, with the 95 % bootstrap interval over images, each drawn with all of its texts; differences in "
    "percentage points, with the interval of the paired bootstrap over the same images. ▲ better, ▼ worse; hollow "
    "(△ ▽) where it includes 0. ★ the best of a row, and what that bootstrap cannot tell from it. Ties count as wrong."
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
      clear: whether the difference is significant: by the paired bootstrap where the scores have one, or else because
        the two intervals are apart.
      difference_interval: of the paired bootstrap; empty where there is none.
    """

    score: Mapping[str, float]
    percent: str
    interval: str
    difference: str = ""
    verdict: str = ""
    clear: bool = False
    difference_interval: str = ""


@dataclasses.dataclass(frozen=True)
class Row:
    """One metric: its name in scores.json, what it means, its sample count, and a cell (or None) a checkpoint.

    `best` holds the columns of the best score and of those that the paired bootstrap cannot tell from it; it is empty
    where a single checkpoint has the metric, or where all are best.
    """

    name: str
    metric: Metric
    n: int
    cells: list[Cell | None]
    best: frozenset[int] = frozenset()


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
      document: the content of scores.json; paired comparisons are under `differences`, NAME -> OTHER NAME -> split ->
        metric -> score of NAME minus OTHER NAME.
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
        rows = [_row(metric, split, scores, baseline, document.get("differences", {})) for metric in metrics]
        compared = [column for column, name in enumerate(scores) if baseline in scores and name != baseline]
        tables.append(Table(split, list(scores), compared, rows))
    return tables


def overview(tables: Sequence[Table]) -> Table | None:
    """One row a benchmark: its main metric under all checkpoints; None where one table is all there is.

    The splits of a benchmark that has a table of its own are left out, and so are benchmarks that not every checkpoint
    was measured on.

    Args:
      tables: from `scorecard_tables`.
    """
    names = {table.split for table in tables}
    whole = [
        table
        for table in tables
        if table.split.rpartition("/")[0] not in names and table.checkpoints == tables[0].checkpoints
    ]
    if len(whole) < 2:
        return None
    rows = []
    for table in whole:
        name = main_metric([row.name for row in table.rows])
        row = next(row for row in table.rows if row.name == name)
        label = f"{table.split}: {row.metric.label}"
        rows.append(dataclasses.replace(row, metric=dataclasses.replace(row.metric, label=label, group="Benchmarks")))
    return Table("all benchmarks", whole[0].checkpoints, whole[0].compared, rows)


def _row(metric: str, split: str, scores: Mapping[str, Mapping], baseline: str, differences: Mapping) -> Row:
    """One metric of a split; `scores` is checkpoint -> metric -> score."""

    def paired(name: str, other: str) -> Mapping | None:
        return differences.get(name, {}).get(other, {}).get(split, {}).get(metric)

    description = describe(metric)
    base = scores.get(baseline, {}).get(metric)
    cells = []
    for name, one in scores.items():
        found = one.get(metric)
        compared = None if name == baseline else base
        cells.append(found and _cell(found, compared, description, paired(name, baseline)))
    best = frozenset()
    if differences:
        values = {column: cell.score["value"] for column, cell in enumerate(cells) if cell}
        names = list(scores)
        leader = (min if description.lower_is_better else max)(values, key=values.get)
        best = frozenset(
            column
            for column in values
            if column == leader
            or _includes_zero(paired(names[column], names[leader]) or paired(names[leader], names[column]))
        )
        best = frozenset() if len(best) == len(values) else best
    return Row(metric, description, next(cell.score["n"] for cell in cells if cell), cells, best)


def _includes_zero(difference: Mapping | None) -> bool:
    return difference is not None and difference["low"] <= 0 <= difference["high"]


def legend(document: Mapping) -> str:
    """What the signs of the scorecard mean."""
    return PAIRED_LEGEND if document.get("differences") else LEGEND


def scorecard_markdown(document: Mapping, baseline: str = "base") -> str:
    """The scorecard as Markdown tables, one a split, an overview first; arguments as for `scorecard_tables`."""
    parts, tables = [], scorecard_tables(document, baseline)
    for table in filter(None, [overview(tables), *tables]):
        differences = [f"{table.checkpoints[column]} − {baseline}" for column in table.compared]
        header = ["Metric", "What it counts", "n", *table.checkpoints, *differences]
        lines = [f"### {escape(table.split)}", "", _line(header), _line(["---", "---", *["---:"] * (len(header) - 2)])]
        for row in table.rows:
            better = " (lower is better)" if row.metric.lower_is_better else ""
            scores = [_shown(row, column) for column in range(len(row.cells))]
            lines.append(_line([
                row.metric.label + better, row.metric.explanation, f"{row.n:,}", *scores, *_differences(table, row)
            ]))  # fmt: skip
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, legend(document)]) + "\n"


def print_scorecard(document: Mapping, baseline: str = "base", console: rich.console.Console | None = None) -> None:
    """Prints the scorecard to the terminal, an overview last; arguments and errors as for `scorecard_tables`.

    Several checkpoints are shown without their differences to the baseline, for which a terminal has no room.
    """
    console = console or rich.console.Console()
    tables = scorecard_tables(document, baseline)
    for table in filter(None, [*tables, overview(tables)]):
        title = rich.text.Text(table.split, style="bold")
        grid = rich.table.Table(title=title, title_justify="left", box=rich.box.SIMPLE_HEAD, pad_edge=False)
        grid.add_column("metric", min_width=16, overflow="fold")
        grid.add_column("n", justify="right", no_wrap=True)
        for name in table.checkpoints:
            grid.add_column(rich.text.Text(name), justify="right")
        change = len(table.compared) == 1
        if change:
            grid.add_column("change", justify="right", no_wrap=True)
        for row in table.rows:
            scores = [_shown(row, column) for column in range(len(row.cells))]
            differences = _differences(table, row) if change else []
            grid.add_row(rich.text.Text(row.metric.label), f"{row.n:,}", *scores, *differences)
        console.print(grid)
    console.print(legend(document), style="dim")


def percent(fraction: float) -> str:
    """A fraction as percent with one decimal and a true minus sign, such as `68.1` or `−3.0`."""
    return f"{100 * fraction:.1f}".replace("-0.0", "0.0").replace("-", "−")


def _shown(row: Row, column: int) -> str:
    """A score with its interval, and a star where it is among the best."""
    cell = row.cells[column]
    return f"{'★ ' if column in row.best else ''}{cell.percent} ({cell.interval})" if cell else MISSING


def _differences(table: Table, row: Row) -> list[str]:
    return [(row.cells[column] and row.cells[column].difference) or MISSING for column in table.compared]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell if set(cell) <= set('-:') else escape(cell) for cell in cells)} |"


def _interval(score: Mapping) -> str:
    """Such as `65.2–71.0`."""
    separator = " to " if score["low"] < 0 else "–"
    return f"{percent(score['low'])}{separator}{percent(score['high'])}"


def _cell(score: Mapping, base: Mapping | None, metric: Metric, paired: Mapping | None) -> Cell:
    shown, interval = percent(score["value"]), _interval(score)
    if base is None:
        return Cell(score, shown, interval)
    difference = percent(score["value"] - base["value"])
    spread = _interval(paired) if paired else ""
    if difference == "0.0":
        return Cell(score, shown, interval, "0.0", "same", difference_interval=spread)
    rises = score["value"] > base["value"]
    verdict = "better" if rises != metric.lower_is_better else "worse"
    clear = not _includes_zero(paired) if paired else score["low"] > base["high"] or score["high"] < base["low"]
    sign = "+" if rises else ""
    return Cell(score, shown, interval, f"{_MARKS[verdict, clear]} {sign}{difference}", verdict, clear, spread)


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
