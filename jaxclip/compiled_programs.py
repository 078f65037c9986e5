"""Compiled programs that are kept for later runs, in the folder JAX_COMPILATION_CACHE_DIR where that is set."""

import os
from collections.abc import Mapping

import jax


def keep_small_programs(environment: Mapping[str, str] = os.environ) -> None:
    """Keeps the programs too that take less than a second to compile, unless the environment says from when on.

    JAX leaves them out by default. A run loads a dozen of them before its first step.
    """
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in environment:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
