"""Words and sentence frames of the scenes' language. Data only; grammar.py and contrasts.py put them together.

Slots of a frame: ``{a} {b} {c}`` are noun phrases with their article, ``{A} {B} {C}`` the same without it (after
"no"), ``{link}`` words for a relation or a place, ``{x}`` a whole caption.
"""

from dataclasses import dataclass

# The first word is the usual one, and the class name; all are single words, so that two sentences of one frame that
# name different objects have the same length.
SHAPE_WORDS = {
    "circle": ("circle", "disc"),
    "square": ("square", "box"),
    "triangle": ("triangle", "wedge"),
    "star": ("star", "pentagram"),
    "cross": ("cross", "plus"),
    "heart": ("heart", "valentine"),
    "ring": ("ring", "hoop"),
    "diamond": ("diamond", "rhombus"),
    None: ("shape", "object"),
}
COLOUR_WORDS = {
    "red": ("red", "crimson"),
    "orange": ("orange", "tangerine"),
    "yellow": ("yellow", "golden"),
    "green": ("green", "emerald"),
    "cyan": ("cyan", "turquoise"),
    "blue": ("blue", "sapphire"),
    "purple": ("purple", "violet"),
    "pink": ("pink", "rose"),
}
SIZE_WORDS = {"small": ("small", "little", "tiny"), "large": ("large", "big", "huge")}
RELATION_WORDS = {
    "left": ("left of", "to the left of", "on the left of"),
    "right": ("right of", "to the right of", "on the right of"),
    "above": ("above", "over"),
    "below": ("below", "under", "beneath"),
}
PLACE_WORDS = {
    "left": ("on the left", "on the left side", "at the left"),
    "right": ("on the right", "on the right side", "at the right"),
    "top": ("at the top", "near the top", "in the upper part"),
    "bottom": ("at the bottom", "near the bottom", "in the lower part"),
    "centre": ("in the centre", "in the middle", "at the centre"),
}
OPPOSITE = {
    "left": "right", "right": "left", "above": "below", "below": "above", "top": "bottom", "bottom": "top",
}  # fmt: skip


@dataclass(frozen=True)
class Frames:
    """The sentence frames of one kind of split.

    Attributes:
        wrappers: around a caption that is a noun phrase, beside the bare caption where `bare` allows it.
        clause_wrappers: around a caption that is a whole clause.
        bare: whether a noun phrase may stand alone.
        phrases: captions that are noun phrases, by kind of content.
        clauses: captions that are clauses, by kind of content.
        counting: clauses that say how many objects there are; only where all are named.
        phrase_denials: denials of `phrases`, as (what is denied, frame): letters of objects, or "link".
        clause_denials: the same for clauses.
        absences: around a caption {x}, naming the absent thing {a}.
        minimal: pairs of a present {a} and an absent {b}.
        minimal_single: an absent {a} alone.
    """

    wrappers: tuple[str, ...]
    clause_wrappers: tuple[str, ...]
    bare: bool
    phrases: dict[str, tuple[str, ...]]
    clauses: dict[str, tuple[str, ...]]
    counting: dict[str, tuple[str, ...]]
    phrase_denials: dict[str, tuple[tuple[str, str], ...]]
    clause_denials: dict[str, tuple[tuple[str, str], ...]]
    absences: tuple[str, ...]
    minimal: tuple[str, ...]
    minimal_single: tuple[str, ...]


