"""Checkpoints: bitwise, only what is trained, the last two and the best kept, another run's refused."""

import asyncio
import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import pytest
import tiny_runs

from jaxclip.training import checkpointing
from jaxclip.training.checkpointing import CheckpointError, Checkpoints, load_trained

# Orbax leaves errors of its threads behind where a restore is refused.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

PATTERNS = ("text/ln_final", "text/text_projection", "logit_scale")


@pytest.fixture(scope="module")
def run(tiny_config, tiny_params):
    return tiny_runs.make_run(tiny_config, tiny_params, PATTERNS)


@pytest.fixture
def directory(tmp_path):
    """As a run has it: the base model beside the steps."""
    path = tmp_path / "checkpoints"
    (path / "base" / "params").mkdir(parents=True)
    return path


@pytest.fixture
def checkpoints(directory):
    checkpoints = Checkpoints(directory, "r1")
    yield checkpoints
    checkpoints.close()


@pytest.fixture
def stream(tiny_config, tiny_tokenizer):
    return tiny_runs.make_stream(tiny_config, tiny_tokenizer)


def moved(state, step):
    """A state of that step with random values in every leaf."""
    generator = np.random.default_rng(step)
    random = jax.tree.map(lambda leaf: np.asarray(generator.standard_normal(leaf.shape), leaf.dtype), state)
    return jax.tree.map(jax.numpy.asarray, random.replace(step=np.int32(step)))


def assert_bitwise(found, expected):
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for leaf, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert leaf.dtype == other.dtype
        np.testing.assert_array_equal(np.atleast_1d(leaf).view(np.uint8), np.atleast_1d(other).view(np.uint8))


def steps_on_disk(directory):
    return sorted(int(path.name) for path in directory.iterdir() if path.name.isdigit())


def test_state_and_streams_come_back_bitwise(run, checkpoints, directory, stream):
    iterator = iter(stream)
    for _ in range(7):
        next(iterator)
    state = moved(run.state, 7)
    checkpoints.save(7, state, {"train": iterator}, None)
    expected = list(itertools.islice(iterator, 3))
    checkpoints.wait()

    reopened, fresh = Checkpoints(directory, "r1"), iter(stream)
    assert reopened.latest_step() == 7
    assert_bitwise(reopened.restore(7, run.state, {"train": fresh}), state)
    reopened.close()
    for batch, other in zip(expected, itertools.islice(fresh, 3), strict=True):
        jax.tree.map(np.testing.assert_array_equal, batch, other)


def test_a_state_may_change_while_it_is_saved(run, checkpoints):
    """The step donates its state: what is saved must have been copied."""
    state = moved(run.state, 1)
    expected = jax.tree.map(np.array, state)
    checkpoints.save(1, state, {}, None)
    jax.tree.map(lambda leaf: leaf.delete(), state)
    checkpoints.wait()
    assert_bitwise(checkpoints.restore(1, run.state, {}), expected)


def test_a_step_may_donate_the_state_that_is_being_saved(run, checkpoints):
    """The next step begins before anything is on disk, and may write over the arrays that it is given."""
    step = jax.jit(lambda state: jax.tree.map(lambda leaf: leaf * 2 + 1, state), donate_argnums=0)
    state = moved(run.state, 1)
    expected = jax.tree.map(np.array, state)
    checkpoints.save(1, state, {}, None)
    for _ in range(3):
        state = step(state)
    jax.block_until_ready(state)
    checkpoints.wait()
    assert_bitwise(checkpoints.restore(1, run.state, {}), expected)


def test_nothing_is_written_while_the_loop_waits(run, checkpoints, directory, monkeypatch):
    """Orbax's threads begin when the save has started; else the loop would share the interpreter with them."""
    start, seen = checkpoints._manager.save, []

    def start_slowly(*arguments, **options):
        start(*arguments, **options)
        time.sleep(0.3)  # time enough for threads that do not wait
        seen.extend(directory.glob("1*"))

    monkeypatch.setattr(checkpoints._manager, "save", start_slowly)
    checkpoints.save(1, moved(run.state, 1), {}, None)
    assert not seen
    checkpoints.wait()
    assert steps_on_disk(directory) == [1]


def test_only_trained_parameters_are_saved(run, checkpoints, directory):
    checkpoints.save(2, moved(run.state, 2), {}, None)
    checkpoints.wait()
    stored = load_trained(directory)
    assert stored.keys() == run.state.params.keys() and not stored.keys() & run.frozen.keys()
    in_state = sum(leaf.nbytes for leaf in jax.tree.leaves(run.state))
    frozen = sum(leaf.nbytes for leaf in run.frozen.values())
    on_disk = sum(path.stat().st_size for path in (directory / "2").rglob("*") if path.is_file())
    assert on_disk < in_state + 60_000 < frozen / 2  # 60 kB of Orbax's own descriptions


