"""What a benchmark's splits give, with embeddings made up here instead of a model."""

import numpy as np
import pytest

from jaxclip.benchmarks import Benchmark, measure, measure_checkpoint, open_benchmarks, read_all_texts
from jaxclip.config import BenchmarkSettings, ConfigError, EvaluateConfig, parse
from jaxclip.data.feature_cache import ImageFeatures
from jaxclip.datasets import Split, ZeroShotSet
from jaxclip.evaluation.scores import score
from jaxclip.evaluation.splits import read_texts


class FakeEmbedder:
    """Texts and images are looked up in a table of vectors; a crop is named by its left border."""

    def __init__(self, vectors):
        self.vectors = {name: np.asarray(vector, np.float32) for name, vector in vectors.items()}

    def texts(self, texts, of):
        return np.stack([self.vectors[text] for text in texts])

    def images(self, split):
        names = [split[number]["image"] for number in range(len(split))]
        distinct = list(dict.fromkeys(names))
        index = np.array([distinct.index(name) for name in names])
        return ImageFeatures(np.stack([self.vectors[name] for name in distinct]), index)

    def crops(self, split, boxes):
        return np.stack([[self.vectors[f"left {left:.0f}"] for left in record[:, 0]] for record in boxes])

    def layer_states(self, texts, of):
        return np.stack([np.stack([self.vectors[text], np.ones(3, np.float32)]) for text in texts])


def split_of(name, records, **facts):
    roles = [key for key in records[0] if key in ("caption", "negation") or key.startswith("option_")]
    return Split(
        name, [{"id": str(number), **record} for number, record in enumerate(records)], tuple(roles), "", **facts
    )


def measured(split, vectors, negated_queries=False):
    benchmark = Benchmark("b", BenchmarkSettings(splits=(split.name,)), {split.name: split}, negated_queries)
    found = measure(benchmark, split, read_texts(split), FakeEmbedder(vectors))
    return {name: score(outcomes).value for name, outcomes in found.outcomes.items()}


def test_multiple_choice_in_total_and_by_template():
    options = {"option_0": "right", "option_1": "near", "option_2": "wrong", "option_3": "wrong"}
    tie = {**options, "option_1": "right"}
    records = [
        {"image": "i", **options, "answer": 0, "template": "positive"},
        {"image": "i", **options, "answer": 1, "template": "negative"},
        {"image": "i", **tie, "answer": 0, "template": "negative"},
        {"image": "i", **tie, "option_0": "near", "answer": 1, "template": "negative"},
    ]
    vectors = {"i": [1, 0, 0], "right": [1, 0.1, 0], "near": [1, 0.5, 0], "wrong": [0, 1, 0]}
    assert measured(split_of("mcq/test", records), vectors) == {
        "mcq_accuracy": 0.5,
        "mcq_accuracy_positive": 1.0,
        "mcq_accuracy_negative": pytest.approx(1 / 3),
    }


def test_boxes():
    def record(answer, *lefts):
        boxes = np.array([[left, 0, 5, 5] for left in lefts], np.float32)
        return {"image": "i", "caption": "the man without a hat", "boxes": boxes, "answer": answer}

    records = [record(0, 1, 2), record(1, 1, 2), record(0, 2, 1), record(0, 1, 1)]
    vectors = {"i": [0, 1, 0], "the man without a hat": [1, 0, 0], "left 1": [1, 0.2, 0], "left 2": [0, 1, 0]}
    assert measured(split_of("boxes/test", records), vectors)["box_accuracy"] == 0.25


def test_negated_queries_are_a_metric_of_their_own():
    records = [{"image": name, "caption": f"no {name}"} for name in "abc"]
    vectors = {
        "a": [1, 0, 0],
        "b": [0, 1, 0],
        "c": [0, 0, 1],
        "no a": [1, 0, 0],
        "no b": [1, 0.5, 0],
        "no c": [0, 0, 1],
    }
    found = measured(split_of("neg/test", records), vectors, negated_queries=True)
    assert found == {"negated_retrieval_r1": pytest.approx(2 / 3), "negated_retrieval_r5": 1.0}


def test_several_captions_an_image_and_duplicates():
    shown = [("a", "1"), ("a", "2"), ("b", "3"), ("b", "4")]
    records = [{"image": image, "caption": caption} for image, caption in shown]
    vectors = {"a": [1, 0, 0], "b": [0, 1, 0], "1": [1, 0, 0], "2": [0, 1, 0.1], "3": [0, 0.5, 1], "4": [0.2, 1, 0]}
    found = measured(split_of("captions/test", records), vectors)
    assert found["caption_to_image_r1"] == 0.75 and found["image_to_caption_r1"] == 0.5


