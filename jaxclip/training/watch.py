"""A run ends in bounded time, with a sentence that says which process is to blame, whatever another process does.

A thread looks every few seconds at how this process and its peers are. A peer that failed, died or stands still, or a
step that does not come to its end, ends this process: a collective cannot be called off in any other way.
"""

import contextlib
import dataclasses
import faulthandler
import os
import re
import sys
import threading
import time
from collections.abc import Mapping

import jax

from jaxclip.config import FailureSettings
from jaxclip.training import board
from jaxclip.training.agreement import check_together
from jaxclip.training.board import Notice
from jaxclip.training.preemption import EXIT_CODE, Preempted, Preemption

LOST = os.EX_TEMPFAIL  # 75, "try again": the same command goes on from the last checkpoint
GRACE = 60.0  # seconds without any progress after SIGTERM, or three of the longest steps if they take longer
FIRST_STEP = 1800.0  # seconds without progress that are allowed at least in the first step: a large program compiles
SAVING = "saving"  # a phase without that bound: a large checkpoint on slow storage
_QUIET_AFTER_A_BREAK = 10.0  # seconds: a peer that is silent so long when a collective broke has broken it
_BROKEN_COLLECTIVE = re.compile(
    r"Gloo|NCCL|UNAVAILABLE|DEADLINE_EXCEEDED|Connection (reset|closed)|heartbeat|CANCELLED"
)


@dataclasses.dataclass(frozen=True)
class Situation:
    """What the watch knows; times in seconds of the monotonic clock.

    Attributes:
      now: the time.
      progress: when this process got on last.
      steps: how many it has begun; before the first, data may be prepared for hours.
      phase: what it does.
      longest: the longest time between two signs of progress in training, seconds.
      stopping: how long ago SIGTERM came, 0 where it has not.
      notices: of all processes that have put one up.
      seen: process → when its notice last changed; for those without one, when this process began to look.
      exchange: when process 0 last answered.
    """

    now: float
    progress: float
    steps: int
    phase: str
    longest: float
    stopping: float
    notices: Mapping[int, Notice]
    seen: Mapping[int, float]
    exchange: float


@dataclasses.dataclass(frozen=True)
class Ending:
    """How this process has to end."""

    code: int
    message: str
    stacks: bool = False


def judge(situation: Situation, settings: FailureSettings, patience: float) -> Ending | None:
    """Whether the process has to end.

    Args:
      patience: seconds after which a peer that says nothing is lost.
    """
    now, notices = situation.now, situation.notices
    for number, notice in notices.items():
        if notice.state == "failed":
            return Ending(1, f"{_name(number, notices)} ended with an error: {notice.error}")
    if situation.seen and now - situation.exchange > patience:
        return Ending(LOST, f"process 0 has not answered for {now - situation.exchange:.0f} s: it hangs or is gone")
    for number, seen in situation.seen.items():
        running = number not in notices or notices[number].state == "running"
        if running and now - seen > patience:
            return Ending(
                LOST, f"{_name(number, notices)} has said nothing for {now - seen:.0f} s: it hangs or is gone"
            )
    idle = now - situation.progress
    if min(situation.stopping, idle) > max(GRACE, 3 * situation.longest) and situation.phase != SAVING:
        return Ending(
            EXIT_CODE, f"SIGTERM came, but nothing has moved for {idle:.0f} s ({situation.phase})", stacks=True
        )
    if situation.steps and idle > max(settings.hang_timeout, FIRST_STEP if situation.steps == 1 else 0):
        where = "".join(f"\n  {_name(number, notices)}: step {n.step}, {n.phase}" for number, n in notices.items())
        return Ending(LOST, f"nothing has moved for {idle:.0f} s ({situation.phase}){where}", stacks=True)
    return None


def _name(number: int, notices: Mapping[int, Notice]) -> str:
    notice = notices.get(number)
    return f"process {number} " + (f"(pid {notice.pid} on {notice.host})" if notice else "(never heard of)")


def end_process(ending: Ending) -> None:
    """Says why and ends this process at once: threads that wait for a lost peer would keep it."""
    again = " The same command goes on from the last checkpoint." if ending.code != 1 else ""
    print(f"\nprocess {jax.process_index()}: {ending.message}.{again}", file=sys.stderr, flush=True)
    if ending.stacks:
        faulthandler.dump_traceback(file=sys.__stderr__)
    sys.stdout.flush()
    os._exit(ending.code)


