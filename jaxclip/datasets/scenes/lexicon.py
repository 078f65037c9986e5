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
        "it shows {x}",
    ),
    clause_wrappers=("in the picture, {x}", "in this scene, {x}", "you can see that {x}"),
    bare=True,
    phrases={
        "one": ("{a}",),
        "placed": ("{a} {link}",),
        "pair": ("{a} and {b}", "{a} with {b}", "{a} next to {b}", "{a} beside {b}", "{a} together with {b}"),
        "related": ("{a} {link} {b}", "{a} that is {link} {b}"),
        "three": ("{a}, {b} and {c}", "{a} and {b} and {c}", "{a} with {b} and {c}", "{a}, {b} as well as {c}",
                  "{a} beside {b} and {c}"),
        "three_related": ("{a} {link} {b}, and {c}", "{c}, and {a} {link} {b}", "{a} {link} {b}, together with {c}",
                          "{a} {link} {b}, and also {c}"),
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
        "one": (("a", "no {A}"), ("a", "no {A} at all"), ("a", "no {A} anywhere")),
        "placed": (("link", "no {A} {link}"), ("link", "{a} not {link}"), ("link", "{a} that isn't {link}")),
        "pair": (("b", "{a} without {b}"), ("b", "{a} but no {B}"), ("b", "{a} and no {B}"), ("b", "{a} with no {B}"),
                 ("b", "{a}, not {b}"), ("b", "{a} minus {b}"), ("b", "{a} free of any {B}"), ("a", "no {A} but {b}"),
                 ("ab", "no {A} and no {B}"), ("ab", "neither {a} nor {b}")),
        "related": (("link", "no {A} {link} {b}"), ("link", "{a} not {link} {b}"),
                    ("link", "{a} that is not {link} {b}"), ("link", "{a} that isn't {link} {b}")),
        "three": (("c", "{a} and {b} but no {C}"), ("c", "{a} and {b} without {c}"), ("c", "{a}, {b} and no {C}"),
                  ("b", "{a} and {c} but no {B}"), ("a", "no {A} but {b} and {c}"), ("c", "{a} and {b} minus {c}"),
                  ("bc", "{a} with neither {b} nor {c}"), ("abc", "no {A}, no {B} and no {C}")),
        "three_related": (("c", "{a} {link} {b}, but no {C}"), ("c", "{a} {link} {b}, without {c}"),
                          ("c", "{a} {link} {b}, minus {c}"), ("c", "no {C}, but {a} {link} {b}"),
                          ("link", "{a} not {link} {b}, and {c}"), ("link", "{c}, and no {A} {link} {b}")),
    },
    clause_denials={
        "one": (("a", "there is no {A}"), ("a", "there isn't {a}"), ("a", "a picture without {a}"),
                ("a", "an image free of any {A}"), ("a", "{a} is not there"), ("a", "a scene that never shows {a}")),
        "placed": (("link", "{a} is not {link}"), ("link", "{a} isn't {link}"), ("link", "there is no {A} {link}"),
                   ("link", "a picture without {a} {link}"), ("link", "{a} is never {link}")),
        "pair": (("b", "there is {a}, but there is no {B}"), ("b", "there is {a}, but there isn't {b}"),
                 ("b", "{a} is there but not {b}"), ("ab", "there is neither {a} nor {b}"),
                 ("ab", "a picture without {a} or {b}"), ("ab", "a scene that never shows {a} or {b}")),
        "related": (("link", "{a} is not {link} {b}"), ("link", "{a} isn't {link} {b}"),
                    ("link", "there is no {A} {link} {b}"), ("link", "{a} is never {link} {b}"),
                    ("link", "a picture without {a} {link} {b}")),
        "three": (("c", "there is {a} and {b}, but there is no {C}"), ("abc", "there is no {A}, no {B} and no {C}"),
                  ("c", "there is {a} and {b}, but there isn't {c}")),
        "three_related": (("link", "{a} is not {link} {b}, and there is {c}"),
                          ("link", "there is {c}, and {a} isn't {link} {b}"),
                          ("c", "{a} is {link} {b}, and there is no {C}"),
                          ("c", "there isn't {c}, but {a} is {link} {b}")),
    },
    absences=(
        "{x}, but no {A}", "{x}, with no {A} in sight", "{x}, and no {A}", "{x}, but there is no {A}",
        "{x}, and there isn't {a}", "{x}, without {a}", "{x}, not {a}", "{x}, free of any {A}", "{x}, minus {a}",
        "{x}, and never {a}", "no {A} here: {x}", "there is no {A} here: {x}",
    ),
    minimal=(
        "{a}, but no {B}", "{a} without {b}", "{a} and no {B}", "{a}, not {b}", "{a} with no {B}", "{a} but not {b}",
        "{a} minus {b}", "{a}, free of any {B}", "no {B}, but {a}",
    ),
    minimal_single=("no {A}", "there is no {A}", "there isn't {a}", "without {a}", "not {a}", "free of any {A}",
                    "never {a}"),
)  # fmt: skip

