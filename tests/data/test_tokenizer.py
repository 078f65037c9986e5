"""The tokenizer against a plain-Python BPE written from CLIP's description, and against transformers' CLIPTokenizer."""

import gzip
import html
import itertools
import json
import pickle
import random
import unicodedata
from pathlib import Path

import ftfy
import numpy as np
import pytest
import regex

from jaxclip.data import tokenizer as tokenizer_module
from jaxclip.data.tokenizer import Tokenizer, train_tokenizer

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sugarcrepe_pp"
MERGES_FILE = Path(tokenizer_module.__file__).parent / "clip_bpe" / "bpe_simple_vocab_16e6.txt.gz"

ODD_TEXTS = [
    "",
    " ",
    "\t\n",
    "cat",
    "word " * 100,
    "IT'S they'll we'Ve I'M dogs' 'tis ''s",
    "3 dogs, 27 cats & 1,000 mice!!! (no birds...)",
    "&lt;b&gt; Tom &amp; Jerry &amp;amp;lt; &eacute;t&#233; &notanentity; <i>x &lt;</i>",
    "café cafe\u0301 naïve Übergröße ΣΊΣΥΦΟΣ İstanbul J\u030c \u017fong it'\u017f \u212aelvin",
    "emoji \U0001f600\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f",
    "schÃ¶n â€œquotedâ€\x9d ﬁne ｆｕｌｌ “curly” l’été",
    "日本語 العربية हिन्दी ไทย 12٣४ Ⅷ ½ ²",
    "zero\u200bwidth nbsp\u00a0space em\u2003space line\u2028sep nul\x00 esc\x1b[31mred bell\x07 \x1c\x1f sep",
    "lone \ud800 surrogate",
    "<|startoftext|> a <|endoftext|> b !<|endoftext|> c<|ENDOFTEXT|><|endoftext|>",
    "</w> a</w>b",
]


class PlainClip:
    """OpenAI's rules, step by step, with dictionaries and loops only."""

    def __init__(self):
        lines = gzip.decompress(MERGES_FILE.read_bytes()).decode("utf-8").splitlines()
        merges = [tuple(line.split(" ")) for line in lines[1:48895]]
        printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
        others = [byte for byte in range(256) if byte not in printable]
        self.symbols = {byte: chr(byte) for byte in printable}
        self.symbols |= {byte: chr(256 + index) for index, byte in enumerate(others)}
        ordered = [self.symbols[byte] for byte in printable + others]
        tokens = ordered + [symbol + "</w>" for symbol in ordered] + [left + right for left, right in merges]
        tokens += ["<|startoftext|>", "<|endoftext|>"]
        self.vocabulary = {token: index for index, token in enumerate(tokens)}
        self.ranks = {pair: rank for rank, pair in enumerate(merges)}
        self.pieces = regex.compile(
            r"<\|startoftext\|>|<\|endoftext\|>|'(?:s|t|re|ve|m|ll|d)|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+", regex.IGNORECASE
        )

    def merge(self, piece: str) -> list[str]:
        parts = [self.symbols[byte] for byte in piece.encode("utf-8")]
        parts[-1] += "</w>"
        while True:
            known = [pair for pair in itertools.pairwise(parts) if pair in self.ranks]
            if not known:
                return parts
            best, merged, position = min(known, key=self.ranks.get), [], 0
            while position < len(parts):
                found = tuple(parts[position : position + 2]) == best
                merged.append("".join(best) if found else parts[position])
                position += 2 if found else 1
            parts = merged

    def ids(self, text: str, context_length: int) -> list[int]:
        text = html.unescape(html.unescape(ftfy.fix_text(text)))
        text = regex.sub(r"\s+", " ", text.strip()).strip().lower()
        tokens = ["<|startoftext|>"]
        for piece in self.pieces.findall(text):
            tokens += [piece] if piece in ("<|startoftext|>", "<|endoftext|>") else self.merge(piece)
        tokens.append("<|endoftext|>")
        ids = [self.vocabulary[token] for token in tokens][:context_length]
        ids[-1] = self.vocabulary["<|endoftext|>"]
        return ids


@pytest.fixture(scope="module")
def clip() -> Tokenizer:
    return Tokenizer.clip()


@pytest.fixture(scope="module")
def plain() -> PlainClip:
    return PlainClip()


