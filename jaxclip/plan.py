"""Plans a training step for a machine that one does not have: will it fit, and how fast can it be?

    python -m jaxclip.plan --config=configs/semclip.py:triplets --arch=ViT-B-32 --topology=v5e:4x4
    python -m jaxclip.plan --config=configs/semclip.py --topology=cpu:8 --output=plan.json

Compiles the very step that `jaxclip.main` runs with this config, ahead of time, and shows what the compiled program
needs: memory of a device by kind, FLOPs beside the analytic minimum, bytes by collective, the roofline step time.
No parameters are allocated and no data is read: --arch stands in for a checkpoint, --tokens_per_caption for captions.

TPU topologies need the TPU compiler, but no TPU: pip install libtpu. Change the config as in training, for example
--config.streams.train.batch_size=32768 (global: over all devices).
"""

import json
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from ml_collections import config_flags
from tqdm import tqdm

from jaxclip import console
from jaxclip.command_line import check_arguments, read_flags
from jaxclip.config import Config, ConfigError, parse
from jaxclip.console import say
from jaxclip.files import write_atomically
from jaxclip.model import ModelConfig
from jaxclip.planning.abstract_step import read_architecture
from jaxclip.planning.apart import attempt_apart
from jaxclip.planning.document import batch_per_device, make_plan, trial_of, with_batch
from jaxclip.planning.errors import PlanError
from jaxclip.planning.search import Trial, largest_that_fits
from jaxclip.planning.table import plan_table
from jaxclip.planning.topology import Topology, open_topology
from jaxclip.pretrained import MODEL_ERRORS
from jaxclip.training.trainable import TrainableError

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "The config file, e.g. configs/semclip.py or configs/semclip.py:VARIANT."
)
TOPOLOGY = flags.DEFINE_string(
    "topology", None, "A TPU slice (v5e:4x4, v5p:2x2x4, v6e:16x16, …), or cpu:N for N devices on this processor."
)
ARCH = flags.DEFINE_string(
    "arch", None, "Plan for this architecture instead of that of config.model.init: ViT-B-32, ViT-L-14, …"
)
TOKENS = flags.DEFINE_float(
    "tokens_per_caption",
    14.0,
    "Mean tokens of a caption, start- and end-of-text included; lengths are taken to be spread evenly from half of it "
    "to one and a half. COCO's captions have some 14 (those of SugarCrepe++ 14.7 with their negations).",
)
OUTPUT = flags.DEFINE_string("output", None, "Also write the plan to this file, as JSON.")
SEARCH = flags.DEFINE_bool(
    "search", False, "Also find the largest batch a device that fits (the same for each stream), to a sixteenth."
)


def search_batch(
    config: Config, architecture: ModelConfig, topology: Topology, tokens: float, document: dict
) -> dict[str, int | list[int]]:
    """The largest batch a device that fits, and the smallest that was found not to; batches that crash the compiler.

    `document` is the plan of the config's own batch, from which the search begins.
    """
    devices = len(topology.devices)
    unit = config.microbatch or 1  # batches are whole microbatches
    start = max(1, batch_per_device(config, devices) // unit)
    known = {start: trial_of(document)} if with_batch(config, start * unit, devices) == config else {}
    with tqdm(desc="searching", unit=" programs", dynamic_ncols=True) as bar:

        def attempt(units: int) -> Trial:
            if units in known:
                return known[units]
            bar.set_postfix_str(f"{units * unit:,} records a device")
            trial = attempt_apart(with_batch(config, units * unit, devices), architecture, topology.name, tokens)
            bar.update()
            return trial

        largest, too_large, trials = largest_that_fits(attempt, start)
    return {
        "largest": largest * unit,
        "does_not_fit": too_large * unit,
        "crashed": sorted(units * unit for units, trial in trials.items() if trial.needed is None),
    }


def plan() -> None:
    """The whole command; see the flags.

    Raises:
      PlanError, ConfigError, TrainableError: what was asked for cannot be planned.
      ModelDirectoryError, WeightsError, OSError: the model cannot be read, or the output not be written.
    """
    settings = CONFIG.value
    if ARCH.value:
        settings.model.init = f"random:{ARCH.value}"
    topology = open_topology(TOPOLOGY.value)
    if SEARCH.value and topology.chip is None:
        raise PlanError(f"--search needs a TPU topology: nothing limits the memory of {topology.name}")
    config = parse(settings)
    architecture = read_architecture(config.model.init)
    say(f"Compiling for {topology.name} ...")
    document = make_plan(config, architecture, topology, TOKENS.value)
    if SEARCH.value:
        document["search"] = search_batch(config, architecture, topology, TOKENS.value, document)
    say(plan_table(document))
    if OUTPUT.value:
        write_atomically(Path(OUTPUT.value), (json.dumps(document, indent=2) + "\n").encode())
        say(f"\nWritten to {OUTPUT.value}")


def main(arguments: Sequence[str]) -> None:
    """Reads the flags and plans."""
    check_arguments(arguments, CONFIG.value)
    console.quiet_libraries()
    with console.user_errors(PlanError, ConfigError, TrainableError, *MODEL_ERRORS):
        plan()


if __name__ == "__main__":
    flags.mark_flags_as_required(["config", "topology"])
    app.run(main, flags_parser=read_flags)
