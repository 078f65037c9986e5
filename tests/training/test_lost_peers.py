"""Two real processes on the loopback: whatever happens to one, the other ends in bounded time and says which it was."""

import signal

import pytest
from failing_processes import Processes, figures, run, steps_on_disk

PATIENCE = {"peer_timeout": 8, "pause": 0.3, "steps": 1000}


@pytest.mark.parametrize("victim", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_dead_or_stopped_peer_is_named(tmp_path, victim, number):
    with Processes(tmp_path / "run", 2, **PATIENCE) as processes:
        processes.wait_for_checkpoint(3)
        processes.send(victim, number)
        survivor = 1 - victim
        assert processes.end(survivor) == 75, processes.shown(survivor)
        shown = processes.shown(survivor)
        assert f"process {survivor}: process {victim}" in shown
        assert "The same command goes on from the last checkpoint." in shown
        if victim == 1:
            assert f"(pid {processes.pid(victim)} on " in shown
    assert 3 in steps_on_disk(tmp_path / "run")


def test_an_error_of_one_process_is_shown_there_and_named_by_the_other(tmp_path):
    with Processes(tmp_path / "run", 2, **PATIENCE, raise_in=1) as processes:
        assert processes.ends() == [1, 1]
        assert "process 1: Error: record 7 has no image" in processes.shown(1)
        shown = processes.shown(0)
        assert f"process 0: process 1 (pid {processes.pid(1)} on " in shown
        assert "ended with an error: record 7 has no image" in shown
        assert "Traceback" not in shown + processes.shown(1)


def test_a_step_that_does_not_end_ends_the_run_and_shows_where_each_process_is(tmp_path):
    with Processes(tmp_path / "run", 2, **PATIENCE | {"peer_timeout": 60}, hang_in=1, hang_timeout=8) as processes:
        ends = processes.ends()
        assert 75 in ends and set(ends) <= {1, 75}
        shown = processes.shown(0) + processes.shown(1)
        assert "nothing has moved for" in shown
        assert f"process 1 (pid {processes.pid(1)}" in shown and "step 4, waiting for data" in shown
        assert "most recent call first" in shown  # the stacks


def test_sigterm_to_one_process_saves_and_stops_both_at_the_same_step(tmp_path):
    with Processes(tmp_path / "run", 2, **PATIENCE | {"peer_timeout": 60}) as processes:
        processes.wait_for_checkpoint(3)
        processes.send(1, signal.SIGTERM)
        assert processes.ends() == [143, 143]
        assert "The same command goes on from here" in processes.shown(0)
    last = figures(tmp_path / "run")[-1]["step"]
    assert steps_on_disk(tmp_path / "run")[-1] == last < 1000
    run(tmp_path / "run", 2, steps=last + 1)
    assert [row["step"] for row in figures(tmp_path / "run")] == list(range(1, last + 2))


def test_processes_with_other_weights_are_refused(tmp_path):
    with Processes(tmp_path / "run", 2, differs=1) as processes:
        assert processes.ends() == [1, 1]
        assert "the model of process 1 differs from that of process 0" in processes.shown(0) + processes.shown(1)
    assert not (tmp_path / "run" / "checkpoints").exists()
