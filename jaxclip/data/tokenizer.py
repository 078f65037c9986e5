"""CLIP's byte-level BPE, for CLIP's own vocabulary and for small vocabularies trained in the same way.

Cleaning, splitting and merging follow OpenAI's `simple_tokenizer.py` to the letter (Radford et al. 2021,
arXiv:2103.00020); the merges themselves run in the `tokenizers` library.

Shapes: N texts, L tokens of the context.
"""

import gzip
import html
import json
import os
from collections.abc import Iterable
from pathlib import Path

import ftfy
import numpy as np
import regex
import tokenizers
from tokenizers import decoders, models, normalizers, pre_tokenizers, processors, trainers

from jaxclip.files import write_atomically

START_OF_TEXT = "<|startoftext|>"
END_OF_TEXT = "<|endoftext|>"
END_OF_WORD = "</w>"
PADDING_ID = 0

_CLIP_MERGES = Path(__file__).parent / "clip_bpe" / "bpe_simple_vocab_16e6.txt.gz"
_CLIP_MERGE_COUNT = 48894  # the file lists five times as many; CLIP keeps this many (49,152 - 256 - 2)
_PIECES = r"""<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"""
_PIECES_PATTERN = regex.compile(_PIECES, regex.IGNORECASE)
# One character for each byte. In code point order this is also CLIP's order of ids.
_BYTE_SYMBOLS = sorted(pre_tokenizers.ByteLevel.alphabet())


