"""Models of real size are written here: they are removed after each test, where pytest would keep three runs of them."""

import shutil

import pytest


@pytest.fixture(autouse=True)
def _leave_no_models_behind(tmp_path):
    yield
    shutil.rmtree(tmp_path, ignore_errors=True)
