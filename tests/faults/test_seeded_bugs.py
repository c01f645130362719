"""The fault suite tested: bugs other importers shipped, planted in ours one at a time, must each be caught.

A suite that finds nothing proves nothing until it has been seen to find something (hazards M).
"""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import count
from typing import Any
from unittest import mock

import pytest

from importer.aws import objects, tables
from importer.executions import importing, settling
from importer.model import PartState, Phase
from importer.sinks import dynamodb
from tests.faults.importing import VENDOR_ROWS, WORKLOADS, Importer, installed, survives
from tests.faults.test_import import NEWER
from tests.support.books import assert_books_balance, assert_nothing_lost
from tests.support.faults import Fault, every
from tests.support.interleave import interleaved
from tests.support.scenarios import Failure, calls_of, explore

Bug = Callable[[], Any]


def ignored_unprocessed_items() -> Any:
    """A 200 with UnprocessedItems taken for success (F1)."""
    honest = dynamodb.DynamoDBSink.__init__

    def bugged(self: Any, client: Any, *rest: Any) -> None:
        deaf = mock.Mock(wraps=client)
        deaf.batch_write_item.side_effect = lambda **call: client.batch_write_item(**call) | {"UnprocessedItems": {}}
        honest(self, deaf, *rest)

    return mock.patch.object(dynamodb.DynamoDBSink, "__init__", bugged)


def progress_before_the_sink() -> Any:
    """The position moves before the batch is durable: a crash in between loses rows."""
    honest = importing._write

    def bugged(place: Any, execution: Any, sink: Any, batch: Any, saved: PartState, owner: str) -> None:
        after = PartState(saved.start, saved.stop, batch.next_offset, saved.tally.plus(batch.tally), False, None)
        place.records.progress(execution, saved, after, owner, place.clock.now_ms() + importing.LEASE_MS)
        honest(place, execution, sink, batch, after, owner)
        place.records.progress(execution, after, saved, owner, place.clock.now_ms() + importing.LEASE_MS)

    return mock.patch.object(importing, "_write", bugged)


def trusted_end_of_body() -> Any:
    """A body that ends early is believed (C2)."""

    def bugged(self: Any, source: Any, start: int) -> Iterator[bytes]:
        try:
            yield from self._body(source, start)
        except (*objects.LOST, objects.IncompleteReadError, objects.HTTPError, OSError):
            return

    return mock.patch.object(objects.S3Objects, "read", bugged)


def deleted_before_copied() -> Any:
    """Source deleted, then the copy made from memory of it: a crash in between loses the file (I3)."""
    honest = objects.S3Objects.copy

    def bugged(self: Any, source: Any, key: str, sha256: str) -> None:
        body = b"".join(self.read(source, 0))
        self.delete_version(source)
        self._s3.put_object(Bucket=source.bucket, Key=key, Body=io.BytesIO(body).read())
        if not self._is_copy(source, key, sha256):
            honest(self, source, key, sha256)

    return mock.patch.object(objects.S3Objects, "copy", bugged)


def head_then_delete() -> Any:
    """Looks whether the object is still the same, then deletes whatever is there (I4)."""

    def bugged(self: Any, source: Any) -> None:
        found = self._s3.head_object(Bucket=source.bucket, Key=source.key)
        if found["ETag"].strip('"') == source.etag:
            self._s3.delete_object(Bucket=source.bucket, Key=source.key)

    return mock.patch.object(objects.S3Objects, "delete_version", bugged)


def random_segment_names() -> Any:
    """Bad rows written twice under two names after a retry (I10)."""
    numbers = count()
    return mock.patch.object(
        importing, "segment_key", lambda execution, _: settling.segment_key(execution, next(numbers))
    )


def counters_added_up() -> Any:
    """Tallies added to what the table holds, so that a repeated write counts twice (F6)."""
    honest = tables.ImportsTable.progress

    def bugged(self: Any, execution: Any, before: Any, after: Any, owner: str, lease_until_ms: int) -> None:
        key = tables._key(f"EXEC#{execution.id}", tables._part_sort_key(before.start))
        self._call(
            "update_item",
            Key=key,
            UpdateExpression="ADD tally.good :good",
            ExpressionAttributeValues={":good": {"N": str(after.tally.good - before.tally.good)}},
        )
        stored = tables._part_state(self._part(execution.id, before.start)).tally
        after.tally.good = stored.good
        honest(self, execution, before, after, owner, lease_until_ms)

    return mock.patch.object(tables.ImportsTable, "progress", bugged)


def no_fence() -> Any:
    """Progress written whoever owns the part, wherever it stands (I1)."""

    def bugged(self: Any, execution: Any, before: Any, after: Any, owner: str, lease_until_ms: int) -> None:
        self._call(
            "update_item",
            Key=tables._key(f"EXEC#{execution.id}", tables._part_sort_key(before.start)),
            UpdateExpression="SET next_offset = :after, tally = :tally" + (", done = :done" if after.done else ""),
            ExpressionAttributeValues=tables._marshalled(
                {":after": after.next_offset, ":tally": tables._tally_map(after.tally)}
                | ({":done": True} if after.done else {})
            ),
        )

    return mock.patch.object(tables.ImportsTable, "progress", bugged)


