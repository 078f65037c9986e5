"""What a finished run shows: scores before and after, similarity histograms, curves, a gallery, its provenance."""

import importlib.metadata
import io
import platform
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

import jax
import numpy as np
import pydantic

from jaxclip.config import Config
from jaxclip.data.preprocessing import decode_image
from jaxclip.evaluation.similarity import unit
from jaxclip.evaluation.suite import scores_document, similarities
from jaxclip.evaluator import Scored
from jaxclip.reporting.report import write_report
from jaxclip.training.metrics_log import read_metrics
from jaxclip.training.speed import is_of_the_machine

GALLERY_QUERIES = 4
GALLERY_IMAGES = 6
THUMBNAIL_PIXELS = 160
# Search of the gallery -> the text role that is searched for.
_QUERY_ROLES = {"query": "caption", "paraphrased_query": "paraphrase", "negated_query": "negation"}
LIBRARIES = ("jaxclip", "jax", "flax", "optax", "orbax-checkpoint", "grain", "tensorflow-datasets", "numpy")

ScoredSplits = Mapping[str, Scored]


def thumbnail(data: bytes, name: str) -> bytes:
    """Encoded image → a PNG or JPEG of at most `THUMBNAIL_PIXELS` a side."""
    image = decode_image(data, name)
    if max(image.size) <= THUMBNAIL_PIXELS:
        kind = "PNG"
    else:
        image.thumbnail((THUMBNAIL_PIXELS, THUMBNAIL_PIXELS))
        kind = "JPEG"
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, kind)
    return buffer.getvalue()


def _top_images(split, scored: Scored, role: str, number: int) -> list[dict]:
    """The images nearest to record `number`'s text of a role.

    Known is only what the record says: its caption is true of its own image, its negation false of it.
    """
    similarity = unit(scored.embeddings["image"]) @ unit(scored.embeddings[role][number : number + 1])[0]
    own = scored.image_index[number]
    shown = []
    for row in np.argsort(-similarity, kind="stable")[:GALLERY_IMAGES]:
        record = split[int(np.flatnonzero(scored.image_index == row)[0])]
        shown.append(
            {
                "image": thumbnail(record["image"], record["id"]),
                "score": float(similarity[row]),
                "correct": role != "negation" if row == own else None,
            }
        )
    return shown


def gallery(split, by_checkpoint: Mapping[str, Scored], seed: int) -> list[dict]:
    """A few records, drawn by seed: what caption, paraphrase and negation find, by each checkpoint."""
    if "negation" not in split.roles:
        return []
    roles = {kind: role for kind, role in _QUERY_ROLES.items() if role in split.roles}
    numbers = np.random.default_rng(seed).choice(len(split), min(GALLERY_QUERIES, len(split)), replace=False)
    return [
        {kind: split[int(number)][role] for kind, role in roles.items()}
        | {
            "checkpoints": {
                name: {kind: _top_images(split, scored, role, int(number)) for kind, role in roles.items()}
                for name, scored in by_checkpoint.items()
            },
        }
        for number in numbers
    ]


def provenance(config: pydantic.BaseModel, module: str = "jaxclip.main") -> dict:
    """How to make the run again: command (of this module), versions, machine, the whole config."""
    return {
        "command": shlex.join(["python", "-m", module, *sys.argv[1:]]),
        "versions": {
            "python": platform.python_version(),
            **{library: importlib.metadata.version(library) for library in LIBRARIES if _installed(library)},
        },
        "machine": f"{platform.platform()}, {jax.device_count()} × {jax.devices()[0].device_kind}",
        "config": config.model_dump(mode="json"),
    }


def _installed(library: str) -> bool:
    try:
        importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def write_run_report(
    workdir: Path,
    *,
    config: Config,
    splits: Mapping[str, object],
    base: ScoredSplits,
    final: ScoredSplits,
    summary: Mapping[str, object],
) -> dict:
    """Writes WORKDIR/report and returns the content of its scores.json."""
    by_checkpoint = {"base": base, "final": final}
    document = scores_document(
        {name: {split: found.scores for split, found in scored.items()} for name, scored in by_checkpoint.items()}
    )
    shown = next(iter(final), None)
    samples = {name: scored[shown] for name, scored in by_checkpoint.items()} if shown else {}
    write_report(
        workdir / "report",
        title=config.title,
        document=document,
        summary=summary,
        histograms={name: similarities(found.embeddings, found.image_index) for name, found in samples.items()},
        metrics_rows=[_without_wall_time(row) for row in read_metrics(workdir / "metrics.jsonl")],
        gallery=gallery(splits[shown], samples, config.seed) if shown else [],
        provenance=provenance(config),
    )
    return document


def _without_wall_time(row: dict) -> dict:
    return {name: value for name, value in row.items() if not is_of_the_machine(name)}
