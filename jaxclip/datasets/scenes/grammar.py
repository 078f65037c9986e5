"""Captions and paraphrases of a scene, each beside its logical form.

A caption is made in three steps: a plan (what is said, in which words), a frame (the sentence), and filling the
frame. A paraphrase takes the plan in other words through another frame; contrasts.py alters plan or frame so that the
truth changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from jaxclip.datasets.scenes import web_text
from jaxclip.datasets.scenes.lexicon import (
    COLOUR_WORDS,
    DECOY_EXACT_WRAPPERS,
    DECOY_PHRASES,
    DECOY_WRAPPERS,
    OPPOSITE,
    PLACE_WORDS,
    RELATION_WORDS,
    SHAPE_WORDS,
    SIZE_WORDS,
    TRAIN,
    Frames,
)  # fmt: skip
from jaxclip.datasets.scenes.logic import All, Exists, Form, Placed, Related, Spec
from jaxclip.datasets.scenes.world import Scene, Thing, choose, place, relation

_NO_COLOUR_SHARE = 0.17  # of captions that leave a colour out, where what is left still names one object
_SIZE_SHARE = 0.4  # of noun phrases that name the size
_SYNONYM_SHARE = 0.25  # of shape words; colour synonyms are rarer
_COLOUR_SYNONYM_SHARE = 0.06
_TWO_OF_THREE_SHARE = 0.2
_LINK_SHARE = 0.6  # of captions that state a relation or a place where it is clear
_DECOY_SHARE = 0.06
_WEB_DECOY_SHARE = 0.06  # of pretraining captions
_PRETRAINING_FRAME_SHARE = 0.15
_SHORT_SHARE = 0.2  # of one-object pretraining captions


@dataclass(frozen=True)
class Phrase:
    """A noun phrase without its article ("small red circle") and what it describes."""

    words: str
    spec: Spec


@dataclass(frozen=True)
class Plan:
    """What a caption says.

    Attributes:
        kind: which frames fit: one, placed, pair, related, three or three_related.
        phrases: one to three objects, in the order of the slots a, b, c.
        link: name of the relation of a to b, or of the place of a; "" if none is stated.
        link_words: the words for it.
        exact: every object of the scene is named.
    """

    kind: str
    phrases: tuple[Phrase, ...]
    link: str = ""
    link_words: str = ""
    exact: bool = True


@dataclass(frozen=True)
class Frame:
    """A sentence pattern: `core` holds the objects, `wrapper` stands around it."""

    wrapper: str
    core: str
    is_clause: bool = False
    determiner: str = "a"  # "a", "one" or "" (telegraphic)


@dataclass(frozen=True)
class Statement:
    """A sentence and its meaning."""

    words: str
    form: Form


@dataclass(frozen=True)
class Caption:
    """A caption with the plan and the frame that it was made from."""

    statement: Statement
    plan: Plan
    frame: Frame


def draw_caption(scene: Scene, rng: np.random.Generator, frames: Frames = TRAIN) -> Caption:
    """Draws a true caption of all objects of the scene, or of two out of three."""
    plan = plan_caption(scene, rng)
    decoy = frames is TRAIN and rng.random() < _DECOY_SHARE
    return finish(plan, decoy_frame(plan, rng) if decoy else draw_frame(plan, rng, frames))


def paraphrase(original: Caption, rng: np.random.Generator, frames: Frames = TRAIN) -> Statement:
    """Says the same in other words through another frame; never equal to the caption."""
    while True:
        plan = _reword(original.plan, rng)
        frame = draw_frame(plan, rng, frames)
        statement = finish(plan, frame).statement
        if statement.words != original.statement.words and (frame.wrapper, frame.core) != (
            original.frame.wrapper, original.frame.core
        ):  # fmt: skip
            return statement


def web_caption(scene: Scene, rng: np.random.Generator) -> Caption:
    """Draws a true caption as for fine-tuning, but more varied: short ones, and words that only the web shows."""
    plan = plan_caption(scene, rng)
    style = rng.random()
    if style < _DECOY_SHARE:
        return finish(plan, decoy_frame(plan, rng))
    if style < _DECOY_SHARE + _WEB_DECOY_SHARE:
        return finish(plan, _web_decoy_frame(plan, rng))
    if len(scene.things) == 1 and rng.random() < _SHORT_SHARE:
        return _short_caption(scene.things[0], rng)
    if style > 1 - _PRETRAINING_FRAME_SHARE:
        cores = TRAIN.phrases[plan.kind] + web_text.PHRASES.get(plan.kind, ())
        return finish(plan, Frame(choose(rng, web_text.WRAPPERS), choose(rng, cores)))
    return finish(plan, draw_frame(plan, rng, TRAIN))


def plan_caption(scene: Scene, rng: np.random.Generator) -> Plan:
    """Chooses what a caption says: which objects in which order, which attributes, which relation or place."""
    things = list(scene.things)
    rng.shuffle(things)
    if len(things) == 3 and rng.random() < _TWO_OF_THREE_SHARE:
        things.pop()
    link = ""
    if rng.random() < _LINK_SHARE:
        link = (place(things[0]) if len(things) == 1 else relation(things[0], things[1])) or ""
    link_words = PLACE_WORDS if len(things) == 1 else RELATION_WORDS
    colourless = int(rng.random() * len(things)) if rng.random() < _NO_COLOUR_SHARE else None
    return Plan(
        kind=_kind(len(things), link),
        phrases=tuple(name_thing(thing, scene, rng, colour=index != colourless) for index, thing in enumerate(things)),
        link=link,
        link_words=choose(rng, link_words[link]) if link else "",
        exact=len(things) == len(scene.things),
    )


def name_thing(thing: Thing, scene: Scene, rng: np.random.Generator, *, colour: bool = True) -> Phrase:
    """Describes an object so that the description fits no other object of the scene.

    Two objects never share both shape and colour; the colour is therefore kept, whatever `colour` says, where shape
    and size alone would be ambiguous.
    """
    size = thing.size if rng.random() < _SIZE_SHARE else None
    spec = Spec(thing.shape, None, size)
    if colour or sum(map(spec.matches, scene.things)) > 1:
        spec = replace(spec, colour=thing.colour)
    return phrase(spec, rng)


def phrase(spec: Spec, rng: np.random.Generator) -> Phrase:
    """Draws words for a description: mostly the usual ones, sometimes synonyms."""
    words = []
    if spec.size:
        words.append(choose(rng, SIZE_WORDS[spec.size]))
    if spec.colour:
        words.append(COLOUR_WORDS[spec.colour][rng.random() < _COLOUR_SYNONYM_SHARE])
    words.append(SHAPE_WORDS[spec.shape][rng.random() < _SYNONYM_SHARE])
    return Phrase(" ".join(words), spec)


def draw_frame(plan: Plan, rng: np.random.Generator, frames: Frames) -> Frame:
    """Draws a sentence pattern that fits the plan."""
    draw = rng.random()
    if plan.exact and plan.kind in frames.counting and draw < 0.12:
        return Frame("{x}", choose(rng, frames.counting[plan.kind]), is_clause=True)
    if plan.kind in frames.clauses and draw > 0.55:
        wrapper = "{x}" if rng.random() < 0.7 else choose(rng, frames.clause_wrappers)
        return Frame(wrapper, choose(rng, frames.clauses[plan.kind]), is_clause=True)
    core = choose(rng, frames.phrases[plan.kind])
    if frames.bare and rng.random() < 0.4:
        style = rng.random()
        return Frame("{x}", core, determiner="a" if style < 0.55 else "" if style < 0.85 else "one")
    return Frame(choose(rng, frames.wrappers), core)


def decoy_frame(plan: Plan, rng: np.random.Generator) -> Frame:
    """Draws a pattern with a negation word that denies nothing ("no doubt a red circle")."""
    if plan.kind in DECOY_PHRASES and rng.random() < 0.5:
        return Frame("{x}", choose(rng, DECOY_PHRASES[plan.kind]))
    wrappers = DECOY_WRAPPERS + DECOY_EXACT_WRAPPERS if plan.exact else DECOY_WRAPPERS
    return Frame(choose(rng, wrappers), choose(rng, TRAIN.phrases[plan.kind]))


def _web_decoy_frame(plan: Plan, rng: np.random.Generator) -> Frame:
    """The same as web text has it, for pretraining: a negation word that says nothing about what is in the picture."""
    if rng.random() < 0.7:
        return Frame("{x}", choose(rng, web_text.DECOY_PHRASES[plan.kind]))
    return Frame(choose(rng, web_text.DECOY_WRAPPERS), choose(rng, TRAIN.phrases[plan.kind]))


def is_decoy(frame: Frame) -> bool:
    """Whether a frame has a negation word that denies nothing."""
    return frame.wrapper in DECOY_WRAPPERS + DECOY_EXACT_WRAPPERS + web_text.DECOY_WRAPPERS or any(
        frame.core in cores for cores in (*DECOY_PHRASES.values(), *web_text.DECOY_PHRASES.values())
    )


def finish(plan: Plan, frame: Frame) -> Caption:
    """Fills the frame with the plan's words and derives the meaning from the plan."""
    return Caption(Statement(fill(frame, plan.phrases, plan.link_words), plan_form(plan)), plan, frame)


