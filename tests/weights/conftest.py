"""Models of real size are written here: each test removes its own, where pytest would keep those of three runs."""

import shutil

import pytest


@pytest.fixture(autouse=True)
def _leave_no_models_behind(tmp_path):
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
