"""How programs are compiled, and kept for later runs in the folder JAX_COMPILATION_CACHE_DIR where that is set."""

import os
from collections.abc import Mapping

import jax
from jax.sharding import Mesh

from jaxclip.training.sharding import on_cpu


def keep_small_programs(environment: Mapping[str, str] = os.environ) -> None:
    """Keeps the programs too that take less than a second to compile, unless the environment says from when on.

    JAX leaves them out by default. A run loads a dozen of them before its first step.
    """
    if "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS" not in environment:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def compiler_options(mesh: Mesh) -> dict[str, str]:
    """For `jax.jit`: on CPUs, that barriers are kept.

    XLA's CPU compiler otherwise drops them before it joins operations to loops. Then what `stored` keeps apart is
    computed again and again, and what `jax.checkpoint` and `keeping_inputs` mean to be computed again is found to be
    known, and kept in memory instead (see `jaxclip.model.transformer`).
    """
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if on_cpu(mesh) else {}
