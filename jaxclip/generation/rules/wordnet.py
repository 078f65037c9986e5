"""Antonyms from a WordNet database as Debian's `wordnet-base` installs it, read in the format of wndb(5WN).

NLTK and `wn`, the libraries for WordNet, come without data and fetch it from elsewhere; they cannot read Debian's. The
format has not changed since 2006, and antonyms take two of its files: an index of words, and the synsets that it
points to.
"""

import functools
from collections.abc import Iterator
from pathlib import Path

from jaxclip.generation.errors import GenerateError

_INSTALL = "apt install wordnet-base puts it into /usr/share/wordnet"
_ANTONYM = "!"


class WordNet:
    """The adjectives and nouns of a WordNet database."""

    def __init__(self, directory: Path):
        """Reads the indices; synsets are read when they are asked for.

        Args:
            directory: holds index.adj, data.adj, index.noun and data.noun.

        Raises:
            FileNotFoundError: one of them is missing.
            GenerateError: files of another format.
        """
        self._data: dict[str, bytes] = {}
        self._offsets: dict[str, dict[str, list[int]]] = {}
        for kind in ("adj", "noun"):
            index, data = directory / f"index.{kind}", directory / f"data.{kind}"
            for path in (index, data):
                if not path.is_file():
                    raise FileNotFoundError(f"{path}: no such file; expected a WordNet database: {_INSTALL}")
            try:
                self._offsets[kind] = dict(_read_index(index.read_text(encoding="utf-8")))
            except (ValueError, IndexError) as error:
                raise GenerateError(f"{index}: not an index of WordNet ({error})") from None
            self._data[kind] = data.read_bytes()

    @functools.cache  # noqa: B019, since there is one WordNet in a run
    def antonyms(self, word: str) -> tuple[str, ...]:
        """Antonyms of the word's most frequent sense, as an adjective or else as a noun; none where it has none."""
        for kind in ("adj", "noun"):
            offsets = self._offsets[kind].get(word.lower(), [])
            if offsets:
                return tuple(self._antonyms_at(kind, offsets[0], word.lower()))
        return ()

    def _antonyms_at(self, kind: str, offset: int, word: str) -> Iterator[str]:
        names, pointers = _read_synset(self._line(kind, offset))
        for symbol, target, source_number, target_number in pointers:
            if symbol == _ANTONYM and names[source_number - 1] == word:
                opposite, _ = _read_synset(self._line(kind, target))
                yield opposite[target_number - 1].replace("_", " ")

    def _line(self, kind: str, offset: int) -> str:
        data = self._data[kind]
        return data[offset : data.index(b"\n", offset)].decode("utf-8")


def _read_index(content: str) -> Iterator[tuple[str, list[int]]]:
    """Word and the places of its synsets, the most frequent sense first."""
    for line in content.splitlines():
        if line.startswith(" "):  # the licence
            continue
        fields = line.split()
        senses, pointer_kinds = int(fields[2]), int(fields[3])
        offsets = fields[6 + pointer_kinds :]
        if len(offsets) != senses:
            raise ValueError(f"{fields[0]!r} has {len(offsets)} of {senses} senses")
        yield fields[0], [int(offset) for offset in offsets]


def _read_synset(line: str) -> tuple[list[str], list[tuple[str, int, int, int]]]:
    """The words of a synset, and its pointers: symbol, place of the other synset, number of the word here and there."""
    fields = line.split(" | ")[0].split()
    count = int(fields[3], 16)
    # An adjective may carry its syntactic position: "galore(ip)".
    names = [fields[4 + 2 * number].split("(")[0].lower() for number in range(count)]
    start = 4 + 2 * count
    pointers = []
    for number in range(int(fields[start])):
        symbol, target, _, numbers = fields[start + 1 + 4 * number : start + 5 + 4 * number]
        pointers.append((symbol, int(target), int(numbers[:2], 16), int(numbers[2:], 16)))
    return names, pointers
