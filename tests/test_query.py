"""A search: nearest first, and photographs told apart where file names repeat."""

import numpy as np
import pytest
from PIL import Image

from jaxclip.query import Search, hits, search


class FakeEmbedder:
    """A photograph's embedding is the cosine and sine of its brightness; the texts' are given."""

    def __init__(self, texts):
        self._texts = texts

    def texts(self, texts, of):
        return np.stack([self._texts[text] for text in texts])

    def encode_images(self, keys, load, of):
        angles = np.array([np.asarray(load(number)).mean() / 255 for number in range(len(keys))])
        return np.stack([np.cos(angles), np.sin(angles)], axis=1)


@pytest.fixture
def paths(tmp_path):
    found = []
    for name, brightness in (("a/1.png", 255), ("b/1.png", 0), ("b/2.png", 128)):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        Image.new("RGB", (4, 4), (brightness,) * 3).save(path)
        found.append(path)
    return found


def test_nearest_first(paths):
    texts = {"dark": np.array([2.0, 0.0]), "bright": np.array([0.0, 3.0]), "broken": np.array([np.nan, 1.0])}
    dark, bright, broken = search(FakeEmbedder(texts), list(texts), paths)
    assert dark.numbers.tolist() == [1, 2, 0] and bright.numbers.tolist() == [0, 2, 1]
    np.testing.assert_allclose(dark.cosines, np.cos([0, 128 / 255, 1]), atol=1e-6)
    assert broken.numbers.tolist() == [0, 1, 2] and np.isnan(broken.cosines).all()


def test_equal_file_names_in_two_folders_stay_apart(paths):
    one = Search(np.array([1, 0]), np.array([0.9, 0.1]))
    [found] = hits({"base": [one]}, paths)["base"]
    assert [(hit.name, hit.cosine) for hit in found] == [("b/1.png", 0.9), ("a/1.png", 0.1)]
    assert found[0].image != found[1].image and all(hit.image.startswith(b"\x89PNG") for hit in found)
