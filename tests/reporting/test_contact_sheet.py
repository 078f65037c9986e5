"""The contact sheet shows every record's images and texts."""

import io

import numpy as np
from PIL import Image

from jaxclip.reporting.contact_sheet import contact_sheet
from jaxclip.reporting.plots import png


def record(number, **images):
    images = images or {"image": np.full((20, 30, 3), 10 * number, np.uint8)}
    return f"id{number}", images, {"caption": f"costs $5 or $6, number {number}", "negation": "no " * 120}


def test_each_record_has_its_pictures_and_its_texts():
    records = [record(number) for number in range(6)]
    records[2] = record(2, image=np.zeros((20, 30, 3), np.uint8), hard_image=np.ones((9, 9, 3), np.uint8))
    records[3] = record(3, image=None)
    figure = contact_sheet("mine/test", records)
    shown = [image for axes in figure.axes for image in axes.images]
    assert len(shown) == 6
    np.testing.assert_array_equal(shown[0].get_array(), records[0][1]["image"])
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert sum(text == "broken" for text in texts) == 1
    captions = [text for text in texts if text.startswith("caption: ")]
    assert [text.splitlines()[0] for text in captions] == [f"caption: costs $5 or $6, number {n}" for n in range(6)]
    assert all("negation: no no" in text and text.endswith(" …") for text in captions)
    titles = [axes.get_title() for axes in figure.axes]
    assert {"id0", "id2\nimage", "id2\nhard_image"} <= set(titles)


def test_it_is_drawn_without_a_formula_between_dollar_signs():
    drawn = Image.open(io.BytesIO(png(contact_sheet("mine", [record(0)]))))
    assert drawn.width > 600 and drawn.height > 200
    assert len(drawn.convert("L").getcolors()) > 50  # not blank
