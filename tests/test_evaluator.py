"""Scoring splits: the scores are those of a plain evaluation, and a frozen tower runs once an image."""

import dataclasses
import io

import jax
import numpy as np
import pytest
from PIL import Image

from jaxclip.config import MeshSettings
from jaxclip.data.preprocessing import Preprocessing, preprocess
from jaxclip.datasets import ZeroShotSet
from jaxclip.embedding import Encoders
from jaxclip.evaluator import Evaluator, replicate
from jaxclip.model import CLIP
from jaxclip.training.sharding import make_mesh
from jaxclip.training.trainable import merge

PREPROCESSING = Preprocessing(16, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "crop")
IMAGE_OF_RECORD = [0, 0, 1, 2, 2, 3, 4]


@dataclasses.dataclass
class FakeSplit:
    """Seven records on five images; classes on three of them."""

    reads: int = 0
    fingerprint: str = "fake"
    roles: tuple = ("caption", "negation")
    zeroshot: tuple = (ZeroShotSet("kind", ("cat", "dog"), ("a cat", "a dog"), ("no cat", "no dog")),)

    def __len__(self):
        return len(IMAGE_OF_RECORD)

    def pixels(self, number):
        generator = np.random.default_rng(IMAGE_OF_RECORD[number])
        return generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)

    def __getitem__(self, number):
        self.reads += 1
        buffer = io.BytesIO()
        Image.fromarray(self.pixels(number)).save(buffer, "PNG")
        return {
            "id": str(number),
            "image": buffer.getvalue(),
            "caption": f"the dog {number}",
            "negation": f"no cat {number}",
            "kind": ["cat", "dog", ""][number % 3],
        }


@pytest.fixture
def evaluator(tiny_config, tiny_tokenizer):
    encoders = Encoders(CLIP(tiny_config), make_mesh(MeshSettings()), 4)
    return Evaluator(encoders, tiny_tokenizer, PREPROCESSING, {"d/s": FakeSplit()}, lambda: None)


def plain_scores(config, params, tokenizer):
    """Original-over-negation and zero-shot accuracy by hand, an item at a time."""
    split, params = FakeSplit(), merge(params)

    def unit(embedding):
        embedding = np.asarray(embedding[0], np.float64)
        return embedding / np.linalg.norm(embedding)

    def image(number):
        pixels = preprocess(split.pixels(number), PREPROCESSING)[None]
        return unit(CLIP(config).apply({"params": params}, pixels, method="encode_image"))

    def text(words):
        return unit(CLIP(config).apply({"params": params}, tokenizer([words]), method="encode_text"))

    over = [image(n) @ text(split[n]["caption"]) > image(n) @ text(split[n]["negation"]) for n in range(len(split))]
    classes = [text("a cat"), text("a dog")]
    right = [
        int(np.argmax([image(n) @ one for one in classes])) == n % 3 for n in range(len(split)) if split[n]["kind"]
    ]
    return np.mean(over), np.mean(right)


def test_scores_equal_a_plain_evaluation(evaluator, tiny_config, tiny_params, tiny_tokenizer, tmp_path):
    params = replicate(make_mesh(MeshSettings()), tiny_params)
    expected = plain_scores(tiny_config, tiny_params, tiny_tokenizer)
    fresh = evaluator.score("d/s", params, "base")
    assert (fresh.scores["original_over_negation"].value, fresh.scores["zeroshot_kind"].value) == expected
    np.testing.assert_array_equal(fresh.image_index, IMAGE_OF_RECORD)
    assert fresh.embeddings["image"].shape == (5, 16)

    evaluator.cache_features({"d/s": ("image",)}, tiny_params, tmp_path)
    cached = evaluator.score("d/s", params, "base")
    assert cached.scores == fresh.scores


def test_cache_is_read_again_only_under_the_same_weights(evaluator, tiny_params, tmp_path, monkeypatch):
    counts = []
    encode = Encoders.images

    def counting(self, params, load, count, on_batch):
        counts.append(count)
        return encode(self, params, load, count, on_batch)

    monkeypatch.setattr(Encoders, "images", counting)
    evaluator.cache_features({"d/s": ("image",)}, tiny_params, tmp_path)
    evaluator.cache_features({"d/s": ("image",)}, tiny_params, tmp_path)
    assert counts == [5]
    changed = {path: leaf + 1 if path == "visual/proj" else leaf for path, leaf in tiny_params.items()}
    evaluator.cache_features({"d/s": ("image",)}, changed, tmp_path)
    assert counts == [5, 5]


def test_replicated_parameters_are_nested(tiny_params):
    text = {path: leaf for path, leaf in tiny_params.items() if path.startswith("text/")}
    rest = {path: leaf for path, leaf in tiny_params.items() if not path.startswith("text/")}
    nested = replicate(make_mesh(MeshSettings()), text, rest)
    assert set(nested) == {"visual", "text", "logit_scale"}
    assert isinstance(nested["logit_scale"], jax.Array)
