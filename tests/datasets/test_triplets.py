"""The `triplets` builder on small files in the formats that it reads."""

import io
import json
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
from built_data import (
    DATA,
    ROOT,
    all_records,
    build_triplets,
    encoded,
    image_folder,
    records_of,
    triplet_rows,
    write_lines,
    write_table,
)

from jaxclip.datasets import DatasetError


@pytest.fixture
def folder(tmp_path) -> Path:
    return image_folder(tmp_path)


def test_csv_tsv_and_jsonl_give_the_same_records(tmp_path, folder):
    paths = [
        write_table(tmp_path / "a.csv", triplet_rows()),
        write_table(tmp_path / "b.csv", triplet_rows(), encoding="utf-8-sig"),
        write_table(tmp_path / "c.tsv", triplet_rows(), delimiter="\t"),
        write_lines(tmp_path / "d.jsonl", triplet_rows()),
    ]
    first, *others = [all_records(build_triplets(tmp_path, path)) for path in paths]
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
        assert {
            (record["id"], record["image_id"]) for record in all_records(build_triplets(tmp_path, path))
        } == expected


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
    assert {record["image_id"]: record["image"] for record in all_records(build_triplets(tmp_path, path))} == contents


def test_split_by_row_is_semclips(tmp_path, folder):
    path = write_table(tmp_path / "a.csv", triplet_rows(57))
    splits = build_triplets(tmp_path, path, split_by="row")
    order = np.random.RandomState(42).permutation(57)
    expected = {"train": order[:-10], "validation": order[-10:-5], "test": order[-5:]}
    for split, positions in expected.items():
        assert [int(record["id"]) for record in records_of(splits[split])] == sorted(positions)


def test_split_by_image_shares_no_image(tmp_path, folder):
    # Image 3 also lies there under another name.
    (folder / "copy.jpg").write_bytes((folder / "000000003.jpg").read_bytes())
    table = [*triplet_rows(40), *({**row, "filename": "copy.jpg"} for row in triplet_rows(5))]
    splits = build_triplets(tmp_path, write_table(tmp_path / "a.csv", table), validation=0.2, test=0.2)
    images = {name: {record["image"] for record in records_of(split)} for name, split in splits.items()}
    assert {name: len(found) for name, found in images.items()} == {"train": 6, "validation": 2, "test": 2}
    assert len(set.union(*images.values())) == 10
    assert sum(map(len, splits.values())) == 45


def test_empty_splits_do_not_exist(tmp_path, folder):
    splits = build_triplets(tmp_path, write_table(tmp_path / "a.csv", triplet_rows(4)))
    assert list(splits) == ["train"]


def folder_of(splits) -> Path:
    return splits["train"].folder


def test_second_call_reuses_and_other_content_does_not(tmp_path, folder):
    path = write_table(tmp_path / "a.csv", triplet_rows())
    first = build_triplets(tmp_path, path)
    (folder / "000000000.jpg").unlink()  # would be noticed by a second build
    second = build_triplets(tmp_path, path)
    assert folder_of(second) == folder_of(first)
    assert second["train"].fingerprint == first["train"].fingerprint != first["test"].fingerprint
    path.write_text(path.read_text().replace("cat", "dog"))
    with pytest.raises(DatasetError, match=r"000000000\.jpg: no such image file"):
        build_triplets(tmp_path, path)
    others = [{"seed": 1}, {"split_by": "row"}, {"columns": {"absence": "negation"}}, {"test": 0.2}]
    path = write_table(tmp_path / "b.csv", triplet_rows()[1:])
    assert len({folder_of(build_triplets(tmp_path, path, **options)) for options in ({}, *others)}) == 5


def test_an_image_lies_on_disk_once_for_all_its_rows_and_all_settings(tmp_path, folder):
    path = write_table(tmp_path / "a.csv", triplet_rows(50))
    for seed in (1, 2):
        splits = build_triplets(tmp_path, path, seed=seed)
        assert sum(map(len, splits.values())) == 50
        for split in splits.values():
            keys = split.image_rows["image"]
            images = [split[number]["image"] for number in range(len(split))]
            assert len(set(zip(keys.tolist(), images, strict=True))) == len(set(images)) == len(set(keys.tolist()))
    (store,) = (tmp_path / "out" / "image_store").iterdir()
    assert "10" in json.loads((store / "1.0.0" / "dataset_info.json").read_text())["splits"][0]["shardLengths"]


