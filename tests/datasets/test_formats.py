"""Each benchmark's format on a small archive in exactly that format, with real rows where shared/data has them."""

import json
from pathlib import Path

import pytest
from built_data import DATA, bad_records, by_id, open_all, records_of, write_images, write_json

from jaxclip.datasets import DatasetError

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the photographs and captions of shared/data")
PHOTOGRAPHS = DATA / "coco_tiny" / "images"


# SugarCrepe and SugarCrepe++


@pytest.fixture
def sugarcrepe_pp() -> Path:
    if not DATA.is_dir():
        pytest.skip(f"needs {DATA}")
    return DATA / "sugarcrepe_pp"


def at_hand(file: Path) -> list[dict]:
    return [item for item in json.loads(file.read_text()) if (PHOTOGRAPHS / item["filename"]).exists()]


def test_sugarcrepe_pp_has_a_split_for_each_subset(tmp_path, sugarcrepe_pp):
    splits = open_all(
        "sugarcrepe_pp",
        tmp_path,
        annotations=sugarcrepe_pp,
        images=PHOTOGRAPHS,
        on_bad_record="skip",
        allow_bad_fraction=1.0,
    )
    assert {name: len(split) for name, split in splits.items()} == {
        file.stem: len(at_hand(file)) for file in sugarcrepe_pp.glob("*.json")
    }
    assert len(bad_records(splits)) == 788 + 1652 + 1406 + 666 + 245 - 179
    for name, split in splits.items():
        assert split.roles == ("caption", "paraphrase", "hard_negative")
        expected = [
            {
                "id": f"{name}/{item['id']}",
                "image": (PHOTOGRAPHS / item["filename"]).read_bytes(),
                "image_id": item["filename"],
                "caption": item["caption"],
                "paraphrase": item["caption2"],
                "hard_negative": item["negative_caption"],
                "subset": name,
            }
            for item in at_hand(sugarcrepe_pp / f"{name}.json")
        ]
        assert records_of(split) == expected


PUBLISHED_SIZES = {"replace_att": 788, "replace_obj": 1652, "replace_rel": 1406, "swap_att": 666, "swap_obj": 245}


def with_stand_ins(folder: Path, annotations: Path) -> dict[str, Path]:
    """The real annotations, with a small image for each photograph that they name."""
    names = {item["filename"] for file in annotations.glob("*.json") for item in json.loads(file.read_text())}
    return {"annotations": annotations, "images": write_images(folder / "val2017", sorted(names))}


def test_the_whole_of_sugarcrepe_pp_is_a_benchmark_without_bad_rows(tmp_path, sugarcrepe_pp):
    """Also the two items whose false caption equals the true one: published scores count them, as wrong."""
    splits = open_all("sugarcrepe_pp", tmp_path / "out", **with_stand_ins(tmp_path, sugarcrepe_pp))
    assert {name: len(split) for name, split in splits.items()} == PUBLISHED_SIZES
    ties = [record["id"] for record in map(splits["swap_obj"].__getitem__, range(245))
            if record["caption"] == record["hard_negative"]]  # fmt: skip
    assert ties == ["swap_obj/2", "swap_obj/8"]


def test_the_whole_of_sugarcrepe_pp_as_triplets_lacks_the_two_without_a_false_caption(tmp_path, sugarcrepe_pp):
    settings = with_stand_ins(tmp_path, sugarcrepe_pp)
    with pytest.raises(DatasetError, match=r"swap_obj\.json, item 2: the negation equals the caption: 'A person prep"):
        open_all("sugarcrepe_pp_triplets", tmp_path / "out", **settings)
    # What the config of the recipe sets; more than 1 % would still be an error.
    splits = open_all("sugarcrepe_pp_triplets", tmp_path / "out", **settings, on_bad_record="skip")
    assert sum(map(len, splits.values())) == sum(PUBLISHED_SIZES.values()) - 2
    assert [record["place"] for record in bad_records(splits)] == ["item 2", "item 8"]


def test_sugarcrepe_pp_as_triplets_is_divided_by_image(tmp_path, sugarcrepe_pp):
    splits = open_all(
        "sugarcrepe_pp_triplets",
        tmp_path,
        annotations=sugarcrepe_pp,
        images=PHOTOGRAPHS,
        on_bad_record="skip",
        allow_bad_fraction=1.0,
    )
    assert set(splits) == {"train", "validation", "test"}
    assert sum(map(len, splits.values())) == 179
    images = [{record["image_id"] for record in records_of(split)} for split in splits.values()]
    assert sum(map(len, images)) == len(set.union(*images))
    assert splits["train"].roles == ("caption", "paraphrase", "negation")


