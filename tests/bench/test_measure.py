"""The benches' own parts: made-up captions are as long as the real ones, times are taken in turn, the page says all."""

import json
from pathlib import Path

import numpy as np
import pytest

from bench import captions, measure, report
from jaxclip.data.tokenizer import Tokenizer

SUGARCREPE_PP = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "sugarcrepe_pp"
KEYS = {"caption": "caption", "paraphrase": "caption2", "negation": "negative_caption"}


@pytest.mark.skipif(not SUGARCREPE_PP.exists(), reason="needs SugarCrepe++")
@pytest.mark.parametrize("role", KEYS)
def test_length_counts_are_those_of_sugarcrepe_pp(role):
    texts = [row[KEYS[role]] for path in sorted(SUGARCREPE_PP.glob("*.json")) for row in json.loads(path.read_text())]
    lengths = [len(ids) for ids in Tokenizer.clip().ids(texts)]
    assert tuple(np.bincount(lengths)[captions.FEWEST_TOKENS :]) == captions.LENGTH_COUNTS[role]
    assert min(lengths) >= captions.FEWEST_TOKENS


def test_random_ids_and_texts_are_as_long_as_each_other():
    tokenizer = Tokenizer.clip()
    ids = captions.random_ids("caption", 50, seed=3)
    assert [len(text) for text in tokenizer.ids(captions.random_texts("caption", 50, seed=3))] == [*map(len, ids)]
    assert all(text[0] == tokenizer.start_id and text[-1] == tokenizer.end_id for text in ids)
    rows = captions.one_a_row(ids, 77)
    assert rows.shape == (50, 77) and [int(row.argmax()) + 1 for row in rows] == [len(text) for text in ids]


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
        "embedding_texts": {**about, "ratio": 12.0, "goal": 5.0, "seconds": sides, "largest_difference": 3e-7},
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
    assert "| ≥ 5 | 3.0e-07 in embeddings of length 1 |" in text
    assert "1.050 with 3 programs at 16" in text and "| 60% | ≥ 60 % |" in text and "jax 1" in text
    assert (tmp_path / "images" / "speed_growth.png").stat().st_size > 5000
    path.write_text(text.replace("# Speed", "# Speed\n\nBy hand."))
    report.write(path, results)
    assert "By hand." in path.read_text() and path.read_text().count(report.MARKER) == 1
