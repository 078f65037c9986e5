"""What `jaxclip.main --dry_run` shows: the data of a config, built and looked at before anything is trained on it.

For every split that the config's streams and evaluation read: how many records and images, which roles there are and
which ones the objectives lack, how long the texts are in tokens and how many are cut, the classes of a zero-shot set,
images that cannot be decoded, rows that the build skipped, images that two splits share; and a contact sheet of 16
records with all their texts.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxclip.config import Config
from jaxclip.console import Bar, say
from jaxclip.data.feature_cache import unique_images
from jaxclip.data.inspection import ImageSummary, TextSummary, shared_images, summarise_images, summarise_texts
from jaxclip.data.preprocessing import ImageError, decode_image
from jaxclip.data.tokenizer import Tokenizer
from jaxclip.datasets import Split
from jaxclip.datasets.records.builder import BAD_RECORDS_FILE
from jaxclip.files import write_atomically
from jaxclip.prepare import build_terms, open_splits, starting_model, stream_split
from jaxclip.reporting.contact_sheet import contact_sheet
from jaxclip.reporting.plots import png

SHEET_RECORDS = 16
_BLOCKS = "▁▂▃▄▅▆▇█"


def model_tokenizer(config: Config, splits: Mapping[str, Split]) -> Tokenizer:
    """The tokenizer of the model that `config.model.init` names."""
    if config.model.init.startswith("random:") and config.model.tokenizer == "clip":
        return Tokenizer.clip()  # drawing random weights would take minutes
    return starting_model(config, splits).tokenizer


def missing_roles(config: Config, splits: Mapping[str, Split]) -> dict[str, list[str]]:
    """Split → roles, of texts and images, that an objective of its stream needs and it does not have."""
    missing: dict[str, list[str]] = {}
    for term in build_terms(config, mesh=None):
        name = stream_split(config, term.stream)
        available = (*splits[name].roles, *splits[name].images)
        needed = (*term.objective.images, *term.objective.roles)
        missing.setdefault(name, []).extend(role for role in needed if role not in available)
    return {name: list(dict.fromkeys(roles)) for name, roles in missing.items() if roles}


def describe_texts(role: str, summary: TextSummary, context_length: int) -> str:
    """One line: the lengths as a row of bars, then their figures."""
    counts = np.array([count for _, count in summary.histogram(context_length)])
    heights = np.ceil(counts / counts.max() * len(_BLOCKS)).astype(int)
    bars = "".join(_BLOCKS[height - 1] if height else " " for height in heights)
    shortest, median, longest = summary.quantiles()
    cut = f", {summary.truncated:,} cut" if summary.truncated else ""
    return f"  {role:<22}{bars}  {shortest} to {longest} tokens, median {median}{cut}"


def sheet_records(split: Split) -> list[tuple[str, dict[str, np.ndarray | None], dict[str, str]]]:
    """Records evenly spread over the split, for `contact_sheet`."""
    numbers = np.unique(np.linspace(0, len(split) - 1, SHEET_RECORDS).astype(int))
    chosen = []
    for number in numbers.tolist():
        record = split[number]
        labels = {classes.name: record[classes.name] for classes in split.zeroshot if record[classes.name]}
        texts = {role: record[role] for role in split.roles} | labels
        chosen.append((record["id"], {role: _pixels(record, role) for role in split.images}, texts))
    return chosen


def _pixels(record: dict, role: str) -> np.ndarray | None:
    image = record[role]
    if not isinstance(image, bytes):
        return image
    try:
        decoded = decode_image(image, record["id"])
    except ImageError:
        return None
    decoded.thumbnail((400, 400))
    return np.asarray(decoded)


def inspect_split(name: str, split: Split, tokenizer: Tokenizer) -> dict[str, ImageSummary]:
    """Prints what is in one split; its images by role."""
    summaries = {}
    for role in split.images:
        first, _ = unique_images(split, role)
        with Bar(f"{name}: {role}", len(first), "images", lambda: None, leave=False) as bar:
            summaries[role] = summarise_images(split, first, role, bar.advance)
    counts = ", ".join(f"{len(summary.digests):,} × {role}" for role, summary in summaries.items())
    say(f"\n{name}: {len(split):,} records, {counts}")
    records = [split[number] for number in range(len(split))]
    for role in split.roles:
        texts = summarise_texts([record[role] for record in records], tokenizer)
        say(describe_texts(role, texts, tokenizer.context_length))
    for classes in split.zeroshot:
        say(f"  {classes.name}: {len(classes.classes):,} classes, {classes.classes[0]} to {classes.classes[-1]}")
    if split.folder is None:
        return summaries
    say(f"  built in {split.folder}")
    skipped = split.folder / BAD_RECORDS_FILE
    if skipped.exists():
        count = sum(1 for _ in skipped.open())
        say(f"  {count:,} bad rows of the whole data set were left out: {skipped}")
        say(f"  (mended ones come in when {split.folder} is removed)")
    return summaries


def problems_of(missing: Mapping[str, Sequence[str]], summaries: Mapping[str, Mapping[str, ImageSummary]]) -> list[str]:
    """What is wrong, a line each."""
    lines = [f"{name} lacks what its objectives need: {', '.join(roles)}" for name, roles in missing.items()]
    for name, by_role in summaries.items():
        for role, summary in by_role.items():
            broken = list(summary.broken.values())
            if broken:
                lines.append(f"{name}: {len(broken):,} broken images ({role}), the first: {broken[0]}")
    shared = shared_images({name: by_role["image"] for name, by_role in summaries.items()})
    return lines + [f"{a} and {b} share {count:,} images" for a, b, count in shared]


def inspect(config: Config, data_dir: Path, output: Path) -> list[str]:
    """Builds, prints and draws.

    Args:
      config: of a training run.
      data_dir: the root folder of TFDS data sets.
      output: gets a contact sheet of each split, DATASET_SPLIT.png.

    Returns:
      What is wrong, a line each.

    Raises:
      DatasetError, ConfigError, FileNotFoundError: data that cannot be built, or a model that cannot be read.
    """
    splits = open_splits(config, data_dir)
    tokenizer = model_tokenizer(config, splits)
    output.mkdir(parents=True, exist_ok=True)
    summaries = {}
    for name, split in splits.items():
        summaries[name] = inspect_split(name, split, tokenizer)
        sheet = output / f"{name.replace('/', '_')}.png"
        write_atomically(sheet, png(contact_sheet(f"{name}: {len(split):,} records", sheet_records(split))))
        say(f"  {sheet}")
    return problems_of(missing_roles(config, splits), summaries)
