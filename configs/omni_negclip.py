"""Omni-NegCLIP (arXiv 2603.29258): presence-based and absence-based negation, a stream of each in every step.

    python -m jaxclip.main --config=configs/omni_negclip.py --workdir=runs/omni_negclip

`:paper` is the authors' setting: OpenAI's ViT-B/32, CC-Neg and NegationCLIP's captions of COCO (docs/data.md):

    python -m jaxclip.main --config=configs/omni_negclip.py:paper --workdir=runs/omni_paper \
        --config.model.init=ViT-B-32.pt --config.datasets.ccneg.annotations=ccneg_preprocessed.pt \
        --config.datasets.ccneg.images=ccneg_images --config.datasets.coco.annotations=captions.json \
        --config.datasets.coco.images=train2014
"""

from ml_collections import ConfigDict

from configs.common import SHARED_TEXT_PARAMETERS, ccneg, check_variant, coco_absences, fine_tuning, on_scenes

OMNI_NEGCLIP = {
    "presence": {"objective": "presence", "stream": "presence", "weight": 1.0},
    "absence": {
        "objective": "absence",
        "stream": "absence",
        "weight": 1.0,
        "caption_weight": 1.0,
        "margin_weight": 1.0,
        "margin": 0.9,
    },
}


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (scenes), `"smoke"`, or `"paper"`."""
    check_variant("omni_negclip.py", variant, ("smoke", "paper"))
    if variant != "paper":
        return on_scenes("Omni-NegCLIP", OMNI_NEGCLIP, smoke=variant == "smoke")
    return fine_tuning(
        "Omni-NegCLIP as published",
        OMNI_NEGCLIP,
        init=None,
        datasets={"ccneg": ccneg(), "coco": coco_absences(test=0.0)},
        streams={
            "presence": {"dataset": "ccneg", "batch_size": 128},
            "absence": {"dataset": "coco", "batch_size": 128},
        },
        trainable=("front_text_layers(6)", *SHARED_TEXT_PARAMETERS),
        optimizer={"learning_rate": 1e-6},
        schedule={"epochs": 30.0, "warmup_steps": 50},
        evaluation={"splits": ("ccneg/test",)},
    )
