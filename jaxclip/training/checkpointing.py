"""Checkpoints of a run: Orbax, asynchronous, with checksums; the last two and the best are kept.

    WORKDIR/checkpoints/base/          the whole model that the run started from, a model directory, written once
    WORKDIR/checkpoints/STEP/          what changes: params/ (the trained ones), optimizer/ (its state and the step),
                                       iterators/ (where the data streams are), checksums.json (of all these files)
    WORKDIR/checkpoints/damaged-STEP/  one whose files do not match their checksums, put aside

Frozen weights are written once a run, not once a save. A checkpoint gets its name when all of it, its checksums
included, is on disk.
"""

import contextlib
import itertools
import math
import threading
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from jax.experimental import multihost_utils
from orbax.checkpoint.checkpoint_managers import preservation_policy as preservation

from jaxclip.checksums import find_damage, write_checksums
from jaxclip.console import say
from jaxclip.training.step import TrainState
from jaxclip.training.trainable import FlatParams

# What Orbax writes when it gives a checkpoint its name: the time and a mark. They hold no values.
_WRITTEN_LATER = ("_CHECKPOINT_METADATA", "commit_success.txt")


class CheckpointError(ValueError):
    """A checkpoint that is damaged, that cannot be written, or that does not fit the run."""


class Resumable(Protocol):
    """What a run carries on beside its arrays: a data stream's iterator, a count."""

    def get_state(self) -> dict:
        """A JSON object."""

    def set_state(self, state: dict) -> None:
        """Takes one of `get_state`. Raises ValueError for another one."""


_starting = threading.RLock()  # held while a save starts
_LONGEST_START = 60  # seconds; a start takes a small part of one


class _LateDirectory(ocp.path.atomicity.AtomicRenameTemporaryPath):
    """The directory of an unfinished checkpoint, made once `Checkpoints.save` has handed over all arrays.

    All of Orbax's threads wait for it. If they began earlier, they would compete with the training loop, which waits in
    `save`, for Python's interpreter lock, and the loop would wait three times as long.
    """

    async def create(self) -> epath.Path:
        """Called by Orbax in a thread of its own, in the first process."""
        if _starting.acquire(timeout=_LONGEST_START):
            _starting.release()
        return await super().create()


class Checkpoints:
    """The checkpoints of one work directory. Damaged ones are put aside, and said so, when it is opened.

    Args:
      directory: WORKDIR/checkpoints.
      best: the name of the validation metric, larger is better, by which the best checkpoint is kept.

    Raises:
      CheckpointError: there are checkpoints, and all are damaged.
    """

    def __init__(self, directory: Path, best: str):
        def score(metrics):
            return metrics.get(best, -math.inf)  # saved by a run that chose by another metric

        keep = [
            preservation.LatestN(2),  # the second one is for the case that the last is damaged
            preservation.BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False),
        ]
        self._best, self._directory, self._saving, self._missing = best, directory.absolute(), None, False
        if jax.process_index() == 0:
            put_damaged_aside(self._directory)
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices(f"{directory}: checked")
        self._manager = ocp.CheckpointManager(
            epath.Path(self._directory),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation.AnyPreservationPolicy(keep),
                best_fn=score,  # without it Orbax writes no metrics, and a resumed run forgets the best
                enable_async_checkpointing=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._write_checksums),
                cleanup_tmp_directories=True,
                temporary_path_class=_LateDirectory,
            ),
            item_names=("params", "optimizer", "iterators"),
        )

    def _write_checksums(self) -> None:
        """Called by Orbax in the first process, when all files are written and before they get their name."""
        for partial in self._directory.glob(f"{self._saving}.orbax-checkpoint-tmp*"):
            write_checksums(partial, but=_WRITTEN_LATER)

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, None where there is none."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        state: TrainState,
        iterators: Mapping[str, Resumable],
        metrics: Mapping[str, float] | None,
    ) -> None:
        """Starts saving in the background; the arrays are copied before this returns.

        `metrics` are the validation scores of this very step, None if it was not validated.

        Raises:
          CheckpointError: this save or the one before it failed.
        """
        if step in self._manager.all_steps():
            return
        self.wait()
        if metrics and self._best not in metrics and not self._missing:
            self._missing = True
            say(
                f"Note: config.checkpoint.best: the validation has no {self._best!r}, so that no checkpoint is kept as "
                f"the best; it has {', '.join(sorted(metrics))}"
            )
        self._saving = step
        with self._written(), _starting:
            self._manager.save(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardSave(state.params),
                    optimizer=ocp.args.StandardSave({"step": state.step, "state": state.optimizer}),
                    iterators=ocp.args.JsonSave({name: iterator.get_state() for name, iterator in iterators.items()}),
                ),
                metrics=dict(metrics) if metrics and self._best in metrics else None,
            )

    @contextlib.contextmanager
    def _written(self) -> Iterator[None]:
        """Turns what Orbax and TensorStore raise where they cannot write into one line."""
        try:
            if not self._directory.is_dir():
                raise FileNotFoundError("the directory has vanished")
            yield
        except Exception as error:  # TensorStore reports a full disk as a ValueError, Orbax some as a RuntimeError
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(
                f"{self._directory}: the checkpoint of step {self._saving} could not be written: {reason} "
                "(earlier checkpoints are untouched)"
            ) from error

    def restore(self, step: int, like: TrainState, iterators: Mapping[str, Resumable]) -> TrainState:
        """The state saved at `step`, laid out like `like`; sets the iterators to where they were.

        Raises:
          CheckpointError: the checkpoint holds other parameters or streams than this run.
        """
        abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
        try:
            restored = self._manager.restore(
                step,
                args=ocp.args.Composite(
                    params=ocp.args.StandardRestore(abstract.params),
                    optimizer=ocp.args.StandardRestore({"step": abstract.step, "state": abstract.optimizer}),
                    iterators=ocp.args.JsonRestore(),
                ),
            )
        except (ValueError, KeyError) as error:
            raise CheckpointError(
                f"{self._manager.directory / str(step)}: does not fit this run (was config.trainable, the model or the "
                f"optimiser changed? use another --workdir): {error}"
            ) from None
        if set(restored.iterators) != set(iterators):
            raise CheckpointError(
                f"{self._manager.directory / str(step)}: found the streams {sorted(restored.iterators)}, "
                f"expected {sorted(iterators)}"
            )
        for name, iterator in iterators.items():
            try:
                iterator.set_state(restored.iterators[name])
            except ValueError as error:
                raise CheckpointError(f"{self._manager.directory / str(step)}: stream {name!r}: {error}") from None
        return TrainState(restored.optimizer["step"], restored.params, restored.optimizer["state"])

    def wait(self) -> None:
        """Returns when the last save is complete on disk.

        Raises:
          CheckpointError: it failed.
        """
        if self._saving is not None:
            with self._written():
                self._manager.wait_until_finished()
            self._saving = None

    def close(self) -> None:
        """Waits for the last save and frees the manager's threads."""
        self._manager.close()


