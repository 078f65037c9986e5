"""SIGTERM: finish the step, save, exit. The flag is polled; nothing is interrupted half-way.

Python runs signal handlers in the main thread only, and not while that thread waits in a collective whose other side is
gone. So a thread of its own listens too: the second SIGTERM, or the second Ctrl-C, ends the process at once.
"""

import os
import signal
import socket
import sys
import threading
import time

EXIT_CODE = 128 + signal.SIGTERM
_INTERRUPTED = 128 + signal.SIGINT


class Preempted(Exception):
    """SIGTERM has come; raised where it is safe to stop."""


class Preemption:
    """Remembers SIGTERM from `install()` on."""

    def __init__(self):
        self._since: float | None = None

    def install(self) -> "Preemption":
        """Takes over SIGTERM. To be called from the main thread."""
        self._reader, self._writer = socket.socketpair()
        self._writer.setblocking(False)
        signal.signal(signal.SIGTERM, lambda number, frame: self._request())
        # The interpreter writes each signal's number here at once, whatever the main thread is doing.
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._listen, name="signals", daemon=True).start()
        return self

    def _request(self) -> None:
        if self._since is None:
            self._since = time.monotonic()

    def _listen(self) -> None:
        counts = dict.fromkeys((signal.SIGTERM, signal.SIGINT), 0)
        while True:
            for number in self._reader.recv(64):
                if number not in counts:
                    continue
                counts[number] += 1
                if number == signal.SIGTERM:
                    self._request()
                if counts[number] == 2:
                    print(f"\n{signal.Signals(number).name} came twice: ended at once.", file=sys.stderr, flush=True)
                    os._exit(EXIT_CODE if number == signal.SIGTERM else _INTERRUPTED)

    @property
    def requested(self) -> bool:
        """Whether SIGTERM has come."""
        return self._since is not None

    @property
    def seconds(self) -> float:
        """How long ago SIGTERM came; 0 where it has not."""
        return 0.0 if self._since is None else time.monotonic() - self._since

    def check(self) -> None:
        """Raises `Preempted` if SIGTERM has come."""
        if self.requested:
            raise Preempted
