"""docs/speed.md from the results in runs/bench: what was measured, beside what, by which command.

    python -m bench.report

What stands in the document above the marker line is written by hand and kept.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

import matplotlib
import matplotlib.figure
from absl import app, flags

from bench.measure import RESULTS
from jaxclip.files import write_atomically
from jaxclip.reporting.plots import BLUE, STYLE, VERMILLION, png

MARKER = "<!-- Below this line everything is written by bench/report.py. -->"
STEPS = {
    "training_step_semclip": "SemCLIP step, whole text tower, float32",
    "training_step_semclip_bfloat16": "the same in bfloat16",
    "training_step_omni_negclip": "Omni-NegCLIP step, front 6 layers, float32",
    "training_step_plain": "SemCLIP step without feature cache and packing, float32",
    "embedding_texts": "embedding {items:,} texts",
    "embedding_images": "embedding {items:,} JPEG files",
}
HUGGING_FACE = "the same beside Hugging Face's CLIP"
Result = Mapping[str, object]


def read_results(folder: Path) -> dict[str, Result]:
    """Figure → its result."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"))}


def seconds(times: Mapping[str, float]) -> str:
    """`0.78 s (0.75–0.84)`."""
    return f"{times['median']:.3g} s ({times['least']:.3g}–{times['most']:.3g})"


def beside(title: str, found: Result, peer: str, ratio: float, goal: str, apart: str) -> str:
    """A row: the times of a peer and of jaxclip."""
    theirs, ours = (seconds(found["seconds"][side]) for side in (peer, "jaxclip"))
    return "| " + " | ".join((title, theirs, ours, f"**{ratio:#.3g}**", goal, apart)) + " |"


def difference(found: Result) -> str:
    """How far both sides are apart: in the losses of the first two steps, or in the embeddings."""
    if "losses" in found:
        apart = max(abs(a - b) for a, b in zip(found["losses"]["peer"], found["losses"]["jaxclip"], strict=True))
        return f"{apart:.1e} in losses of {found['losses']['peer'][0]:.2f}"
    return embeddings_apart(found["largest_difference"])


def embeddings_apart(largest: float) -> str:
    """`2.1e-07 in embeddings of length 1`."""
    return f"{largest:.1e} in embeddings of length 1"


def beside_peers(results: Mapping[str, Result]) -> Iterator[str]:
    """The figures that are ratios of times."""
    yield "| | torch | jaxclip | times faster | goal | largest difference of the results |"
    yield "|---|---|---|---|---|---|"
    for name, title in STEPS.items():
        if name in results:
            found = results[name]
            goal = f"≥ {found['goal']:g}"
            yield beside(title.format(**found), found, "peer", found["ratio"], goal, difference(found))
            if "hugging_face" in found["seconds"]:
                apart = embeddings_apart(found["largest_difference_to_hugging_face"])
                yield beside(HUGGING_FACE, found, "hugging_face", found["ratio_to_hugging_face"], "–", apart)


def others(results: Mapping[str, Result]) -> Iterator[str]:
    """The figures of other kinds."""
    yield "| | found | goal |"
    yield "|---|---|---|"
    if "training_step_semclip" in results:
        share = results["training_step_semclip"]["share_of_matmul_peak"]
        yield f"| share of the measured matmul peak, packed SemCLIP step, float32 | {share:.0%} | ≥ 60 % |"
    if "training_step_semclip_bfloat16" in results:
        share = results["training_step_semclip_bfloat16"]["share_of_matmul_peak"]
        yield f"| the same in bfloat16, of the peak in bfloat16 | {share:.0%} | – |"
    if "products" in results:
        found = results["products"]
        speeds = {side: f"{value:.0f} GFLOP/s" for side, value in found["gflops"].items()}
        yield (
            "| products with weights of a text block, forward and backward, alone: XLA's speed by torch's | "
            f"{found['ratio']:.2f} ({speeds['xla']}, {speeds['torch']}) | – |"
        )
    if "packing" in results:
        found = {name: values for name, values in results["packing"].items() if name.startswith("batch_")}
        cells = "; ".join(
            f"{v['computed_by_real_tokens']:.3f} with {v['programs']} programs at {n.removeprefix('batch_')}"
            for n, v in found.items()
        )
        yield f"| text tokens computed ÷ real, and programs of an epoch, by batch | {cells} | ≤ 1.08, ≤ 3 |"
    if "conversion" in results:
        found = results["conversion"]
        for kind in ("safetensors", "pt"):
            yield (
                f"| converting {found['arch']} (.{kind}), by OpenCLIP's making the model and loading the file | "
                f"time {found[kind]['seconds_ratio']:.2f}, peak memory {found[kind]['peak_ratio']:.2f} | ≤ 1, ≤ 1 |"
            )
    if "startup" in results:
        found = results["startup"]
        times = seconds(found["seconds"]["jaxclip"])
        yield f"| command to first step, built-in model, programs compiled before | {times} | ≤ 10 s |"
    if "checkpoint" in results:
        found = results["checkpoint"]
        yield f"| stall per checkpoint, by a step | {found['stall_by_step']:.0%} | ≤ 5 % |"
        yield (
            f"| stall and the slower step after it, of the time at one checkpoint in {found['every']} steps | "
            f"{found['share_of_time']:.2%} | – |"
        )
        yield f"| bytes of a checkpoint, by the trained state | {found['bytes_by_trained_state']:.2f} | ≤ 1 |"


