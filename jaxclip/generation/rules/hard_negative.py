"""False sentences without a negation word, by rule: an attribute or an object is exchanged for one that excludes it."""

import re
from collections.abc import Sequence

from jaxclip.generation.english import article, noun_pattern, plural, words
from jaxclip.generation.objects import choose
from jaxclip.generation.rules.wordnet import WordNet

_COLOURS = ("red", "blue", "green", "yellow", "black", "white", "orange", "pink", "purple", "brown", "grey")
# Where a colour is no attribute but part of a name: "white wine", "brown bear", "orange juice".
_NO_COLOUR = r"(?! (?:wine|bears?|bread|rice|juice|slices?|board|chocolate|pepper|onions?|beans?|house)\b)"
# Words with an antonym in WordNet that does not make a caption false, or not in the sense that captions use.
_NOT_EXCHANGED = frozenset(
    words(
        "a an the in on off out up down over under back top front side right left first second last end way hot more "
        "most less same other different many few all some one two no not with and or can like own very well close "
        "people person near far full empty here there ready just so only still real natural such live plain light "
        "dark part present head face"
    )
)


def colour_exchanged(caption: str, seed: str) -> str | None:
    """The caption with its first colour exchanged."""
    found = re.search(rf"\b({'|'.join(_COLOURS)})\b{_NO_COLOUR}", caption, re.IGNORECASE)
    if found is None:
        return None
    others = [colour for colour in _COLOURS if not re.search(rf"\b{colour}\b", caption, re.IGNORECASE)]
    new = others[choose(f"{seed} colour", len(others))]
    return _replaced(caption, found, new.capitalize() if found[0][0].isupper() else new)


def object_exchanged(
    caption: str, present: Sequence[str], absent: Sequence[str], groups: dict[str, str], seed: str
) -> str | None:
    """The caption with an object that it names exchanged for an absent one of the same group.

    Args:
        caption: true of the image.
        present: categories in the image.
        absent: categories that are not.
        groups: category → group.
        seed: of the choice.
    """
    for name in sorted(present):
        found = noun_pattern(name).search(caption)
        near = [other for other in absent if groups[other] == groups[name]]
        if found and near:
            new = near[choose(f"{seed} object", len(near))]
            many = found["plural"] and plural(name) != name
            return _replaced(caption, found, plural(new) if many else new)
    return None


def antonym_exchanged(caption: str, wordnet: WordNet) -> str | None:
    """The caption with the first word that has an antonym exchanged for it."""
    for found in re.finditer(r"\b[a-z]{3,}\b", caption):
        word = found[0]
        antonyms = () if word in _NOT_EXCHANGED or word in _COLOURS else wordnet.antonyms(word)
        if antonyms:
            return _replaced(caption, found, antonyms[0])
    return None


def _replaced(caption: str, found: re.Match, new: str) -> str:
    before = caption[: found.start()]
    # Only the article that belongs to the exchanged word is put right.
    before = re.sub(r"\b([Aa])n?( )$", lambda match: match[1] + article(new)[1:] + match[2], before)
    return before + new + caption[found.end() :]
