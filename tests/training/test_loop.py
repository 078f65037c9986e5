"""The loop: resumes bitwise, never saves what is not a number, stops cleanly on SIGTERM."""

import signal
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_runs

from jaxclip.checksums import write_checksums
from jaxclip.config import FailureSettings, MeshSettings
from jaxclip.data.pipeline import BatchStream
from jaxclip.training.checkpointing import CheckpointError, Checkpoints, load_trained
from jaxclip.training.guard import BadSteps, TrainingError, skip_bad_steps
from jaxclip.training.loop import Cadence, train
from jaxclip.training.metrics_log import read_metrics
from jaxclip.training.preemption import Preempted, Preemption
from jaxclip.training.profiling import Profile
from jaxclip.training.program import StepProgram
from jaxclip.training.sharding import make_mesh
from jaxclip.training.speed import is_of_the_machine
from jaxclip.training.step import NOT_FINITE
from jaxclip.training.watch import Watch

PATTERNS = ("front_text_layers(1)", "text/ln_final", "logit_scale")
BATCH = 4


@pytest.fixture(scope="module")
def run(tiny_config, tiny_params):
    """One step function for all tests, so that it is compiled once."""
    return tiny_runs.make_run(tiny_config, tiny_params, PATTERNS, steps=10)


@pytest.fixture
def start(run, tiny_config, tiny_tokenizer, tmp_path):
    """Trains in a work directory; every call is a new process as far as the loop can tell."""

    def start(name, steps, step_function=run.step, checkpoint_every=100, validate_every=100, log_every=1, **settings):
        checkpoints = Checkpoints(tmp_path / name / "checkpoints", "r1")
        defaults = {
            "streams": {"train": tiny_runs.make_stream(tiny_config, tiny_tokenizer, batch_size=BATCH)},
            "validate": None,
            "watch": Watch(Preemption(), FailureSettings()),
            "bad_steps": BadSteps(0, None, lambda step: {"train": [f"record {step}"]}, None),
            "profile": Profile(None, tmp_path / name / "profile"),
        }
        try:
            return train(
                program=StepProgram(step_function, make_mesh(MeshSettings()), BATCH, lambda *arguments: 1000),
                state=jax.tree.map(np.array, run.state),  # the loop gives the arrays of its start away
                frozen=jax.tree.map(jnp.asarray, run.frozen),
                cadence=Cadence(steps, checkpoint_every, validate_every, log_every),
                workdir=tmp_path / name,
                checkpoints=checkpoints,
                **{**defaults, **settings},
            )
        finally:
            checkpoints.close()

    return start


