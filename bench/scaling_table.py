"""The table of docs/scaling.md: what SemCLIP's training step needs on TPU v5e slices of 4 to 256 chips.

    pip install libtpu                          (the compiler for TPUs; no TPU is needed)
    python -m bench.scaling_table               every cell that is not done yet, then the table of the document
    python -m bench.scaling_table --search      also the largest batch of each (several compilations a cell)
    python -m bench.scaling_table --only=ViT-B-32@v5e:16x16

Each cell is a run of `jaxclip.plan`, whose JSON is kept in runs/scaling; an interrupted table goes on where it was. A
cell takes a minute or two on an idle core, more for large models.
"""

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from absl import app, flags
from tqdm import tqdm

from bench.document import replace_between
from jaxclip.command_line import read_flags, refuse_command_line, refuse_words
from jaxclip.planning.table import milliseconds, quantity

MODELS = ("ViT-B-32", "ViT-B-16", "ViT-L-14", "ViT-H-14")
SLICES = {"v5e:16x16": 256, "v5e:8x8": 64, "v5e:4x4": 16, "v5e:2x2": 4}  # the most in doubt first
RECORDS_A_CHIP = 128  # 32,768 records with 3 captions each on 256 chips
DOCUMENT = Path("docs/scaling.md")
BEGIN, END = "<!-- scaling table: begin -->", "<!-- scaling table: end -->"


def command(model: str, topology: str, output: Path) -> list[str]:
    """The plan of one cell."""
    return [
        "-m",
        "jaxclip.plan",
        "--config=bench/scaling_config.py",
        f"--arch={model}",
        f"--topology={topology}",
        f"--config.streams.train.batch_size={RECORDS_A_CHIP * SLICES[topology]}",
        f"--output={output}",
    ]


def cells(folder: Path) -> Iterator[tuple[str, str, Path]]:
    """(model, topology, file) of every cell."""
    for topology in SLICES:
        for model in MODELS:
            yield model, topology, folder / f"{model}_{topology.replace(':', '_')}.json"


def make(model: str, topology: str, file: Path, *, search: bool) -> str | None:
    """Makes one cell, unless its file has what is asked for; the error of one that cannot be made."""
    if file.exists() and (not search or "search" in json.loads(file.read_text())):
        return None
    arguments = command(model, topology, file) + (["--search"] if search else [])
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True)
    return None if done.returncode == 0 else (done.stderr.strip().splitlines() or ["no message"])[-1]


def row(model: str, chips: int, plan: dict, *, searched: bool) -> str:
    """One line of the table; with `searched` its last column is the largest batch, where that is known."""
    batch = sum(stream["batch_size"] for stream in plan["streams"].values())
    found = plan.get("search")
    columns = [model, f"{chips}", f"{batch:,}", quantity(plan["memory"]["total"], "B"), "yes" if plan["fits"] else "no"]
    if plan["fits"]:
        flops, times = plan["flops"], plan["roofline"]
        sent = sum(traffic["sent"] for traffic in plan["collectives"].values())
        columns += [
            quantity(flops["per_device"], "FLOP"),
            f"{flops['ratio_to_minimum_and_recomputed']:.3f}",
            quantity(sent, "B"),
            f"{milliseconds(times['step'])} ({times['bound']})",
        ]
    else:
        columns += ["–"] * 4
    if searched:
        columns.append(f"{found['largest']:,}" if found else "–")
    return f"| {' | '.join(columns)} |"


def table(folder: Path) -> str:
    """The finished cells as Markdown, in order of size."""
    finished = {
        (model, SLICES[topology]): json.loads(file.read_text())
        for model, topology, file in cells(folder)
        if file.exists()
    }
    searched = any("search" in plan for plan in finished.values())
    head = (
        "| model | chips | records a step | memory a chip | fits | FLOPs a chip | ÷ minimum and recomputed "
        "| sent a chip | roofline step (bound) |"
    )
    lines = [head + " largest batch a chip |" * searched, "|---|--:|--:|--:|---|--:|--:|--:|--:|" + "--:|" * searched]
    for model in MODELS:
        for chips in sorted(SLICES.values()):
            if (model, chips) in finished:
                lines.append(row(model, chips, finished[model, chips], searched=searched))
    return "\n".join(lines)


def main(arguments: Sequence[str]) -> None:
    """Makes the cells that are missing; writes the table into the document when none is."""
    refuse_words(arguments)
    folder = Path(flags.FLAGS.cells)
    folder.mkdir(parents=True, exist_ok=True)
    wanted = [cell for cell in cells(folder) if not flags.FLAGS.only or f"{cell[0]}@{cell[1]}" in flags.FLAGS.only]
    if not wanted:
        refuse_command_line(f"--only={','.join(flags.FLAGS.only)}: no such cell, expected e.g. ViT-B-32@v5e:4x4")
    for model, topology, file in (bar := tqdm(wanted, unit="cell", dynamic_ncols=True)):
        bar.set_description(f"{model} on {topology}")
        error = make(model, topology, file, search=flags.FLAGS.search)
        if error:
            tqdm.write(f"{model} on {topology}: {error}")
    print(table(folder))
    missing = [f"{model}@{topology}" for model, topology, file in cells(folder) if not file.exists()]
    if missing:
        print(f"{DOCUMENT} stays as it is: {len(missing)} cells are missing, first {missing[0]}")
    else:
        replace_between(DOCUMENT, BEGIN, END, table(folder))


if __name__ == "__main__":
    flags.DEFINE_string("cells", "runs/scaling", "Where finished cells are kept.")
    flags.DEFINE_list("only", [], "Cells to make, as MODEL@TOPOLOGY; by default all.")
    flags.DEFINE_bool("search", False, "Also find the largest batch a chip.")
    app.run(main, flags_parser=read_flags)
