"""metrics.jsonl: a row a step, whole after a kill, without steps that are made again."""

import json

import pytest
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from jaxclip.training.metrics_log import MetricsLog, read_metrics


def write(workdir, steps, resume_step=0):
    log = MetricsLog(workdir, resume_step)
    for step in steps:
        log.write(step, {"loss": 1 / step})
    return log


def test_a_row_is_on_disk_when_write_returns(tmp_path):
    log = write(tmp_path, [1, 2])
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == [
        '{"step": 1, "loss": 1.0}',
        '{"step": 2, "loss": 0.5}',
    ]
    log.__exit__(None, None, None)
    assert read_metrics(tmp_path / "metrics.jsonl") == [{"step": 1, "loss": 1.0}, {"step": 2, "loss": 0.5}]


def test_no_file_gives_no_rows(tmp_path):
    assert read_metrics(tmp_path / "metrics.jsonl") == []


@pytest.mark.parametrize("tail", ['{"step": 3, "lo', "{", '{"step": 3}\n{"ste'])
def test_a_last_line_that_a_kill_cut_off_is_left_out(tmp_path, tail):
    write(tmp_path, [1, 2]).__exit__(None, None, None)
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text() + tail)
    assert [row["step"] for row in read_metrics(path)][:2] == [1, 2]
    write(tmp_path, [3], resume_step=2).__exit__(None, None, None)
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_rows_after_the_checkpoint_are_taken_out(tmp_path):
    write(tmp_path, range(1, 8)).__exit__(None, None, None)
    write(tmp_path, [6, 7, 8], resume_step=5).__exit__(None, None, None)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert {path.name for path in tmp_path.iterdir()} == {"metrics.jsonl", "tensorboard"}


def test_a_fresh_start_empties_the_log(tmp_path):
    write(tmp_path, [1, 2, 3]).__exit__(None, None, None)
    write(tmp_path, [1], resume_step=0).__exit__(None, None, None)
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl")] == [1]


def test_figures_go_to_tensorboard(tmp_path):
    write(tmp_path, [1, 2]).__exit__(None, None, None)
    (events,) = (tmp_path / "tensorboard").iterdir()
    assert scalars(events) == [("loss", 1, 1.0), ("loss", 2, 0.5)]


def scalars(path):
    """(tag, step, value) of an events file, as TensorBoard reads it."""
    events = LegacyEventFileLoader(str(path)).Load()
    return [(value.tag, event.step, value.simple_value) for event in events for value in event.summary.value]
