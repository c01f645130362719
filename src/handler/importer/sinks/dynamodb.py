"""Events → the events table; user changes go on to `users`, erased persons to `erasing`.

25 items a call (F1), a key at most once a call (F2). An item that fails a whole call is found by halving (F3); what is
known beforehand about limits was checked by `items.limit`. A call never nears the quota of 16 MB on the wire: a batch
is the lines of one grid cell (1 MiB), an item at most 400 KB, and JSON of our making at most six times either.

Where rows that differ may be one event (`Provenance.ranked`), the highest ranked is kept by a conditional write each:
batches have no conditions. That costs a call an event, which is why it is a choice of the import (K15).
"""

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Final, cast

from botocore.exceptions import ClientError

from importer.bad_rows import Reject
from importer.costs import Meter
from importer.model import ERASED_ROW, Clock, Event, Provenance, UserChange
from importer.sinks import NotStored
from importer.sinks.calls import Calls, Left
from importer.sinks.erasing import Erasing, UploadedMs
from importer.sinks.items import Item, event_item, refusal
from importer.sinks.pace import Rate
from importer.sinks.users import UserRecords, put_if_highest
from importer.users import ERASED

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Quota: docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
CALL_ITEMS: Final = 25


class DynamoDBSink:
    """Writes one execution's events and user changes.

    Args:
        client: makes one attempt a call (`total_max_attempts` 1): trying again is this sink's work.
        in_flight: calls at the same time, at most. Each table has its own limits, and is learned about on its own.
        uploaded_ms: when the file of an execution was uploaded; None if nobody knows any more.
        rate: what events and user changes together keep to.
        meter: told what is spent.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        events_table: str,
        users_table: str,
        source: Provenance,
        clock: Clock,
        in_flight: int,
        uploaded_ms: UploadedMs,
        rate: Rate | None = None,
        meter: Meter | None = None,
    ) -> None:
        self._client = client
        self._meter = meter or Meter()
        self._table = events_table
        self._source = source
        name = f"the events table {events_table}"
        self._calls: Calls[list[Item]] = Calls(clock, in_flight, name, "dynamodb", rate, len)
        self._single_calls: Calls[Item] = Calls(clock, in_flight, name, "dynamodb", rate)
        self._users = UserRecords(client, users_table, source, clock, in_flight, rate, self._meter)
        self._erasing = Erasing(client, events_table, users_table, source, clock, in_flight, uploaded_ms)

    def write(
        self, events: list[Event], user_changes: list[UserChange], breathe: Callable[[], None] = lambda: None
    ) -> NotStored:
        """See `Sink.write`."""
        if not events and not user_changes:
            return {}
        erasures = [change for change in user_changes if change.record == ERASED]
        if erasures:
            self._erasing.erase(erasures, breathe)
            user_changes = [change for change in user_changes if change.record != ERASED]
        not_stored: NotStored = {}
        left = self._left(events, user_changes, not_stored, breathe)
        while True:
            refused = self._users.write(left[1], breathe)
            events_left = [event for event in left[0] if event.address not in refused]
            not_stored |= refused | self._write_events(events_left, breathe)
            # Whoever is erased while we write is seen here, or has our writes in sight: see `erasing`.
            if not self._erasing.look():
                return not_stored
            before = len(not_stored)
            left = self._left(*left, not_stored, breathe)
            if len(not_stored) == before:
                return not_stored

    def _left(
        self, events: list[Event], changes: list[UserChange], not_stored: NotStored, breathe: Callable[[], None]
    ) -> tuple[list[Event], list[UserChange]]:
        """What is to be stored: nothing of a row with somebody who has been erased since; that is taken out again."""
        users = {event.user_id for event in events} | {change.user_id for change in changes}
        erased = self._erasing.erased_among(users, breathe)
        if not erased:
            return events, changes
        gone = {event.address for event in events if event.user_id in erased}
        gone |= {change.address for change in changes if change.user_id in erased}
        self._erasing.take_out(
            [event for event in events if event.address in gone],
            [change for change in changes if change.address in gone],
            erased,
            breathe,
        )
        not_stored |= dict.fromkeys(gone, ERASED_ROW)
        return _without(events, changes, gone)

    def _write_events(self, events: list[Event], breathe: Callable[[], None]) -> dict[int, Reject]:
        items: dict[tuple[str, str], Item] = {}  # equal rows are one event: the last address is noted
        rows: dict[tuple[str, str], list[int]] = {}
        for event in events:
            key = (event.user_id, event.event_key)
            item = event_item(event, self._source)
            if key not in items or not self._source.ranked or items[key]["rank"]["S"] <= item["rank"]["S"]:
                items[key] = item
            rows.setdefault(key, []).append(event.address)
        refused: dict[int, Reject] = {}

        def refuse(item: Item, error: ClientError) -> None:
            reject = refusal(error)
            for address in rows[(item["user_id"]["S"], item["event_key"]["S"])]:
                refused[address] = reject

        if self._source.ranked:
            self._single_calls.run(list(items.values()), lambda item: self._put_ranked(item, refuse), breathe)
            return refused

        def put(call: list[Item]) -> Left[list[Item]]:
            try:
                answer = self._client.batch_write_item(
                    RequestItems={self._table: [{"PutRequest": {"Item": item}} for item in call]}
                )
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "ValidationException":
                    raise
                if len(call) > 1:  # one of them spoils the call: halve until it stands alone
                    return Left([call[: len(call) // 2], call[len(call) // 2 :]])
                refuse(call[0], error)
                return Left()
            unprocessed = answer.get("UnprocessedItems", {}).get(self._table, [])
            if not unprocessed:
                self._meter.wrote_events(call)
                return Left()
            left = [cast("Item", request["PutRequest"]["Item"]) for request in unprocessed]
            self._meter.wrote_events(item for item in call if item not in left)
            return Left([left], put_off=True)

        todo = list(items.values())
        self._calls.run([todo[at : at + CALL_ITEMS] for at in range(0, len(todo), CALL_ITEMS)], put, breathe)
        return refused

    def _put_ranked(self, item: Item, refuse: Callable[[Item, ClientError], None]) -> Left[Item]:
        try:
            put_if_highest(self._client, self._table, item)
            self._meter.wrote_events([item])  # or was refused, at the same price
        except ClientError as error:
            if error.response.get("Error", {}).get("Code") != "ValidationException":
                raise
            refuse(item, error)
        return Left()


def _without(
    events: list[Event], changes: list[UserChange], addresses: Collection[int]
) -> tuple[list[Event], list[UserChange]]:
    return (
        [event for event in events if event.address not in addresses],
        [change for change in changes if change.address not in addresses],
    )
