"""Plain CLIP fine-tuning: the symmetric contrastive loss on captions alone, the baseline of every other method.

python -m jaxclip.main --config=configs/clip.py --workdir=runs/clip
"""

from ml_collections import ConfigDict

from configs.common import check_variant, on_scenes, on_triplets

CLIP = {"objective": "clip", "stream": "train", "weight": 1.0}


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (scenes), `"smoke"`, or `"triplets"` (your data)."""
    check_variant("clip.py", variant, ("smoke", "triplets"))
    if variant == "triplets":
        return on_triplets("CLIP", {"clip": CLIP}, roles=("caption",))
    return on_scenes("CLIP", {"clip": CLIP}, smoke=variant == "smoke")
