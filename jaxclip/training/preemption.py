"""SIGTERM: finish the step, save, exit. The flag is polled; nothing is interrupted half-way."""

import signal
import threading

EXIT_CODE = 128 + signal.SIGTERM


class Preempted(Exception):
    """SIGTERM has come; raised where it is safe to stop."""


class Preemption:
    """Remembers SIGTERM from `install()` on."""

    def __init__(self):
        self._requested = threading.Event()

    def install(self) -> "Preemption":
        """Takes over SIGTERM. To be called from the main thread."""
        signal.signal(signal.SIGTERM, lambda number, frame: self._requested.set())
        return self

    @property
    def requested(self) -> bool:
        """Whether SIGTERM has come."""
        return self._requested.is_set()

    def check(self) -> None:
        """Raises `Preempted` if SIGTERM has come."""
        if self.requested:
            raise Preempted
