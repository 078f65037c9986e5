"""How a command ends: one message, and a status that says whether to try again."""

import os
import sys

import jax
import pytest

from jaxclip.ending import told
from jaxclip.training.preemption import Preempted


@pytest.fixture(autouse=True)
def hook(monkeypatch):
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # `told` replaces it


def status_of(error: BaseException, **settings) -> int:
    with pytest.raises(SystemExit) as ended, told(ValueError, **settings):
        raise error
    return ended.value.code


def test_what_a_user_can_mend_is_one_line(capsys):
    assert status_of(ValueError("records.csv: no column 'caption'")) == 1
    assert capsys.readouterr().err == "\nError: records.csv: no column 'caption'\n"


def test_other_errors_come_with_their_traceback(capsys):
    assert status_of(ZeroDivisionError("at fault")) == 1
    shown = capsys.readouterr().err
    assert "Traceback" in shown and "raise error" in shown and "ZeroDivisionError: at fault" in shown


def test_sigterm_and_control_c_say_that_the_run_goes_on(capsys):
    assert status_of(Preempted()) == 143
    assert "everything is saved" in capsys.readouterr().out
    assert status_of(KeyboardInterrupt(), goes_on="with what it had encoded") == 130
    assert capsys.readouterr().err == "\nInterrupted. The same command goes on with what it had encoded.\n"


def test_of_several_processes_any_one_shows_its_error_and_ends_at_once(monkeypatch, capsys):
    """At once: at a regular end JAX waits for the other processes."""
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(jax, "process_index", lambda: 1)

    def leave(code):
        raise SystemExit(f"os._exit({code})")

    monkeypatch.setattr(os, "_exit", leave)
    assert status_of(ValueError("image 7 is broken")) == "os._exit(1)"
    assert capsys.readouterr().err == "\nprocess 1: Error: image 7 is broken\n"


def test_nothing_is_said_where_nothing_is_raised(capsys):
    with told(ValueError):
        pass
    assert capsys.readouterr() == ("", "")
