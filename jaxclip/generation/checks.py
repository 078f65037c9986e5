"""Rule checks of a written text, made before a second model is asked, and the names of all reasons for refusing one."""

import functools
import re
from collections.abc import Mapping

from jaxclip.data.tokenizer import Tokenizer
from jaxclip.generation.english import mentions, negation_words, same_words, words

# Reason → what it says of the text, also to the model that is asked to write again.
REASONS = {
    # of the form
    "empty": "it is empty",
    "garbled": "it holds control characters or broken Unicode",
    "list": "it is a list or has several lines",
    "markup": "it holds markup or code",
    "chat": "it talks about the task instead of giving the sentence alone",
    "quotes": "it stands in quotation marks",
    "wrong_language": "it is not English",
    "too_long": "it is longer than the 77 tokens that CLIP reads",
    # of the content
    "copy": "it is a copy of the caption",
    "flipped_negation": "it adds or drops a negation word, which changes the meaning",
    "same_as_paraphrase": "it is the same as the paraphrase",
    "only_repeats": "it only repeats the words of the caption",
    "has_negation_word": "it has a negation word, but should not",
    "no_negation_word": "it has no negation word",
    "object_missing": "it does not name the object that is absent",
    # by models and endpoints
    "unreadable": "no text could be read in the answer",
    "cut_off": "the answer was longer than the token limit",
    "verifier_no": "it does not have the meaning that was asked for",
    "verifier_unclear": "the verifier answered neither yes nor no",
    "no_absent_object": "no object is known to be absent",
    "no_present_object": "no object is known to be present",
    "timeout": "the endpoint did not answer in time",
    "rate_limit": "the endpoint refused too many requests (HTTP 429)",
    "server_error": "the endpoint failed (HTTP 5xx)",
    "connection": "the connection broke off",
    "bad_request": "the endpoint refused the request",
    "bad_response": "the endpoint's answer is not a chat completion",
    # by rules
    "no_rule": "no rule applies to the caption",
}

_CHAT = re.compile(
    r"^\W*(?:(?:sure|certainly|of course|okay|ok|absolutely|here(?:['’]s| is| are)|(?:i['’]?m |i am )?sorry|as an ai"
    r"|i (?:can|cannot|can['’]t|will|would|have))\b|(?:answer|caption|output|result|text|note|response|sentence"
    r"|paraphrase[d]?|rephras\w+|rewritten|negation|negated)(?: \w+)?\s*:)"
    r"|\b(?:the|this|your) (?:original )?(?:caption|sentence|instruction|prompt)s?\b|\brephras|\bparaphras"
    r"|\blanguage model\b|\blet me know\b|\bi hope\b",
    re.IGNORECASE,
)
_LIST = re.compile(r"^\s*(?:[-*•]|\(?\d{1,2}[.)]|[a-c][.)])\s+|[\n\r\u2028\u2029\x85]", re.IGNORECASE)
_MARKUP = re.compile(r"[{}<>\[\]|\\`]|\*\*|https?://")
_GARBLED = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffd\ufeff\u202a-\u202e\u2066-\u2069]")
_QUOTES = '"“”„«»'
_NON_LATIN = re.compile(r"[^\W\d_\u0000-\u024f]")
# Frequent words of the languages that models fall into, as far as English has no such words.
_FOREIGN = frozenset(
    words(
        "un une le les des du et est sur avec dans qui ein eine einen einem einer der das und ist auf mit im nicht "
        "el los las una y con en es sobre il lo gli di che nel della sulla uno um uma os em com na não het een van op "
        "met zijn"
    )
)


def refusal(
    role: str, text: str, *, caption: str, texts: Mapping[str, str], absent_object: str | None = None
) -> str | None:
    """Why a text cannot be used, a key of `REASONS`, or None where the rules find nothing.

    Args:
        role: a role of `jaxclip.data.schema.TEXT_ROLES`.
        text: what was written for it.
        caption: what it was written from.
        texts: the accepted texts of other roles.
        absent_object: of an absence, what it must name.
    """
    return _bad_form(text, caption) or _bad_content(role, text, caption, texts, absent_object)


def _bad_form(text: str, caption: str) -> str | None:
    stripped = text.strip()
    if not words(stripped) or stripped.lower() in ("nan", "none", "null", "n/a"):
        return "empty"
    if _GARBLED.search(stripped):
        return "garbled"
    if _LIST.search(stripped):
        return "list"
    for reason, pattern in (("markup", _MARKUP), ("chat", _CHAT)):
        if pattern.search(stripped) and not pattern.search(caption):
            return reason
    if any(mark in stripped for mark in _QUOTES) and not any(mark in caption for mark in _QUOTES):
        return "quotes"
    if stripped[0] in "'‘`" and stripped[-1] in "'’`":
        return "quotes"
    if _is_foreign(stripped, caption):
        return "wrong_language"
    return "too_long" if _clip_tokenizer().count_truncated([stripped]) else None


def _bad_content(role: str, text: str, caption: str, texts: Mapping[str, str], absent_object: str | None) -> str | None:
    negations = negation_words(text)
    if same_words(text, caption):
        return "copy"
    if role == "paraphrase":
        return "flipped_negation" if bool(negations) != bool(negation_words(caption)) else None
    if "paraphrase" in texts and same_words(text, texts["paraphrase"]):
        return "same_as_paraphrase"
    if role == "hard_negative" and negations:
        return "has_negation_word"
    if role in ("negation", "hard_negative"):
        return "only_repeats" if _only_repeats(text, caption) else None
    if not negations:
        return "no_negation_word"
    return "object_missing" if absent_object and not mentions(text, absent_object) else None


def _only_repeats(text: str, caption: str) -> bool:
    """Whether a text says nothing that could contradict the caption: the same negations, and no other word of its own.

    A text that swaps two things has the same words in another order, and that is a contradiction.
    """
    if sorted(negation_words(text)) != sorted(negation_words(caption)):
        return False
    found, known = words(text), words(caption)
    if set(found) <= set(known):
        return sorted(found) != sorted(known)
    return " ".join(known) in " ".join(found)


def _is_foreign(text: str, caption: str) -> bool:
    if _NON_LATIN.search(text) and not _NON_LATIN.search(caption):
        return True
    return len((set(words(text)) & _FOREIGN) - set(words(caption))) >= 2


@functools.cache
def _clip_tokenizer() -> Tokenizer:
    return Tokenizer.clip()
