"""What each metric of scores.json means, in plain English."""

import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True)
class Metric:
    """How a metric is shown: a short label, the group it is listed under, and one sentence on what it counts."""

    label: str
    group: str
    explanation: str
    lower_is_better: bool = False


def _recall(label: str, query: str, target: str, k: int, group: str = "Retrieval") -> Metric:
    place = "comes first" if k == 1 else f"is among the first {k}"
    return Metric(f"{label} R@{k}", group, f"{query}: {target} {place}")


_ITT = "the image is closer to both its caption and its paraphrase than to {}"
_TOT = "without the image: caption and paraphrase are closer to each other than to {}"

# In the order in which they are shown.
METRICS = {
    "original_over_negation": Metric(
        "Caption over negation", "Negation", "the image is closer to its caption than to the caption's negation"
    ),
    "paraphrase_over_negation": Metric(
        "Paraphrase over negation", "Negation", "the image is closer to the paraphrase than to the caption's negation"
    ),
    "original_over_hard_negative": Metric(
        "Caption over hard negative",
        "Negation",
        "the image is closer to its caption than to a false sentence that has no negation word",
    ),
    "itt": Metric("Image to texts (ITT)", "Negation", _ITT.format("the negation")),
    "tot": Metric("Texts only (TOT)", "Negation", _TOT.format("the negation")),
    "itt_hard": Metric(
        "Image to texts, no negation word", "Negation", _ITT.format("a false sentence that has no negation word")
    ),
    "tot_hard": Metric(
        "Texts only, no negation word", "Negation", _TOT.format("a false sentence that has no negation word")
    ),
    "scaled_negation": Metric(
        "Scaled negation", "Negation", "2 (a − ½), at least 0, of the share a of captions over negations: chance is 0"
    ),
    "semclip_combined": Metric(
        "SemCLIP's combined score", "Negation", "mean of caption R@1, paraphrase R@1 and scaled negation"
    ),
    "mcq_accuracy": Metric("Multiple choice", "Negation", "of four sentences, the image is closest to the true one"),
    "box_accuracy": Metric(
        "Phrase to box", "Negation", "of two boxes in an image, a phrase with a negation is closest to the one it means"
    ),
    "absence_accuracy": Metric(
        "True over false absence",
        "Absence",
        "the image is closer to a sentence that truly says what is missing than to one that denies what is there",
    ),
    "minimal_absence_accuracy": Metric(
        "True over false absence, short", "Absence", "the same with two short sentences that differ in one thing"
    ),
    "absence_to_image_r1": _recall(
        "Absence → image", "search with a sentence that says what is missing", "the right image", 1, "Absence"
    ),
    **{
        f"negated_retrieval_r{k}": _recall(
            "Negated query → image", "search with a negated query", "the right image", k, "Absence"
        )
        for k in (1, 5)
    },
    **{
        f"caption_to_image_r{k}": _recall("Caption → image", "search with the caption", "the right image", k)
        for k in (1, 5, 10)
    },
    **{
        f"image_to_caption_r{k}": _recall("Image → caption", "search with the image", "one of its captions", k)
        for k in (1, 5, 10)
    },
    **{
        f"paraphrase_to_image_r{k}": _recall("Paraphrase → image", "search with the paraphrase", "the right image", k)
        for k in (1, 5)
    },
}

# What an overview shows of a benchmark.
_MAIN = (
    "original_over_negation", "mcq_accuracy", "box_accuracy", "itt", "itt_hard", "original_over_hard_negative",
    "absence_accuracy", "negated_retrieval_r1", "caption_to_image_r1",
)  # fmt: skip

_ZEROSHOT = "zeroshot_"
_MCQ_TEMPLATE = "mcq_accuracy_"


def describe(name: str) -> Metric:
    """The description of a metric of scores.json; an unknown name stands for itself.

    Args:
      name: such as `itt` or `zeroshot_cifar10_negated`.
    """
    if name in METRICS:
        return METRICS[name]
    if name.startswith(_MCQ_TEMPLATE):
        template = name.removeprefix(_MCQ_TEMPLATE)
        return Metric(
            f"Multiple choice, {template}", "Negation", f"the same where the answer is of the kind “{template}”"
        )
    if not name.startswith(_ZEROSHOT):
        return Metric(name, "Other", "")
    dataset = name.removeprefix(_ZEROSHOT)
    if name.endswith("_negated"):
        label = f"{dataset.removesuffix('_negated')}, negated prompts"
        return Metric(label, "Zero-shot", "“not a photo of a …” still picks the class", lower_is_better=True)
    if name.endswith("_delta"):
        label = f"{dataset.removesuffix('_delta')}, difference"
        return Metric(label, "Zero-shot", "plain minus negated: high when the model heeds the “not”")
    if name.endswith("_ensemble"):
        label = f"{dataset.removesuffix('_ensemble')}, published templates"
        return Metric(label, "Zero-shot", "the mean of a class's prompts picks the right class")
    return Metric(f"{dataset}, plain prompts", "Zero-shot", "“a photo of a …” picks the right class")


def main_metric(names: Sequence[str]) -> str:
    """The metric that stands for a benchmark with these metrics."""
    return next((name for name in _MAIN if name in names), names[0])


def position(name: str) -> float:
    """Sort key that brings metrics into the order of `METRICS`, then zero-shot, then the unknown ones."""
    if name in METRICS:
        return list(METRICS).index(name)
    if name.startswith(_MCQ_TEMPLATE):
        return list(METRICS).index("mcq_accuracy") + 0.5  # below the total
    return len(METRICS) + (not name.startswith(_ZEROSHOT))
