"""`triplet`, this project's own objective: captions, paraphrases, negations and absences in one loss (docs/methods.md).

python -m jaxclip.main --config=configs/triplet.py --workdir=runs/triplet
"""

from ml_collections import ConfigDict

from configs.common import SHARED_TEXT_PARAMETERS, check_variant, on_scenes, on_triplets
from jaxclip.objectives.triplet import CHOICES

TRIPLET = {"objective": "triplet", "stream": "train", "weight": 1.0}


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (scenes), `"smoke"`, or `"triplets"` (your data)."""
    check_variant("triplet.py", variant, ("smoke", "triplets"))
    if variant == "triplets":
        # A table rarely has the two minimal sentences; the other three choices remain.
        roles = ("caption", "paraphrase", "negation", "absence", "false_absence")
        return on_triplets("triplet", {"triplet": {**TRIPLET, "choices": CHOICES[:3]}}, roles=roles)
    config = on_scenes("triplet", {"triplet": TRIPLET}, smoke=variant == "smoke")
    # Of the sets of layers tried (docs/results.md) this one has the best mean over the validation splits.
    config.trainable = ("front_text_layers(3)", *SHARED_TEXT_PARAMETERS)
    return config