def lost_reply_taken_for_a_refusal() -> Any:
    """Our own success, seen refused by the SDK's retry, taken for another worker's (F8)."""
    honest = tables.ImportsTable._part

    def bugged(self: Any, execution_id: str, start: int) -> Any:
        return honest(self, execution_id, start) | {"owner": "somebody else"}

    return mock.patch.object(tables.ImportsTable, "_part", bugged)


@contextmanager
def destination_worked_out_anew() -> Iterator[None]:
    """Where results go is decided at every settling, by the clock, instead of once (H8)."""
    settle, destination, finalise = settling.settle, settling._destination, tables.ImportsTable.finalise

    def anew(place: Any, execution: Any) -> Any:
        return settle(place, replace(execution, outcome=None) if execution.phase is Phase.FINALISING else execution)

    def by_the_clock(place: Any, execution: Any) -> Any:
        fixed = destination(place, execution)
        return replace(fixed, **{field: f"{key}.{place.clock.now_ms()}" for field, key in asdict(fixed).items()})

    def not_fixed(self: Any, execution: Any, outcome: Any) -> Any:
        return replace(finalise(self, execution, outcome), outcome=outcome)

    with (
        mock.patch.object(importing, "settle", anew),
        mock.patch.object(settling, "_destination", by_the_clock),
        mock.patch.object(tables.ImportsTable, "finalise", not_fixed),
    ):
        yield


# -- who looks for it ------------------------------------------------------------------------------------------------


def by_single_faults(importer: Importer, *kinds: str) -> list[Failure]:
    key, body = WORKLOADS["medium"]
    notification = importer.cloud.drop(key, body, Metadata={"sender": "nightly"})
    calls = calls_of(importer.cloud, lambda: importer.deliver(notification))
    return explore(
        every(calls, kinds),
        lambda fault: survives(importer, notification, {key: body}, fault),
        stop_after=1,
    )


def by_overwriting(importer: Importer) -> list[Failure]:
    key = "imports/logins.json"
    notification = importer.cloud.drop(key, VENDOR_ROWS)
    calls = calls_of(importer.cloud, lambda: importer.deliver(notification))

    def play(at: int) -> None:
        overwrite = Fault("before", at, detail={"do": lambda cloud: cloud.drop(key, NEWER)})
        importer.deliver_as_lambda_does(notification, overwrite)
        assert_nothing_lost(importer.cloud, {key: [VENDOR_ROWS, NEWER]})
        newer = importer.cloud.notification(importer.cloud.dropped[-1])
        importer.deliver_as_lambda_does(newer)
        assert_books_balance(importer.cloud, {key: [VENDOR_ROWS, NEWER]})

    return explore([call.index for call in calls], play, stop_after=1)


def by_two_at_once(importer: Importer) -> list[Failure]:
    key, body = WORKLOADS["medium"]
    notification = importer.cloud.drop(key, body)
    calls = calls_of(importer.cloud, lambda: importer.deliver(notification))
    slow = [Fault("slow", call.index, detail={"seconds": 50}) for call in calls if call.service == "dynamodb"]

    def play(number: int) -> None:
        deliveries = {name: lambda: importer.deliver(notification) for name in ("a", "b")}
        interleaved(importer.cloud, deliveries, number, {"a": [slow[number % len(slow)]]}, tries=3)
        assert_books_balance(importer.cloud, {key: body})

    return explore(range(200), play, stop_after=1)


CAUGHT: list[tuple[Bug, Callable[..., list[Failure]], tuple[str, ...]]] = [
    (ignored_unprocessed_items, by_single_faults, ("unprocessed",)),
    (progress_before_the_sink, by_single_faults, ("kill_after",)),
    (trusted_end_of_body, by_single_faults, ("body_cut",)),
    (deleted_before_copied, by_single_faults, ("kill_after",)),
    (random_segment_names, by_single_faults, ("kill_after",)),
    (counters_added_up, by_single_faults, ("kill_after",)),
    (lost_reply_taken_for_a_refusal, by_single_faults, ("reply_lost",)),
    (destination_worked_out_anew, by_single_faults, ("kill_after",)),
    (head_then_delete, by_overwriting, ()),
    (no_fence, by_two_at_once, ()),
]


@pytest.mark.parametrize(("bug", "look", "kinds"), CAUGHT, ids=[bug.__name__ for bug, _, _ in CAUGHT])
def test_a_planted_bug_is_caught(bug: Bug, look: Callable[..., list[Failure]], kinds: tuple[str, ...]) -> None:
    """At least one scenario of the suite fails while the bug is in."""
    with installed() as importer, bug():
        try:
            failures = look(importer, *kinds)
        except RuntimeError:  # so broken that even the clean delivery fails
            return
    assert failures, f"{bug.__doc__} was not noticed"
