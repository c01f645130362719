"""Virtual time for one fake cloud: nothing here ever waits.

A clock starts at a fixed instant, moves a little with every AWS call and as far as asked with every sleep.
The SDK's back-off, S3's LastModified, the visibility of SQS's messages and the importer under test all read the same
clock, so a scenario that "lasts" an hour takes milliseconds and gives the same dates on every run.
"""

from __future__ import annotations

import datetime
import time as real_time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest import mock

import botocore.endpoint
import botocore.retries.bucket
import botocore.waiter
import moto.s3.models
import moto.sqs.models

START_MS = 1_795_176_000_000  # 2026-11-20T12:00:00Z, an arbitrary Friday noon: far from midnight unless a test asks.
CALL_MS = 5  # What one AWS call costs. Any value above zero will do: it only keeps two instants apart.


class Clock:
    """What time it is in the fake cloud.

    `sleeper` decides what a sleep means: by default it moves the time; the cloud lets a dead delivery die there, and
    the interleaving lets another thread run meanwhile.
    """

    def __init__(self, start_ms: int = START_MS) -> None:
        self._now_ms = start_ms
        self.sleeper: Callable[[float], None] = lambda seconds: self.advance(seconds * 1000)
        self.slept_seconds = 0.0

    def now_ms(self) -> int:
        """Milliseconds since 1970, UTC."""
        return self._now_ms

    def now(self) -> datetime.datetime:
        """The same instant, aware, in UTC."""
        return datetime.datetime.fromtimestamp(self._now_ms / 1000, datetime.UTC)

    def _naive_now(self) -> datetime.datetime:
        return self.now().replace(tzinfo=None)

    def time(self) -> float:
        """Seconds since 1970, for whoever expects `time.time`."""
        return self._now_ms / 1000

    def advance(self, milliseconds: float) -> None:
        """Move the time forward; nobody waits."""
        self._now_ms += round(milliseconds)

    def sleep(self, seconds: float) -> None:
        """Give back when `seconds` of virtual time have passed."""
        self.slept_seconds += seconds
        self.sleeper(seconds)

    @contextmanager
    def patched(self) -> Iterator[Clock]:
        """Make the SDK's back-off and the fake S3 live by this clock while inside."""

        class SdkTime:
            """Stands for the `time` module inside botocore: sleeps cost nothing, all else is real."""

            sleep = staticmethod(self.sleep)
            time = staticmethod(self.time)

            def __getattr__(self, name: str) -> object:
                return getattr(real_time, name)

        with (
            mock.patch.object(botocore.endpoint, "time", SdkTime()),
            mock.patch.object(botocore.retries.bucket, "time", SdkTime()),
            mock.patch.object(botocore.waiter, "time", SdkTime()),
            mock.patch.object(moto.s3.models, "utcnow", self._naive_now),
            mock.patch.object(moto.dynamodb.models.table, "utcnow", self._naive_now),
            mock.patch.object(moto.sqs.models, "unix_time", self.time),
            mock.patch.object(moto.sqs.models, "unix_time_millis", self.now_ms),
        ):
            yield self


class LambdaContext:
    """The context object of one invocation that began now and has `seconds` to live."""

    function_name = "fault-test"
    memory_limit_in_mb = 512
    invoked_function_arn = "arn:aws:lambda:us-east-1:123456789012:function:fault-test"

    def __init__(self, clock: Clock, seconds: float = 900, request_id: str = "00000000-0000-0000-0000-000000000000"):
        self._clock = clock
        self.deadline_ms = clock.now_ms() + round(seconds * 1000)
        self.aws_request_id = request_id

    def get_remaining_time_in_millis(self) -> int:
        return max(0, self.deadline_ms - self._clock.now_ms())
