"""The quality page: its counts, its escaping, and the similarities that a CLIP gives."""

from pathlib import Path

import numpy as np
from PIL import Image

import jaxclip
from jaxclip.generation.captions import Caption
from jaxclip.generation.endpoint import Usage
from jaxclip.generation.outcome import Outcome
from jaxclip.generation.output import Output, read_rows
from jaxclip.generation.quality import _similarities, count_role, write_quality_report

EVIL = "<script>alert(1)</script>"


def rows(tmp_path: Path) -> Path:
    path = tmp_path / "out.jsonl"
    captions = [Caption(str(number), f"{number % 2}.png", f"A red circle {number} {EVIL}") for number in range(4)]
    output = Output(path, captions, ["paraphrase", "negation"], {"generator": "m", "vision": None})
    texts = {"paraphrase": "A circle that is red", "negation": "No red circle"}
    output.add(Outcome(captions[0], texts=texts, usage=Usage(30, 4)))
    output.add(Outcome(captions[1], texts=texts, refused={"paraphrase": ["copy", "verifier_no"]}, usage=Usage(60, 6)))
    output.add(Outcome(captions[2], texts=texts, refused={"negation": ["copy"]}))
    output.add(
        Outcome(
            captions[3],
            texts={"paraphrase": "x"},
            refused={"negation": ["list"] * 3},
            role="negation",
            reason="list",
            detail=f"- {EVIL}",
        )
    )
    output.close()
    return path


def test_counts(tmp_path):
    path = rows(tmp_path)
    accepted, failed = read_rows(path), read_rows(tmp_path / "out.failed.jsonl")
    paraphrase, negation = (count_role(role, accepted, failed) for role in ("paraphrase", "negation"))
    assert (paraphrase.accepted, paraphrase.at_once, paraphrase.failed) == (4, 3, 0)
    assert paraphrase.refused == {"copy": 1, "verifier_no": 1}
    assert (negation.accepted, negation.at_once, negation.failed) == (3, 2, 1)
    assert negation.refused == {"list": 3, "copy": 1}

    write_quality_report(tmp_path / "sub" / "page.html", path, checkpoint=None, clip=None, images=None)
    page = (tmp_path / "sub" / "page.html").read_text()
    assert "75.0 %" in page and "3 of 4" in page and ">100<" in page  # rows and tokens
    assert EVIL not in page and "&lt;script&gt;" in page
    assert "http" not in page.replace("http-equiv", "")  # nothing is loaded from elsewhere


def test_a_page_of_no_rows(tmp_path):
    path = tmp_path / "out.jsonl"
    path.write_text("")
    write_quality_report(tmp_path / "page.html", path, checkpoint=None, clip=None, images=None)
    assert "0 of 0" in (tmp_path / "page.html").read_text()


def test_similarities(tmp_path):
    accepted = read_rows(rows(tmp_path))
    for number, colour in enumerate(("red", "blue")):
        Image.new("RGB", (48, 48), colour).save(tmp_path / f"{number}.png")
    clip = jaxclip.load("scenes-base")
    found = _similarities(accepted, ["paraphrase", "negation"], "scenes-base", clip, tmp_path)
    captions = clip.encode_text([row["caption"] for row in accepted]).astype(np.float64)
    negations = clip.encode_text([row["negation"] for row in accepted]).astype(np.float64)
    images = clip.encode_image([Image.open(tmp_path / row["image"]) for row in accepted]).astype(np.float64)
    assert np.isclose(found["caption"]["negation"]["mean"], (captions * negations).sum(-1).mean(), atol=1e-5)
    assert np.isclose(found["image"]["caption"]["p50"], np.median((images * captions).sum(-1)), atol=1e-5)
    assert found["above"]["negation"] == np.mean((images * captions).sum(-1) > (images * negations).sum(-1))
    write_quality_report(
        tmp_path / "page.html", tmp_path / "out.jsonl", checkpoint="scenes-base", clip=clip, images=tmp_path
    )
    assert "data:image/png;base64," in (tmp_path / "page.html").read_text()
