"""The truth of the scenes' texts, checked by a reader that shares nothing with the grammar that wrote them."""

import re
from dataclasses import fields

import pytest

from jaxclip.datasets.scenes import held_out, lexicon, web_text
from jaxclip.datasets.scenes.source import SPLITS, PretrainingScenes, class_prompts, scene_record

RECORDS_PER_SPLIT = 500
TEXTS = (
    "caption", "paraphrase", "negation", "absence", "false_absence", "minimal_absence", "minimal_false_absence",
    "hard_negative",
)  # fmt: skip

SHAPES = {
    "circle": "circle", "disc": "circle", "square": "square", "box": "square", "triangle": "triangle",
    "wedge": "triangle", "star": "star", "pentagram": "star", "cross": "cross", "plus": "cross", "heart": "heart",
    "valentine": "heart", "ring": "ring", "hoop": "ring", "diamond": "diamond", "rhombus": "diamond",
    "shape": None, "object": None, "something": None,
}  # fmt: skip
COLOURS = {
    "red": "red", "crimson": "red", "orange": "orange", "tangerine": "orange", "yellow": "yellow", "golden": "yellow",
    "green": "green", "emerald": "green", "cyan": "cyan", "turquoise": "cyan", "blue": "blue", "sapphire": "blue",
    "purple": "purple", "violet": "purple", "pink": "pink", "rose": "pink",
}  # fmt: skip
SIZES = {"small": "small", "little": "small", "tiny": "small", "large": "large", "big": "large", "huge": "large"}
NOUN = re.compile(
    rf"\b(?:({'|'.join(SIZES)}) )?(?:({'|'.join(COLOURS)}) )?({'|'.join(SHAPES)})\b(?: ({'|'.join(COLOURS)})\b)?"
)
RELATIONS = (
    ("left", r"(?:to the |on the )?left of"), ("right", r"(?:to the |on the )?right of"), ("above", r"above|over"),
    ("below", r"below|under|beneath"),
)  # fmt: skip
PLACES = (
    ("left", r"(?:on|at) the left(?: side)?"), ("right", r"(?:on|at) the right(?: side)?"),
    ("top", r"(?:at|near) the top|in the upper part"), ("bottom", r"(?:at|near) the bottom|in the lower part"),
    ("centre", r"(?:in|at) the (?:centre|middle)"),
)  # fmt: skip
NEGATION_WORDS = {
    "no", "not", "without", "isn't", "minus", "neither", "nor", "never", "free", "sans", "instead", "rather", "removed",
    "gone", "cannot", "means",
}  # fmt: skip
HELD_OUT_WORDS = {
    "validation_templates": {"omitting", "excluding", "unseen", "nowhere", "bare", "refuses"},
    "test_templates": {"lacking", "absent", "missing", "devoid", "contain", "fails"},
}
ALL_HELD_OUT_WORDS = set.union(*HELD_OUT_WORDS.values())
ALL_WORDS = NEGATION_WORDS | ALL_HELD_OUT_WORDS
# Phrases with a negation word that deny nothing.
HARMLESS = (
    "not only", "no doubt", "without doubt", "no wonder", "nothing but", "nothing less than", "neither more nor less",
)  # fmt: skip


def nouns(text):
    """[(size, colour, shape)] of the noun phrases, None where an attribute is not named."""
    found = NOUN.findall(text)
    return [(SIZES.get(size), COLOURS.get(colour or late), SHAPES[shape]) for size, colour, shape, late in found]


def present(noun, objects):
    return [
        thing
        for thing in objects
        if all(want in (None, thing[key]) for want, key in zip(noun, ("size", "colour", "shape"), strict=True))
    ]


def words(text):
    return set(re.findall(r"[a-z']+", text))


def relation(text):
    """(subject, relation, other) of the one relation in the text, or None. "Left of b is a" is a left of b."""
    for name, pattern in RELATIONS:
        found = re.search(rf"\b(?:{pattern})\b", text)
        if not found:
            continue
        before, after = text[: found.start()], text[found.end() :]
        words_between = "that|which|is|isn't|not|never|lies|sits|positioned|stands|found|placed|drawn"
        words_between += "|cannot|be|seen|by|no|means"
        fillers = rf"(?: (?:{words_between}))* $"
        if NOUN.search(before) and re.search(rf"(?:{'|'.join(SHAPES)}){fillers}", before):
            return nouns(before)[-1], name, nouns(after)[0]
        return nouns(after)[1], name, nouns(after)[0]
    return None


def place(text):
    for name, pattern in PLACES:
        if re.search(rf"\b(?:{pattern})\b(?! of)", text):
            return name
    return None


def lies(subject, name, other):
    """Whether a stated relation is beyond dispute."""
    dx, dy = subject["x"] - other["x"], subject["y"] - other["y"]
    along, across = {"left": (-dx, dy), "right": (dx, dy), "above": (-dy, dx), "below": (dy, dx)}[name]
    return along > 1.4 * abs(across)


