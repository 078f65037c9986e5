"""Trains every method from the same model on the built-in scenes and compares them.

    python -m experiments.compare --workdir=runs/compare --document=docs/results.md

Each method is trained with every seed; the ablations with the first one. A trial that is finished is not repeated, so
the same command goes on after an interruption. The last step writes the document and its pictures from what is there.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from tqdm import tqdm

from experiments import document
from experiments.running import params_file, plan, result_file, run_trial, trial_config, write_json
from experiments.trials import ABLATIONS, METHODS
from jaxclip import console
from jaxclip.command_line import read_flags, refuse_command_line, refuse_words
from jaxclip.training.preemption import Preempted, Preemption

WORKDIR = flags.DEFINE_string("workdir", "runs/compare", "Where the scores of finished trials are kept.")
DOCUMENT = flags.DEFINE_string("document", "docs/results.md", "The page to write; its pictures go beside it.")
DATA_DIR = flags.DEFINE_string(
    "data_dir", os.environ.get("TFDS_DATA_DIR", "~/tensorflow_datasets"), "Root folder of prepared data sets."
)
SEEDS = flags.DEFINE_list("seeds", ["1", "2", "3"], "Seeds of the methods; the ablations take the first.")
ONLY = flags.DEFINE_list("only", [], "Groups to train; by default all. The document is written from all that is there.")


def main(arguments: Sequence[str]) -> None:
    """Runs the trials that are missing, then writes the document."""
    refuse_words(arguments)
    groups = list(dict.fromkeys(trial.group for trial in (*METHODS, *ABLATIONS)))
    if unknown := [group for group in ONLY.value if group not in groups]:
        refuse_command_line(f"--only: no group is called {unknown[0]!r}; known: {', '.join(groups)}")
    console.quiet_libraries()
    workdir, data_dir = Path(WORKDIR.value), Path(DATA_DIR.value).expanduser()
    seeds = [int(seed) for seed in SEEDS.value]
    missing = [(t, s) for t, s in plan(seeds, ONLY.value) if not result_file(workdir, t, s).exists()]
    preemption = Preemption().install()
    try:
        for trial, seed in tqdm(missing, desc="trials", unit="trial", dynamic_ncols=True):
            tqdm.write(f"{trial.group}: {trial.label}, seed {seed}")
            config = trial_config(trial, seed)
            result = run_trial(
                config,
                workdir / "cache",
                data_dir,
                preemption,
                base_file=workdir / "base.json",
                params_file=params_file(workdir, trial, seed),
                interpolation=trial.interpolation,
            )
            write_json(result_file(workdir, trial, seed), result)
    except Preempted:
        raise SystemExit("Stopped by SIGTERM. The same command goes on with the trial that was stopped.") from None
    document.write(Path(DOCUMENT.value), workdir)


if __name__ == "__main__":
    app.run(main, flags_parser=read_flags)
