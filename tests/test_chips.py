"""The table of chips against the makers' pages."""

import pytest

from jaxclip.chips import CHIPS, peak_flops


def test_every_planned_chip_names_googles_page():
    for name, chip in CHIPS.items():
        assert chip.source == f"https://cloud.google.com/tpu/docs/{name}"


@pytest.mark.parametrize(
    ("kind", "flops"),
    [
        ("TPU v2", 45e12 / 2),  # the maker's figure is of a chip, which is two of JAX's devices
        ("TPU v3", 123e12 / 2),
        ("TPU v4", 275e12),
        ("TPU v5 lite", 197e12),
        ("TPU v5", 459e12),
        ("TPU v6 lite", 918e12),
        ("Tesla T4", 65e12),
    ],
)
def test_peaks_are_found_by_jaxs_names(kind, flops):
    assert peak_flops(kind) == flops


@pytest.mark.parametrize("kind", ["cpu", "TPU v99", "NVIDIA GeForce RTX 4090"])
def test_the_peak_of_an_unknown_device_is_not_guessed(kind):
    assert peak_flops(kind) is None