def fill(frame: Frame, phrases: Sequence[Phrase], link_words: str = "") -> str:
    """Puts noun phrases and link words into a frame."""
    slots = {"link": link_words}
    for letter, noun in zip("abc", phrases, strict=False):
        slots[letter] = with_determiner(noun.words, frame.determiner)
        slots[letter.upper()] = noun.words
    return frame.wrapper.replace("{x}", frame.core).format_map(slots)


def with_determiner(words: str, determiner: str = "a") -> str:
    """Puts "a"/"an", "one" or nothing before a noun phrase."""
    if determiner == "a":
        determiner = "an" if words[0] in "aeiou" else "a"
    return f"{determiner} {words}" if determiner else words


def plan_form(plan: Plan) -> Form:
    """The meaning of a plan: every object exists, and the relation or place holds."""
    specs = [noun.spec for noun in plan.phrases]
    return All((*map(Exists, specs), *link_form(plan)))


def link_form(plan: Plan) -> tuple[Form, ...]:
    """The meaning of a plan's relation or place; empty if it states none."""
    if not plan.link:
        return ()
    if plan.kind == "placed":
        return (Placed(plan.phrases[0].spec, plan.link),)
    return (Related(plan.phrases[0].spec, plan.link, plan.phrases[1].spec),)


def _kind(count: int, link: str) -> str:
    kind = ("one", "pair", "three")[count - 1]
    return kind if not link else {"one": "placed", "pair": "related", "three": "three_related"}[kind]


