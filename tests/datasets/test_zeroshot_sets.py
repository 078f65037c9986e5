"""Zero-shot sets as TFDS prepares them: written with the features of TFDS's own builders, read by ours."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from jaxclip.datasets import DatasetError, open_split

CIFAR10 = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def pixels(number: int) -> np.ndarray:
    return np.full((32, 32, 3), 20 * number, np.uint8)


def png(number: int) -> io.BytesIO:
    buffer = io.BytesIO()
    Image.fromarray(pixels(number)).save(buffer, "PNG")
    return io.BytesIO(buffer.getvalue())


def prepare(monkeypatch, data_dir, dataset, split, examples, names=None):
    """Prepares a data set with TFDS's builder, fed with our examples: its own reading of archives needs TensorFlow."""
    kind = tfds.builder_cls(dataset)

    def split_generators(self, manager):
        if names:
            self.info.features["label"].names = names
        return {split: iter(list(enumerate(examples)))}

    with monkeypatch.context() as patched:
        patched.setattr(kind, "_split_generators", split_generators)
        patched.setattr(kind, "MANUAL_DOWNLOAD_INSTRUCTIONS", None)
        tfds.builder(dataset, data_dir=str(data_dir), file_format="array_record").download_and_prepare()


def test_cifar10(monkeypatch, tmp_path):
    examples = [{"id": f"test_{number}", "image": png(number), "label": number % 10} for number in range(12)]
    prepare(monkeypatch, tmp_path, "cifar10", "test", examples, CIFAR10)
    split = open_split("cifar10/test", "zeroshot", {"dataset": "cifar10"}, tmp_path)
    assert len(split) == 12 and split.roles == () and split.images == ("image",)
    (classes,) = split.zeroshot
    assert classes.name == "cifar10" and list(classes.classes) == CIFAR10
    assert classes.prompts[3] == "this is a photo of a cat"
    assert classes.negated_prompts[3] == "this is not a photo of a cat"
    found = {}
    for number in range(12):  # TFDS shuffles by a hash of the key
        record = split[number]
        value = np.asarray(Image.open(io.BytesIO(record["image"])))
        found[int(value[0, 0, 0]) // 20] = record["cifar10"]
    assert found == {number: CIFAR10[number % 10] for number in range(12)}


def test_names_of_classes_are_readable(monkeypatch, tmp_path):
    labels = tfds.builder("food101", data_dir=str(tmp_path)).info.features["label"].names
    prepare(monkeypatch, tmp_path, "food101", "validation", [{"image": png(1), "label": "apple_pie"}])
    split = open_split("food/validation", "zeroshot", {"dataset": "food101"}, tmp_path)
    assert split[0]["food101"] == "apple pie"
    assert split.zeroshot[0].classes == tuple(label.replace("_", " ") for label in labels)
    with pytest.raises(DatasetError, match="food/test: no such split; found validation"):
        open_split("food/test", "zeroshot", {"dataset": "food101"}, tmp_path)


def test_imagenet_needs_names(monkeypatch, tmp_path):
    example = {"image": png(1), "label": "n01443537", "file_name": "a.JPEG"}
    prepare(monkeypatch, tmp_path, "imagenet2012", "validation", [example])
    settings = {"dataset": "imagenet2012"}
    with pytest.raises(DatasetError, match=r"WordNet ids \(n01440764\); give class_names"):
        open_split("imagenet/validation", "zeroshot", settings, tmp_path)
    labels = tfds.builder("imagenet2012", data_dir=str(tmp_path)).info.features["label"].names
    names = tmp_path / "names.txt"
    names.write_text("".join(f"{label} name {number}, other name\n" for number, label in enumerate(labels)))
    split = open_split("imagenet/validation", "zeroshot", {**settings, "class_names": str(names)}, tmp_path)
    assert split[0]["imagenet2012"] == "name 1"
    assert len(split.zeroshot[0].classes) == 1000
    names.write_text("goldfish\n")
    with pytest.raises(DatasetError, match=r"names\.txt: 1 names, expected one for each of 1000 classes"):
        open_split("imagenet/validation", "zeroshot", {**settings, "class_names": str(names)}, tmp_path)


def test_a_set_that_is_not_there_names_the_command(tmp_path):
    with pytest.raises(DatasetError, match="run: tfds build cifar100 --data_dir=.* --file_format=array_record"):
        open_split("cifar100/test", "zeroshot", {"dataset": "cifar100"}, tmp_path)
    with pytest.raises(DatasetError, match="unknown zero-shot set 'cifar'; known: cifar10"):
        open_split("cifar/test", "zeroshot", {"dataset": "cifar"}, tmp_path)
