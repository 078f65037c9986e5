"""The stages of a run, which `jaxclip.main` and the comparison of methods put together: score, train, score."""

import dataclasses
import functools
from pathlib import Path

import jax

from jaxclip import console
from jaxclip.checksums import find_damage
from jaxclip.console import say
from jaxclip.embedding import Encoders
from jaxclip.evaluator import Evaluator, replicate
from jaxclip.planning.minimum import minimum_flops
from jaxclip.prepare import Run, make_streams, record_ids
from jaxclip.pretrained import save_directory
from jaxclip.run_report import ScoredSplits
from jaxclip.training.agreement import any_process
from jaxclip.training.checkpointing import Checkpoints
from jaxclip.training.guard import BadSteps
from jaxclip.training.loop import Cadence, train
from jaxclip.training.profiling import Profile
from jaxclip.training.program import StepProgram, build_step, frozen_on_devices
from jaxclip.training.sharding import shard_params
from jaxclip.training.step import init_state
from jaxclip.training.trainable import FlatParams
from jaxclip.training.watch import Watch
from jaxclip.workdir import BASE


def make_evaluator(run: Run, watch: Watch) -> Evaluator:
    """The scorer of the run's splits."""
    encoders = Encoders(dataclasses.replace(run.model, remat="none"), run.mesh, run.config.evaluation.batch_size)
    return Evaluator(encoders, run.start.tokenizer, run.start.preprocessing, run.splits, watch.check)


def score_splits(run: Run, evaluator: Evaluator, trained: FlatParams, label: str) -> ScoredSplits:
    """The test splits under the frozen parameters and these trained ones."""
    params = replicate(run.mesh, run.frozen, trained)
    return {name: evaluator.score(name, params, label) for name in run.config.evaluation.splits}


def write_base(run: Run, directory: Path) -> None:
    """Writes the model that the run started from, where it is not there yet or is damaged."""
    damage = find_damage(directory)
    if any_process(damage is not None):
        if directory.exists():
            say(f"Note: {damage}; the model of config.model.init is written there again.")
        save_directory(run.start, directory)


def train_run(
    run: Run, evaluator: Evaluator, features: dict, workdir: Path, watch: Watch, profile: str | None = None
) -> FlatParams:
    """Trains to the end, or goes on with what the work directory holds; the trained parameters.

    `profile` is FIRST:LAST, the steps to trace.
    """
    config = run.config
    over_data = config.mesh.parameters == "sharded"
    step, optimizer = build_step(config, run.model, run.terms, run.roles, run.steps, run.mesh)
    bad_steps = BadSteps(
        config.failure.skip_bad_steps,
        config.failure.max_gradient_norm,
        functools.partial(record_ids, run),
        workdir / "bad_steps.jsonl" if jax.process_index() == 0 else None,
    )

    def validate(trained):
        params = replicate(run.mesh, run.frozen, trained)
        scored = evaluator.score(config.evaluation.validation, params, "validation")
        return {name: score.value for name, score in scored.scores.items()}

    with console.notes():
        checkpoints = Checkpoints(workdir / "checkpoints", config.checkpoint.best)
    if checkpoints.latest_step():
        say(f"Going on from the checkpoint of step {checkpoints.latest_step():,}.")
    write_base(run, workdir / BASE)
    program = StepProgram(
        function=step,
        mesh=run.mesh,
        samples_per_step=run.samples_per_step,
        count_flops=lambda batch: minimum_flops(run.model.config, run.trained, batch, run.terms).total,
        parameters_over_data=over_data,
    )
    state = train(
        program=program,
        state=init_state(shard_params(run.mesh, run.trained, over_data=over_data), optimizer),
        frozen=shard_params(run.mesh, frozen_on_devices(config, run.trained, run.frozen), over_data=over_data),
        streams=make_streams(run, features),
        cadence=Cadence(
            steps=run.steps,
            checkpoint_every=config.checkpoint.every,
            validate_every=config.evaluation.every,
            log_every=config.log_every,
        ),
        workdir=workdir,
        checkpoints=checkpoints,
        validate=validate if config.evaluation.validation else None,
        watch=watch,
        bad_steps=bad_steps,
        profile=Profile(profile, workdir / "profile"),
    )
    checkpoints.close()
    watch.beat("scoring")
    return state.params
