"""Writing the parameters of a model directory with Orbax, a few at a time.

While one group of parameters is written, threads read the next one from its file, so that a conversion keeps disk and
processor busy and holds two groups in memory, however large the model is.
"""

import os
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import jax
import numpy as np
from etils import epath
from orbax.checkpoint import v1 as ocp

from jaxclip.weights import LazyTensor

_WRITTEN_AT_ONCE = 128 * 2**20  # bytes: keeps the memory of a conversion far below the size of the model
_READERS = min(4, os.cpu_count() or 1)  # reading is copying and transposing, which take a core each
_SAMPLE = 64 * 2**10  # bytes that tell whether compression is worth its time
_WORTH_COMPRESSING = 0.75  # weights in the type that they were trained in come to 0.8–0.95, widened float16 to 0.6

Params = Mapping[str, jax.Array | np.ndarray | LazyTensor]


def save_params(params: Params, directory: Path, dtype: str | None, on_written: Callable[[int], None]) -> None:
    """Writes parameters as a directory that `orbax.checkpoint.v1.load` reads.

    Of several processes all must call this.

    Args:
      params: path → array, or tensor still in its file.
      directory: where to; it must not exist.
      dtype: the type to store them in; None keeps the type of each.
      on_written: called with the number of bytes each time some are written.
    """
    directory = epath.Path(directory)
    with ThreadPoolExecutor(_READERS) as readers:
        for arrays in _read_ahead(params, dtype, readers):
            with _saving(compressed=_is_worth_compressing(arrays)):
                ocp.partial.save(directory, arrays)
            written = sum(params[path].nbytes for path in arrays)
            del arrays  # the group after the next is read now
            on_written(written)
    ocp.partial.finalize(directory)


def _read_ahead(params: Params, dtype: str | None, readers: ThreadPoolExecutor) -> Iterator[dict[str, np.ndarray]]:
    """The arrays group by group; when one is given, reading the next has begun."""

    def start(paths: Sequence[str]) -> dict[str, Future[np.ndarray]]:
        return {path: readers.submit(np.asarray, params[path], dtype) for path in paths}

    reading = None
    for paths in _groups(params):
        ahead = start(paths)
        if reading is not None:
            yield {path: array.result() for path, array in reading.items()}
        reading = ahead
    yield {path: array.result() for path, array in (reading or {}).items()}


def _groups(params: Params) -> Iterator[list[str]]:
    """The paths in runs of about `_WRITTEN_AT_ONCE` bytes."""
    group, size = [], 0
    for path, leaf in params.items():
        group.append(path)
        size += leaf.nbytes
        if size >= _WRITTEN_AT_ONCE:
            yield group
            group, size = [], 0
    if group:
        yield group


def _is_worth_compressing(arrays: Mapping[str, np.ndarray]) -> bool:
    """Whether a sample of the largest array shrinks by enough.

    Trained weights are noise but for their exponents: compressing those of ViT-L/14 takes longer than all else of a
    conversion, for 9 % of the bytes. The mantissas of widened ones end in zeros.
    """
    largest = max(arrays.values(), key=lambda array: array.nbytes)
    sample = largest.ravel()[: max(1, _SAMPLE // largest.itemsize)].tobytes()
    return len(zlib.compress(sample, 1)) < _WORTH_COMPRESSING * len(sample)


def _saving(*, compressed: bool) -> ocp.Context:
    context = ocp.Context()
    context.array.saving.use_compression = compressed
    context.memory.deepcopy_host_arrays = False  # the copy is for callers that go on while Orbax writes; we wait
    return context
