"""CoN-CLIP (arXiv 2403.20312): negations as further negatives of the image.

    python -m jaxclip.main --config=configs/conclip.py --workdir=runs/conclip
    python -m jaxclip.main --config=configs/conclip.py:distractors --workdir=runs/conclip_distractors

`:distractors` adds images of which the negation is true. `:paper` is the authors' setting: CC-Neg with COCO's
distractors (docs/data.md); model.init and the paths of datasets.ccneg have to be given.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.common import ccneg, check_variant, fine_tuning, on_scenes


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (scenes), `"distractors"` (scenes), `"smoke"`, or `"paper"`."""
    check_variant("conclip.py", variant, ("distractors", "smoke", "paper"))
    distractors = variant in ("distractors", "paper")
    conclip = {"conclip": {"objective": "conclip", "stream": "train", "weight": 1.0, "distractors": distractors}}
    if variant != "paper":
        return on_scenes("CoN-CLIP", conclip, smoke=variant == "smoke")
    paths = {name: placeholder(str) for name in ("distractors", "distractor_images", "distractor_captions")}
    return fine_tuning(
        "CoN-CLIP as published",
        conclip,
        init=None,
        datasets={"ccneg": ccneg(**paths)},
        streams={"train": {"dataset": "ccneg", "batch_size": 200}},
        trainable=("text", "logit_scale"),
        optimizer={"learning_rate": 1e-6},
        schedule={"epochs": 5.0, "warmup_steps": 0},
        evaluation={"splits": ("ccneg/test",)},
    )
