"""The search for a batch, the roofline, and the numbers in the table."""

import pytest

from jaxclip.chips import CHIPS
from jaxclip.planning.compiling import read_refusal
from jaxclip.planning.roofline import roofline
from jaxclip.planning.search import Trial, largest_that_fits
from jaxclip.planning.table import quantity


def memory_of(size: int, limit: int, form: str) -> float | None:
    """Bytes of a program, 1000 at the first size beyond the limit; None where the compiler says nothing."""
    return {
        "straight": 100 + 900 * size / (limit + 1),
        "bent": 1000 * (size / (limit + 1)) ** 2,
        "steps": 999 * (size > limit) + 1,
        "silent": None,
        "crashes when refusing": None if size > limit else 100 + 900 * size / (limit + 1),
    }[form]


@pytest.mark.parametrize("form", ["straight", "bent", "steps", "silent", "crashes when refusing"])
@pytest.mark.parametrize("limit", [0, 1, 2, 7, 100, 777, 4096])
@pytest.mark.parametrize("start", [1, 64, 10_000])
def test_the_largest_batch_is_bracketed_to_a_sixteenth(limit, start, form):
    tried = []

    def attempt(size):
        tried.append(size)
        return Trial(size <= limit, memory_of(size, limit, form), 1000)

    low, high, trials = largest_that_fits(attempt, start)
    assert low <= limit < high
    assert high - low <= max(1, low // 16)
    assert len(tried) == len(set(tried)) < 24  # nothing is compiled twice
    assert list(trials) == tried
    if form == "straight" and start == 64 and limit > start:
        assert len(tried) <= 5


def test_the_search_knows_the_compilers_own_limit_from_a_refusal():
    # The chip is sold with 1000 bytes, programs get 1100; 2 bytes a record, so 550 records fit.
    tried = []

    def attempt(size):
        tried.append(size)
        return Trial(size <= 550, 2 * size, 1000 if size <= 550 else 1100)

    low, high, _ = largest_that_fits(attempt, 100)
    assert low <= 550 < high and len(tried) <= 5


def test_a_compiler_that_saves_memory_near_the_end_is_not_followed_in_small_steps():
    # 1 byte a record up to 900 of 1000 bytes, then a tenth as much: twice as many records fit as the line says.
    tried = []

    def attempt(size):
        tried.append(size)
        return Trial(size <= 1900, min(size, 900 + (size - 900) / 10), 1000)

    low, high, _ = largest_that_fits(attempt, 100)
    assert low <= 1900 < high and len(tried) <= 9


def test_a_crash_counts_as_not_found_to_fit():
    low, high, trials = largest_that_fits(lambda size: Trial(size < 8, None if size >= 8 else size, 1000), 1)
    assert (low, high) == (7, 8) and trials[8].needed is None


def test_the_slowest_bound_rules():
    # By hand for a v5e: 197e12 FLOP take 1 s, 819e9 bytes of memory 1 s, 200e9 bytes sent 1 s.
    times = roofline(CHIPS["v5e"], flops=19.7e12, hbm_bytes=163.8e9, sent_bytes=10e9)
    assert (times.compute, times.memory, times.interconnect) == pytest.approx((0.1, 0.2, 0.05))
    assert times.bound == "memory" and times.seconds == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0 B"), (999, "999 B"), (1500, "1.50 kB"), (16e9, "16.00 GB"), (-2e6, "-2.00 MB")]
)
def test_quantities_in_powers_of_a_thousand(value, text):
    assert quantity(value, "B") == text


@pytest.mark.parametrize(
    ("message", "sizes"),
    [
        (
            "RESOURCE_EXHAUSTED: Ran out of memory on HBM, the total memory required for HLO temporaries (22.50G) "
            "exceeds available HBM (15.75G).",
            (22.5 * 2**30, 15.75 * 2**30),
        ),
        (
            "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 20.25G of 15.75G hbm. Exceeded hbm",
            (20.25 * 2**30, 15.75 * 2**30),
        ),
        ("RESOURCE_EXHAUSTED: Ran out of memory in memory space vmem", None),
        ("INTERNAL: Used 20.25G of 15.75G hbm", None),
    ],
)
def test_the_compilers_refusals(message, sizes):
    assert read_refusal(message) == sizes