TRAIN = Frames(
    wrappers=(
        "there is {x}", "a picture of {x}", "an image of {x}", "a picture showing {x}", "an image with {x}",
        "a drawing of {x}", "a scene with {x}", "the picture shows {x}", "we see {x}", "you can see {x}",
        "it shows {x}", "someone drew {x}", "a child painted {x}", "this page has {x}", "look, {x}",
        "my favourite: {x}",
        "a card with {x}", "a sticker of {x}", "a poster of {x}", "the artist made {x}", "for sale: {x}",
        "guess what: {x}", "today we have {x}", "a screen with {x}", "printed on paper: {x}", "a simple scene: {x}",
        "a close look at {x}", "an example of {x}", "my drawing of {x}", "a colourful picture of {x}",
        "it is all about {x}", "what a sight: {x}", "{x}, drawn by hand", "{x}, in full colour", "{x}, as always",
        "{x}, nicely arranged", "{x}, ready to print", "{x}, once again", "{x} and that is all",
    ),
    clause_wrappers=("in the picture, {x}", "in this scene, {x}", "you can see that {x}", "look how {x}",
                     "on this page, {x}", "as everyone knows, {x}", "here is a card where {x}", "it is clear that {x}"),
    bare=True,
    phrases={
        "one": ("{a}",),
        "placed": ("{a} {link}", "{a} placed {link}", "{a} drawn {link}"),
        "pair": ("{a} and {b}", "{a} with {b}", "{a} next to {b}", "{a} beside {b}", "{a} together with {b}",
                 "{a} near {b}", "{a} followed by {b}", "{a}, also {b}", "first {a}, second {b}", "{a} close to {b}"),
        "related": ("{a} {link} {b}", "{a} that is {link} {b}", "{a} placed {link} {b}", "{a} drawn {link} {b}"),
        "three": ("{a}, {b} and {c}", "{a} and {b} and {c}", "{a} with {b} and {c}", "{a}, {b} as well as {c}",
                  "{a} beside {b} and {c}", "{a} near {b} and {c}", "{a} followed by {b} and {c}",
                  "{a}, also {b}, also {c}", "{a} close to {b} and {c}"),
        "three_related": ("{a} {link} {b}, and {c}", "{c}, and {a} {link} {b}", "{a} {link} {b}, together with {c}",
                          "{a} {link} {b}, and also {c}", "{a} placed {link} {b}, followed by {c}",
                          "{a} drawn {link} {b}, near {c}"),
    },
    clauses={
        "placed": ("{a} is {link}", "{link} is {a}", "{link} there is {a}"),
        "related": ("{a} is {link} {b}", "{link} {b} is {a}", "{link} {b} there is {a}"),
        "three_related": ("{a} is {link} {b}, and there is {c}", "{link} {b} is {a}, and there is {c}",
                          "there is {c}, and {a} is {link} {b}"),
    },
    counting={
        "one": ("there is one shape, {a}", "there is only {a}"),
        "pair": ("there are two shapes, {a} and {b}", "two objects are there: {a} and {b}",
                 "there is a pair of shapes, {a} and {b}"),
        "three": ("there are three shapes, {a}, {b} and {c}", "three objects are there: {a}, {b} and {c}"),
    },
    phrase_denials={
        "one": (("a", "no {A}"), ("a", "no {A} at all"), ("a", "no {A} anywhere"), ("a", "not one {A}")),
        "placed": (("link", "no {A} {link}"), ("link", "{a} not {link}"), ("link", "{a} that isn't {link}"),
                   ("link", "{a} by no means {link}")),
        "pair": (("b", "{a} without {b}"), ("b", "{a} but no {B}"), ("b", "{a} and no {B}"), ("b", "{a} with no {B}"),
                 ("b", "{a}, not {b}"), ("b", "{a} minus {b}"), ("b", "{a} free of any {B}"), ("a", "no {A} but {b}"),
                 ("b", "{a} sans {b}"), ("b", "{a} instead of {b}"), ("b", "{a} rather than {b}"),
                 ("b", "{a} without any {B}"), ("b", "{a}, {b} removed"), ("b", "{a}, {b} not included"),
                 ("ab", "no {A} and no {B}"), ("ab", "neither {a} nor {b}")),
        "related": (("link", "no {A} {link} {b}"), ("link", "{a} not {link} {b}"),
                    ("link", "{a} that is not {link} {b}"), ("link", "{a} that isn't {link} {b}"),
                    ("link", "{a} by no means {link} {b}")),
        "three": (("c", "{a} and {b} but no {C}"), ("c", "{a} and {b} without {c}"), ("c", "{a}, {b} and no {C}"),
                  ("b", "{a} and {c} but no {B}"), ("a", "no {A} but {b} and {c}"), ("c", "{a} and {b} minus {c}"),
                  ("c", "{a} and {b} sans {c}"), ("c", "{a} and {b}, {c} removed"),
                  ("c", "{a} and {b}, {c} not included"), ("b", "{a} and {c} instead of {b}"),
                  ("bc", "{a} with neither {b} nor {c}"), ("abc", "no {A}, no {B} and no {C}")),
        "three_related": (("c", "{a} {link} {b}, but no {C}"), ("c", "{a} {link} {b}, without {c}"),
                          ("c", "{a} {link} {b}, minus {c}"), ("c", "no {C}, but {a} {link} {b}"),
                          ("c", "{a} {link} {b}, sans {c}"), ("c", "{a} {link} {b}, {c} removed"),
                          ("link", "{a} not {link} {b}, and {c}"), ("link", "{c}, and no {A} {link} {b}")),
    },
    clause_denials={
        "one": (("a", "there is no {A}"), ("a", "there isn't {a}"), ("a", "a picture without {a}"),
                ("a", "an image free of any {A}"), ("a", "{a} is not there"), ("a", "a scene that never shows {a}"),
                ("a", "{a} cannot be seen"), ("a", "{a} is gone"), ("a", "the picture does not show {a}"),
                ("a", "the picture has no {A}"), ("a", "{a} was removed")),
        "placed": (("link", "{a} is not {link}"), ("link", "{a} isn't {link}"), ("link", "there is no {A} {link}"),
                   ("link", "a picture without {a} {link}"), ("link", "{a} is never {link}"),
                   ("link", "{a} cannot be seen {link}"), ("link", "the picture does not show {a} {link}")),
        "pair": (("b", "there is {a}, but there is no {B}"), ("b", "there is {a}, but there isn't {b}"),
                 ("b", "{a} is there but not {b}"), ("ab", "there is neither {a} nor {b}"),
                 ("ab", "a picture without {a} or {b}"), ("ab", "a scene that never shows {a} or {b}"),
                 ("b", "there is {a}, but {b} cannot be seen"), ("b", "{a} is there and {b} is gone"),
                 ("b", "the picture with {a} does not show {b}"), ("ab", "{a} and {b} are both gone")),
        "related": (("link", "{a} is not {link} {b}"), ("link", "{a} isn't {link} {b}"),
                    ("link", "there is no {A} {link} {b}"), ("link", "{a} is never {link} {b}"),
                    ("link", "a picture without {a} {link} {b}"), ("link", "{a} cannot be seen {link} {b}"),
                    ("link", "the picture does not show {a} {link} {b}"),
                    ("link", "{a} is by no means {link} {b}")),
        "three": (("c", "there is {a} and {b}, but there is no {C}"), ("abc", "there is no {A}, no {B} and no {C}"),
                  ("c", "there is {a} and {b}, but there isn't {c}"),
                  ("c", "there is {a} and {b}, but {c} cannot be seen"),
                  ("c", "{a} and {b} are there and {c} is gone")),
        "three_related": (("link", "{a} is not {link} {b}, and there is {c}"),
                          ("link", "there is {c}, and {a} isn't {link} {b}"),
                          ("c", "{a} is {link} {b}, and there is no {C}"),
                          ("c", "there isn't {c}, but {a} is {link} {b}"),
                          ("c", "{a} is {link} {b}, and {c} is gone"),
                          ("c", "{a} is {link} {b}, and {c} cannot be seen")),
    },
    absences=(
        "{x}, but no {A}", "{x}, with no {A} in sight", "{x}, and no {A}", "{x}, but there is no {A}",
        "{x}, and there isn't {a}", "{x}, without {a}", "{x}, not {a}", "{x}, free of any {A}", "{x}, minus {a}",
        "{x}, and never {a}", "no {A} here: {x}", "there is no {A} here: {x}", "{x}, sans {a}", "{x}, {a} removed",
        "{x}, and {a} is gone", "{x}, but {a} cannot be seen", "{x}, without any {A}",
        "{x}, though it does not show {a}",
        "{x}, {a} not included", "{x}, rather than {a}", "instead of {a}, {x}",
    ),
    minimal=(
        "{a}, but no {B}", "{a} without {b}", "{a} and no {B}", "{a}, not {b}", "{a} with no {B}", "{a} but not {b}",
        "{a} minus {b}", "{a}, free of any {B}", "no {B}, but {a}", "{a} sans {b}", "{a} instead of {b}",
        "{a} rather than {b}", "{a} without any {B}", "{a}, {b} removed", "{a}, {b} not included",
        "{a}, and {b} is gone",
        "{a}, but {b} cannot be seen", "{a} that does not show {b}",
    ),
    minimal_single=("no {A}", "there is no {A}", "there isn't {a}", "without {a}", "not {a}", "free of any {A}",
                    "never {a}", "sans {a}", "instead of {a}", "rather than {a}", "without any {A}", "{a} removed",
                    "{a} not included", "{a} is gone", "{a} cannot be seen", "does not show {a}"),
)  # fmt: skip

# Sentences with a negation word that deny nothing.
DECOY_WRAPPERS = ("no doubt {x}", "without doubt {x}", "nothing less than {x}", "no wonder there is {x}")
DECOY_EXACT_WRAPPERS = ("nothing but {x}", "{x}, neither more nor less")  # true only where all objects are named
DECOY_PHRASES = {
    "pair": ("not only {a} but also {b}",),
    "three": ("not only {a} but also {b} and {c}", "not only {a} and {b} but also {c}"),
}
