"""SIGKILL while a run starts, restores or makes its first steps costs nothing, however often it happens."""

import signal
import time

import pytest
from failing_processes import Processes, figures, run, steps_on_disk

from jaxclip.checksums import find_damage


def test_a_run_that_is_killed_at_its_starts_ends_like_one_that_is_not(tmp_path):
    alone, killed = tmp_path / "alone", tmp_path / "killed"
    run(alone, steps=8)
    run(killed, steps=3)
    for delay in (0.5, 1.5, 3.0, 5.0):
        with Processes(killed, 1, steps=8, pause=0.5) as processes:
            time.sleep(delay)
            processes.send(0, signal.SIGKILL)
            assert processes.ends() in ([-signal.SIGKILL], [0])  # a fast machine may be done
        assert not any(find_damage(killed / "checkpoints" / str(step)) for step in steps_on_disk(killed))
    run(killed, steps=8)
    assert figures(killed) == figures(alone)


@pytest.mark.parametrize("victim", [0, 1])
def test_a_peer_that_is_killed_before_the_first_step_does_not_keep_the_other(tmp_path, victim):
    with Processes(tmp_path / "run", 2, steps=1000, peer_timeout=8, pause=0.3) as processes:
        while not (tmp_path / "run" / "lock").exists():  # both have found each other
            time.sleep(0.02)
        processes.send(victim, signal.SIGKILL)
        survivor = 1 - victim
        assert processes.end(survivor) == 75, processes.shown(survivor)
        assert f"process {survivor}: process {victim}" in processes.shown(survivor)
