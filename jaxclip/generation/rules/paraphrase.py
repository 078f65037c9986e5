"""Paraphrases by rule: words are exchanged for synonyms, and parts of the sentence change places."""

import re

from jaxclip.generation.english import fix_articles, lower_first, same_words

# Exchanged in both directions. Only what means the same in nearly every caption.
_SYNONYMS = (
    ("next to", "beside"), ("close to", "near"), ("filled with", "full of"), ("a couple of", "two"),
    ("underneath", "under"), ("lots of", "many"), ("several", "a number of"),
    ("bike", "bicycle"), ("bikes", "bicycles"), ("motorbike", "motorcycle"), ("motorbikes", "motorcycles"),
    ("sofa", "couch"), ("television", "TV"), ("cell phone", "mobile phone"), ("airplane", "plane"),
    ("airplanes", "planes"), ("photo", "photograph"), ("picture", "image"), ("big", "large"), ("kids", "children"),
    ("road", "roadway"), ("sidewalk", "pavement"), ("fridge", "refrigerator"), ("trash can", "garbage can"),
    ("colorful", "brightly coloured"), ("outdoors", "in the open air"), ("beach", "seashore"), ("atop", "on top of"),
    ("small", "little"), ("bathroom", "washroom"), ("picnic", "outdoor meal"), ("meal", "dish of food"),
)  # fmt: skip
# Not exchanged in the other direction, or not at all: the other word has more meanings.
_ONE_WAY = {"roadway", "a number of", "pavement", "little", "washroom", "dish of food", "two", "plane", "image"}
_STARTS = r"(?:an?|the|two|three|four|five|six|some|several|many)"
_PLURAL_STARTS = r"(?:two|three|four|five|six|some|several|many)"
_PLACE = re.compile(
    rf"^(?P<rest>{_STARTS} .*\w) (?P<place>(?:in|on|at|near|under|beside|inside|next to|in front of|on top of) "
    r"(?:an?|the) (?:[a-z]+ ){0,2}[a-z]+)$",
    re.IGNORECASE,
)
# What a caption can't be once it is told from "There is": a sentence with a finite verb.
_FINITE = re.compile(
    r"\b(?:is|are|was|were|has|have|can|do|does|(?:sit|stand|rid|walk|run|play|hold|eat|jump|rest|sleep|look|wear|hang|"
    r"drive|travel|move|swim|graze|wait|throw|hit|cut|lean|talk|us|drink|pull|show|contain|feature|mak|tak|feed|get|go|"
    r"fl|carr|l)(?:e?s|ies)|sit|stand|walk|ride|lie|lay|play|eat|graze|fly|run)\b",
    re.IGNORECASE,
)


def _with_synonyms(caption: str) -> str | None:
    changed = caption
    for one, other in _SYNONYMS:
        for old, new in ((one, other), (other, one)):
            if old in _ONE_WAY:
                continue
            replaced = re.sub(
                rf"\b{re.escape(old)}\b(?! bit\b)", lambda match, new=new: _in_case(match[0], new), changed
            )
            if replaced != changed:
                changed = replaced
                break  # or it would be exchanged back
    return fix_articles(changed) if changed != caption else None


def _in_case(old: str, new: str) -> str:
    return new[0].upper() + new[1:] if old[0].isupper() else new


def _place_first(caption: str) -> str | None:
    match = _PLACE.match(caption)
    if match is None:
        return None
    return f"{match['place'][0].upper()}{match['place'][1:]}, {lower_first(match['rest'])}"


def _there_is(caption: str) -> str | None:
    if _is_sentence(caption) or not re.match(rf"{_STARTS} ", caption, re.IGNORECASE):
        return None
    return f"There {'are' if re.match(_PLURAL_STARTS, caption, re.IGNORECASE) else 'is'} {lower_first(caption)}"


def _this_shows(caption: str) -> str | None:
    return None if _is_sentence(caption) else f"This picture shows {lower_first(caption)}"


def _is_sentence(caption: str) -> bool:
    """Whether a caption has a finite verb of its own, not only one in a relative clause."""
    return _FINITE.search(re.sub(r"\b(?:that|who|which) \w+", "", caption)) is not None


def paraphrases(caption: str) -> dict[str, str]:
    """Rule name → the caption in other words, for each rule that applies."""
    stop = "." if caption.rstrip().endswith(".") else ""
    bare = caption.rstrip(" .")
    synonyms = _with_synonyms(bare)
    source = synonyms or bare
    found = {
        "place first": _place_first(source),
        "there is": _there_is(source),
        "this picture shows": _this_shows(source),
        "synonyms": synonyms,
    }
    if not any(found.values()):
        found = {"one can see": f"One can see here that {lower_first(bare)}"}
    kept = {name: text + stop for name, text in found.items() if text is not None}
    return {name: text for name, text in kept.items() if not same_words(text, caption)}