class Watch:
    """Watches over a run between `with` and its end; without `with` it does nothing."""

    def __init__(self, preemption: Preemption, settings: FailureSettings):
        self.preemption, self._settings = preemption, settings
        peers = jax.process_count() if jax.process_count() > 1 else 0
        self._interval = min(max(2.0, peers / 100), settings.peer_timeout / 10, settings.hang_timeout / 10)
        self._patience = settings.peer_timeout
        self._stop = threading.Event()
        now = time.monotonic()
        self._progress, self._exchange = now, now
        self._seen = {number: now for number in range(peers) if number != jax.process_index()}
        self._notices: dict[int, Notice] = {}
        self._step, self._steps_made, self._phase, self._longest = 0, 0, "starting", 0.0
        self._beats, self._last_words = 0, threading.Event()

    def beat(self, phase: str, step: int | None = None) -> None:
        """The run got on: it does `phase` now, of step `step`."""
        now = time.monotonic()
        if self._steps_made > 1:  # the first step is mostly compilation
            self._longest = max(self._longest, now - self._progress)
        if step is not None and step != self._step:
            self._step, self._steps_made = step, self._steps_made + 1
        self._phase, self._progress = phase, now

    def check(self) -> None:
        """Between the batches of a long work that all processes share: the run got on; `Preempted` if SIGTERM came."""
        self.beat(self._phase)
        check_together(self.preemption)

    def __enter__(self) -> "Watch":
        self._start(self._look)
        if self._seen:
            self._start(self._talk)
            if jax.process_index() != 0:
                board.explain_abort(lambda message: end_process(Ending(LOST, message)))
        return self

    def _start(self, work) -> None:
        threading.Thread(target=work, name=f"watch {work.__name__}", daemon=True).start()

    def __exit__(self, kind, error, trace) -> None:
        if self._seen and error is not None and not isinstance(error, Preempted):
            if _BROKEN_COLLECTIVE.search(str(error)) and isinstance(error, (ValueError, RuntimeError, OSError)):
                self._patience = min(self._patience, max(5 * self._interval, _QUIET_AFTER_A_BREAK))
                self._stop.wait(self._patience + 4 * self._interval)  # the other thread finds out who is gone
            self._tell("failed", (str(error).strip() or kind.__name__).splitlines()[0])
            if jax.process_index() == 0:
                time.sleep(3 * self._interval)  # the others must be able to read it
        elif self._seen:
            self._tell("finished")
        self._stop.set()

    def _tell(self, state: str, error: str = "") -> None:
        """Puts up the last notice; not for ever, since process 0 may hang."""
        self._last_words.set()
        notice = Notice(self._beats + 1, state, self._step, self._phase, error)
        teller = threading.Thread(target=_post_quietly, args=(notice,), daemon=True)
        teller.start()
        teller.join(2 * self._interval)

    def _talk(self) -> None:
        """Puts up notices and reads those of the others; may block in the service of process 0."""
        while not self._stop.wait(self._interval):
            if not self._last_words.is_set():
                self._beats += 1
                _post_quietly(Notice(self._beats, "running", self._step, self._phase))
            with contextlib.suppress(RuntimeError, ValueError):
                notices, now = board.read(), time.monotonic()
                for number in self._seen:
                    if number in notices and notices[number] != self._notices.get(number):
                        self._seen[number] = now
                self._notices, self._exchange = notices, now

    def _look(self) -> None:
        """Judges; never blocks."""
        looked = time.monotonic()
        while not self._stop.wait(self._interval):
            now = time.monotonic()
            if now - looked > self._settings.peer_timeout / 2:
                # This process itself was stopped: what it has not heard meanwhile says nothing.
                self._progress = self._exchange = now
                self._seen = dict.fromkeys(self._seen, now)
            looked = now
            peers = {number: notice for number, notice in self._notices.items() if number != jax.process_index()}
            situation = Situation(
                now=now,
                progress=self._progress,
                steps=self._steps_made,
                phase=self._phase,
                longest=self._longest,
                stopping=self.preemption.seconds,
                notices=peers,
                seen=dict(self._seen),
                exchange=self._exchange,
            )
            ending = judge(situation, self._settings, self._patience)
            if ending is not None:
                end_process(ending)


def _post_quietly(notice: Notice) -> None:
    """A service that does not answer is told by the time since it last did."""
    with contextlib.suppress(RuntimeError, ValueError):
        board.post(notice)
