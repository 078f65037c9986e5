"""Processes of their own: results, errors and crashes come back to the one that asked."""

import os
import subprocess
import sys
import textwrap
import time
from concurrent.futures.process import BrokenProcessPool

import psutil
import pytest

from jaxclip.planning.abstract_step import read_architecture
from jaxclip.planning.apart import run_apart
from jaxclip.planning.errors import PlanError


def test_a_result_comes_back_from_another_process():
    assert run_apart(os.getpid) != os.getpid()


def test_an_error_comes_back_as_it_is():
    with pytest.raises(PlanError, match="--arch: 'ViT-Z-9' is not known"):
        run_apart(read_architecture, "random:ViT-Z-9")


def test_a_crash_is_an_exception_here(capfd):
    with pytest.raises(BrokenProcessPool):
        run_apart(os.abort)
    assert capfd.readouterr().err == ""


def test_nothing_outlives_a_command_that_is_killed(tmp_path):
    (tmp_path / "command.py").write_text(
        textwrap.dedent("""
            import os, pathlib, time
            from jaxclip.planning.apart import run_apart

            def sleep():
                pathlib.Path("process").write_text(str(os.getpid()))
                time.sleep(600)

            if __name__ == "__main__":
                run_apart(sleep)
        """)
    )
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    with subprocess.Popen([sys.executable, "command.py"], cwd=tmp_path, env=environment) as command:
        deadline = time.monotonic() + 120
        while not (tmp_path / "process").exists() or not (tmp_path / "process").read_text():
            assert time.monotonic() < deadline and command.poll() is None
            time.sleep(0.1)
        apart = psutil.Process(int((tmp_path / "process").read_text()))
        command.kill()
    assert psutil.wait_procs([apart], timeout=60)[1] == []
