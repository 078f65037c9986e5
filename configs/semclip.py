"""SemCLIP (arXiv 2511.16527): fine-tunes CLIP on captions, their paraphrases and their negations.

On the built-in scenes, from the small CLIP that comes with the package (front half of the text tower trained):

    python -m jaxclip.main --config=configs/semclip.py --workdir=runs/semclip

On your own table of captions, paraphrases and negations, with images in a folder (whole text tower trained):

    python -m jaxclip.main --config=configs/semclip.py:triplets --workdir=runs/mine --config.model.init=MODEL \
        --config.datasets.triplets.annotations=triplets.csv --config.datasets.triplets.images=photographs

On SugarCrepe++ and on the captions of COCO (docs/data.md says what to download):

    python -m jaxclip.main --config=configs/semclip.py:sugarcrepe_pp --workdir=runs/scpp --config.model.init=MODEL_DIR \
        --config.datasets.sugarcrepe_pp.annotations=scpp/data --config.datasets.sugarcrepe_pp.images=val2017
    python -m jaxclip.main --config=configs/semclip.py:captions --workdir=runs/coco --config.model.init=MODEL_DIR \
        --config.datasets.captions.annotations=captions_train2017.json --config.datasets.captions.images=train2017

Captions have no negations: `:captions` is the paraphrase-only run, where a paraphrase is another person's caption of
the same photograph.

`:paper` takes the authors' optimiser, schedule and preprocessing to such a table, `:released` also what their released
code does differently from the paper: embeddings in the contrastive term are not normalised, and the temperature starts
afresh and is not clamped. The image tower is frozen. The paper's named runs are settings:
--config.objectives.semclip.gamma=0.0 is paraphrase-only, beta=0.0 negation-only, both zero the baseline.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.common import BAD_RECORDS, check_variant, on_own_data, on_scenes, on_triplets

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
    """`variant`: `""` (scenes), `"smoke"` (a few steps), `"triplets"` (your data), `"paper"` or `"released"` (same),
    `"sugarcrepe_pp"`, or `"captions"`.
    """
    check_variant("semclip.py", variant, ("smoke", "triplets", "paper", "released", "sugarcrepe_pp", "captions"))
    if variant in ("", "smoke"):
        return on_scenes("SemCLIP", {"semclip": SEMCLIP}, smoke=variant == "smoke")
    if variant in ("sugarcrepe_pp", "captions"):
        return _on_downloads(variant)
    config = on_triplets("SemCLIP", {"semclip": SEMCLIP}, roles=("caption", "paraphrase", "negation"))
    if variant == "triplets":
        return config
    # OpenCLIP's ViT-B-32 laion2b_s34b_b79k, 80/10/10 by row as published: images are shared between the splits.
    config.datasets.triplets.split_by = "row"
    config.model.dtype = "bfloat16"
    config.model.preprocessing = "semclip_released"
    config.optimizer.accumulate = 2
    config.schedule = ConfigDict({"epochs": 200.0, "warmup_steps": 50})
    if variant == "released":
        config.objectives.semclip.normalize = False
        config.model.reset_logit_scale = True
        config.model.clamp_logit_scale = False
    return config


def _on_downloads(variant: str) -> ConfigDict:
    """SugarCrepe++ or COCO's captions; `model.init`, `annotations` and `images` have to be given."""
    paths = {"annotations": placeholder(str), "images": placeholder(str), **BAD_RECORDS}
    if variant == "sugarcrepe_pp":
        # Two of its false captions equal the true one, so the published files have bad rows.
        dataset = {"builder": "sugarcrepe_pp_triplets", "split_by": "image", **paths, "on_bad_record": "skip"}
        return on_own_data("SemCLIP", {"semclip": SEMCLIP}, variant, dataset)
    dataset = {"builder": "coco_captions", "other_caption_as_paraphrase": True, "split_by": "image", **paths}
    config = on_own_data("SemCLIP, paraphrase-only,", {"semclip": {**SEMCLIP, "gamma": 0.0}}, variant, dataset)
    config.checkpoint.best = "caption_to_image_r1"
    return config
