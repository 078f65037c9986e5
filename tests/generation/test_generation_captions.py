"""Captions in each format, and the error for each kind of bad file."""

import json
from pathlib import Path

import pytest

from jaxclip.generation.captions import Caption, read_captions
from jaxclip.generation.errors import GenerateError

COCO = {
    "images": [{"id": 7, "file_name": "a.jpg"}],
    "annotations": [{"id": 70, "image_id": 7, "caption": " A dog. "}, {"id": 71, "image_id": 7, "caption": "A cat."}],
}


def write(path: Path, content: str | dict) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_every_format_gives_the_same(tmp_path):
    paths = [
        write(tmp_path / "a.csv", "filename,caption\na.jpg,A dog.\na.jpg,A cat.\n"),
        write(tmp_path / "b.tsv", "caption\timage\nA dog.\ta.jpg\nA cat.\ta.jpg\n"),
        write(
            tmp_path / "c.jsonl", '{"image": "a.jpg", "caption": "A dog."}\n{"image": "a.jpg", "caption": "A cat."}\n'
        ),
        write(tmp_path / "d.json", COCO),
    ]
    for path in paths:
        captions, repeated = read_captions([path], {})
        assert [(caption.image, caption.text) for caption in captions] == [("a.jpg", "A dog."), ("a.jpg", "A cat.")]
        assert repeated == 0
    assert read_captions(paths, {})[1] == 6  # the same four times
    assert read_captions(paths[:1], {})[0][0] == Caption("a:0", "a.jpg", "A dog.")
    assert read_captions(paths[3:], {})[0][0] == Caption("70", "a.jpg", "A dog.")


def test_other_columns(tmp_path):
    path = write(tmp_path / "a.csv", "key,path,title\nk1,a.jpg,A dog\n")
    captions, _ = read_captions([path], {"id": "key", "image": "path", "caption": "title"})
    assert captions == [Caption("k1", "a.jpg", "A dog")]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "filename,caption\n", "no captions"),
        ("a.csv", "filename,text\na.jpg,A dog\n", "no column 'caption'"),
        ("a.csv", "filename,caption\na.jpg,\n", "a.csv, line 2: column 'caption': expected a text"),
        ("a.csv", "filename,caption\n../a.jpg,A dog\n", "line 2: .*inside the image folder"),
        ("a.csv", "id,filename,caption\n1,a.jpg,A dog\n1,b.jpg,A dog\n", "line 3: the id '1' was used"),
        ("a.txt", "A dog\n", "expected a .csv, .tsv or .jsonl"),
        ("a.json", "{", "not a JSON file"),
        ("a.json", "[1]", "expected a JSON object"),
        ("a.json", {"annotations": []}, "expected a list 'images'"),
        ("a.json", {**COCO, "images": [{"id": 7}]}, "expected 'id' and 'file_name'"),
        ("a.json", {**COCO, "annotations": [{"image_id": 8, "caption": "x"}]}, "annotation 0: .*image_id"),
        (
            "a.json",
            {**COCO, "annotations": [{"image_id": 7, "caption": 3}]},
            "annotation 0: expected a caption, found 3",
        ),
        ("a.json", {**COCO, "annotations": [{"image_id": 7, "caption": "\ud800"}]}, "annotation 0: expected a caption"),
        (
            "a.json",
            {**COCO, "images": [{"id": 7, "file_name": "/etc/a.jpg"}]},
            "annotation 0: .*inside the image folder",
        ),
    ],
)
def test_a_bad_file_is_named(tmp_path, name, content, message):
    with pytest.raises(GenerateError, match=message):
        read_captions([write(tmp_path / name, content)], {})


def test_a_missing_file_is_named(tmp_path):
    for name in ("a.csv", "a.json"):
        with pytest.raises(FileNotFoundError, match=name):
            read_captions([tmp_path / name], {})
