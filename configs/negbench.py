"""NegBench's fine-tuning (arXiv 2501.09425): CLIP's loss and, with a small weight, a four-way choice among captions.

python -m jaxclip.main --config=configs/negbench.py --workdir=runs/negbench
"""

from ml_collections import ConfigDict

from configs.common import check_variant, on_scenes

NEGBENCH = {
    "negbench": {
        "objective": "negbench",
        "stream": "train",
        "weight": 1.0,
        "choice_weight": 0.01,
        "choices": ("caption", "negation", "hard_negative", "false_absence"),
    }
}


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (scenes) or `"smoke"`."""
    check_variant("negbench.py", variant, ("smoke",))
    return on_scenes("NegBench fine-tuning", NEGBENCH, smoke=variant == "smoke")