# Sentences and negation words that training never shows: lacking, absent, missing, devoid, fails to contain.
HELD_OUT = Frames(
    wrappers=("shown here is {x}", "on display: {x}", "a rendering that depicts {x}", "one notices {x}",
              "the canvas holds {x}"),
    clause_wrappers=("as one notices, {x}", "on the canvas, {x}"),
    bare=False,
    phrases={
        "one": ("{a}",),
        "placed": ("{a} positioned {link}", "{a} which lies {link}"),
        "pair": ("{a} along with {b}", "both {a} and {b}", "{a} accompanied by {b}"),
        "related": ("{a} positioned {link} {b}", "{a} which lies {link} {b}"),
        "three": ("{a} along with {b} and {c}", "{a} accompanied by {b} and {c}", "{a}, then {b}, then {c}"),
        "three_related": ("{a} positioned {link} {b}, along with {c}", "{a} which lies {link} {b}, accompanied by {c}"),
    },
    clauses={
        "placed": ("{link} sits {a}", "{a} sits {link}"),
        "related": ("{link} {b} sits {a}", "{a} sits {link} {b}"),
        "three_related": ("{a} sits {link} {b}, accompanied by {c}", "{link} {b} sits {a}, along with {c}"),
    },
    counting={},
    phrase_denials={
        "pair": (("b", "{a} lacking {b}"), ("b", "{a} with {b} absent"), ("b", "{a} with {b} missing"),
                 ("b", "{a} devoid of {b}")),
        "three": (("c", "{a} along with {b}, lacking {c}"), ("c", "{a} along with {b}, with {c} absent"),
                  ("c", "{a} accompanied by {b}, with {c} missing"), ("c", "{a} along with {b}, devoid of {c}")),
        "three_related": (("c", "{a} positioned {link} {b}, lacking {c}"),
                          ("c", "{a} which lies {link} {b}, with {c} absent"),
                          ("c", "{a} positioned {link} {b}, with {c} missing")),
    },
    clause_denials={
        "one": (("a", "{a} is absent here"), ("a", "{a} is missing here"), ("a", "a canvas lacking {a}"),
                ("a", "a canvas devoid of {a}"), ("a", "the canvas fails to contain {a}")),
        "placed": (("link", "{a} positioned {link} is absent"), ("link", "{a} positioned {link} is missing"),
                   ("link", "a canvas lacking {a} which lies {link}"),
                   ("link", "the canvas fails to contain {a} which lies {link}")),
        "pair": (("b", "the canvas with {a} fails to contain {b}"), ("b", "{a} sits there while {b} is absent"),
                 ("ab", "{a} and {b} are both absent here")),
        "related": (("link", "{a} positioned {link} {b} is absent"), ("link", "{a} positioned {link} {b} is missing"),
                    ("link", "a canvas lacking {a} which lies {link} {b}"),
                    ("link", "the canvas fails to contain {a} which lies {link} {b}")),
        "three": (("c", "the canvas with {a} and {b} fails to contain {c}"),
                  ("c", "{a} and {b} sit there while {c} is absent")),
        "three_related": (("c", "{a} sits {link} {b} while {c} is absent"),
                          ("c", "the canvas with {a} positioned {link} {b} fails to contain {c}"),
                          ("c", "{a} sits {link} {b} while {c} is missing")),
    },
    absences=("{x}, lacking {a}", "{x}, with {a} absent", "{x}, with {a} missing", "{x}, devoid of {a}",
              "{x}, yet it fails to contain {a}"),
    minimal=("{a} lacking {b}", "{a} with {b} absent", "{a} with {b} missing", "{a} devoid of {b}",
             "{a} that fails to contain {b}"),
    minimal_single=("lacking {a}", "{a} absent", "{a} missing", "devoid of {a}", "fails to contain {a}"),
)  # fmt: skip

# Sentences with a negation word that deny nothing.
DECOY_WRAPPERS = ("no doubt {x}", "without doubt {x}", "nothing less than {x}", "no wonder there is {x}")
DECOY_EXACT_WRAPPERS = ("nothing but {x}", "{x}, neither more nor less")  # true only where all objects are named
DECOY_PHRASES = {
    "pair": ("not only {a} but also {b}",),
    "three": ("not only {a} but also {b} and {c}", "not only {a} and {b} but also {c}"),
}