def test_images_in_a_zip_and_in_webdataset_tars(tmp_path, folder):
    names = sorted(path.name for path in folder.iterdir())
    with zipfile.ZipFile(tmp_path / "images.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in names:
            archive.write(folder / name, name)
    (tmp_path / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(tmp_path / "shards" / f"{shard:05d}.tar", "w") as archive:
            for name in names[shard::2]:
                archive.add(folder / name, name)
                caption = tarfile.TarInfo(name.replace(".jpg", ".txt"))
                caption.size = 1
                archive.addfile(caption, io.BytesIO(b"x"))
    path = write_table(tmp_path / "a.csv", triplet_rows())
    expected = all_records(build_triplets(tmp_path, path))
    for place in (tmp_path / "images.zip", tmp_path / "shards", tmp_path / "shards" / "0000?.tar"):
        assert all_records(build_triplets(tmp_path, path, images=place)) == expected
    keys = write_table(tmp_path / "keys.csv", [{**row, "filename": row["filename"][:-4]} for row in triplet_rows()])
    by_key = all_records(build_triplets(tmp_path, keys, images=tmp_path / "shards"))
    assert [{**record, "image_id": f"{record['image_id']}.jpg"} for record in by_key] == expected


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("outer.zip", r"line 2: .*outer\.zip: no image '000000000\.jpg' in it; did you mean 'photos/000000000\.jpg'"),
        ("cut.zip", r"cut\.zip: not a readable zip"),
        ("half.tar", r"line 3: .*half\.tar: no image '000000001\.jpg' in it"),
        ("packed.tar", r"packed\.tar: not a readable, uncompressed tar"),
        ("images.rar", r"images\.rar: expected a folder, a \.zip or a \.tar"),
        ("nowhere/*.tar", r"no file matches the pattern"),
    ],
)
def test_bad_archive_is_named(tmp_path, folder, place, message):
    with zipfile.ZipFile(tmp_path / "outer.zip", "w") as archive:
        archive.write(folder / "000000000.jpg", "photos/000000000.jpg")
    (tmp_path / "cut.zip").write_bytes((tmp_path / "outer.zip").read_bytes()[:-30])
    with tarfile.open(tmp_path / "half.tar", "w") as archive:
        archive.add(folder / "000000000.jpg", "000000000.jpg")
    with tarfile.open(tmp_path / "packed.tar", "w:gz") as archive:
        archive.add(folder / "000000000.jpg", "000000000.jpg")
    (tmp_path / "images.rar").write_bytes(b"Rar!")
    with pytest.raises((DatasetError, FileNotFoundError), match=message):
        build_triplets(tmp_path, write_table(tmp_path / "a.csv", triplet_rows()), images=tmp_path / place)


def test_parquet_gives_the_same_records_and_names_its_bad_row(tmp_path, folder):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    expected = all_records(build_triplets(tmp_path, write_table(tmp_path / "a.csv", triplet_rows())))
    parquet.write_table(pyarrow.Table.from_pylist(triplet_rows()), tmp_path / "a.parquet", row_group_size=4)
    assert all_records(build_triplets(tmp_path, tmp_path / "a.parquet")) == expected
    table = triplet_rows()
    table[6]["caption"] = None
    parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "b.parquet")
    with pytest.raises(DatasetError, match=r"b\.parquet, row 7: 'caption': expected a text, found nothing"):
        build_triplets(tmp_path, tmp_path / "b.parquet")
    (tmp_path / "c.parquet").write_bytes((tmp_path / "a.parquet").read_bytes()[:-9])
    with pytest.raises(DatasetError, match=r"c\.parquet: not a readable Parquet file"):
        build_triplets(tmp_path, tmp_path / "c.parquet")


def test_any_subset_of_roles_with_further_images(tmp_path, folder):
    table = [
        {"image": f"{number:09d}.jpg", "absence": f"no dog {number}", "other": f"{(number + 1) % 10:09d}.jpg"}
        for number in range(10)
    ]
    splits = build_triplets(tmp_path, write_table(tmp_path / "a.csv", table), columns={"distractor_image": "other"})
    assert splits["train"].roles == ("absence",)
    assert splits["train"].images == ("image", "distractor_image")
    for record in all_records(splits):
        number = int(record["id"])
        assert record["image"] == (folder / f"{number:09d}.jpg").read_bytes()
        assert record["distractor_image"] == (folder / f"{(number + 1) % 10:09d}.jpg").read_bytes()


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
    splits = build_triplets(tmp_path, path, images=photographs, columns=columns)
    records = all_records(splits)
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


def test_build_and_read_without_tensorflow(tmp_path, folder):
    path = write_table(tmp_path / "a.csv", triplet_rows())
    script = f"""
import sys
from pathlib import Path
from jaxclip.datasets import open_split
settings = {{"annotations": {str(path)!r}, "images": {str(folder)!r}}}
split = open_split("mine/train", "triplets", settings, Path({str(tmp_path / "out")!r}))
assert split[0]["image"][:2] == bytes([0xFF, 0xD8])
assert "tensorflow" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)


def test_texts_from_right_to_left_are_kept_as_they_are(tmp_path, folder):
    texts = ["חתול על שטיח", "قطة على سجادة, بدون كلب", "cat \u202ereversed\u202c 猫"]
    table = [{"image": f"{number:09d}.jpg", "caption": text} for number, text in enumerate(texts)]
    records = all_records(build_triplets(tmp_path, write_table(tmp_path / "a.csv", table)))
    assert [record["caption"] for record in records] == texts
