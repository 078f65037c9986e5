import base64
import html.parser
import io
import json

import PIL.Image
import pytest

from jaxclip.reporting.report import write_report


def picture(colour, kind="PNG"):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (8, 8), colour).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def arguments(document, similarities):
    right = {"image": picture("red"), "score": 0.31234, "correct": True}
    wrong = {"image": picture("blue", "JPEG"), "score": -0.2, "correct": False}
    unknown = {"image": picture("green"), "score": 0.125, "correct": None}
    found = {"query": [right, unknown], "negated_query": [wrong, unknown]}
    return {
        "title": "A <b>run</b>",
        "document": document,
        "summary": {"device": "CPU & co", "parameters": 44513793, "learning rate": 5e-5, "minutes": 6.0},
        "histograms": similarities,
        "metrics_rows": [{"step": step, "loss": 1.0 / step} for step in range(1, 9)],
        "gallery": [
            {
                "query": "a dog <script>alert(1)</script>",
                "negated_query": "no dog | [x](y)",
                "checkpoints": {"base": found, "final": found},
            }
        ],
        "provenance": {"command": "python -m jaxclip.main --x='<i>'", "config": {"seed": 42, "note": "</pre>"}},
    }


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text of a page."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.text += data

    def images(self):
        return [attributes["src"] for tag, attributes in self.tags if tag == "img"]


def test_html_is_self_contained_and_shows_every_figure(tmp_path, arguments):
    path = write_report(tmp_path / "new" / "report", **arguments)
    text = path.read_text()
    page = Page(text)
    assert path.name == "report.html" and "http" not in text and "url(" not in text and "@import" not in text
    assert {tag for tag, _ in page.tags}.isdisjoint({"script", "link", "iframe", "b", "i"})
    assert all(source.startswith("data:image/") for source in page.images())
    shown = {base64.b64decode(source.split(",")[1]) for source in page.images()}
    on_disk = {file.read_bytes() for file in path.parent.iterdir() if file.suffix in (".png", ".jpeg")}
    assert shown == on_disk and len(on_disk) == 8
    assert sorted(file.name for file in path.parent.glob("[st]*.png")) == [
        "scores_1_all_benchmarks.png", "scores_2_test.png", "scores_3_CC_Neg_test.png", "similarities.png",
        "training.png",
    ]  # fmt: skip


def test_html_shows_text_from_outside_as_text(tmp_path, arguments):
    text = write_report(tmp_path, **arguments).read_text()
    page = Page(text)
    assert "<script" not in text and "<b>" not in text and "<i>" not in text
    for expected in ("a dog <script>alert(1)</script>", "A <b>run</b>", "CPU & co", "--x='<i>'", '"note": "</pre>"'):
        assert expected in page.text


def test_html_holds_scores_headlines_and_facts(tmp_path, arguments):
    text = Page(write_report(tmp_path, **arguments).read_text()).text
    scores, facts = ("test: base → final", "68.1 →", "▲ +10.0 points", "76.1–80.1"), ("44,513,793", "5e-05")
    assert all(expected in text for expected in (*scores, *facts, "✓ 0.312", "✗ -0.200", "0.125"))


def test_markdown_links_files_that_exist_and_escapes_text(tmp_path, arguments):
    write_report(tmp_path, **arguments)
    text = (tmp_path / "report.md").read_text()
    links = [part.split(")")[0] for part in text.split("](")[1:] if not part.startswith("y")]
    assert len(set(links)) == 8 and all((tmp_path / link).is_file() for link in links)
    assert "<script>" not in text and r"no dog \| \[x\](y)" in text and '\n      "seed": 42' in text


def test_scores_json_is_the_document(tmp_path, arguments):
    write_report(tmp_path, **arguments)
    assert json.loads((tmp_path / "scores.json").read_text()) == arguments["document"]


def test_empty_sections_are_left_out(tmp_path, arguments):
    empty = {"histograms": {}, "metrics_rows": [], "gallery": [], "summary": {}, "provenance": {}}
    text = Page(write_report(tmp_path, **arguments | empty).read_text()).text
    assert "Scores on test" in text
    for absent in ("Training curves", "Searches", "How close images", "How to remake"):
        assert absent not in text
    bare = tmp_path / "bare"
    write_report(bare, **arguments | empty | {"document": {"checkpoints": {}}})
    names = ["report.html", "report.md", "scores.csv", "scores.json", "scores.tex"]
    assert sorted(file.name for file in bare.iterdir()) == names


def test_failures_layers_and_what_is_missing(tmp_path, arguments):
    layers = [{"value": value, "n": 9, "low": value - 0.1, "high": value + 0.1} for value in (0.9, 0.7, 0.5)]
    arguments["document"]["layers"] = {name: {"test": {"negation": layers}} for name in ("base", "final")}
    failure = {
        "image": picture("red"),
        "texts": [("caption", "a <dog>"), ("negation", "no dog")],
        "checkpoints": {"base": [0.3, 0.2], "final": [0.12345, 0.25]},
    }
    missing = {"ccneg": "/x/y.pt: no such file. Ask & get"}
    page = Page(write_report(tmp_path, **arguments, failures=[failure], missing=missing).read_text())
    reason = "not found: /x/y.pt: no such file. Ask & get"
    for shown in ("a <dog>", "0.123", "0.250", reason, "layer by layer, on test", "on which final prefers"):
        assert shown in page.text
    markdown = (tmp_path / "report.md").read_text()
    assert "Not measured" in markdown and "- caption: “a &lt;dog&gt;” (base 0.300, final 0.123)" in markdown
    [link] = [line for line in markdown.splitlines() if line.startswith("![](")]
    assert (tmp_path / link[4:-1]).read_bytes() == failure["image"]
    assert PIL.Image.open(tmp_path / "layers_1.png").size[0] > 100


def test_a_report_is_replaced_and_leaves_no_temporary_file(tmp_path, arguments):
    before = {file.name: file.read_bytes() for file in write_report(tmp_path, **arguments).parent.iterdir()}
    write_report(tmp_path, **arguments | {"title": "Another"})
    after = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    assert before.keys() == after.keys() and {name for name in before if before[name] != after[name]} == {
        "report.html", "report.md"
    }  # fmt: skip


def test_an_image_of_another_kind_is_refused_before_anything_is_written(tmp_path, arguments):
    arguments["gallery"][0]["checkpoints"]["base"]["query"][0]["image"] = b"GIF89a"
    with pytest.raises(ValueError, match="neither PNG nor JPEG.*GIF89a"):
        write_report(tmp_path / "report", **arguments)
    assert not (tmp_path / "report").exists()
