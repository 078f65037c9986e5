"""The scaling table from made-up cells; nothing is compiled."""

import json

import pytest

from bench import scaling_table

CELL = {
    "streams": {"train": {"batch_size": 512}},
    "memory": {"total": 2_500_000_000},
    "fits": True,
    "flops": {"per_device": 1.25e12, "ratio_to_minimum_and_recomputed": 1.0123},
    "collectives": {"all-reduce": {"sent": 3e6}, "all-gather": {"sent": 1e6}},
    "roofline": {"step": 0.0321, "bound": "memory"},
}
REFUSED = {
    "streams": {"train": {"batch_size": 512}},
    "memory": {"total": 20e9},
    "fits": False,
    "search": {"largest": 96},
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "ViT-L-14_v5e_2x2.json").write_text(json.dumps(REFUSED))
    (tmp_path / "ViT-B-32_v5e_2x2.json").write_text(json.dumps(CELL))
    return tmp_path


def test_finished_cells_become_rows_in_order(folder):
    rows = scaling_table.table(folder).splitlines()[2:]
    assert rows == [
        "| ViT-B-32 | 4 | 512 | 2.50 GB | yes | 1.25 TFLOP | 1.012 | 4.00 MB | 32.10 ms (memory) | – |",
        "| ViT-L-14 | 4 | 512 | 20.00 GB | no | – | – | – | – | 96 |",
    ]


def test_the_largest_batch_has_a_column_only_where_it_was_searched_for(folder):
    (folder / "ViT-L-14_v5e_2x2.json").unlink()
    head, _, row = scaling_table.table(folder).splitlines()
    assert head.count("|") == row.count("|") == 10 and row.endswith("| 32.10 ms (memory) |")


def test_a_finished_cell_is_not_made_again(folder, monkeypatch):
    monkeypatch.setattr(scaling_table.subprocess, "run", lambda *_, **__: pytest.fail("compiled again"))
    assert scaling_table.make("ViT-B-32", "v5e:2x2", folder / "ViT-B-32_v5e_2x2.json", search=False) is None
    assert scaling_table.make("ViT-L-14", "v5e:2x2", folder / "ViT-L-14_v5e_2x2.json", search=True) is None
