r"""Compares any number of CLIP checkpoints on the benchmarks of a config, and writes a report.

    python -m jaxclip.evaluate --config=configs/evaluate.py:scenes --checkpoint=scenes-base,runs/semclip --output=scores
    python -m jaxclip.evaluate --config=configs/evaluate.py --config.root=benchmarks \
        --checkpoint=ViT-B-32.pt,runs/mine --output=scores

Checkpoints are whatever jaxclip.load takes: a run, a model directory, a file or directory of OpenAI, Hugging Face or
OpenCLIP. The first is the baseline that the others are compared with. OUTPUT gets report.html (one self-contained
page), report.md, scores.json, scores.csv, scores.tex and the figures. A benchmark whose data is not on disk is listed
with how to get it, and the others run. Embeddings are kept in OUTPUT/cache (--cache): a second evaluation, or one that
was interrupted, encodes only what is new.

The difference on your own photographs, side by side, for a text and its negation, in OUTPUT/query.html:

    python -m jaxclip.evaluate --checkpoint=ViT-B-32.pt,runs/mine --query="a street without cars" --images=photographs \
        --output=search
"""

import dataclasses
import gc
import os
import time
from collections.abc import Sequence
from pathlib import Path

import jax
from absl import app, flags
from ml_collections import ConfigDict, config_flags

from jaxclip import console, distributed
from jaxclip.benchmarks import measure_checkpoint, open_benchmarks, read_all_texts
from jaxclip.command_line import check_arguments, read_flags, refuse_command_line
from jaxclip.compiled_programs import keep_small_programs
from jaxclip.config import ConfigError, EvaluateConfig, parse
from jaxclip.console import say
from jaxclip.data.preprocessing import SEMCLIP_RELEASED, ImageError
from jaxclip.datasets import DatasetError
from jaxclip.embed import EmbedError, find_images
from jaxclip.embedder import Embedder
from jaxclip.ending import told
from jaxclip.evaluate_report import CheckpointResult, write_evaluation_report
from jaxclip.pretrained import MODEL_ERRORS, SHIPPED, load
from jaxclip.query import hits, negate, search
from jaxclip.reporting.query_page import write_query_page
from jaxclip.reporting.scorecard import print_scorecard
from jaxclip.training.sharding import make_mesh

# A search needs no data sets.
QUERY_CONFIG = EvaluateConfig.model_construct(title="search", datasets={}, benchmarks={})

# Errors of what a user gave us: shown as one message, without a traceback.
USER_ERRORS = (ConfigError, EmbedError, DatasetError, ImageError, *MODEL_ERRORS)


def checkpoint_names(sources: Sequence[str]) -> dict[str, str]:
    """Name -> source: the last part of each path, or all of it where two end alike.

    Raises:
      ConfigError: none, or the same checkpoint twice.
      FileNotFoundError: a checkpoint that is not there.
    """
    if not sources or not all(sources):
        raise ConfigError(f"--checkpoint: expected checkpoints with commas between, found {','.join(sources)!r}")
    for source in sources:
        if sources.count(source) > 1:
            raise ConfigError(f"--checkpoint: {source!r} is given twice")
        if source not in SHIPPED and not Path(source).exists():
            raise FileNotFoundError(f"--checkpoint: {source!r}: no such file or directory")
    last = [Path(source).name for source in sources]
    return {name if last.count(name) == 1 else source: source for name, source in zip(last, sources, strict=True)}


def check_directory(flag: str, path: Path) -> None:
    """Before the work instead of after it: a path to write into must be a directory or free.

    Raises:
      ConfigError: it is a file.
    """
    if path.exists() and not path.is_dir():
        raise ConfigError(f"{flag}: {str(path)!r} is a file, expected a directory or a new name")


def open_embedder(name: str, source: str, config: EvaluateConfig, cache: Path) -> Embedder:
    """A checkpoint, ready to embed."""
    clip = load(source)
    if config.preprocessing == "semclip_released":
        released = dataclasses.replace(SEMCLIP_RELEASED, size=clip.preprocessing.size)
        clip = dataclasses.replace(clip, preprocessing=released)
    mesh = make_mesh(config.mesh)
    return Embedder(name, clip, mesh, cache, dtype=config.dtype, batch_size=config.batch_size)


