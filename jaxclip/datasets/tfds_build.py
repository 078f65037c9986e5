"""Building a TFDS data set without its talk, also when several processes ask for it at once."""

import contextlib
import io
from collections.abc import Callable, Iterator

import tensorflow_datasets as tfds
from absl import logging


def prepare_builder(open_builder: Callable[[], tfds.core.DatasetBuilder]) -> tfds.core.DatasetBuilder:
    """Builds the data set unless it is there already; it appears on disk only when complete.

    Args:
        open_builder: makes the builder.

    Returns:
        The builder, ready for `as_data_source`.
    """
    with quiet():
        builder = open_builder()
        try:
            builder.download_and_prepare()
        except OSError:
            # Another process may have put the same records there first; then ours could not be renamed to them.
            builder = open_builder()
            if not builder.is_prepared():
                raise
    return builder


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps back what TFDS prints beside our own progress bars, warnings about custom settings included."""
    tfds.disable_progress_bar()
    verbosity = logging.get_verbosity()
    logging.set_verbosity(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.set_verbosity(verbosity)
