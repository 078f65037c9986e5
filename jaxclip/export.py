"""Writes a model of jaxclip for Hugging Face's transformers or for OpenCLIP. Needs neither of them, nor torch.

    python -m jaxclip.export --checkpoint=runs/semclip --dest=out/hf --format=huggingface
    python -m jaxclip.export --checkpoint=models/rn50 --dest=out/open_clip --format=open_clip

A checkpoint is a model directory, the work directory of a run (its newest checkpoint), the name of a model that comes
with the package, or a foreign checkpoint. The result loads with

    transformers.CLIPModel.from_pretrained("out/hf"), transformers.CLIPProcessor.from_pretrained("out/hf")
    open_clip.create_model_from_pretrained("local-dir:out/open_clip")
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from jaxclip import console
from jaxclip.console import say
from jaxclip.pretrained import ModelDirectoryError, open_model
from jaxclip.training.checkpointing import CheckpointError
from jaxclip.weights import WeightsError, write_huggingface, write_open_clip

USER_ERRORS = (WeightsError, ModelDirectoryError, CheckpointError, FileNotFoundError, FileExistsError)
WRITERS = {"huggingface": write_huggingface, "open_clip": write_open_clip}


def main(arguments: Sequence[str]) -> None:
    """Reads the flags and exports."""
    if len(arguments) > 1:
        raise app.UsageError(f"unexpected argument {arguments[1]!r}; see --help")
    console.quiet_libraries()
    values = flags.FLAGS
    try:
        WRITERS[values.format](open_model(values.checkpoint), Path(values.dest))
    except USER_ERRORS as error:
        say(f"Error: {error}")
        sys.exit(1)
    files = sorted(Path(values.dest).iterdir())
    say("\n".join(f"{file.stat().st_size:>13,} bytes  {file}" for file in files))


if __name__ == "__main__":
    flags.DEFINE_string(
        "checkpoint", None, "The model: a directory of jaxclip, a work directory, or a name.", required=True
    )
    flags.DEFINE_string("dest", None, "The directory to write.", required=True)
    flags.DEFINE_enum("format", None, sorted(WRITERS), "Which library shall load it.", required=True)
    app.run(main)
