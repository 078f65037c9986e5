"""A run goes on with other devices and processes than it was saved with: the same batches, the same parameters."""

import json

import numpy as np
import pytest
from failing_processes import figures, run

# (processes, devices of each) and the step up to which they go
PLACES = [((1, 8), 3), ((1, 1), 6), ((2, 1), 9), ((1, 8), 12)]


def global_batches(records, processes):
    """step → record numbers, the parts of the processes one after the other."""
    parts = []
    for number in range(processes):
        rows = [json.loads(line) for line in (records.with_name(f"{records.name}.{number}")).read_text().splitlines()]
        parts.append({row["step"]: row["records"] for row in rows})
    return {step: sum((part[step] for part in parts), []) for step in parts[0]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of a run that stays on one device, with its record numbers beside it."""
    folder = tmp_path_factory.mktemp("elastic")
    run(folder / "whole", 1, steps=12, pause=0, records=folder / "expected")
    return folder / "whole"


@pytest.mark.parametrize("parameters", ["replicated", "sharded"])
def test_from_eight_devices_to_one_to_two_processes_and_back(whole, tmp_path, parameters):
    expected = global_batches(whole.with_name("expected"), 1)
    assert sorted(sum((expected[step] for step in range(1, 6)), [])) == list(range(40))  # an epoch of 5 batches
    found = {}
    for (processes, devices), last in PLACES:
        records = tmp_path / f"to step {last}"
        where = {"devices": devices, "parameters": parameters}
        run(tmp_path / "moved", processes, **where, steps=last, pause=0, records=records)
        found |= global_batches(records, processes)
    assert found == expected
    losses = [[row["loss"] for row in figures(workdir)] for workdir in (tmp_path / "moved", whole)]
    np.testing.assert_allclose(*losses, rtol=1e-5)
    with np.load(whole / "final.npz") as unmoved, np.load(tmp_path / "moved" / "final.npz") as moved:
        assert set(unmoved) == set(moved)
        for path in unmoved:
            np.testing.assert_allclose(moved[path], unmoved[path], rtol=1e-4, atol=1e-6, err_msg=path)
