"""Checkpoints of a run: Orbax, asynchronous, the last and the best kept.

    WORKDIR/checkpoints/base/        the whole model that the run started from, a model directory, written once
    WORKDIR/checkpoints/STEP/        what changes: params/ (the trained ones), optimizer/ (its state and the step),
                                     iterators/ (where the data streams are)

Frozen weights are written once a run, not once a save.
"""

from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint.checkpoint_managers import preservation_policy as preservation

from jaxclip.data.pipeline import BatchIterator
from jaxclip.training.step import TrainState
from jaxclip.training.trainable import FlatParams


class CheckpointError(ValueError):
    """A checkpoint that does not fit the run."""


class Checkpoints:
    """The checkpoints of one work directory.

    Args:
      directory: WORKDIR/checkpoints.
      best: the name of the validation metric, larger is better, by which the best checkpoint is kept.
    """

    def __init__(self, directory: Path, best: str):
        def score(metrics):
            return metrics[best]

        keep = [
            preservation.LatestN(1),
            preservation.BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False),
        ]
        self._best = best
        self._manager = ocp.CheckpointManager(
            epath.Path(directory.absolute()),
            options=ocp.CheckpointManagerOptions(
                preservation_policy=preservation.AnyPreservationPolicy(keep),
                best_fn=score,  # without it Orbax writes no metrics, and a resumed run forgets the best
                enable_async_checkpointing=True,
                cleanup_tmp_directories=True,
            ),
            item_names=("params", "optimizer", "iterators"),
        )

    def latest_step(self) -> int | None:
        """The step of the newest complete checkpoint, None where there is none."""
        return self._manager.latest_step()

    def save(
        self,
        step: int,
        state: TrainState,
        iterators: Mapping[str, BatchIterator],
        metrics: Mapping[str, float] | None,
    ) -> None:
        """Starts saving in the background; the arrays are copied before this returns.

        `metrics` are the validation scores of this very step, None if it was not validated.
        """
        if step in self._manager.all_steps():
            return
        self._manager.save(
            step,
            args=ocp.args.Composite(
                params=ocp.args.StandardSave(state.params),
                optimizer=ocp.args.StandardSave({"step": state.step, "state": state.optimizer}),
                iterators=ocp.args.JsonSave({name: iterator.get_state() for name, iterator in iterators.items()}),
            ),
            metrics=dict(metrics) if metrics and self._best in metrics else None,
        )

    def restore(self, step: int, like: TrainState, iterators: Mapping[str, BatchIterator]) -> TrainState:
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
        """Returns when the last save is complete on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        """Waits for the last save and frees the manager's threads."""
        self._manager.close()


def load_trained(checkpoints: Path) -> FlatParams:
    """Trained parameters of the newest checkpoint in WORKDIR/checkpoints, path → NumPy array; {} before the first.

    Raises:
      CheckpointError: the checkpoint is damaged.
    """
    steps = [int(entry.name) for entry in checkpoints.iterdir() if entry.name.isdigit()]
    if not steps:
        return {}
    directory = epath.Path(checkpoints.absolute() / str(max(steps)) / "params")
    handler = ocp.PyTreeCheckpointHandler()
    try:
        # As NumPy: a checkpoint of other devices than ours has shardings that we cannot make.
        as_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), handler.metadata(directory).tree)
        return handler.restore(directory, args=ocp.args.PyTreeRestore(restore_args=as_numpy))
    except (ValueError, KeyError, OSError) as error:
        raise CheckpointError(f"{directory}: cannot be read as an Orbax checkpoint: {error}") from None
