"""One run a work directory: the second is refused while the first lives."""

import contextlib
import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import jax


class WorkdirError(RuntimeError):
    """A work directory that another run uses."""


@contextlib.contextmanager
def locked(workdir: Path) -> Iterator[None]:
    """Holds WORKDIR/lock; the directory is made where it is not there. Only the first process of a run does so.

    The lock is the kernel's, by `fcntl`: it goes with the process, however that ends, and child processes do not
    inherit it. On NFS it holds among hosts where the server supports locks; where it does not, nothing is locked.

    Raises:
      WorkdirError: another process holds it; the message says which, on which host.
    """
    if jax.process_index() != 0:
        yield
        return
    workdir.mkdir(parents=True, exist_ok=True)
    path = workdir / "lock"
    with path.open("a+", encoding="utf-8") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                file.seek(0)
                raise WorkdirError(f"{workdir}: is used by another run ({file.read().strip()}); {path}") from None
            if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
                raise
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