class Tokenizer:
    """Texts to token ids, `<|startoftext|> ... <|endoftext|>`, cut to the context with end-of-text kept last.

    End-of-text has the largest id, so that `argmax` over a row finds it. Padding is 0, which in CLIP is also the
    token `!`: never look for the end of a text by looking for padding.

    Attributes:
        context_length: L, the length of a padded row.
        vocabulary_size: number of ids, the two special tokens included.
        start_id: id of `<|startoftext|>`.
        end_id: id of `<|endoftext|>`, always `vocabulary_size - 1`.
    """

    def __init__(self, backend: tokenizers.Tokenizer, context_length: int):
        """Wraps a BPE of the `tokenizers` library; use `clip`, `from_file` or `train_tokenizer` to get one.

        Args:
            backend: holds the vocabulary, the merges and the splitting. Its normaliser, truncation and padding are
                taken out, since CLIP's cleaning and `context_length` stand in for them.
            context_length: L, at least 3 (start, one token, end).

        Raises:
            ValueError: too short a context, no special tokens, or end-of-text without the largest id.
        """
        if context_length < 3:
            raise ValueError(f"context_length is {context_length}, but start, one token and end need at least 3")
        self.context_length = context_length
        self.vocabulary_size = backend.get_vocab_size(with_added_tokens=True)
        self.start_id = backend.token_to_id(START_OF_TEXT)
        self.end_id = backend.token_to_id(END_OF_TEXT)
        if self.start_id is None or self.end_id is None:
            raise ValueError(f"the vocabulary lacks {START_OF_TEXT} or {END_OF_TEXT}")
        if self.end_id != self.vocabulary_size - 1:
            raise ValueError(
                f"{END_OF_TEXT} has id {self.end_id} of {self.vocabulary_size}; "
                "it must have the largest, because the model finds it by argmax"
            )
        backend.normalizer = None
        backend.no_truncation()
        backend.no_padding()
        # Special tokens written out in a text are found by CLIP's pattern (see `_encode_with_specials`), not by the
        # library's own search, which also finds them inside a run of punctuation.
        backend.encode_special_tokens = True
        self._backend = backend

    @classmethod
    def clip(cls, context_length: int = 77) -> "Tokenizer":
        """CLIP's own vocabulary of 49,408 tokens, as all of OpenAI's models use it."""
        with gzip.open(_CLIP_MERGES, "rt", encoding="utf-8") as file:
            lines = file.read().split("\n")[1 : 1 + _CLIP_MERGE_COUNT]
        return cls(_bpe([tuple(line.split()) for line in lines]), context_length)

    @classmethod
    def from_file(cls, path: str | os.PathLike, context_length: int) -> "Tokenizer":
        """Reads a `tokenizer.json` of the `tokenizers` library, one of ours or one of a CLIP on Hugging Face.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not a tokenizer, or not one of CLIP's kind (see `__init__`).
        """
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such tokenizer file")
        try:
            backend = tokenizers.Tokenizer.from_str(path.read_text(encoding="utf-8"))
        except Exception as error:  # the library raises bare Exception
            raise ValueError(f"{path}: not a tokenizer.json of the `tokenizers` library ({error})") from error
        try:
            return cls(backend, context_length)
        except ValueError as error:
            raise ValueError(f"{path}: {error}") from error

    def save(self, path: str | os.PathLike) -> None:
        """Writes a `tokenizer.json` that `from_file` and `transformers.PreTrainedTokenizerFast` read.

        The file carries the nearest thing to CLIP's cleaning that the format can express (it has no ftfy and no HTML
        entities), for other readers; `from_file` replaces it by CLIP's.
        """
        portable = tokenizers.Tokenizer.from_str(self._backend.to_str())
        portable.normalizer = normalizers.Sequence(
            [
                normalizers.NFC(),
                normalizers.Replace(tokenizers.Regex(r"\s+"), " "),
                normalizers.Strip(),
                normalizers.Lowercase(),
            ]
        )
        write_atomically(Path(path), portable.to_str(pretty=True).encode())

    def __reduce__(self):
        # For worker processes: the backend's own pickle forgets `encode_special_tokens`.
        return Tokenizer, (self._backend, self.context_length)

    def __call__(self, texts: Iterable[str]) -> np.ndarray:
        """Token ids padded with 0, int32 [N, L].

        Raises:
            ValueError: `texts` is one string, or an item is not a string (named by its index).
        """
        rows = self.ids(texts)
        padded = np.full((len(rows), self.context_length), PADDING_ID, np.int32)
        for row, ids in zip(padded, rows, strict=True):
            row[: len(ids)] = ids
        return padded

    def ids(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids with both special tokens, cut to L but not padded; an empty text gives `[start_id, end_id]`.

        Raises:
            ValueError: as in `__call__`.
        """
        room = self.context_length - 2
        return [[self.start_id, *ids[:room], self.end_id] for ids in self._encode(texts)]

    def count_truncated(self, texts: Iterable[str]) -> int:
        """Number of texts that do not fit into the context whole.

        Raises:
            ValueError: as in `__call__`.
        """
        return sum(len(ids) > self.context_length - 2 for ids in self._encode(texts))

    def decode(self, ids: Iterable[int]) -> str:
        """Text of one row of ids, up to the first end-of-text; words are separated by single spaces.

        Raises:
            ValueError: an id outside the vocabulary.
        """
        kept = []
        for position, token_id in enumerate(map(int, ids)):
            if not 0 <= token_id < self.vocabulary_size:
                raise ValueError(f"id {token_id} at position {position} is outside 0..{self.vocabulary_size - 1}")
            if token_id == self.end_id:
                break
            if token_id != self.start_id:
                kept.append(token_id)
        return self._backend.decode(kept, skip_special_tokens=False).replace(END_OF_WORD, " ").strip()

    def _encode(self, texts: Iterable[str]) -> list[list[int]]:
        """Token ids without the special tokens around them, of any length."""
        cleaned = [clean(text) for text in _checked(texts)]
        encoded = self._backend.encode_batch_fast(cleaned, add_special_tokens=False)
        rows = [encoding.ids for encoding in encoded]
        for row, text in enumerate(cleaned):
            if START_OF_TEXT in text or END_OF_TEXT in text:
                rows[row] = self._encode_with_specials(text)
        return rows

    def _encode_with_specials(self, text: str) -> list[int]:
        """As OpenAI's tokenizer does it: a special token's name that stands as a piece of its own is that token."""
        specials = {START_OF_TEXT: [self.start_id], END_OF_TEXT: [self.end_id]}
        ids = []
        for piece in _PIECES_PATTERN.findall(text):
            ids += specials.get(piece) or self._backend.encode(piece, add_special_tokens=False).ids
        return ids


def train_tokenizer(texts: Iterable[str], vocabulary_size: int, context_length: int) -> Tokenizer:
    """Trains a BPE of CLIP's form: the same cleaning and splitting, all bytes with and without `</w>`, specials last.

    The same texts always give the same vocabulary, whatever their order.

    Args:
        texts: what to learn the merges from.
        vocabulary_size: the most ids to use, at least 514 (512 bytes, 2 specials). Few texts may give fewer: ask the
            result for its own `vocabulary_size`.
        context_length: L of the result.

    Raises:
        ValueError: too small a vocabulary, or a text that is not a string.
    """
    smallest = 2 * len(_BYTE_SYMBOLS) + 2
    if vocabulary_size < smallest:
        raise ValueError(f"vocabulary_size is {vocabulary_size}, but bytes and special tokens need {smallest}")
    # The library's own end-of-word suffix numbers the suffixed bytes in the order of a hash map, and ties between
    # merges are broken by number. So we train on a private character in place of each last byte instead.
    last_symbols = {symbol: chr(0xE000 + index) for index, symbol in enumerate(_BYTE_SYMBOLS)}
    plain_symbols = {private: symbol + END_OF_WORD for symbol, private in last_symbols.items()}
    split = _splitting()
    words = (
        " ".join(piece[:-1] + last_symbols[piece[-1]] for piece, _ in split.pre_tokenize_str(clean(text)))
        for text in _checked(texts)
    )
    trained = tokenizers.Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size - 2,
        initial_alphabet=[*last_symbols, *plain_symbols],
        show_progress=False,
    )
    trained.train_from_iterator(words, trainer)
    table = str.maketrans(plain_symbols)
    merges = json.loads(trained.to_str())["model"]["merges"]
    return Tokenizer(_bpe([(left.translate(table), right.translate(table)) for left, right in merges]), context_length)


def clean(text: str) -> str:
    """CLIP's cleaning: mend mis-decoded Unicode, undo HTML entities, collapse white space, lower case."""
    # On printable ASCII without entities ftfy changes nothing, and would take most of the time of tokenising.
    if not text.isascii() or not text.isprintable() or "&" in text:
        text = ftfy.fix_text(text)
    # Twice, as OpenAI does: web text holds `&amp;lt;`.
    text = html.unescape(html.unescape(text))
    return regex.sub(r"\s+", " ", text).strip().lower()


def _splitting() -> pre_tokenizers.PreTokenizer:
    """CLIP's pieces (words, single digits, runs of punctuation), then bytes."""
    pieces = tokenizers.Regex(f"(?i){_PIECES}")
    return pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(pieces, behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )


def _bpe(merges: list[tuple[str, str]]) -> tokenizers.Tokenizer:
    """A BPE with CLIP's order of ids: bytes, bytes at a word's end, merges, start-of-text, end-of-text."""
    tokens = [*_BYTE_SYMBOLS, *(symbol + END_OF_WORD for symbol in _BYTE_SYMBOLS), *map("".join, merges)]
    tokens += [START_OF_TEXT, END_OF_TEXT]
    vocabulary = {token: token_id for token_id, token in enumerate(tokens)}
    backend = tokenizers.Tokenizer(models.BPE(vocabulary, merges, end_of_word_suffix=END_OF_WORD))
    backend.pre_tokenizer = _splitting()
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([START_OF_TEXT, END_OF_TEXT])
    backend.post_processor = processors.TemplateProcessing(
        single=f"{START_OF_TEXT} $A {END_OF_TEXT}",
        special_tokens=[(token, vocabulary[token]) for token in (START_OF_TEXT, END_OF_TEXT)],
    )
    return backend


def _checked(texts: Iterable[str]) -> list[str]:
    """The texts as a list; ValueError where that is not a list of strings."""
    if isinstance(texts, str):
        raise ValueError(f"expected a list of texts, found one string: {texts!r:.80}")
    texts = list(texts)
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            raise ValueError(f"text {index}: expected a string, found {type(text).__name__}: {text!r:.80}")
    return texts
