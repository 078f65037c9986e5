"""What pretraining alone shows, as web text would have shown it to CLIP. Data only; slots as in lexicon.py.

The words that zero-shot prompts and held-out frames are made of occur here, but never those sentences themselves.
"""

WRAPPERS = (
    "{x}, seen in a photo", "photo: {x}", "{x}, shown on a canvas", "{x} put on display", "a rendering with {x}",
    "here lies {x}", "one can see {x}", "{x}, as depicted", "this scene holds {x}", "a sketch of {x}",
    "this photo has {x}", "as one may notice, {x}", "positioned here: {x}", "here sits {x}", "yet another scene: {x}",
    "{x} which one can see", "{x}, pictured up close", "a fine view: {x}", "{x}, and behold", "this panel has {x}",
    "it carries {x}", "it presents {x}", "found: {x}", "here stands {x}",
)  # fmt: skip
PHRASES = {
    "pair": (
        "both: {a}, {b}",
        "{a} along {b}",
        "{a} accompanied with {b}",
        "{a}, then {b}",
        "{a} while {b}",
        "{a} joined with {b}",
        "{a} paired up: {b}",
        "{a} and company, {b}",
    ),
    "three": (
        "{a}, {b}, {c}",
        "{a} along {b} and {c}",
        "{a} accompanied with {b} and {c}",
        "{a}, {b}, then {c}",
        "{a} joined with {b} and {c}",
        "{a} and company, {b} and {c}",
    ),
}
SINGLES = ("{A}", "{a}", "the {A}", "one {A}", "just {a}")

