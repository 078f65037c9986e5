"""launch/local.py: what it would run, how it ends, and a real run of two processes."""

import json
import shlex
import signal
import subprocess
import sys
import time

import pytest
from launching import LAUNCH, QUICK, REPOSITORY, SMOKE, STEPS, without_cluster

# A process that says "up" and then waits for SIGTERM, upon which it takes a moment to save.
WAITS = """
import signal, sys, time
def save(*_):
    time.sleep(0.2)
    print("saved", flush=True)
    sys.exit(143)
signal.signal(signal.SIGTERM, save)
print("up", flush=True)
time.sleep(600)
"""


def launch(*arguments: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(LAUNCH / "local.py"), *arguments],
        cwd=REPOSITORY,
        env=without_cluster() | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(process: subprocess.Popen, line: str, times: int = 1) -> list[str]:
    """The lines up to the `times`-th that contains `line`."""
    shown = []
    while sum(line in seen for seen in shown) < times:
        shown.append(process.stdout.readline())
        assert shown[-1], f"ended before {line!r}: {shown}"
    return shown


def dry_run(*arguments: str, **environment: str) -> list[tuple[dict[str, str], list[str]]]:
    """Environment and command of each process that would be started."""
    process = launch("--dry_run", *arguments, **environment)
    shown, _ = process.communicate()
    assert process.returncode == 0, shown
    processes = []
    for words in map(shlex.split, shown.splitlines()):
        first = words.index("train")
        processes.append((dict(word.split("=", 1) for word in words[:first]), words[first:]))
    return processes


def test_each_process_is_told_its_place():
    processes = dry_run("--processes=3", "--devices=2", "--", "train", "--title=two words", XLA_FLAGS="--xla_a=1")
    assert [command for _, command in processes] == [["train", "--title=two words"]] * 3
    addresses = {environment["JAX_COORDINATOR_ADDRESS"] for environment, _ in processes}
    assert len(addresses) == 1 and addresses.pop().startswith("127.0.0.1:")
    for number, (environment, _) in enumerate(processes):
        assert environment["JAX_PROCESS_ID"] == str(number)
        assert environment["JAX_NUM_PROCESSES"] == "3"
        assert environment["JAX_PLATFORMS"] == "cpu"
        assert environment["XLA_FLAGS"] == "--xla_a=1 --xla_force_host_platform_device_count=2"


def test_gpus_are_dealt_out():
    processes = dry_run("--processes=2", "--gpus=0,1,2,3", "--", "train")
    assert [environment["JAX_LOCAL_DEVICE_IDS"] for environment, _ in processes] == ["0,1", "2,3"]
    for environment, _ in processes:
        assert "JAX_PLATFORMS" not in environment
        assert "--xla_gpu_enable_latency_hiding_scheduler=true" in environment["XLA_FLAGS"].split()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--processes=2", "--gpus=0,1,2", "--", "train"], "3 GPUs cannot be dealt out evenly to 2 processes"),
        (["--processes=2"], "no command"),
        (["--processes=0", "--", "train"], "--processes"),
        (["--", "no-such-program"], "No such file or directory: 'no-such-program'"),
    ],
)
def test_bad_use_is_one_clear_error(arguments, message):
    process = launch(*arguments)
    shown, _ = process.communicate()
    assert process.returncode != 0
    assert message in shown
    assert "Traceback" not in shown


def test_help_teaches():
    process = launch("--help")
    shown, _ = process.communicate()
    assert "python launch/local.py --processes=2 -- python -m jaxclip.main" in shown
    assert "--gpus" in shown and "143" in shown


def test_output_has_the_number_of_its_process():
    process = launch("--processes=2", "--", "sh", "-c", "echo here is $JAX_PROCESS_ID; echo and >&2")
    shown, _ = process.communicate()
    assert process.returncode == 0
    assert sorted(shown.splitlines()) == ["[0] and", "[0] here is 0", "[1] and", "[1] here is 1"]


def test_failing_process_ends_the_others_with_its_code():
    fails = "import os, sys, time\nif os.environ['JAX_PROCESS_ID'] == '1': time.sleep(2), sys.exit(7)\n"
    process = launch("--processes=3", "--", sys.executable, "-c", fails + WAITS)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 7, shown
    assert "process 1 ended with exit code 7" in shown
    assert "[0] saved" in shown and "[2] saved" in shown


def test_process_that_does_not_end_is_killed():
    stubborn = "trap '' TERM; if [ $JAX_PROCESS_ID = 0 ]; then kill -KILL $$; fi; while true; do sleep 0.1; done"
    process = launch("--processes=2", "--grace=0.5", "--", "sh", "-c", stubborn)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGKILL
    assert "process 0 ended with exit code 137; the others have 0.5 s to end" in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_lets_every_process_save(number):
    process = launch("--processes=2", "--", sys.executable, "-c", WAITS)
    wait_for(process, "up", times=2)
    process.send_signal(number)
    shown, _ = process.communicate(timeout=60)
    assert process.returncode == 143
    assert "[0] saved" in shown and "[1] saved" in shown


def test_second_interrupt_ends_at_once():
    process = launch("--processes=2", "--", "sh", "-c", "trap '' TERM; echo up; while true; do sleep 0.1; done")
    wait_for(process, "up", times=2)
    process.send_signal(signal.SIGINT)
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 137


def test_real_run_of_two_processes_stops_saved_and_goes_on(tmp_path):
    workdir = tmp_path / "run"
    variables = QUICK | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "programs")}
    command = (
        *("--processes=2", "--", sys.executable, "-m", "jaxclip.main", *SMOKE),
        *(f"--workdir={workdir}", f"--data_dir={tmp_path / 'tfds'}"),
    )
    process = launch(*command, **variables)
    metrics = workdir / "metrics.jsonl"
    while not metrics.exists() or '"step": 2,' not in metrics.read_text():
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    shown, _ = process.communicate()
    assert process.returncode == 143, shown
    for number in (0, 1):
        assert f"[{number}] process {number} of 2 on " in shown
    assert "1 of 2 devices" in shown and "everything is saved" in shown
    stopped = max(int(entry.name) for entry in (workdir / "checkpoints").iterdir() if entry.name.isdigit())
    assert 2 <= stopped < STEPS

    process = launch(*command, **variables)
    shown, _ = process.communicate()
    assert process.returncode == 0, shown
    assert f"Going on from the checkpoint of step {stopped}" in shown
    rows = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [row["step"] for row in rows if "loss" in row] == list(range(1, STEPS + 1))
    assert (workdir / "report" / "scores.json").exists()
