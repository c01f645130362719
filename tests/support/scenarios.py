"""Many endings of one beginning: run a clean delivery once, then each fault from the same starting point.

    with Cloud() as cloud:
        notification = cloud.drop("imports/a.json", BYTES)
        clean = calls_of(cloud, lambda: deliver(cloud, notification))      # in a copy: the cloud here stays as it was
        failures = explore(sample(every(clean), 300), lambda fault: survive(cloud, notification, fault))
        assert not failures, report(failures)

Rule: a scenario runs in a forked process, which owns a copy-on-write copy of the whole fake cloud, clients and
caches included. Nothing is set up again, nothing leaks into the next, and a scenario may hang or kill itself.

FAULT_SEED=n repeats a sample, WHOLE=1 takes the larger one; FAULT_ONLY="kill_after@17" runs the scenarios whose text
holds that.
"""

from __future__ import annotations

import os
import pickle
import random
import select
import signal
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from .faults import attempt

if TYPE_CHECKING:
    from .cloud import Cloud
    from .wire import Call

T = TypeVar("T")
SCENARIO_SECONDS = 300  # Real time; virtual time is free. Seconds on a quiet machine, but several may share it.


@dataclass(frozen=True)
class Failure:
    scenario: str
    why: str


@dataclass(frozen=True)
class CleanCall:
    """What `faults.every` needs to know of a call, able to cross from the copy back to the test."""

    index: int
    service: str
    operation: str
    label: str
    range: str | None
    serial: int = 0

    @classmethod
    def of(cls, call: Call) -> CleanCall:
        return cls(call.index, call.service, call.operation, call.label, call.header("Range"), call.serial)

    def header(self, name: str) -> str | None:
        return self.range if name == "Range" else None


def seed() -> int:
    """FAULT_SEED, or a new one; `sample` prints it, so that a failure can be repeated."""
    return int(os.environ.get("FAULT_SEED") or random.SystemRandom().randrange(1_000_000))


def is_whole() -> bool:
    """Whether this run takes its time: `make test-full`, or somebody who names a test."""
    return bool(os.environ.get("WHOLE"))


def examples(number: int) -> int:
    """How many examples a property is held against: that many in a whole run, else a fifth of them."""
    return number if is_whole() else max(number // 5, 20)


def sample(scenarios: Sequence[T], at_most: int, whole: int = 0) -> list[T]:
    """All, or that many of them by FAULT_SEED, in their order; or those FAULT_ONLY names.

    Args:
        whole: so many instead, in a whole run.
    """
    if is_whole():
        at_most = max(at_most, whole)
    only = os.environ.get("FAULT_ONLY")
    if only:
        return [scenario for scenario in scenarios if only in _text_of(scenario)]
    if len(scenarios) <= at_most:
        return list(scenarios)
    chosen = seed()
    print(f"FAULT_SEED={chosen}: {at_most} of {len(scenarios)} scenarios", file=sys.stderr)
    numbers = random.Random(chosen).sample(range(len(scenarios)), at_most)
    return [scenarios[number] for number in sorted(numbers)]


def calls_of(cloud: Cloud, deliver: Callable[[], Any]) -> list[CleanCall]:
    """The calls of one clean delivery, made in a copy of the cloud.

    Raises: RuntimeError, if the clean delivery fails.
    """

    def clean() -> list[CleanCall]:
        ended = attempt(cloud, deliver)
        if ended.error is not None:
            raise ended.error
        return [CleanCall.of(call) for call in ended.calls]

    return in_copy(clean)


def in_copy(work: Callable[[], T]) -> T:
    """What `work` gives back, done in a copy of this process; here nothing has happened.

    Raises: RuntimeError with the copy's traceback.
    """
    child = _Child.of("in a copy", work)
    ok, value = child.outcome()
    if not ok:
        raise RuntimeError(value)
    return value  # type: ignore[no-any-return]


def explore(
    scenarios: Iterable[T],
    play: Callable[[T], Any],
    workers: int = os.cpu_count() or 1,
    stop_after: int = 20,
    told: Callable[[T, Failure | None], None] = lambda scenario, failure: None,
) -> list[Failure]:
    """Play each scenario in a copy of its own; a scenario that raises is a failure.

    Args:
        stop_after: so many failures are enough.
        told: is told of each scenario when it has ended.
    """
    waiting, failures = list(scenarios)[::-1], []
    running: dict[int, tuple[T, _Child]] = {}
    while running or (waiting and len(failures) < stop_after):
        while waiting and len(running) < workers and len(failures) < stop_after:
            scenario = waiting.pop()
            child = _Child.of(_text_of(scenario), lambda scenario=scenario: (play(scenario), None)[1])
            running[child.pipe] = (scenario, child)
        ready, _, _ = select.select(list(running), [], [], 1)
        late = [pipe for pipe, (_, child) in running.items() if time.monotonic() > child.until and pipe not in ready]
        for pipe in [*ready, *late]:
            scenario, child = running.pop(pipe)
            ok, why = child.outcome()
            failure = None if ok else Failure(child.name, why)
            told(scenario, failure)
            if failure is not None:
                failures.append(failure)
    return failures


def report(failures: Sequence[Failure], at_most: int = 3) -> str:
    """For an assert's message: the first failures in full, the others by name, and how to repeat one."""
    if not failures:
        return ""
    shown = "\n\n".join(f"--- {failure.scenario}\n{failure.why}" for failure in failures[:at_most])
    names = ", ".join(failure.scenario for failure in failures)
    return f'{len(failures)} scenarios failed: {names}\nrepeat one: FAULT_ONLY="{failures[0].scenario}"\n\n{shown}'


def _text_of(scenario: Any) -> str:
    if isinstance(scenario, (tuple, list)):
        return " + ".join(map(_text_of, scenario))
    return str(scenario)


@dataclass
class _Child:
    name: str
    pid: int
    pipe: int
    until: float

    @classmethod
    def of(cls, name: str, work: Callable[[], Any]) -> _Child:
        reading, writing = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            os.close(writing)
            return cls(name, pid, reading, time.monotonic() + SCENARIO_SECONDS)
        os.close(reading)
        try:
            outcome = (True, work())
        except BaseException:  # noqa: BLE001  A copy must end here, and say why.
            outcome = (False, traceback.format_exc())
        try:
            answer = pickle.dumps(outcome)
        except Exception:  # noqa: BLE001
            answer = pickle.dumps((False, traceback.format_exc()))
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(answer)
        os._exit(0)

    def outcome(self) -> tuple[bool, Any]:
        """Wait for the end, at most until the time is up."""
        pieces = []
        while True:
            left = self.until - time.monotonic()
            ready, _, _ = select.select([self.pipe], [], [], max(0, left))
            if not ready:
                os.kill(self.pid, signal.SIGKILL)  # Our own child, by its number.
                pieces = [pickle.dumps((False, f"no end after {SCENARIO_SECONDS} s of real time"))]
                break
            piece = os.read(self.pipe, 1 << 20)
            if not piece:
                break
            pieces.append(piece)
        os.close(self.pipe)
        os.waitpid(self.pid, 0)
        if not pieces:
            return False, "the copy ended without a word"
        return pickle.loads(b"".join(pieces))  # type: ignore[no-any-return]


__all__ = ["CleanCall", "Failure", "calls_of", "explore", "in_copy", "is_whole", "report", "sample", "seed"]
