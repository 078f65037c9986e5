"""Negations by rule: a negation word is put where English wants it, or taken out where the caption has one."""

import re
from collections.abc import Callable

from jaxclip.generation.english import lower_first, negation_words, with_article

_QUANTIFIER = (
    r"(?:an?|the|some|several|many|various|multiple|two|three|four|five|six|a few|a couple of|a lot of|lots of|"
    r"a bunch of|a group of|a number of)"
)
# A participle is taken for one where such a word follows: "riding a", "sitting on", but not "a building".
_AFTER_VERB = (
    r"(?=(?:an?|the|his|her|their|its|some|two|three|on|in|at|into|onto|over|under|by|near|next|up|down|off|out|with|to|"
    r"for|from|through|across|along|around|against|behind|beside|together|outside|inside|while|towards?|past|about|"
    r"between|beneath|below|above|amongst?|among|atop|underneath|alongside)\b)"
)
# Nouns and prepositions that look like participles.
_NO_PARTICIPLE = (
    r"(?!(?:building|ceiling|clothing|during|evening|morning|painting|railing|something|nothing|anything|everything|"
    r"string|spring|wing|king|ring|swing|thing|including|according|concerning|following|wedding|crossing|landing|"
    r"lighting|dressing|frosting|icing|topping|stuffing|awning|siding|flooring|paneling|drawing|clearing|being|"
    r"pudding|setting|wiring|writing|bedding|opening|housing|flooring|carving|covering|filling|seating|living|dining)\b)"
)
_NOT_BEFORE_PARTICIPLE = (
    r"(?<!\ba )(?<!\ban )(?<!\bthe )(?<!\bof )(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )(?<!\bnot )"
)
# Verbs of captions, third person → base form. Only these are trusted to be verbs.
_VERBS = {
    "sits": "sit", "stands": "stand", "lies": "lie", "lays": "lay", "rides": "ride", "walks": "walk", "runs": "run",
    "plays": "play", "holds": "hold", "eats": "eat", "flies": "fly", "jumps": "jump", "rests": "rest",
    "sleeps": "sleep", "looks": "look", "wears": "wear", "carries": "carry", "swings": "swing", "skis": "ski",
    "hangs": "hang",
    "drives": "drive", "travels": "travel", "moves": "move", "swims": "swim", "grazes": "graze", "waits": "wait",
    "watches": "watch", "throws": "throw", "hits": "hit", "catches": "catch", "cuts": "cut", "cooks": "cook",
    "prepares": "prepare", "performs": "perform", "poses": "pose", "leans": "lean", "talks": "talk", "uses": "use",
    "drinks": "drink", "crosses": "cross", "follows": "follow", "pulls": "pull", "pushes": "push", "shows": "show",
    "contains": "contain", "features": "feature", "has": "have", "makes": "make", "takes": "take", "feeds": "feed",
}  # fmt: skip
# A caption without article that begins so does not begin with its subject.
_NO_NOUN_PHRASE = re.compile(
    r"(?:this|that|these|those|it|he|she|they|we|i|you|there|here|his|her|their|one|all|each|every|most|in|on|at|under|"
    r"inside|outside|near|next|behind|above|with|from|\w+ing|lots|a|an|the)\b",
    re.IGNORECASE,
)
_PLURAL_SUBJECT = r"(?P<subject>\b(?:men|women|people|children|sheep|cattle|\w+[^s\W]s) )"


def _without_its_negation(caption: str) -> str | None:
    """The caption with its one negation word taken out: it then affirms what it denied."""
    for pattern, replacement in (
        (r"\bwithout (?:any )?(?P<noun>(?!an?\b|the\b)\w+)", _affirmed("with")),
        (r"\bwithout\b", "with"),
        (r"\bwith no (?P<noun>\w+)", _affirmed("with")),
        (r"\bthere (?:is|are) no (?P<noun>\w+)", _affirmed("there {be}")),
        (r"\b(is|are|was|were|can|could|do|does|did|has|have|will) not\b", r"\1"),
        (r"\b(is|are|was|were|do|does|did|has|have|could)n['’]t\b", r"\1"),
        (r"\bnot (\w+ing)\b", r"\1"),
    ):
        changed, count = re.subn(pattern, replacement, caption, count=1, flags=re.IGNORECASE)
        if count and not negation_words(changed):
            return changed[0].upper() + changed[1:] if caption[0].isupper() else changed
    return None


