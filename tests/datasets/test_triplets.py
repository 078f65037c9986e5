"""The `triplets` builder on small files in the formats that it reads, and on every kind of bad input."""

import csv
import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxclip.datasets.triplets.annotations import TripletsError
from jaxclip.datasets.triplets.builder import prepare

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT.parent / "shared" / "data"


def read(builder, split: str) -> list[dict]:
    """Records of a split with texts decoded and the image as encoded bytes."""
    source = builder.as_data_source(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    return [{key: value if key == "image" else value.decode() for key, value in row.items()} for row in source]


def read_all(builder) -> list[dict]:
    return [record for split in builder.info.splits for record in read(builder, split)]


def encoded(colour: int, image_format: str = "JPEG", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (6, 5), (colour, 90, 30)).convert(mode).save(buffer, image_format)
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path) -> Path:
    """An image folder with 000000000000.jpg to 000000000009.jpg."""
    images = tmp_path / "images"
    images.mkdir()
    for number in range(10):
        (images / f"{number:09d}.jpg").write_bytes(encoded(25 * number))
    return images


def rows(count: int = 10) -> list[dict]:
    return [
        {
            "filename": f"{number % 10:09d}.jpg",
            "caption": f"a cat, number {number}",
            "paraphrased": f"cat “{number}”",
            "negation": f"no cat {number}",
        }
        for number in range(count)
    ]