def captions() -> list[str]:
    """The 14,271 texts of SugarCrepe++."""
    if not DATA.is_dir():
        pytest.skip(f"needs {DATA}")
    items = [item for path in sorted(DATA.glob("*.json")) for item in json.loads(path.read_text())]
    return [item[key] for item in items for key in ("caption", "caption2", "negative_caption")]


def random_texts(count: int) -> list[str]:
    """Texts of letters, punctuation, entities and characters from all over Unicode.

    Left out are unassigned characters and U+0345: the `regex` module and the engine in `tokenizers` class them
    differently (a sweep over all of Unicode's first two planes found no other difference).
    """
    generator = random.Random(0)
    fragments = ["&amp;", "&lt;", "'s", "'LL", "ing", "The", " ", "  ", "\n", "<|endoftext|>", "-", "!", "7"]
    texts = []
    for _ in range(count):
        parts = []
        for _ in range(generator.randrange(1, 15)):
            point = generator.choice([generator.randrange(32, 127), generator.randrange(32, 0x3000)])
            if point != 0x345 and unicodedata.category(chr(point)) != "Cn":
                parts.append(generator.choice([chr(point), generator.choice(fragments)]))
        texts.append("".join(parts))
    return texts


def test_known_ids(clip):
    assert clip.ids(["hello world!"]) == [[49406, 3306, 1002, 256, 49407]]
    assert (clip.vocabulary_size, clip.start_id, clip.end_id, clip.context_length) == (49408, 49406, 49407, 77)


@pytest.mark.parametrize("context_length", [3, 16, 77])
def test_odd_texts_match_plain_python(plain, context_length):
    tokenizer = Tokenizer.clip(context_length)
    for text, ids in zip(ODD_TEXTS, tokenizer.ids(ODD_TEXTS), strict=True):
        assert ids == plain.ids(text, context_length), text


def test_random_texts_match_plain_python(clip, plain):
    texts = random_texts(2000)
    for text, ids in zip(texts, clip.ids(texts), strict=True):
        assert ids == plain.ids(text, 77), repr(text)


def test_real_captions_match_plain_python(clip, plain):
    texts = captions()[::10]
    assert clip.ids(texts) == [plain.ids(text, 77) for text in texts]


def test_real_captions_match_transformers(clip, plain):
    transformers = pytest.importorskip("transformers")
    reference = transformers.CLIPTokenizer(vocab=plain.vocabulary, merges=list(plain.ranks))
    texts = captions()
    assert clip.ids(texts) == reference(texts, truncation=True, max_length=77)["input_ids"]


def test_rows_are_padded_with_zero_and_end_by_argmax(clip):
    texts = ["a cat", "", "word " * 100]
    rows = clip(texts)
    assert rows.shape == (3, 77) and rows.dtype == np.int32
    for row, ids in zip(rows, clip.ids(texts), strict=True):
        assert row.argmax() == len(ids) - 1
        np.testing.assert_array_equal(row, ids + [0] * (77 - len(ids)))
    assert clip([]).shape == (0, 77)


@pytest.mark.parametrize(("words", "length", "truncated"), [(0, 2, 0), (1, 3, 0), (75, 77, 0), (76, 77, 1)])
def test_truncation_keeps_end_of_text(clip, words, length, truncated):
    ids = clip.ids(["cat " * words])[0]
    assert len(ids) == length and ids[0] == 49406 and ids[-1] == 49407
    assert clip.count_truncated(["cat " * words, "a"]) == truncated


def test_decode(clip):
    text = "it 's 1 0 ünïcode cats , <3 \U0001f600"
    assert clip.decode(clip([text])[0]) == text.replace("<3", "< 3")
    assert clip.decode([]) == ""
    with pytest.raises(ValueError, match=r"id 49408 at position 1 is outside 0\.\.49407"):
        clip.decode([5, 49408])


def test_saved_clip_reloads_identically(clip, tmp_path):
    path = tmp_path / "tokenizer.json"
    clip.save(path)
    assert list(tmp_path.iterdir()) == [path]
    texts = ODD_TEXTS + random_texts(200)
    np.testing.assert_array_equal(Tokenizer.from_file(path, 77)(texts), clip(texts))


