"""The formats whose negatives come with further images, boxes or answers, on small archives in exactly that format."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
from built_data import by_id, open_all, records_of, write_images, write_json, write_table

from jaxclip.datasets import DatasetError, open_split


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


def test_ccneg_negation_that_is_the_caption_is_bad_in_training_and_wrong_in_the_test(tmp_path):
    content, images = ccneg(tmp_path)
    for number in (2, 5):
        content["annotations"][number]["sop_data"]["negative-prompt"] = f"A cat, number {number}"
    file = save_torch(tmp_path / "ccneg_preprocessed.pt", content)
    settings = {"annotations": file, "images": images, "test_size": 3}
    with pytest.raises(DatasetError, match=r"ccneg_preprocessed\.pt, item 2: the negation equals the caption"):
        open_all("ccneg", tmp_path / "out", **settings)
    splits = open_all("ccneg", tmp_path / "out", **settings, on_bad_record="skip", allow_bad_fraction=0.2)
    assert {name: [record["id"] for record in records_of(split)] for name, split in splits.items()} == {
        "train": ["0", "1", "3"],
        "test": ["4", "5", "6"],
    }


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