# Pretraining alone also shows these, as web text would have shown CLIP: the words that zero-shot prompts and the
# held-out frames are made of, but never those sentences themselves.
PRETRAINING_WRAPPERS = (
    "{x}, seen in a photo", "photo: {x}", "{x}, shown on a canvas", "{x} put on display", "a rendering with {x}",
    "here lies {x}", "one can see {x}", "{x}, as depicted", "this scene holds {x}", "a sketch of {x}",
    "this photo has {x}", "as one may notice, {x}", "positioned here: {x}", "here sits {x}", "yet another scene: {x}",
    "{x} which one can see",
)  # fmt: skip
PRETRAINING_PHRASES = {
    "pair": ("both: {a}, {b}", "{a} along {b}", "{a} accompanied with {b}", "{a}, then {b}", "{a} while {b}"),
    "three": ("{a}, {b}, {c}", "{a} along {b} and {c}", "{a} accompanied with {b} and {c}", "{a}, {b}, then {c}"),
}
# On the web a negation word seldom says that something is not in the picture: "no ordinary", "not without", "never
# mind". CLIP therefore learned that "no X" comes with X as often as "X" does. These captions teach the same, with every
# negation word of the training frames right before something that is there.
PRETRAINING_DECOY_WRAPPERS = (
    "{x}, no filter", "{x}, never mind the rest", "{x}, without further ado", "{x}, not for sale", "{x}, free of charge",
    "{x}, minus the frame", "no title: {x}", "why not {x}", "{x}, isn't it nice", "never before seen: {x}",
    "there is no beating {x}", "there isn't anything like {x}", "no mistaking {x}", "not to forget: {x}",
    "not without {x}", "{x}, neither good nor bad", "no caption: {x}", "without a title: {x}",
)  # fmt: skip
PRETRAINING_DECOY_PHRASES = {
    "one": ("no ordinary {A}", "not just any {A}", "not {a} for nothing", "never {a} too many", "no {A} like this one",
            "not without {a}", "without question {a}", "no better {A}", "there isn't {a} like it", "isn't that {a}",
            "there is no {A} quite like it", "free of doubt {a}", "no {A}, no picture"),
    "placed": ("no ordinary {A} {link}", "not just any {A} {link}", "not without {a} {link}", "isn't that {a} {link}",
               "{a}, not by chance {link}", "{a} that isn't by chance {link}", "no {A} like the one {link}",
               "{a} is never quite {link}", "there is no {A} like this {link}"),
    "pair": ("{a}, not without {b}", "{a} and no less {b}", "no {A} without {b}", "{a}, never without {b}",
             "not just {a}, no: {b}", "{a} but no ordinary {B}", "no ordinary {A} with {b}", "not {a} alone, {b} too",
             "{a} with no small fuss: {b}", "{a} isn't alone without {b}", "{a}, not to forget {b}",
             "neither {a} nor {b} is plain", "{a} minus nothing, {b}", "{a} free of worries, {b}",
             "{a} but not just any {B}", "no {A} and no {B} like these", "{a} and there isn't a better {B}",
             "{a}, but there is no better {B}", "{a} without doubt, {b}"),
    "related": ("no ordinary {A} {link} {b}", "not just any {A} {link} {b}", "{a} {link} {b}, not by chance",
                "isn't that {a} {link} {b}", "{a} not by chance {link} {b}", "{a} never far {link} {b}",
                "no {A} like the one {link} {b}", "{a} that isn't by chance {link} {b}"),
    "three": ("{a} and {b}, not without {c}", "{a}, {b} and no less {c}", "{a} and {b} but no ordinary {C}",
              "no {A} without {b} and {c}", "{a} and {b}, never without {c}", "{a} with {b}, minus nothing, {c}",
              "neither {a}, {b} nor {c} is plain", "{a}, {b} and no finer {C}", "{a} and {b}, not to forget {c}",
              "no {A}, no {B} and no {C} like these", "{a} and {b}, and there isn't a better {C}"),
    "three_related": ("{a} {link} {b}, not without {c}", "{a} {link} {b}, and no less {c}",
                      "{a} {link} {b}, but no ordinary {C}", "no {A} like the one {link} {b}, and {c}",
                      "{c}, and no ordinary {A} {link} {b}", "{a} not by chance {link} {b}, and {c}",
                      "{a} {link} {b}, never without {c}", "{a} {link} {b}, minus nothing, {c}"),
}  # fmt: skip
PRETRAINING_ABSENCES = (
    "{x}; lacking: {a}", "{x}; absent: {a}", "{x}; missing: {a}", "{x}; devoid of any {A}", "{x}; does not contain {a}",
    "{x}; fails to show {a}",
)  # fmt: skip
PRETRAINING_SINGLES = ("{A}", "{a}", "the {A}", "one {A}", "just {a}")
