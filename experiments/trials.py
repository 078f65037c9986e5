"""What is compared: every method, and one change at a time to the methods under study. Data only."""

import dataclasses
from collections.abc import Mapping

from configs.common import SHARED_TEXT_PARAMETERS, TEXT_HEAD
from jaxclip.objectives.triplet import CHOICES, DISTRACTOR_CHOICES, DISTRACTOR_MATCHES, MATCHES, NEGATIVES

LAYERS = {
    "none": TEXT_HEAD,
    "front 3": ("front_text_layers(3)", *TEXT_HEAD),
    "middle 3": ("middle_text_layers(3)", *TEXT_HEAD),
    "back 3": ("back_text_layers(3)", *TEXT_HEAD),
    "all 6": ("whole_text_layers", *TEXT_HEAD),
    "front 3 and embeddings": ("front_text_layers(3)", *SHARED_TEXT_PARAMETERS),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Trial:
    """One training, to be repeated by seed.

    Attributes:
      group: the table that it belongs to.
      label: its row.
      config: a file of configs/, without its ending, and after a colon its variant.
      changes: path of a config key → its value.
      interpolation: share of the trained weights; the rest is the starting model's (WiSE-FT, arXiv 2109.01903).
    """

    group: str
    label: str
    config: str
    changes: Mapping[str, object] = dataclasses.field(default_factory=dict)
    interpolation: float = 1.0


METHODS = tuple(
    Trial("methods", label, config)
    for label, config in {
        "CLIP": "clip",
        "SemCLIP": "semclip",
        "CoN-CLIP": "conclip",
        "CoN-CLIP, distractors": "conclip:distractors",
        "NegCLIP": "negclip",
        "NegationCLIP": "negationclip",
        "TripletCLIP": "tripletclip",
        "NegBench": "negbench",
        "Omni-NegCLIP": "omni_negclip",
        "triplet": "triplet",
    }.items()
)


def _layers(config: str, label: str) -> tuple[Trial, ...]:
    return tuple(Trial(f"layers of {label}", name, config, {"trainable": layers}) for name, layers in LAYERS.items())


def _semclip(group: str, settings: Mapping[str, Mapping[str, object]]) -> tuple[Trial, ...]:
    return tuple(
        Trial(group, label, "semclip", {f"objectives.semclip.{key}": value for key, value in changes.items()})
        for label, changes in settings.items()
    )


def _triplet(settings: Mapping[str, Mapping[str, object]]) -> tuple[Trial, ...]:
    return tuple(
        Trial(
            "terms of triplet", label, "triplet", {f"objectives.triplet.{key}": value for key, value in changes.items()}
        )
        for label, changes in settings.items()
    )


PROJECTIONS = _semclip(
    "SemCLIP's projection",
    {
        "n = 2": {},
        "n = 4": {"n": 4},
        "n = 8": {"n": 8},
        "n = 32": {"n": 32},
        "n = d": {"n": 128},
        "V = I": {"n": None},
        "n = 2, learned": {"learnable": True},
    },
)
WEIGHTS = _semclip(
    "SemCLIP's weights",
    {
        "1, 0, 0 (baseline)": {"beta": 0.0, "gamma": 0.0},
        "1, 1, 0 (paraphrase-only)": {"gamma": 0.0},
        "1, 0, 1 (negation-only)": {"beta": 0.0},
        "1, 1, 1 (semclip)": {},
        "1, 4, 1": {"beta": 4.0},
        "1, 1, 4": {"gamma": 4.0},
        "4, 1, 1": {"alpha": 4.0},
    },
)
TERMS = _triplet(
    {
        "all": {},
        "without choice": {"choice": 0.0},
        "without agreement": {"agreement": 0.0},
        "retrieval without negatives": {"negatives": ()},
        "retrieval without absences": {"matches": MATCHES[:2], "negatives": NEGATIVES[:1]},
        "choice without absences": {"choices": CHOICES[:2]},
        "with distractor images": {
            "matches": MATCHES + DISTRACTOR_MATCHES,
            "negatives": (),
            "choices": CHOICES + DISTRACTOR_CHOICES,
        },
    }
)
# How far `triplet` goes on held-out sentences, tried in other ways than by its layers and terms. Most leave the
# embeddings as they are, which keeps more retrieval on those sentences.
ATTEMPTS = tuple(
    Trial("attempts with triplet", label, "triplet", {"trainable": LAYERS["front 3"], **changes})
    for label, changes in {
        "front 3": {},
        "learning rate 5e-4": {"optimizer.learning_rate": 5e-4},
        "1,200 steps": {"schedule.steps": 1200},
        "four times the scenes": {"datasets.scenes.train_size": 20_000, "schedule.steps": 1200},
        "four times the scenes, embeddings": {
            "trainable": LAYERS["front 3 and embeddings"],
            "datasets.scenes.train_size": 20_000,
            "schedule.steps": 1200,
        },
        # As many captions of the kind that the starting model learned from, under CLIP's loss. They hold the negation
        # words of the held-out splits too, mostly where they deny nothing.
        "with pretraining captions": {
            "datasets.pretraining": {"builder": "pretraining_scenes", "size": 25_600, "seed": 1},
            "streams.rehearsal": {"dataset": "pretraining", "split": "train", "batch_size": 64},
            "objectives.rehearsal": {"objective": "clip", "stream": "rehearsal", "weight": 1.0},
        },
    }.items()
)
INTERPOLATIONS = tuple(
    Trial(f"{label} interpolated", f"{share:.0%}", config, interpolation=share)
    for label, config in {"triplet": "triplet", "SemCLIP": "semclip"}.items()
    for share in (0.25, 0.5, 0.75, 1.0)
)
ABLATIONS = (
    *INTERPOLATIONS,
    *_layers("triplet", "triplet"),
    *TERMS,
    *ATTEMPTS,
    *_layers("semclip", "SemCLIP"),
    *PROJECTIONS,
    *WEIGHTS,
)
