"""Goodput: the share of the time since a run's first start that went into steps which counted, over all its restarts.

What is lost is starting, compiling, validating, steps that a kill made undone, skipped steps, and the time between an
end and the next start.
"""

import contextlib
import json
import time
from pathlib import Path

from jaxclip.files import write_atomically

PRODUCTIVE = "performance/productive_seconds"


class Goodput:
    """Keeps WORKDIR/goodput.json.

    Only the time between two starts is taken from the calendar's clock, since no other one goes on over a restart;
    where that was set back, the time between counts as none.

    Args:
      path: the file.
      productive: seconds of steps of earlier starts that still count.
    """

    def __init__(self, path: Path, productive: float):
        self.productive = productive
        self._path, self._started, self._earlier = path, time.monotonic(), 0.0
        # None at the first start; with a damaged file only this figure begins anew.
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            found = json.loads(path.read_text(encoding="utf-8"))
            self._earlier = float(found["elapsed"]) + max(0.0, time.time() - float(found["at"]))
        self.save()

    def elapsed(self) -> float:
        """Seconds since the first start of the run."""
        return self._earlier + time.monotonic() - self._started

    def fraction(self) -> float:
        """The goodput, from 0 to 1."""
        return min(1.0, self.productive / max(self.elapsed(), 1e-9))

    def figures(self) -> dict[str, float]:
        """For a row of metrics.jsonl, from which a restart takes what still counts."""
        return {"performance/goodput": self.fraction(), PRODUCTIVE: self.productive}

    def save(self) -> None:
        """Writes how long the run has been going on."""
        content = {"elapsed": self.elapsed(), "at": time.time()}
        write_atomically(self._path, (json.dumps(content) + "\n").encode())
