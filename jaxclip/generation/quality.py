"""The quality page: what was accepted and what was refused, random samples side by side, similarities by a CLIP.

Everything is counted from the output files, so the page is the same however often the run was stopped.

Shapes: N rows, D embedding.
"""

import base64
import collections
import dataclasses
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxclip.data.preprocessing import ImageError, decode_image
from jaxclip.data.schema import TEXT_ROLES
from jaxclip.files import write_atomically
from jaxclip.generation.checks import REASONS
from jaxclip.generation.errors import GenerateError
from jaxclip.generation.output import failed_path, read_rows
from jaxclip.reporting.pages import page_environment

if TYPE_CHECKING:  # JAX is slow to import, and most pages need none
    from jaxclip.pretrained import Clip

_SAMPLES = 12
_FAILED_SAMPLES = 8
# Rows that similarities are computed of: more would change the second decimal at most.
_COMPARED_ROWS = 2000
_PERCENTILES = (5, 50, 95)


@dataclasses.dataclass(frozen=True)
class RoleCounts:
    """How the texts of one role came about.

    Attributes:
        role: of the texts.
        accepted: rows that have the text.
        at_once: of these, the ones whose first text was accepted.
        failed: rows that failed for want of it.
        refused: reason → number of refused texts.
    """

    role: str
    accepted: int
    at_once: int
    failed: int
    refused: Mapping[str, int]


def write_quality_report(
    page: Path, path: Path, *, checkpoint: str | None, clip: "Clip | None", images: Path | None
) -> None:
    """Writes the page about an output file and its failed rows.

    Args:
        page: the .html file to write.
        path: the output file.
        checkpoint: name of the CLIP, for a person.
        clip: computes similarities; None leaves them out.
        images: the image folder, for similarities of image and text; None leaves these out.

    Raises:
        GenerateError: an image cannot be read, or what `read_rows` raises.
    """
    accepted, failed = read_rows(path), read_rows(failed_path(path))
    rows = accepted + failed
    roles = [role for role in TEXT_ROLES if any(role in row or row.get("role") == role for row in rows)][1:]
    chosen = random.Random(0)
    shown = chosen.sample(accepted, min(_SAMPLES, len(accepted)))
    compared = chosen.sample(accepted, min(_COMPARED_ROWS, len(accepted)))
    similarities = _similarities(compared, roles, checkpoint, clip, images) if clip and compared else {}
    counts = [count_role(role, accepted, failed) for role in roles]
    content = _render(
        title=f"Generated texts: {path.name}",
        made_by=rows[0]["made_by"] if rows else {},
        accepted=len(accepted),
        failed=len(failed),
        tokens=sum(sum(row["tokens"].values()) for row in rows),
        roles=counts,
        refused=[reason for reason in REASONS if any(reason in count.refused for count in counts)],
        failures=collections.Counter(row["reason"] for row in failed).most_common(),
        samples=shown,
        failed_samples=chosen.sample(failed, min(_FAILED_SAMPLES, len(failed))),
        role_names=roles,
        checkpoint=checkpoint,
        compared=len(compared),
        similarities=similarities,
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(page, content.encode("utf-8", "backslashreplace"))


def count_role(role: str, accepted: Sequence[Mapping[str, Any]], failed: Sequence[Mapping[str, Any]]) -> RoleCounts:
    """Counts one role over all rows."""
    texts = [row for row in accepted if role in row] + [row for row in failed if role in row["texts"]]
    refused = collections.Counter(reason for row in (*accepted, *failed) for reason in row["refused"].get(role, ()))
    return RoleCounts(
        role=role,
        accepted=len(texts),
        at_once=sum(not row["refused"].get(role) for row in texts),
        failed=sum(row["role"] == role for row in failed),
        refused=dict(refused.most_common()),
    )


def _similarities(
    rows: Sequence[Mapping[str, Any]], roles: Sequence[str], checkpoint: str, clip: "Clip", images: Path | None
) -> dict[str, Any]:
    """Statistics of cosines: of each role's text with its caption, and of all texts with their image."""
    texts = {role: clip.encode_text([row[role] for row in rows]) for role in ("caption", *roles)}
    found = {
        "caption": {
            role: _statistics(np.sum(texts["caption"] * texts[role], axis=-1, dtype=np.float64)) for role in roles
        }
    }
    if images is None:
        return found
    pictures = _embedded_images(clip, [images / row["image"] for row in rows])
    cosines = {role: np.sum(pictures * embedded, axis=-1, dtype=np.float64) for role, embedded in texts.items()}
    from jaxclip.reporting import plots  # here, because figures are slow to import and most pages have none

    figure = plots.png(plots.similarity_histograms({checkpoint: cosines}))
    return found | {
        "image": {role: _statistics(values) for role, values in cosines.items()},
        "above": {
            role: float(np.mean(cosines["caption"] > cosines[role]))
            for role in roles
            if role in ("negation", "hard_negative")
        },
        "figure": base64.b64encode(figure).decode(),
    }


def _embedded_images(clip: "Clip", paths: Sequence[Path]) -> np.ndarray:
    """Float32 [N, D]; each file is read once."""
    distinct = list(dict.fromkeys(paths))
    try:
        pictures = [decode_image(path.read_bytes(), str(path)) for path in distinct]
    except ImageError as error:
        raise GenerateError(str(error)) from None
    number = {path: index for index, path in enumerate(distinct)}
    return clip.encode_image(pictures)[[number[path] for path in paths]]


def _statistics(cosines: np.ndarray) -> dict[str, float]:
    """Mean and percentiles of cosines [N]."""
    values = np.percentile(cosines, _PERCENTILES)
    return {"mean": float(cosines.mean())} | {
        f"p{percent}": float(value) for percent, value in zip(_PERCENTILES, values, strict=True)
    }


def _render(**page: Any) -> str:
    environment = page_environment(Path(__file__).parent)
    environment.filters["share"] = lambda part, whole: f"{100 * part / whole:.1f} %" if whole else "–"
    return environment.get_template("quality.html.j2").render(page, reasons=REASONS, meanings=TEXT_ROLES)
