"""The training loop: batches in, steps, figures, validation, checkpoints."""

import contextlib
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
from jax.sharding import Mesh
from tqdm import tqdm

from jaxclip.console import say
from jaxclip.data.pipeline import BatchStream
from jaxclip.training.agreement import agree
from jaxclip.training.checkpointing import Checkpoints
from jaxclip.training.goodput import PRODUCTIVE, Goodput
from jaxclip.training.guard import BadSteps
from jaxclip.training.metrics_log import MetricsLog
from jaxclip.training.preemption import Preempted
from jaxclip.training.profiling import Profile
from jaxclip.training.program import jit_step
from jaxclip.training.sharding import shard_batch, state_sharding
from jaxclip.training.speed import Compilations, FlopsOfShapes, Speed
from jaxclip.training.step import TrainState
from jaxclip.training.trainable import FlatParams
from jaxclip.training.watch import SAVING, Watch

SKIPPED = "skipped steps"  # beside the streams in a checkpoint; no stream can have a name with a space


class StepReporter:
    """Shows and logs the figures of steps, each one step late, so that the device always has its next step queued."""

    def __init__(self, bar: tqdm, log: MetricsLog | None, speed: Speed, bad_steps: BadSteps, log_every: int):
        self._bar, self._log, self._speed, self._bad_steps = bar, log, speed, bad_steps
        self._log_every = log_every
        self._pending: tuple[int, dict, int] | None = None

    def add(self, number: int, metrics: dict[str, jax.Array], flops: int) -> None:
        """Takes the figures of a step that was just queued; shows those of the step before it."""
        self.flush()
        self._pending = (number, metrics, flops)

    def flush(self) -> None:
        """Waits for the step taken last and shows it.

        Raises:
          TrainingError: it is a bad one, and may not be skipped.
        """
        if self._pending is None:
            return
        number, metrics, flops = self._pending
        self._pending = None
        figures = {name: float(value) for name, value in jax.device_get(metrics).items()}
        skipped = self._bad_steps.check(number, figures)
        self._speed.step_done(flops, productive=not skipped)
        self._bar.update()
        if not skipped:
            self._bar.set_postfix_str(f"loss {figures['loss']:.4f}, {self._speed.rate():.0f} samples/s", refresh=False)
        if self._log is not None and (skipped or number % self._log_every == 0 or number in (1, self._bar.total)):
            # A figure that is not finite is not JSON; bad_steps.jsonl has it.
            shown = {"skipped_steps": self._bad_steps.skipped} if skipped else figures
            self._log.write(number, shown | self._speed.take_figures())

    def validated(self, number: int, scores: Mapping[str, float]) -> None:
        """Logs validation scores; the time they took does not count as training time."""
        if self._log is not None:
            self._log.write(number, {f"validation/{name}": value for name, value in scores.items()})
        self._speed.restart_clock()


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
    watch: Watch,
    bad_steps: BadSteps,
    profile: Profile,
    count_flops: Callable[[TrainState, FlatParams, dict], int],
    parameters_over_data: bool = False,
) -> TrainState:
    """Trains from the newest checkpoint, or from `state`, to step `steps`.

    `validate` gets the trained parameters and returns scores by name; those of a saved step decide which checkpoint is
    the best. It may raise `Preempted`, in all processes at once. `count_flops` counts those of a step.
    `parameters_over_data` is `over_data` of `state_sharding`.

    Raises:
      Preempted: SIGTERM came; the state is saved.
      TrainingError: the loss is not a number.
      CheckpointError: a checkpoint cannot be written, or does not fit.
    """
    is_main = jax.process_index() == 0
    layout = state_sharding(mesh, state, over_data=parameters_over_data)
    state = jax.device_put(state, layout)
    step = jit_step(step_function, mesh, layout)
    iterators = {name: iter(stream) for name, stream in streams.items()}
    resumable = {**iterators, SKIPPED: bad_steps}
    start = checkpoints.latest_step() or 0
    if start:
        state = checkpoints.restore(start, state, resumable)

    with contextlib.ExitStack() as stack:
        compilations = stack.enter_context(Compilations())
        log = stack.enter_context(MetricsLog(workdir, start)) if is_main else None
        goodput = Goodput(workdir / "goodput.json", log.last(PRODUCTIVE, 0.0)) if log else None
        speed = Speed(samples_per_step, compilations, goodput)
        flops_of = FlopsOfShapes(lambda batch: count_flops(state, frozen, batch) if is_main else 0)
        bar = tqdm(total=steps, initial=start, unit="step", desc="training", disable=not is_main, dynamic_ncols=True)
        reporter = StepReporter(stack.enter_context(bar), log, speed, bad_steps, log_every)
        stack.callback(profile.stop)
        for number in range(start + 1, steps + 1):
            watch.beat("waiting for data", number)
            with speed.waiting_for_data():
                batch = {name: next(iterator) for name, iterator in iterators.items()}
            watch.beat("in the step")
            batch, stop = agree(batch, watch.preemption, state)
            batch = shard_batch(mesh, batch)
            flops = flops_of(batch)
            with profile.step(number), jax.transfer_guard("disallow"):  # a copy to or from the host would not be queued
                state, metrics = step(state, frozen, batch)
            reporter.add(number, metrics, flops)

            last = number == steps
            scores = None
            if validate is not None and (number % validate_every == 0 or last):
                reporter.flush()
                watch.beat("validating")
                try:
                    scores = validate(state.params)
                    reporter.validated(number, scores)
                except Preempted:
                    stop = True
            if jax.process_count() == 1:
                stop = watch.preemption.requested  # nobody has to be asked
            if number % checkpoint_every == 0 or last or stop:
                reporter.flush()  # a bad step is never saved
                watch.beat(SAVING)
                checkpoints.save(number, state, resumable, scores)
                if log is not None:
                    log.flush()
                    goodput.save()
                speed.restart_clock()
            if stop:
                checkpoints.wait()
                raise Preempted
        checkpoints.wait()
        if summary := speed.summary():
            say(summary)
    return state
