"""The `triplets` builder on every kind of bad input."""

import re
from pathlib import Path

import pytest
from built_data import (
    all_records,
    bad_records,
    build_triplets,
    encoded,
    image_folder,
    triplet_rows,
    write_lines,
    write_table,
)

from jaxclip.datasets import DatasetError


@pytest.fixture
def folder(tmp_path) -> Path:
    return image_folder(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"caption": ""}, r"'caption': expected a text, found ''"),
        ({"caption": "  "}, r"'caption': expected a text, found '  '"),
        ({"paraphrased": "nan"}, r"'paraphrased': expected a text, found 'nan'"),
        ({"negation": "A cat,  number 4 "}, r"the negation equals the caption: 'A cat,  number 4 '"),
        ({"negation": "A cat number 4."}, r"the negation equals the caption: 'A cat number 4\.'"),
        ({"negation": "cat “4”"}, r"the negation equals the paraphrase"),
        ({"filename": ""}, r"'filename': expected a text, found ''"),
        ({"filename": "missing.jpg"}, r"missing\.jpg: no such image file"),
        ({"caption": 2500 * "long"}, r"'caption': a text of 10000 characters, expected at most 4000: 'longlong"),
        ({"filename": "."}, r".*[Dd]irectory: .*images"),
        ({"filename": "../a.csv"}, r"expected a path inside the image folder, found '\.\./a\.csv'"),
        ({"filename": "/etc/passwd"}, r"expected a path inside the image folder, found '/etc/passwd'"),
        ({"filename": "corrupt.jpg"}, r"corrupt\.jpg: cannot decode the image .*truncated"),
        ({"filename": "empty.jpg"}, r"empty\.jpg: the image has no bytes"),
    ],
)
def test_bad_row_stops_or_is_skipped(tmp_path, folder, capsys, change, message):
    (folder / "corrupt.jpg").write_bytes(encoded(1)[:-8])
    (folder / "empty.jpg").write_bytes(b"")
    table = triplet_rows()
    table[4] |= change
    path = write_table(tmp_path / "pairs.csv", table)
    with pytest.raises(DatasetError, match=r"pairs\.csv, line 6: .*" + message):
        build_triplets(tmp_path, path)
    assert not list((tmp_path / "out").rglob("*.array_record*"))
    with pytest.raises(DatasetError, match=r"1 of 10 rows are bad, the first: .*line 6: .*allow_bad_fraction is 0\.01"):
        build_triplets(tmp_path, path, on_bad_record="skip")
    splits = build_triplets(tmp_path, path, on_bad_record="skip", allow_bad_fraction=0.1)
    assert "1 of 10 rows are bad" in capsys.readouterr().err
    assert {record["id"] for record in all_records(splits)} == set("012356789")
    (bad,) = bad_records(splits)
    assert (bad["file"], bad["place"]) == (str(path), "line 6")
    assert re.search(message, bad["reason"])


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({**triplet_rows()[0], "caption": None}, r"'caption': expected a text, found nothing"),
        ({**triplet_rows()[0], "caption": float("nan")}, r"'caption': expected a text, found nan"),
        ({**triplet_rows()[0], "caption": 3}, r"'caption': expected a text, found 3"),
        ({**triplet_rows()[0], "caption": "half \ud83d"}, r"'caption': not valid Unicode"),
        ({"filename": "000000001.jpg", "caption": "a"}, r"'paraphrased': expected a text, found nothing"),
        (["a"], r"expected a JSON object, found \['a'\]"),
    ],
)
def test_bad_json_value_is_named(tmp_path, folder, value, message):
    path = write_lines(tmp_path / "pairs.jsonl", [*triplet_rows(), value])
    with pytest.raises(DatasetError, match=r"pairs\.jsonl, line 11: " + message):
        build_triplets(tmp_path, path)


def test_duplicate_id_is_named(tmp_path, folder):
    table = [{**row, "id": str(number % 8)} for number, row in enumerate(triplet_rows())]
    with pytest.raises(DatasetError, match=r"line 10: the id '0' was used in line 2 already"):
        build_triplets(tmp_path, write_table(tmp_path / "a.csv", table))


@pytest.mark.parametrize(("line", "found"), [("x.jpg,a,b", "nothing"), ("x.jpg,a,b,c,d,e", "found 6")])
def test_wrong_number_of_cells_is_named(tmp_path, folder, line, found):
    path = write_table(tmp_path / "a.csv", triplet_rows())
    path.write_text(path.read_text() + line + "\n")
    with pytest.raises(DatasetError, match=r"a\.csv, line 12: .*" + found):
        build_triplets(tmp_path, path)


