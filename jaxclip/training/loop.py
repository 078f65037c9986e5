"""The training loop: batches in, steps, figures, validation, checkpoints."""

import contextlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh
from tqdm import tqdm

from jaxclip.data.packing import pad_rows
from jaxclip.data.pipeline import BatchStream
from jaxclip.training.checkpointing import Checkpoints
from jaxclip.training.metrics_log import MetricsLog
from jaxclip.training.preemption import Preempted, Preemption
from jaxclip.training.program import jit_step
from jaxclip.training.sharding import shard_batch, state_sharding
from jaxclip.training.step import TrainState
from jaxclip.training.trainable import FlatParams


class TrainingError(RuntimeError):
    """A run that cannot go on, with the reason."""


def agree_on_rows(batch: dict) -> dict:
    """Gives every process's packed texts the same number of rows, as one global array needs it."""
    if jax.process_count() == 1:
        return batch
    rows = np.array([stream["texts"]["tokens"].shape[1] for stream in batch.values()])
    rows = np.asarray(multihost_utils.process_allgather(rows)).max(axis=0)
    return {
        name: {**stream, "texts": pad_rows(stream["texts"], int(count))}
        for (name, stream), count in zip(batch.items(), rows, strict=True)
    }


def preempted_together(preemption: Preemption) -> bool:
    """Whether SIGTERM has come to any process: all must stop at the same step."""
    if jax.process_count() == 1:
        return preemption.requested
    return bool(np.any(multihost_utils.process_allgather(np.array(preemption.requested))))


class StepReporter:
    """Shows and logs the figures of steps, each one step late, so that the device always has its next step queued."""

    def __init__(self, bar: tqdm, log: MetricsLog | None, samples_per_step: int, log_every: int):
        self._bar, self._log, self._samples, self._log_every = bar, log, samples_per_step, log_every
        self._pending: tuple[int, dict] | None = None
        self._since = time.perf_counter()

    def add(self, number: int, metrics: dict[str, jax.Array]) -> None:
        """Takes the figures of a step that was just queued; shows those of the step before it."""
        self.flush()
        self._pending = (number, metrics)

    def flush(self) -> None:
        """Waits for the step taken last and shows it.

        Raises:
          TrainingError: its loss, its gradient or its update is not finite.
        """
        if self._pending is None:
            return
        number, metrics = self._pending
        self._pending = None
        figures = {name: float(value) for name, value in jax.device_get(metrics).items()}
        for name in ("loss", "gradient_norm", "update_norm"):  # a finite loss can have a gradient that is not
            if not np.isfinite(figures[name]):
                raise TrainingError(f"the {name} of step {number} is {figures[name]}; the checkpoint before it is kept")
        now = time.perf_counter()
        rate, self._since = self._samples / max(now - self._since, 1e-9), now
        self._bar.set_postfix_str(f"loss {figures['loss']:.4f}, {rate:.0f} samples/s", refresh=False)
        self._bar.update()
        if self._log is not None and (number % self._log_every == 0 or number in (1, self._bar.total)):
            self._log.write(number, {**figures, "samples_per_second": rate})

    def validated(self, number: int, scores: Mapping[str, float]) -> None:
        """Logs validation scores; the time they took does not count as training time."""
        if self._log is not None:
            self._log.write(number, {f"validation/{name}": value for name, value in scores.items()})
        self._since = time.perf_counter()


def train(
    *,
    step_function: Callable,
    state: TrainState,
    frozen: FlatParams,
    streams: Mapping[str, BatchStream],
    steps: int,
    samples_per_step: int,
    mesh: Mesh,
    workdir: Path,
    checkpoints: Checkpoints,
    checkpoint_every: int,
    validate: Callable[[FlatParams], dict[str, float]] | None,
    validate_every: int,
    log_every: int,
    preemption: Preemption,
) -> TrainState:
    """Trains from the newest checkpoint, or from `state`, to step `steps`.

    `validate` gets the trained parameters and returns scores by name; those of a saved step decide which checkpoint is
    the best. It may raise `Preempted`.

    Raises:
      Preempted: SIGTERM came; the state is saved.
      TrainingError: the loss is not a number.
    """
    is_main = jax.process_index() == 0
    layout = state_sharding(mesh, state)
    state = jax.device_put(state, layout)
    step = jit_step(step_function, mesh, layout)
    iterators = {name: iter(stream) for name, stream in streams.items()}
    start = checkpoints.latest_step() or 0
    if start:
        state = checkpoints.restore(start, state, iterators)
    log = MetricsLog(workdir, start) if is_main else None

    bar = tqdm(total=steps, initial=start, unit="step", desc="training", disable=not is_main, dynamic_ncols=True)
    reporter = StepReporter(bar, log, samples_per_step, log_every)
    with contextlib.closing(log) if log else contextlib.nullcontext(), bar:
        for number in range(start + 1, steps + 1):
            batch = agree_on_rows({name: next(iterator) for name, iterator in iterators.items()})
            batch = shard_batch(mesh, batch)
            with jax.transfer_guard("disallow"):  # a step that copies to or from the host would not be queued
                state, metrics = step(state, frozen, batch)
            reporter.add(number, metrics)

            last = number == steps
            scores = None
            if validate is not None and (number % validate_every == 0 or last):
                reporter.flush()
                with contextlib.suppress(Preempted):
                    scores = validate(state.params)
                    reporter.validated(number, scores)
            stop = preempted_together(preemption)
            if number % checkpoint_every == 0 or last or stop:
                reporter.flush()  # a loss that is not a number is never saved
                checkpoints.save(number, state, iterators, scores)
            if stop:
                checkpoints.wait()
                raise Preempted
    checkpoints.wait()
    return state
