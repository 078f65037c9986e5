"""How parameters are written: bit by bit as Orbax reads them, compressed where it pays, a few in memory at a time."""

import weakref

import ml_dtypes
import numpy as np
import pytest
from etils import epath
from orbax.checkpoint import v1 as ocp

from jaxclip.saved_params import save_params
from jaxclip.weights import LazyTensor, WeightsError

GROUP = 2**20


@pytest.fixture(autouse=True)
def small_groups(monkeypatch):
    monkeypatch.setattr("jaxclip.saved_params._WRITTEN_AT_ONCE", GROUP)


def weights(count, dtype=np.float32):
    """Like trained ones, half a group each."""
    generator = np.random.default_rng(0)
    size = GROUP // 2 // np.dtype(dtype).itemsize
    return {
        f"layer_{number}/kernel": (0.02 * generator.standard_normal((size // 256, 256), np.float32)).astype(dtype)
        for number in range(count)
    }


def read(directory):
    return {path: np.asarray(leaf) for path, leaf in ocp.load(epath.Path(directory)).items()}


def stored_share(directory, arrays):
    """Bytes on disk by bytes in memory."""
    files = sum(path.stat().st_size for path in directory.rglob("*") if path.is_file())
    return files / sum(array.nbytes for array in arrays.values())


def assert_identical(found, expected):
    assert found.keys() == expected.keys()
    for path, array in expected.items():
        assert found[path].dtype == array.dtype and found[path].shape == array.shape
        assert found[path].tobytes() == array.tobytes(), path


@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16])
def test_weights_are_stored_as_they_are(dtype, tmp_path):
    params = weights(5, dtype) | {"logit_scale": np.asarray(2.5, dtype)}
    save_params(params, tmp_path / "params", None, lambda _: None)
    assert_identical(read(tmp_path / "params"), params)
    assert 1 < stored_share(tmp_path / "params", params) < 1.05


@pytest.mark.parametrize("narrow", [np.float16, ml_dtypes.bfloat16])
def test_the_zeros_of_widened_weights_take_no_place(narrow, tmp_path):
    save_params(weights(5, narrow), tmp_path / "params", "float32", lambda _: None)
    wide = {path: array.astype(np.float32) for path, array in weights(5, narrow).items()}
    assert_identical(read(tmp_path / "params"), wide)
    assert stored_share(tmp_path / "params", wide) < 0.7


def test_compressed_groups_stand_beside_others(tmp_path):
    params = weights(4) | {f"zeros_{number}": np.zeros((512, 256), np.float32) for number in range(4)}
    save_params(params, tmp_path / "params", None, lambda _: None)
    assert_identical(read(tmp_path / "params"), params)
    assert stored_share(tmp_path / "params", params) < 0.6


def test_one_group_is_read_ahead_and_no_more(tmp_path):
    arrays, begun, found = weights(12), [], []

    def lazy(path):
        return LazyTensor(arrays[path].shape, arrays[path].dtype, lambda: (begun.append(path), arrays[path])[1])

    def on_written(count):
        found.append((count, len(begun)))

    save_params({path: lazy(path) for path in arrays}, tmp_path / "params", None, on_written)
    assert [count for count, _ in found] == [GROUP] * 6
    assert all(started <= 2 * (number + 2) for number, (_, started) in enumerate(found))
    assert sorted(begun) == sorted(arrays)  # each once
    assert_identical(read(tmp_path / "params"), arrays)


def test_a_written_group_is_gone_before_another_is_read(tmp_path):
    """Beside a tensor that is being read there are at most the other one of its group, and the group before."""
    arrays, made, alive = weights(12), [], []

    def lazy(path):
        def read_it():
            alive.append(sum(array() is not None for array in made))
            array = arrays[path].copy()
            made.append(weakref.ref(array))
            return array

        return LazyTensor(arrays[path].shape, arrays[path].dtype, read_it)

    save_params({path: lazy(path) for path in arrays}, tmp_path / "params", None, lambda _: None)
    assert len(alive) == 12 and max(alive) <= 3


def test_a_tensor_that_cannot_be_read_leaves_no_directory_of_that_name(tmp_path):
    def fail():
        raise WeightsError("a.pt: damaged")

    params = weights(6) | {"layer_9/kernel": LazyTensor((512, 256), np.dtype(np.float32), fail)}
    with pytest.raises(WeightsError, match=r"a\.pt: damaged"):
        save_params(params, tmp_path / "params", None, lambda _: None)
    assert not (tmp_path / "params").exists()
