"""Many idempotent calls: several in flight, tried again with jittered back-off, within one bound of time.

The AWS client behind a call makes a single attempt; what is worth trying again is decided here, once for all sinks.
"""

import random
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, Generic, TypeVar

from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

from importer.model import Clock, Throttled, Unavailable

BOUND_MS: Final = 15_000  # one write; a third of the lease (45 s), so that an honest worker is never fenced
_FIRST_WAIT_MS: Final = 40
_LONGEST_WAIT_MS: Final = 2_000
# Rule: the retryable errors of API_BatchWriteItem and API_PutItem (docs.aws.amazon.com, DynamoDB error handling).
_THROTTLES: Final = frozenset(
    {
        "ProvisionedThroughputExceededException",
        "ThrottlingException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "TooManyRequestsException",
    }
)

# No reply, or half of one: the call may have happened. botocore has two families for it.
LOST: Final = (HTTPClientError, ConnectionError)

Job = TypeVar("Job")


class _TooLate(Exception):
    """The bound had passed before the call was made."""


def is_throttle(error: ClientError) -> bool:
    """Whether AWS asks to slow down."""
    return error.response.get("Error", {}).get("Code", "") in _THROTTLES


def is_passing(error: ClientError) -> bool:
    """Whether AWS failed in a way that passes by itself."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)) >= 500


class Calls(Generic[Job]):
    """Runs jobs until each is done.

    Args:
        in_flight: calls at the same time; 1 runs them one after another in the caller's thread.
    """

    def __init__(self, clock: Clock, in_flight: int) -> None:
        self._clock = clock
        self._in_flight = in_flight
        self._pool = ThreadPoolExecutor(in_flight) if in_flight > 1 else None

    def bound(self) -> int:
        """When a write that begins now must have ended, in milliseconds of the clock."""
        return self._clock.now_ms() + BOUND_MS

    def run(self, jobs: Sequence[Job], call: Callable[[Job], Sequence[Job]], until_ms: int) -> None:
        """Call each job; what `call` returns (unprocessed items, halves of a refused batch) are jobs for later.

        Args:
            until_ms: no call begins after this, see `bound`.
        Raises:
            Throttled: the bound has passed with jobs left, because AWS asked to slow down.
            Unavailable: it has passed for another reason; or an answer came that trying again would not change.
        """
        todo = list(jobs)
        wait_ms = _FIRST_WAIT_MS
        while todo:
            throttled = False
            failure: Exception | None = None
            left: list[Job] = []
            for job, answer in zip(todo, self._answers(todo, call, until_ms), strict=True):
                if isinstance(answer, Exception):
                    left.append(job)
                    failure = answer
                    throttled |= isinstance(answer, ClientError) and is_throttle(answer)
                else:
                    throttled |= bool(answer)
                    left += answer
            if len(left) < len(todo):
                wait_ms = _FIRST_WAIT_MS
            todo = left
            if todo:
                pause = random.uniform(wait_ms / 2, wait_ms)  # spread, so that workers do not come back together
                if self._clock.now_ms() + pause > until_ms:
                    if throttled:
                        raise Throttled(f"{len(todo)} calls still throttled after {BOUND_MS} ms") from failure
                    raise Unavailable(f"{len(todo)} calls failed for {BOUND_MS} ms: {failure}") from failure
                self._clock.sleep(pause / 1000)
                wait_ms = min(wait_ms * 2, _LONGEST_WAIT_MS)

    def _answers(
        self, jobs: list[Job], call: Callable[[Job], Sequence[Job]], until_ms: int
    ) -> "list[Sequence[Job] | Exception]":
        def answer(job: Job) -> Sequence[Job] | Exception:
            if self._clock.now_ms() > until_ms:
                return _TooLate("calls are too slow")
            try:
                return call(job)
            except ClientError as error:
                if is_throttle(error) or is_passing(error):
                    return error
                # A permission, a table that is not there: not the row's fault, and not mended by trying again at once.
                raise Unavailable(f"the destination cannot be written: {error}") from error
            except LOST as error:  # every job is safe to repeat
                return error

        if self._pool is None:
            return [answer(job) for job in jobs]
        return list(self._pool.map(answer, jobs))