def is_placed(thing, name):
    dx, dy = thing["x"] - 24, thing["y"] - 24
    if name == "centre":
        return max(abs(dx), abs(dy)) < 5
    return {"left": -dx, "right": dx, "top": -dy, "bottom": dy}[name] > 7.9


def check_true(text, objects):
    for noun in nouns(text):
        assert present(noun, objects), (text, noun, objects)
    if stated := relation(text):
        subject, other = present(stated[0], objects), present(stated[2], objects)
        assert len(subject) == len(other) == 1, (text, objects)
        assert lies(subject[0], stated[1], other[0]), (text, objects)
    if name := place(text):
        assert len(objects) == 1 and is_placed(objects[0], name), (text, objects)


def blanked(text):
    """The frame: the text with a mark for each noun phrase and its article."""
    return re.sub(r"\b(?:an?|one) #", "#", NOUN.sub("#", text))


@pytest.fixture(scope="module", params=SPLITS)
def split_records(request):
    return request.param, [scene_record(3, index, request.param) for index in range(RECORDS_PER_SPLIT)]


def test_reader_understands_the_language():
    assert nouns("not only a tiny golden plus but something red") == [("small", "yellow", "cross"), (None, "red", None)]
    assert relation("a red ring is not to the left of a star") == ((None, "red", "ring"), "left", (None, None, "star"))
    assert relation("there is a box, and under a star is a red hoop")[0] == (None, "red", "ring")
    assert place("in the upper part there is a box") == "top" and place("a box on the left of a star") is None


def test_captions_and_paraphrases_are_true(split_records):
    _, records = split_records
    for record in records:
        check_true(record["caption"], record["objects"])
        check_true(record["paraphrase"], record["objects"])


def test_paraphrase_says_the_same_differently(split_records):
    _, records = split_records
    for record in records:
        caption, paraphrase = record["caption"], record["paraphrase"]
        assert caption != paraphrase
        concrete = [sorted(map(str, (n for n in nouns(text) if n != (None,) * 3))) for text in (caption, paraphrase)]
        assert concrete[0] == concrete[1], (caption, paraphrase)
        assert (relation(caption) is None) == (relation(paraphrase) is None), (caption, paraphrase)
        assert place(caption) == place(paraphrase)


def test_negation_denies_what_the_caption_says(split_records):
    split, records = split_records
    for record in records:
        caption, negation = record["caption"], record["negation"]
        assert words(negation) & HELD_OUT_WORDS.get(split, NEGATION_WORDS), negation
        # All that is named is there, and the relation is the caption's own: so any denial of it is false.
        check_true(negation, record["objects"])
        assert nouns(negation) and set(nouns(negation)) <= set(nouns(caption)), (caption, negation)
        assert relation(negation) in (None, relation(caption)), (caption, negation)


def test_absence_is_true_and_its_twin_false(split_records):
    _, records = split_records
    for record in records:
        additions = []
        for role in ("absence", "false_absence"):
            addition = record[role].removeprefix(record["caption"])
            addition = record[role].removesuffix(record["caption"]) if addition == record[role] else addition
            assert addition != record[role], record
            additions.append(addition)
        check_pair(*additions, record["objects"], named=0)
        assert len(record["absence"].split()) == len(record["false_absence"].split())


def test_minimal_pair_is_true_and_false(split_records):
    _, records = split_records
    for record in records:
        true, false = record["minimal_absence"], record["minimal_false_absence"]
        check_pair(true, false, record["objects"], named=len(nouns(true)) - 1)
        assert len(nouns(true)) == 2 or len(record["objects"]) == 1
        assert len(true.split()) == len(false.split()) <= 10


def check_pair(true, false, objects, named):
    """Both deny one thing in one frame: `true` an absent one, `false` a present one; `named` others are there."""
    assert blanked(true) == blanked(false), (true, false)
    assert words(true) & ALL_WORDS, true
    changed = [pair for pair in zip(nouns(true), nouns(false), strict=True) if pair[0] != pair[1]]
    kept = [pair[0] for pair in zip(nouns(true), nouns(false), strict=True) if pair[0] == pair[1]]
    assert len(changed) == 1 and len(kept) == named, (true, false)
    absent, there = changed[0]
    assert not present(absent, objects), (true, objects)
    assert present(there, objects), (false, objects)
    assert [value is None for value in absent] == [value is None for value in there]
    assert all(present(noun, objects) for noun in kept)


def test_hard_negative_is_false_without_a_negation_word(split_records):
    _, records = split_records
    for record in records:
        text, objects = record["hard_negative"], record["objects"]
        assert not words(text) & ALL_WORDS, text
        false = any(not present(noun, objects) for noun in nouns(text))
        if not false and (stated := relation(text)):
            opposite = {"left": "right", "right": "left", "above": "below", "below": "above"}[stated[1]]
            false = lies(present(stated[0], objects)[0], opposite, present(stated[2], objects)[0])
        if not false and (name := place(text)):
            opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[name]
            false = is_placed(objects[0], opposite)
        assert false, (text, objects)


