"""Processes of their own: results, errors and crashes come back to the one that asked."""

import os
from concurrent.futures.process import BrokenProcessPool

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
