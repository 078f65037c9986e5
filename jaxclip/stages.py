"""The stages of a run, which `jaxclip.main` and the comparison of methods put together: score, train, score."""

import dataclasses
from pathlib import Path

import jax

from jaxclip.console import say
from jaxclip.embedding import Encoders
from jaxclip.evaluator import Evaluator, replicate
from jaxclip.prepare import Run, make_streams
from jaxclip.pretrained import save_directory
from jaxclip.run_report import ScoredSplits
from jaxclip.training.checkpointing import Checkpoints
from jaxclip.training.loop import train
from jaxclip.training.preemption import Preemption
from jaxclip.training.program import build_step, frozen_on_devices
from jaxclip.training.sharding import shard_params
from jaxclip.training.step import init_state
from jaxclip.training.trainable import FlatParams


def make_evaluator(run: Run, preemption: Preemption) -> Evaluator:
    """The scorer of the run's splits."""
    encoders = Encoders(
        dataclasses.replace(run.model, remat=False, text_splits=()), run.mesh, run.config.evaluation.batch_size
    )
    # Among several processes one that stops by itself would leave the others waiting: there only the loop stops.
    check = preemption.check if jax.process_count() == 1 else _go_on
    return Evaluator(encoders, run.start.tokenizer, run.start.preprocessing, run.splits, check)


def _go_on() -> None:
    pass


def score_splits(run: Run, evaluator: Evaluator, trained: FlatParams, label: str) -> ScoredSplits:
    """The test splits under the frozen parameters and these trained ones."""
    params = replicate(run.mesh, run.frozen, trained)
    return {name: evaluator.score(name, params, label) for name in run.config.evaluation.splits}


def train_run(run: Run, evaluator: Evaluator, features: dict, workdir: Path, preemption: Preemption) -> FlatParams:
    """Trains to the end, or goes on with what the work directory holds; the trained parameters."""
    config = run.config
    step, optimizer = build_step(config, run.model, run.terms, run.roles, run.steps)

    def validate(trained):
        params = replicate(run.mesh, run.frozen, trained)
        scored = evaluator.score(config.evaluation.validation, params, "validation")
        return {name: score.value for name, score in scored.scores.items()}

    checkpoints = Checkpoints(workdir / "checkpoints", config.checkpoint.best)
    if checkpoints.latest_step():
        say(f"Going on from the checkpoint of step {checkpoints.latest_step():,}.")
    else:
        save_directory(run.start, workdir / "checkpoints" / "base")
    state = train(
        step_function=step,
        state=init_state(shard_params(run.mesh, run.trained), optimizer),
        frozen=shard_params(run.mesh, frozen_on_devices(config, run.trained, run.frozen)),
        streams=make_streams(run, features),
        steps=run.steps,
        samples_per_step=run.samples_per_step,
        mesh=run.mesh,
        workdir=workdir,
        checkpoints=checkpoints,
        checkpoint_every=config.checkpoint.every,
        validate=validate if config.evaluation.validation else None,
        validate_every=config.evaluation.every,
        log_every=config.log_every,
        preemption=preemption,
    )
    checkpoints.close()
    return state.params
