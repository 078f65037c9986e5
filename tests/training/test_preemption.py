"""SIGTERM sets a flag and interrupts nothing."""

import signal

import pytest

from jaxclip.training.preemption import EXIT_CODE, Preempted, Preemption


@pytest.fixture(autouse=True)
def handler():
    """Gives SIGTERM back after the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_sigterm_is_remembered():
    preemption = Preemption().install()
    preemption.check()
    assert not preemption.requested
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGTERM)
    assert preemption.requested
    with pytest.raises(Preempted):
        preemption.check()


def test_the_exit_code_is_that_of_a_process_ended_by_sigterm():
    assert EXIT_CODE == 143
