"""SemCLIP (arXiv 2511.16527): fine-tunes CLIP on captions, their paraphrases and their negations.

    python -m jaxclip.main --config=configs/semclip.py --workdir=runs/semclip

On the built-in scenes, from the small CLIP that comes with the package. The image tower is frozen; the front half of the
text tower is trained. The paper's named runs are settings: --config.objectives.semclip.gamma=0.0 is paraphrase-only,
beta=0.0 negation-only, both zero the baseline.
"""

from ml_collections import ConfigDict

STEPS = {"": 400, "smoke": 6}


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""`, or `"smoke"` for a few steps on little data."""
    smoke = variant == "smoke"
    config = ConfigDict()
    config.title = "SemCLIP on scenes"
    config.seed = 42
    config.model = ConfigDict({"init": "scenes-base", "dtype": "float32", "remat": True})

    sizes = {"train_size": 128, "validation_size": 64, "test_size": 64} if smoke else {}
    config.datasets = ConfigDict({"scenes": {"builder": "scenes", **sizes}})
    config.streams = ConfigDict({"train": {"dataset": "scenes", "split": "train", "batch_size": 64}})

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
    config.trainable = (
        "front_text_layers(3)",
        "text/token_embedding",
        "text/positional_embedding",
        "text/ln_final",
        "text/text_projection",
        "logit_scale",
    )
    config.optimizer = ConfigDict(
        {"name": "adamw", "learning_rate": 2e-3, "weight_decay": 0.2, "decay": "all", "clip_norm": 1.0}
    )
    config.schedule = ConfigDict({"steps": STEPS[variant], "warmup_steps": 3 if smoke else 50})

    config.evaluation = ConfigDict(
        {
            "validation": "scenes/validation",
            "splits": ("scenes/test", "scenes/test_templates", "scenes/test_combinations"),
            "every": 100,
        }
    )
    config.checkpoint = ConfigDict({"every": 100, "best": "original_over_negation"})
    return config
