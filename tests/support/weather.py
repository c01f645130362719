"""What DynamoDB lets through: so many writes a second for each partition, and for a table that is new.

    with Weather(cloud) as weather:
        importer.deliver(notification)
    assert weather.refused < 200

moto takes whatever it is sent. Here every write to the events and the users table is paid for out of buckets that fill
on the cloud's clock; what cannot be paid for is put off in DynamoDB's words. Faults stand outside of it: what they
refuse never comes here, what they lose was paid for.

Rules: one write unit for each KB begun of an item, 1,000 units a second for one partition key, 4,000 for a new
on-demand table, which may double what it once took only after 30 minutes (hazards F1, F5; developer guide, "Burst and
adaptive capacity", "On-demand capacity mode"). Harder than the real thing: a bucket holds one second's worth, not five
minutes', and a partition is never split.
"""

from __future__ import annotations

import json
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Any
from unittest import mock

from botocore.awsrequest import AWSResponse

from . import strict
from .wire import Call, Execute, answer_of

if TYPE_CHECKING:
    from .clock import Clock
    from .cloud import Cloud

PARTITION_UNITS = 1_000
NEW_TABLE_UNITS = 4_000
DOUBLES_AFTER_MS = 30 * 60 * 1000
THROTTLED = "ProvisionedThroughputExceededException"


class _Bucket:
    """So many units a second, and never more than one second's worth."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._full_ms: float = clock.now_ms()  # when it will be, or was, full

    def units(self, per_second: int) -> float:
        missing_ms = max(self._full_ms - self._clock.now_ms(), 0)
        return per_second * (1 - missing_ms / 1000)

    def take(self, units: int, per_second: int) -> None:
        self._full_ms = max(self._full_ms, self._clock.now_ms()) + units * 1000 / per_second


class Weather:
    """The limits of one cloud's tables, from the instant it is entered.

    Args:
        partition_units: a second, for one partition key of one table.
        table_units: a second, for all keys of one table together, as long as it is new.

    Attributes:
        calls: writes that were asked for, each call counted once whatever is in it.
        refused: those of them of which something was put off, be it one item.
        put_off: items that were put off; the same one may be so many times.
        written: items that were paid for.
    """

    def __init__(
        self, cloud: Cloud, partition_units: int = PARTITION_UNITS, table_units: int = NEW_TABLE_UNITS
    ) -> None:
        self._cloud = cloud
        self._keys = {cloud.events_table: "user_id", cloud.users_table: "user_id"}
        self._partition_units = partition_units
        self._table_units = table_units
        self._partitions: dict[tuple[str, str], _Bucket] = {}
        self._tables: dict[str, _Bucket] = {}
        self._one_at_a_time = threading.Lock()  # a worker has several calls in flight, moto one dictionary
        self.calls = self.refused = self.put_off = self.written = 0

    def __enter__(self) -> Weather:
        self._began_ms = self._cloud.clock.now_ms()
        below = strict.executed
        self._patch = mock.patch.object(
            strict, "executed", lambda call, execute: self._weathered(call, lambda: below(call, execute))
        )
        self._patch.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._patch.stop()

    def _weathered(self, call: Call, execute: Execute) -> AWSResponse:
        with self._one_at_a_time:
            if call.operation == "BatchWriteItem":
                return self._batch(call, execute)
            if call.operation == "PutItem" and call.document["TableName"] in self._keys:
                self.calls += 1
                if self._pays(call.document["TableName"], call.document["Item"]):
                    return execute()  # a condition that does not hold is paid for too
                return self._all_put_off(call, 1)
            return execute()

    def _batch(self, call: Call, execute: Execute) -> AWSResponse:
        """Some of a call's items may be put off, in an answer that is a success; all of them are an error (F1)."""
        self.calls += 1
        document = call.document
        done: dict[str, list[Any]] = {}
        undone: dict[str, list[Any]] = {}
        for table, requests in document["RequestItems"].items():
            for request in requests:
                paid = self._pays(table, request["PutRequest"]["Item"])
                (done if paid else undone).setdefault(table, []).append(request)
        count = sum(map(len, undone.values()))
        if not undone:
            return execute()
        if not done:
            return self._all_put_off(call, count)
        call.with_document({**document, "RequestItems": done})
        answer = execute()
        if answer.status_code != 200:
            return answer
        self.refused += 1
        self.put_off += count
        body = {**json.loads(answer.raw.read()), "UnprocessedItems": undone}
        return answer_of(call, 200, {"Content-Type": "application/x-amz-json-1.0"}, json.dumps(body).encode())

    def _all_put_off(self, call: Call, count: int) -> AWSResponse:
        self.refused += 1
        self.put_off += count
        return strict.refusal(call, THROTTLED, "The level of configured provisioned throughput was exceeded.")

    def _pays(self, table: str, item: dict[str, Any]) -> bool:
        clock, units = self._cloud.clock, write_units(item)
        partition = self._partitions.setdefault((table, item[self._keys[table]]["S"]), _Bucket(clock))
        whole = self._tables.setdefault(table, _Bucket(clock))
        half_hours = (clock.now_ms() - self._began_ms) // DOUBLES_AFTER_MS
        table_units = self._table_units << half_hours
        if min(partition.units(self._partition_units), whole.units(table_units)) < units:
            return False
        partition.take(units, self._partition_units)
        whole.take(units, table_units)
        self.written += 1
        return True


def write_units(item: dict[str, Any]) -> int:
    """One for each KB begun of an item in DynamoDB's form."""
    size_bytes = sum(len(name.encode()) + _size_bytes(value) for name, value in item.items())
    return -(-size_bytes // 1024)


def _size_bytes(value: dict[str, Any]) -> int:
    ((kind, content),) = value.items()
    if kind == "S":
        return len(content.encode())
    if kind == "N":
        return len(content) // 2 + 2
    if kind == "M":
        return 3 + sum(1 + len(name.encode()) + _size_bytes(member) for name, member in content.items())
    if kind == "L":
        return 3 + sum(1 + _size_bytes(member) for member in content)
    return 1
