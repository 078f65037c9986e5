"""The table of equal numbers: a small version of it, and that it can fail."""

import numpy as np
import pytest

from bench import equality
from bench.equality import ALL, LAYOUTS, PLAIN

TITLES = [layout.title for layout in LAYOUTS]
EIGHT = TITLES.index("8 devices, data 4 × model 2, parameters sharded")
PROCESSES = TITLES.index("2 processes")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")  # most of the time is that of compiling
        return equality.measure({0: (PLAIN,), EIGHT: (ALL,), PROCESSES: (ALL,)}, tmp_path_factory.mktemp("equality"))


def test_losses_and_parameters_are_those_of_one_device(results):
    losses = results[0, PLAIN][0]
    assert len(losses) == equality.STEPS and len(set(losses.tolist())) == equality.STEPS
    for run, (_, loss, _, parameter) in equality.differences(results).items():
        assert loss <= equality.LOSS_TOLERANCE and parameter <= equality.PARAMETER_TOLERANCE, run


def test_differences_are_those_of_the_worst_step_and_leaf():
    params = {"a": np.array([1.0, -4.0]), "b": np.array([0.5])}
    other = {"a": np.array([1.0, -4.2]), "b": np.array([0.6])}
    results = {(0, PLAIN): (np.array([2.0, 1.0]), params), (1, ALL): (np.array([2.0, 1.1]), other)}
    assert equality.differences(results)[1, ALL] == pytest.approx((0.1, 0.1, 0.2, 0.2))
    assert equality.differences(results)[0, PLAIN] == (0, 0, 0, 0)


def test_the_table_has_a_line_for_each_run(results):
    text = equality.section(results)
    assert f"| {TITLES[EIGHT]} | {ALL} | " in text and text.count("\n| ") == 1 + len(results)
