"""Directories that appear complete or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def new_directory(directory: Path, marker: str, kind: str) -> Iterator[Path]:
    """Gives an empty directory beside `directory` to fill, and renames it when all went well.

    An older directory of that name is replaced where it holds the file `marker`, that is, where it is of the same kind.

    Args:
      directory: the final name.
      marker: the name of a file that every directory of this kind has.
      kind: what to call this kind in an error.

    Raises:
      FileExistsError: there is something else under that name.
      OSError: no directory can be made there.
    """
    check_replaceable(directory, marker, kind)
    directory = directory.absolute()
    partial, previous = partial_directory(directory), directory.with_name(f".{directory.name}.previous")
    if previous.exists() and not directory.exists():
        previous.rename(directory)  # we were killed between the two renames below
    for leftover in (partial, previous):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
    except OSError as error:
        raise OSError(f"{directory}: cannot be written: {error.strerror} ({error.filename})") from None
    try:
        yield partial
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    if directory.exists():
        directory.rename(previous)
    partial.rename(directory)
    shutil.rmtree(previous, ignore_errors=True)


def partial_directory(directory: Path) -> Path:
    """Where a directory of that name lies until it is complete."""
    directory = directory.absolute()
    return directory.with_name(f".{directory.name}.partial")


def check_replaceable(directory: Path, marker: str, kind: str) -> None:
    """Raises `new_directory`'s FileExistsError if there is something else under that name."""
    directory = directory.absolute()
    if directory.exists() and not (directory / marker).is_file() and not _is_empty(directory):
        raise FileExistsError(f"{directory}: exists and is not {kind}; it will not be replaced")


def _is_empty(directory: Path) -> bool:
    return directory.is_dir() and not any(directory.iterdir())
