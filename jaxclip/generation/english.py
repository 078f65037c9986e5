"""The little English grammar that checks and rules need: words, negation words, articles, plurals."""

import re

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)?")
_NEGATION = re.compile(
    r"\b(?:no|not|never|none|nobody|nothing|nowhere|neither|nor|without|cannot|lack(?:s|ing)?|absent|missing|devoid"
    r"|[a-z]+n['’]t)\b",
    re.IGNORECASE,
)
_ARTICLE = re.compile(r"\b(an?)( )(?=([^\W\d_]+))", re.IGNORECASE)
# Pronounced otherwise than they are spelled.
_CONSONANT_SOUND = re.compile(r"(?:uni|use|u[rt]|one|eu|ewe)", re.IGNORECASE)
_VOWEL_SOUND = re.compile(r"(?:hour|honest|heir|tv\b)", re.IGNORECASE)
_IRREGULAR_PLURALS = {
    "person": "people", "man": "men", "woman": "women", "child": "children", "knife": "knives", "mouse": "mice",
    "sheep": "sheep", "skis": "skis", "scissors": "scissors", "broccoli": "broccoli", "loaf": "loaves",
}  # fmt: skip


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.casefold())


def same_words(text: str, other: str) -> bool:
    """Whether two texts differ in case, punctuation and white space at most."""
    return words(text) == words(other)


def negation_words(text: str) -> list[str]:
    """The negation words of a text, in lower case: "no", "without", "isn't", …"""
    return [word.casefold() for word in _NEGATION.findall(text)]


def article(noun: str) -> str:
    """ "a" or "an", as the noun needs it."""
    vowel = noun[:1].casefold() in "aeiou" and not _CONSONANT_SOUND.match(noun)
    return "an" if vowel or _VOWEL_SOUND.match(noun) else "a"


def plural(noun: str) -> str:
    """The plural of a noun, or of a compound by its last word."""
    *first, last = noun.split(" ")
    if last in _IRREGULAR_PLURALS:
        last = _IRREGULAR_PLURALS[last]
    elif re.search(r"(?:s|x|z|ch|sh)$", last):
        last += "es"
    elif re.search(r"[^aeiou]y$", last):
        last = last[:-1] + "ies"
    else:
        last += "s"
    return " ".join([*first, last])


def is_plural_only(noun: str) -> bool:
    """Whether a noun has no singular that can be counted, such as "scissors"."""
    return plural(noun) == noun and noun != "sheep"


def with_article(noun: str) -> str:
    """ "a dog", "an apple", "scissors"."""
    return noun if is_plural_only(noun) else f"{article(noun)} {noun}"


def fix_articles(text: str) -> str:
    """ "a apple" → "an apple", for a text in which words were exchanged."""

    def fixed(match: re.Match) -> str:
        right = article(match[3])
        return (right.capitalize() if match[1][0].isupper() else right) + match[2]

    return _ARTICLE.sub(fixed, text)


def mentions(text: str, noun: str) -> bool:
    """Whether a text names something, in singular or plural."""
    return noun_pattern(noun).search(text) is not None


def noun_pattern(noun: str) -> re.Pattern:
    """Finds a noun; its group `plural` is set where it stands in another form than the singular."""
    return re.compile(rf"\b(?:{re.escape(noun)}|(?P<plural>{re.escape(plural(noun))}))\b", re.IGNORECASE)


def lower_first(text: str) -> str:
    """A sentence as it continues another one: its first letter in lower case, except in "TV" and the like."""
    return text if text[1:2].isupper() else text[:1].lower() + text[1:]
