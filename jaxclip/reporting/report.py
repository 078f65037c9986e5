"""The report directory: one self-contained HTML page, the same in Markdown, the scores and the figures."""

import dataclasses
import hashlib
import json
import pathlib
import re
from collections.abc import Mapping, Sequence

from jaxclip.files import write_atomically
from jaxclip.reporting import plots
from jaxclip.reporting.exports import scores_csv, scores_latex
from jaxclip.reporting.markdown import escape
from jaxclip.reporting.metrics import Metric
from jaxclip.reporting.pages import image_type, page_environment
from jaxclip.reporting.scorecard import MISSING, Cell, Table, legend, overview, scorecard_markdown, scorecard_tables

# The page opens with the first four of these that the first split has.
_HEADLINES = (
    "original_over_negation", "absence_accuracy", "paraphrase_to_image_r1", "caption_to_image_r1", "itt",
    "mcq_accuracy",
)  # fmt: skip
_HEADLINE_COUNT = 4
# The searches of a gallery entry; one may lack the paraphrase.
_QUERIES = ("query", "paraphrased_query", "negated_query")


@dataclasses.dataclass(frozen=True)
class Figure:
    """A picture of the report: its file name, what it shows, and its PNG bytes."""

    name: str
    caption: str
    content: bytes


@dataclasses.dataclass(frozen=True)
class Headline:
    """A score at the top of the page: the last checkpoint's beside the baseline's (None where nothing compares)."""

    metric: Metric
    before: Cell | None
    after: Cell


def write_report(
    directory: str | pathlib.Path,
    *,
    title: str,
    document: Mapping,
    summary: Mapping[str, object],
    histograms: Mapping[str, Mapping[str, object]],
    metrics_rows: Sequence[Mapping[str, object]],
    gallery: Sequence[Mapping],
    provenance: Mapping[str, object],
    baseline: str = "base",
    failures: Sequence[Mapping] = (),
    missing: Mapping[str, str] | None = None,
) -> pathlib.Path:
    """Writes `report.html`, `report.md`, `scores.json`, `scores.csv`, `scores.tex` and the figures, each file whole.

    All text is escaped, so captions may come from anywhere. An empty `histograms`, `metrics_rows`, `gallery`,
    `failures` or `missing` leaves its section out; so does a document without `layers`. Returns the path of the page.

    Args:
      directory: made where it is missing; files of an earlier report are replaced.
      title: of the page.
      document: the content of scores.json, see `scorecard.scorecard_tables`; a layer analysis is under `layers`,
        checkpoint -> split -> role -> a score a layer.
      summary: headline facts by name, such as the device and the run time; numbers are formatted here.
      histograms: checkpoint -> text role -> cosines [n] of image and text, see `plots.similarity_histograms`.
      metrics_rows: lines of metrics.jsonl, see `plots.training_curves`.
      gallery: searches shown side by side, each `{"query": str, "negated_query": str, "checkpoints": {NAME:
        {"query": RESULTS, "negated_query": RESULTS}}}`, where wanted with a `paraphrased_query` as well. RESULTS is,
        best first, a list of `{"image": PNG or JPEG bytes, "score": float, "correct": bool or None}`, None where it is
        not known whether the sentence is true of the image. Images are stored as they are: pass thumbnails.
      provenance: how to remake the run: text, or anything that JSON can hold, by name.
      baseline: checkpoint that the others are compared with.
      failures: records that the last checkpoint gets wrong, each `{"image": PNG or JPEG bytes, "texts": [(role, text)],
        "checkpoints": {NAME: [cosine of the image with each text]}}`.
      missing: benchmark -> why it could not be measured and how to get its data.

    Raises:
      ValueError: if `document` does not have the form of scores.json, a metrics row has no step, or a gallery image is
        neither PNG nor JPEG.
    """
    directory = pathlib.Path(directory)
    tables = scorecard_tables(document, baseline)
    shown = list(filter(None, [overview(tables), *tables]))
    score_figures = [_score_figure(number, table) for number, table in enumerate(shown, start=1)]
    similarity, curves = _similarity_figure(histograms), _curves_figure(metrics_rows)
    layers = _layer_figures(document.get("layers", {}))
    files = {figure.name: figure.content for figure in (*score_figures, similarity, curves, *layers) if figure}
    files |= {_image_name(one["image"]): one["image"] for one in (*_results(gallery), *failures)}
    page = {
        "title": title,
        "tables": list(zip(shown, score_figures, strict=True)),
        "headlines": _headlines(tables, baseline),
        "headlines_of": _headlines_of(tables),
        "summary": {name: _fact(value) for name, value in summary.items()},
        "similarity": similarity,
        "curves": curves,
        "layers": layers,
        "gallery": gallery,
        "failures": failures,
        "missing": missing or {},
        "legend": legend(document),
        "provenance": {name: _detail(value) for name, value in provenance.items()},
    }
    files |= _score_files(document, baseline)
    files["report.md"] = _markdown(page, scorecard_markdown(document, baseline)).encode()
    files["report.html"] = _html(page).encode()
    _write(directory, files)
    return directory / "report.html"