def write_table(path: Path, table: list[dict], delimiter: str = ",", encoding: str = "utf-8") -> Path:
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.DictWriter(file, list(table[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(table)
    return path


def write_lines(path: Path, values: list) -> Path:
    path.write_text("".join(json.dumps(value) + "\n" for value in values), encoding="utf-8")
    return path


def build(tmp_path: Path, annotations: Path, **options):
    return prepare(tmp_path / "out", annotations=annotations, images=tmp_path / "images", **options)


def bad_lines(builder) -> list[dict]:
    return [json.loads(line) for line in (builder.data_path / "bad_records.jsonl").read_text().splitlines()]


def test_csv_tsv_and_jsonl_give_the_same_records(tmp_path, folder):
    paths = [
        write_table(tmp_path / "a.csv", rows()),
        write_table(tmp_path / "b.csv", rows(), encoding="utf-8-sig"),
        write_table(tmp_path / "c.tsv", rows(), delimiter="\t"),
        write_lines(tmp_path / "d.jsonl", rows()),
    ]
    first, *others = [read_all(build(tmp_path, path)) for path in paths]
    assert all(other == first for other in others)
    by_id = {record["id"]: record for record in first}
    assert by_id.keys() == {str(number) for number in range(10)}
    assert by_id["7"] == {
        "id": "7",
        "image": (folder / "000000007.jpg").read_bytes(),
        "image_id": "000000007.jpg",
        "caption": "a cat, number 7",
        "paraphrase": "cat “7”",
        "negation": "no cat 7",
    }


def test_semclip_image_numbers_and_ids(tmp_path, folder):
    table = [{"image_number": number, "id": f"row{number}", "caption": "a"} for number in range(10)]
    expected = {(f"row{number}", f"{number:09d}.jpg") for number in range(10)}
    for path in (write_table(tmp_path / "a.csv", table), write_lines(tmp_path / "a.jsonl", table)):
        assert {(record["id"], record["image_id"]) for record in read_all(build(tmp_path, path))} == expected


def test_images_are_kept_byte_for_byte_in_any_format(tmp_path, folder):
    contents = {
        "grey.jpg": encoded(1, "JPEG", "L"),
        "cmyk.jpg": encoded(2, "JPEG", "CMYK"),
        "alpha.png": encoded(3, "PNG", "RGBA"),
        "sub folder/palette.gif": encoded(4, "GIF"),
    }
    (folder / "sub folder").mkdir()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    path = write_table(tmp_path / "a.csv", [{"image": name, "caption": "x"} for name in contents])
    assert {record["image_id"]: record["image"] for record in read_all(build(tmp_path, path))} == contents


def test_split_by_row_is_semclips(tmp_path, folder):
    path = write_table(tmp_path / "a.csv", rows(57))
    builder = build(tmp_path, path, split_by="row")
    order = np.random.RandomState(42).permutation(57)
    expected = {"train": order[:-10], "validation": order[-10:-5], "test": order[-5:]}
    for split, positions in expected.items():
        assert [int(record["id"]) for record in read(builder, split)] == sorted(positions)


def test_split_by_image_shares_no_image(tmp_path, folder):
    # Image 3 also lies there under another name.
    (folder / "copy.jpg").write_bytes((folder / "000000003.jpg").read_bytes())
    table = [*rows(40), *({**row, "filename": "copy.jpg"} for row in rows(5))]
    builder = build(tmp_path, write_table(tmp_path / "a.csv", table), validation=0.2, test=0.2)
    splits = {split: read(builder, split) for split in ("train", "validation", "test")}
    images = {split: {record["image"] for record in records} for split, records in splits.items()}
    assert [len(images[split]) for split in splits] == [6, 2, 2]
    assert len(set.union(*images.values())) == 10
    assert sum(map(len, splits.values())) == 45


def test_empty_splits_do_not_exist(tmp_path, folder):
    builder = build(tmp_path, write_table(tmp_path / "a.csv", rows(4)))
    assert list(builder.info.splits) == ["train"]


def test_second_call_reuses_and_other_content_does_not(tmp_path, folder):
    path = write_table(tmp_path / "a.csv", rows())
    first = build(tmp_path, path)
    (folder / "000000000.jpg").unlink()  # would be noticed by a second build
    assert build(tmp_path, path).data_path == first.data_path
    path.write_text(path.read_text().replace("cat", "dog"))
    with pytest.raises(TripletsError, match=r"000000000\.jpg: no such image file"):
        build(tmp_path, path)
    others = [{"seed": 1}, {"split_by": "row"}, {"columns": {"absence": "negation"}}, {"test": 0.2}]
    path = write_table(tmp_path / "b.csv", rows()[1:])
    assert len({build(tmp_path, path, **options).data_path for options in ({}, *others)}) == 5


def test_real_sugarcrepe_rows(tmp_path):
    photographs = DATA / "coco_tiny" / "images"
    if not photographs.is_dir():
        pytest.skip(f"needs {DATA}")
    items = [item for path in sorted((DATA / "sugarcrepe_pp").glob("*.json")) for item in json.loads(path.read_text())]
    items = [item for item in items if (photographs / item["filename"]).exists()]
    for item in items:
        del item["id"]  # counts from 0 in each of the five files
    path = write_table(tmp_path / "scpp.csv", items)
    columns = {"paraphrase": "caption2", "hard_negative": "negative_caption"}
    builder = prepare(tmp_path / "out", annotations=path, images=photographs, columns=columns)
    records = read_all(builder)
    assert len(records) == 179
    for record in records:
        item = items[int(record["id"])]
        assert record == {
            "id": record["id"],
            "image": (photographs / item["filename"]).read_bytes(),
            "image_id": item["filename"],
            "caption": item["caption"],
            "paraphrase": item["caption2"],
            "hard_negative": item["negative_caption"],
        }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption": ""}, r"column 'caption': expected a text, found ''"),
        ({"caption": "  "}, r"column 'caption': expected a text, found '  '"),
        ({"paraphrased": "nan"}, r"column 'paraphrased': expected a text, found 'nan'"),
        ({"negation": "A cat,  number 4 "}, r"the negation equals the caption: 'A cat,  number 4 '"),
        ({"negation": "cat “4”"}, r"the negation equals the paraphrase"),
        ({"filename": ""}, r"column 'filename': expected a text, found ''"),
        ({"filename": "missing.jpg"}, r"missing\.jpg: no such image file"),
        ({"filename": "."}, r".*[Dd]irectory: .*images"),
        ({"filename": "../a.csv"}, r"expected a path inside the image folder, found '\.\./a\.csv'"),
        ({"filename": "/etc/passwd"}, r"expected a path inside the image folder, found '/etc/passwd'"),
        ({"filename": "corrupt.jpg"}, r"corrupt\.jpg: cannot decode the image .*truncated"),
        ({"filename": "empty.jpg"}, r"empty\.jpg: the image has no bytes"),
    ],
)
def test_bad_row_stops_or_is_skipped(tmp_path, folder, change, message):
    (folder / "corrupt.jpg").write_bytes(encoded(1)[:-8])
    (folder / "empty.jpg").write_bytes(b"")
    table = rows()
    table[4] |= change
    path = write_table(tmp_path / "pairs.csv", table)
    with pytest.raises(TripletsError, match=r"pairs\.csv, line 6: .*" + message):
        build(tmp_path, path)
    assert not list((tmp_path / "out").rglob("*.array_record*"))
    with pytest.raises(TripletsError, match=r"1 of 10 rows are bad; line 6: .*allow_bad_fraction is 0\.01"):
        build(tmp_path, path, on_bad_record="skip")
    builder = build(tmp_path, path, on_bad_record="skip", allow_bad_fraction=0.1)
    assert {record["id"] for record in read_all(builder)} == set("012356789")
    (bad,) = bad_lines(builder)
    assert bad["line"] == 6


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({**rows()[0], "caption": None}, r"column 'caption': expected a text, found nothing"),
        ({**rows()[0], "caption": float("nan")}, r"column 'caption': expected a text, found nan"),
        ({**rows()[0], "caption": 3}, r"column 'caption': expected a text, found 3"),
        ({**rows()[0], "caption": "half \ud83d"}, r"column 'caption': not valid Unicode"),
        ({"caption": "a"}, r"column 'paraphrased': expected a text, found nothing"),
        (["a"], r"expected a JSON object, found \['a'\]"),
    ],
)
def test_bad_json_value_is_named(tmp_path, folder, value, message):
    path = write_lines(tmp_path / "pairs.jsonl", [*rows(), value])
    with pytest.raises(TripletsError, match=r"pairs\.jsonl, line 11: " + message):
        build(tmp_path, path)