def _affirmed(start: str) -> Callable[[re.Match], str]:
    def replacement(match: re.Match) -> str:
        noun = match["noun"]
        many = noun in ("people", "men", "women", "children") or (noun.endswith("s") and not noun.endswith("ss"))
        return f"{start.format(be='are' if many else 'is')} {noun if many else with_article(noun)}"

    return replacement


def _there_is_no(caption: str) -> str | None:
    return _once(rf"(?P<start>\bthere (?:is|are|was|were)) {_QUANTIFIER} ", r"\g<start> no ", caption)


def _not_after_auxiliary(caption: str) -> str | None:
    return _once(r"(?<!\bthere )\b(?P<be>is|are|was|were|can)\b(?= [a-z])", r"\g<be> not", caption)


def _not_before_participle(caption: str) -> str | None:
    return _once(
        rf"(?<=[a-z] ){_NOT_BEFORE_PARTICIPLE}{_NO_PARTICIPLE}(?P<verb>[a-z]{{2,}}ing) {_AFTER_VERB}",
        r"not \g<verb> ",
        caption,
    )


def _without(caption: str) -> str | None:
    # "filled with", "along with" and the like go with their verb and have no "without".
    found = re.search(
        rf"(?<!ed )(?<!\balong )(?<!\btogether )(?<!\bmade )(?<!\bup )(?<!\bdown )\bwith (?P<many>{_QUANTIFIER}) ",
        caption,
        re.IGNORECASE,
    )
    if found is None:
        return None
    kept = f"{found['many']} " if found["many"].lower() in ("a", "an", "the") else "any "
    return f"{caption[: found.start()]}without {kept}{caption[found.end() :]}"


def _does_not(caption: str) -> str | None:
    def negated(match: re.Match) -> str:
        return f"does not {_VERBS[match['verb'].lower()]} "

    verbs = "|".join(_VERBS)
    singular = rf"(?<=[a-z] )(?<!\ba )(?<!\bthe )(?<!\bof )(?P<verb>{verbs}) {_AFTER_VERB}"
    if (changed := _once(singular, negated, caption)) is not None:
        return changed
    bases = "|".join(_VERBS.values())
    return _once(rf"{_PLURAL_SUBJECT}(?P<verb>{bases}) {_AFTER_VERB}", r"\g<subject>do not \g<verb> ", caption)


def _no_subject(caption: str) -> str | None:
    if (
        changed := _once(rf"^{_QUANTIFIER} (?=\w)(?!(?:lot|lots|few|couple|bunch|number) )", "No ", caption)
    ) is not None:
        return changed
    return None if _NO_NOUN_PHRASE.match(caption) else f"No {lower_first(caption)}"


def _once(pattern: str, replacement: str | Callable[[re.Match], str], caption: str) -> str | None:
    changed, count = re.subn(pattern, replacement, caption, count=1, flags=re.IGNORECASE)
    return changed if count else None


def negations(caption: str) -> dict[str, str]:
    """Rule name → the caption negated by that rule, for each rule that applies.

    "No" before the subject fits nearly every caption, so it stands in only where nothing else does.
    """
    if negation_words(caption):
        found = {"negation removed": _without_its_negation(caption)}
    else:
        found = {
            "there is no": _there_is_no(caption),
            "not after auxiliary": _not_after_auxiliary(caption),
            "not before participle": _not_before_participle(caption),
            "without": _without(caption),
            "does not": _does_not(caption),
        }
        if not any(found.values()):
            found = {"no subject": _no_subject(caption)}
    return {name: text for name, text in found.items() if text is not None}
