"""The output files: only rows of the same run may stand in one."""

import json
from pathlib import Path

import pytest

from jaxclip.generation.captions import Caption
from jaxclip.generation.errors import GenerateError
from jaxclip.generation.outcome import Outcome
from jaxclip.generation.output import Output, failed_path

CAPTIONS = [Caption("1", "1.jpg", "A dog."), Caption("2", "2.jpg", "A cat.")]
MADE_BY = {"generator": "m", "temperature": 0.1}


def filled(path: Path) -> Path:
    output = Output(path, CAPTIONS, ["paraphrase"], MADE_BY)
    output.add(Outcome(CAPTIONS[0], texts={"paraphrase": "One dog."}))
    output.add(Outcome(CAPTIONS[1], reason="copy", role="paraphrase", detail="A cat."))
    output.close()
    return path


def reopened(path: Path, captions=CAPTIONS, roles=("paraphrase",), made_by=MADE_BY) -> Output:
    return Output(path, captions, roles, made_by)


def test_rows_come_back(tmp_path):
    output = reopened(filled(tmp_path / "out.jsonl"))
    assert output.accepted == {"1": {"paraphrase": "One dog."}}
    assert output.failed["2"]["reason"] == "copy"
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["made_by"] == MADE_BY
    output.close()


def test_a_row_that_failed_twice_and_then_passed_stands_once(tmp_path):
    path = filled(tmp_path / "out.jsonl")
    output = reopened(path)
    output.add(Outcome(CAPTIONS[1], reason="list", role="paraphrase"))
    output.close()
    assert [json.loads(line)["reason"] for line in failed_path(path).read_text().splitlines()] == ["list"]
    output = reopened(path)
    output.add(Outcome(CAPTIONS[1], texts={"paraphrase": "One cat."}))
    # As if killed here: the failed file still has the row, and the accepted one counts.
    again = failed_path(path).read_text()
    output.close()
    failed_path(path).write_text(again)
    output = reopened(path)
    assert set(output.accepted) == {"1", "2"} and output.failed == {}
    output.close()
    assert failed_path(path).read_text() == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"captions": CAPTIONS[1:]}, "line 1: the id '1' is of another caption"),
        (
            {"captions": [Caption("1", "1.jpg", "A fox."), CAPTIONS[1]]},
            "of another caption than in --captions: 'A dog.'",
        ),
        ({"roles": ("negation",)}, "differs from this run in the role 'negation'"),
        ({"roles": ("paraphrase", "negation")}, "differs from this run in the role 'negation'"),
        ({"made_by": {**MADE_BY, "generator": "other"}}, "made with generator 'm', this run has 'other'"),
    ],
)
def test_rows_of_another_run_are_not_mixed_in(tmp_path, change, message):
    path = filled(tmp_path / "out.jsonl")
    before = path.read_bytes()
    with pytest.raises(GenerateError, match=message):
        reopened(path, **change)
    assert path.read_bytes() == before


@pytest.mark.parametrize("line", ["[1]", "{broken", '{"id": "1"}'])
def test_a_file_that_no_run_has_written_is_left_alone(tmp_path, line):
    path = tmp_path / "out.jsonl"
    path.write_text(f"{line}\n")
    with pytest.raises(GenerateError, match="out.jsonl, line 1"):
        reopened(path)
    assert path.read_text() == f"{line}\n"


def test_two_runs_do_not_write_one_file(tmp_path):
    output = reopened(filled(tmp_path / "out.jsonl"))
    with pytest.raises(GenerateError, match="another run is writing"):
        reopened(tmp_path / "out.jsonl")
    output.close()
    reopened(tmp_path / "out.jsonl").close()
