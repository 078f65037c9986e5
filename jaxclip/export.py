"""Writes a model of jaxclip for Hugging Face's transformers or for OpenCLIP. Needs neither of them, nor torch.

    python -m jaxclip.export --checkpoint=runs/semclip --dest=out/hf --format=huggingface
    python -m jaxclip.export --checkpoint=models/rn50 --dest=out/open_clip --format=open_clip

A checkpoint is a model directory, the work directory of a run (its newest checkpoint), the name of a model that comes
with the package, or a foreign checkpoint. The result loads with

    transformers.CLIPModel.from_pretrained("out/hf"), transformers.CLIPProcessor.from_pretrained("out/hf")
    open_clip.create_model_from_pretrained("local-dir:out/open_clip")
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags

from jaxclip import console
from jaxclip.command_line import read_flags, refuse_words
from jaxclip.console import say
from jaxclip.pretrained import MODEL_ERRORS, open_model
from jaxclip.weights import write_huggingface, write_open_clip

WRITERS = {"huggingface": write_huggingface, "open_clip": write_open_clip}


def main(arguments: Sequence[str]) -> None:
    """Reads the flags and exports."""
    refuse_words(arguments)
    console.quiet_libraries()
    values = flags.FLAGS
    with console.user_errors(*MODEL_ERRORS):
        with console.notes():
            clip = open_model(values.checkpoint)
        WRITERS[values.format](clip, Path(values.dest))
    files = sorted(Path(values.dest).iterdir())
    say("\n".join(f"{file.stat().st_size:>13,} bytes  {file}" for file in files))


if __name__ == "__main__":
    flags.DEFINE_string(
        "checkpoint", None, "The model: a model directory, a run's work directory, scenes-base, …", required=True
    )
    flags.DEFINE_string("dest", None, "The directory to write; an older export there is replaced.", required=True)
    flags.DEFINE_enum("format", None, sorted(WRITERS), "Which library shall load it.", required=True)
    app.run(main, flags_parser=read_flags)
