"""Every objective gives the same value and gradients with its batch on one device and split over eight."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from objective_cases import CASES, build_case, needed_roles

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """{"1": results, "8": results}; a process of its own makes them, since the device count is fixed at its start."""
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
    return {devices: dict(np.load(directory / f"{devices}.npz")) for devices in ("1", "8")}


@pytest.mark.parametrize("case", CASES)
def test_one_and_eight_devices_agree(results, case):
    """To float32 rounding: the sums over shards are made in another order."""
    one, eight = (
        {name.removeprefix(f"{case}/"): values for name, values in found.items() if name.startswith(f"{case}/")}
        for found in results.values()
    )
    assert one.keys() == eight.keys() >= {"loss", "scale", *needed_roles(build_case(case))}
    assert eight["loss"] == pytest.approx(one["loss"], rel=1e-5)
    gradients = {name: values for name, values in one.items() if name != "loss"}
    largest = max(np.abs(values).max() for values in gradients.values())
    assert largest > 0
    for name, expected in gradients.items():
        np.testing.assert_allclose(eight[name], expected, rtol=1e-4, atol=1e-5 * largest, err_msg=name)
