"""From outcomes to scores.json: intervals, paired comparisons, failures."""

import io

import numpy as np
from PIL import Image

from jaxclip.benchmarks import Measured
from jaxclip.datasets import Split
from jaxclip.evaluate_report import CheckpointResult, evaluation_document, failures
from jaxclip.evaluation.scores import Outcomes, Score


def test_document_compares_each_checkpoint_with_every_earlier_one():
    right = {"A": [1, 1, 0, 0], "B": [1, 1, 1, 0], "C": [1, 1, 1, 1]}
    layers = {"t": {"negation": [Score(0.5, 4, 0.4, 0.6)]}}
    results = {
        name: CheckpointResult({"t": {"itt": Outcomes.of(np.array(one))}}, {}, layers) for name, one in right.items()
    }
    document = evaluation_document(results, {"ccneg": "gone"}, seed=0)
    values = {name: tables["t"]["itt"]["value"] for name, tables in document["checkpoints"].items()}
    assert values == {"A": 0.5, "B": 0.75, "C": 1.0}
    found = {
        (name, other): tables["t"]["itt"]["value"]
        for name, others in document["differences"].items()
        for other, tables in others.items()
    }
    assert found == {("B", "A"): 0.25, ("C", "A"): 0.5, ("C", "B"): 0.25}
    assert document["layers"]["B"]["t"]["negation"] == [{"value": 0.5, "n": 4, "low": 0.4, "high": 0.6}]
    assert document["missing"] == {"ccneg": "gone"}


def test_failures_are_the_widest_margins_of_the_last_checkpoint():
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4)).save(buffer, "PNG")
    records = [{"id": str(n), "image": buffer.getvalue(), "caption": f"c{n}", "negation": f"n{n}"} for n in range(4)]
    split = Split("d/test", records, ("caption", "negation"), "")

    def measured(captions, negations):
        angles = {"caption": np.array(captions), "negation": np.array(negations)}
        texts = {role: np.stack([np.cos(one), np.sin(one)], axis=1) for role, one in angles.items()}
        return Measured({}, {"image": np.array([[1.0, 0.0]]), **texts}, np.zeros(4, int))

    base = measured([0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 1.0, 1.0])
    last = measured([0.5, 0.1, 1.2, np.nan], [0.4, 0.9, 0.2, 0.1])
    found = failures(split, {"base": base, "last": last})
    # Record 1 is right; of record 3 nothing is known.
    assert [entry["texts"] for entry in found] == [
        [("caption", "c2"), ("negation", "n2")],
        [("caption", "c0"), ("negation", "n0")],
    ]
    np.testing.assert_allclose(found[0]["checkpoints"]["last"], np.cos([1.2, 0.2]), atol=1e-6)
    np.testing.assert_allclose(found[0]["checkpoints"]["base"], np.cos([0.0, 1.0]), atol=1e-6)
