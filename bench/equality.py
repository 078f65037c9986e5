"""The same run on different machines: how far its losses and parameters are from those of one device.

    python -m bench.equality [--document=docs/scaling.md]

Ten float32 steps of SemCLIP on the built-in scenes by a tiny CLIP, both towers trained, on virtual CPU devices and with
real processes on the loopback, each with and without what makes a step smaller. What one device gives is compared with
the rest: the table goes into the document, between two marker lines. The command fails where a difference is beyond the
tolerance.
"""

import dataclasses
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from absl import app, flags
from tqdm import tqdm

from bench.document import replace_between
from configs import semclip
from jaxclip import console
from jaxclip.command_line import read_flags, refuse_words
from jaxclip.config import Config, parse
from jaxclip.model import ModelConfig, TextConfig, VisionConfig, init_params
from jaxclip.prepare import prepare
from jaxclip.pretrained import Clip, load, save_directory
from jaxclip.stages import make_evaluator, train_run
from jaxclip.training.checkpointing import load_trained
from jaxclip.training.metrics_log import read_metrics
from jaxclip.training.preemption import Preemption
from jaxclip.training.trainable import flatten
from jaxclip.training.watch import Watch
from tests.free_ports import free_port

BEGIN, END = "<!-- python -m bench.equality writes from here -->", "<!-- to here -->"
STEPS, BATCH_SIZE = 10, 32
# Of the loss of the step, and of the largest value in each parameter.
LOSS_TOLERANCE, PARAMETER_TOLERANCE = 1e-5, 1e-4


@dataclasses.dataclass(frozen=True)
class Layout:
    """Devices of each process, processes, and the settings of the mesh over all of them."""

    title: str
    devices: int = 1
    processes: int = 1
    mesh: Mapping[str, object] = dataclasses.field(default_factory=dict)


LAYOUTS = (
    Layout("1 device"),
    Layout("8 devices, data 8", devices=8),
    Layout("8 devices, data 4 × model 2", devices=8, mesh={"model": 2}),
    Layout("8 devices, data 8, parameters sharded", devices=8, mesh={"parameters": "sharded"}),
    Layout("8 devices, data 4 × model 2, parameters sharded", devices=8, mesh={"model": 2, "parameters": "sharded"}),
    Layout("2 processes", processes=2),
    Layout("4 processes, parameters sharded", processes=4, mesh={"parameters": "sharded"}),
)
# 3 divides no device's rows of logits (4 to 32): the last chunk is always a smaller one.
FORMS: Mapping[str, Mapping] = {
    "plain": {},
    "microbatch=2": {"microbatch": 2},
    "loss_chunk=3": {"loss_chunk": 3},
    "remat=full": {"remat": "full"},
    "remat=dots": {"remat": "dots"},
    "microbatch=2, loss_chunk=3, remat=full": {"microbatch": 2, "loss_chunk": 3, "remat": "full"},
}
PLAIN, ALL = list(FORMS)[0], list(FORMS)[-1]
# One device takes every form, the others the plain one and all together.
RUNS = {0: tuple(FORMS)} | {number: (PLAIN, ALL) for number in range(1, len(LAYOUTS))}
Results = dict[tuple[int, str], tuple[np.ndarray, dict[str, np.ndarray]]]  # layout, form → losses, parameters


def tiny_model() -> Clip:
    """A CLIP with random weights, always the same, whose larger matrices are large enough to be sharded."""
    base = load("scenes-base")
    text = TextConfig(base.config.text.context_length, base.config.text.vocabulary_size, width=64, layers=3, heads=4)
    vision = VisionConfig(base.preprocessing.size, patch_size=16, width=64, layers=2, heads=2)
    config = ModelConfig(32, vision, text)
    params = jax.device_get(flatten(init_params(config, jax.random.key(0))))
    return dataclasses.replace(base, config=config, params=params)


def run_config(layout: Layout, form: str, model: Path) -> Config:
    """The run. Adam's ε is large: with a small one it makes whole steps of the rounding errors of zero gradients."""
    settings = dict(FORMS[form])
    values = semclip.get_config("smoke").to_dict()
    values["model"] |= {"init": str(model), "remat": settings.pop("remat", "none")}
    values["streams"]["train"]["batch_size"] = BATCH_SIZE
    values |= {
        "trainable": ("visual", "text", "logit_scale"),
        "optimizer": {"learning_rate": 1e-3, "eps": 1e-3, "clip_norm": 1.0},
        "schedule": {"steps": STEPS, "warmup_steps": 2},
        "evaluation": {},
        "mesh": dict(layout.mesh),
        "log_every": 1,
        **settings,
    }
    return parse(values)


def train_forms(layout: Layout, forms: Sequence[str], workdir: Path) -> None:
    """Trains in this process, or in this one of several."""
    for form in forms:
        run = prepare(run_config(layout, form, workdir / "model"), workdir / "data")
        watch = Watch(Preemption(), run.config.failure)
        train_run(run, make_evaluator(run, watch), {}, workdir / layout.title / form, watch)


