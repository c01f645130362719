"""How fast to write: what is learned of AWS, and what the operator allows. Time is virtual, nothing leaves."""

import heapq
import random
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from importer.model import Throttled, Unavailable
from importer.sinks.calls import BOUND_MS, Calls, Left
from importer.sinks.pace import FIRST_PAUSE_MS, LONGEST_PAUSE_MS, Rate, Window
from importer.sinks.quick import Quick, Reply
from tests.support.clock import Clock

CALL_MS = 10


def too_fast() -> ClientError:
    answer: Any = {"Error": {"Code": "ThrottlingException"}, "ResponseMetadata": {"HTTPStatusCode": 400}}
    return ClientError(answer, "BatchWriteItem")


# ---- The window ----------------------------------------------------------------------------------------------------


def states(window: Window, signs: str) -> list[tuple[int, int]]:
    """(calls in flight, pause) after each round: `!` was throttled, `.` went through."""
    seen = []
    for sign in signs:
        window.shrink() if sign == "!" else window.widen(window.in_flight)
        seen.append((window.in_flight, window.pause_ms))
    return seen


def test_each_throttled_round_halves_what_is_in_flight():
    """To one; from there the pause doubles, to two seconds."""
    assert states(Window(8), "!!!!!!") == [(4, 40), (2, 40), (1, 40), (1, 80), (1, 160), (1, 320)]
    assert states(Window(8), "!" * 20)[-1] == (1, LONGEST_PAUSE_MS)


def test_each_clean_round_adds_one():
    """When the pause is as short as it was; never more than there were."""
    assert states(Window(8), "!!!!!....") == [
        (4, 40),
        (2, 40),
        (1, 40),
        (1, 80),
        (1, 160),
        (1, 80),
        (1, FIRST_PAUSE_MS),
        (2, 40),
        (3, 40),
    ]
    assert states(Window(8), "!" * 30 + "." * 30)[-1] == (8, FIRST_PAUSE_MS)


def test_an_odd_number_is_halved_downward_and_one_stays_one():
    """A worker that may have one call in flight always may."""
    assert [states(Window(most), "!")[0][0] for most in (1, 2, 3, 7)] == [1, 1, 1, 3]


def test_a_round_of_few_calls_says_nothing_about_more():
    """A batch of one call shows that one is possible, which was known."""
    window = Window(8)
    states(window, "!")
    for _ in range(9):
        window.widen(3)
    assert window.in_flight == 4


# ---- What runs at once ---------------------------------------------------------------------------------------------


@dataclass
class Journal:
    """Counts what is under way at the same time."""

    clock: Clock
    at_once: int = 0
    most_at_once: list[int] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)
    lock: Any = field(default_factory=threading.Lock)
    meet: Any = None

    def call(self, job: int) -> Left[int]:
        with self.lock:
            self.at_once += 1
            self.most_at_once.append(self.at_once)
            self.threads.add(threading.get_ident())
        if self.meet is not None:
            self.meet.wait(10)
        with self.lock:
            self.clock.advance(CALL_MS)
            self.at_once -= 1
        return Left()


def test_as_many_calls_are_in_flight_as_may_be():
    """Eight meet at a barrier that opens for eight."""
    clock = Clock()
    journal = Journal(clock, meet=threading.Barrier(8))
    Calls[int](clock, 8, "the table", "dynamodb:PutItem").run(range(32), journal.call, lambda: None)
    assert (len(journal.most_at_once), max(journal.most_at_once)) == (32, 8)


def test_one_in_flight_needs_no_thread():
    """Neither where there is only one, nor where eight have been halved to one."""
    clock = Clock()
    alone = Journal(clock)
    Calls[int](clock, 1, "the table", "dynamodb:PutItem").run(range(9), alone.call, lambda: None)
    shrunk = Journal(clock)
    calls = Calls[int](clock, 8, "the table", "dynamodb:PutItem")
    refusals = [True] * 4

    def call(job: int) -> Left[int]:
        return Left([job], put_off=True) if refusals and refusals.pop() else Left()

    calls.run([1], call, lambda: None)
    calls.run(range(4), shrunk.call, lambda: None)
    assert (alone.threads, shrunk.threads) == ({threading.get_ident()}, {threading.get_ident()})


