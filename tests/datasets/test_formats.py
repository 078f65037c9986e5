"""Each benchmark's format on a small archive in exactly that format, with real rows where shared/data has them."""

import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from built_data import DATA, bad_records, open_all, records_of, write_images, write_json, write_table

from jaxclip.datasets import DatasetError, open_split

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="needs the photographs and captions of shared/data")
PHOTOGRAPHS = DATA / "coco_tiny" / "images"


def by_id(split) -> dict[str, dict]:
    return {record["id"]: record for record in records_of(split)}


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


def test_negrefcocog_keeps_the_boxes(tmp_path):
    boxes = [[301.74, 0, 338.26, 480], [0, 0, 392.41, 480]]
    item = {"image": "COCO_train2014_000000374391.jpg", "phrase": "a bear without a bow", "ref_bbox": boxes[0]}
    items = [{**item, "bbox_list": boxes}, {**item, "bbox_list": boxes[::-1]}]
    settings = {"images": write_images(tmp_path / "train2014", [item["image"]])}
    file = write_json(tmp_path / "NegRefCOCOg.json", items)
    (split,) = open_all("negrefcocog", tmp_path / "out", annotations=file, **settings).values()
    assert split.roles == ("caption",)
    records = [split[0], split[1]]
    assert [record["caption"] for record in records] == 2 * ["a bear without a bow"]
    assert [int(record["answer"]) for record in records] == [0, 1]
    np.testing.assert_array_equal(records[1]["boxes"], np.array(boxes[::-1], np.float32))
    for change, message in (
        ({"bbox_list": boxes[:1]}, "'bbox_list': expected two boxes"),
        ({"bbox_list": [boxes[0], [0, 0, 0, 5]]}, "'bbox_list': expected left, top, width, height"),
        ({"ref_bbox": [1, 2, 3, 4]}, "'ref_bbox': expected it once in 'bbox_list'"),
    ):
        write_json(file, [items[0], {**items[0], **change}])
        with pytest.raises(DatasetError, match=rf"NegRefCOCOg\.json, item 1: {message}"):
            open_all("negrefcocog", tmp_path / "out", annotations=file, **settings)


# NegBench


def mcq_rows():
    return [
        {
            "": number,
            "image_path": f"/somewhere/else/coco/val2017/{number:012d}.jpg",
            "correct_answer": number % 4,
            **{f"caption_{k}": f"option {number}.{k}" for k in range(4)},
            "correct_answer_template": ("hybrid", "positive", "negative")[number % 3],
        }
        for number in range(4)
    ]


def test_negbench_multiple_choice(tmp_path):
    settings = {"images": write_images(tmp_path / "val2017", [f"{number:012d}.jpg" for number in range(4)])}
    file = write_table(tmp_path / "COCO_val_mcq_llama3.1_rephrased.csv", mcq_rows())
    (split,) = open_all("negbench_mcq", tmp_path / "out", annotations=file, **settings).values()
    assert split.roles == ("option_0", "option_1", "option_2", "option_3")
    for number, record in enumerate(records_of(split)):
        assert record["image"] == (tmp_path / "val2017" / f"{number:012d}.jpg").read_bytes()
        assert record["answer"] == number % 4
        assert record["option_2"] == f"option {number}.2"
        assert record["template"] == ("hybrid", "positive", "negative")[number % 3]
    for change, message in (
        ({"correct_answer": 4}, "'correct_answer': expected a whole number from 0 to 3, found '4'"),
        ({"caption_3": ""}, "'caption_3': expected a text, found ''"),
        ({"image_path": "gone.jpg"}, r"no image named 'gone\.jpg' in it"),
    ):
        bad = write_table(tmp_path / "bad.csv", [*mcq_rows()[:3], mcq_rows()[3] | change])
        with pytest.raises(DatasetError, match=rf"bad\.csv, line 5: .*{message}"):
            open_all("negbench_mcq", tmp_path / "out", annotations=bad, **settings)
    rows = [{key: value for key, value in row.items() if key != "correct_answer"} for row in mcq_rows()]
    bad = write_table(tmp_path / "bad.csv", rows)
    with pytest.raises(DatasetError, match=r"bad\.csv: no column 'correct_answer'; .*did you mean 'correct_answer_te"):
        open_all("negbench_mcq", tmp_path / "out", annotations=bad, **settings)


