"""Sentences that stand against a caption: negations, absences and their false twins, hard negatives.

Whatever could turn out true or false by accident is decided by evaluating the logical form on the scene.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from jaxclip.datasets.scenes import web_text
from jaxclip.datasets.scenes.grammar import (
    Caption,
    Frame,
    Phrase,
    Plan,
    Statement,
    draw_caption,
    draw_frame,
    fill,
    finish,
    is_decoy,
    link_form,
    paraphrase,
    phrase,
    plan_form,
    web_caption,
)  # fmt: skip
from jaxclip.datasets.scenes.lexicon import (
    COLOUR_WORDS,
    OPPOSITE,
    PLACE_WORDS,
    RELATION_WORDS,
    SHAPE_WORDS,
    TRAIN,
    Frames,
)  # fmt: skip
from jaxclip.datasets.scenes.logic import All, Exists, Form, Not, Spec, holds
from jaxclip.datasets.scenes.world import COLOURS, HELD_OUT_PAIRS, SHAPES, SIZES, Scene, choose, sample_like

_PRETRAINING_ABSENCE_SHARE = 0.05
_PRETRAINING_RARE_ABSENCE_SHARE = 0.06
_CLAUSE_DENIAL_SHARE = 0.3

# The text roles that a scene has (see `jaxclip.data.schema`).
TEXTS = (
    "caption", "paraphrase", "negation", "absence", "false_absence", "minimal_absence", "minimal_false_absence",
    "hard_negative",
)  # fmt: skip


def describe(
    scene: Scene, rng: np.random.Generator, frames: Frames = TRAIN, *, held_out_pairs: bool = False
) -> dict[str, Statement]:
    """Writes all texts of a scene.

    Args:
        scene: what is to be described.
        rng: source of randomness.
        frames: of the sentences.
        held_out_pairs: whether texts may name shape-colour pairs that training never shows.

    Returns:
        role -> statement, for each of TEXTS.
    """
    original = draw_caption(scene, rng, frames)
    same = paraphrase(original, rng, frames)
    denied = negation(original, rng, frames)
    absences = absence_pair(original, scene, rng, frames.absences, held_out_pairs=held_out_pairs)
    minimal = minimal_pair(scene, rng, frames, held_out_pairs=held_out_pairs)
    hard = hard_negative(original, scene, rng, frames, held_out_pairs=held_out_pairs)
    return {
        "caption": original.statement,
        "paraphrase": same,
        "negation": denied,
        "absence": absences[0],
        "false_absence": absences[1],
        "minimal_absence": minimal[0],
        "minimal_false_absence": minimal[1],
        "hard_negative": hard,
    }


def pretraining_caption(scene: Scene, rng: np.random.Generator) -> str:
    """Writes a true caption as web text would: varied, now and then with a true absence."""
    original = web_caption(scene, rng)
    draw = rng.random()
    if draw > _PRETRAINING_ABSENCE_SHARE + _PRETRAINING_RARE_ABSENCE_SHARE or is_decoy(original.frame):
        return original.statement.words
    frames = web_text.ABSENCES if draw < _PRETRAINING_RARE_ABSENCE_SHARE else TRAIN.absences
    return absence_pair(original, scene, rng, frames, held_out_pairs=False)[0].words


def negation(original: Caption, rng: np.random.Generator, frames: Frames = TRAIN) -> Statement:
    """Denies something that the caption rightly says, in the caption's own words: false of the scene."""
    plan, frame = original.plan, original.frame
    phrase_denials = frames.phrase_denials.get(plan.kind, ())
    clause = frame.is_clause or not phrase_denials or rng.random() < _CLAUSE_DENIAL_SHARE
    target, core = choose(rng, frames.clause_denials[plan.kind] if clause else phrase_denials)
    frame = Frame("{x}", core) if clause or is_decoy(frame) else replace(frame, core=core)
    return Statement(fill(frame, plan.phrases, plan.link_words), _denial_form(plan, target))