def test_duplicate_id_is_named(tmp_path, folder):
    table = [{**row, "id": str(number % 8)} for number, row in enumerate(rows())]
    with pytest.raises(TripletsError, match=r"line 10: the id '0' was used in line 2 already"):
        build(tmp_path, write_table(tmp_path / "a.csv", table))


@pytest.mark.parametrize(("line", "found"), [("x.jpg,a,b", "nothing"), ("x.jpg,a,b,c,d,e", "found 6")])
def test_wrong_number_of_cells_is_named(tmp_path, folder, line, found):
    path = write_table(tmp_path / "a.csv", rows())
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(TripletsError, match=r"a\.csv, line 12: .*" + found):
        build(tmp_path, path)


def test_line_numbers_count_lines_inside_cells(tmp_path, folder):
    table = rows()
    table[0]["caption"] = "two\nlines"
    table[2]["caption"] = ""
    with pytest.raises(TripletsError, match=r"line 5: column 'caption'"):
        build(tmp_path, write_table(tmp_path / "a.csv", table))


def test_bad_records_are_listed_in_order(tmp_path, folder):
    table = rows()
    table[2]["filename"] = "missing.jpg"
    table[5]["caption"] = ""
    table[7]["filename"] = "missing.jpg"
    builder = build(
        tmp_path, write_table(tmp_path / "a.csv", table), on_bad_record="skip", allow_bad_fraction=0.3, split_by="row"
    )
    assert [record["line"] for record in bad_lines(builder)] == [4, 7, 9]
    assert sum(split.num_examples for split in builder.info.splits.values()) == 7


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "filename;caption\nx.jpg;a\n", r"only one column found, 'filename;caption'; its delimiter .* ';'"),
        ("a.tsv", "filename,caption\nx.jpg,a\n", r"only one column found, .*; its delimiter seems to be ','"),
        ("a.csv", "caption\na\n", r"only one column found, 'caption'; a \.csv file is split at ','"),
        ("a.csv", "", r"the file is empty; expected a header"),
        ("a.csv", "filename,caption\n", r"no rows after the header"),
        ("a.csv", "filename,Caption,image_id\nx,a,b\n", r"no column 'caption' .* found \[.*; did you mean 'Caption'\?"),
        ("a.csv", "picture,caption\nx,a\n", r"no column 'image' or 'filename' or .* for the role 'image'; found"),
        ("a.csv", "image,caption,caption\nx,a,b\n", r"more than one column named 'caption'"),
        ("a.csv", 'image,caption\nx,"a\n', r"a\.csv, line 2: broken quoting"),
        ("a.csv", "image,caption\nx,caf\xe9\n", r"a\.csv: not UTF-8"),
        ("a.jsonl", "", r"a\.jsonl, line 1: expected a JSON object, found nothing"),
        ("a.jsonl", "[1, 2]\n", r"a\.jsonl, line 1: expected a JSON object, found \[1, 2\]"),
        ("a.jsonl", '{"image": "000000000.jpg", "caption": "a"}\n\n{"image"\n', r"a\.jsonl, line 3: not JSON"),
        ("a.xlsx", "PK", r"a\.xlsx: expected a \.csv, \.tsv or \.jsonl file"),
    ],
)
def test_bad_file_is_named(tmp_path, folder, name, content, message):
    path = tmp_path / name
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(TripletsError, match=message):
        build(tmp_path, path, on_bad_record="skip", allow_bad_fraction=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"negatoin": "negation"}}, r"unknown role 'negatoin'; did you mean 'negation'\?"),
        ({"columns": {"absence": "negations"}}, r"no column 'negations' .*'absence'; .*did you mean 'negation'"),
        ({"split_by": "picture"}, r"split_by: expected one of .*, found 'picture'"),
        ({"on_bad_record": "ignore"}, r"on_bad_record: expected one of .*, found 'ignore'"),
        ({"validation": 0.5, "test": 0.5}, r"validation and test: .* found 0\.5 and 0\.5"),
        ({"allow_bad_fraction": 5}, r"allow_bad_fraction: expected 0 to 1, found 5"),
    ],
)
def test_bad_setting_is_named(tmp_path, folder, options, message):
    with pytest.raises(TripletsError, match=message):
        build(tmp_path, write_table(tmp_path / "a.csv", rows()), **options)


def test_missing_file_and_folder_are_named(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such annotation file"):
        build(tmp_path, tmp_path / "none.csv")
    path = write_table(tmp_path / "a.csv", rows())
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such image folder"):
        prepare(tmp_path / "out", annotations=path, images=tmp_path / "nowhere")


def test_build_and_read_without_tensorflow(tmp_path, folder):
    path = write_table(tmp_path / "a.csv", rows())
    script = f"""
import sys
import tensorflow_datasets as tfds
from jaxclip.datasets.triplets.builder import prepare
builder = prepare({str(tmp_path / "out")!r}, annotations={str(path)!r}, images={str(folder)!r})
source = builder.as_data_source(split="train", decoders={{"image": tfds.decode.SkipDecoding()}})
assert source[0]["image"][:2] == bytes([0xFF, 0xD8])
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
