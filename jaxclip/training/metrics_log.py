"""Where a run's figures go: `metrics.jsonl` (one JSON object a line, with `step`) and TensorBoard events."""

import json
from collections.abc import Mapping
from pathlib import Path

import tensorboardX

from jaxclip.files import write_atomically


def read_metrics(path: Path) -> list[dict]:
    """The rows of a `metrics.jsonl`, [] where there is none. A last line cut off by a kill is left out."""
    if not path.exists():
        return []
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return rows


class MetricsLog:
    """Writes figures of steps. Rows after `resume_step` are of steps that will be made again: they are taken out."""

    def __init__(self, workdir: Path, resume_step: int):
        self._path = workdir / "metrics.jsonl"
        kept = [row for row in read_metrics(self._path) if row["step"] <= resume_step]
        write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._file = self._path.open("a", encoding="utf-8")
        self._events = tensorboardX.SummaryWriter(str(workdir / "tensorboard"), purge_step=resume_step + 1)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One row; it is on disk when this returns."""
        self._file.write(json.dumps({"step": step, **figures}) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self._events.add_scalar(name, value, step)

    def close(self) -> None:
        """Flushes and closes both."""
        self._file.close()
        self._events.close()