def test_jobs_are_done_in_order_where_one_is_in_flight():
    """And what was put off comes after the others."""
    done: list[int] = []
    put_off = {3}

    def call(job: int) -> Left[int]:
        if job in put_off:
            put_off.remove(job)
            return Left([job], put_off=True)
        done.append(job)
        return Left()

    Calls[int](Clock(), 1, "the table", "dynamodb:PutItem").run(range(10), call, lambda: None)
    assert done == [0, 1, 2, 4, 5, 6, 7, 8, 9, 3]


@pytest.mark.parametrize("error", [Unavailable("denied"), IndexError("a bug"), KeyboardInterrupt()], ids=repr)
def test_an_error_ends_the_others_and_none_is_under_way_afterwards(error: BaseException):
    """A bug is not taken for the end of the work; calls that had begun are waited for, others are not made."""
    clock = Clock()
    journal = Journal(clock)
    began = threading.Event()

    def call(job: int) -> Left[int]:
        if job == 0:
            began.wait(10)
            raise error
        began.set()
        return journal.call(job)

    with pytest.raises(type(error)):
        Calls[int](clock, 2, "the table", "dynamodb:PutItem").run(range(1_000), call, lambda: None)
    assert (journal.at_once, len(journal.most_at_once) < 8) == (0, True)


def test_what_was_learned_is_kept_for_the_next_run():
    """Batch after batch goes to the same table; four calls for each in flight are a round."""
    calls = Calls[int](Clock(), 8, "the table", "dynamodb:PutItem")
    refuse = [True]
    made: list[int] = []
    ends: list[int] = []

    def call(job: int) -> Left[int]:
        made.append(job)
        return Left([job], put_off=True) if refuse and refuse.pop() else Left()

    for _ in range(2):
        calls.run(range(32), call, lambda: ends.append(len(made)))
    assert ends == [32, 33, 33 + 16, 33 + 32]


@pytest.mark.parametrize(
    ("what", "learned"),
    [("throttled", 4), ("put off", 4), ("cut smaller", 8), ("lost", 8), ("failed inside", 8), ("done", 8)],
)
def test_only_what_aws_found_too_much_narrows_the_window(what: str, learned: int):
    """A call that was cut in two, or a broken connection, is no sign of haste."""
    calls = Calls[int](Clock(), 8, "the table", "dynamodb:PutItem")
    todo = [what]

    def call(job: int) -> Left[int]:
        match todo.pop() if todo else "done":
            case "throttled":
                raise too_fast()
            case "put off":
                return Left([job], put_off=True)
            case "cut smaller":
                return Left([job + 1, job + 2])
            case "lost":
                raise ConnectionClosedError(endpoint_url="https://dynamodb")
            case "failed inside":
                answer: Any = {"Error": {"Code": "Internal"}, "ResponseMetadata": {"HTTPStatusCode": 500}}
                raise ClientError(answer, "PutItem")
        return Left()

    calls.run([1], call, lambda: None)
    assert calls._window.in_flight == learned


