"""Trains the small CLIP of the built-in data from scratch, with plain InfoNCE: the base model of the other configs.

    python -m jaxclip.main --config=configs/pretrain_scenes.py --workdir=runs/pretrain_scenes

Some captions mention absences, so the model knows the words; like the real CLIP, it learns to ignore what they mean.
Scenes are drawn afresh for each step. The first ones show a single object: without that stage, shapes stay near chance.
"""

from ml_collections import ConfigDict

BATCH_SIZE = 128
STEPS = 2000
SINGLE_OBJECT_STEPS = 500


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` for the shipped model, `"smoke"` for a few steps."""
    if variant not in ("", "smoke"):
        raise ValueError(f"configs/pretrain_scenes.py: unknown variant {variant!r}; known: smoke")
    steps = 20 if variant == "smoke" else STEPS
    config = ConfigDict()
    config.title = "Small CLIP from scratch on scenes"
    config.seed = 0
    config.model = ConfigDict({"init": "random:scenes", "tokenizer": "train:pretraining", "remat": "full"})
    config.datasets = ConfigDict(
        {
            "pretraining": {
                "builder": "pretraining_scenes",
                "size": BATCH_SIZE * steps,
                "single_object": BATCH_SIZE * min(SINGLE_OBJECT_STEPS, steps // 2),
            },
            "scenes": {"builder": "scenes"},
        }
    )
    config.streams = ConfigDict(
        {"train": {"dataset": "pretraining", "split": "train", "batch_size": BATCH_SIZE, "shuffle": False}}
    )
    config.objectives = ConfigDict({"clip": {"objective": "clip", "stream": "train", "weight": 1.0}})
    config.trainable = ("*",)
    config.optimizer = ConfigDict(
        {
            "name": "muon",
            "learning_rate": 4e-3,
            "b2": 0.98,
            "eps": 1e-6,
            "weight_decay": 0.05,
            "decay": "matrices",
            "clip_norm": 1.0,
        }
    )
    config.schedule = ConfigDict({"steps": steps, "warmup_steps": min(100, steps // 4)})
    config.evaluation = ConfigDict(
        {
            "validation": "scenes/validation",
            "splits": ("scenes/test", "scenes/test_templates", "scenes/test_combinations"),
            "every": 250,
        }
    )
    config.checkpoint = ConfigDict({"every": 250, "best": "caption_to_image_r1"})
    return config