def test_negbench_retrieval(tmp_path):
    settings = {"images": write_images(tmp_path / "val2017", ["a.jpg", "b.jpg"])}
    captions = [["There's no dog; a man's hat.", 'A "quoted" word.'], ["One\nline more."]]
    rows = [
        {"positive_objects": "['hat']", "filepath": f"data/{name}", "image_id": 1, "captions": repr(found)}
        for name, found in zip(("a.jpg", "b.jpg"), captions, strict=True)
    ]
    file = write_table(tmp_path / "COCO_val_negated_retrieval.csv", rows)
    (split,) = open_all("negbench_retrieval", tmp_path / "out", annotations=file, **settings).values()
    found = [(record["id"], record["image_id"], record["caption"]) for record in records_of(split)]
    assert found == [
        ("0#0", "data/a.jpg", captions[0][0]),
        ("0#1", "data/a.jpg", captions[0][1]),
        ("1#0", "data/b.jpg", captions[1][0]),
    ]
    for value in ("[", "[]", "['a', 3]", "__import__('os').getcwd()", "['a', '']"):
        bad = write_table(tmp_path / "bad.csv", [{**rows[0], "captions": value}])
        with pytest.raises(DatasetError, match=r"bad\.csv, line 2: 'captions': expected a"):
            open_all("negbench_retrieval", tmp_path / "out", annotations=bad, **settings)


# NegCLIP


def negclip_rows():
    return [
        {
            "": number,
            "title": f"caption {number}",
            "filepath": f"coco/train2014/COCO_train2014_{number:012d}.jpg",
            "neg_caption": repr([f"swapped {number}.{k}" for k in range(2)]),
            "neg_image": repr([(number + 1) % 4, (number + 2) % 4, (number + 3) % 4]),
        }
        for number in range(4)
    ]


def test_negclip_pairs_hard_captions_with_hard_images(tmp_path):
    names = [Path(row["filepath"]).name for row in negclip_rows()]
    settings = {"images": write_images(tmp_path / "train2014", names), "validation": 0, "test": 0}
    file = write_table(tmp_path / "train_neg_clip.tsv", negclip_rows(), delimiter="\t")
    split = open_all("negclip", tmp_path / "out", annotations=file, **settings)["train"]
    assert split.roles == ("caption", "negation", "hard_caption", "hard_negation")
    assert split.images == ("image", "hard_image")
    records = by_id(split)
    assert len(records) == 8
    record = records["3#1"]  # the second hard caption of row 3 goes with its second hard image, that of row 1
    assert record["caption"] == "caption 3" and record["negation"] == "swapped 3.1"
    assert record["hard_caption"] == "caption 1" and record["hard_negation"] == "swapped 1.1"
    assert record["image"] == (tmp_path / "train2014" / names[3]).read_bytes()
    assert record["hard_image"] == (tmp_path / "train2014" / names[1]).read_bytes()
    plain = open_all("negclip", tmp_path / "out", annotations=file, hard_images=False, **settings)["train"]
    assert plain.roles == ("caption", "negation") and plain.images == ("image",)
    for change, message in (
        ({"neg_image": "[4]"}, "'neg_image': expected row numbers from 0 to 3, found 4"),
        ({"neg_caption": "[]"}, "'neg_caption': expected a list of str with at least one"),
        ({"neg_caption": "['caption 0']"}, "the negation equals the caption"),
    ):
        bad = write_table(tmp_path / "bad.tsv", [negclip_rows()[0] | change, *negclip_rows()[1:]], delimiter="\t")
        with pytest.raises(DatasetError, match=rf"bad\.tsv, line 2: {message}"):
            open_all("negclip", tmp_path / "out", annotations=bad, **settings)


# CC-Neg


def save_torch(path: Path, value) -> Path:
    """What `torch.save` writes for plain containers: a zip with a pickle of protocol 2."""
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{path.stem}/data.pkl", pickle.dumps(value, protocol=2))
        archive.writestr(f"{path.stem}/byteorder", "little")
        archive.writestr(f"{path.stem}/version", "3\n")
    return path


def ccneg(tmp_path, count=7):
    names = [f"image{number}.jpg" for number in range(count)]
    annotations = [
        {
            "json": {"caption": f"a cat, number {number}", "url": "x"},
            "sop_data": {"negative-prompt": f"a cat, but not number {number}", "subject": None},
            "index": number,
        }
        for number in range(count)
    ]
    content = {
        "image_paths": [f"/workspace/datasets/cc3m/{name}" for name in names],
        "annotations": annotations,
        "num_ops": {1: list(range(count))},
    }
    images = write_images(tmp_path / "ccneg_images" / "cc3m_subset_images_extracted_final", names)
    return content, images.parent


