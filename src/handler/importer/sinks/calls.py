"""Many idempotent calls: several in flight, tried again with jittered back-off, as long as they get somewhere.

The AWS client behind a call makes a single attempt; what is worth trying again is decided here, once for all sinks.
Calls are made in rounds of a few for each that may be in flight; between two rounds it is judged what came of them
(`pace.Window`), and a breath is taken. A round is made the quick way (`quick`) where there is one, by one thread, and
else, or where that way did not tell what came of a call, by the client in a few threads.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from importer.model import Clock, Throttled, Unavailable
from importer.sinks.pace import FIRST_PAUSE_MS, LONGEST_PAUSE_MS, Rate, Window
from importer.sinks.quick import OK, Quick, Reply

BOUND_MS: Final = 15_000  # without one call done; a third of the lease (45 s)
_ROUND: Final = 4  # times the calls in flight: so many are made between two breaths
# Rule: the retryable errors of API_BatchWriteItem and API_PutItem (docs.aws.amazon.com, DynamoDB error handling), and
# of API_PutRecordBatch: its one word for "more than the stream's quota" is the last of them (G3).
THROTTLES: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "TooManyRequestsException",
        "ServiceUnavailableException",
    }
)

# No reply, or half of one: the call may have happened. botocore has two families for it.
LOST: Final = (HTTPClientError, ConnectionError)

Job = TypeVar("Job")


def is_throttle(error: ClientError) -> bool:
    """Whether AWS asks to slow down."""
    return error.response.get("Error", {}).get("Code", "") in THROTTLES


def said(error: Exception | None) -> str:
    """What went wrong, in words that may be logged: AWS's may quote an item (J8), but for those of a denial."""
    if not isinstance(error, ClientError):
        return str(error)
    code = str(error.response.get("Error", {}).get("Code", ""))
    return str(error) if "AccessDenied" in code else f"{code} from {error.operation_name}"


