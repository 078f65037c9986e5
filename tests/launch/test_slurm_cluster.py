"""launch/slurm.sh on a real Slurm: one node on the loopback, two tasks.

apt-get install slurmctld slurmd slurm-client munge && python -m pytest tests/launch/test_slurm_cluster.py
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import slurm_cluster
from launching import LAUNCH, QUICK, REPOSITORY, SMOKE, STEPS

ENDED = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED")
pytestmark = pytest.mark.skipif(slurm_cluster.why_not() is not None, reason=f"no Slurm: {slurm_cluster.why_not()}")

# In place of Python: says which task it is, and saves upon SIGTERM, or ends as ENDS_WITH says; task KILLED is killed.
STAND_IN = """#!/bin/sh
trap 'echo saved; exit 143' TERM
echo "task $SLURM_PROCID of $SLURM_NTASKS, restart ${SLURM_RESTART_COUNT:-0}: $*"
if [ -n "$ENDS_WITH" ]; then sleep 1; exit "$ENDS_WITH"; fi
if [ "$KILLED" = "$SLURM_PROCID" ]; then kill -9 $$; fi
while true; do sleep 0.1; done
"""


class Slurm:
    """Slurm's commands, and one job's log."""

    def __init__(self, environment: dict[str, str], directory: Path):
        self.environment, self.directory = environment, directory

    def call(self, *command: str) -> str:
        return subprocess.run(
            command, cwd=REPOSITORY, env=self.environment, check=True, capture_output=True, text=True
        ).stdout

    def submit(self, *arguments: str, **variables: str) -> str:
        """Submits launch/slurm.sh with two tasks. Returns the job's number."""
        exported = ",".join(["ALL", *(f"{name}={value}" for name, value in variables.items())])
        log = f"--output={self.directory}/%x-%j.log"
        script = str(LAUNCH / "slurm.sh")
        return self.call("sbatch", "--parsable", "--ntasks=2", log, f"--export={exported}", script, *arguments).strip()

    def log(self, job: str) -> str:
        path = self.directory / f"jaxclip-{job}.log"
        return path.read_text() if path.exists() else ""

    def state(self, job: str) -> dict[str, str]:
        """What `scontrol show job` knows: JobState, ExitCode, Restarts, …"""
        return dict(word.split("=", 1) for word in self.call("scontrol", "show", "job", job).split() if "=" in word)

    def wait_for_line(self, job: str, line: str, times: int = 1) -> None:
        while self.log(job).count(line) < times:
            state = self.state(job)["JobState"]
            assert state not in ENDED, f"{state}: {self.log(job)}"
            time.sleep(0.1)

    def wait_for_end(self, job: str) -> dict[str, str]:
        while (state := self.state(job))["JobState"] not in ENDED:
            time.sleep(0.2)
        return state


@pytest.fixture(scope="module")
def environment():
    with slurm_cluster.cluster() as environment:
        yield environment


@pytest.fixture
def slurm(environment, tmp_path) -> Slurm:
    return Slurm(environment, tmp_path)


@pytest.fixture
def stand_in(tmp_path) -> str:
    path = tmp_path / "python"
    path.write_text(STAND_IN)
    path.chmod(0o755)
    return str(path)


def test_sigterm_requeues_until_it_is_cancelled(slurm, stand_in):
    job = slurm.submit("--title=two words", PYTHON=stand_in, MODULE="jaxclip.evaluate")
    slurm.wait_for_line(job, "restart 0: -m jaxclip.evaluate --title=two words", times=2)
    for task in (0, 1):
        assert f"{task}: task {task} of 2" in slurm.log(job)
    slurm.call("scancel", "--signal=TERM", job)
    slurm.wait_for_line(job, "restart 1: ", times=2)
    assert slurm.log(job).count(": saved") == 2
    assert f"Exit code 143: job {job} goes back into the queue." in slurm.log(job)
    slurm.call("scancel", job)
    assert slurm.wait_for_end(job)["JobState"] == "CANCELLED"
    assert "restart 2" not in slurm.log(job)


def test_failure_is_not_requeued(slurm, stand_in):
    job = slurm.submit("--config=x", PYTHON=stand_in, ENDS_WITH="3")
    state = slurm.wait_for_end(job)
    assert (state["JobState"], state["ExitCode"], state["Restarts"]) == ("FAILED", "3:0", "0")


def test_a_killed_task_takes_the_others_with_it_and_the_job_is_requeued_a_few_times(slurm, stand_in):
    job = slurm.submit("--config=x", PYTHON=stand_in, KILLED="1", RESTARTS="1")
    state = slurm.wait_for_end(job)
    assert slurm.log(job).count(f"Exit code 137: job {job} goes back into the queue.") == 1, slurm.log(job)
    assert slurm.log(job).count("0: task 0 of 2, restart 1") == 1
    assert "Exit code 137: given up after 1 restarts." in slurm.log(job)
    assert (state["JobState"], state["ExitCode"], state["Restarts"]) == ("FAILED", "137:0", "1")


def test_real_run_is_preempted_and_goes_on(slurm, tmp_path):
    workdir = tmp_path / "run"
    paths = (f"--workdir={workdir}", f"--data_dir={tmp_path / 'tfds'}")
    cache = str(tmp_path / "programs")
    job = slurm.submit(
        *(*SMOKE, *paths),
        **QUICK | {"PYTHON": sys.executable, "JAX_COMPILATION_CACHE_DIR": cache},
    )
    metrics = workdir / "metrics.jsonl"
    while not metrics.exists() or '"step": 2,' not in metrics.read_text():
        assert slurm.state(job)["JobState"] not in ENDED, slurm.log(job)
        time.sleep(0.1)
    slurm.call("scancel", "--signal=TERM", job)
    state = slurm.wait_for_end(job)
    log = slurm.log(job)
    assert (state["JobState"], state["Restarts"]) == ("COMPLETED", "1"), log
    for number in (0, 1):
        assert log.count(f"{number}: process {number} of 2 on ") == 2, log
    assert log.count("Slurm step of 2 tasks") == 4
    assert "Stopped by SIGTERM; everything is saved" in log
    assert "Going on from the checkpoint of step" in log
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, STEPS + 1))
    assert (workdir / "report" / "report.html").exists()
    assert any(Path(cache).iterdir())