def test_ccneg(tmp_path):
    content, images = ccneg(tmp_path)
    content["annotations"][0]["caption"] = content["annotations"][0].pop("json")["caption"]  # the other version
    file = save_torch(tmp_path / "ccneg_preprocessed.pt", content)
    splits = open_all("ccneg", tmp_path / "out", annotations=file, images=images, test_size=3)
    assert {name: [r["id"] for r in records_of(split)] for name, split in splits.items()} == {
        "train": ["0", "1", "2", "3"],
        "test": ["4", "5", "6"],
    }
    record = records_of(splits["test"])[1]
    assert record["caption"] == "a cat, number 5"
    assert record["negation"] == "a cat but not number 5"
    assert record["image"] == (images / "cc3m_subset_images_extracted_final" / "image5.jpg").read_bytes()
    kept = open_all("ccneg", tmp_path / "out", annotations=file, images=images, test_size=3, remove_commas=False)
    assert records_of(kept["test"])[1]["negation"] == "a cat, but not number 5"


def test_ccneg_distractors_count_coco_by_sorted_image_id(tmp_path):
    content, images = ccneg(tmp_path)
    file = save_torch(tmp_path / "ccneg_preprocessed.pt", content)
    mapping = save_torch(tmp_path / "distractor_image_mapping.pt", [[2, 0, 1], [0], [1, 1], [2], [0]])
    train2017 = write_images(tmp_path / "train2017", ["a.jpg", "b.jpg", "c.jpg"])
    names = {30: "c.jpg", 10: "a.jpg", 20: "b.jpg"}  # in the file in another order than that of the ids
    captions = {"images": [{"id": key, "file_name": name} for key, name in names.items()], "annotations": []}
    settings = {
        "annotations": file,
        "images": images,
        "test_size": 3,
        "distractors": mapping,
        "distractor_images": train2017,
        "distractor_captions": write_json(tmp_path / "captions_train2017.json", captions),
    }
    splits = open_all("ccneg", tmp_path / "out", **settings)
    assert splits["train"].images == ("image", "distractor_image")
    assert splits["test"].images == ("image",)
    expected = [(train2017 / name).read_bytes() for name in ("c.jpg", "a.jpg", "b.jpg", "c.jpg")]
    assert [record["distractor_image"] for record in records_of(splits["train"])] == expected
    with pytest.raises(DatasetError, match="distractor_captions: give all three or none"):
        open_all("ccneg", tmp_path / "out", **{**settings, "distractor_captions": None})
    save_torch(mapping, [[2], [3]])
    with pytest.raises(DatasetError, match=r"distractor_image_mapping\.pt, item 1: expected a list of numbers below 3"):
        open_all("ccneg", tmp_path / "out", **settings)


def test_bad_ccneg_is_named(tmp_path):
    content, images = ccneg(tmp_path)
    settings = {"images": images, "test_size": 3}
    content["annotations"][5]["sop_data"]["negative-prompt"] = None
    file = save_torch(tmp_path / "ccneg.pt", content)
    with pytest.raises(DatasetError, match=r"ccneg\.pt, item 5: 'negative-prompt': expected a text, found nothing"):
        open_all("ccneg", tmp_path / "out", annotations=file, **settings)
    del content["annotations"][5]["sop_data"]
    save_torch(file, content)
    with pytest.raises(DatasetError, match=r"ccneg\.pt, item 5: 'sop_data': expected a dict, found nothing"):
        open_all("ccneg", tmp_path / "out", annotations=file, **settings)
    save_torch(file, {**content, "image_paths": content["image_paths"][:-1]})
    with pytest.raises(DatasetError, match=r"ccneg\.pt: expected a dict with the equally long lists"):
        open_all("ccneg", tmp_path / "out", annotations=file, **settings)


def test_ccneg_pickle_that_runs_code_is_refused(tmp_path):
    class Attack:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "touched",))

    content, images = ccneg(tmp_path)
    file = save_torch(tmp_path / "ccneg.pt", {**content, "more": Attack()})
    with pytest.raises(DatasetError, match=r"ccneg\.pt: data\.pkl: the pickle names the global"):
        open_all("ccneg", tmp_path / "out", annotations=file, images=images)
    assert not (tmp_path / "touched").exists()


def test_ccneg_of_torch_itself(tmp_path):
    torch = pytest.importorskip("torch")
    content, images = ccneg(tmp_path)
    torch.save(content, tmp_path / "ccneg.pt")
    split = open_split(
        "ccneg/test", "ccneg", {"annotations": str(tmp_path / "ccneg.pt"), "images": str(images)}, tmp_path / "out"
    )
    assert [record["id"] for record in records_of(split)] == [str(number) for number in range(7)]
