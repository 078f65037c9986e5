"""SemCLIP (arXiv 2511.16527): fine-tunes CLIP on captions, their paraphrases and their negations.

On the built-in scenes, from the small CLIP that comes with the package (front half of the text tower trained):

    python -m jaxclip.main --config=configs/semclip.py --workdir=runs/semclip

On your own table of captions, paraphrases and negations, with images in a folder (whole text tower trained):

    python -m jaxclip.main --config=configs/semclip.py:triplets --workdir=runs/mine --config.model.init=MODEL \
        --config.datasets.triplets.annotations=triplets.csv --config.datasets.triplets.images=photographs

The image tower is frozen. The paper's named runs are settings: --config.objectives.semclip.gamma=0.0 is
paraphrase-only, beta=0.0 negation-only, both zero the baseline.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

SHARED_TEXT_PARAMETERS = (
    "text/token_embedding",
    "text/positional_embedding",
    "text/ln_final",
    "text/text_projection",
    "logit_scale",
)


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (scenes), `"triplets"` (your data), or `"smoke"` (a few steps on few scenes)."""
    if variant not in ("", "triplets", "smoke"):
        raise ValueError(f"configs/semclip.py: unknown variant {variant!r}; known: triplets, smoke")
    config = ConfigDict()
    config.seed = 42
    config.model = ConfigDict({"init": "scenes-base", "dtype": "float32", "remat": True})
    config.objectives = ConfigDict(
        {
            "semclip": {
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
        }
    )
    config.optimizer = ConfigDict(
        {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 0.2, "decay": "all", "clip_norm": 1.0}
    )
    (_on_triplets if variant == "triplets" else _on_scenes)(config, smoke=variant == "smoke")
    config.checkpoint = ConfigDict({"every": 200, "best": "original_over_negation"})
    config.mesh = ConfigDict({"data": -1, "model": 1})
    config.log_every = 10
    return config


def _on_scenes(config: ConfigDict, smoke: bool) -> None:
    config.title = "SemCLIP on scenes"
    sizes = {"train_size": 128, "validation_size": 64, "test_size": 64} if smoke else {}
    config.datasets = ConfigDict({"scenes": {"builder": "scenes", **sizes}})
    config.streams = ConfigDict({"train": {"dataset": "scenes", "split": "train", "batch_size": 64}})
    config.trainable = ("front_text_layers(3)", *SHARED_TEXT_PARAMETERS)
    config.schedule = ConfigDict({"steps": 6 if smoke else 800, "warmup_steps": 3 if smoke else 50})
    tests = ("scenes/test", "scenes/test_templates", "scenes/test_combinations")
    config.evaluation = ConfigDict({"validation": "scenes/validation", "splits": tests, "every": 200})


def _on_triplets(config: ConfigDict, smoke: bool) -> None:
    del smoke
    config.title = "SemCLIP on triplets"
    config.model.init = placeholder(str)  # a model directory; random:ViT-B/32 to try the machinery
    config.datasets = ConfigDict(
        {
            "triplets": {
                "builder": "triplets",
                "annotations": placeholder(str),  # CSV, TSV or JSONL
                "images": placeholder(str),  # the folder that its file names are in
                # Names of columns, where they are not the roles' own (or SemCLIP's: paraphrased, image_number).
                "columns": {role: placeholder(str) for role in ("image", "caption", "paraphrase", "negation")},
                "split_by": "image",
                "on_bad_record": "error",
            }
        }
    )
    config.streams = ConfigDict({"train": {"dataset": "triplets", "split": "train", "batch_size": 256}})
    config.trainable = ("whole_text_layers", *SHARED_TEXT_PARAMETERS)
    config.optimizer.learning_rate = 5e-5
    config.schedule = ConfigDict({"steps": 1000, "warmup_steps": 50})
    config.evaluation = ConfigDict({"validation": "triplets/validation", "splits": ("triplets/test",), "every": 100})
