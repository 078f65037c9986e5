"""When a process has to end, and what it says: by hand-made situations; real processes are in test_lost_peers.py."""

import dataclasses

import pytest

from jaxclip.config import FailureSettings
from jaxclip.training.board import Notice
from jaxclip.training.watch import FIRST_STEP, GRACE, LOST, SAVING, Situation, judge

SETTINGS = FailureSettings(peer_timeout=60, hang_timeout=1800)
RUNNING = {number: Notice(5, "running", 12, "in the step", host=f"host{number}", pid=100 + number) for number in (1, 2)}
# Process 0 of three, a second after everybody was heard of.
FINE = Situation(
    now=5000.0,
    progress=4999.0,
    steps=7,
    phase="in the step",
    longest=0.5,
    stopping=0.0,
    notices=RUNNING,
    seen={1: 4999.0, 2: 4999.0},
    exchange=4999.0,
)


def judged(patience=60.0, **changes):
    return judge(dataclasses.replace(FINE, **changes), SETTINGS, patience)


def notice(number, **changes):
    return RUNNING | {number: dataclasses.replace(RUNNING[number], **changes)}


def test_nothing_happens_while_all_is_well():
    assert judged() is None
    assert judged(seen={}, notices={}, exchange=0.0) is None  # a run of one process has no peers to wait for
    assert judged(steps=0, progress=0.0) is None  # data may be prepared for hours


def test_a_silent_peer_is_lost_after_the_patience():
    assert judged(seen={1: 4999.0, 2: 4941.0}) is None
    ending = judged(seen={1: 4999.0, 2: 4939.0})
    assert ending.code == LOST == 75
    assert ending.message == "process 2 (pid 102 on host2) has said nothing for 61 s: it hangs or is gone"
    assert judged(seen={1: 4999.0, 2: 4985.0}, patience=10.0).code == LOST


def test_a_peer_that_was_never_heard_of_is_named_too():
    ending = judged(seen={1: 4999.0, 2: 4900.0}, notices={1: RUNNING[1]})
    assert ending.message.startswith("process 2 (never heard of) has said nothing for 100 s")


def test_a_peer_that_has_finished_may_be_silent():
    assert judged(seen={1: 4999.0, 2: 10.0}, notices=notice(2, state="finished")) is None


def test_an_error_of_a_peer_is_passed_on_and_comes_first():
    notices = notice(1, state="failed", error="photographs/7.jpg: not an image")
    ending = judged(notices=notices, seen={1: 4999.0, 2: 10.0})
    assert ending.code == 1
    assert ending.message == "process 1 (pid 101 on host1) ended with an error: photographs/7.jpg: not an image"


def test_process_0_is_blamed_where_its_service_does_not_answer():
    ending = judged(exchange=4930.0, seen={0: 4930.0, 2: 4930.0})
    assert ending.code == LOST and ending.message.startswith("process 0 has not answered for 70 s")


def test_a_hang_shows_where_everybody_is():
    assert judged(progress=5000.0 - 1799) is None
    ending = judged(progress=5000.0 - 1801, notices=notice(2, phase="waiting for data", step=11))
    assert ending.code == LOST and ending.stacks
    assert ending.message.startswith("nothing has moved for 1801 s (in the step)")
    assert "process 1 (pid 101 on host1): step 12, in the step" in ending.message
    assert "process 2 (pid 102 on host2): step 11, waiting for data" in ending.message


def test_the_first_step_may_take_longer_than_the_others():
    impatient = SETTINGS.model_copy(update={"hang_timeout": 20.0})
    for steps, idle, ends in ((7, 21, True), (1, 21, False), (1, FIRST_STEP + 1, True), (0, FIRST_STEP + 1, False)):
        situation = dataclasses.replace(FINE, steps=steps, progress=5000.0 - idle)
        assert (judge(situation, impatient, 60.0) is not None) == ends


@pytest.mark.parametrize("steps", [0, 1, 7])
def test_sigterm_ends_a_process_that_does_not_get_on(steps):
    late = {"progress": 5000.0 - GRACE - 1, "steps": steps}
    assert judged(**late) is None
    assert judged(**late, stopping=GRACE - 1) is None
    ending = judged(**late, stopping=GRACE + 5)
    assert ending.code == 143 and "SIGTERM came, but nothing has moved for 61 s" in ending.message
    assert judged(stopping=GRACE + 5) is None  # it got on a second ago
    assert judged(**late, stopping=GRACE + 5, phase=SAVING) is None
    assert judged(**late, stopping=GRACE + 5, longest=30.0) is None  # its steps take that long
