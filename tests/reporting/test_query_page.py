import html.parser
import io

import PIL.Image

from jaxclip.reporting.query_page import Hit, write_query_page


class Hits(html.parser.HTMLParser):
    """The classes of the items of a page's lists, by their order, and the sources of its images."""

    def __init__(self, text):
        super().__init__()
        self.classes, self.sources = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "li":
            self.classes.append(dict(attributes).get("class"))
        if tag == "img":
            self.sources.append(dict(attributes)["src"])


def test_what_one_text_alone_finds_is_marked_and_text_is_escaped(tmp_path):
    buffer = io.BytesIO()
    PIL.Image.new("RGB", (4, 4)).save(buffer, "PNG")

    def hits(*names):
        return [Hit(buffer.getvalue(), name, 0.5) for name in names]

    found = {"base": [hits("a", "b<i>"), hits("b<i>", "a")], "mine": [hits("a", "c"), hits("c", "b<i>")]}
    path = tmp_path / "new" / "query.html"
    write_query_page(path, texts=["<b>cars</b>", "no cars"], found=found, photographs=1234)
    text = path.read_text()
    page = Hits(text)
    # Text by text, checkpoint by checkpoint.
    assert page.classes == [None, None, "alone", None, None, None, None, "alone"]
    assert all(source.startswith("data:image/png") for source in page.sources) and "http" not in text
    assert "<b>" not in text and "b<i>" not in text and "1,234 photographs" in text
    assert text.count("0 of 2 for this text alone") == 2 and text.count("1 of 2 for this text alone") == 2