def absence_pair(
    original: Caption, scene: Scene, rng: np.random.Generator, frames: tuple[str, ...], *, held_out_pairs: bool
) -> tuple[Statement, Statement]:
    """Adds to a caption the absence of a thing that is absent (true), and of one that is present (false).

    Both sentences share the frame and differ in the words for the thing alone.
    """
    frame = Frame("{x}", choose(rng, frames).replace("{x}", original.statement.words))
    pair = _absent_and_present(scene, rng, held_out_pairs)
    return tuple(
        Statement(fill(frame, [noun]), All((original.statement.form, Not(Exists(noun.spec))))) for noun in pair
    )


def minimal_pair(
    scene: Scene, rng: np.random.Generator, frames: Frames = TRAIN, *, held_out_pairs: bool
) -> tuple[Statement, Statement]:
    """Writes a short true absence and its false twin: "a red circle, but no green star" / "... no blue square".

    With a single object there is nothing else present, so the sentence names a part of what is there ("something
    red", then its shape as the absent thing) or the absent thing alone.
    """
    things = scene.things
    named = int(rng.random() * len(things))
    if len(things) > 1:
        others = things[:named] + things[named + 1 :]
        absent, present = _absent_and_present(scene, rng, held_out_pairs, among=others)
        first = phrase(Spec(things[named].shape, things[named].colour), rng)
    elif rng.random() < 0.5:
        absent, present = _absent_and_present(scene, rng, held_out_pairs)
        frame = Frame("{x}", choose(rng, frames.minimal_single))
        return tuple(Statement(fill(frame, [noun]), Not(Exists(noun.spec))) for noun in (absent, present))
    else:
        shape = choose(rng, [shape for shape in SHAPES if shape != things[0].shape])
        form = int(rng.random() < 0.25)
        absent, present = (Phrase(SHAPE_WORDS[s][form], Spec(s)) for s in (shape, things[0].shape))
        first = phrase(Spec(colour=things[0].colour), rng)
    frame = Frame("{x}", choose(rng, frames.minimal))
    return tuple(
        Statement(fill(frame, [first, noun]), All((Exists(first.spec), Not(Exists(noun.spec)))))
        for noun in (absent, present)
    )


def hard_negative(
    original: Caption, scene: Scene, rng: np.random.Generator, frames: Frames = TRAIN, *, held_out_pairs: bool
) -> Statement:
    """Makes the caption false without a negation word: swaps, replaces or reverses one thing in it."""
    frame = original.frame
    if is_decoy(frame):
        frame = draw_frame(original.plan, rng, frames)
    edits = [_reverse_link, _swap_attribute, _swap_attribute, _replace_attribute]
    rng.shuffle(edits)
    for edit in (*edits, _replace_attribute):
        for plan in edit(original.plan, rng):
            named = [noun.spec for noun in plan.phrases]
            reversed_link = plan.link != original.plan.link
            # A swapped relation may still hold between two other objects, so an object must be missing as well.
            false = not holds(plan_form(plan) if reversed_link else All(tuple(map(Exists, named))), scene)
            if false and (held_out_pairs or not any(map(_is_held_out, named))):
                return finish(plan, frame).statement
    raise AssertionError(f"no false variant of {original.statement.words!r}")


def distractor_scene(
    scene: Scene, caption: Form, denial: Form, rng: np.random.Generator, *, held_out_pairs: bool
) -> Scene:
    """Draws a scene like this one of which the caption's negation is true and the caption is false."""
    while True:
        candidate = sample_like(scene, rng, held_out=held_out_pairs)
        if holds(denial, candidate) and not holds(caption, candidate):
            return candidate


def _denial_form(plan: Plan, target: str) -> Form:
    """The meaning of a denial: `target` is "link" or the letters of the denied objects."""
    letters = "" if target == "link" else target
    exists = [
        Not(Exists(noun.spec)) if letter in letters else Exists(noun.spec)
        for letter, noun in zip("abc", plan.phrases, strict=False)
    ]
    link = link_form(plan)
    if target == "link":
        link = (Not(link[0]),)
    return All((*exists, *link))


