"""Names of machines, right and wrong."""

import importlib.util

import pytest

from jaxclip.planning.abstract_step import text_rows, variant
from jaxclip.planning.errors import PlanError
from jaxclip.planning.topology import open_topology


@pytest.mark.parametrize("name", ["v5e", "v5e:3x3", "v5e:2x2x1", "v9:2x2", "cpu", "cpu:0", "cpu:x", ""])
def test_an_unknown_name_lists_the_known_ones(name):
    with pytest.raises(PlanError, match=r"(?s)is not known; expected cpu:N.*v5e: 1x1, 2x2.*v5p: 2x2x1.*v6e: 1x1"):
        open_topology(name)


def test_without_the_tpu_compiler_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(PlanError, match='pip install "libtpu'):
        open_topology("v5e:4x4")


def test_architectures_by_name():
    assert variant("ViT-L-14").vision.width == 1024
    assert variant("ViT-L/14") == variant("ViT-L-14")
    with pytest.raises(PlanError, match="'ViT-L-15' is not known; expected one of RN50, .*ViT-L-14"):
        variant("ViT-L-15")


def test_rows_hold_the_texts_with_little_to_spare():
    # 384 texts of 14 tokens are 5,376 tokens: 69.8 rows of 77 at best.
    assert 70 <= text_rows(384, 14, 77) <= 76
    assert text_rows(1, 14, 77) == 2  # the fewest that there are, see `bucket`
    assert text_rows(10, 77, 77) == 10


@pytest.mark.parametrize("tokens", [0, 1.5, 78])
def test_captions_that_are_impossible(tokens):
    with pytest.raises(PlanError, match=r"--tokens_per_caption: found .*, expected 2 .* to 77"):
        text_rows(8, tokens, 77)
