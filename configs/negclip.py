"""NegCLIP (arXiv 2210.01936): hard captions, and hard images with captions of their own.

    python -m jaxclip.main --config=configs/negclip.py --workdir=runs/negclip

`:paper` is the authors' setting, on their table of COCO captions with hard images (docs/data.md); model.init and the
paths of datasets.negclip have to be given.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.common import check_variant, fine_tuning, on_scenes


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (scenes, without hard images), `"smoke"`, or `"paper"`."""
    check_variant("negclip.py", variant, ("smoke", "paper"))
    negclip = {"negclip": {"objective": "negclip", "stream": "train", "weight": 1.0, "hard_images": variant == "paper"}}
    if variant != "paper":
        return on_scenes("NegCLIP", negclip, smoke=variant == "smoke")
    paths = {"annotations": placeholder(str), "images": placeholder(str)}
    return fine_tuning(
        "NegCLIP as published",
        negclip,
        init=None,
        datasets={"negclip": {"builder": "negclip", **paths, "validation": 0.0, "test": 0.01}},
        streams={"train": {"dataset": "negclip", "batch_size": 256}},
        trainable=("*",),
        optimizer={"learning_rate": 1e-6},
        schedule={"epochs": 5.0, "warmup_steps": 50},
        evaluation={"splits": ("negclip/test",)},
    )
