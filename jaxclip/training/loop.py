"""The training loop: batches in, steps, figures, validation, checkpoints."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import jax
from tqdm import tqdm

from jaxclip.console import say
from jaxclip.data.pipeline import BatchStream
from jaxclip.training.agreement import agree, any_process
from jaxclip.training.checkpointing import CheckpointError, Checkpoints
from jaxclip.training.goodput import PRODUCTIVE, Goodput
from jaxclip.training.guard import BadSteps, TrainingError
from jaxclip.training.metrics_log import MetricsLog
from jaxclip.training.preemption import Preempted
from jaxclip.training.profiling import Profile
from jaxclip.training.program import StepProgram, jit_step
from jaxclip.training.sharding import shard_batch, state_sharding
from jaxclip.training.speed import Compilations, FlopsOfShapes, Speed
from jaxclip.training.step import NOT_FINITE, TrainState
from jaxclip.training.trainable import FlatParams
from jaxclip.training.watch import SAVING, Watch

SKIPPED = "skipped steps"  # beside the streams in a checkpoint; no stream can have a name with a space
_VALIDATION = "validation/"


@dataclasses.dataclass(frozen=True)
class Cadence:
    """The number of the last step, and after how many steps each time something is done; all is done after the last."""

    steps: int
    checkpoint_every: int
    validate_every: int
    log_every: int

    def saves(self, number: int) -> bool:
        """Whether a checkpoint is due after step `number`."""
        return number % self.checkpoint_every == 0 or number == self.steps

    def validates(self, number: int) -> bool:
        """Whether a validation is due after step `number`."""
        return number % self.validate_every == 0 or number == self.steps

    def logs(self, number: int) -> bool:
        """Whether the figures of step `number` are logged; those of the first are as well."""
        return number % self.log_every == 0 or number in (1, self.steps)


class StepReporter:
    """Shows and logs the figures of steps, each one step late, so that the device always has its next step queued.

    `log` and `goodput` are None in all processes but the first.
    """

    def __init__(
        self,
        cadence: Cadence,
        bar: tqdm,
        log: MetricsLog | None,
        goodput: Goodput | None,
        speed: Speed,
        bad_steps: BadSteps,
    ):
        self._cadence, self._bar, self._log, self._goodput = cadence, bar, log, goodput
        self._speed, self._bad_steps = speed, bad_steps
        self._pending: tuple[int, dict, int] | None = None

    def add(self, number: int, metrics: dict, flops: int) -> None:
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
        not_finite = metrics.pop(NOT_FINITE)
        figures = {name: float(value) for name, value in jax.device_get(metrics).items()}
        skipped = self._bad_steps.check(number, figures, not_finite)
        self._speed.step_done(flops, productive=not skipped)
        self._bar.update()
        if not skipped:
            self._bar.set_postfix_str(f"loss {figures['loss']:.4f}, {self._speed.rate():.0f} samples/s", refresh=False)
        if self._log is not None and (skipped or self._cadence.logs(number)):
            # A figure that is not finite is not JSON; bad_steps.jsonl has it.
            shown = {"skipped_steps": self._bad_steps.skipped} if skipped else figures
            self._log.write(number, shown | self._speed.take_figures())

    def lacks_validation(self, number: int) -> bool:
        """Whether a validation is due after step `number`, where the run goes on, and was not made: SIGTERM cut it off.

        Its scores are logged late; the checkpoint, which was saved without them, cannot become the best one.
        """
        due = number > 0 and self._cadence.validates(number)
        return due and any_process(self._log is not None and not self._log.has(number, _VALIDATION))

    def validated(self, number: int, scores: Mapping[str, float]) -> None:
        """Logs validation scores; the time they took does not count as training time."""
        if self._log is not None:
            self._log.write(number, {f"{_VALIDATION}{name}": value for name, value in scores.items()})
        self._speed.restart_clock()

    def saved(self) -> None:
        """A checkpoint was saved: what was logged up to it is put on the disk. The time that it took does not count."""
        if self._log is not None:
            self._log.flush()
            self._goodput.save()
        self._speed.restart_clock()


@contextlib.contextmanager
def _reporting(
    cadence: Cadence, start: int, samples_per_step: int, workdir: Path, bad_steps: BadSteps
) -> Iterator[tuple[StepReporter, Speed]]:
    """The progress bar, the logs of the work directory and the clock of a run that goes on after step `start`.

    Says at the end how fast it was.
    """
    is_main = jax.process_index() == 0
    with contextlib.ExitStack() as stack:
        compilations = stack.enter_context(Compilations())
        log = stack.enter_context(MetricsLog(workdir, start)) if is_main else None
        goodput = Goodput(workdir / "goodput.json", log.last(PRODUCTIVE, 0.0)) if log else None
        speed = Speed(samples_per_step, compilations, goodput)
        bar = tqdm(
            total=cadence.steps, initial=start, unit="step", desc="training", disable=not is_main, dynamic_ncols=True
        )
        yield StepReporter(cadence, stack.enter_context(bar), log, goodput, speed, bad_steps), speed
        if summary := speed.summary():
            say(summary)


def _set_out(
    program: StepProgram, state: TrainState, checkpoints: Checkpoints, resumable: Mapping
) -> tuple[Callable, TrainState, int]:
    """(the step under `jax.jit`, the state on its devices, the number of the step that it is after).

    The state is that of the newest checkpoint, which `resumable` go on from as well, or else the given one.
    """
    layout = state_sharding(program.mesh, state, over_data=program.parameters_over_data)
    state = jax.device_put(state, layout)
    start = checkpoints.latest_step() or 0
    if start:
        state = checkpoints.restore(start, state, resumable)
    return jit_step(program.function, program.mesh, layout), state, start


def _validate(
    validate: Callable[[FlatParams], dict[str, float]],
    params: FlatParams,
    number: int,
    reporter: StepReporter,
    watch: Watch,
) -> dict[str, float] | None:
    """The scores after step `number`; None where SIGTERM came before they were there."""
    reporter.flush()
    watch.beat("validating")
    try:
        scores = validate(params)
    except Preempted:
        return None
    reporter.validated(number, scores)
    return scores


@contextlib.contextmanager
def _finishing_the_save(checkpoints: Checkpoints, watch: Watch) -> Iterator[None]:
    """Lets a save that is under way come to its end when a bad step stops the run, as it does in all processes."""
    try:
        yield
    except TrainingError:
        watch.beat(SAVING)
        try:
            checkpoints.wait()
        except CheckpointError as error:
            say(f"Note: {error}")
        raise


def train(
    *,
    program: StepProgram,
    state: TrainState,
    frozen: FlatParams,
    streams: Mapping[str, BatchStream],
    cadence: Cadence,
    workdir: Path,
    checkpoints: Checkpoints,
    validate: Callable[[FlatParams], dict[str, float]] | None,
    watch: Watch,
    bad_steps: BadSteps,
    profile: Profile,
) -> TrainState:
    """Trains from the newest checkpoint, or from `state`, to the last step of the cadence.

    `validate` gets the trained parameters and returns scores by name; those of a saved step decide which checkpoint is
    the best. It may raise `Preempted`, in all processes at once.

    Raises:
      Preempted: SIGTERM came; the state is saved.
      TrainingError: a loss or the norm of a gradient or an update is not finite, or is beyond its bound; a save that
        was under way is complete, or what it failed of is said.
      CheckpointError: a checkpoint cannot be written, or does not fit.
    """
    iterators = {name: iter(stream) for name, stream in streams.items()}
    resumable = {**iterators, SKIPPED: bad_steps}
    step, state, start = _set_out(program, state, checkpoints, resumable)
    flops_of = FlopsOfShapes(program.count_flops if jax.process_index() == 0 else lambda batch: 0)
    reporting = _reporting(cadence, start, program.samples_per_step, workdir, bad_steps)
    finishing = _finishing_the_save(checkpoints, watch)
    with finishing, reporting as (reporter, speed), contextlib.closing(profile):
        if (
            validate is not None
            and reporter.lacks_validation(start)
            and _validate(validate, state.params, start, reporter, watch) is None
        ):
            raise Preempted
        for number in range(start + 1, cadence.steps + 1):
            watch.beat("waiting for data", number)
            with speed.waiting_for_data():
                batch = {name: next(iterator) for name, iterator in iterators.items()}
            watch.beat("in the step")
            batch, stop = agree(batch, watch.preemption, state)
            batch = shard_batch(program.mesh, batch)
            flops = flops_of(batch)
            with profile.step(number), jax.transfer_guard("disallow"):  # a copy to or from the host would not be queued
                state, metrics = step(state, frozen, batch)
            reporter.add(number, metrics, flops)

            scores = None
            if validate is not None and cadence.validates(number):
                scores = _validate(validate, state.params, number, reporter, watch)
                stop = stop or scores is None
            if jax.process_count() == 1:
                stop = watch.preemption.requested  # nobody has to be asked
            if cadence.saves(number) or stop:
                reporter.flush()  # a bad step is never saved
                watch.beat(SAVING)
                checkpoints.save(number, state, resumable, scores)
                reporter.saved()
            if stop:
                checkpoints.wait()
                raise Preempted
        checkpoints.wait()
    return state
