"""The benches' own parts: captions are SugarCrepe++'s, times are taken in turn, the page says all."""

import functools
import json
from pathlib import Path

import numpy as np
import pytest

from bench import captions, measure, report
from jaxclip.data.tokenizer import Tokenizer

SUGARCREPE_PP = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sugarcrepe_pp"
KEYS = {"caption": "caption", "paraphrase": "caption2", "negation": "negative_caption"}


@pytest.mark.skipif(not SUGARCREPE_PP.exists(), reason="needs SugarCrepe++")
def test_the_captions_that_come_along_are_those_of_sugarcrepe_pp():
    files = sorted(SUGARCREPE_PP.glob("*.json"))
    expected = [
        {role: row[key] for role, key in KEYS.items()} for path in files for row in json.loads(path.read_text())
    ]
    assert len(expected) == 4757
    by_text = functools.partial(sorted, key=lambda record: tuple(record.values()))
    assert by_text(captions.records()) == by_text(expected)


def test_captions_are_taken_in_order_and_begin_again_behind_the_last():
    count = len(captions.records())
    assert captions.texts("caption", 3, start=count - 1) == [
        captions.records()[number]["caption"] for number in (count - 1, 0, 1)
    ]
    assert captions.texts("negation", 5)[2:] == captions.texts("negation", 3, start=2)


def test_ids_are_those_of_the_texts():
    ids = captions.ids("caption", 50)
    rows = captions.one_a_row(ids, 77)
    np.testing.assert_array_equal(rows, Tokenizer.clip()(captions.texts("caption", 50)))


def test_functions_are_called_in_turn_and_the_second_call_of_each_round_counts():
    called = []
    functions = {name: (lambda name=name: called.append(name)) for name in ("a", "b")}
    seconds = measure.in_turn(functions, rounds=3)
    assert called == ["a", "a", "b", "b"] * 3
    assert {name: len(values) for name, values in seconds.items()} == {"a": 3, "b": 3}


def test_ratio_is_the_median_over_rounds():
    assert measure.ratio([10.0, 30.0, 12.0], [1.0, 2.0, 4.0]) == 10.0  # of 10, 15 and 3


def times(median):
    return {"median": median, "least": median / 2, "most": 2 * median}


def test_the_page_has_every_result_and_keeps_what_was_written_by_hand(tmp_path):
    about = {
        "command": "python -m bench.x",
        "load": 0.5,
        "machine": {"processor": "2 × fast", "versions": {"jax": "1"}},
    }
    sides = {"peer": times(9.0), "jaxclip": times(0.75)}
    results = {
        "training_step_semclip": {
            **about,
            "ratio": 12.0,
            "goal": 12.0,
            "seconds": sides,
            "losses": {"peer": [1.5, 1.25], "jaxclip": [1.5, 1.25 + 2**-20]},
            "share_of_matmul_peak": 0.6,
        },
        "embedding_texts": {
            **about,
            "ratio": 12.0,
            "goal": 5.0,
            "ratio_to_hugging_face": 4.0,
            "seconds": {**sides, "hugging_face": times(3.0)},
            "items": 1536,
            "largest_difference": 3e-7,
            "largest_difference_to_hugging_face": 2e-7,
        },
        "checkpoint": {
            **about,
            "stall_by_step": 0.01,
            "every": 100,
            "share_of_time": 0.0055,
            "bytes_by_trained_state": 0.7,
        },
        "products": {**about, "ratio": 0.75, "gflops": {"torch": 240.2, "xla": 180.4}, "seconds": {}},
        "packing": {**about, "batch_16": {"computed_by_real_tokens": 1.05, "programs": 3}},
        "growth": {
            **about,
            "step_seconds_by_batch": {"16": 1.0, "32": 2.0},
            "step_seconds_by_front_layers": {"1": 0.5, "12": 1.0},
            "loss_bytes_by_batch": {"1024": 2**22, "2048": 2**24},
            "chunked_loss_bytes_by_batch": {"1024": 2**20, "2048": 2**21},
        },
    }
    path = tmp_path / "speed.md"
    report.write(path, results)
    text = path.read_text()
    assert "| 9 s (4.5–18) | 0.75 s (0.375–1.5) | **12.0** | ≥ 12 | 9.5e-07 in losses of 1.50 |" in text
    assert "| ≥ 5 | 3.0e-07 in embeddings of length 1 |" in text and "embedding 1,536 texts" in text
    assert "| 3 s (1.5–6) | 0.75 s (0.375–1.5) | **4.00** | – | 2.0e-07 in embeddings of length 1 |" in text
    assert "of the time at one checkpoint in 100 steps | 0.55% |" in text
    assert "| 0.75 (180 GFLOP/s, 240 GFLOP/s) | – |" in text
    assert "1.050 with 3 programs at 16" in text and "| 60% | ≥ 60 % |" in text and "jax 1" in text
    assert (tmp_path / "images" / "speed_growth.png").stat().st_size > 5000
    path.write_text(text.replace("# Speed", "# Speed\n\nBy hand."))
    report.write(path, results)
    assert "By hand." in path.read_text() and path.read_text().count(report.MARKER) == 1
