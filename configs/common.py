"""What the method configs share: the parts around the objectives."""

from collections.abc import Mapping, Sequence

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

# What stands behind the text layers, and with the embeddings before them: what the papers train beside the layers.
TEXT_HEAD = ("text/ln_final", "text/text_projection", "logit_scale")
SHARED_TEXT_PARAMETERS = ("text/token_embedding", "text/positional_embedding", *TEXT_HEAD)
# What to do about rows and images that cannot be used: "error" or "skip", up to this share.
BAD_RECORDS = {"on_bad_record": "error", "allow_bad_fraction": 0.01}
# What a config does not set; clip_norm: no clipping.
OPTIMIZER = {
    "name": "adamw",
    "b1": 0.9,
    "b2": 0.999,
    "eps": 1e-8,
    "weight_decay": 0.2,
    "decay": "all",
    "clip_norm": placeholder(float),
    "accumulate": 1,
}
Settings = Mapping[str, Mapping]  # section → its settings


def check_variant(file: str, variant: str, known: Sequence[str]) -> None:
    """Raises ValueError for a variant that the config does not have."""
    if variant and variant not in known:
        raise ValueError(f"configs/{file}: unknown variant {variant!r}; known: {', '.join(known)}")


def fine_tuning(
    title: str,
    objectives: Settings,
    *,
    init: str | None,
    datasets: Settings,
    streams: Settings,
    trainable: Sequence[str],
    optimizer: Mapping,
    schedule: Mapping,
    evaluation: Mapping,
) -> ConfigDict:
    """A config with the usual optimiser and the parts that hardly vary."""
    config = ConfigDict()
    config.title = title
    config.seed = 42
    config.model = ConfigDict(
        {
            # A model directory or checkpoint file; random:ViT-B/32 tries the machinery.
            "init": init or placeholder(str),
            "dtype": "float32",
            "remat": "full",
            "preprocessing": "checkpoint",
            "reset_logit_scale": False,
            "clamp_logit_scale": True,
        }
    )
    config.datasets = ConfigDict({name: dict(settings) for name, settings in datasets.items()})
    config.streams = ConfigDict({name: {"split": "train", **settings} for name, settings in streams.items()})
    config.objectives = ConfigDict({label: dict(settings) for label, settings in objectives.items()})
    config.trainable = tuple(trainable)
    config.optimizer = ConfigDict({**OPTIMIZER, **optimizer})
    config.schedule = ConfigDict(dict(schedule))
    config.evaluation = ConfigDict(dict(evaluation))
    config.checkpoint = ConfigDict({"every": 200, "best": "original_over_negation"})
    # Worker processes are for images that each step decodes: a trained image tower, or augmentation.
    config.pipeline = ConfigDict({"threads": 2, "workers": 0})
    config.mesh = ConfigDict({"data": -1, "model": 1, "parameters": "replicated"})
    config.microbatch = placeholder(int)
    config.loss_chunk = placeholder(int)
    config.failure = ConfigDict(
        {"skip_bad_steps": 0, "max_gradient_norm": placeholder(float), "peer_timeout": 90.0, "hang_timeout": 1800.0}
    )
    config.log_every = 10
    return config


def on_scenes(title: str, objectives: Settings, *, smoke: bool = False) -> ConfigDict:
    """A method on the built-in scenes: the front half of the text tower of the small CLIP, 400 steps of 64 records.

    Every stream that the objectives name is a shuffle of its own of the training split.
    """
    sizes = {"train_size": 128, "validation_size": 64, "test_size": 64} if smoke else {}
    config = fine_tuning(
        f"{title} on scenes",
        objectives,
        init="scenes-base",
        datasets={"scenes": {"builder": "scenes", **sizes}},
        streams={objective["stream"]: {"dataset": "scenes", "batch_size": 64} for objective in objectives.values()},
        # Without the embeddings more of what the model knew of unseen words is kept (docs/results.md).
        trainable=("front_text_layers(3)", *TEXT_HEAD),
        # The papers' decay, 0.2 × a rate of 1e-6 to 5e-5, hardly moves a weight; at 2e-3 it would shrink them all.
        optimizer={"learning_rate": 2e-3, "weight_decay": 0.0, "clip_norm": 1.0},
        schedule={"steps": 6 if smoke else 400, "warmup_steps": 3 if smoke else 40},
        evaluation={
            "validation": "scenes/validation_templates",
            "splits": ("scenes/test", "scenes/test_templates", "scenes/test_combinations"),
            "every": 200,
        },
    )
    config.model.remat = "none"  # all activations of the small model take 0.1 GB, recomputing them a sixth of the time
    return config


def on_triplets(title: str, objectives: Settings, *, roles: Sequence[str]) -> ConfigDict:
    """A method on the user's own table of captions, with images in a folder.

    `model.init`, `annotations` and `images` have to be given on the command line.
    """
    triplets = {
        "builder": "triplets",
        "annotations": placeholder(str),  # CSV, TSV, JSONL or Parquet
        "images": placeholder(str),  # the folder, zip or tars that its file names are in
        # Names of columns, where they are not the roles' own (or SemCLIP's: paraphrased, image_number).
        "columns": {role: placeholder(str) for role in ("image", *roles)},
        "split_by": "image",
        **BAD_RECORDS,
    }
    return on_own_data(title, objectives, "triplets", triplets)


def on_own_data(title: str, objectives: Settings, name: str, dataset: Mapping) -> ConfigDict:
    """A method on a data set with the splits train, validation and test; `model.init` has to be given."""
    return fine_tuning(
        f"{title} on {name}",
        objectives,
        init=None,
        datasets={name: dataset},
        streams={objective["stream"]: {"dataset": name, "batch_size": 256} for objective in objectives.values()},
        trainable=("whole_text_layers", *SHARED_TEXT_PARAMETERS),
        optimizer={"learning_rate": 5e-5, "clip_norm": 1.0},
        schedule={"steps": 1000, "warmup_steps": 50},
        evaluation={"validation": f"{name}/validation", "splits": (f"{name}/test",), "every": 100},
    )


def ccneg(**settings) -> dict:
    """CC-Neg; `annotations` and `images` have to be given on the command line."""
    return {"builder": "ccneg", "annotations": placeholder(str), "images": placeholder(str), **BAD_RECORDS, **settings}


def coco_absences(test: float) -> dict:
    """NegationCLIP's captions of COCO train2014; `annotations` and `images` have to be given on the command line.

    `test` is the share of images that is held out for scores; all others are trained on.
    """
    return {
        "builder": "coco_captions",
        "annotations": placeholder(str),
        "images": placeholder(str),
        "absence": True,
        "validation": 0.0,
        "test": test,
        **BAD_RECORDS,
    }
