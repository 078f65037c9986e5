"""Sentence frames and negation words that training never shows, one set for validation and another for the test.

Whether a method learned what negation words mean, or learned the words of its training data by heart, shows in
sentences like these. Methods are chosen on the validation set; its frames share nothing with those of the test.
"""

from jaxclip.datasets.scenes.lexicon import Frames

# Negation words: omitting, excluding, bare of, unseen, nowhere, refuses to show.
VALIDATION = Frames(
    wrappers=("pictured here is {x}", "a view of {x}", "behold {x}", "a panel that presents {x}",
              "the panel carries {x}"),
    clause_wrappers=("as pictured, {x}", "on the panel, {x}"),
    bare=False,
    phrases={
        "one": ("{a}",),
        "placed": ("{a} found {link}", "{a} which stands {link}"),
        "pair": ("{a} joined by {b}", "{a} paired with {b}", "{a} in company of {b}"),
        "related": ("{a} found {link} {b}", "{a} which stands {link} {b}"),
        "three": ("{a} joined by {b} and {c}", "{a} paired with {b} and {c}", "{a} in company of {b} and {c}"),
        "three_related": ("{a} found {link} {b}, joined by {c}", "{a} which stands {link} {b}, in company of {c}"),
    },
    clauses={
        "placed": ("{link} stands {a}", "{a} stands {link}"),
        "related": ("{link} {b} stands {a}", "{a} stands {link} {b}"),
        "three_related": ("{a} stands {link} {b}, joined by {c}", "{link} {b} stands {a}, in company of {c}"),
    },
    counting={},
    phrase_denials={
        "pair": (("b", "{a} omitting {b}"), ("b", "{a} with {b} unseen"), ("b", "{a}, {b} nowhere"),
                 ("b", "{a} bare of {b}"), ("b", "{a} excluding {b}")),
        "three": (("c", "{a} joined by {b}, omitting {c}"), ("c", "{a} joined by {b}, with {c} unseen"),
                  ("c", "{a} in company of {b}, {c} nowhere"), ("c", "{a} paired with {b}, excluding {c}")),
        "three_related": (("c", "{a} found {link} {b}, omitting {c}"),
                          ("c", "{a} which stands {link} {b}, with {c} unseen"),
                          ("c", "{a} found {link} {b}, {c} nowhere")),
    },
    clause_denials={
        "one": (("a", "{a} is unseen here"), ("a", "{a} is nowhere here"), ("a", "a panel omitting {a}"),
                ("a", "a panel bare of {a}"), ("a", "a panel excluding {a}"), ("a", "the panel refuses to show {a}")),
        "placed": (("link", "{a} found {link} is unseen"), ("link", "{a} found {link} is nowhere"),
                   ("link", "a panel omitting {a} which stands {link}"),
                   ("link", "the panel refuses to show {a} which stands {link}")),
        "pair": (("b", "the panel with {a} refuses to show {b}"), ("b", "{a} stands there while {b} is unseen"),
                 ("ab", "{a} and {b} are both nowhere here")),
        "related": (("link", "{a} found {link} {b} is unseen"), ("link", "{a} found {link} {b} is nowhere"),
                    ("link", "a panel omitting {a} which stands {link} {b}"),
                    ("link", "the panel refuses to show {a} which stands {link} {b}")),
        "three": (("c", "the panel with {a} and {b} refuses to show {c}"),
                  ("c", "{a} and {b} stand there while {c} is nowhere")),
        "three_related": (("c", "{a} stands {link} {b} while {c} is unseen"),
                          ("c", "the panel with {a} found {link} {b} refuses to show {c}"),
                          ("c", "{a} stands {link} {b} while {c} is nowhere")),
    },
    absences=("{x}, omitting {a}", "{x}, with {a} unseen", "{x}, {a} nowhere", "{x}, bare of {a}", "{x}, excluding {a}",
              "{x}, yet it refuses to show {a}"),
    minimal=("{a} omitting {b}", "{a} with {b} unseen", "{a}, {b} nowhere", "{a} bare of {b}", "{a} excluding {b}",
             "{a} that refuses to show {b}"),
    minimal_single=("omitting {a}", "{a} unseen", "{a} nowhere", "bare of {a}", "excluding {a}", "refuses to show {a}"),
)  # fmt: skip

# Negation words: lacking, devoid of, absent, missing, fails to contain.
TEST = Frames(
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
