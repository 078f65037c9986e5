"""CSV and LaTeX of the scores, and the marks of paired comparisons."""

import csv
import io

from jaxclip.reporting.exports import latex, scores_csv, scores_latex
from jaxclip.reporting.scorecard import scorecard_markdown, scorecard_tables


def score(value):
    return {"value": value, "n": 1000, "low": value - 0.02, "high": value + 0.02}


def paired_document():
    """Three checkpoints: B is clearly better than A, C cannot be told from B."""

    def difference(low, high):
        return {"value": (low + high) / 2, "n": 1000, "low": low, "high": high}

    one = {name: {"t": {"itt": score(value)}} for name, value in {"A & a": 0.5, "B": 0.52, "C": 0.515}.items()}
    differences = {
        "B": {"A & a": {"t": {"itt": difference(0.01, 0.03)}}},
        "C": {"A & a": {"t": {"itt": difference(0.005, 0.025)}}, "B": {"t": {"itt": difference(-0.02, 0.01)}}},
    }
    return {"checkpoints": one, "differences": differences}


def test_csv_has_a_line_for_each_score(document):
    rows = list(csv.DictReader(io.StringIO(scores_csv(document))))
    expected = [
        (checkpoint, split, metric, one)
        for checkpoint, splits in document["checkpoints"].items()
        for split, scores in splits.items()
        for metric, one in scores.items()
    ]
    assert len(rows) == len(expected)
    for row, (checkpoint, split, metric, one) in zip(rows, expected, strict=True):
        assert (row["checkpoint"], row["benchmark"], row["metric"]) == (checkpoint, split, metric)
        assert {key: float(row[key]) for key in ("value", "n", "low", "high")} == one


def test_the_paired_bootstrap_decides_what_is_clear_and_what_is_best():
    [table] = scorecard_tables(paired_document(), "A & a")
    [row] = table.rows
    # The separate intervals (± 2 points) overlap, the paired ones leave out 0.
    assert [cell.clear for cell in row.cells] == [False, True, True]
    assert row.cells[1].difference_interval == "1.0–3.0"
    assert row.best == {1, 2}
    assert "★ 52.0" in scorecard_markdown(paired_document(), "A & a")


def test_lower_is_better_turns_the_best_around():
    document = paired_document()
    document["checkpoints"] = {
        name: {"t": {"zeroshot_x_negated": tables["t"]["itt"]}} for name, tables in document["checkpoints"].items()
    }
    document["differences"]["B"]["A & a"]["t"] = {
        "zeroshot_x_negated": {"value": 0.02, "n": 9, "low": 0.01, "high": 0.03}
    }
    [table] = scorecard_tables(document, "A & a")
    assert table.rows[0].best == {0} and table.rows[0].cells[1].verdict == "worse"


def test_latex_escapes_and_sets_the_best_in_bold():
    text = scores_latex(paired_document(), "A & a")
    assert r"Metric & $n$ & A \& a & B & C \\" in text
    [line] = [line for line in text.splitlines() if line.startswith("Image to texts")]
    assert line.count(r"\textbf{") == 2 and r" & 50.0 {\scriptsize (48.0--52.0)}" in line
    assert latex(r"50% _x\y") == r"50\% \_x\textbackslash{}y"


def test_a_checkpoint_that_lacks_a_score_has_a_dash(document):
    lines = scores_latex(document).splitlines()
    [tot] = [line for line in lines if line.startswith("Texts only")]
    assert tot.startswith(r"Texts only (TOT) & 40000 & -- & 90.0")
