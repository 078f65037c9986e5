"""The report of a run: its gallery and where it came from."""

import io
import json

import numpy as np
from PIL import Image

from jaxclip.config import parse
from jaxclip.evaluation.scores import bootstrap
from jaxclip.evaluator import Scored
from jaxclip.run_report import THUMBNAIL_PIXELS, gallery, thumbnail, write_run_report

CONFIG_VALUES = {
    "title": "test",
    "model": {"init": "random:scenes"},
    "datasets": {"d": {"builder": "scenes"}},
    "streams": {"train": {"dataset": "d", "split": "s", "batch_size": 4}},
    "objectives": {"clip": {"objective": "clip", "stream": "train"}},
    "trainable": ("*",),
    "optimizer": {"learning_rate": 1e-3},
    "schedule": {"steps": 2},
}


class FakeSplit:
    """Four records, an image each; record i's colour is i."""

    roles = ("caption", "negation")

    def __len__(self):
        return 4

    def __getitem__(self, number):
        buffer = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(buffer, "PNG")
        image = buffer.getvalue()
        return {"id": str(number), "image": image, "caption": f"<b>{number}</b>", "negation": f"no {number}"}


def scored(captions):
    """Images are the unit vectors; caption i points at image captions[i]; negations point at image 0."""
    eye = np.eye(4, dtype=np.float32)
    embeddings = {"image": eye, "caption": eye[captions] * 3 + 0.1 * eye, "negation": eye[[0, 0, 0, 0]] + 0.01 * eye}
    return Scored({"original_over_negation": bootstrap(np.ones(4))}, embeddings, np.arange(4))


def test_gallery_shows_the_nearest_images_and_marks_the_right_one():
    shown = gallery(FakeSplit(), {"base": scored([1, 2, 3, 0]), "final": scored([0, 1, 2, 3])}, seed=0)
    assert len(shown) == 4
    for entry in shown:
        number = int(entry["query"].removeprefix("<b>").removesuffix("</b>"))
        base, final = entry["checkpoints"]["base"], entry["checkpoints"]["final"]
        assert base["query"][0]["correct"] is None
        assert final["query"][0]["correct"] is True
        assert [image["correct"] for image in base["query"]].count(True) == 1
        first = Image.open(io.BytesIO(final["query"][0]["image"]))
        assert first.getpixel((0, 0)) == (number,) * 3
        assert final["negated_query"][0]["correct"] is (False if number == 0 else None)
        scores = [image["score"] for image in final["query"]]
        assert scores == sorted(scores, reverse=True)


def test_gallery_searches_for_the_paraphrase_too():
    class Paraphrased(FakeSplit):
        roles = ("caption", "paraphrase", "negation")

        def __getitem__(self, number):
            return super().__getitem__(number) | {"paraphrase": f"again {number}"}

    found = scored([0, 1, 2, 3])
    found.embeddings["paraphrase"] = np.roll(found.embeddings["image"], 1, axis=0)
    for entry in gallery(Paraphrased(), {"base": found}, seed=0):
        number = int(entry["negated_query"].removeprefix("no "))
        assert entry["paraphrased_query"] == f"again {number}"
        first = entry["checkpoints"]["base"]["paraphrased_query"][0]
        assert Image.open(io.BytesIO(first["image"])).getpixel((0, 0)) == ((number - 1) % 4,) * 3


def test_gallery_needs_negations():
    split = FakeSplit()
    split.roles = ("caption",)
    assert gallery(split, {}, seed=0) == []


def test_thumbnails_are_small():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((300, 900, 3), np.uint8)).save(buffer, "PNG")
    assert max(Image.open(io.BytesIO(thumbnail(buffer.getvalue(), "x"))).size) == THUMBNAIL_PIXELS
    small = FakeSplit()[0]["image"]
    assert Image.open(io.BytesIO(thumbnail(small, "x"))).size == (8, 8)


def test_report_has_scores_of_both_checkpoints_and_the_config(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n{"step": 2, "loss": 1.5}\n')
    config = parse(CONFIG_VALUES)
    found = {"d/s": scored([0, 1, 2, 3])}
    document = write_run_report(
        tmp_path, config=config, splits={"d/s": FakeSplit()}, base=found, final=found, summary={"steps": 2}
    )
    assert json.loads((tmp_path / "report" / "scores.json").read_text()) == document
    assert document["checkpoints"]["final"]["d/s"]["original_over_negation"]["value"] == 1.0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "&lt;b&gt;" in page
    assert "<b>0</b>" not in page
    assert "learning_rate" in page


def test_run_without_evaluation_still_gets_a_report(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "loss": 2.5}\n')
    document = write_run_report(tmp_path, config=parse(CONFIG_VALUES), splits={}, base={}, final={}, summary={})
    assert document == {"checkpoints": {"base": {}, "final": {}}}
    assert (tmp_path / "report" / "report.html").exists()