def growth_picture(found: Result) -> matplotlib.figure.Figure:
    """Step time against batch and trained layers, memory of the loss against batch."""

    def points(name):
        return zip(*((int(x), y) for x, y in found[name].items()), strict=True)

    with matplotlib.rc_context(STYLE):
        figure = matplotlib.figure.Figure(figsize=(11, 3.4), layout="constrained")
        by_batch, by_layers, memory = figure.subplots(1, 3)
        by_batch.plot(*points("step_seconds_by_batch"), color=BLUE, marker="o")
        by_batch.set(title="Training step", xlabel="records a batch", ylabel="seconds")
        by_layers.plot(*points("step_seconds_by_front_layers"), color=BLUE, marker="o")
        by_layers.set(title="Training step, batch 16", xlabel="front text layers trained", ylabel="seconds")
        for name, label, colour in (
            ("loss_bytes_by_batch", "all logits at once", VERMILLION),
            ("chunked_loss_bytes_by_batch", "in chunks", BLUE),
        ):
            sizes, values = points(name)
            memory.loglog(sizes, [value / 2**20 for value in values], color=colour, marker="o", label=label)
        memory.set(title="Memory of the loss", xlabel="records a batch", ylabel="MiB")
        memory.legend()
        for axes in (by_batch, by_layers):
            axes.set_ylim(bottom=0)
            axes.set_xlim(left=0)
    return figure


def write(path: Path, results: Mapping[str, Result]) -> None:
    """Writes the document, and the picture into images/ beside it."""
    above = "# Speed\n\n"
    if path.exists():
        above = path.read_text(encoding="utf-8").partition(MARKER)[0]
    lines = [above + MARKER, "", "## Beside torch and OpenCLIP", "", *beside_peers(results), "", "## Other figures", ""]
    lines += [*others(results), ""]
    path.parent.mkdir(parents=True, exist_ok=True)
    if "growth" in results:
        (path.parent / "images").mkdir(exist_ok=True)
        write_atomically(path.parent / "images" / "speed_growth.png", png(growth_picture(results["growth"])))
        lines += ["## Growth", "", "![Step time and memory against batch and layers](images/speed_growth.png)", ""]
    lines += ["## Commands", "", "Each with `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`, as `make bench` sets it.", ""]
    lines += ["| Figure | Command | Load at its end | Machine |", "|---|---|---|---|"]
    for name, found in results.items():
        machine = found["machine"]
        lines.append(f"| {name} | `{found['command']}` | {found['load']:.1f} | {machine['processor']} |")
    versions = next(iter(results.values()))["machine"]["versions"]
    lines += ["", "Versions: " + ", ".join(f"{name} {version}" for name, version in versions.items()) + ".", ""]
    write_atomically(path, "\n".join(lines).encode())


def main(arguments: list[str]) -> None:
    """Reads and writes."""
    del arguments
    results = read_results(RESULTS)
    if not results:
        raise app.UsageError(f"{RESULTS}: no results yet; run the commands in bench/ first, or `make bench`")
    write(Path(flags.FLAGS.document), results)


if __name__ == "__main__":
    flags.DEFINE_string("document", "docs/speed.md", "The page to write; its picture goes beside it.")
    app.run(main)
