"""What a person sees in the terminal: our own lines and one progress bar, and no library chatter."""

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Iterator

import jax
from absl import logging as absl_logging
from tqdm import tqdm


def quiet_libraries() -> None:
    """Lets libraries speak only of errors. To be called before the first use of JAX."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    absl_logging.set_verbosity(absl_logging.FATAL)  # what Orbax logs as an error, with a traceback, it also raises
    for name in ("jax", "orbax", "grain", "etils"):
        logging.getLogger(name).setLevel(logging.ERROR)
    # Orbax writes the parts of a checkpoint as tasks and raises the error of the first; asyncio logs those of the rest.
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", category=DeprecationWarning)


def say(line: str = "") -> None:
    """Prints a line, once for all processes."""
    if jax.process_index() == 0:
        tqdm.write(line)


@contextlib.contextmanager
def notes() -> Iterator[None]:
    """Shows the warnings of what is done within as lines that begin with `Note:`."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always", UserWarning)
        yield
    for note in found:
        say(f"Note: {note.message}")


@contextlib.contextmanager
def user_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Ends the program with one line instead of a traceback where what a user gave us is wrong (exit status 1)."""
    try:
        yield
    except kinds as error:
        tqdm.write(f"Error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        tqdm.write("Interrupted.", file=sys.stderr)
        sys.exit(130)


class Bar:
    """A progress bar with rate and ETA over `total` items, of which `initial` were done before.

    `check` is called after each batch and may raise to stop.
    """

    def __init__(
        self,
        description: str,
        total: int,
        unit: str,
        check: Callable[[], None],
        *,
        leave: bool = True,
        initial: int = 0,
    ):
        self._check = check
        self._bar = tqdm(
            total=total,
            initial=initial,
            desc=description,
            unit=f" {unit}",
            disable=jax.process_index() != 0,
            leave=leave,
            dynamic_ncols=True,
        )

    def __enter__(self) -> "Bar":
        return self

    def __exit__(self, *error) -> None:
        self._bar.close()

    def advance(self, items: int) -> None:
        """Moves on by `items`, not beyond the end."""
        self._bar.update(min(items, self._bar.total - self._bar.n))
        self._check()
