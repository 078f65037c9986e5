"""Bad steps: the run stops and names the records, or skips a few without a trace in the state."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs

from jaxclip.training.guard import BadSteps, TrainingError, skip_bad_steps
from jaxclip.training.step import NOT_FINITE, records_not_finite

GOOD = {"loss": 1.0, "gradient_norm": 2.0, "update_norm": 0.1}


def record_ids(step):
    return {"train": [f"id{number}" for number in range(step, step + 10)], "absence": ["a", "b"]}


@pytest.fixture(scope="module")
def run(tiny_config, tiny_params):
    return tiny_runs.make_run(tiny_config, tiny_params, ("text/ln_final", "logit_scale"))


@pytest.fixture
def batches(run, tiny_config, tiny_tokenizer):
    return iter(tiny_runs.make_stream(tiny_config, tiny_tokenizer))


def poisoned(batch, value):
    features = batch["features"]["image"].copy()
    features[1, 3] = value
    return {"train": {**batch, "features": {"image": features}}}


def assert_bitwise(found, expected):
    jax.tree.map(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_bad_step_changes_nothing_and_a_good_one_is_bitwise_the_same(run, batches, value):
    plain, guarded = jax.jit(run.step), jax.jit(skip_bad_steps(run.step, None))
    state, expected = run.state, run.state
    for number in range(4):
        batch = next(batches)
        if number in (1, 2):
            before = state
            state, metrics = guarded(state, run.frozen, poisoned(batch, value))
            assert metrics["skipped"] == 1 and not np.isfinite(metrics["gradient_norm"])
            assert_bitwise(state, before)
        else:
            state, metrics = guarded(state, run.frozen, {"train": batch})
            expected, plain_metrics = plain(expected, run.frozen, {"train": batch})
            assert metrics.pop("skipped") == 0 and not metrics[NOT_FINITE]["train"].any()
            assert_bitwise(metrics, plain_metrics)
            assert_bitwise(state, expected)
    assert state.step == 2


def test_a_gradient_beyond_the_limit_is_skipped(run, batches):
    batch = {"train": next(batches)}
    norm = float(jax.jit(run.step)(run.state, run.frozen, batch)[1]["gradient_norm"])
    for limit, skipped in ((1.01 * norm, 0), (0.99 * norm, 1)):
        state, metrics = jax.jit(skip_bad_steps(run.step, limit))(run.state, run.frozen, batch)
        assert metrics["skipped"] == skipped
        assert state.step == 1 - skipped


def test_a_gradient_as_large_as_the_limit_is_none_too_large():
    def step(state, frozen, batch):
        return state + 1, {name: jnp.float32(0.1) for name in GOOD}

    kept, metrics = skip_bad_steps(step, 0.1)(jnp.int32(0), {}, {})
    figures = {name: float(value) for name, value in metrics.items()}
    assert (kept == 1) == (not BadSteps(9, 0.1, record_ids, None).check(1, figures, {}))


def test_skips_are_counted_and_logged_up_to_the_limit(tmp_path, capsys):
    log = tmp_path / "bad_steps.jsonl"
    bad = BadSteps(2, 50.0, record_ids, log)
    assert not bad.check(1, GOOD | {"skipped": 0.0}, {})
    assert bad.check(2, GOOD | {"loss": np.nan, "skipped": 1.0}, {})
    assert bad.check(3, GOOD | {"gradient_norm": 70.0, "skipped": 1.0}, {})
    shown = capsys.readouterr().out
    assert "the loss of step 2 is nan; skipped (1 of at most 2). Its records: train: id2, id3" in shown
    assert "id9 and 2 more" in shown and "absence: a, b" in shown
    assert "the gradient_norm of step 3 is 70, more than 50; skipped (2 of at most 2)" in shown
    with pytest.raises(TrainingError, match=r"the update_norm of step 5 is inf \(2 steps were skipped\)"):
        bad.check(5, GOOD | {"update_norm": np.inf, "skipped": 1.0}, {})
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    assert [row["step"] for row in rows] == [2, 3, 5]
    assert rows[0]["records"] == record_ids(2) and rows[0]["not_finite"] == {}


def test_of_a_bad_step_the_records_that_are_not_finite_are_named(run, batches, tmp_path):
    _, metrics = jax.jit(run.step)(run.state, run.frozen, poisoned(next(batches), np.nan))
    not_finite = metrics.pop(NOT_FINITE)
    ids = [f"id{number}" for number in range(len(not_finite["train"]))]
    figures = {name: float(value) for name, value in metrics.items()}
    log = tmp_path / "bad_steps.jsonl"
    with pytest.raises(TrainingError, match=r"the loss of step 4 is nan; .* Not finite are: train: id1$"):
        BadSteps(0, None, lambda step: {"train": ids}, log).check(4, figures, not_finite)
    assert json.loads(log.read_text())["not_finite"] == {"train": ["id1"]}


def test_where_every_record_is_not_finite_none_is_blamed():
    everything = {"train": np.ones(10, bool), "absence": np.ones(2, bool)}
    with pytest.raises(TrainingError, match="Its records: train: id1, id2"):
        BadSteps(0, None, record_ids, None).check(1, GOOD | {"loss": np.nan}, everything)


def test_a_text_that_is_not_finite_is_found_in_its_stream():
    rows = np.ones((3, 4), np.float32)
    bad = rows.copy()
    bad[2, 1] = np.inf
    found = records_not_finite({"train": {"image": rows, "caption": bad}, "absence": {"image": rows}})
    np.testing.assert_array_equal(found["train"], [False, False, True])
    assert not found["absence"].any()


def test_steps_that_are_made_again_are_logged_once(tmp_path):
    log = tmp_path / "bad_steps.jsonl"
    for _ in range(2):
        bad = BadSteps(9, None, record_ids, log)
        for step in (3, 7):
            bad.check(step, GOOD | {"loss": np.inf}, {})
    assert [json.loads(line)["step"] for line in log.read_text().splitlines()] == [3, 7]


def test_the_count_goes_on_over_a_restart():
    first = BadSteps(3, None, record_ids, None)
    first.check(1, GOOD | {"loss": np.nan}, {})
    second = BadSteps(1, None, record_ids, None)
    second.set_state(first.get_state())
    with pytest.raises(TrainingError, match="1 steps were skipped"):
        second.check(2, GOOD | {"loss": np.nan}, {})
    with pytest.raises(ValueError, match="expected the number of skipped steps"):
        second.set_state({"batches": 3})


def test_a_limit_without_skips_stops_the_run():
    bad = BadSteps(0, 10.0, record_ids, None)
    assert not bad.check(1, GOOD, {})
    with pytest.raises(TrainingError, match="gradient_norm of step 2 is 11, more than 10"):
        bad.check(2, GOOD | {"gradient_norm": 11.0}, {})
