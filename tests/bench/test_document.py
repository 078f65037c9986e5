"""Parts of pages that benches write."""

import pytest

from bench.document import replace_between


def test_what_is_between_the_lines_is_replaced(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- a -->\nold\n<!-- b -->\nafter\n")
    replace_between(page, "<!-- a -->", "<!-- b -->", "new")
    assert page.read_text() == "before\n<!-- a -->\nnew\n<!-- b -->\nafter\n"


@pytest.mark.parametrize("content", ["nothing", "<!-- a -->\nno end", "no beginning\n<!-- b -->"])
def test_a_page_without_both_lines_is_an_error_and_stays(tmp_path, content):
    page = tmp_path / "page.md"
    page.write_text(content)
    with pytest.raises(ValueError, match="page.md: expected the lines <!-- a --> and <!-- b -->"):
        replace_between(page, "<!-- a -->", "<!-- b -->", "new")
    assert page.read_text() == content
