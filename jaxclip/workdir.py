"""Whose run a work directory holds: its config.json, which a resumed run is compared with."""

import json
from pathlib import Path

import jax

from jaxclip.config import Config, ConfigError, parse
from jaxclip.files import write_atomically

BASE = Path("checkpoints", "base")  # the model that the run started from, a model directory
# What makes a run the run that it is; the rest of a config, and `model.remat`, may change when it is resumed.
IDENTITY = ("seed", "model", "datasets", "streams", "objectives", "trainable", "optimizer", "schedule")


def check_workdir(workdir: Path, config: Config) -> None:
    """Compares with the config.json that is there, if any, as this version reads it.

    Raises:
      ConfigError: the directory holds another run, or one that this version cannot go on with.
    """
    path = workdir / "config.json"
    if not path.exists():
        return
    try:
        found = parse(path.read_bytes()).model_dump(mode="json")
    except ConfigError as error:
        raise ConfigError(f"{path}: not a config of this version, so the run cannot go on:\n{error}") from None
    values = config.model_dump(mode="json")
    for model in (found["model"], values["model"]):
        del model["remat"]  # but for rounding the same result, with less memory or in less time
    changed = [key for key in IDENTITY if found[key] != values[key]]
    if changed:
        raise ConfigError(
            f"{workdir}: holds a run with other settings ({', '.join(f'config.{key}' for key in changed)}); "
            "give the settings of that run to go on with it, or another --workdir"
        )


def write_config(workdir: Path, config: Config) -> None:
    """Writes config.json, which makes the directory that of this run."""
    if jax.process_index() == 0:
        workdir.mkdir(parents=True, exist_ok=True)
        content = json.dumps(config.model_dump(mode="json"), indent=2) + "\n"
        write_atomically(workdir / "config.json", content.encode())
