"""Several deliveries at once, in an order a seed decides.

Rule: one token. Only the thread that holds it runs; at each AWS call and each sleep it gives the token to the delivery
the seed names. Between two calls a delivery touches nothing shared, so the order of calls is the whole history, and the
same seed gives the same history (`History.journal` proves it). When all sleep, virtual time jumps to the first to wake.

What it does not do: threads that a delivery starts itself run under its token, in the order the machine likes.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse

from .faults import Attempt, Fault, around_of
from .wire import Call, Delivery, Execute, Killed

if TYPE_CHECKING:
    from .cloud import Cloud

STUCK_SECONDS = 20  # Real time. Longer without a hand-over means a real lock is held across an AWS call.
RETRY_SECONDS = (60, 120)  # Lambda's own retries of an asynchronous event come after 1 and 2 minutes (H1).


@dataclass
class History:
    """What happened: every call in order, `name: call`, and how each delivery ended (its tries, first to last)."""

    seed: int
    journal: list[str] = field(default_factory=list)
    attempts: dict[str, list[Attempt]] = field(default_factory=dict)

    @property
    def errors(self) -> list[Exception]:
        return [attempt.error for tries in self.attempts.values() for attempt in tries if attempt.error]


class Turns:
    """Who may run. All methods are called by the delivering threads themselves."""

    def __init__(self, cloud: Cloud, names: list[str], choose: random.Random) -> None:
        self._cloud = cloud
        self._choose = choose
        # Some histories switch at every call, some hardly ever: long pre-emptions hide other bugs than short ones.
        self._switch = choose.choice((0.05, 0.2, 0.5, 1.0))
        self._wakes_at_ms: dict[str, int] = dict.fromkeys(names, 0)
        self._running: str | None = None
        self._condition = threading.Condition()

    def start(self) -> None:
        with self._condition:
            self._hand_over()

    def wait_for(self, name: str) -> None:
        """Come back holding the token."""
        with self._condition:
            if not self._condition.wait_for(lambda: self._running == name, STUCK_SECONDS):
                raise AssertionError(f"{name} never got its turn: does {self._running} wait for a lock {name} holds?")

    def yield_turn(self, name: str) -> None:
        with self._condition:
            if self._choose.random() < self._switch:
                self._hand_over()
        self.wait_for(name)

    def sleep(self, name: str, seconds: float) -> None:
        with self._condition:
            self._wakes_at_ms[name] = self._cloud.clock.now_ms() + round(seconds * 1000)
            self._hand_over()
        self.wait_for(name)

    def leave(self, name: str) -> None:
        with self._condition:
            del self._wakes_at_ms[name]
            if self._running == name:
                self._hand_over()

    def _hand_over(self) -> None:
        if not self._wakes_at_ms:
            self._running = None
            return
        now_ms = self._cloud.clock.now_ms()
        awake = sorted(name for name, wakes_at_ms in self._wakes_at_ms.items() if wakes_at_ms <= now_ms)
        if awake:
            self._running = self._choose.choice(awake)
        else:
            self._running = min(self._wakes_at_ms, key=lambda name: (self._wakes_at_ms[name], name))
            self._cloud.clock.advance(self._wakes_at_ms[self._running] - now_ms)
        self._condition.notify_all()


def interleaved(
    cloud: Cloud,
    deliveries: dict[str, Callable[[], Any]],
    seed: int,
    faults: dict[str, Iterable[Fault]] | None = None,
    tries: int = 1,
    seconds: float | None = None,
) -> History:
    """Run 2 to 4 deliveries against each other.

    Args:
        deliveries: name → what it does.
        faults: name → what goes wrong in its first try.
        tries: 3 behaves as Lambda does: a delivery that was killed or raised comes again after 1 and 2 minutes.
        seconds: time-out of each try.
    Returns:
        The history. Exceptions of deliveries are in it, not raised: Lambda would try again.
    """
    random.seed(seed)  # The SDK's jitter.
    turns = Turns(cloud, list(deliveries), random.Random(seed))
    history = History(seed, attempts={name: [] for name in deliveries})
    harness_errors: list[BaseException] = []
    mine = threading.local()

    def my_turn(_: Delivery) -> None:
        name = getattr(mine, "name", None)
        if name is not None:
            turns.yield_turn(name)

    def sleeper(sleep_seconds: float) -> None:
        name = getattr(mine, "name", None)
        if name is None:
            alone(sleep_seconds)
            return
        cloud.wire.check_alive()
        turns.sleep(name, sleep_seconds)
        cloud.wire.check_alive()

    def one_try(name: str, number: int) -> Attempt:
        fired: list[str] = []
        struck = around_of((faults or {}).get(name, ()) if number == 0 else (), fired)
        delivery = Delivery(name if number == 0 else f"{name}#{number + 1}", [note, *struck])
        if seconds is not None:
            delivery.deadline_ms = cloud.clock.now_ms() + round(seconds * 1000)
        ended = Attempt(delivery, fired)
        history.attempts[name].append(ended)
        with cloud.wire.delivering(delivery):
            try:
                ended.result = deliveries[name]()
            except Killed:
                ended.killed = True
            except Exception as error:  # noqa: BLE001  As Lambda does.
                ended.error = error
        return ended

    def note(call: Call, execute: Execute) -> AWSResponse:
        history.journal.append(f"{call.delivery.name}: {call.label}")
        return execute()

    def live(name: str) -> None:
        mine.name = name
        try:
            turns.wait_for(name)
            for number in range(tries):
                ended = one_try(name, number)
                if not (ended.killed or ended.error) or number + 1 == tries:
                    break
                turns.sleep(name, RETRY_SECONDS[min(number, 1)])
        except BaseException as error:  # noqa: BLE001  Raised again in the test's own thread.
            harness_errors.append(error)
        finally:
            turns.leave(name)

    alone = cloud.clock.sleeper
    cloud.wire.turn, cloud.clock.sleeper = my_turn, sleeper
    threads = [threading.Thread(target=live, args=(name,), name=name, daemon=True) for name in deliveries]
    try:
        for thread in threads:
            thread.start()
        turns.start()
        for thread in threads:
            thread.join()
    finally:
        cloud.wire.turn, cloud.clock.sleeper = None, alone
    if harness_errors:
        raise harness_errors[0]
    return history
