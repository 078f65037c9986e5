"""What is trained: names and patterns to disjoint leaves, the published counts, the start-up table."""

import functools

import jax
import numpy as np
import pytest

from jaxclip.model import VARIANTS, ModelConfig, ResNetConfig, TextConfig, init_params
from jaxclip.training.trainable import (
    TrainableError,
    flatten,
    group_by_pattern,
    matches,
    merge,
    partition,
    text_layers,
    trainable_table,
)

# Omni-NegCLIP's choice (arXiv 2603.29258): 44,513,793 of ViT-B/32's 151,277,313 parameters.
OMNI_NEGCLIP = (
    "front_text_layers(6)",
    "text/token_embedding",
    "text/positional_embedding",
    "text/ln_final",
    "text/text_projection",
    "logit_scale",
)


@pytest.fixture(scope="module")
def shapes():
    """ViT-B/32's parameters as shapes."""
    return flatten(jax.eval_shape(functools.partial(init_params, VARIANTS["ViT-B/32"]), jax.random.key(0)))


@pytest.fixture(scope="module")
def resnet():
    """A CLIP with a small modified ResNet, as shapes; its leaves are named as RN50's."""
    config = ModelConfig(8, ResNetConfig(32, 8, (1, 1, 1, 1), heads=4), TextConfig(8, 16, 8, 1, 1))
    return flatten(jax.eval_shape(functools.partial(init_params, config), jax.random.key(0)))


def count(params):
    return sum(leaf.size for leaf in params.values())


def test_front_layers_of_the_paper(shapes):
    trained, frozen = partition(shapes, OMNI_NEGCLIP)
    assert count(trained) == 44_513_793 and count(trained) + count(frozen) == 151_277_313
    assert text_layers(trained) == [0, 1, 2, 3, 4, 5]
    assert text_layers(frozen) == [6, 7, 8, 9, 10, 11]


@pytest.mark.parametrize(
    ("pattern", "layers"),
    [
        ("front_text_layers(1)", [0]),
        ("middle_text_layers(4)", [4, 5, 6, 7]),
        ("back_text_layers(4)", [8, 9, 10, 11]),
        ("front_text_layers(12)", list(range(12))),
        ("whole_text_layers", list(range(12))),
        ("text/transformer/resblocks_1", [1]),
        ("text/transformer/resblocks_1*", [1, 10, 11]),
        ("text", list(range(12))),
        ("text/*/ln_?/*", list(range(12))),
    ],
)
def test_patterns_name_layers(shapes, pattern, layers):
    found = matches(pattern, list(shapes))
    assert text_layers(found) == layers
    if pattern.endswith("layers(4)"):
        assert len(found) == 4 * 12  # 12 leaves a layer, and nothing outside the layers


def test_a_name_is_a_whole_leaf_or_module(shapes):
    assert matches("logit_scale", list(shapes)) == ["logit_scale"]
    assert sorted(matches("text/ln_final", list(shapes))) == ["text/ln_final/bias", "text/ln_final/scale"]
    assert matches("text/ln_final/", list(shapes)) == matches("text/ln_final", list(shapes))
    assert all(path.startswith("visual/") for path in matches("visual", list(shapes)))
    assert matches("*", list(shapes)) == list(shapes)


@pytest.mark.parametrize("pattern", ["visual", "visual/*", "*", "*/bn1/*"])
def test_statistics_of_batch_normalisation_are_never_trained(pattern, resnet):
    trained, frozen = partition(resnet, [pattern])
    assert "visual/bn1/scale" in trained and "visual/layer1_0/bn1/bias" in trained
    assert not any(path.endswith(("/mean", "/var")) for path in trained)
    statistics = [path for path in frozen if path.endswith(("/mean", "/var"))]
    # Three batch norms in the stem and in each of 4 bottlenecks, one in each of 4 shortcuts; two statistics each.
    assert len(statistics) == 2 * (3 + 4 * 3 + 4)
    if pattern == "*":
        assert set(statistics) == set(frozen)


def test_a_statistic_by_its_name_is_an_error(resnet):
    with pytest.raises(TrainableError, match="'visual/bn1/mean': .* is a statistic of batch normalisation, never"):
        partition(resnet, ["visual/bn1/mean"])


def test_a_pattern_that_matches_nothing_is_an_error_with_near_names(shapes):
    with pytest.raises(TrainableError, match="'text/ln_finale' matches no parameter; near: .*text/ln_final"):
        partition(shapes, ["text/ln_finale"])
    with pytest.raises(TrainableError, match="'qqqqqq' matches no parameter$"):
        partition(shapes, ["qqqqqq"])
    with pytest.raises(TrainableError, match="near: .*front_text_layers"):
        partition(shapes, ["front_text_layer(3)"])


def test_a_leaf_that_two_patterns_match_is_an_error(shapes):
    with pytest.raises(
        TrainableError, match="'text/ln_final/.*' is matched twice: by 'text/ln_final' and by 'text/ln_.*'"
    ):
        partition(shapes, ["text/ln_final", "text/ln_*"])
    with pytest.raises(TrainableError, match="matched twice"):
        group_by_pattern(["front_text_layers(6)", "middle_text_layers(4)"], list(shapes))


@pytest.mark.parametrize("pattern", ["front_text_layers(0)", "back_text_layers(13)"])
def test_layer_counts_out_of_range_are_errors(shapes, pattern):
    with pytest.raises(TrainableError, match="12 layers, expected a count from 1 to 12"):
        partition(shapes, [pattern])


def test_an_empty_list_is_an_error(shapes):
    with pytest.raises(TrainableError, match="empty list"):
        partition(shapes, [])


def test_partition_and_merge_are_inverse(tiny_params):
    trained, frozen = partition(tiny_params, ["text/transformer", "logit_scale"])
    assert not trained.keys() & frozen.keys()
    merged = flatten(merge(trained, frozen))
    assert merged.keys() == tiny_params.keys()
    assert all(merged[path] is leaf for path, leaf in tiny_params.items())


def test_table_counts_every_parameter_once(shapes):
    trained, frozen = partition(shapes, OMNI_NEGCLIP)
    *rows, total = trainable_table(trained, frozen).splitlines()
    cells = [row.split() for row in rows]
    assert total.split() == ["trained", "44,513,793", "of", "151,277,313", "(29.4", "%)"]
    sums = {"trained": 0, "frozen": 0}
    for _, size, status in cells:
        sums[status] += int(size.replace(",", ""))
    assert sums == {"trained": 44_513_793, "frozen": 151_277_313 - 44_513_793}
    names = [name for name, _, _ in cells]
    assert len(set(names)) == len(names) == 4 + 1 + 12 + 1
    order = [name for name in names if "resblocks" in name]
    assert order == [f"text/transformer/resblocks_{layer}" for layer in range(12)]
    assert ["visual", "87,849,216", "frozen"] in cells
    assert ["logit_scale", "1", "trained"] in cells


def test_a_group_of_which_a_part_is_trained_has_two_rows(tiny_params):
    trained, frozen = partition(tiny_params, ["text/transformer/resblocks_1/mlp"])
    rows = [row.split() for row in trainable_table(trained, frozen).splitlines()]
    statuses = [status for name, _, status in rows[:-1] if name == "text/transformer/resblocks_1"]
    assert sorted(statuses) == ["frozen", "trained"]
    assert np.sum([leaf.size for leaf in trained.values()]) == 32 * 128 + 128 + 128 * 32 + 32
