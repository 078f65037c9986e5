"""Bad steps: a loss, gradient or update that is not finite, or a gradient beyond a limit. The run stops, or skips them.

A skipped step changes nothing: parameters, moments and counts stay as they were before it.
"""

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxclip.console import say
from jaxclip.files import write_atomically
from jaxclip.training.metrics_log import read_metrics

CHECKED = ("loss", "gradient_norm", "update_norm")  # a finite loss can have a gradient that is not
_SHOWN_IDS = 8


class TrainingError(RuntimeError):
    """A run that cannot go on, with the reason."""


def skip_bad_steps(step_function: Callable, max_gradient_norm: float | None) -> Callable:
    """The same step, but one whose figures are bad gives back the state that it got.

    Its metrics have `skipped`, 1 or 0, beside the figures of the step. A good step's state is bitwise that of
    `step_function`.
    """

    def step(state, frozen, batch):
        new, metrics = step_function(state, frozen, batch)
        good = jnp.isfinite(jnp.stack([metrics[name] for name in CHECKED])).all()
        if max_gradient_norm is not None:
            good &= metrics["gradient_norm"] <= max_gradient_norm
        kept = jax.tree.map(lambda after, before: jnp.where(good, after, before), new, state)
        return kept, {**metrics, "skipped": 1.0 - good.astype(jnp.float32)}

    return step


class BadSteps:
    """Counts the skipped steps of a run and says which records were in them.

    Args:
      limit: how many may be skipped, over restarts; then the run stops. 0 stops at the first, without `skip_bad_steps`.
      max_gradient_norm: a larger gradient norm is bad as well; None for no limit.
      record_ids: step → stream → the ids of the records of its global batch.
      log: a JSON lines file with a row a bad step; None in all processes but the first.
    """

    def __init__(
        self,
        limit: int,
        max_gradient_norm: float | None,
        record_ids: Callable[[int], Mapping[str, list[str]]],
        log: Path | None,
    ):
        self._limit, self._max_gradient_norm, self._record_ids, self._log = limit, max_gradient_norm, record_ids, log
        self.skipped = 0

    def get_state(self) -> dict[str, int]:
        """How many steps were skipped."""
        return {"skipped": self.skipped}

    def set_state(self, state: Mapping[str, int]) -> None:
        """Goes on with the count of a checkpoint.

        Raises:
          ValueError: not a state of `get_state`.
        """
        if set(state) != {"skipped"}:
            raise ValueError(f"found {dict(state)}, expected the number of skipped steps")
        self.skipped = int(state["skipped"])

    def _reason(self, figures: Mapping[str, float]) -> str | None:
        for name in CHECKED:
            if not math.isfinite(figures[name]):
                return f"the {name} of step {{step}} is {figures[name]}"
        norm, limit = figures["gradient_norm"], self._max_gradient_norm
        # What the step itself has decided counts: it compares in float32.
        if limit is not None and figures.get("skipped", norm > limit):
            return f"the gradient_norm of step {{step}} is {norm:.6g}, more than {self._max_gradient_norm:g}"
        return None

    def check(self, number: int, figures: Mapping[str, float], not_finite: Mapping[str, jax.Array]) -> bool:
        """Whether the step of that number was a bad one, which has been skipped, told and logged.

        Args:
          number: of the step.
          figures: its metrics.
          not_finite: stream → bool [B], the records that the fault begins with, see `step.records_not_finite`.

        Raises:
          TrainingError: it is bad, and no more may be skipped.
        """
        reason = self._reason(figures)
        if reason is None:
            return False
        ids = self._record_ids(number)
        culprits = _culprits(ids, not_finite)
        reason = reason.format(step=number)
        self._write({"step": number, "reason": reason, "records": ids, "not_finite": culprits})
        where = f"Not finite are: {_listed(culprits)}" if culprits else f"Its records: {_listed(ids)}"
        if self.skipped >= self._limit:
            skipped = f" ({self.skipped} steps were skipped)" if self.skipped else ""
            raise TrainingError(f"{reason}{skipped}; the checkpoint before it is kept. {where}")
        self.skipped += 1
        say(f"Note: {reason}; skipped ({self.skipped} of at most {self._limit}). {where}")
        return True

    def _write(self, row: dict) -> None:
        """Adds a row, or replaces that of an earlier try of the same step."""
        if self._log is not None:
            rows = [found for found in read_metrics(self._log) if found["step"] < row["step"]]
            write_atomically(self._log, "".join(json.dumps(each) + "\n" for each in [*rows, row]).encode())


def _culprits(ids: Mapping[str, list[str]], not_finite: Mapping[str, jax.Array]) -> dict[str, list[str]]:
    """Stream → the ids of the records that are not finite; none where all are, as bad weights make them."""
    found = {name: np.flatnonzero(records) for name, records in not_finite.items()}
    if sum(map(len, found.values())) == sum(map(len, ids.values())):
        return {}
    return {name: [ids[name][number] for number in numbers] for name, numbers in found.items() if len(numbers)}


def _listed(ids: Mapping[str, list[str]]) -> str:
    return "; ".join(f"{name}: {_some(records)}" for name, records in ids.items())


def _some(records: list[str]) -> str:
    more = len(records) - _SHOWN_IDS
    return ", ".join(records[:_SHOWN_IDS]) + (f" and {more} more (all in bad_steps.jsonl)" if more > 0 else "")