def test_the_last_two_and_the_best_are_kept(run, checkpoints, directory):
    scores = {1: 0.3, 2: 0.9, 3: 0.5, 4: None, 5: 0.9 - 1e-6}
    for step, score in scores.items():
        checkpoints.save(step, moved(run.state, step), {}, None if score is None else {"r1": score, "other": 1 - score})
    checkpoints.wait()
    assert steps_on_disk(directory) == [2, 4, 5]
    assert checkpoints.latest_step() == 5
    checkpoints.save(6, moved(run.state, 6), {}, {"r1": 0.95})
    checkpoints.save(7, moved(run.state, 7), {}, None)
    checkpoints.wait()
    assert steps_on_disk(directory) == [6, 7]
    assert_bitwise(checkpoints.restore(6, run.state, {}), moved(run.state, 6))


def test_the_best_is_remembered_over_a_restart(run, directory):
    for step, score in ((1, 0.9), (2, 0.4), (3, 0.3), (4, 0.5)):
        checkpoints = Checkpoints(directory, "r1")
        checkpoints.save(step, moved(run.state, step), {}, {"r1": score})
        checkpoints.close()
    assert steps_on_disk(directory) == [1, 3, 4]


def test_a_run_may_go_on_with_another_metric_of_the_best(run, directory):
    for step, best in ((1, "r1"), (2, "other"), (3, "other"), (4, "other")):
        checkpoints = Checkpoints(directory, best)
        checkpoints.save(step, moved(run.state, step), {}, {best: 1 / step})
        checkpoints.close()
    assert steps_on_disk(directory) == [2, 3, 4]


def test_scores_without_the_metric_of_the_best_are_no_error(run, checkpoints, directory, capsys):
    checkpoints.save(1, moved(run.state, 1), {}, {"other": 0.5})
    checkpoints.save(2, moved(run.state, 2), {}, {})
    checkpoints.save(3, moved(run.state, 3), {}, {"other": 0.6})
    checkpoints.wait()
    assert steps_on_disk(directory) == [2, 3]
    told = (
        "Note: config.checkpoint.best: the validation has no 'r1', so that no checkpoint is kept as the best; it has "
    )
    assert capsys.readouterr().out == told + "other\n"


def test_a_step_is_saved_once(run, checkpoints):
    checkpoints.save(3, moved(run.state, 3), {}, None)
    checkpoints.save(3, moved(run.state, 4), {}, None)
    checkpoints.wait()
    assert_bitwise(checkpoints.restore(3, run.state, {}), moved(run.state, 3))


def test_a_save_that_was_cut_off_is_not_there(run, directory):
    checkpoints = Checkpoints(directory, "r1")
    checkpoints.save(1, moved(run.state, 1), {}, None)
    checkpoints.close()
    (directory / "2.orbax-checkpoint-tmp-17" / "params").mkdir(parents=True)
    assert load_trained(directory).keys() == run.state.params.keys()
    reopened = Checkpoints(directory, "r1")
    assert reopened.latest_step() == 1
    reopened.close()


OTHER_RUNS = {
    "more is trained": {"trainable": (*PATTERNS, "text/token_embedding")},
    "less is trained": {"trainable": PATTERNS[:2]},
    "another optimiser": {"name": "muon"},
}


@pytest.mark.parametrize("other", OTHER_RUNS.values(), ids=OTHER_RUNS)
def test_the_checkpoint_of_another_run_is_refused(tiny_config, tiny_params, run, checkpoints, other):
    checkpoints.save(1, moved(run.state, 1), {}, None)
    checkpoints.wait()
    like = tiny_runs.make_run(tiny_config, tiny_params, **{"trainable": PATTERNS, **other}).state
    with pytest.raises(CheckpointError, match="checkpoints/1: does not fit this run"):
        checkpoints.restore(1, like, {})


def test_a_leaf_of_another_shape_is_refused(run, checkpoints):
    checkpoints.save(1, moved(run.state, 1), {}, None)
    checkpoints.wait()
    params = run.state.params | {"text/text_projection": jax.numpy.zeros((32, 8))}
    with pytest.raises(CheckpointError, match="checkpoints/1: does not fit this run"):
        checkpoints.restore(1, run.state.replace(params=params), {})


def test_other_streams_are_refused(run, checkpoints, stream):
    checkpoints.save(1, moved(run.state, 1), {"train": iter(stream)}, None)
    checkpoints.wait()
    with pytest.raises(CheckpointError, match=r"streams \['train'\], expected \['absence', 'train'\]"):
        checkpoints.restore(1, run.state, {"train": iter(stream), "absence": iter(stream)})


def test_before_the_first_checkpoint_there_is_nothing(checkpoints, directory):
    assert checkpoints.latest_step() is None
    assert load_trained(directory) == {}


def test_a_start_that_does_not_end_keeps_no_directory_waiting(monkeypatch):
    """Were Orbax ever to wait for the directory before it lets a save go, the save would be late, not stuck."""

    async def create(self):
        return "made"

    monkeypatch.setattr("orbax.checkpoint.path.atomicity.AtomicRenameTemporaryPath.create", create)
    monkeypatch.setattr(checkpointing, "_LONGEST_START", 0.05)
    directory = object.__new__(checkpointing._LateDirectory)
    with checkpointing._starting, ThreadPoolExecutor(1) as thread:
        assert thread.submit(lambda: asyncio.run(directory.create())).result(timeout=60) == "made"
