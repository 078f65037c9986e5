"""Where the processes of a run tell each other how they are: keys of JAX's coordination service, beside collectives.

Process 0 serves it. JAX ends the other processes by abort(), with a page of C++, as soon as process 0 is gone;
`explain_abort` puts a sentence and an exit status in the place of that.
"""

import ctypes
import dataclasses
import json
import os
import signal
import socket
import sys
from collections.abc import Callable

import jax
from jax._src import distributed  # JAX has no public way to the service that `jax.distributed.initialize` starts

_KEY = "jaxclip/process/"
_PROBE_SECONDS = 5.0


@dataclasses.dataclass(frozen=True)
class Notice:
    """What a process says of itself.

    Attributes:
      beat: counts up with every notice, so that a process which says the same again can be told from one that is gone.
      state: `running`, `finished` or `failed`.
      step, phase: where it is.
      error: of a failed one.
    """

    beat: int
    state: str
    step: int
    phase: str
    error: str = ""
    host: str = dataclasses.field(default_factory=socket.gethostname)
    pid: int = dataclasses.field(default_factory=os.getpid)


def post(notice: Notice) -> None:
    """Puts up this process's notice. Blocks for as long as process 0 does not answer."""
    key = f"{_KEY}{jax.process_index()}"
    distributed.global_state.client.key_value_set(key, json.dumps(dataclasses.asdict(notice)), allow_overwrite=True)


def read() -> dict[int, Notice]:
    """The notices of all processes. Blocks for as long as process 0 does not answer."""
    found = distributed.global_state.client.key_value_dir_get(_KEY)
    return {int(key.rpartition("/")[2]): Notice(**json.loads(value)) for key, value in found}


def service_address() -> str:
    """HOST:PORT of the coordination service, that is, of process 0."""
    return distributed.global_state.coordinator_address


def _service_is_there() -> bool:
    host, _, port = service_address().rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PROBE_SECONDS).close()
    except OSError:
        return False
    return True


_HANDLER = ctypes.CFUNCTYPE(None, ctypes.c_int)
_installed: list[_HANDLER] = []  # a handler that is garbage-collected is a crash


def explain_abort(end: Callable[[str], None]) -> None:
    """From now on, `end(message)` is called when JAX aborts this process because process 0 is gone.

    The signal is raised in a thread of JAX's, while the main thread waits in a collective: Python's own handlers would
    never run.
    """

    def aborted(number: int) -> None:
        if not _service_is_there():
            end(f"process 0, which serves {service_address()}, has died or cannot be reached")
        signal.signal(signal.SIGABRT, signal.SIG_DFL)  # something else is wrong: what was to happen happens
        sys.stderr.flush()

    _installed.append(_HANDLER(aborted))
    libc = ctypes.CDLL(None)
    libc.signal.argtypes = [ctypes.c_int, _HANDLER]
    libc.signal(signal.SIGABRT, _installed[-1])