def execute(config: EvaluateConfig, sources: Sequence[str], output: Path, cache: Path, data_dir: Path) -> dict:
    """The whole evaluation: benchmarks, one checkpoint after another, report. Returns the content of scores.json."""
    started = time.time()
    checkpoints = checkpoint_names(sources)
    say(f"{config.title}\n{jax.device_count()} × {jax.devices()[0].device_kind}, {jax.process_count()} process(es)\n")
    benchmarks, missing = open_benchmarks(config, data_dir)
    for benchmark in benchmarks:
        say(f"{benchmark.name:<32}{sum(map(len, benchmark.splits.values())):>9,} records")
    for name, reason in missing.items():
        say(f"{name:<32}not found: {reason}")
    if not benchmarks:
        raise ConfigError("none of the benchmarks is on disk; docs/data.md says how to get them")
    texts = read_all_texts(benchmarks)
    results = {}
    for name, source in checkpoints.items():
        say(f"\n{name}")
        embedder = open_embedder(name, source, config, cache)
        results[name] = CheckpointResult(*measure_checkpoint(benchmarks, texts, embedder))
        del embedder
        gc.collect()  # one model in memory at a time
    if jax.process_index() != 0:
        return {}
    document = write_evaluation_report(
        output, config=config, benchmarks=benchmarks, missing=missing, results=results, started=started
    )
    print_scorecard(document, baseline=next(iter(checkpoints)))
    say(f"\nReport: {output / 'report.html'}")
    return document


def run_query(
    config: EvaluateConfig, sources: Sequence[str], texts: Sequence[str], pattern: str, output: Path, cache: Path
) -> None:
    """Searches for texts among photographs with each checkpoint, and writes OUTPUT/query.html."""
    paths = find_images(pattern)
    found = {}
    for name, source in checkpoint_names(sources).items():
        found[name] = search(open_embedder(name, source, config, cache), texts, paths)
        gc.collect()
    if jax.process_index() == 0:
        write_query_page(output / "query.html", texts=texts, found=hits(found, paths), photographs=len(paths))
        say(f"{len(paths):,} photographs, “{texts[0]}” and “{texts[1]}”: {output / 'query.html'}")


def main(arguments: Sequence[str]) -> None:
    """Reads the flags and runs."""
    values = flags.FLAGS
    if values.query is None and values.config is None:
        refuse_command_line("give the benchmarks by --config=configs/evaluate.py, or --query and --images")
    if values.query is not None and not values.query.strip():
        refuse_command_line("--query: found an empty text")
    check_arguments(arguments, ConfigDict() if values.query is not None else values.config)
    if (values.query is None) != (values.images is None):
        refuse_command_line("--query and --images go together")
    console.quiet_libraries()
    keep_small_programs()
    distributed.initialise()
    output = Path(values.output)
    cache = Path(values.cache) if values.cache else output / "cache"
    with told(*USER_ERRORS, goes_on="with what it had encoded"):
        check_directory("--output", output)
        check_directory("--cache", cache)
        if values.query is not None:
            config = parse(values.config, EvaluateConfig) if values.config else QUERY_CONFIG
            texts = [values.query, values.negation or negate(values.query)]
            run_query(config, values.checkpoint, texts, values.images, output, cache)
        else:
            config = parse(values.config, EvaluateConfig)
            execute(config, values.checkpoint, output, cache, Path(values.data_dir).expanduser())


def _define_flags() -> None:
    config_flags.DEFINE_config_file(
        "config", None, "The benchmarks, e.g. configs/evaluate.py or configs/evaluate.py:scenes."
    )
    flags.DEFINE_list(
        "checkpoint", None, "Checkpoints to compare, with commas between; the first is the baseline.", required=True
    )
    flags.DEFINE_string("output", None, "The directory of the report.", required=True)
    flags.DEFINE_string("query", None, "A text to search for among --images, instead of the benchmarks.")
    flags.DEFINE_string(
        "negation", None, "What to search for beside --query; by default --query with its denial turned."
    )
    flags.DEFINE_string("images", None, "The photographs of --query: a directory, or a pattern such as 'photos/*.jpg'.")
    flags.DEFINE_string("cache", None, "Where embeddings are kept; by default OUTPUT/cache.")
    flags.DEFINE_string(
        "data_dir",
        os.environ.get("TFDS_DATA_DIR", os.path.join("~", "tensorflow_datasets")),
        "Root folder of prepared data sets (also by the environment variable TFDS_DATA_DIR).",
    )


if __name__ == "__main__":
    _define_flags()
    app.run(main, flags_parser=read_flags)
