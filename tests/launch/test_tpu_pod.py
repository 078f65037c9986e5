"""launch/tpu_pod.sh with a gcloud that plays scripted states, and launch/tpu_worker.sh for real.

The stand-in for gcloud writes down what it is asked. `ssh` runs the command in a directory that stands for a worker.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from launching import LAUNCH, REPOSITORY

GCLOUD = f"""#!{sys.executable}
import json, os, pathlib, shutil, subprocess, sys
stage = pathlib.Path(os.environ["STAGE"])
arguments = sys.argv[1:]
with open(stage / "calls", "a") as calls:
    calls.write(json.dumps(arguments) + "\\n")

def next_line(name, default):
    lines = (stage / name).read_text().splitlines() if (stage / name).exists() else []
    (stage / name).write_text("\\n".join(lines[1:]))
    return lines[0] if lines else default

kind, verb = arguments[2:4]
if (kind, verb) == ("queued-resources", "describe"):
    state = next_line("states", "ACTIVE")
    if state in ("NOT_FOUND", "UNAUTHENTICATED"):
        sys.exit("ERROR: (gcloud.compute.tpus.queued-resources.describe) " + state + ": it says more")
    print(state)
elif (kind, verb) == ("tpu-vm", "describe"):
    print(next_line("nodes", "READY"))
elif (kind, verb) == ("tpu-vm", "scp"):
    shutil.copy(arguments[4], stage / "worker" / arguments[5].partition(":")[2])
elif (kind, verb) == ("tpu-vm", "ssh"):
    command = next(word for word in arguments if word.startswith("--command=")).partition("=")[2]
    for name in ("MODULE", "LIBTPU_INIT_ARGS"):  # a worker has an environment of its own
        os.environ.pop(name, None)
    sys.exit(subprocess.run(["bash", "-c", command], cwd=stage / "worker").returncode)
"""
# The worker's Python: writes down how it was started, and ends with the next scripted code.
WORKER_PYTHON = f"""#!{sys.executable}
import json, os, pathlib, sys
stage = pathlib.Path(os.environ["STAGE"])
with open(stage / "runs", "a") as runs:
    runs.write(json.dumps([sys.argv[1:], os.environ.get("LIBTPU_INIT_ARGS"), os.getcwd()]) + "\\n")