def measure(runs: Mapping[int, Sequence[str]], workdir: Path) -> Results:
    """Trains on each layout, given by its number, in these forms.

    Raises:
      RuntimeError: a process failed.
    """
    save_directory(tiny_model(), workdir / "model")
    results = {}
    for number, forms in tqdm(runs.items(), desc="layouts", unit="layout", dynamic_ncols=True):
        _train_on(number, forms, workdir)
        for form in forms:
            folder = workdir / LAYOUTS[number].title / form
            losses = np.array([row["loss"] for row in read_metrics(folder / "metrics.jsonl")])
            results[number, form] = losses, load_trained(folder / "checkpoints")
    return results


def _train_on(number: int, forms: Sequence[str], workdir: Path) -> None:
    layout = LAYOUTS[number]
    port = free_port()
    environment = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={layout.devices}",
    }
    command = [sys.executable, "-m", "bench.equality", f"--layout={number}", f"--workdir={workdir}"]
    command.append("--form=" + ",".join(str(list(FORMS).index(form)) for form in forms))
    processes, logs = [], []
    for rank in range(layout.processes):
        logs.append((workdir / f"layout_{number}_{rank}.log").open("w+b"))
        flag = [f"--process=127.0.0.1:{port},{rank}"] if layout.processes > 1 else []
        processes.append(subprocess.Popen([*command, *flag], env=environment, stdout=logs[-1], stderr=logs[-1]))
    statuses = [process.wait() for process in processes]
    for status, log in zip(statuses, logs, strict=True):
        log.seek(0)
        shown = log.read().decode(errors="replace")
        log.close()
        if status:
            raise RuntimeError(f"{layout.title}: a process failed with status {status}:\n{shown[-4000:]}")


def differences(results: Results) -> dict[tuple[int, str], tuple[float, float, float, float]]:
    """For each run, the largest difference from one device's plain one.

    Losses: absolute, and relative to the loss of that step. Parameters: absolute, and relative to the largest value of
    that parameter.
    """
    losses, params = results[0, PLAIN]
    found = {}
    for run, (other_losses, other_params) in results.items():
        loss = np.abs(other_losses - losses)
        leaves = {path: np.abs(other_params[path] - leaf).max() for path, leaf in params.items()}
        relative = max(size / np.abs(params[path]).max() for path, size in leaves.items())
        found[run] = float(loss.max()), float((loss / losses).max()), float(max(leaves.values())), float(relative)
    return found


def section(results: Results) -> str:
    """The table as Markdown, with what it says."""
    losses, params = results[0, PLAIN]
    start = tiny_model().params
    moved = max(np.abs(leaf - start[path]).max() for path, leaf in params.items())
    lines = [
        "",
        "## Same numbers everywhere",
        "",
        f"{STEPS} float32 steps of SemCLIP on scenes by a tiny CLIP, both towers trained, batch {BATCH_SIZE} "
        "(`python -m bench.equality`). Each row is compared with one device's plain run: the largest difference of the "
        "loss of any step, and of any trained parameter at the end; relative to the loss of that step, and to the "
        "largest value of that parameter. "
        f"Over the run the loss goes from {losses[0]:.3f} to {losses[-1]:.3f}, and parameters move by up to "
        f"{moved:.3f}. Sums over shards are made in another order, so what is left is float32 rounding. Tolerance: "
        f"{LOSS_TOLERANCE:g} of the loss, {PARAMETER_TOLERANCE:g} of a parameter's largest value. Devices are virtual "
        "ones of a CPU; processes are real ones with one device each.",
        "",
        "| Layout | Form | loss | loss, relative | parameters | parameters, relative |",
        "|---|---|---|---|---|---|",
    ]
    for (number, form), found in differences(results).items():
        cells = ["reference"] * 4 if (number, form) == (0, PLAIN) else [f"{value:.1e}" for value in found]
        lines.append(f"| {LAYOUTS[number].title} | {form} | " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main(arguments: Sequence[str]) -> None:
    """Trains on every layout and writes the table; with --layout, trains on that one."""
    refuse_words(arguments)
    console.quiet_libraries()
    if flags.FLAGS.layout is not None:
        layout = LAYOUTS[flags.FLAGS.layout]
        if flags.FLAGS.process:
            jax.distributed.initialize(flags.FLAGS.process[0], layout.processes, int(flags.FLAGS.process[1]))
        train_forms(layout, [list(FORMS)[int(number)] for number in flags.FLAGS.form], Path(flags.FLAGS.workdir))
        return
    with tempfile.TemporaryDirectory() as workdir:
        results = measure(RUNS, Path(workdir))
    text = section(results)
    print(text)
    replace_between(Path(flags.FLAGS.document), BEGIN, END, text)
    beyond = [
        f"{LAYOUTS[number].title}, {form}"
        for (number, form), (_, loss, _, parameter) in differences(results).items()
        if loss > LOSS_TOLERANCE or parameter > PARAMETER_TOLERANCE
    ]
    if beyond:
        raise SystemExit(f"Beyond the tolerance: {'; '.join(beyond)}")


if __name__ == "__main__":
    flags.DEFINE_string("document", "docs/scaling.md", "The page that the table is written into.")
    flags.DEFINE_integer("layout", None, "Number of the layout that this process trains on; used internally.")
    flags.DEFINE_list("form", [], "Names of the forms that this process trains; used internally.")
    flags.DEFINE_string("workdir", None, "Where this process writes; used internally.")
    flags.DEFINE_list("process", [], "Coordinator and number of this process; used internally.")
    app.run(main, flags_parser=read_flags)
