"""What the tests of launchers share: the repository, and the smoke run."""

import os
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
LAUNCH = REPOSITORY / "launch"
# Every logged step is shown, and one split is scored: what is tested is the launcher.
SMOKE = ("--config=configs/semclip.py:smoke", "--config.log_every=1", "--config.evaluation.splits=('scenes/test',)")
QUICK = {"JAX_PLATFORMS": "cpu", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}


def without_cluster() -> dict[str, str]:
    """This environment without what would tell a launcher or a process about another cluster."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SLURM_", "JAX_COORDINATOR", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "XLA_FLAGS"))
    }
