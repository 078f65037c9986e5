import numpy as np
import pytest


def score(value, low=None, high=None, n=1000):
    return {"value": value, "n": n, "low": value - 0.02 if low is None else low, "high": high or value + 0.02}


@pytest.fixture
def document():
    """Two checkpoints, two splits; every verdict occurs, and the second split knows one metric of `final` only."""
    return {
        "checkpoints": {
            "final": {
                "test": {
                    "zeroshot_cifar10": score(0.90),
                    "zeroshot_cifar10_negated": score(0.30),
                    "zeroshot_cifar10_delta": score(-0.005),
                    "caption_to_image_r1": score(0.50),
                    "original_over_negation": score(0.781),
                    "absence_accuracy": score(0.51),
                    "itt": score(0.40),
                    "mystery": score(0.25),
                },
                "CC-Neg / test": {"tot": score(0.9, n=40_000), "itt": score(0.8, n=40_000)},
            },
            "base": {
                "test": {
                    "zeroshot_cifar10": score(0.90),
                    "zeroshot_cifar10_negated": score(0.70),
                    "zeroshot_cifar10_delta": score(0.2),
                    "caption_to_image_r1": score(0.60),
                    "original_over_negation": score(0.681),
                    "absence_accuracy": score(0.50),
                    "itt": score(0.41),
                    "mystery": score(0.25),
                },
                "CC-Neg / test": {"itt": score(0.7, n=40_000)},
            },
        }
    }


@pytest.fixture
def similarities():
    generator = np.random.default_rng(0)
    return {
        name: {role: generator.normal(mean, 0.03, 200) for role in ("caption", "paraphrase", "negation", "absence")}
        for name, mean in (("base", 0.3), ("final", 0.1))
    }