def test_pickled_tokenizer_is_the_same(clip):
    texts = ODD_TEXTS + random_texts(200)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(clip))(texts), clip(texts))


def test_file_of_transformers_reads_as_clip(clip, plain, tmp_path):
    transformers = pytest.importorskip("transformers")
    transformers.CLIPTokenizer(vocab=plain.vocabulary, merges=list(plain.ranks)).save_pretrained(tmp_path)
    # Their pattern minds the case: no `'s` in an apostrophe and long s.
    texts = [text for text in ODD_TEXTS if "\u017f" not in text] + random_texts(200)
    np.testing.assert_array_equal(Tokenizer.from_file(tmp_path / "tokenizer.json", 77)(texts), clip(texts))


def test_saved_file_is_read_by_transformers(clip, tmp_path):
    transformers = pytest.importorskip("transformers")
    clip.save(tmp_path / "tokenizer.json")
    reader = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "tokenizer.json"))
    texts = ["", "A cat's  tail, 3 dogs!", "Übergröße \U0001f600"]
    assert reader(texts)["input_ids"] == clip.ids(texts)


def test_trained_vocabulary(tmp_path):
    texts = ["a red circle", "no blue square left of a red circle", "a blue square, but no red circle"] * 3
    tokenizer = train_tokenizer(texts, 600, 12)
    assert tokenizer.end_id == tokenizer.vocabulary_size - 1 <= 599
    assert len(tokenizer.ids(["a red circle"])[0]) == 5  # each word has become one token
    # Unseen words, scripts and emoji are spelled in bytes, and come back.
    odd = Tokenizer.from_file(_saved(tokenizer, tmp_path), 40)
    text = "zebra ünïcode 猫 \U0001f600"
    assert odd.decode(odd.ids([text])[0]) == text


def test_trained_merges_match_plain_counting():
    """The first merges by hand: always the most frequent neighbours."""
    tokenizer = train_tokenizer(["low low low low lower lower newest"], 514 + 3, 8)
    # low is there 4 times, lower twice, newest once: first l+o (6), then lo+w</w> (4), then w+e (3).
    assert [tokenizer.decode([token_id]) for token_id in range(512, 515)] == ["lo", "low", "we"]


def test_training_is_deterministic_whatever_the_order(tmp_path):
    texts = random_texts(300)
    first = _saved(train_tokenizer(texts, 700, 20), tmp_path, "first.json").read_bytes()
    again = _saved(train_tokenizer(texts[::-1], 700, 20), tmp_path, "again.json").read_bytes()
    assert first == again


def test_bad_texts_are_named(clip):
    with pytest.raises(ValueError, match=r"text 1: expected a string, found NoneType: None"):
        clip(["a", None])
    with pytest.raises(ValueError, match=r"text 0: expected a string, found float: nan"):
        clip.ids([float("nan")])
    with pytest.raises(ValueError, match=r"found one string: 'a cat'"):
        clip("a cat")


def test_bad_settings_are_named():
    with pytest.raises(ValueError, match=r"context_length is 2"):
        Tokenizer.clip(2)
    with pytest.raises(ValueError, match=r"vocabulary_size is 513, .* need 514"):
        train_tokenizer(["a"], 513, 8)


def test_bad_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"missing\.json"):
        Tokenizer.from_file(tmp_path / "missing.json", 77)
    (tmp_path / "broken.json").write_text("{}")
    with pytest.raises(ValueError, match=r"broken\.json: not a tokenizer\.json"):
        Tokenizer.from_file(tmp_path / "broken.json", 77)
    content = json.loads(_saved(train_tokenizer(["a"], 514, 8), tmp_path).read_text())
    content["model"]["vocab"]["extra"] = 514
    (tmp_path / "extra.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"extra\.json: <\|endoftext\|> has id 513 of 515"):
        Tokenizer.from_file(tmp_path / "extra.json", 77)
    content["model"].update(vocab={"a": 0}, merges=[])
    content.update(added_tokens=[], post_processor=None)
    (tmp_path / "other.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match=r"other\.json: the vocabulary lacks"):
        Tokenizer.from_file(tmp_path / "other.json", 77)


def _saved(tokenizer: Tokenizer, folder: Path, name: str = "tokenizer.json") -> Path:
    tokenizer.save(folder / name)
    return folder / name
