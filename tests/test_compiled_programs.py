"""Programs that compile in an instant are kept as well, unless the user says otherwise."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
PROGRAM = """
import jax
from jaxclip.compiled_programs import keep_small_programs

{call}
jax.jit(lambda x: x + 1)(1.0)
"""


@pytest.mark.parametrize(
    ("call", "from_seconds", "kept"),
    [("", None, False), ("keep_small_programs()", None, True), ("keep_small_programs()", "5", False)],
)
def test_what_is_kept(call, from_seconds, kept, tmp_path):
    environment = {**os.environ, "JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
    environment.pop("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", None)
    if from_seconds is not None:
        environment["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = from_seconds
    subprocess.run([sys.executable, "-c", PROGRAM.format(call=call)], cwd=REPOSITORY, env=environment, check=True)
    assert any(tmp_path.iterdir()) == kept
