"""Figures of speed from a clock that the test moves, and what JAX says of compilations and memory."""

import json
import time

import jax
import numpy as np
import pytest

from jaxclip.training import goodput, speed
from jaxclip.training.goodput import Goodput
from jaxclip.training.profiling import Profile, parse_steps
from jaxclip.training.speed import Compilations, FlopsOfShapes, Speed, is_of_the_machine


class Clock:
    """Stands for the monotonic clock and the calendar's."""

    def __init__(self):
        self.now, self.calendar = 1000.0, 1.7e9

    def monotonic(self):
        return self.now

    def time(self):
        return self.calendar

    def pass_(self, seconds):
        self.now += seconds
        self.calendar += seconds


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(speed, "time", clock)
    monkeypatch.setattr(goodput, "time", clock)
    return clock


def measured(clock, steps, waits=0.0, flops=0, **settings):
    """A Speed after steps of these durations, each of which waited so long for data."""
    found = Speed(32, Compilations(), **{"goodput": None} | settings)
    for seconds in steps:
        with found.waiting_for_data():
            clock.pass_(waits)
        clock.pass_(seconds - waits)
        found.step_done(flops, productive=True)
    return found


def test_rates_and_waits(clock):
    figures = measured(clock, [2.0, 2.0, 4.0], waits=0.5, flops=16_000).take_figures()
    assert figures["samples_per_second"] == pytest.approx(32 * 3 / 8)
    assert figures["performance/steps_per_second"] == pytest.approx(3 / 8)
    assert figures["performance/data_wait_seconds"] == pytest.approx(1.5)
    assert figures["performance/data_wait_fraction"] == pytest.approx(1.5 / 8)
    assert figures["performance/flops_per_second"] == pytest.approx(3 * 16_000 / 8)
    assert figures["performance/memory_peak_bytes"] > 1e7
    assert all(is_of_the_machine(name) for name in figures) and not is_of_the_machine("loss")


def test_percentiles_are_those_of_all_steps_but_the_first(clock):
    durations = np.random.default_rng(0).uniform(0.5, 2.0, 200)
    found = measured(clock, [60.0, *durations])
    figures = found.take_figures()
    for percent in (50, 90, 99):
        expected = np.percentile(durations, percent)
        assert figures[f"performance/step_seconds_p{percent}"] == pytest.approx(expected)
    assert f"{32 / np.percentile(durations, 50):,.0f} samples/s" in found.summary()
    assert found.summary().startswith("201 steps")


def test_a_window_ends_with_its_row(clock):
    found = measured(clock, [1.0, 1.0])
    found.take_figures()
    clock.pass_(100.0)
    found.restart_clock()  # a validation
    clock.pass_(4.0)
    found.step_done(0, productive=True)
    assert found.take_figures()["performance/steps_per_second"] == pytest.approx(1 / 4)


def test_utilisation_is_of_all_devices_and_only_of_known_ones(clock, monkeypatch):
    assert "performance/model_flops_utilisation" not in measured(clock, [1.0]).take_figures()
    monkeypatch.setattr(speed, "peak_flops", lambda kind: 1e6)
    monkeypatch.setattr(jax, "device_count", lambda: 4)
    figures = measured(clock, [2.0], flops=2_000_000).take_figures()
    assert figures["performance/model_flops_utilisation"] == pytest.approx(2e6 / 2 / 4e6)


def test_goodput_counts_productive_steps_over_restarts(clock, tmp_path):
    path = tmp_path / "goodput.json"
    first = Goodput(path, 0.0)
    clock.pass_(10)  # preparation
    measured(clock, [1.0] * 30, goodput=first)
    first.save()
    clock.pass_(20)  # killed; 10 s of steps are lost
    second = Goodput(path, 20.0)
    clock.pass_(15)
    measured(clock, [1.0] * 25, goodput=second)
    assert second.elapsed() == pytest.approx(100)
    assert second.fraction() == pytest.approx(45 / 100)
    assert second.figures()["performance/goodput"] == pytest.approx(0.45)


@pytest.mark.parametrize("jump", [-1e8, -3600.0])
def test_a_calendar_that_is_set_back_makes_no_time_negative(clock, tmp_path, jump):
    first = Goodput(tmp_path / "goodput.json", 0.0)
    clock.pass_(50)
    first.save()
    clock.calendar += jump
    second = Goodput(tmp_path / "goodput.json", 25.0)
    assert second.elapsed() == pytest.approx(50)
    assert 0 <= second.fraction() <= 1


@pytest.mark.parametrize("content", ["", "{", '{"elapsed": 3}', "[]", '{"elapsed": "x", "at": 0}'])
def test_a_damaged_goodput_file_begins_anew(clock, tmp_path, content):
    path = tmp_path / "goodput.json"
    path.write_text(content)
    assert Goodput(path, 0.0).elapsed() == 0
    assert json.loads(path.read_text())["elapsed"] == 0


def test_compilation_is_not_productive(clock):
    class Counted:
        count, seconds = 1, 0.0

    counted = Counted()
    kept = Goodput.__new__(Goodput)
    kept.productive = 0.0
    found = Speed(32, counted, kept)
    clock.pass_(10)
    counted.seconds = 9.0
    found.step_done(0, productive=True)
    clock.pass_(2)
    found.step_done(0, productive=True)
    clock.pass_(5)
    found.step_done(0, productive=False)
    assert kept.productive == pytest.approx(1 + 2)


def test_compilations_are_counted():
    with Compilations() as compilations:
        function = jax.jit(lambda x: x * 3.25 + 17)
        function(np.float32(1))
        once = compilations.count
        function(np.float32(2))
        assert compilations.count == once >= 1
        assert 0 < compilations.seconds < time.monotonic()
    jax.jit(lambda x: x * 4.25 + 18)(np.float32(1))
    assert compilations.count == once


def test_flops_are_counted_once_a_shape():
    calls = []

    def count(batch):
        calls.append(batch)
        return batch["x"].size

    flops = FlopsOfShapes(count)
    assert [flops({"x": np.zeros(size)}) for size in (3, 4, 3, 4)] == [3, 4, 3, 4]
    assert len(calls) == 2


@pytest.mark.parametrize("steps", ["", "5", "5:", "7:5", "0:3", "a:b", "-1:4", "1:2:3"])
def test_a_bad_range_is_refused(steps):
    with pytest.raises(ValueError, match="expected FIRST:LAST"):
        parse_steps(steps)


def test_the_steps_of_the_range_are_traced(tmp_path):
    profile = Profile("2:3", tmp_path / "profile")
    made = []
    for number in range(1, 6):
        with profile.step(number):
            jax.block_until_ready(jax.numpy.ones(3) * number)
        made.append(bool(list((tmp_path / "profile").rglob("*.xplane.pb"))))
    assert made == [False, False, False, True, True]  # written when the step after the last begins
    profile.close()
    (trace,) = (tmp_path / "profile").rglob("*.xplane.pb")
    content = trace.read_bytes()
    assert b"train" in content