def _reword(plan: Plan, rng: np.random.Generator) -> Plan:
    """The same content: other synonyms, another order, a relation seen from the other side."""
    nouns = [_synonym(noun, rng) for noun in plan.phrases]
    link = plan.link
    if plan.kind in ("related", "three_related") and rng.random() < 0.5:
        nouns[:2] = nouns[1::-1]
        link = OPPOSITE[link]
    elif plan.kind in ("pair", "three"):
        rng.shuffle(nouns)
    words = (PLACE_WORDS if plan.kind == "placed" else RELATION_WORDS)[link] if link else ("",)
    other_words = [option for option in words if option != plan.link_words]
    return replace(plan, phrases=tuple(nouns), link=link, link_words=choose(rng, other_words or words))


def _synonym(noun: Phrase, rng: np.random.Generator) -> Phrase:
    """Describes the same object with another word for its shape, mostly, and for its size; the colour word may stay."""
    words = []
    old = noun.words.split()
    spec = noun.spec
    if spec.size:
        words.append(choose(rng, [word for word in SIZE_WORDS[spec.size] if word not in old]))
    if spec.colour:
        words.append(COLOUR_WORDS[spec.colour][rng.random() < _COLOUR_SYNONYM_SHARE])
    other = [word for word in SHAPE_WORDS[spec.shape] if word not in old]
    words.append(choose(rng, other) if rng.random() < 0.8 else old[-1])
    return Phrase(" ".join(words), spec)


def _short_caption(thing: Thing, rng: np.random.Generator) -> Caption:
    """A few words for the only object: "red circle", "a star", "something red"."""
    draw = rng.random()
    if draw < 0.15:
        words = thing.colour if rng.random() < 0.3 else f"something {thing.colour}"
        return finish(Plan("one", (Phrase(words, Spec(colour=thing.colour)),)), Frame("{x}", "{A}"))
    spec = Spec(thing.shape, None if draw < 0.5 else thing.colour)
    return finish(Plan("one", (phrase(spec, rng),)), Frame("{x}", choose(rng, web_text.SINGLES)))
