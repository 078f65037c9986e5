"""SIGTERM sets a flag and interrupts nothing; the second one ends the process, even one that hangs."""

import signal
import subprocess
import sys
import time

import pytest

from jaxclip.training.preemption import EXIT_CODE, Preempted, Preemption


@pytest.fixture(autouse=True)
def handler():
    """Gives SIGTERM back after the test."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    signal.set_wakeup_fd(-1)


def test_sigterm_is_remembered():
    preemption = Preemption().install()
    preemption.check()
    assert not preemption.requested
    signal.raise_signal(signal.SIGTERM)
    assert preemption.requested
    with pytest.raises(Preempted):
        preemption.check()


def test_the_exit_code_is_that_of_a_process_ended_by_sigterm():
    assert EXIT_CODE == 143


HANGING = """
import ctypes, signal
# Python's own handler would end the process if it ran before the sleep; in a shell's background there is none.
signal.signal(signal.SIGINT, lambda *arguments: None)
from jaxclip.training.preemption import Preemption
preemption = Preemption().install()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT])  # of the main thread alone
print("ready", flush=True)
ctypes.CDLL(None).sleep(3600)  # in C, as in a collective whose other side is gone: no Python runs in this thread
"""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_second_signal_ends_a_process_that_hangs(number, code):
    process = subprocess.Popen([sys.executable, "-c", HANGING], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout.readline() == b"ready\n"
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        process.send_signal(number)
        time.sleep(0.2)
    process.kill()
    _, shown = process.communicate()
    assert process.returncode == code
    assert f"{number.name} came twice" in shown.decode()
