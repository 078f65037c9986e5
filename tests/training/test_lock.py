"""One run a work directory, by a lock that goes with its process."""

import os
import signal
import socket
import subprocess
import sys

import pytest

from jaxclip.training.lock import WorkdirError, locked

HOLD = """
import sys, time, pathlib
from jaxclip.training.lock import WorkdirError, locked
try:
    with locked(pathlib.Path(sys.argv[1])):
        print("held", flush=True)
        {inside}
except WorkdirError as error:
    print(error, flush=True)
"""


def start(workdir, inside="time.sleep(3600)"):
    return subprocess.Popen(
        [sys.executable, "-c", HOLD.format(inside=inside), str(workdir)], stdout=subprocess.PIPE, text=True
    )


def test_the_second_run_is_refused_until_the_first_is_gone(tmp_path):
    workdir = tmp_path / "runs" / "new"
    first = start(workdir)
    try:
        assert first.stdout.readline() == "held\n"
        with pytest.raises(WorkdirError, match=f"process {first.pid} on {socket.gethostname()}"), locked(workdir):
            pass
    finally:
        first.send_signal(signal.SIGKILL)  # nothing is cleaned up
        first.wait()
    with locked(workdir):
        assert (workdir / "lock").read_text() == f"process {os.getpid()} on {socket.gethostname()}"


def test_children_of_a_killed_run_do_not_hold_its_lock(tmp_path):
    """A data worker may live on for a moment."""
    first = start(tmp_path, "import os; os.fork() or time.sleep(30); time.sleep(3600)")
    assert first.stdout.readline() == "held\n"
    first.send_signal(signal.SIGKILL)
    first.wait()
    with locked(tmp_path):
        pass


def test_the_lock_is_given_back(tmp_path):
    with locked(tmp_path):
        pass
    again = start(tmp_path, "pass")
    assert again.communicate()[0] == "held\n"


def test_other_processes_of_a_run_do_not_lock(tmp_path, monkeypatch):
    first = start(tmp_path)
    assert first.stdout.readline() == "held\n"
    monkeypatch.setattr("jax.process_index", lambda: 1)
    with locked(tmp_path):
        pass
    first.kill()
    first.wait()
