"""Many idempotent calls: several in flight, tried again with jittered back-off, as long as they get somewhere.

The AWS client behind a call makes a single attempt; what is worth trying again is decided here, once for all sinks.
"""

import random
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from importer.model import Clock, Throttled, Unavailable

BOUND_MS: Final = 15_000  # without one call done; a third of the lease (45 s)
_BREATH_CALLS: Final = 4  # times the calls in flight: so many are made between two breaths
_FIRST_WAIT_MS: Final = 40
_LONGEST_WAIT_MS: Final = 2_000
# Rule: the retryable errors of API_BatchWriteItem and API_PutItem (docs.aws.amazon.com, DynamoDB error handling), and
# of API_PutRecordBatch: its one word for "more than the stream's quota" is the last of them (G3).
_THROTTLES: Final = frozenset(
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
    return error.response.get("Error", {}).get("Code", "") in _THROTTLES


def said(error: Exception | None) -> str:
    """What went wrong, in words that may be logged: AWS's may quote an item (J8), but for those of a denial."""
    if not isinstance(error, ClientError):
        return str(error)
    code = str(error.response.get("Error", {}).get("Code", ""))
    return str(error) if "AccessDenied" in code else f"{code} from {error.operation_name}"


def is_passing(error: ClientError) -> bool:
    """Whether AWS failed in a way that passes by itself."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500


class Calls(Generic[Job]):
    """Runs jobs until each is done.

    Args:
        in_flight: calls at the same time; 1 runs them one after another in the caller's thread.
        destination: what is written to, in words, for the message when it cannot be.
        permission: the IAM action a call needs.
    """

    def __init__(self, clock: Clock, in_flight: int, destination: str, permission: str) -> None:
        self._clock = clock
        self._in_flight = in_flight
        self._destination = destination
        self._permission = permission
        self._pool = ThreadPoolExecutor(in_flight) if in_flight > 1 else None

    def run(self, jobs: Sequence[Job], call: Callable[[Job], Sequence[Job]], breathe: Callable[[], None]) -> None:
        """Call each job; what `call` returns (unprocessed items, halves of a refused batch) are jobs for later.

        A call that leaves less than it was given has got somewhere, be it a single item.

        Args:
            breathe: called every few calls. What it raises ends the run.
        Raises:
            Throttled: no call got anywhere for BOUND_MS, because AWS asked to slow down.
            Unavailable: for another reason; or an answer came that trying again would not change.
        """
        todo = deque(jobs)
        wait_ms = _FIRST_WAIT_MS
        until_ms = self._clock.now_ms() + BOUND_MS
        while todo:
            some = [todo.popleft() for _ in range(min(len(todo), _BREATH_CALLS * self._in_flight))]
            throttled = advanced = False
            failure: Exception | None = None
            left: list[Job] = []
            for job, answer in zip(some, self._answers(some, call), strict=True):
                if isinstance(answer, Exception):
                    left.append(job)
                    failure = answer
                    throttled |= isinstance(answer, ClientError) and is_throttle(answer)
                else:
                    throttled |= bool(answer)
                    advanced |= list(answer) != [job]
                    left += answer
            todo.extend(left)
            if advanced:
                wait_ms = _FIRST_WAIT_MS
                until_ms = self._clock.now_ms() + BOUND_MS
            if left:
                pause_ms = random.uniform(wait_ms / 2, wait_ms)  # spread, so that workers do not come back together
                if self._clock.now_ms() + pause_ms > until_ms:
                    if throttled:
                        raise Throttled(
                            f"{self._destination}: {len(todo)} calls throttled, none done for {BOUND_MS} ms"
                        ) from failure
                    raise Unavailable(
                        f"{self._destination}: {len(todo)} calls left, none done for {BOUND_MS} ms: {said(failure)}"
                    ) from failure
                self._clock.sleep(pause_ms / 1000)
                wait_ms = min(wait_ms * 2, _LONGEST_WAIT_MS)
            breathe()

    def _answers(self, jobs: list[Job], call: Callable[[Job], Sequence[Job]]) -> "list[Sequence[Job] | Exception]":
        def answer(job: Job) -> Sequence[Job] | Exception:
            try:
                return call(job)
            except ClientError as error:
                if is_throttle(error) or is_passing(error):
                    return error
                # A permission, a table that is not there: not the row's fault, and not mended by trying again at once.
                raise Unavailable(
                    f"{self._destination} cannot be written: {said(error)}{self._remedy(error)}"
                ) from error
            except LOST as error:  # every job is safe to repeat
                return error

        if self._pool is None:
            return [answer(job) for job in jobs]
        return list(self._pool.map(answer, jobs))

    def _remedy(self, error: ClientError) -> str:
        code = error.response.get("Error", {}).get("Code", "")
        if "AccessDenied" in code:
            return f"; allow {self._permission} on it"
        if code == "ResourceNotFoundException":
            return "; it is not there, or was deleted: deploy the stack again"
        if code.startswith("InvalidKMSResource"):
            return "; its KMS key is disabled, deleted or denied: allow kms:GenerateDataKey on the key, or mend it"
        return ""
