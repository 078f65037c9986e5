"""SemCLIP (arXiv 2511.16527): fine-tunes CLIP on captions, their paraphrases and their negations.

On the built-in scenes, from the small CLIP that comes with the package (front half of the text tower trained):

    python -m jaxclip.main --config=configs/semclip.py --workdir=runs/semclip

On your own table of captions, paraphrases and negations, with images in a folder (whole text tower trained):

    python -m jaxclip.main --config=configs/semclip.py:triplets --workdir=runs/mine --config.model.init=MODEL \
        --config.datasets.triplets.annotations=triplets.csv --config.datasets.triplets.images=photographs

`:paper` takes the authors' optimiser, schedule and preprocessing to such a table, `:released` also what their released
code does differently from the paper: embeddings in the contrastive term are not normalised, and the temperature starts
afresh and is not clamped. The image tower is frozen. The paper's named runs are settings:
--config.objectives.semclip.gamma=0.0 is paraphrase-only, beta=0.0 negation-only, both zero the baseline.
"""

from ml_collections import ConfigDict

from configs.common import SHARED_TEXT_PARAMETERS, check_variant, on_scenes, on_triplets

SEMCLIP = {
    "objective": "semclip",
    "stream": "train",
    "weight": 1.0,
    "alpha": 1.0,
    "beta": 1.0,
    "gamma": 1.0,
    "n": 2,
    "learnable": False,
    "normalize": True,
}


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (scenes), `"smoke"` (a few steps), `"triplets"` (your data), `"paper"` or `"released"` (same)."""
    check_variant("semclip.py", variant, ("smoke", "triplets", "paper", "released"))
    if variant in ("", "smoke"):
        return on_scenes("SemCLIP", {"semclip": SEMCLIP}, smoke=variant == "smoke")
    config = on_triplets("SemCLIP", {"semclip": SEMCLIP}, roles=("caption", "paraphrase", "negation"))
    config.trainable = ("whole_text_layers", *SHARED_TEXT_PARAMETERS)
    if variant == "triplets":
        return config
    # OpenCLIP's ViT-B-32 laion2b_s34b_b79k, 80/10/10 by row as published: images are shared between the splits.
    config.datasets.triplets.split_by = "row"
    config.model.dtype = "bfloat16"
    config.model.preprocessing = "semclip_released"
    config.streams.train.batch_size = 256
    config.optimizer.accumulate = 2
    config.schedule = ConfigDict({"epochs": 200.0, "warmup_steps": 50})
    if variant == "released":
        config.objectives.semclip.normalize = False
        config.model.reset_logit_scale = True
        config.model.clamp_logit_scale = False
    return config
