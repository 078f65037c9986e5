"""What is wrong with a command line is one line and the exit status 2. Without JAX, which not every command needs."""

import sys
from collections.abc import Sequence
from typing import NoReturn

from absl import flags
from ml_collections import ConfigDict


def refuse_command_line(reason: str) -> NoReturn:
    """Ends the program with one line on what is wrong with its command line (exit status 2)."""
    print(f"Error: {reason}", file=sys.stderr)
    sys.exit(2)


def read_flags(arguments: Sequence[str]) -> list[str]:
    """Parses the command line; what is wrong with it or with the config file is one line, not a traceback."""
    try:
        return flags.FLAGS(list(arguments))
    except flags.Error as error:
        # An error of the config file itself, such as an unknown variant, comes as a traceback; its last line says it.
        reason = str(error).strip().splitlines()[-1].removeprefix("ValueError: ")
    except (AttributeError, KeyError) as error:
        # ml_collections names the unknown key and its near match, wrapped in one or two exceptions.
        while error.args and isinstance(error.args[0], Exception):
            error = error.args[0]
        reason = "config has no key " + ". ".join(str(error.args[0]).splitlines())
    refuse_command_line(reason)


def refuse_words(arguments: Sequence[str], advice: str = "see --help") -> None:
    """Ends the program where a word of its command line is no flag.

    Args:
      arguments: what `read_flags` left, after the program's name.
      advice: what to do instead.
    """
    if len(arguments) > 1:
        refuse_command_line(f"unexpected argument {arguments[1]!r}; {advice}")


def check_arguments(arguments: Sequence[str], config: object) -> None:
    """Ends the program where a word is no flag, or `--config` names no file."""
    refuse_words(arguments, "settings are given as --config.KEY=VALUE")
    if not isinstance(config, ConfigDict):
        refuse_command_line("--config: no such file; see the files in configs/")