@pytest.fixture
def preemption():
    """Listens to SIGTERM, and gives it back after the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield Preemption().install()
    signal.signal(signal.SIGTERM, before)
    signal.set_wakeup_fd(-1)


def figures(workdir):
    """The logged figures, without those of the clock."""
    return [
        {name: value for name, value in row.items() if not is_of_the_machine(name)}
        for row in read_metrics(workdir / "metrics.jsonl")
    ]


def steps_on_disk(workdir):
    return sorted(int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit())


def assert_bitwise(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def at_call(number, action):
    """A validation that gives scores, and does `action` when it is called for the `number`th time."""
    calls = []

    def validate(params):
        calls.append(params.keys())
        if len(calls) == number:
            action()
        return {"r1": 0.5}

    return validate


def test_ten_steps_are_five_a_restart_and_five(start, tmp_path):
    """State, figures and the order of the data, bitwise, over the end of an epoch (5 batches)."""
    whole = start("whole", 10)
    start("parts", 5)
    resumed = start("parts", 10)
    assert whole.step == resumed.step == 10
    assert_bitwise(resumed, whole)
    expected = figures(tmp_path / "whole")
    assert [row["step"] for row in expected] == list(range(1, 11))
    assert len({row["loss"] for row in expected}) == 10
    assert figures(tmp_path / "parts") == expected
    assert_bitwise(load_trained(tmp_path / "parts" / "checkpoints"), jax.tree.map(np.array, whole.params))


def test_a_crash_repeats_the_steps_since_the_checkpoint(start, tmp_path):
    def crash():
        raise RuntimeError("crash")

    with pytest.raises(RuntimeError, match="crash"):
        start("crashed", 10, checkpoint_every=3, validate_every=1, validate=at_call(8, crash))
    assert steps_on_disk(tmp_path / "crashed") == [3, 6]
    assert_bitwise(start("crashed", 10), start("whole", 10))
    logged = [row["step"] for row in figures(tmp_path / "crashed") if "loss" in row]
    assert logged == list(range(1, 11))


def test_a_finished_run_is_not_run_again(start):
    finished = start("done", 2)

    def not_called(state, frozen, batch):
        raise AssertionError("a step was made")

    assert_bitwise(start("done", 2, step_function=not_called), finished)


@pytest.mark.parametrize("name", ["loss", "gradient_norm", "update_norm"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_step_that_is_not_finite_stops_the_run_and_is_not_saved(start, tmp_path, name, value):
    def step(state, frozen, batch):
        """Does nothing but count."""
        good = {"loss": 1.0, "gradient_norm": 1.0, "update_norm": 1.0, NOT_FINITE: {}}
        return state.replace(step=state.step + 1), good | {name: jnp.where(state.step == 3, value, 1.0)}

    with pytest.raises(TrainingError, match=f"the {name} of step 4 is {value}.*records: train: record 4"):
        start("broken", 10, step_function=step, checkpoint_every=2)
    assert steps_on_disk(tmp_path / "broken") == [2]
    assert [row["step"] for row in figures(tmp_path / "broken")] == [1, 2, 3]


def test_a_save_that_is_under_way_is_complete_when_a_bad_step_stops_the_run(start, tmp_path, monkeypatch):
    def step(state, frozen, batch):
        good = {"loss": 1.0, "gradient_norm": 1.0, "update_norm": 1.0, NOT_FINITE: {}}
        return state.replace(step=state.step + 1), good | {"loss": jnp.where(state.step == 2, np.nan, 1.0)}

    def write_slowly(*arguments, **settings):
        time.sleep(1)
        write_checksums(*arguments, **settings)

    on_disk = []
    monkeypatch.setattr("jaxclip.training.checkpointing.write_checksums", write_slowly)
    close = Checkpoints.close  # called by this test's `start`, and not where a run ends with an error
    monkeypatch.setattr(
        Checkpoints, "close", lambda self: on_disk.append(steps_on_disk(tmp_path / "run")) or close(self)
    )
    with pytest.raises(TrainingError, match="the loss of step 3 is nan"):
        start("run", 10, step_function=step, checkpoint_every=2)
    assert on_disk == [[2]]


def test_a_bad_step_is_named_also_where_the_save_before_it_fails(start, monkeypatch, capsys):
    def step(state, frozen, batch):
        good = {"loss": 1.0, "gradient_norm": 1.0, "update_norm": 1.0, NOT_FINITE: {}}
        return state.replace(step=state.step + 1), good | {"loss": jnp.where(state.step == 2, np.nan, 1.0)}

    def fail(checkpoints):
        raise CheckpointError("the checkpoint of step 2 could not be written")

    save = Checkpoints.save  # waits itself, for an earlier one
    monkeypatch.setattr(
        Checkpoints, "save", lambda *given: save(*given) or monkeypatch.setattr(Checkpoints, "wait", fail)
    )
    with pytest.raises(TrainingError, match="the loss of step 3 is nan"):
        start("run", 10, step_function=step, checkpoint_every=2)
    assert "Note: the checkpoint of step 2 could not be written" in capsys.readouterr().out


def test_sigterm_saves_and_stops_and_the_run_goes_on_bitwise(start, preemption, tmp_path):
    sigterm = at_call(3, lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Preempted):
        start("stopped", 10, validate=sigterm, validate_every=1, watch=Watch(preemption, FailureSettings()))
    assert steps_on_disk(tmp_path / "stopped") == [3]
    assert_bitwise(start("stopped", 10), start("whole", 10))


def test_sigterm_in_the_middle_of_a_validation(start, preemption, tmp_path):
    """The validation is given up, the step is saved."""

    def sigterm():
        signal.raise_signal(signal.SIGTERM)
        preemption.check()

    with pytest.raises(Preempted):
        start("stopped", 10, validate=at_call(1, sigterm), validate_every=2, watch=Watch(preemption, FailureSettings()))
    assert steps_on_disk(tmp_path / "stopped") == [2]
    assert not [row for row in figures(tmp_path / "stopped") if "validation/r1" in row]


@pytest.mark.parametrize("steps", [2, 6])
def test_a_validation_that_was_given_up_is_made_when_the_run_goes_on(start, preemption, tmp_path, steps):
    """Also that of the last step, after which there is nothing else to do."""

    def sigterm():
        signal.raise_signal(signal.SIGTERM)
        preemption.check()

    scored = {"validate": lambda params: {"r1": float(params["logit_scale"])}, "validate_every": 2}
    start("whole", steps, **scored)
    with pytest.raises(Preempted):
        watch = Watch(preemption, FailureSettings())
        start("stopped", steps, validate=at_call(1, sigterm), validate_every=2, watch=watch)
    start("stopped", steps, **scored)
    expected = figures(tmp_path / "whole")
    assert sum("validation/r1" in row for row in expected) == steps // 2
    assert figures(tmp_path / "stopped") == expected
    start("stopped", steps, **scored)  # it is not made once more
    assert figures(tmp_path / "stopped") == expected


def test_the_best_validated_checkpoint_is_kept_beside_the_last_two(start, tmp_path):
    scores = iter([0.2, 0.9, 0.4, 0.3])
    start("run", 8, validate=lambda params: {"r1": next(scores)}, validate_every=2, checkpoint_every=2)
    assert steps_on_disk(tmp_path / "run") == [4, 6, 8]
    logged = {row["step"]: row["validation/r1"] for row in figures(tmp_path / "run") if "validation/r1" in row}
    assert logged == {2: 0.2, 4: 0.9, 6: 0.4, 8: 0.3}


def test_validation_and_checkpoints_come_when_asked_and_at_the_end(run, start, tmp_path):
    seen = []

    def validate(params):
        assert params.keys() == run.state.params.keys()
        seen.append(None)
        return {"r1": 0.5}

    start("run", 5, validate=validate, validate_every=2, log_every=3)
    assert len(seen) == 3  # steps 2, 4 and 5
    assert steps_on_disk(tmp_path / "run") == [5]
    assert [row["step"] for row in figures(tmp_path / "run") if "loss" in row] == [1, 3, 5]


def poisoned(stream, numbers):
    """The same batches, in those of these numbers (from 1) the third record with features that are not finite."""

    def start(number):
        iterator = iter(stream)
        iterator.set_state({"batches": number})
        for step, batch in enumerate(iterator, number + 1):
            if step in numbers:
                batch["features"]["image"] = batch["features"]["image"].copy()
                batch["features"]["image"][2] = np.nan
            yield batch

    return BatchStream(start)


def test_bad_steps_are_skipped_counted_and_named_over_a_restart(run, start, tmp_path, tiny_config, tiny_tokenizer):
    stream = poisoned(tiny_runs.make_stream(tiny_config, tiny_tokenizer, batch_size=BATCH), {3, 7, 9})

    def go(name, steps, limit=3):
        ids = {"train": [f"photograph {number}" for number in range(BATCH)]}
        bad_steps = BadSteps(limit, None, lambda step: ids, tmp_path / name / "bad_steps.jsonl")
        step = skip_bad_steps(run.step, None)
        return start(name, steps, step_function=step, streams={"train": stream}, bad_steps=bad_steps)

    whole = go("whole", 10)
    assert whole.step == 7  # updates that were made
    go("parts", 5)
    assert_bitwise(go("parts", 10), whole)
    assert figures(tmp_path / "parts") == figures(tmp_path / "whole")
    rows = {row["step"]: row for row in figures(tmp_path / "parts")}
    assert [row.get("skipped_steps") for row in rows.values() if "loss" not in row] == [1, 2, 3]
    bad = read_metrics(tmp_path / "parts" / "bad_steps.jsonl")
    assert [row["step"] for row in bad] == [3, 7, 9] and len(bad[0]["records"]["train"]) == BATCH
    assert bad[0]["not_finite"] == {"train": ["photograph 2"]}
    go("limited", 5, limit=2)
    with pytest.raises(
        TrainingError, match=r"of step 9 is nan \(2 steps were skipped\).*Not finite are: train: photograph 2"
    ):
        go("limited", 10, limit=2)


def test_clocks_that_jump_change_nothing(start, tmp_path, monkeypatch):
    """The calendar goes back a day, then forth a year, within runs and between them."""
    whole = start("whole", 6)
    calendar, offset = time.time, [0.0]
    monkeypatch.setattr(time, "time", lambda: calendar() + offset[0])
    for steps, jump in ((2, -86_400.0), (4, 3.2e7), (6, -7e8)):
        moved = at_call(1, lambda jump=jump: offset.__setitem__(0, jump))
        jumped = start("jumping", steps, checkpoint_every=1, validate_every=1, validate=moved)
    assert_bitwise(jumped, whole)
    rows = [row for row in read_metrics(tmp_path / "jumping" / "metrics.jsonl") if "loss" in row]
    losses = [row["loss"] for row in figures(tmp_path / "whole")]
    assert [row["loss"] for row in rows] == losses
    assert all(0 <= row["performance/goodput"] <= 1 for row in rows)


def test_speed_is_logged_beside_the_figures(start, tmp_path):
    start("run", 4, log_every=2)
    for row in read_metrics(tmp_path / "run" / "metrics.jsonl"):
        assert row["performance/flops_per_second"] > 0
        assert row["performance/step_seconds_p50"] <= row["performance/step_seconds_p99"]
        assert row["performance/compilations"] >= 0 and row["performance/memory_peak_bytes"] > 0
        assert 0 < row["samples_per_second"] == pytest.approx(BATCH * row["performance/steps_per_second"])
