"""Where a run's figures go: `metrics.jsonl` (one JSON object a line, with `step`) and TensorBoard events."""

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

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
    """Writes figures of steps. Rows after `resume_step` are of steps that will be made again: they are taken out.

    Raises:
      OSError: at any call, the disk is full or the directory is gone; with the file's name.
    """

    def __init__(self, workdir: Path, resume_step: int):
        self._path = workdir / "metrics.jsonl"
        self._kept = [row for row in read_metrics(self._path) if row["step"] <= resume_step]
        write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in self._kept).encode())
        self._file = self._path.open("a", encoding="utf-8")
        # Not tensorboardX, which imports torch where it is installed, and whose thread dies of a full disk. The process
        # is in the name, so that a clock that was set back does not lead to an earlier file.
        events = workdir / "tensorboard"
        events.mkdir(exist_ok=True)
        name = f"events.out.tfevents.{time.time():010.0f}.{socket.gethostname()}.{os.getpid()}"
        self._events = RecordWriter((events / name).open("wb"))
        self._add(file_version="brain.Event:2")
        # TensorBoard drops what it has of the steps from here on.
        self._add(step=resume_step + 1, session_log=SessionLog(status=SessionLog.START))

    def _add(self, **event) -> None:
        self._events.write(Event(wall_time=time.time(), **event).SerializeToString())

    def last(self, figure: str, default: float) -> float:
        """The newest value of a figure before the run was resumed."""
        return next((row[figure] for row in reversed(self._kept) if figure in row), default)

    def has(self, step: int, figure_prefix: str) -> bool:
        """Whether a row of this step from before the run was resumed has such a figure."""
        return any(name.startswith(figure_prefix) for row in self._kept if row["step"] == step for name in row)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """One row; it is in the file when this returns."""
        with self._named_errors():
            self._file.write(json.dumps({"step": step, **figures}) + "\n")
            self._file.flush()
            values = [Summary.Value(tag=name, simple_value=value) for name, value in figures.items()]
            self._add(step=step, summary=Summary(value=values))

    def flush(self) -> None:
        """All of it is on the disk when this returns."""
        with self._named_errors():
            os.fsync(self._file.fileno())
            self._events.flush()

    @contextlib.contextmanager
    def _named_errors(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._path)) from None

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(self, kind, error, trace) -> None:
        """Closes both. What cannot be written then is no second error where there is one already."""
        with contextlib.suppress(OSError) if kind else contextlib.nullcontext():
            try:
                self._file.close()
            finally:
                self._events.close()