def test_sugarcrepe(tmp_path):
    write_images(tmp_path / "val2017", ["000000085329.jpg", "000000058636.jpg"])
    subsets = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
    item = {"filename": "000000085329.jpg", "caption": "A dog.", "negative_caption": "A cat."}
    for number, subset in enumerate(subsets):
        content = {"0": item, "7": {**item, "filename": "000000058636.jpg", "caption": f"Dog {number}."}}
        write_json(tmp_path / "json" / f"{subset}.json", content)
    splits = open_all("sugarcrepe", tmp_path / "out", annotations=tmp_path / "json", images=tmp_path / "val2017")
    assert set(splits) == set(subsets)
    records = by_id(splits["swap_att"])
    assert records.keys() == {"swap_att/0", "swap_att/7"}
    assert records["swap_att/7"]["caption"] == "Dog 5."
    assert records["swap_att/7"]["hard_negative"] == "A cat."
    assert records["swap_att/7"]["image_id"] == "000000058636.jpg"
    (tmp_path / "json" / "swap_att.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"swap_att\.json: no such annotation file"):
        open_all("sugarcrepe", tmp_path / "out", annotations=tmp_path / "json", images=tmp_path / "val2017")


# COCO captions and Karpathy's splits


@needs_data
def test_coco_captions_of_real_photographs(tmp_path):
    file = DATA / "coco_tiny" / "annotations" / "captions_val2017.json"
    content = json.loads(file.read_text())
    splits = open_all(
        "coco_captions",
        tmp_path,
        annotations=file,
        images=PHOTOGRAPHS,
        other_caption_as_paraphrase=True,
    )
    names = {image["id"]: image["file_name"] for image in content["images"]}
    records = {key: record for split in splits.values() for key, record in by_id(split).items()}
    captions = {}
    for annotation in content["annotations"]:
        captions.setdefault(annotation["image_id"], []).append(annotation["caption"])
    assert records.keys() == {str(annotation["id"]) for annotation in content["annotations"]}
    for annotation in content["annotations"]:
        record = records[str(annotation["id"])]
        assert record["image"] == (PHOTOGRAPHS / names[annotation["image_id"]]).read_bytes()
        assert record["caption"] == annotation["caption"]
        assert record["paraphrase"] in captions[annotation["image_id"]]
    # Each caption is the paraphrase of exactly one other.
    assert sorted(record["paraphrase"] for record in records.values()) == sorted(
        record["caption"] for record in records.values()
    )


def coco(
    tmp_path, annotations, images=((7, "COCO_train2014_000000000007.jpg"), (9, "COCO_train2014_000000000009.jpg"))
):
    write_images(tmp_path / "train2014", [name for _, name in images])
    content = {
        "images": [{"id": number, "file_name": name} for number, name in images],
        "annotations": annotations,
        "info": {},
    }
    return {"annotations": write_json(tmp_path / "captions.json", content), "images": tmp_path / "train2014"}


def test_coco_captions_of_several_files_with_image_numbers_of_their_own(tmp_path):
    """Each file's `image_id` 7 is its own picture."""
    first = coco(tmp_path, [{"id": 1, "image_id": 7, "caption": "a cat"}], [(7, "a.jpg")])
    content = {"images": [{"id": 7, "file_name": "b.jpg"}], "annotations": [{"id": 2, "image_id": 7, "caption": "b"}]}
    second = write_json(tmp_path / "more.json", content)
    write_images(tmp_path / "train2014", ["b.jpg"])
    files = f"{first['annotations']},{second}"
    splits = open_all(
        "coco_captions", tmp_path / "out", annotations=files, images=first["images"], validation=0, test=0
    )
    found = {key: (record["image_id"], record["caption"]) for key, record in by_id(splits["train"]).items()}
    assert found == {"1": ("a.jpg", "a cat"), "2": ("b.jpg", "b")}
    with pytest.raises(FileNotFoundError, match="gone.json"):
        open_all("coco_captions", tmp_path / "out", annotations=f"{second},gone.json", images=first["images"])


def test_negationclip_takes_captions_that_were_updated(tmp_path):
    annotations = [
        {"id": 1, "image_id": 7, "caption": "a cat", "updated_caption": "a cat and no dog"},
        {"id": 2, "image_id": 9, "caption": "a car"},
        {"id": 3, "image_id": 9, "caption": "a red car", "updated_caption": "a red car without a driver"},
    ]
    splits = open_all(
        "coco_captions", tmp_path / "out", **coco(tmp_path, annotations), absence=True, validation=0, test=0
    )
    assert splits["train"].roles == ("caption", "absence")
    found = {key: (r["image_id"], r["caption"], r["absence"]) for key, r in by_id(splits["train"]).items()}
    assert found == {
        "1": ("COCO_train2014_000000000007.jpg", "a cat", "a cat and no dog"),
        "3": ("COCO_train2014_000000000009.jpg", "a red car", "a red car without a driver"),
    }


@pytest.mark.parametrize(
    ("annotation", "message"),
    [
        ({"id": 1, "image_id": 8, "caption": "a"}, r"captions\.json, annotation 1: 'image_id': 8 is no image of this"),
        (
            {"id": 1, "image_id": 7, "caption": ""},
            r"captions\.json, annotation 1: 'caption': expected a text, found ''",
        ),
        ({"id": 5, "image_id": 7, "caption": "a"}, r"annotation 1: the id '5' was used in annotation 0 already"),
        (3, r"annotation 1: expected a JSON object, found 3"),
    ],
)
def test_bad_coco_annotation_is_named(tmp_path, annotation, message):
    settings = coco(tmp_path, [{"id": 5, "image_id": 7, "caption": "a cat"}, annotation])
    with pytest.raises(DatasetError, match=message):
        open_all("coco_captions", tmp_path / "out", **settings)


def test_file_that_is_not_cocos_is_named(tmp_path):
    settings = coco(tmp_path, [])
    write_json(tmp_path / "captions.json", [])
    with pytest.raises(DatasetError, match=r"captions\.json: expected an object with 'images' and 'annotations'"):
        open_all("coco_captions", tmp_path / "out", **settings)
    (tmp_path / "captions.json").write_text('{"images": [')
    with pytest.raises(DatasetError, match=r"captions\.json: not JSON"):
        open_all("coco_captions", tmp_path / "out", **settings)


def karpathy_image(number, split, captions=2):
    return {
        "filepath": "val2014",
        "sentids": [],
        "filename": f"COCO_val2014_{number:012d}.jpg",
        "imgid": number,
        "split": split,
        "sentences": [
            {"tokens": [], "raw": f"caption {number}.{k}", "imgid": number, "sentid": k} for k in range(captions)
        ],
        "cocoid": number,
    }


def test_karpathy_splits_with_several_captions_an_image(tmp_path):
    images = [karpathy_image(n, split) for n, split in enumerate(("train", "restval", "val", "test", "test"))]
    images[3]["sentences"] += karpathy_image(3, "test", captions=3)["sentences"][2:]
    write_images(tmp_path / "coco", [f"val2014/{image['filename']}" for image in images])
    file = write_json(tmp_path / "dataset_coco.json", {"images": images, "dataset": "coco"})
    splits = open_all("karpathy", tmp_path / "out", annotations=file, images=tmp_path / "coco")
    assert {name: len(split) for name, split in splits.items()} == {"train": 4, "validation": 2, "test": 5}
    test = splits["test"]
    assert [record["caption"] for record in records_of(test)] == [
        "caption 3.0",
        "caption 3.1",
        "caption 3.2",
        "caption 4.0",
        "caption 4.1",
    ]
    keys = test.image_rows["image"]
    assert (keys[:3] == keys[0]).all() and (keys[3:] == keys[3]).all() and keys[0] != keys[3]


def test_two_files_of_one_name_are_an_error(tmp_path):
    write_images(tmp_path / "coco", ["a/COCO_val2014_000000000001.jpg", "b/COCO_val2014_000000000001.jpg"])
    file = write_json(tmp_path / "dataset_coco.json", {"images": [karpathy_image(1, "test")]})
    with pytest.raises(DatasetError, match=r"image 0: .*more than one image named 'COCO_val2014_000000000001\.jpg'"):
        open_all("karpathy", tmp_path / "out", annotations=file, images=tmp_path / "coco")


# NegRefCOCOg