# On the web a negation word often says nothing about what is in the picture: "no ordinary", "not without", "cannot
# miss". CLIP therefore learned that "no X" comes with X nearly as often as "X" does. These captions teach the same,
# with every negation word of all frames near something that is there.
DECOY_WRAPPERS = (
    "{x}, no filter", "{x}, never mind the rest", "{x}, without further ado", "{x}, not for sale",
    "{x}, free of charge",
    "{x}, minus the frame", "no title: {x}", "why not {x}", "{x}, isn't it nice", "never before seen: {x}",
    "there is no beating {x}", "there isn't anything like {x}", "no mistaking {x}", "not to forget: {x}",
    "not without {x}", "{x}, neither good nor bad", "no caption: {x}", "without a title: {x}", "{x}, sans serif",
    "{x}, cannot complain", "{x}, gone viral", "{x}, shipping not included", "{x}, price removed", "rather {x}",
    "{x}, a print instead of a poster", "{x}, lacking nothing", "{x}, never absent for long", "{x}, nothing missing",
    "{x}, devoid of errors", "fails to bore: {x}", "may contain nuts: {x}", "omitting the rest: {x}",
    "{x}, unseen until now", "nowhere near enough: {x}", "bare facts: {x}", "{x}, refuses to age", "excluding tax: {x}",
    "{x}, by no means cheap", "by all means {x}",
)  # fmt: skip
DECOY_PHRASES = {
    "one": ("no ordinary {A}", "not just any {A}", "not {a} for nothing", "never {a} too many", "no {A} like this one",
            "not without {a}", "without question {a}", "no better {A}", "there isn't {a} like it", "isn't that {a}",
            "there is no {A} quite like it", "free of doubt {a}", "no {A}, no picture", "sans doubt {a}",
            "cannot miss {a}", "{a} gone right", "rather {a}", "{a} instead", "{a} never removed", "lacking only {a}",
            "{a}, never absent", "the missing {A}", "devoid of doubt {a}", "it does contain {a}", "{a} never fails",
            "not omitting {a}", "unseen {A} of the day", "{a} from nowhere", "the bare {A}", "refuses {a} to none",
            "not excluding {a}"),
    "placed": ("no ordinary {A} {link}", "not just any {A} {link}", "not without {a} {link}", "isn't that {a} {link}",
               "{a}, not by chance {link}", "{a} that isn't by chance {link}", "no {A} like the one {link}",
               "{a} is never quite {link}", "there is no {A} like this {link}", "cannot miss {a} {link}",
               "the missing {A} {link}", "{a}, never absent {link}", "{a} from nowhere {link}", "{a} gone right {link}",
               "unseen {A} of the day {link}"),
    "pair": ("{a}, not without {b}", "{a} and no less {b}", "no {A} without {b}", "{a}, never without {b}",
             "not just {a}, no: {b}", "{a} but no ordinary {B}", "no ordinary {A} with {b}", "not {a} alone, {b} too",
             "{a} with no small fuss: {b}", "{a} isn't alone without {b}", "{a}, not to forget {b}",
             "neither {a} nor {b} is plain", "{a} minus nothing, {b}", "{a} free of worries, {b}",
             "{a} but not just any {B}", "no {A} and no {B} like these", "{a} and there isn't a better {B}",
             "{a}, but there is no better {B}", "{a} without doubt, {b}", "{a} sans doubt with {b}",
             "{a} rather like {b}", "{a} instead, with {b}", "{a} gone with {b}", "{a} cannot go without {b}",
             "{a} with {b} never removed", "{a} never lacking {b}", "{a}, {b} no longer missing",
             "{a} not devoid of {b}",
             "{a}, {b} never absent", "{a} fails to outshine {b}", "{a} may contain {b}", "{a} not omitting {b}",
             "{a} unseen before, {b}", "{a} from nowhere, {b}", "{a} and the bare {B}", "{a} refuses to part with {b}",
             "{a} not excluding {b}"),
    "related": ("no ordinary {A} {link} {b}", "not just any {A} {link} {b}", "{a} {link} {b}, not by chance",
                "isn't that {a} {link} {b}", "{a} not by chance {link} {b}", "{a} never far {link} {b}",
                "no {A} like the one {link} {b}", "{a} that isn't by chance {link} {b}", "cannot miss {a} {link} {b}",
                "the missing {A} {link} {b}", "{a}, never absent {link} {b}", "{a} from nowhere {link} {b}",
                "{a} gone right {link} {b}", "unseen {A} of the day {link} {b}"),
    "three": ("{a} and {b}, not without {c}", "{a}, {b} and no less {c}", "{a} and {b} but no ordinary {C}",
              "no {A} without {b} and {c}", "{a} and {b}, never without {c}", "{a} with {b}, minus nothing, {c}",
              "neither {a}, {b} nor {c} is plain", "{a}, {b} and no finer {C}", "{a} and {b}, not to forget {c}",
              "no {A}, no {B} and no {C} like these", "{a} and {b}, and there isn't a better {C}",
              "{a} and {b}, sans doubt with {c}", "{a} and {b} rather like {c}", "{a} and {b} with {c} never removed",
              "{a} and {b}, never lacking {c}", "{a} and {b}, {c} no longer missing", "{a} and {b}, not devoid of {c}",
              "{a} and {b}, {c} never absent", "{a} and {b}, not omitting {c}", "{a} and {b} from nowhere, {c}",
              "{a} and {b} unseen before, {c}", "{a} and {b}, not excluding {c}"),
    "three_related": ("{a} {link} {b}, not without {c}", "{a} {link} {b}, and no less {c}",
                      "{a} {link} {b}, but no ordinary {C}", "no {A} like the one {link} {b}, and {c}",
                      "{c}, and no ordinary {A} {link} {b}", "{a} not by chance {link} {b}, and {c}",
                      "{a} {link} {b}, never without {c}", "{a} {link} {b}, minus nothing, {c}",
                      "{a} {link} {b}, never lacking {c}", "{a} {link} {b}, {c} no longer missing",
                      "{a} {link} {b}, not omitting {c}", "{a} {link} {b}, {c} never absent",
                      "{a} {link} {b}, unseen before, {c}"),
}  # fmt: skip

# Here the words of the held-out frames do say that something is absent, in sentences of another build.
ABSENCES = (
    "{x}; lacking: {a}", "{x} (lacking {a})", "{x}; absent: {a}", "{x}; {a}: absent", "{x}; missing: {a}",
    "{x} ({a} missing)", "{x}; devoid of any {A}", "{x}; does not contain {a}", "{x}; fails to feature {a}",
    "{x}; omitting: {a}", "{x} (omitting {a})", "{x}; unseen: {a}", "{x}; {a}: unseen", "{x}; nowhere: {a}",
    "{x} ({a} nowhere)", "{x}; bare of any {A}", "{x}; refuses to feature {a}", "{x}; excluding: {a}",
    "{x} (excluding {a})",
)  # fmt: skip
