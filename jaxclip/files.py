"""Writing a file so that a reader never sees half of it. The one module that every room may import."""

import os
import pathlib
import uuid


def write_atomically(path: pathlib.Path, content: bytes) -> None:
    """Writes to a temporary name beside `path`, then renames: `path` holds the old content or the new, never a part.

    The content is on the disk before the name points to it, so a crash of the machine does not leave an empty file.
    Several processes, also of several hosts, may write the same path at once.
    """
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
