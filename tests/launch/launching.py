"""What the tests of launchers share: the repository, and the smoke run."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH = REPOSITORY / "launch"
# Every step is logged, nothing scored and nothing computed twice: what is tested is the launcher.
STEPS = 12
SMOKE = (
    *("--config=configs/semclip.py:smoke", f"--config.schedule.steps={STEPS}", "--config.log_every=1"),
    *("--config.model.remat=none", "--config.evaluation.validation=", "--config.evaluation.splits=()"),
)
QUICK = {
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


def without_cluster() -> dict[str, str]:
    """This environment without what would tell a launcher or a process about another cluster."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "JAX_COORDINATOR", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "XLA_FLAGS"))
    }
