"""The whole program, started as users start it, on little data."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import jaxclip
from jaxclip.training.speed import is_of_the_machine
from tests.free_ports import free_port

REPOSITORY = Path(__file__).resolve().parents[1]
SMOKE = "--config=configs/semclip.py:smoke"
HANGS_AFTER = 3600  # seconds: far more than a run needs, even on a machine that has much else to do


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    return tmp_path_factory.mktemp("tfds")


def command(workdir: Path, data_dir: Path, *flags: str) -> list[str]:
    return [sys.executable, "-m", "jaxclip.main", f"--workdir={workdir}", f"--data_dir={data_dir}", *flags]


def environment(devices: int = 1) -> dict[str, str]:
    return {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    }


def run(workdir: Path, data_dir: Path, *flags: str, devices: int = 1) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(workdir, data_dir, *flags),
        cwd=REPOSITORY,
        env=environment(devices),
        capture_output=True,
        text=True,
        timeout=HANGS_AFTER,
    )


def figures(workdir: Path) -> list[dict]:
    """The rows of metrics.jsonl without wall times."""
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if not is_of_the_machine(name)} for row in rows]


@pytest.fixture(scope="session")
def finished(tmp_path_factory, data_dir) -> Path:
    """A finished smoke run on one device."""
    workdir = tmp_path_factory.mktemp("runs") / "finished"
    result = run(workdir, data_dir, SMOKE, "--config.log_every=1", "--config.checkpoint.every=2")
    assert result.returncode == 0, result.stderr
    (workdir / "stdout").write_text(result.stdout + result.stderr)
    return workdir


def test_run_leaves_what_it_promises(finished):
    for name in ("config.json", "metrics.jsonl", "report/report.html", "report/report.md", "report/scores.json"):
        assert (finished / name).stat().st_size > 0, name
    assert any((finished / "tensorboard").iterdir())
    scores = json.loads((finished / "report" / "scores.json").read_text())["checkpoints"]
    assert set(scores) == {"base", "final"}
    assert set(scores["final"]) == {"scenes/test", "scenes/test_templates", "scenes/test_combinations"}
    wanted = {"caption_to_image_r1", "image_to_caption_r5", "paraphrase_to_image_r1", "original_over_negation"}
    wanted |= {"absence_accuracy", "absence_to_image_r1", "itt", "tot", "itt_hard", "tot_hard"}
    wanted |= {f"zeroshot_{name}{kind}" for name in ("shape", "colour") for kind in ("", "_negated", "_delta")}
    for split in scores["final"].values():
        assert wanted <= set(split)
        assert all(score["low"] <= score["value"] <= score["high"] for score in split.values())
    steps = [row["step"] for row in figures(finished) if "loss" in row]
    assert steps == [1, 2, 3, 4, 5, 6]


def test_terminal_is_quiet_and_ends_with_the_paths(finished):
    shown = (finished / "stdout").read_text()
    assert "Warning" not in shown
    assert "WARNING" not in shown
    assert f"{finished / 'report' / 'report.html'}" in shown
    assert "611,457  of 2,5" in shown  # the table of what is trained


def assert_same_losses(workdir: Path, expected: Path) -> None:
    """The steps of two runs that do the same on other devices."""
    one = [row for row in figures(expected) if "loss" in row]
    many = [row for row in figures(workdir) if "loss" in row]
    assert [row["step"] for row in one] == [row["step"] for row in many]
    for name in ("loss", "semclip/contrastive", "semclip/paraphrase", "semclip/negation"):
        found, wanted = [row[name] for row in many], [row[name] for row in one]
        np.testing.assert_allclose(found[0], wanted[0], rtol=1e-5, atol=1e-6, err_msg=name)
        # Rounding of the first steps is carried on by the next ones. The paraphrase part is 1 - cosine, so what
        # it is rounded to is a share of 1, not of its own small value.
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5, err_msg=name)


def test_eight_devices_give_the_losses_of_one(finished, tmp_path, data_dir):
    for axes, flags in (("8 x 1", []), ("4 x 2", ["--config.mesh.data=4", "--config.mesh.model=2"])):
        workdir = tmp_path / axes
        no_scores = ["--config.evaluation.splits=()", "--config.log_every=1"]
        result = run(workdir, data_dir, SMOKE, *no_scores, *flags, devices=8)
        assert result.returncode == 0, result.stderr
        assert_same_losses(workdir, finished)


def test_bfloat16_on_eight_devices_split_both_ways(finished, tmp_path, data_dir):
    """Collectives of this run once waited for each other for ever (see `distributed.order_cpu_collectives`)."""
    flags = ["--config.mesh.data=4", "--config.mesh.model=2", "--config.model.dtype=bfloat16"]
    no_scores = ["--config.evaluation.splits=()", "--config.log_every=1"]
    result = run(tmp_path / "run", data_dir, SMOKE, *no_scores, *flags, devices=8)
    assert result.returncode == 0, result.stderr
    exact, found = ([row["loss"] for row in figures(path) if "loss" in row] for path in (finished, tmp_path / "run"))
    np.testing.assert_allclose(found, exact, rtol=0.05)  # bfloat16 has 8 bits
    assert found != exact


def test_two_processes_give_the_losses_of_one(finished, tmp_path, data_dir):
    """Real processes that find each other as under Slurm, on the loopback."""
    port = free_port()
    cluster = {
        "SLURM_JOB_ID": "1",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_NUM_NODES": "1",
        "SLURM_NTASKS": "2",
    }
    cluster |= {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    flags = [SMOKE, "--config.log_every=1", "--config.evaluation.splits=('scenes/test',)"]
    processes = [
        subprocess.Popen(
            command(tmp_path / "run", data_dir, *flags),
            cwd=REPOSITORY,
            env=environment() | cluster | {"SLURM_PROCID": rank, "SLURM_LOCALID": rank},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in "01"
    ]
    try:
        shown = [process.communicate(timeout=HANGS_AFTER)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(shown)
    assert "2 process(es)" in shown[0] and "Report:" in shown[0]
    assert_same_losses(tmp_path / "run", finished)
    assert set(json.loads((tmp_path / "run" / "report" / "scores.json").read_text())["checkpoints"]) == {
        "base",
        "final",
    }
    base, shipped = jaxclip.load(tmp_path / "run" / "checkpoints" / "base"), jaxclip.load("scenes-base")
    assert base.params.keys() == shipped.params.keys()
    assert all(np.array_equal(leaf, shipped.params[path]) for path, leaf in base.params.items())


def wait_for_step(workdir: Path, step: int, process: subprocess.Popen) -> None:
    """Returns when metrics.jsonl shows `step`; fails if the process ends first."""
    while True:
        path = workdir / "metrics.jsonl"
        if path.exists() and f'"step": {step},' in path.read_text():
            return
        assert process.poll() is None, f"the run ended before step {step}"
        time.sleep(0.02)


def test_killed_and_resumed_run_has_the_same_figures(finished, tmp_path, data_dir):
    workdir = tmp_path / "killed"
    flags = [SMOKE, "--config.log_every=1", "--config.checkpoint.every=2"]
    process = subprocess.Popen(
        command(workdir, data_dir, *flags),
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for_step(workdir, 4, process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (workdir / "report" / "report.html").exists()
    result = run(workdir, data_dir, *flags)
    assert result.returncode == 0, result.stderr
    assert "Going on from the checkpoint of step" in result.stdout + result.stderr
    assert figures(workdir) == figures(finished)
    assert (workdir / "report" / "scores.json").read_text() == (finished / "report" / "scores.json").read_text()


def test_sigterm_saves_and_exits(tmp_path, data_dir):
    workdir = tmp_path / "terminated"
    flags = [SMOKE, "--config.log_every=1", "--config.schedule.steps=5000", "--config.evaluation.splits=()"]
    process = subprocess.Popen(
        command(workdir, data_dir, *flags),
        cwd=REPOSITORY,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_for_step(workdir, 3, process)
    process.send_signal(signal.SIGTERM)
    shown, _ = process.communicate()
    assert process.returncode == 128 + signal.SIGTERM
    assert "The same command goes on from here" in shown
    saved = [int(entry.name) for entry in (workdir / "checkpoints").iterdir() if entry.name.isdigit()]
    assert max(saved) == figures(workdir)[-1]["step"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--config=configs/semclip.py", "--config.optimizer.learning_rat=1"], "learning_rate"),
        (["--config=configs/semclip.py", "--config.objectives.semclip.n=1"], "n must be at least 2"),
        (["--config=configs/semclip.py", "--config.model.init=nowhere"], "'nowhere' is not a model directory"),
        (["--config=configs/semclip.py", "--config.schedule.steps=many"], "steps"),
        (["--config=configs/semclip.py", "--config.trainable=('front_text_layers(9)',)"], "has 6 layers"),
        (["--config=configs/semclip.py", "--config.evaluation.splits=('scenes/tests',)"], "no such split"),
    ],
)
def test_bad_settings_give_one_clear_error(tmp_path, data_dir, flags, message):
    result = run(tmp_path / "run", data_dir, *flags)
    shown = result.stdout + result.stderr
    assert result.returncode != 0
    assert message in shown
    assert "Traceback" not in shown


def test_another_run_in_the_work_directory_is_refused(finished, data_dir):
    result = run(finished, data_dir, SMOKE, "--config.optimizer.learning_rate=0.5")
    assert result.returncode == 1
    assert "config.optimizer" in result.stdout + result.stderr
