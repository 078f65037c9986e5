import io

import pytest
import rich.console

from jaxclip.reporting.metrics import METRICS, describe
from jaxclip.reporting.scorecard import overview, percent, print_scorecard, scorecard_markdown, scorecard_tables


def rows_of(document, split="test"):
    [table] = [table for table in scorecard_tables(document) if table.split == split]
    return table, {row.name: row for row in table.rows}


def test_baseline_comes_first_and_metrics_come_in_the_order_of_the_groups(document):
    table, rows = rows_of(document)
    assert table.checkpoints == ["base", "final"] and table.compared == [1]
    assert list(rows) == [
        "original_over_negation", "itt", "absence_accuracy", "caption_to_image_r1",
        "zeroshot_cifar10", "zeroshot_cifar10_negated", "zeroshot_cifar10_delta", "mystery",
    ]  # fmt: skip
    assert [group for group, _ in table.groups] == ["Negation", "Absence", "Retrieval", "Zero-shot", "Other"]


@pytest.mark.parametrize(
    ("metric", "difference", "verdict", "clear"),
    [
        ("original_over_negation", "▲ +10.0", "better", True),
        ("absence_accuracy", "△ +1.0", "better", False),
        ("caption_to_image_r1", "▼ −10.0", "worse", True),
        ("itt", "▽ −1.0", "worse", False),
        ("zeroshot_cifar10", "0.0", "same", False),
        ("zeroshot_cifar10_negated", "▲ −40.0", "better", True),
    ],
)
def test_differences_to_the_baseline(document, metric, difference, verdict, clear):
    base, final = rows_of(document)[1][metric].cells
    assert (final.difference, final.verdict, final.clear) == (difference, verdict, clear)
    assert (base.difference, base.verdict) == ("", "")


def test_scores_are_shown_as_percent_with_their_interval(document):
    rows = rows_of(document)[1]
    final = rows["original_over_negation"].cells[1]
    assert (final.percent, final.interval) == ("78.1", "76.1–80.1")
    delta = rows["zeroshot_cifar10_delta"].cells[1]
    assert (delta.percent, delta.interval) == ("−0.5", "−2.5 to 1.5")
    assert percent(-0.0001) == "0.0" and percent(1) == "100.0"


def test_a_score_that_the_baseline_lacks_is_shown_without_a_difference(document):
    table, rows = rows_of(document, "CC-Neg / test")
    assert rows["tot"].cells[0] is None and rows["tot"].cells[1].difference == ""
    assert rows["itt"].cells[1].difference == "▲ +10.0" and rows["itt"].n == 40_000
    assert table.compared == [1]


def test_without_the_baseline_nothing_is_compared(document):
    for table in scorecard_tables(document, baseline="other"):
        assert table.checkpoints == ["final", "base"] and table.compared == []
        assert {cell.difference for row in table.rows for cell in row.cells if cell} == {""}


def test_overview_has_the_main_metric_of_each_benchmark(document):
    for checkpoint in document["checkpoints"].values():
        itt = checkpoint["CC-Neg / test"]["itt"]
        checkpoint["scpp"] = {"tot_hard": itt, "itt_hard": itt}
        checkpoint["scpp/swap_obj"] = {"itt_hard": itt}
    document["checkpoints"]["final"]["only"] = {"itt": document["checkpoints"]["final"]["test"]["itt"]}
    tables = scorecard_tables(document)
    found = overview(tables)
    assert found.checkpoints == ["base", "final"] and found.compared == [1]
    assert [row.metric.label for row in found.rows] == [
        "test: Caption over negation", "CC-Neg / test: Image to texts (ITT)", "scpp: Image to texts, no negation word"
    ]  # fmt: skip
    assert [row.cells[1].percent for row in found.rows] == ["78.1", "80.0", "80.0"]
    assert overview(tables[:1]) is None and overview([]) is None


def test_markdown(document):
    lines = scorecard_markdown(document).splitlines()
    assert "| Metric | What it counts | n | base | final | final − base |" in lines
    assert (
        "| Caption over negation | the image is closer to its caption than to the caption's negation "
        "| 1,000 | 68.1 (66.1–70.1) | 78.1 (76.1–80.1) | ▲ +10.0 |"
    ) in lines
    assert any(line.startswith("| Texts only (TOT) |") and "| – | 90.0 (88.0–92.0) | – |" in line for line in lines)
    assert "### CC-Neg / test" in lines
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_markdown_escapes_names_from_outside(document):
    document["checkpoints"]["a|b_<script>"] = document["checkpoints"].pop("final")
    text = scorecard_markdown(document)
    assert r"a\|b\_&lt;script&gt;" in text and "<script>" not in text


def test_terminal_table_holds_every_score(document):
    document["checkpoints"]["[red]x"] = document["checkpoints"].pop("final")
    console = rich.console.Console(file=io.StringIO(), width=120)
    print_scorecard(document, console=console)
    text = console.file.getvalue()
    for expected in ("Caption over negation", "78.1 (76.1–80.1)", "▲ +10.0", "[red]x", "CC-Neg / test", "40,000"):
        assert expected in text


def test_three_checkpoints_fit_a_terminal_of_80_columns(document):
    document["checkpoints"]["a third one"] = document["checkpoints"]["final"]
    console = rich.console.Console(file=io.StringIO(), width=80)
    print_scorecard(document, console=console)
    text = console.file.getvalue()
    assert "…" not in text and text.count("76.1–80.1") == 4  # two checkpoints, in their table and in the overview


def test_an_empty_document_has_no_tables():
    assert scorecard_tables({"checkpoints": {}}) == []


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({}, "checkpoints"),
        ([], "checkpoints"),
        ({"checkpoints": {"base": {"test": {"itt": {"value": 1}}}}}, "itt of checkpoint base, split test"),
        ({"checkpoints": {"base": {"test": {"itt": 0.5}}}}, "found 0.5"),
    ],
)
def test_a_malformed_document_is_refused(document, message):
    with pytest.raises(ValueError, match=message):
        scorecard_tables(document)


def test_every_described_metric_has_an_explanation():
    assert all(metric.label and metric.explanation and metric.group for metric in METRICS.values())
    assert describe("zeroshot_food101_negated").lower_is_better
    assert [describe(f"zeroshot_food101{suffix}").label for suffix in ("", "_negated", "_delta")] == [
        "food101, plain prompts", "food101, negated prompts", "food101, difference"
    ]  # fmt: skip