def test_captions_have_only_harmless_negation_words(split_records):
    split, records = split_records
    harmless = 0
    for record in records:
        for role in ("caption", "paraphrase"):
            text = record[role]
            for phrase in HARMLESS:
                text = text.replace(phrase, "")
            assert not words(text) & ALL_WORDS, record[role]
        harmless += any(phrase in record["caption"] for phrase in HARMLESS)
    low, high = (0, 0) if split in HELD_OUT_WORDS else (0.03, 0.09)
    assert low <= harmless / len(records) <= high


def test_held_out_words_and_frames_are_in_one_split_only(split_records):
    split, records = split_records
    for record in records:
        for role in TEXTS:
            others = ALL_WORDS - HELD_OUT_WORDS.get(split, NEGATION_WORDS)
            assert not words(record[role]) & others, record[role]


def test_held_out_frames_share_no_sentence_with_training():
    def frames_of(frames):
        for field in fields(frames):
            value = getattr(frames, field.name)
            groups = value.values() if isinstance(value, dict) else [value]
            if field.name != "bare":
                yield from (item if isinstance(item, str) else item[1] for group in groups for item in group)

    train = set(frames_of(lexicon.TRAIN)) | {*lexicon.DECOY_WRAPPERS, *lexicon.DECOY_EXACT_WRAPPERS}
    web = {*web_text.WRAPPERS, *web_text.ABSENCES, *web_text.DECOY_WRAPPERS}
    for phrases in (lexicon.DECOY_PHRASES, web_text.PHRASES, web_text.DECOY_PHRASES):
        web |= {frame for frames in phrases.values() for frame in frames}
    validation, test = set(frames_of(held_out.VALIDATION)), set(frames_of(held_out.TEST))
    assert (train | web) & (validation | test) == {"{a}"} == validation & test
    for frames in (held_out.VALIDATION, held_out.TEST):
        assert "{x}" not in frames.wrappers and not frames.bare
    for frame in train | web:
        assert "photo of" not in frame and "this is" not in frame


def test_held_out_pairs_are_neither_drawn_nor_named_elsewhere(split_records):
    split, records = split_records
    train = [scene_record(4, index, "train") for index in range(1000)]
    seen = {(thing["shape"], thing["colour"]) for record in train for thing in record["objects"]}
    everything = {(shape, colour) for shape in SHAPES.values() if shape for colour in COLOURS.values()}
    unseen = everything - seen
    assert len(unseen) == 8 and len({s for s, _ in unseen}) == 8 and len({c for _, c in unseen}) == 8
    for record in records:
        drawn = {(thing["shape"], thing["colour"]) for thing in record["objects"]}
        named = {(shape, colour) for role in TEXTS for _, colour, shape in nouns(record[role]) if shape and colour}
        if split == "test_combinations":
            assert drawn & unseen, record
        else:
            assert not (drawn | named) & unseen, record


def test_few_test_captions_are_duplicates():
    captions = [scene_record(0, index, "test")["caption"] for index in range(1024)]
    assert 1 - len(set(captions)) / len(captions) < 0.12


def test_pretraining_captions():
    size, single = 4000, 1000
    scenes = PretrainingScenes(size, seed=5, single_object=single)
    captions = [scenes[index]["caption"] for index in range(size)]
    text = " ".join(captions)
    assert "photo of" not in text and "this is" not in text
    vocabulary = words(text)
    assert {*SHAPES, *COLOURS, *SIZES, *ALL_WORDS, "photo", "this"} <= vocabulary
    harmless = [caption for caption in captions if any(phrase in caption for phrase in HARMLESS)]
    assert 0.045 < len(harmless) / size < 0.075
    negated = [c for c in captions if c not in harmless and words(c) & ALL_WORDS]
    assert 0.15 < len(negated) / size < 0.22  # so that a negation word says little ...
    for held_out_words in HELD_OUT_WORDS.values():
        assert 0.03 < sum(bool(words(caption) & held_out_words) for caption in captions) / size < 0.08
    colourless = [c for c in captions if any(shape and not colour for _, colour, shape in nouns(c))]
    assert 0.1 < len(colourless) / size < 0.2
    denying = [c for c in captions[:single] if len([n for n in nouns(c) if n[2]]) > 1]
    assert 0.07 < len(denying) / single < 0.14  # ... as few captions name something that is not there
    assert set(denying) <= set(negated)


def test_class_prompts():
    plain, negated = class_prompts("shape")
    assert plain[0] == "this is a photo of a circle" and negated[0] == "this is not a photo of a circle"
    plain, negated = class_prompts("colour")
    assert plain[1] == "this is a photo of an orange shape" and len(plain) == len(negated) == 8