codes = (stage / "codes").read_text().split() if (stage / "codes").exists() else []
(stage / "codes").write_text(" ".join(codes[1:]))
print("training")
sys.exit(int(codes[0]) if codes else 0)
"""
QUEUED, VM = "queued-resources", "tpu-vm"
FLAGS = ("--config=configs/semclip.py", "--config.title=two words", "--config.trainable=('a*', \"b\")", "--x=$HOME;")


class Stage:
    """A directory with the scripts of the play and what was heard."""

    def __init__(self, directory: Path):
        self.directory = directory
        self.bin = directory / "bin"
        self.worker = directory / "worker"
        self.worker.mkdir()
        self.bin.mkdir()
        self.program("gcloud", GCLOUD)
        self.program("worker_python", WORKER_PYTHON)
        for name in ("python3", "gcsfuse"):  # what installing would fetch and mount
            self.program(name, f'#!/bin/sh\necho "{name} $*" >> "$STAGE/installed"\n')
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("TPU_", "LIBTPU", "MODULE"))},
            "PATH": f"{self.bin}:{os.environ['PATH']}",
            "STAGE": str(directory),
            "PYTHON": str(self.bin / "worker_python"),
            "TPU_WORKER_PID_FILE": str(directory / "pid"),
            "TPU_NAME": "pod",
            "TPU_ZONE": "us-west4-a",
            "TPU_TYPE": "v5litepod-16",
            "TPU_POLL": "0",
        }

    def program(self, name: str, text: str) -> None:
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    def play(self, name: str, *lines: str) -> None:
        (self.directory / name).write_text("\n".join(lines))

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        command = ["bash", str(LAUNCH / "tpu_pod.sh"), *arguments]
        return subprocess.run(command, env=self.environment | variables, capture_output=True, text=True)

    def heard(self, name: str) -> list:
        path = self.directory / name
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def calls(self) -> list[str]:
        """What gcloud was asked, in two words, without questions about the state; commands by their last part."""
        asked = []
        for _, _, kind, verb, *rest in self.heard("calls"):
            if verb == "ssh":
                command = next(word for word in rest if word.startswith("--command="))
                known = ("tar -xzf", "tpu_worker.sh install", "tpu_worker.sh run", "tpu_worker.sh stop")
                asked.append(next(part for part in known if part in command))
            elif verb != "describe":
                asked.append(f"{kind} {verb}")
        return asked


@pytest.fixture
def stage(tmp_path) -> Stage:
    return Stage(tmp_path)


@pytest.fixture
def installed(stage) -> Stage:
    """A worker that has the launch folder already, and `install` that copies no more than that."""
    shutil.copytree(LAUNCH, stage.worker / "jaxclip" / "launch")
    stage.program("git", "#!/bin/sh\nprintf 'launch/tpu_worker.sh\\0launch/xla_flags/tpu.txt\\0'\n")
    return stage


INSTALL = ["tpu-vm scp", "tar -xzf", "tpu_worker.sh install"]


def test_train_asks_waits_installs_runs_and_gives_back(installed):
    installed.play("states", "NOT_FOUND", "CREATING", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE")
    result = installed.run("train", *FLAGS, TPU_SPOT="1", TPU_PROJECT="mine", TPU_BUCKET="my-bucket")
    assert result.returncode == 0, result.stderr
    assert installed.calls() == [f"{QUEUED} create", *INSTALL, "tpu_worker.sh run", f"{QUEUED} delete"]
    where = ["--zone=us-west4-a", "--project=mine"]
    calls = installed.heard("calls")
    kind = ["--accelerator-type=v5litepod-16", "--runtime-version=v2-alpha-tpuv5-lite", "--spot"]
    assert ["compute", "tpus", QUEUED, "create", "pod", "--node-id=pod", *kind, *where] in calls
    assert calls[-1] == ["compute", "tpus", QUEUED, "delete", "pod", "--force", "--quiet", *where]
    assert all("--worker=all" in call for call in calls if call[3] in ("ssh", "scp"))
    assert "pod: WAITING_FOR_RESOURCES" in result.stdout
    assert "gcsfuse --implicit-dirs my-bucket runs" in (installed.directory / "installed").read_text()
    assert "training" in (installed.worker / "jaxclip" / "jaxclip.log").read_text()


def test_flags_reach_every_worker_as_they_were_given(installed):
    result = installed.run("run", *FLAGS)
    assert result.returncode == 0, result.stderr
    result = installed.run("run", *FLAGS, LIBTPU_INIT_ARGS="--xla_other='a b' --xla_mine=1", MODULE="jaxclip.evaluate")
    assert result.returncode == 0, result.stderr
    [[plain, _, _], [arguments, flags, folder]] = installed.heard("runs")
    assert plain == ["-m", "jaxclip.main", *FLAGS]
    assert arguments == ["-m", "jaxclip.evaluate", *FLAGS]
    assert flags.split()[-1] == "--xla_mine=1" and "--xla_tpu_overlap_compute_collective_tc=true" in flags.split()
    assert "#" not in flags
    assert folder == str(installed.worker / "jaxclip")


def test_preempted_slice_is_deleted_and_asked_for_again(installed):
    # The first run ends with an error of the workers that were left, and only then is the preemption known.
    installed.play("states", "ACTIVE", "SUSPENDING", "SUSPENDED", "NOT_FOUND", "CREATING", "ACTIVE")
    installed.play("codes", "1")
    result = installed.run("train", *FLAGS)
    assert result.returncode == 0, result.stderr
    run = [*INSTALL, "tpu_worker.sh run"]
    assert installed.calls() == [*run, f"{QUEUED} delete", f"{QUEUED} create", *run, f"{QUEUED} delete"]


def test_machine_may_know_of_a_preemption_first(installed):
    installed.play("states", "ACTIVE", "ACTIVE", "FAILED", "NOT_FOUND", "ACTIVE")
    installed.play("nodes", "PREEMPTED")
    installed.play("codes", "1")
    result = installed.run("train", *FLAGS, TPU_KEEP="1")
    assert result.returncode == 0, result.stderr
    run = [*INSTALL, "tpu_worker.sh run"]
    assert installed.calls() == [*run, f"{QUEUED} delete", f"{QUEUED} create", *run]


@pytest.mark.parametrize("code", ["143", "75", "137", "255"])
def test_saved_run_and_broken_connection_start_again_on_the_same_slice(installed, code):
    installed.play("codes", code)
    result = installed.run("train", *FLAGS, TPU_KEEP="1")
    assert result.returncode == 0, result.stderr
    assert installed.calls() == [*INSTALL, "tpu_worker.sh run"] * 2


def test_own_error_ends_it_and_keeps_the_slice(installed):
    installed.play("codes", "2")
    result = installed.run("train", *FLAGS)
    assert result.returncode == 2
    assert installed.calls() == [*INSTALL, "tpu_worker.sh run"]
    assert "costs money until" in result.stderr


def test_failed_installation_is_not_run(installed):
    installed.program("python3", "#!/bin/sh\nexit 9\n")
    result = installed.run("train", *FLAGS)
    assert result.returncode == 9
    assert installed.calls() == INSTALL


def test_restarts_are_bounded(installed):
    installed.play("codes", *["143"] * 5)
    result = installed.run("train", *FLAGS, TPU_RESTARTS="2")
    assert result.returncode == 1
    assert "given up after 2 restarts" in result.stderr
    assert installed.calls().count("tpu_worker.sh run") == 3


def test_gcloud_that_keeps_failing_ends_it(installed):
    installed.play("states", *["UNAUTHENTICATED"] * 20)
    result = installed.run("train", *FLAGS)
    assert result.returncode == 1
    assert "UNAUTHENTICATED: it says more" in result.stderr and "gcloud has failed 10 times" in result.stderr


def test_wait_ends_when_there_is_nothing_to_wait_for(stage):
    stage.play("states", "WAITING_FOR_RESOURCES", "FAILED")
    result = stage.run("wait")
    assert result.returncode == 1
    assert "pod is FAILED and will not become ACTIVE" in result.stderr


def test_install_copies_the_tracked_files(stage):
    if not (REPOSITORY / ".git").exists():
        pytest.skip("not a git checkout")
    result = stage.run("install")
    assert result.returncode == 0, result.stderr
    for name in ("requirements.txt", "jaxclip/main.py", "configs/semclip.py", "launch/tpu_worker.sh"):
        assert (stage.worker / "jaxclip" / name).read_bytes() == (REPOSITORY / name).read_bytes()
    assert not (stage.worker / "jaxclip" / ".git").exists()
    fetched = (stage.directory / "installed").read_text()
    assert "-r requirements.txt jax[tpu]" in fetched and "gcsfuse" not in fetched


def test_dry_run_prints_commands_that_the_shell_reads_back(stage):
    result = stage.run("train", *FLAGS, DRY_RUN="1", TPU_SPOT="1")
    assert result.returncode == 0, result.stderr
    assert stage.heard("calls") == []
    commands = [shlex.split(line) for line in result.stdout.splitlines() if line.startswith("gcloud ")]
    assert [command[3:5] for command in commands] == [
        *([VM, "scp"], [VM, "ssh"], [VM, "ssh"], [VM, "ssh"]),
        [QUEUED, "delete"],
    ]
    remote = next(word for word in commands[3] if word.startswith("--command=")).partition("=")[2]
    words = shlex.split(remote)
    assert words[words.index("run") + 1 : words.index("2>&1")] == list(FLAGS)


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["train", "--config=x"], {"TPU_ZONE": ""}, "TPU_ZONE is not set"),
        (["train"], {}, "no flags for jaxclip.main"),
        (["trian", "--config=x"], {}, "bash launch/tpu_pod.sh train"),
    ],
)
def test_bad_use_is_explained(stage, arguments, variables, message):
    result = stage.run(*arguments, **variables)
    assert result.returncode in (1, 2)
    assert message in result.stderr
    assert stage.heard("calls") == []


def test_worker_stops_what_an_earlier_run_left(installed):
    worker = ["bash", "launch/tpu_worker.sh"]
    folder = installed.worker / "jaxclip"
    # As a training run: it is started by `run`, takes SIGTERM, and needs a moment.
    slow = "trap 'sleep 0.5; echo saved > \"$STAGE/saved\"; exit 143' TERM; while true; do sleep 0.1; done"
    installed.program("slow_python", f"#!/bin/bash\n{slow}\n")
    environment = installed.environment | {"PYTHON": str(installed.bin / "slow_python")}
    left = subprocess.Popen([*worker, "run", "--config=x"], cwd=folder, env=environment)
    try:
        while not (installed.directory / "pid").exists():
            time.sleep(0.05)
        time.sleep(0.5)
        result = subprocess.run([*worker, "run", "--config=x"], cwd=folder, env=installed.environment)
        assert result.returncode == 0
        assert left.wait(timeout=30) == 128 + signal.SIGTERM
        assert (installed.directory / "saved").exists()
    finally:
        left.kill()


def test_worker_leaves_alone_what_it_did_not_start(installed):
    other = subprocess.Popen(["sleep", "600"])
    try:
        installed.play("pid", str(other.pid))
        command = ["bash", "launch/tpu_worker.sh", "stop"]
        assert subprocess.run(command, cwd=installed.worker / "jaxclip", env=installed.environment).returncode == 0
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()