def test_a_job_cut_smaller_is_not_waited_for():
    """Halving a refused call is work, not back-off."""
    clock = Clock()

    def call(job: int) -> Left[int]:
        return Left([job // 2, job - job // 2]) if job > 1 else Left()

    Calls[int](clock, 1, "the table", "dynamodb:PutItem").run([25], call, lambda: None)
    assert clock.slept_seconds == 0


def test_throttled_for_good_is_told_within_the_bound_however_small_the_window():
    """The second time too, when the pause is at its longest."""
    clock = Clock()
    calls = Calls[int](clock, 8, "the table", "dynamodb:PutItem")

    def call(job: int) -> Left[int]:
        raise too_fast()

    took_ms = []
    for _ in range(3):
        began_ms = clock.now_ms()
        with pytest.raises(Throttled):
            calls.run(range(100), call, lambda: None)
        took_ms.append(clock.now_ms() - began_ms)
    assert all(BOUND_MS - LONGEST_PAUSE_MS <= took <= BOUND_MS for took in took_ms), took_ms


# ---- The quick way -------------------------------------------------------------------------------------------------


@dataclass
class Way:
    """An operation whose exchanges give the replies of a script, then nothing but successes."""

    script: list[list[Reply | None]] = field(default_factory=list)
    asked: list[tuple[list[bytes], int]] = field(default_factory=list)  # bodies, in flight
    name: str = "PutItem"

    def exchange(self, bodies: Any, in_flight: int, is_done: Any) -> list[Reply | None]:
        replies = self.script.pop(0) if self.script else None
        sent = [body for body, _ in zip(bodies, replies, strict=False)] if replies is not None else list(bodies)
        self.asked.append((sent, in_flight))
        return [DONE] * len(sent) if replies is None else replies


DONE = Reply(200, b"{}")
SLOW_DOWN = Reply(400, b'{"__type":"com.amazonaws.dynamodb.v20120810#ThrottlingException"}')
BROKEN = Reply(500, b'{"__type":"InternalServerError"}')


def run_quickly(way: Way, jobs: int) -> list[int]:
    """The jobs that were called by the client, in two threads; four calls may be in flight the quick way."""
    called: list[int] = []
    calls = Calls[int](Clock(), 2, "the table", "dynamodb", quick_in_flight=4)

    def call(job: int) -> Left[int]:
        called.append(job)
        return Left()

    def left(job: int, reply: Reply) -> Left[int] | None:
        return Left([job + 100], put_off=True) if reply.body == b"half" else None

    calls.run(range(jobs), call, lambda: None, Quick(way, lambda job: b"%d" % job, lambda reply: reply == DONE, left))
    return sorted(called)


def bodies(way: Way) -> list[list[int]]:
    return [[int(body) for body in sent] for sent, _ in way.asked]


def test_the_client_is_not_asked_where_the_quick_way_tells_all():
    """A round is one exchange, with as many in flight as that way allows."""
    way = Way()
    assert run_quickly(way, 20) == []
    assert bodies(way) == [list(range(16)), list(range(16, 20))]
    assert [in_flight for _, in_flight in way.asked] == [4, 4]


@pytest.mark.parametrize("unclear", [None, BROKEN, Reply(200, b"what?"), Reply(400, b"no JSON"), Reply(302, b"")])
def test_what_is_unclear_is_called_again_by_the_client(unclear: Reply | None):
    """At once; what was not sent is for the next round, in its order."""
    way = Way([[DONE, unclear, DONE]])
    assert run_quickly(way, 6) == [1]
    assert bodies(way) == [[0, 1, 2], [3, 4, 5]]


def test_a_throttle_is_understood_and_not_called_again():
    """There are fewer in flight, and a pause; the job comes after the others."""
    way = Way([[DONE, SLOW_DOWN, SLOW_DOWN]])
    assert run_quickly(way, 5) == []
    assert bodies(way) == [[0, 1, 2], [3, 4, 1, 2]]
    assert [in_flight for _, in_flight in way.asked] == [4, 2]


def test_what_was_put_off_is_for_later():
    """As where the client says so."""
    way = Way([[Reply(200, b"half")]])
    assert run_quickly(way, 2) == []
    assert bodies(way) == [[0], [1, 100]]


def test_where_the_quick_way_is_closed_the_client_makes_a_round_of_its_own_size():
    """Four for each of its threads: a breath is taken in time."""
    way = Way([[], []])
    assert run_quickly(way, 20) == list(range(16))
    assert bodies(way) == [[], [], [16, 17, 18, 19]]


def test_a_breath_is_taken_before_the_client_calls_again():
    """Waiting for what did not come took a while."""
    journal: list[str] = []
    quick = Quick(Way([[None]]), lambda _: b"", lambda _: True, lambda job, reply: None)
    calls = Calls[int](Clock(), 1, "the table", "dynamodb")
    calls.run([1], lambda _: journal.append("called") or Left(), lambda: journal.append("breath"), quick)  # type: ignore[func-returns-value]
    assert journal == ["breath", "called", "breath"]


# ---- The rate ------------------------------------------------------------------------------------------------------


def sent_at(clock: Clock, per_second: float, writes: list[int], in_flight: int = 1) -> list[tuple[int, int]]:
    """(when it was sent, how many) of each call."""
    sent: list[tuple[int, int]] = []
    calls = Calls[int](clock, in_flight, "the table", "p", Rate(clock, per_second), lambda job: job)
    began_ms = clock.now_ms()

    def call(job: int) -> Left[int]:
        sent.append((clock.now_ms() - began_ms, job))
        clock.advance(CALL_MS)
        return Left()

    calls.run(writes, call, lambda: None)
    return sent


@pytest.mark.parametrize("per_second", [1, 7, 25, 100, 999, 2_000, 12.5, 0.5])
def test_no_second_has_more_than_two_seconds_worth_and_the_whole_has_its_rate(per_second: float):
    """A bucket of one second's worth: a burst of it, then the rate; a single call may be larger."""
    sent = sent_at(Clock(), per_second, [25] * 40)
    most = max(sum(count for later, count in sent if at <= later < at + 1_000) for at, _ in sent)
    assert most <= max(2 * per_second, 25)
    seconds = (sent[-1][0] - sent[0][0]) / 1000
    assert seconds >= (25 * 39 - per_second) / per_second - 0.01
    assert seconds <= 25 * 39 / per_second + 1


def test_no_rate_is_no_wait_and_no_look_at_the_clock():
    """As fast as they come."""

    class Untouched:
        def now_ms(self) -> int:
            raise AssertionError

        def sleep(self, seconds: float) -> None:
            raise AssertionError

    rate = Rate(Untouched(), 0)
    assert (rate.wait(10**9, lambda: None), rate.allows(10**9)) == (0, True)


def test_one_rate_is_shared_by_all_who_write_with_it():
    """Events and user records together; the next file of this worker too."""
    clock = Clock()
    rate = Rate(clock, 100)
    each = [Calls[int](clock, 1, name, "p", rate, lambda job: job) for name in ("the events table", "the users table")]
    for _ in range(5):
        for calls in each:
            calls.run([25, 25], lambda _: Left(), lambda: None)
    assert clock.slept_seconds == pytest.approx((500 - 100) / 100, abs=0.1)


def test_a_long_wait_takes_breath():
    """25 items at one a second: nobody may take the lease meanwhile. What a breath raises ends it."""
    clock = Clock()
    breaths = [clock.now_ms()]
    calls = Calls[int](clock, 1, "the table", "p", Rate(clock, 1), lambda job: job)
    calls.run([25, 25, 25], lambda _: Left(), lambda: breaths.append(clock.now_ms()))
    assert max(later - earlier for earlier, later in pairwise(breaths)) <= 2_000
    assert clock.slept_seconds == pytest.approx(50, abs=1)


def test_what_a_breath_raises_ends_the_wait():
    """A worker that was fenced while it waited sends nothing."""

    class Gone(Exception):
        pass

    def gone() -> None:
        raise Gone

    clock = Clock()
    rate = Rate(clock, 1)
    rate.wait(25, gone)  # the first needs no wait
    with pytest.raises(Gone):
        rate.wait(25, gone)


def test_a_wait_of_our_own_is_not_taken_for_throttling():
    """A minute between two calls, and the second one is throttled once: it is tried again."""
    clock = Clock()
    refuse = [True, False]

    def call(job: int) -> Left[int]:
        if refuse and refuse.pop():
            raise too_fast()
        return Left()

    Calls[int](clock, 1, "the table", "p", Rate(clock, 0.25), lambda job: job).run([25, 25], call, lambda: None)
    assert clock.slept_seconds > 4 * BOUND_MS / 1000


def test_a_clock_that_is_set_back_stops_nothing():
    """It costs what had been saved up, no more."""
    clock = Clock()
    rate = Rate(clock, 100)
    rate.wait(100, lambda: None)
    clock.advance(-3_600_000)
    assert rate.wait(50, lambda: None) == 500


def test_a_small_rate_still_uses_what_is_in_flight():
    """Calls that are allowed together are made together."""
    clock = Clock()
    journal = Journal(clock, meet=threading.Barrier(4))
    calls = Calls[int](clock, 8, "the table", "p", Rate(clock, 100), lambda _: 25)
    calls.run(range(4), journal.call, lambda: None)
    assert max(journal.most_at_once) == 4


# ---- Many workers, one limit ---------------------------------------------------------------------------------------


class _Partition:
    """1,000 writes a second, one second's worth at most."""

    def __init__(self) -> None:
        self._left, self._seen_ms = 1_000.0, 0.0

    def takes(self, now_ms: float) -> bool:
        self._left = min(self._left + now_ms - self._seen_ms, 1_000.0)
        self._seen_ms = now_ms
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass
class Crowd:
    """Workers that know nothing of each other write one user's rows: simulated with the real Window."""

    shrinks: bool
    calls: int = 0
    refused: int = 0
    written: list[int] = field(default_factory=list)
    seconds: float = 0

    def write(self, workers: int, rows: int) -> "Crowd":
        dice, partition = random.Random(1), _Partition()
        self.written = [0] * workers
        going = [(0.0, number, self._worker(number, rows, partition, dice)) for number in range(workers)]
        while going:
            now_ms, number, worker = heapq.heappop(going)
            self.seconds = now_ms / 1000
            try:
                wait_ms = worker.send(now_ms) if now_ms else next(worker)
            except StopIteration:
                continue
            heapq.heappush(going, (now_ms + wait_ms, number, worker))
        return self

    def _worker(self, number: int, rows: int, partition: _Partition, dice: random.Random) -> "Iterator[float] | Any":
        window, left = Window(8), rows
        while left:
            throttled = False
            calls = min(4 * window.in_flight, -(-left // 25))
            for first in range(0, calls, window.in_flight):
                now_ms = yield CALL_MS + dice.random()
                for _ in range(min(window.in_flight, calls - first)):
                    items = min(25, left)
                    taken = sum(partition.takes(now_ms) for _ in range(items))
                    self.calls += 1
                    self.refused += taken < items
                    throttled |= taken < items
                    self.written[number] += taken
                    left -= taken
            if throttled:
                if self.shrinks:
                    window.shrink()
                yield dice.uniform(window.pause_ms / 2, window.pause_ms)
            else:
                window.widen(calls)


@pytest.mark.parametrize(("workers", "rows", "of_calls"), [(1, 8_000, 0.45), (10, 2_000, 0.65)])
def test_workers_that_meet_on_one_partition_waste_few_calls(workers: int, rows: int, of_calls: float):
    """One refused call in two or so, where all but a few would be; and the partition is still used to the full."""
    polite = Crowd(shrinks=True).write(workers, rows)
    rude = Crowd(shrinks=False).write(workers, rows)
    assert polite.refused / polite.calls < of_calls < 0.85 < rude.refused / rude.calls
    assert polite.refused * 10 < rude.refused
    assert sum(polite.written) / polite.seconds > 0.9 * 1_000
