"""How a command on one process or several ends: one message for what a user can mend, an exit status that tells more.

0    done
1    an error, which would come again
2    the command line is wrong (`jaxclip.command_line`)
75   a peer is lost, or nothing moves (`jaxclip.training.watch`): the same command goes on from the last checkpoint
130  Ctrl-C: the same
143  SIGTERM, everything is saved: the same
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

import jax
from tqdm import tqdm

from jaxclip.console import say
from jaxclip.training.preemption import EXIT_CODE, Preempted


@contextlib.contextmanager
def told(*user_errors: type[Exception], goes_on: str = "from the last checkpoint") -> Iterator[None]:
    """Ends the program when what is within raises; `user_errors` are shown without a traceback.

    `goes_on`: how the same command goes on after Ctrl-C.
    """
    sys.unraisablehook = _without_late_calls
    try:
        yield
    except Preempted:
        say("Stopped by SIGTERM; everything is saved. The same command goes on from here.")
        sys.exit(EXIT_CODE)
    except KeyboardInterrupt:
        _leave(f"Interrupted. The same command goes on {goes_on}.", 130)
    except user_errors as error:
        _leave(f"Error: {error}", 1)
    except Exception:
        _leave(traceback.format_exc(), 1)


def _without_late_calls(report) -> None:
    """Shows an exception that cannot be raised anywhere, as Python does.

    When one file of a checkpoint cannot be written, Orbax gives up the save, and TensorStore then reports each of the
    other files to an event loop that is gone.
    """
    if str(report.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(report)


def _leave(message: str, code: int) -> None:
    """Shows a message of any process, and ends it.

    Among several processes at once: a regular end would wait for the others, which wait for this one.
    """
    process = f"process {jax.process_index()}: " if jax.process_count() > 1 else ""
    tqdm.write(f"\n{process}{message}", file=sys.stderr)
    if jax.process_count() == 1:
        sys.exit(code)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
