"""A checkpoint that is not what was written is never trained from: the one before it is, and the run says so."""

import shutil

import jax
import numpy as np
import pytest
import tiny_runs

from jaxclip.training.checkpointing import CheckpointError, Checkpoints, load_trained, put_damaged_aside

# Orbax leaves errors of its threads behind where a restore is refused.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


MARKS = ("_CHECKPOINT_METADATA", "commit_success.txt")  # of Orbax, without values and without checksums


@pytest.fixture(scope="module")
def run(tiny_config, tiny_params):
    return tiny_runs.make_run(tiny_config, tiny_params, ("text/ln_final", "logit_scale"))


def state_of(run, step):
    generator = np.random.default_rng(step)
    random = jax.tree.map(lambda leaf: np.asarray(generator.standard_normal(leaf.shape), leaf.dtype), run.state)
    return jax.tree.map(jax.numpy.asarray, random.replace(step=np.int32(step)))


@pytest.fixture(scope="module")
def saved(run, tmp_path_factory):
    """WORKDIR/checkpoints with the steps 3 and 6."""
    directory = tmp_path_factory.mktemp("run") / "checkpoints"
    checkpoints = Checkpoints(directory, "r1")
    for step in (3, 6):
        checkpoints.save(step, state_of(run, step), {}, {"r1": 0.5})
    checkpoints.close()
    return directory


@pytest.fixture
def directory(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "checkpoints")


def files(directory):
    return sorted(
        path.relative_to(directory) for path in directory.rglob("*") if path.is_file() and path.stat().st_size
    )


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x10
    path.write_bytes(content)


def cut(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def assert_restores(run, directory, expected):
    """The newest checkpoint is that of the step `expected`, with its values."""
    checkpoints = Checkpoints(directory, "r1")
    try:
        assert checkpoints.latest_step() == expected
        restored = checkpoints.restore(expected, run.state, {})
    finally:
        checkpoints.close()
    jax.tree.map(np.testing.assert_array_equal, restored, state_of(run, expected))


@pytest.mark.parametrize("harm", [flip, cut, lambda path: path.unlink()], ids=["flipped", "cut", "removed"])
def test_damage_of_any_file_is_seen(saved, tmp_path, harm):
    names = [name for name in files(saved / "6") if name.name not in MARKS]
    assert len(names) > 10
    for number, name in enumerate(names):
        directory = shutil.copytree(saved, tmp_path / str(number))
        harm(directory / "6" / name)
        with pytest.warns(UserWarning, match="step 6 is damaged"):
            put_damaged_aside(directory)
        assert [path.name for path in sorted(directory.iterdir())] == ["3", "damaged-6"], name


def test_the_checkpoint_before_a_damaged_one_is_restored(run, directory):
    flip(directory / "6" / "optimizer" / "manifest.ocdbt")
    with pytest.warns(UserWarning, match="manifest.ocdbt does not hold what was written"):
        assert_restores(run, directory, 3)
    assert_restores(run, directory, 3)  # and the next start finds nothing to complain about


@pytest.mark.parametrize("name", ["_CHECKPOINT_METADATA", "commit_success.txt"])
@pytest.mark.parametrize("harm", [flip, cut, lambda path: path.unlink()], ids=["flipped", "cut", "removed"])
def test_the_marks_of_orbax_hold_no_values(run, directory, harm, name):
    """Without them the same values are restored."""
    marks = [path for path in (directory / "6").rglob(name) if path.is_file()]
    assert marks
    for mark in marks:
        harm(mark)
    assert_restores(run, directory, 6)


def test_trained_parameters_are_read_from_the_last_whole_checkpoint(run, directory):
    flip(max((directory / "6" / "params").rglob("*"), key=lambda path: path.stat().st_size * path.is_file()))
    with pytest.warns(UserWarning, match="an earlier one is read"):
        found = load_trained(directory)
    jax.tree.map(np.testing.assert_array_equal, found, dict(state_of(run, 3).params))


def test_no_whole_checkpoint_is_an_error(directory):
    for step in ("3", "6"):
        cut(directory / step / "checksums.json")
    with pytest.raises(CheckpointError, match="no checkpoint is whole"):
        Checkpoints(directory, "r1")
    with pytest.raises(CheckpointError, match="no checkpoint is whole"), pytest.warns(UserWarning, match="damaged"):
        load_trained(directory)
    assert (directory / "6").is_dir()


def test_a_step_that_was_damaged_is_saved_again(run, directory):
    flip(directory / "6" / "checksums.json")
    with pytest.warns(UserWarning, match="step 6 is damaged"):
        checkpoints = Checkpoints(directory, "r1")
    checkpoints.save(6, state_of(run, 6), {}, None)
    checkpoints.close()
    assert_restores(run, directory, 6)
    flip(directory / "6" / "checksums.json")
    with pytest.warns(UserWarning, match="damaged-6-2"):
        assert_restores(run, directory, 3)
