"""The scores for other programs: a CSV with a line a score, and a LaTeX table for a paper."""

import csv
import io
import re
from collections.abc import Mapping

from jaxclip.reporting.scorecard import Row, Table, scorecard_tables

_COLUMNS = ("checkpoint", "benchmark", "metric", "value", "n", "low", "high")
_LATEX = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "→": r"$\rightarrow$", "−": "$-$", "–": "--", "“": "``", "”": "''", **{sign: f"\\{sign}" for sign in "&%$#_"},
}  # fmt: skip


def scores_csv(document: Mapping) -> str:
    """One line a score: checkpoint, benchmark, metric, value, n, low, high; fractions from 0 to 1.

    Args:
      document: the content of scores.json.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for checkpoint, splits in document["checkpoints"].items():
        for split, scores in splits.items():
            for metric, score in scores.items():
                writer.writerow([checkpoint, split, metric, *(score[key] for key in _COLUMNS[3:])])
    return text.getvalue()


def scores_latex(document: Mapping, baseline: str = "base") -> str:
    r"""A `tabular` with `booktabs` rules: benchmarks and metrics down, checkpoints across, the best of a row in bold.

    Arguments and errors as for `scorecard_tables`.
    """
    tables = scorecard_tables(document, baseline)
    checkpoints = list(dict.fromkeys(name for table in tables for name in table.checkpoints))
    lines = [
        "% needs \\usepackage{booktabs}; percent, with the 95 % bootstrap interval over images",
        f"\\begin{{tabular}}{{lr{'r' * len(checkpoints)}}}",
        "\\toprule",
        " & ".join(["Metric", "$n$", *map(latex, checkpoints)]) + r" \\",
    ]
    for table in tables:
        lines += ["\\midrule", f"\\multicolumn{{{2 + len(checkpoints)}}}{{l}}{{\\textit{{{latex(table.split)}}}}} \\\\"]
        lines += [_latex_row(table, row, checkpoints) for row in table.rows]
    return "\n".join([*lines, "\\bottomrule", "\\end{tabular}"]) + "\n"


def _latex_row(table: Table, row: Row, checkpoints: list[str]) -> str:
    cells = []
    for name in checkpoints:
        column = table.checkpoints.index(name) if name in table.checkpoints else None
        cell = None if column is None else row.cells[column]
        if cell is None:
            cells.append("--")
            continue
        value = latex(cell.percent)
        value = f"\\textbf{{{value}}}" if column in row.best else value
        cells.append(f"{value} {{\\scriptsize ({latex(cell.interval)})}}")
    label = row.metric.label + (" (lower is better)" if row.metric.lower_is_better else "")
    return " & ".join([latex(label), f"{row.n}", *cells]) + r" \\"


def latex(text: str) -> str:
    """Text as it is: nothing in it is read as a command."""
    return re.sub("|".join(map(re.escape, _LATEX)), lambda match: _LATEX[match[0]], text)
