"""Each rule check, on sentences judged by hand."""

import pytest

from jaxclip.generation.checks import REASONS, refusal
from jaxclip.generation.english import article, negation_words, plural, words

CAPTION = "A man in a red hat rides a horse."


def check(role: str, text: str, caption: str = CAPTION, texts: dict | None = None, name: str | None = None):
    reason = refusal(role, text, caption=caption, texts=texts or {}, absent_object=name)
    assert reason is None or reason in REASONS
    return reason


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A horse is ridden by a man wearing a red hat.", None),
        ("A man, in a red hat, rides a HORSE", "copy"),
        ("", "empty"),
        (" ... ", "empty"),
        ("N/A", "empty"),
        ("A rider\x07 on a horse", "garbled"),
        ("A rider \ud800 on a horse", "garbled"),
        ("A rider \u202e on a horse", "garbled"),
        ("- a rider on a horse", "list"),
        ("1. A rider on a horse", "list"),
        ("A rider\non a horse", "list"),
        ("A rider\u2028on a horse", "list"),
        ('{"text": "A rider on a horse"', "markup"),
        ("A **rider** on a horse", "markup"),
        ("<b>A rider</b> on a horse", "markup"),
        ("<|im_end|> A rider on a horse", "markup"),
        ("Sure, a rider on a horse.", "chat"),
        ("Here is a rewritten version: a rider on a horse", "chat"),
        ("Rewritten caption: a rider on a horse", "chat"),
        ("I cannot help with that.", "chat"),
        ("A rider on a horse. Let me know if you want more!", "chat"),
        ("A copy of the caption.", "chat"),
        ('"A rider on a horse"', "quotes"),
        ("'A rider on a horse'", "quotes"),
        ("“A rider on a horse", "quotes"),
        ("A rider's horse with the rider on it", None),
        ("Un homme avec un chapeau sur un cheval", "wrong_language"),
        ("Ein Mann mit rotem Hut auf einem Pferd", "wrong_language"),
        ("Un hombre con un sombrero en el caballo", "wrong_language"),
        ("Человек на лошади", "wrong_language"),
        ("Okra and a surely tall horse with a rider", None),  # begins like "ok" and holds "sure"
        ("horse " * 75, None),  # 75 tokens and the two special ones just fit
        ("horse " * 76, "too_long"),
        ("A man without a hat rides a horse.", "flipped_negation"),
        ("A man in a red hat isn't riding a horse.", "flipped_negation"),
    ],
)
def test_paraphrases(text, reason):
    assert check("paraphrase", text) == reason


def test_a_paraphrase_may_not_drop_a_negation_but_may_say_it_otherwise():
    caption = "A street without cars"
    assert check("paraphrase", "A street with cars on it", caption) == "flipped_negation"
    assert check("paraphrase", "There are no cars on the street", caption) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("A man in a red hat does not ride a horse.", None),
        ("A woman in a red hat rides a horse.", None),
        ("A horse in a red hat rides a man.", None),  # a swap: the same words, another order
        ("A man in a red hat rides a horse!", "copy"),
        ("A man rides a horse.", "only_repeats"),
        ("A man in a red hat rides a horse. A man rides a horse.", "only_repeats"),
        ("A man in a red hat rides a horse on a sunny day.", "only_repeats"),
        ("A rider with a red hat.", "same_as_paraphrase"),
    ],
)
def test_negations(text, reason):
    assert check("negation", text, texts={"paraphrase": "a rider with a red hat"}) == reason


def test_a_negation_may_take_a_negation_out():
    assert check("negation", "A man wearing a hat", "A man not wearing a hat") is None


def test_hard_negatives_have_no_negation_word():
    assert check("hard_negative", "A man in a red hat does not ride a horse.") == "has_negation_word"
    assert check("hard_negative", "A man in a blue hat rides a horse.") is None


def test_absences_name_what_is_absent():
    assert check("absence", "A man in a red hat rides a horse, without a dog.", name="dog") is None
    assert check("absence", "A man in a red hat rides a horse; no dogs in sight.", name="dog") is None
    assert check("absence", "A man in a red hat rides a horse with a dog.", name="dog") == "no_negation_word"
    assert check("absence", "A man in a red hat rides a horse, without a cat.", name="dog") == "object_missing"


def test_what_the_caption_has_is_not_held_against_a_text():
    assert check("paraphrase", 'A sign on a wall says "no"', 'A wall with the sign "no"') is None
    assert check("paraphrase", "A bus of El Sol in Los Reyes", "The bus of El Sol stops in Los Reyes") is None


def test_words_and_their_forms():
    assert words("It’s a man-made “pond”, isn't it?") == ["it’s", "a", "man", "made", "pond", "isn't", "it"]
    assert negation_words("No one isn't without; nothing. Note knots, cannoli") == ["no", "isn't", "without", "nothing"]
    names = {"bus": "buses", "knife": "knives", "hot dog": "hot dogs", "person": "people", "cherry": "cherries"}
    assert {name: plural(name) for name in names} == names
    assert [article(noun) for noun in ("apple", "uniform", "hour", "umbrella", "TV", "one-way sign", "dog")] == [
        *("an", "a", "an", "an", "an", "a", "a")
    ]  # fmt: skip