def _write(directory: pathlib.Path, files: Mapping[str, bytes]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        write_atomically(directory / name, content)


def _score_files(document: Mapping, baseline: str) -> dict[str, bytes]:
    return {
        "scores.json": (json.dumps(document, indent=2, allow_nan=False) + "\n").encode(),
        "scores.csv": scores_csv(document).encode(),
        "scores.tex": scores_latex(document, baseline).encode(),
    }


def _score_figure(number: int, table: Table) -> Figure:
    # Numbered, because two names may come down to the same letters.
    slug = re.sub(r"[^A-Za-z0-9]+", "_", table.split).strip("_")
    return Figure(f"scores_{number}_{slug}.png", f"Scores on {table.split}", plots.png(plots.score_dots(table)))


def _similarity_figure(histograms: Mapping[str, Mapping[str, object]]) -> Figure | None:
    if not histograms:
        return None
    caption = "How close images are to true and to false sentences"
    return Figure("similarities.png", caption, plots.png(plots.similarity_histograms(histograms)))


def _curves_figure(metrics_rows: Sequence[Mapping[str, object]]) -> Figure | None:
    if not metrics_rows:
        return None
    return Figure("training.png", "Training curves", plots.png(plots.training_curves(metrics_rows)))


def _layer_figures(layers: Mapping[str, Mapping[str, Mapping]]) -> list[Figure]:
    """One figure a split."""
    figures = []
    for number, split in enumerate(dict.fromkeys(split for splits in layers.values() for split in splits), start=1):
        found = {checkpoint: splits[split] for checkpoint, splits in layers.items() if split in splits}
        caption = f"Captions and their negations, layer by layer, on {split}"
        figures.append(Figure(f"layers_{number}.png", caption, plots.png(plots.layer_curves(found))))
    return figures


def _headlines(tables: Sequence[Table], baseline: str) -> list[Headline]:
    rows = {row.name: row for row in tables[0].rows} if tables else {}
    headlines = []
    for name in _HEADLINES:
        cells = [cell for cell in rows[name].cells if cell] if name in rows else []
        if cells:
            compares = tables[0].checkpoints[0] == baseline and rows[name].cells[0] and len(cells) > 1
            headlines.append(Headline(rows[name].metric, cells[0] if compares else None, cells[-1]))
    return headlines[:_HEADLINE_COUNT]


def _headlines_of(tables: Sequence[Table]) -> str:
    """What the page opens with: such as `scenes/test: base → final`."""
    if not tables:
        return ""
    first = tables[0]
    compared = [first.checkpoints[0], first.checkpoints[-1]] if first.compared else first.checkpoints[-1:]
    return f"{first.split}: {' → '.join(compared)}"


def _queries(search: Mapping) -> list[str]:
    return [kind for kind in _QUERIES if kind in search]


def _results(gallery: Sequence[Mapping]) -> list[Mapping]:
    return [
        result
        for search in gallery
        for found in search["checkpoints"].values()
        for kind in _queries(search)
        for result in found[kind]
    ]


def _image_name(content: bytes) -> str:
    """Named by content: an image that several searches find is stored once."""
    return f"gallery_{hashlib.sha256(content).hexdigest()[:12]}.{image_type(content)}"


def _verdict(correct: bool | None) -> str:
    return {True: "right", False: "wrong", None: "open"}[correct]


def _mark(correct: bool | None) -> str:
    return {True: "✓", False: "✗", None: ""}[correct]


def _fact(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int) or value.is_integer():
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 100 else f"{value:.3g}"


def _detail(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, indent=2, default=str, ensure_ascii=False)


def _html(page: Mapping) -> str:
    environment = page_environment()
    environment.filters |= {"verdict": _verdict, "mark": _mark, "queries": _queries}
    return environment.get_template("report.html.j2").render(page, no_score=MISSING)


def _markdown(page: Mapping, scorecard: str) -> str:
    lines = [f"# {escape(page['title'])}", ""]
    lines += [f"- {escape(name)}: {escape(value)}" for name, value in page["summary"].items()]
    lines += ["", "## Scores", "", scorecard]
    figures = [figure for _, figure in page["tables"]] + [page["similarity"], *page["layers"], page["curves"]]
    for figure in filter(None, figures):
        lines += [f"## {escape(figure.caption)}", "", f"![{escape(figure.caption)}]({figure.name})", ""]
    if page["gallery"]:
        lines += ["## Searches", ""]
    for search in page["gallery"]:
        for kind in _queries(search):
            lines += [f"### “{escape(search[kind])}”", ""]
            for checkpoint, found in search["checkpoints"].items():
                images = [
                    f"![{_verdict(result['correct'])}]({_image_name(result['image'])}) "
                    f"{_mark(result['correct'])} {result['score']:.3f}"
                    for result in found[kind]
                ]
                lines += [f"{escape(checkpoint)}: {' · '.join(images)}", ""]
    if page["failures"]:
        lines += ["## Failures", ""]
    for failure in page["failures"]:
        lines += [f"![]({_image_name(failure['image'])})", ""]
        for row, (role, text) in enumerate(failure["texts"]):
            cosines = [f"{name} {found[row]:.3f}" for name, found in failure["checkpoints"].items()]
            lines += [f"- {escape(role)}: “{escape(text)}” ({escape(', '.join(cosines))})"]
        lines += [""]
    if page["missing"]:
        lines += ["## Not measured", ""]
        lines += [f"- {escape(name)}: not found: {escape(reason)}" for name, reason in page["missing"].items()] + [""]
    if page["provenance"]:
        lines += ["## How to remake this", ""]
    for name, text in page["provenance"].items():
        indented = "\n".join(f"    {line}" for line in text.splitlines())
        lines += [f"{escape(name)}:", "", indented, ""]
    return "\n".join(lines).rstrip() + "\n"