def is_passing(error: ClientError) -> bool:
    """Whether AWS failed in a way that passes by itself."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500


def unless_refused(error: ClientError) -> None:
    """Raises the error unless it says that a condition does not hold."""
    if error.response.get("Error", {}).get("Code") != "ConditionalCheckFailedException":
        raise error


@contextmanager
def suppress_refusal() -> Iterator[None]:
    """A conditional write inside may be refused: what is there is to stay."""
    try:
        yield
    except ClientError as error:
        unless_refused(error)


@dataclass(frozen=True, slots=True)
class Left(Generic[Job]):
    """What a call left to do: nothing, a job cut smaller, or what AWS put off because it was too much at once."""

    jobs: Sequence[Job] = ()
    put_off: bool = False


_NOTHING: Final[Left[Any]] = Left()


class Calls(Generic[Job]):
    """Runs jobs until each is done. What AWS lets through is remembered from one run to the next.

    Args:
        in_flight: calls at the same time, at most; one at a time is made in the caller's thread.
        quick_in_flight: the same of calls made the quick way.
        destination: what is written to, in words, for the message when it cannot be.
        service: as IAM calls it; with the operation it names the permission a call lacks.
        rate: what the writes of all calls together keep to.
        writes: how many of them a job is.
        meanwhile: called when calls are under way the quick way and no more is to be sent: there is time.
    """

    def __init__(
        self,
        clock: Clock,
        in_flight: int,
        destination: str,
        service: str,
        rate: Rate | None = None,
        writes: Callable[[Job], int] = lambda _: 1,
        quick_in_flight: int = 1,
        meanwhile: Callable[[], None] = lambda: None,
    ) -> None:
        self._clock = clock
        self._window = Window(max(in_flight, quick_in_flight))
        self._lanes = in_flight
        self._destination = destination
        self._service = service
        self._rate = rate or Rate(clock, 0)
        self._writes = writes
        self._meanwhile = meanwhile
        # The caller's thread makes calls too.
        self._pool = ThreadPoolExecutor(in_flight - 1) if in_flight > 1 else None

    def run(
        self,
        jobs: Sequence[Job],
        call: Callable[[Job], Left[Job]],
        breathe: Callable[[], None],
        quick: Quick[Job] | None = None,
    ) -> None:
        """Call each job; what is left of it is for later.

        A call that leaves less than it was given has got somewhere, be it a single item.

        Args:
            quick: how `call` is made the quick way.
            breathe: called every few calls, and every two seconds while none may be made. What it raises ends the run.
        Raises:
            Throttled: no call got anywhere for BOUND_MS, because AWS asked to slow down.
            Unavailable: for another reason; or an answer came that trying again would not change.
        """
        todo = deque(jobs)
        wait_ms = FIRST_PAUSE_MS
        until_ms = self._clock.now_ms() + BOUND_MS
        while todo:
            some, waited_ms = self._round(todo, breathe)
            until_ms += waited_ms  # what we forbid ourselves is no sign that AWS is stuck
            throttled = advanced = False
            failure: Exception | None = None
            answers = self._answers(some, call, quick, breathe)
            todo.extendleft(reversed(some[len(answers) :]))  # not made, though the rate has counted them
            for job, answer in zip(some, answers, strict=False):
                if isinstance(answer, Exception):
                    todo.append(job)
                    failure = answer
                    throttled |= isinstance(answer, ClientError) and is_throttle(answer)
                else:
                    throttled |= answer.put_off
                    advanced |= list(answer.jobs) != [job]
                    todo.extend(answer.jobs)
            if throttled:
                self._window.shrink()
            elif failure is None:
                self._window.widen(len(answers))
            if advanced:
                wait_ms = FIRST_PAUSE_MS
                until_ms = self._clock.now_ms() + BOUND_MS
            if throttled or failure is not None:
                longest_ms = max(wait_ms, self._window.pause_ms)
                # So that workers do not come back together.
                pause_ms = random.uniform(longest_ms / 2, longest_ms)  # nosec B311  # a pause is no secret
                if self._clock.now_ms() + pause_ms > until_ms:
                    if throttled:
                        raise Throttled(
                            f"{self._destination}: {len(todo)} calls throttled, none done for {BOUND_MS} ms"
                        ) from failure
                    raise Unavailable(
                        f"{self._destination}: {len(todo)} calls left, none done for {BOUND_MS} ms: {said(failure)}"
                    ) from failure
                self._clock.sleep(pause_ms / 1000)
                wait_ms = min(wait_ms * 2, LONGEST_PAUSE_MS)
            breathe()

    def _round(self, todo: deque[Job], breathe: Callable[[], None]) -> tuple[list[Job], int]:
        """The next jobs, as many as may be made now; how many milliseconds the first of them had to wait for that."""
        waited_ms = self._rate.wait(self._writes(todo[0]), breathe)
        some = [todo.popleft()]
        most = _ROUND * self._window.in_flight
        while todo and len(some) < most and self._rate.allows(self._writes(todo[0])):
            some.append(todo.popleft())
        return some, waited_ms

    def _answers(
        self,
        jobs: list[Job],
        call: Callable[[Job], Left[Job]],
        quick: Quick[Job] | None,
        breathe: Callable[[], None],
    ) -> "list[Left[Job] | Exception]":
        """What came of the first of these calls; the others were not made."""
        answers = [] if quick is None else self._quick_answers(jobs, quick)
        if not answers:
            return self._called(jobs[: _ROUND * self._lanes], call)
        again = [at for at, answer in enumerate(answers) if answer is None]
        if again:
            breathe()  # what went wrong may have taken a while
            for at, answer in zip(again, self._called([jobs[at] for at in again], call), strict=True):
                answers[at] = answer
        return [answer for answer in answers if answer is not None]

    def _quick_answers(self, jobs: list[Job], quick: Quick[Job]) -> "list[Left[Job] | Exception | None]":
        """As `_answers`; None for a call of which nobody knows what came of it, or what to think of that."""
        replies = quick.operation.exchange(self._bodies(jobs, quick), self._window.in_flight, quick.is_done)
        return [self._read(job, reply, quick) for job, reply in zip(jobs, replies, strict=False)]

    def _bodies(self, jobs: list[Job], quick: Quick[Job]) -> Iterator[bytes]:
        yield from map(quick.body, jobs)
        self._meanwhile()  # it asks for another one: all are sent

    def _read(self, job: Job, reply: Reply | None, quick: Quick[Job]) -> "Left[Job] | Exception | None":
        if reply is None:
            return None
        if quick.is_done(reply):
            return _NOTHING
        if reply.status == OK:
            return quick.left(job, reply)
        code = reply.error_code
        if code not in THROTTLES:
            return None
        # Made again by the client it would be twice the calls just when there are too many.
        return ClientError({"Error": {"Code": code, "Message": ""}}, quick.operation.name)

    def _called(self, jobs: Sequence[Job], call: Callable[[Job], Left[Job]]) -> "list[Left[Job] | Exception]":
        """What came of each call. None of them is under way any more, whatever is raised."""
        answers: list[Left[Job] | Exception] = [Left()] * len(jobs)
        pending = iter(list(enumerate(jobs)))  # a list's iterator may be shared by threads

        def lane() -> None:
            try:
                for index, job in pending:
                    answers[index] = self._answer(job, call)
            except BaseException:  # whatever it is, it is raised again
                for _ in pending:  # the other lanes end with the calls they are in
                    pass
                raise

        lanes = min(self._window.in_flight, self._lanes, len(jobs))
        others = [self._pool.submit(lane) for _ in range(lanes - 1)] if self._pool is not None else []
        try:
            lane()
        finally:
            wait(others)
        for other in others:
            other.result()
        return answers

    def _answer(self, job: Job, call: Callable[[Job], Left[Job]]) -> "Left[Job] | Exception":
        try:
            return call(job)
        except ClientError as error:
            if is_throttle(error) or is_passing(error):
                return error
            # A permission, a table that is not there: not the row's fault, and not mended by trying again at once.
            raise Unavailable(f"{self._destination} cannot be written: {said(error)}{self._remedy(error)}") from error
        except LOST as error:  # every job is safe to repeat
            return error

    def _remedy(self, error: ClientError) -> str:
        code = error.response.get("Error", {}).get("Code", "")
        if "AccessDenied" in code:
            return f"; allow {self._service}:{error.operation_name} on it"
        if code == "ResourceNotFoundException":
            return "; it is not there, or was deleted: deploy the stack again"
        if code.startswith("InvalidKMSResource"):
            return "; its KMS key is disabled, deleted or denied: allow kms:GenerateDataKey on the key, or mend it"
        return ""