def _absent_and_present(
    scene: Scene, rng: np.random.Generator, held_out_pairs: bool, among: tuple = ()
) -> tuple[Phrase, Phrase]:
    """Draws a plausible absent thing and a present one (of `among`, default any), described in the same way.

    The absent thing mostly shares an attribute with an object of the scene.
    """
    present = choose(rng, among or scene.things)
    style = rng.random()  # what the description names: both attributes, the shape, or the colour
    keep_shape, keep_colour = style < 0.85, style < 0.7 or style >= 0.85
    while True:
        model = choose(rng, scene.things)
        change = rng.random()
        shape = choose(rng, SHAPES) if change < 0.6 or not keep_colour else model.shape
        colour = choose(rng, COLOURS) if change > 0.4 or not keep_shape else model.colour
        spec = Spec(shape if keep_shape else None, colour if keep_colour else None)
        if not holds(Exists(spec), scene) and (held_out_pairs or not _is_held_out(spec)):
            break
    twin = Spec(present.shape if keep_shape else None, present.colour if keep_colour else None)
    shape_form, colour_form = int(rng.random() < 0.25), int(rng.random() < 0.06)
    return tuple(_in_form(description, shape_form, colour_form) for description in (spec, twin))


def _in_form(spec: Spec, shape_form: int, colour_form: int) -> Phrase:
    """Describes a thing by the n-th synonym for its shape and for its colour."""
    words = [COLOUR_WORDS[spec.colour][colour_form]] if spec.colour else []
    return Phrase(" ".join([*words, SHAPE_WORDS[spec.shape][shape_form]]), spec)


def _is_held_out(spec: Spec) -> bool:
    return (spec.shape, spec.colour) in HELD_OUT_PAIRS


def _reverse_link(plan: Plan, rng: np.random.Generator) -> Iterator[Plan]:
    """Turns left into right and so on."""
    if plan.link in OPPOSITE:
        link = OPPOSITE[plan.link]
        words = PLACE_WORDS if plan.kind == "placed" else RELATION_WORDS
        yield replace(plan, link=link, link_words=choose(rng, words[link]))


def _swap_attribute(plan: Plan, rng: np.random.Generator) -> Iterator[Plan]:
    """Exchanges one attribute between two objects that both name it."""
    attributes = ["shape", "colour", "size"]
    rng.shuffle(attributes)
    for attribute in attributes:
        for i in range(len(plan.phrases)):
            for j in range(i):
                old = getattr(plan.phrases[i].spec, attribute), getattr(plan.phrases[j].spec, attribute)
                if None not in old and old[0] != old[1]:
                    nouns = list(plan.phrases)
                    nouns[i] = _with_attribute(nouns[i], attribute, old[1], plan.phrases[j])
                    nouns[j] = _with_attribute(nouns[j], attribute, old[0], plan.phrases[i])
                    yield replace(plan, phrases=tuple(nouns))


def _replace_attribute(plan: Plan, rng: np.random.Generator) -> Iterator[Plan]:
    """Gives one object another shape, colour or size; yields variants in random order."""
    variants = [
        (index, attribute, value)
        for index, noun in enumerate(plan.phrases)
        for attribute, values in (("shape", SHAPES), ("colour", COLOURS), ("size", SIZES))
        for value in values
        if getattr(noun.spec, attribute) not in (None, value)
    ]
    rng.shuffle(variants)
    for index, attribute, value in variants:
        nouns = list(plan.phrases)
        nouns[index] = _with_attribute(nouns[index], attribute, value)
        yield replace(plan, phrases=tuple(nouns))


def _with_attribute(noun: Phrase, attribute: str, value: str, donor: Phrase | None = None) -> Phrase:
    """Changes one attribute of a noun phrase; the new word is the donor's own, or the usual one."""
    position = {"size": 0, "colour": -2, "shape": -1}[attribute]
    words = noun.words.split()
    words[position] = donor.words.split()[position] if donor else _USUAL_WORDS[attribute][value]
    return Phrase(" ".join(words), replace(noun.spec, **{attribute: value}))


_USUAL_WORDS = {
    "shape": {shape: words[0] for shape, words in SHAPE_WORDS.items()},
    "colour": {colour: words[0] for colour, words in COLOUR_WORDS.items()},
    "size": {size: size for size in SIZES},
}
