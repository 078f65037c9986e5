"""What the processes of a run must agree on: equal settings and weights, shapes of a batch, when to stop.

Every process has to call these functions at the same point. With one process they cost nothing.
"""

import jax
import numpy as np
from jax.experimental import multihost_utils

from jaxclip.data.packing import pad_rows
from jaxclip.training.preemption import Preempted, Preemption


class AgreementError(RuntimeError):
    """The processes of a run do not do the same."""


def check_equal(what: str, digest: bytes) -> None:
    """Compares a digest of the same length among the processes.

    Raises:
      AgreementError: one differs from that of process 0; the message names `what` and the processes.
    """
    if jax.process_count() == 1:
        return
    digests = np.asarray(multihost_utils.process_allgather(np.frombuffer(digest, np.uint8)))
    differing = [str(number) for number in range(len(digests)) if (digests[number] != digests[0]).any()]
    if differing:
        raise AgreementError(
            f"{what} of process {', '.join(differing)} differs from that of process 0: all processes must be started "
            "with the same command, the same version and the same files"
        )


def agree(batch: dict, preemption: Preemption, state) -> tuple[dict, bool]:
    """(the batch with as many rows of packed texts in every process, whether SIGTERM has come to any of them).

    One global array needs equal rows, and all must stop after the same step; one exchange serves both. `state` is what
    the step before gives.
    """
    if jax.process_count() == 1:
        return batch, preemption.requested
    # An accelerator does the exchange after the step in any case. CPUs would do both at once, and mix up the messages
    # of the two programs where the processes begin them in another order.
    jax.block_until_ready(state)
    mine = [stream["texts"]["tokens"].shape[1] for stream in batch.values()]
    *rows, stop = np.asarray(multihost_utils.process_allgather(np.array([*mine, preemption.requested]))).max(axis=0)
    padded = {
        name: {**stream, "texts": pad_rows(stream["texts"], int(count))}
        for (name, stream), count in zip(batch.items(), rows, strict=True)
    }
    return padded, bool(stop)


def any_process(condition: bool) -> bool:
    """Whether it holds in any process."""
    if jax.process_count() == 1:
        return condition
    return bool(np.asarray(multihost_utils.process_allgather(np.array(condition))).any())


def check_together(preemption: Preemption) -> None:
    """Raises `Preempted` in every process if SIGTERM has come to any."""
    if any_process(preemption.requested):
        raise Preempted
