"""Embeddings by content: each item is encoded once, whatever happens to the files."""

import numpy as np
import pytest

from jaxclip.data import embedding_cache
from jaxclip.data.embedding_cache import cached_embeddings, content_key


class Encoder:
    """Items are numbers; item x has the embedding [x, x²]."""

    def __init__(self, items):
        self.items, self.encoded = items, []
        self.keys = [content_key(str(item)) for item in items]

    def __call__(self, numbers):
        found = [self.items[number] for number in numbers]
        self.encoded += found
        return np.array([[x, x * x] for x in found], np.float32)

    @property
    def expected(self):
        return np.array([[x, x * x] for x in self.items], np.float32)


def read(folder, encoder):
    return cached_embeddings(folder, encoder.keys, encoder)


def test_equal_items_are_encoded_once_and_a_second_data_set_adds_what_it_lacks(tmp_path):
    first, second = Encoder([3, 1, 3, 2, 1]), Encoder([5, 2, 3, 5, 4])
    np.testing.assert_array_equal(read(tmp_path, first), first.expected)
    np.testing.assert_array_equal(read(tmp_path, second), second.expected)
    assert (first.encoded, second.encoded) == ([3, 1, 2], [5, 4])
    again = Encoder([4, 1, 5])
    np.testing.assert_array_equal(read(tmp_path, again), again.expected)
    assert again.encoded == []


def test_an_interrupted_evaluation_goes_on_with_what_it_lacks(tmp_path, monkeypatch):
    monkeypatch.setattr(embedding_cache, "SHARD_ITEMS", 2)

    class Interrupted(Encoder):
        def __call__(self, numbers):
            if len(self.encoded) == 4:
                raise KeyboardInterrupt
            return super().__call__(numbers)

    with pytest.raises(KeyboardInterrupt):
        read(tmp_path, Interrupted(list(range(7))))
    rest = Encoder(list(range(7)))
    np.testing.assert_array_equal(read(tmp_path, rest), rest.expected)
    assert rest.encoded == [4, 5, 6]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-30],
        lambda content: content.replace(b"\x00\x40", b"\x00\x41"),
        lambda content: b"",
        lambda content: b"no archive at all",
    ],
)
def test_a_damaged_file_is_encoded_again(tmp_path, damage):
    read(tmp_path, Encoder([2, 3]))
    [path] = tmp_path.glob("*.npz")
    content = damage(path.read_bytes())
    assert content != path.read_bytes()
    path.write_bytes(content)
    again = Encoder([2, 3])
    np.testing.assert_array_equal(read(tmp_path, again), again.expected)
    assert again.encoded == [2, 3]


def test_keys_tell_parts_apart():
    assert content_key("ab", "c") != content_key("a", "bc") and content_key("ab") == content_key(b"ab")
