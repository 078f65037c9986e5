"""Trains and evaluates CLIP from a config.

    python -m jaxclip.main --config=configs/semclip.py --workdir=runs/semclip

The work directory gets config.json, metrics.jsonl, tensorboard/, checkpoints/ and report/report.html. Run the same
command again after an interruption (Ctrl-C, SIGTERM, a crash, SIGKILL): it goes on from the last checkpoint with the
same numbers that an uninterrupted run would have had.

With --dry_run it only builds the data and shows what is in it: counts, lengths in tokens, missing roles, bad rows and
images, images that splits share, and in WORKDIR/inspection a sheet of 16 records of each split with all their texts.
The exit status is 1 where something is wrong.

Change any setting of the config from the command line: --config.optimizer.learning_rate=1e-3
Pass the config file an argument after a colon:         --config=configs/semclip.py:smoke
"""

import hashlib
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import config_flags

from jaxclip import console, distributed
from jaxclip.checksums import find_damage
from jaxclip.command_line import check_arguments, read_flags
from jaxclip.compiled_programs import keep_small_programs
from jaxclip.config import Config, ConfigError, parse
from jaxclip.console import say
from jaxclip.data.preprocessing import ImageError
from jaxclip.datasets import DatasetError
from jaxclip.digests import digest_of_params
from jaxclip.ending import told
from jaxclip.inspect_data import inspect
from jaxclip.prepare import images_to_cache, prepare
from jaxclip.pretrained import ModelDirectoryError
from jaxclip.reporting.scorecard import print_scorecard
from jaxclip.run_report import write_run_report
from jaxclip.stages import make_evaluator, score_splits, train_run
from jaxclip.training.agreement import AgreementError, any_process, check_equal
from jaxclip.training.checkpointing import CheckpointError
from jaxclip.training.guard import TrainingError
from jaxclip.training.lock import WorkdirError, locked
from jaxclip.training.preemption import Preemption
from jaxclip.training.profiling import parse_steps
from jaxclip.training.trainable import TrainableError, trainable_table
from jaxclip.training.watch import Watch
from jaxclip.weights import WeightsError
from jaxclip.workdir import BASE, check_workdir, write_config

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The config file, e.g. configs/semclip.py or configs/semclip.py:VARIANT."
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Where everything that the run makes is put; an unfinished run there goes on."
)
PROFILE = flags.DEFINE_string(
    "profile", None, "Trace these steps, FIRST:LAST, to WORKDIR/profile, for TensorBoard's profiler or Perfetto."
)
DATA_DIR = flags.DEFINE_string(
    "data_dir",
    os.environ.get("TFDS_DATA_DIR", os.path.join("~", "tensorflow_datasets")),
    "Root folder of prepared data sets (also by the environment variable TFDS_DATA_DIR).",
)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Build the data and show what is in it; train nothing.")

# Errors of what a user gave us: shown as one message, without a traceback.
USER_ERRORS = (
    ConfigError,
    DatasetError,
    ImageError,
    TrainableError,
    ModelDirectoryError,
    CheckpointError,
    TrainingError,
    WeightsError,
    WorkdirError,
    AgreementError,
    OSError,  # a full disk, a directory that cannot be written or is gone
)


def execute(config: Config, workdir: Path, data_dir: Path, watch: Watch) -> dict:
    """The whole run: data, model, scores before, training, scores after, report. Returns the scores."""
    started = time.monotonic()
    check_equal("the config", hashlib.sha256(config.model_dump_json().encode()).digest())
    check_workdir(workdir, config)
    say(f"{config.title}\n{jax.device_count()} × {jax.devices()[0].device_kind}, {jax.process_count()} process(es)\n")
    begun = not any_process(find_damage(workdir / BASE) is not None)
    if begun:
        say(f"The model is the one that this run began with, {workdir / BASE}.\n")
    run = prepare(config, data_dir, workdir / BASE if begun else None)
    write_config(workdir, config)  # not before: settings that cannot run must not be taken for those of a run
    say("\n".join(f"{name:<32}{len(split):>9,} records" for name, split in run.splits.items()) + "\n")
    say(trainable_table(run.trained, run.frozen) + "\n")
    check_equal("the model", digest_of_params({**run.trained, **run.frozen}))

    evaluator = make_evaluator(run, watch)
    features = {}
    if run.image_tower_frozen:
        features = evaluator.cache_features(
            images_to_cache(run), run.start.params, workdir / "cache" / "image_features"
        )
    base = score_splits(run, evaluator, run.trained, "base")
    trained = train_run(run, evaluator, features, workdir, watch, PROFILE.value)
    final = score_splits(run, evaluator, trained, "final")

    summary = {
        "steps": run.steps,
        "records per step": run.samples_per_step,
        "trained parameters": sum(leaf.size for leaf in run.trained.values()),
        "all parameters": sum(leaf.size for leaf in {**run.trained, **run.frozen}.values()),
        "devices": f"{jax.device_count()} × {jax.devices()[0].device_kind}",
        "minutes, from command to report": round((time.monotonic() - started) / 60, 1),
    }
    if jax.process_index() != 0:
        return {}
    document = write_run_report(workdir, config=config, splits=run.splits, base=base, final=final, summary=summary)
    print_scorecard(document)
    say(f"\nReport:      {workdir / 'report' / 'report.html'}\nCheckpoints: {workdir / 'checkpoints'}")
    say(f"{summary['minutes, from command to report']} minutes")
    return document


def dry_run(config: Config, workdir: Path, data_dir: Path) -> int:
    """Builds the data and shows what is in it; the exit status."""
    problems = inspect(config, data_dir, workdir / "inspection")
    say("\n" + ("\n".join(f"Problem: {line}" for line in problems) or "Nothing is wrong."))
    return int(bool(problems))


def check_profile(steps: str | None) -> bool:
    """Whether `--profile` is given as it should be; raises flags.ValidationError where not."""
    try:
        return steps is None or bool(parse_steps(steps))
    except ValueError as error:
        raise flags.ValidationError(str(error)) from None


def main(arguments: Sequence[str]) -> None:
    """Reads the flags and runs."""
    check_arguments(arguments, CONFIG.value)
    console.quiet_libraries()
    keep_small_programs()
    distributed.initialise()
    preemption = Preemption().install()
    workdir, data_dir = Path(WORKDIR.value), Path(DATA_DIR.value).expanduser()
    with told(*USER_ERRORS):
        config = parse(CONFIG.value)
        if DRY_RUN.value:
            sys.exit(dry_run(config, workdir, data_dir))
        with Watch(preemption, config.failure) as watch, locked(workdir):
            execute(config, workdir, data_dir, watch)


if __name__ == "__main__":
    flags.register_validator("profile", check_profile)
    flags.mark_flags_as_required(["config", "workdir"])
    app.run(main, flags_parser=read_flags)
