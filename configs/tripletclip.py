"""TripletCLIP (arXiv 2411.02545): negations with images of their own.

    python -m jaxclip.main --config=configs/tripletclip.py --workdir=runs/tripletclip

The images of the negations are the scenes' `distractor_image`s: the negation is true of them.
"""

from ml_collections import ConfigDict

from configs.common import check_variant, on_scenes

TRIPLETCLIP = {"tripletclip": {"objective": "tripletclip", "stream": "train", "weight": 1.0}}


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (scenes) or `"smoke"`."""
    check_variant("tripletclip.py", variant, ("smoke",))
    return on_scenes("TripletCLIP", TRIPLETCLIP, smoke=variant == "smoke")
