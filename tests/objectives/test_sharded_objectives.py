"""Every objective gives the same value and gradients with its batch on one device and split over eight; and what a
program on eight devices sends around: embeddings once, never logits."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hlo_text import operations, shapes
from objective_cases import CASES, build_case, needed_roles
from sharded_objectives import BATCH, RUNS, WIDTH

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """The folder of results; a process of its own makes them, since the device count is fixed at its start."""
    directory = tmp_path_factory.mktemp("sharded")
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": "--xla_force_host_platform_device_count=8",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, str(Path(__file__).with_name("sharded_objectives.py")), str(directory)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return directory


@pytest.mark.parametrize("run", list(RUNS)[1:])
@pytest.mark.parametrize("case", CASES)
def test_one_and_eight_devices_agree(results, case, run):
    """To float32 rounding: the sums over shards are made in another order."""
    one, eight = (
        {name.removeprefix(f"{case}/"): values for name, values in found.items() if name.startswith(f"{case}/")}
        for found in (np.load(results / f"{name}.npz") for name in ("one", run))
    )
    assert one.keys() == eight.keys() >= {"loss", "scale", *needed_roles(build_case(case))}
    assert eight["loss"] == pytest.approx(one["loss"], rel=1e-5)
    gradients = {name: values for name, values in one.items() if name != "loss"}
    largest = max(np.abs(values).max() for values in gradients.values())
    assert largest > 0
    for name, expected in gradients.items():
        np.testing.assert_allclose(eight[name], expected, rtol=1e-4, atol=1e-5 * largest, err_msg=name)


# The arrays whose every row some softmax has for a candidate.
CANDIDATES = {
    "clip": 2,
    "semclip": 2,
    "semclip, learnable": 2,
    "presence": 3,
    "absence": 3,
    "conclip": 3,
    "conclip, distractors": 4,
    "negclip": 3,
    "negclip, hard images": 6,
    "negationclip": 2,
    "tripletclip": 4,
    "triplet": 6,
    "negbench": 2,
    "semclip, released": 2,
    "semclip, no projection": 2,
    "triplet, distractors": 6,
}


@pytest.mark.parametrize("run", ["eight", "eight, one row at a time"])
def test_each_candidate_is_gathered_once_and_its_gradient_scattered_once(results, run):
    """Whatever the number of softmaxes that it is in; nothing else is gathered, least of all logits."""
    assert CANDIDATES.keys() == CASES.keys()
    found = operations((results / f"{run}.hlo").read_text())
    count = sum(CANDIDATES.values())
    assert shapes(found, "all-gather") == {(BATCH, WIDTH): count}
    assert shapes(found, "reduce-scatter") == {(BATCH // 8, WIDTH): count}
    assert not shapes(found, "all-to-all") and not shapes(found, "collective-permute")
    projection = (WIDTH, 2)  # the learnable one of semclip
    assert set(shapes(found, "all-reduce")) == {(), projection}


def test_the_compiler_alone_does_not_scatter(results):
    """Why objectives are told the mesh, and that the test above can fail."""
    found = operations((results / "eight, by the compiler.hlo").read_text())
    assert not shapes(found, "reduce-scatter")
