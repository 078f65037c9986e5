r"""The benchmarks that CLIP's understanding of negation and paraphrase is measured on.

    python -m jaxclip.evaluate --config=configs/evaluate.py --config.root=benchmarks \
        --checkpoint=ViT-B-32.pt,runs/mine --output=scores

Where each file is expected below `root`, and where it comes from, is in docs/data.md; a path of your own is given as
--config.datasets.ccneg.images=DIR. What is not there is listed, the rest runs. `:ccneg,coco` measures these two alone.

Without any download: `:scenes`, the built-in data. On your photographs: `:photographs` takes captions in COCO's format
(datasets.coco.annotations and .images) and those items of SugarCrepe++ that have their photograph among them
(datasets.sugarcrepe_pp.annotations and .images). `:released` measures what the authors of SemCLIP measured where that
differs: train splits in zero-shot classification, squashed images, and ImageNet's mean and standard deviation.
"""

from ml_collections import ConfigDict
from ml_collections.config_dict import placeholder

from configs.common import check_variant

VARIANTS = ("scenes", "photographs", "released")
SUGARCREPE = ("add_att", "add_obj", "replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
SUGARCREPE_PP = ("replace_att", "replace_obj", "replace_rel", "swap_att", "swap_obj")
# TFDS name -> (its test split, its train split).
ZEROSHOT = {
    "cifar10": ("test", "train"),
    "cifar100": ("test", "train"),
    "oxford_flowers102": ("test", "train"),
    "food101": ("validation", "train"),
    "oxford_iiit_pet": ("test", "train"),
    "imagenet2012": ("validation", "validation"),
}
LAYER_PAIRS = 500


def get_config(variant: str = "") -> ConfigDict:
    """`variant`: `""` (all benchmarks), names of some of them, `"scenes"`, `"photographs"` or `"released"`."""
    config = ConfigDict()
    config.title = "CLIP on negation and paraphrase"
    config.seed = 0
    config.root = "benchmarks"
    config.dtype = "float32"
    config.preprocessing = "checkpoint"
    config.batch_size = 256
    config.mesh = ConfigDict({"data": -1, "model": 1})
    if variant == "scenes":
        datasets, benchmarks = scenes()
    elif variant == "photographs":
        datasets, benchmarks = photographs()
    else:
        datasets, benchmarks = published(train_splits=variant == "released")
    if variant not in ("", *VARIANTS):
        datasets, benchmarks = only(variant.split(","), datasets, benchmarks)
    if variant == "released":
        config.preprocessing = "semclip_released"
    config.datasets = ConfigDict(datasets)
    config.benchmarks = ConfigDict(benchmarks)
    return config


def benchmark(*splits: str, get: str = "", **settings) -> dict:
    """One benchmark: its splits, and where its data comes from."""
    return {"splits": splits, "get": f"{get}; see docs/data.md" if get else "", **settings}


def only(names: list[str], datasets: dict, benchmarks: dict) -> tuple[dict, dict]:
    """These benchmarks, and the data sets that they read."""
    for name in names:
        check_variant("evaluate.py", name, (*VARIANTS, *benchmarks) if len(names) == 1 else tuple(benchmarks))
    chosen = {name: benchmarks[name] for name in benchmarks if name in names}
    used = {split.partition("/")[0] for one in chosen.values() for split in one["splits"]}
    return {name: datasets[name] for name in datasets if name in used}, chosen


def scenes() -> tuple[dict, dict]:
    """The built-in data."""
    benchmarks = {
        f"scenes/{split}": benchmark(f"scenes/{split}", similarities=split == "test", layers=LAYER_PAIRS)
        for split in ("test", "test_templates", "test_combinations")
    }
    sizes = {"train_size": 5000, "validation_size": 512, "test_size": 1024}  # as the training configs have them
    return {"scenes": {"builder": "scenes", **sizes}}, benchmarks


def photographs() -> tuple[dict, dict]:
    """Captions in COCO's format and what SugarCrepe++ has on the same photographs."""

    def given() -> dict:
        return {"annotations": placeholder(str), "images": placeholder(str)}

    skip = {"on_bad_record": "skip", "allow_bad_fraction": 1.0}
    datasets = {
        # All rows in one split; none is kept back for validation or test.
        "coco": {"builder": "coco_captions", "validation": 0.0, "test": 0.0, **given()},
        "sugarcrepe_pp": {"builder": "sugarcrepe_pp", **given(), **skip},
    }
    benchmarks = {
        "captions": benchmark("coco/train"),
        "sugarcrepe_pp": benchmark(*_splits("sugarcrepe_pp", SUGARCREPE_PP), similarities=True),
    }
    return datasets, benchmarks


def published(*, train_splits: bool) -> tuple[dict, dict]:
    """The field's benchmarks, below `root`."""
    datasets = {
        "ccneg": _files("ccneg", "ccneg/ccneg_preprocessed.pt", "ccneg/images"),
        "sugarcrepe": _files("sugarcrepe", "sugarcrepe", "coco/val2017"),
        "sugarcrepe_pp": _files("sugarcrepe_pp", "sugarcrepe_pp", "coco/val2017"),
        "negrefcocog": _files("negrefcocog", "negrefcocog/NegRefCOCOg.json", "coco/train2014"),
        "negbench_mcq": _files("negbench_mcq", "negbench/COCO_val_mcq_llama3.1_rephrased.csv", "coco/val2017"),
        "negbench_retrieval": _files(
            "negbench_retrieval",
            "negbench/COCO_val_negated_retrieval_llama3.1_rephrased_affneg_true.csv",
            "coco/val2017",
        ),
        "coco": _files("karpathy", "karpathy/dataset_coco.json", "coco"),
        "flickr30k": _files("karpathy", "karpathy/dataset_flickr30k.json", "flickr30k/images"),
    }
    names = {"imagenet2012": {"class_names": "{root}/imagenet/class_names.txt"}}
    datasets |= {name: {"builder": "zeroshot", "dataset": name, **names.get(name, {})} for name in ZEROSHOT}
    coco = "images of COCO (cocodataset.org)"
    benchmarks = {
        "ccneg": benchmark(
            "ccneg/test",
            get="File and images are linked from CoN-CLIP's page (github.com/jaisidhsingh/CoN-CLIP)",
            similarities=True,
            layers=LAYER_PAIRS,
        ),
        "sugarcrepe_pp": benchmark(
            *_splits("sugarcrepe_pp", SUGARCREPE_PP), get=f"Five files of github.com/Sri-Harsha/scpp, and {coco}"
        ),
        "sugarcrepe": benchmark(
            *_splits("sugarcrepe", SUGARCREPE), get=f"Seven files of github.com/RAIVNLab/sugar-crepe, and {coco}"
        ),
        "negrefcocog": benchmark("negrefcocog/test", get=f"One file of NegationCLIP (arXiv 2501.10913), and {coco}"),
        "negbench_mcq": benchmark("negbench_mcq/test", get=f"A file of NegBench (arXiv 2501.09425), and {coco}"),
        "negbench_retrieval": benchmark(
            "negbench_retrieval/test", get=f"A file of NegBench (arXiv 2501.09425), and {coco}"
        ),
        "coco": benchmark("coco/test", get=f"Karpathy's splits (cs.stanford.edu/people/karpathy), and {coco}"),
        "flickr30k": benchmark("flickr30k/test", get="Karpathy's splits, and the images of Flickr30k"),
    }
    for name, (test, train) in ZEROSHOT.items():
        split = train if train_splits else test
        benchmarks[name] = benchmark(f"{name}/{split}", get="The test images of the set, by TensorFlow Datasets")
    return datasets, benchmarks


def _files(builder: str, annotations: str, images: str) -> dict:
    return {"builder": builder, "annotations": f"{{root}}/{annotations}", "images": f"{{root}}/{images}"}


def _splits(dataset: str, names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(f"{dataset}/{name}" for name in names)
