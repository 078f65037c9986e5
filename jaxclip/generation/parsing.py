"""Reading what a model answered, whether or not it kept to the JSON that it was asked for."""

import json
import re
from collections.abc import Iterator
from typing import Any

# What a model may answer at most; anything longer is no caption, and searching it for JSON would take long.
_MAX_CHARACTERS = 20_000
_THINKING = re.compile(r"<think>.*?(?:</think>|$)", re.DOTALL | re.IGNORECASE)
_FENCE = re.compile(r"^\s*```\w*\s*|\s*```\s*$")
_VERDICT = re.compile(r"\W*(yes|no)\b", re.IGNORECASE)


def read_text(answer: str) -> str | None:
    """The written sentence: "text" of a JSON object, or the whole answer where it is no JSON; None for broken JSON."""
    answer = _without_thinking(answer)
    for found in _objects(answer):
        if isinstance(found.get("text"), str):
            return found["text"].strip()
    plain = _FENCE.sub("", answer).strip()
    return None if plain.startswith(("{", "[")) else plain


def read_verdict(answer: str) -> bool | None:
    """True for yes and False for no, from {"verdict": "yes"} or from an answer that begins so; None where unclear."""
    answer = _without_thinking(answer)
    for found in _objects(answer):
        if isinstance(found.get("verdict"), bool):
            return found["verdict"]
        answer = str(found.get("verdict", answer))
        break
    match = _VERDICT.match(answer)
    return None if match is None else match[1].lower() == "yes"


def read_objects(answer: str) -> tuple[str | None, list[str]] | None:
    """What a caption names and what is likely but absent, from {"present": "dog", "absent": ["cat", …]}."""
    for found in _objects(_without_thinking(answer)):
        present, absent = found.get("present"), found.get("absent")
        if isinstance(absent, list):
            return present if isinstance(present, str) else None, [item for item in absent if isinstance(item, str)]
    return None


def _without_thinking(answer: str) -> str:
    return _THINKING.sub("", answer[:_MAX_CHARACTERS]).strip()


def _objects(answer: str) -> Iterator[dict[str, Any]]:
    """Each JSON object in the answer, whatever stands around it."""
    decoder = json.JSONDecoder(strict=False)  # models write line breaks into strings
    position = answer.find("{")
    while position >= 0:
        try:
            value, end = decoder.raw_decode(answer, position)
        except (json.JSONDecodeError, RecursionError):
            end = position + 1
        else:
            yield value
        position = answer.find("{", end)
