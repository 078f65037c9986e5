"""Converting ViT-L/14 beside loading the same file in torch: seconds and peak memory.

    python -m bench.conversion

The file is an OpenCLIP checkpoint with random weights, once as .safetensors and once as torch's own .pt. The peer
builds OpenCLIP's model and loads the file into it. Each run is a process of its own; its peak resident memory is the
system's figure, without that of a process which only imports the libraries.
"""

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

from bench import measure

ARCH = flags.DEFINE_string("arch", "ViT-L-14", "OpenCLIP's name of the architecture.")
ROUNDS = flags.DEFINE_integer("rounds", 3, "How often each is run.")
SIDE = flags.DEFINE_enum(
    "side", None, ("make", "peer", "peer_idle", "jaxclip", "jaxclip_idle"), "One run: for the bench's own use."
)
FILE = flags.DEFINE_string("file", None, "With --side: the checkpoint.")


def make(path: Path) -> None:
    """Writes a random model as .safetensors and .pt."""
    import torch
    from safetensors.torch import save_file

    from bench import peers

    model = peers.open_clip.create_model(ARCH.value)
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    save_file(weights, path.with_suffix(".safetensors"))
    torch.save(weights, path.with_suffix(".pt"))


def load_in_torch(path: Path, idle: bool) -> None:
    """Builds the model and loads the file."""
    from bench import peers

    start = time.perf_counter()
    if not idle:
        peers.open_clip.create_model(ARCH.value, pretrained=str(path), precision="fp32")
    report(start)


def convert_it(path: Path, idle: bool) -> None:
    """Converts the file into a model directory beside it."""
    from jaxclip.convert import convert

    dest = path.with_suffix(".converted")
    shutil.rmtree(dest, ignore_errors=True)  # of the round before; removing it is no part of a conversion
    start = time.perf_counter()
    if not idle:
        convert(path, dest, format="open_clip", arch=ARCH.value)
    report(start)


def report(start: float) -> None:
    """The line that the main process reads: seconds and peak memory in bytes."""
    seconds = time.perf_counter() - start
    print("RESULT", seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)  # kibibytes on Linux


def run(side: str, path: Path) -> tuple[float, float]:
    """(seconds, peak bytes) of one run in a process of its own."""
    command = [sys.executable, "-m", "bench.conversion", f"--side={side}", f"--file={path}", f"--arch={ARCH.value}"]
    lines = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    _, seconds, peak = next(line for line in lines if line.startswith("RESULT")).split()
    return float(seconds), float(peak)


def compare(path: Path) -> dict[str, object]:
    """Our conversion of one file by torch's loading of it."""
    idle = {side: run(f"{side}_idle", path)[1] for side in ("peer", "jaxclip")}
    runs = {side: [] for side in idle}
    for _ in range(ROUNDS.value):
        for side, found in runs.items():
            found.append(run(side, path))
    seconds = {side: measure.describe_times([wall for wall, _ in found]) for side, found in runs.items()}
    memory = {side: max(peak for _, peak in found) - idle[side] for side, found in runs.items()}
    return {
        "seconds": seconds,
        "seconds_ratio": seconds["jaxclip"]["median"] / seconds["peer"]["median"],
        "peak_gib": {side: peak / 2**30 for side, peak in memory.items()},
        "peak_ratio": memory["jaxclip"] / memory["peer"],
        "file_gib": path.stat().st_size / 2**30,
    }


def main(arguments: list[str]) -> None:
    """All runs, or the one of --side."""
    del arguments
    if SIDE.value == "make":
        make(Path(FILE.value))
    elif SIDE.value is not None:
        side, _, idle = SIDE.value.partition("_")
        (load_in_torch if side == "peer" else convert_it)(Path(FILE.value), bool(idle))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "random.safetensors"
            subprocess.run(
                [sys.executable, "-m", "bench.conversion", "--side=make", f"--file={path}", f"--arch={ARCH.value}"],
                check=True,
            )
            found = {kind: compare(path.with_suffix(f".{kind}")) for kind in ("safetensors", "pt")}
        measure.keep("conversion", {"goal": 1.0, "arch": ARCH.value, **found})


if __name__ == "__main__":
    app.run(main)