def test_line_numbers_count_lines_inside_cells(tmp_path, folder):
    table = triplet_rows()
    table[0]["caption"] = "two\nlines"
    table[2]["caption"] = ""
    with pytest.raises(DatasetError, match=r"line 5: 'caption'"):
        build_triplets(tmp_path, write_table(tmp_path / "a.csv", table))


def test_bad_records_are_listed_in_order(tmp_path, folder):
    table = triplet_rows()
    table[2]["filename"] = "missing.jpg"
    table[5]["caption"] = ""
    table[7]["filename"] = "missing.jpg"
    splits = build_triplets(
        tmp_path, write_table(tmp_path / "a.csv", table), on_bad_record="skip", allow_bad_fraction=0.3, split_by="row"
    )
    assert [record["place"] for record in bad_records(splits)] == ["line 4", "line 7", "line 9"]
    assert sum(map(len, splits.values())) == 7


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "filename;caption\nx.jpg;a\n", r"only one column found, 'filename;caption'; its delimiter .* ';'"),
        ("a.tsv", "filename,caption\nx.jpg,a\n", r"only one column found, .*; its delimiter seems to be ','"),
        ("a.csv", "caption\na\n", r"only one column found, 'caption'; a \.csv file is split at ','"),
        ("a.csv", "", r"the file is empty; expected a header"),
        ("a.csv", "filename,caption\n", r"a\.csv: no rows in it"),
        (
            "a.csv",
            "filename,Caption,image_id\nx,a,b\n",
            r"no column for any text, .*; did you mean 'Caption'\?",
        ),
        ("a.csv", "picture,caption\nx,a\n", r"no column 'image' or 'filename' or .* for the role 'image'; found"),
        ("a.csv", "image,caption,caption\nx,a,b\n", r"more than one column named 'caption'"),
        ("a.csv", 'image,caption\nx,"a\n', r"a\.csv, line 2: broken quoting"),
        ("a.csv", "image,caption\nx,caf\xe9\n", r"a\.csv: not UTF-8"),
        ("a.jsonl", "", r"a\.jsonl, line 1: expected a JSON object, found nothing"),
        ("a.jsonl", "[1, 2]\n", r"a\.jsonl, line 1: expected a JSON object, found \[1, 2\]"),
        ("a.jsonl", '{"image": "000000000.jpg", "caption": "a"}\n\n{"image"\n', r"a\.jsonl, line 3: not JSON"),
        ("a.xlsx", "PK", r"a\.xlsx: expected a \.csv, \.tsv, \.jsonl, \.parquet file"),
    ],
)
def test_bad_file_is_named(tmp_path, folder, name, content, message):
    path = tmp_path / name
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DatasetError, match=message):
        build_triplets(tmp_path, path, on_bad_record="skip", allow_bad_fraction=1.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": {"negatoin": "negation"}}, r"unknown role 'negatoin'; did you mean 'negation' or"),
        ({"columns": {"absence": "negations"}}, r"no column 'negations' .*'absence'; .*did you mean 'negation'"),
        ({"split_by": "picture"}, r"split_by: expected 'image' or 'row', found 'picture'"),
        ({"on_bad_record": "ignore"}, r"on_bad_record: expected 'error' or 'skip', found 'ignore'"),
        ({"validation": 0.5, "test": 0.5}, r"validation and test: .* found 0\.5 and 0\.5"),
        ({"allow_bad_fraction": 5}, r"allow_bad_fraction: expected 0 to 1, found 5"),
    ],
)
def test_bad_setting_is_named(tmp_path, folder, options, message):
    with pytest.raises(DatasetError, match=message):
        build_triplets(tmp_path, write_table(tmp_path / "a.csv", triplet_rows()), **options)


def test_missing_file_and_folder_are_named(tmp_path, folder):
    with pytest.raises(FileNotFoundError, match=r"none\.csv: no such annotation file"):
        build_triplets(tmp_path, tmp_path / "none.csv")
    path = write_table(tmp_path / "a.csv", triplet_rows())
    with pytest.raises(FileNotFoundError, match=r"nowhere: no such image folder"):
        build_triplets(tmp_path, path, images=tmp_path / "nowhere")