def test_imagenet_is_scored_with_the_published_templates_too(monkeypatch):
    monkeypatch.setattr("jaxclip.benchmarks.imagenet_templates", lambda: ["a {}", "my {}"])
    classes = ZeroShotSet("imagenet2012", ("cat", "dog"), ("plain cat", "plain dog"), ("no cat", "no dog"))
    records = [{"image": "i", "imagenet2012": "cat"}, {"image": "i", "imagenet2012": "dog"}]
    vectors = {
        "i": [1, 0, 0], "plain cat": [0, 1, 0], "plain dog": [1, 0, 0], "no cat": [0, 1, 0], "no dog": [1, 1, 0],
        # The means of unit vectors are [1, .5, 0] and [.5, .5, 0]; without the scaling the dog would be nearer.
        "a cat": [0.01, 0, 0], "my cat": [1, 1, 0], "a dog": [100, 0, 0], "my dog": [0, 1, 0],
    }  # fmt: skip
    found = measured(split_of("imagenet2012/validation", records, zeroshot=(classes,)), vectors)
    assert found == {
        "zeroshot_imagenet2012": 0.5,
        "zeroshot_imagenet2012_negated": 0.5,
        "zeroshot_imagenet2012_delta": 0.0,
        "zeroshot_imagenet2012_ensemble": 0.5,
    }
    only_cats = split_of("imagenet2012/validation", records[:1], zeroshot=(classes,))
    assert measured(only_cats, vectors)["zeroshot_imagenet2012_ensemble"] == 1.0


def test_a_benchmark_of_several_splits_gets_their_mean_and_a_table_each():
    first = split_of("d/x", [{"image": "a", "caption": "1", "negation": "2"}])
    second = split_of(
        "d/y", [{"image": "a", "caption": "2", "negation": "1"}] * 2 + [{"image": "a", "caption": "1", "negation": "2"}]
    )
    settings = BenchmarkSettings(splits=("d/x", "d/y"), similarities=True, layers=2)
    benchmark = Benchmark("d", settings, {"d/x": first, "d/y": second}, False)
    embedder = FakeEmbedder({"a": [1, 0, 0], "1": [1, 0.1, 0], "2": [0, 1, 0]})
    tables, shown, layers = measure_checkpoint([benchmark], read_all_texts([benchmark]), embedder)
    values = {table: score(metrics["original_over_negation"]).value for table, metrics in tables.items()}
    assert values == {"d": pytest.approx((1 + 1 / 3) / 2), "d/x": 1.0, "d/y": pytest.approx(1 / 3)}
    assert shown["d"].embeddings["image"].shape == (1, 3)
    cosine = 0.1 / np.sqrt(1.01)
    assert [one.value for one in layers["d"]["negation"]] == pytest.approx([cosine, 1.0], abs=1e-6)


def evaluate_config(**changes):
    values = {
        "title": "t",
        "datasets": {
            "scenes": {"builder": "scenes", "train_size": 4, "validation_size": 4, "test_size": 4},
            "gone": {"builder": "karpathy", "annotations": "{root}/k.json", "images": "{root}/images"},
            "pets": {"builder": "zeroshot", "dataset": "oxford_iiit_pet"},
        },
        "benchmarks": {"gone": {"splits": ("gone/test",), "get": "Ask Andrej."}, "pets": {"splits": ("pets/test",)}},
        "root": "/nowhere",
    }
    return parse(values | changes, EvaluateConfig)


def test_what_is_not_on_disk_is_listed_with_how_to_get_it(tmp_path):
    found, missing = open_benchmarks(evaluate_config(), tmp_path)
    assert found == [] and missing["gone"] == "/nowhere/k.json: no such annotation file. Ask Andrej."
    assert "tfds build oxford_iiit_pet" in missing["pets"]


@pytest.mark.parametrize(
    ("benchmarks", "message"),
    [
        ({"b": {"splits": ("scene/test",)}}, "did you mean 'scenes'"),
        ({"b": {"splits": ("scenes",)}}, "expected DATASET/SPLIT"),
        ({"b": {"splits": ()}}, "config.benchmarks.b.splits"),
        ({"b": {"splits": ("scenes/test",), "layer": 3}}, "unknown key; did you mean 'layers'"),
        ({}, "found none"),
    ],
)
def test_a_bad_config_is_refused(benchmarks, message):
    with pytest.raises(ConfigError, match=message):
        evaluate_config(benchmarks=benchmarks)