def _steps(directory: Path) -> list[int]:
    """The steps of the checkpoints in a directory, newest first."""
    return sorted((int(entry.name) for entry in directory.iterdir() if entry.name.isdigit()), reverse=True)


def put_damaged_aside(directory: Path) -> None:
    """Renames the checkpoints whose files do not match their checksums, with a warning for each.

    Raises:
      CheckpointError: there are checkpoints, and all are damaged.
    """
    steps = _steps(directory) if directory.is_dir() else []
    damage = {step: find_damage(directory / str(step)) for step in steps}
    damage = {step: found for step, found in damage.items() if found}
    if steps and len(damage) == len(steps):
        raise CheckpointError(
            f"{directory}: no checkpoint is whole: {'; '.join(damage.values())}. Give another --workdir, or remove "
            "these checkpoints to begin anew"
        )
    for step, found in damage.items():
        names = itertools.chain([f"damaged-{step}"], (f"damaged-{step}-{number}" for number in itertools.count(2)))
        aside = next(path for path in map(directory.joinpath, names) if not path.exists())
        (directory / str(step)).rename(aside)
        warnings.warn(f"the checkpoint of step {step} is damaged: {found}; put aside as {aside.name}", stacklevel=2)


def load_trained(checkpoints: Path) -> FlatParams:
    """Trained parameters of the newest whole checkpoint in WORKDIR/checkpoints, path → array; {} before the first.

    A damaged checkpoint is passed over with a warning.

    Raises:
      CheckpointError: there are checkpoints, and all are damaged.
    """
    damage = None
    for step in _steps(checkpoints):
        damage = find_damage(checkpoints / str(step), "params/")
        if damage is None:
            return _read_params(epath.Path(checkpoints.absolute() / str(step) / "params"))
        warnings.warn(f"the checkpoint of step {step} is damaged, an earlier one is read: {damage}", stacklevel=2)
    if damage is not None:
        raise CheckpointError(f"{checkpoints}: no checkpoint is whole: {damage}")
    return {}


def _read_params(directory: epath.Path) -> FlatParams:
    handler = ocp.PyTreeCheckpointHandler()
    try:
        # As NumPy: a checkpoint of other devices than ours has shardings that we cannot make.
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(directory).tree)
        return handler.restore(directory, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{directory}: cannot be read as an Orbax checkpoint: {error}") from None
