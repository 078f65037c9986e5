"""NegationCLIP: CLIP's own loss on captions that also say what is absent.

    python -m jaxclip.main --config=configs/negationclip.py --workdir=runs/negationclip

`:paper` is the authors' setting, on their captions of COCO train2014 (docs/data.md); model.init and the paths of
datasets.coco have to be given.
"""

from ml_collections import ConfigDict

from configs.common import SHARED_TEXT_PARAMETERS, check_variant, coco_absences, fine_tuning, on_scenes

NEGATIONCLIP = {"negationclip": {"objective": "negationclip", "stream": "train", "weight": 1.0}}


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (scenes), `"smoke"`, or `"paper"`."""
    check_variant("negationclip.py", variant, ("smoke", "paper"))
    if variant != "paper":
        return on_scenes("NegationCLIP", NEGATIONCLIP, smoke=variant == "smoke")
    shared = tuple(name for name in SHARED_TEXT_PARAMETERS if name != "text/ln_final")
    return fine_tuning(
        "NegationCLIP as published",
        NEGATIONCLIP,
        init=None,
        datasets={"coco": coco_absences(test=0.01)},
        streams={"train": {"dataset": "coco", "batch_size": 512}},
        trainable=("whole_text_layers", *shared),
        optimizer={"learning_rate": 1e-6, "weight_decay": 0.01},
        schedule={"epochs": 15.0, "warmup_steps": 0},
        evaluation={"splits": ("coco/test",)},
    )
