"""Converts a checkpoint of OpenAI, Hugging Face or OpenCLIP to a model directory of jaxclip. Needs no torch.

    python -m jaxclip.convert --source=ViT-B-32.pt --dest=models/vit-b-32
    python -m jaxclip.convert --source=clip-vit-large-patch14/ --dest=models/vit-l-14            (Hugging Face)
    python -m jaxclip.convert --source=open_clip_model.safetensors --dest=models/laion           (config beside it)
    python -m jaxclip.convert --source=epoch_32.pt --arch=ViT-B-32 --dest=models/mine            (OpenCLIP training run)
    python -m jaxclip.convert --source=ViT-B-32.pt --image_size=384 --dest=models/vit-b-32-384

The directory stands alone: architecture, weights, preprocessing and tokenizer. It appears complete or not at all.
Weights pass through memory a few at a time, so that a model larger than the memory can be converted.
"""

from collections.abc import Sequence
from pathlib import Path

from absl import app, flags
from tqdm import tqdm

from jaxclip import console
from jaxclip.command_line import read_flags, refuse_words
from jaxclip.console import say
from jaxclip.pretrained import MODEL_ERRORS, open_model, save_directory
from jaxclip.weights import FORMATS


def convert(
    source: Path,
    dest: Path,
    *,
    format: str = "auto",
    arch: str | None = None,
    image_size: int | None = None,
    dtype: str = "keep",
) -> None:
    """Converts `source` to the model directory `dest`; see the flags.

    Raises:
      WeightsError: the source is damaged or not a CLIP.
      ModelDirectoryError: `dest` is something else than a model directory.
      OSError: the source is missing, or `dest` cannot be written.
    """
    with console.notes():
        clip = open_model(source, format=format, arch=arch, image_size=image_size)
    params = clip.params.values()
    with tqdm(desc="Converting", total=sum(leaf.nbytes for leaf in params), unit="B", unit_scale=True) as bar:
        save_directory(clip, dest, dtype=None if dtype == "keep" else dtype, on_written=bar.update)
    kinds = sorted({leaf.dtype.name for leaf in params}) if dtype == "keep" else [dtype]
    config = clip.config
    say(f"{sum(leaf.size for leaf in params):,} parameters in {', '.join(kinds)}; activation {config.activation}")
    say(f"image tower: {config.vision}\ntext tower:  {config.text}\npixels:      {clip.preprocessing}")
    say(f"Written to {dest}")


def main(arguments: Sequence[str]) -> None:
    """Reads the flags and converts."""
    refuse_words(arguments)
    console.quiet_libraries()
    values = flags.FLAGS
    with console.user_errors(*MODEL_ERRORS):
        convert(
            Path(values.source),
            Path(values.dest),
            format=values.format,
            arch=values.arch,
            image_size=values.image_size,
            dtype=values.dtype,
        )


if __name__ == "__main__":
    flags.DEFINE_string(
        "source", None, "A file (.pt, .bin, .safetensors, an index of shards) or a directory.", required=True
    )
    flags.DEFINE_string("dest", None, "The model directory to write; an older one there is replaced.", required=True)
    flags.DEFINE_enum(
        "format", "auto", ("auto", *FORMATS), "Whose checkpoint it is; auto tells it from keys and files."
    )
    flags.DEFINE_string(
        "arch", None, "For an OpenCLIP file without open_clip_config.json: ViT-B-32, ViT-L-14-quickgelu, …"
    )
    flags.DEFINE_integer("image_size", None, "Side of the images in pixels, to resize the position embeddings.")
    flags.DEFINE_enum("dtype", "keep", ("keep", "float32"), "Keep the types of the source, or widen all to float32.")
    app.run(main, flags_parser=read_flags)
