"""Where a run's figures go: `metrics.jsonl` (one JSON object a line, with `step`) and TensorBoard events."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

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
        self._kept = [row for row in read_metrics(self._path) if row["step"] <= resume_step]
        write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in self._kept).encode())
        self._file = self._path.open("a", encoding="utf-8")
        events = workdir / "tensorboard"
        events.mkdir(exist_ok=True)
        # Not tensorboardX's SummaryWriter: its thread dies of a full disk, and the run would wait for it for ever. The
        # process is in the name, so that a clock that was set back does not lead to an earlier file.
        self._events = EventsWriter(str(events / "events"), f".{os.getpid()}")
        # TensorBoard drops what it has of these steps.
        start = SessionLog(status=SessionLog.START)
        self._events.write_event(Event(wall_time=time.time(), step=resume_step + 1, session_log=start))

    def last(self, figure: str, default: float) -> float:
        """The newest value of a figure before the run was resumed."""
        return next((row[figure] for row in reversed(self._kept) if figure in row), default)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One row; it is in the file when this returns."""
        self._file.write(json.dumps({"step": step, **figures}) + "\n")
        self._file.flush()
        for name, value in figures.items():
            self._events.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))

    def flush(self) -> None:
        """All of it is on the disk when this returns."""
        os.fsync(self._file.fileno())
        self._events.flush()

    def close(self) -> None:
        """Flushes and closes both."""
        self._file.close()
        self._events.close()
