"""Events → the events table; user changes go on to `users`, erased persons to `erasing`.

25 items a call (F1), a key at most once a call (F2). An item that fails a whole call is found by halving (F3); what is
known beforehand about limits was checked by `items.limit`. A call never nears the quota of 16 MB on the wire: a batch
is the lines of one grid cell (1 MiB), an item at most 400 KB, and JSON of our making at most six times either.

Where rows that differ may be one event (`Provenance.ranked`), the highest ranked is kept by a conditional write each:
batches have no conditions. That costs a call an event, which is why it is a choice of the import (K15).
"""

from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any, Final

import orjson
from botocore.exceptions import ClientError

from importer.bad_rows import Reject
from importer.model import ERASED_ROW, Clock, Event, Provenance, UserChange, event_rank
from importer.sinks import NotStored, unhurried
from importer.sinks.calls import Calls, Left
from importer.sinks.conditional import ANY_ITEM, ConditionalWrites, put_if_highest
from importer.sinks.erasing import Erasing, UploadedMs
from importer.sinks.items import EventTexts, event_item, refusal
from importer.sinks.pace import Rate
from importer.sinks.quick import OK, Quick, Reply, Transport
from importer.sinks.users import UserRecords
from importer.users import ERASED

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Quota: docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
CALL_ITEMS: Final = 25
_ALL_WRITTEN: Final = b'{"UnprocessedItems":{}}'  # DynamoDB's reply to nearly every call, letter by letter


class DynamoDBSink:
    """Writes one execution's events and user changes.

    Args:
        client: makes one attempt a call (`total_max_attempts` 1): trying again is this sink's work.
        in_flight: calls at the same time, at most. Each table has its own limits, and is learned about on its own.
        uploaded_ms: when the file of an execution was uploaded; None if nobody knows any more.
        rate: what events and user changes together keep to.
        transport: the quick way of the same client.
        meanwhile: see `Calls`; called while a batch's last calls are under way.
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
        transport: Transport | None = None,
        meanwhile: Callable[[], None] = unhurried,
    ) -> None:
        self._client = client
        self._table = events_table
        self._source = source
        name, quick_in_flight = f"the events table {events_table}", 1 if transport is None else transport.in_flight
        self._calls: Calls[list[Event]] = Calls(
            clock, in_flight, name, "dynamodb", rate, len, quick_in_flight, meanwhile
        )
        self._quick: Quick[list[Event]] | None = None
        if transport is not None:
            operation = transport.operation("batch_write_item", **self._request([{"PutRequest": {"Item": ANY_ITEM}}]))
            self._quick = Quick(operation, self._text, _all_written, self._left_by_reply)
        self._ranked: ConditionalWrites[Event] = ConditionalWrites(
            client,
            "put_item",
            lambda event: put_if_highest(events_table, event_item(event, source)),
            put_if_highest(events_table, ANY_ITEM),
            Calls(clock, in_flight, name, "dynamodb", rate, quick_in_flight=quick_in_flight),
            transport,
        )
        self._item_text = EventTexts(source)
        self._text_begin, self._text_end = b'{"RequestItems":{%b:[' % orjson.dumps(events_table), b"]}}"
        self._users = UserRecords(client, users_table, source, clock, in_flight, rate, transport)
        self._erasing = Erasing(client, events_table, users_table, source, clock, in_flight, uploaded_ms, transport)

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
            events_left = [event for event in left[0] if event.address not in refused] if refused else left[0]
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
        if not self._erasing.has_anyone():
            return events, changes
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
        todo = events
        if len({event.event_id for event in events}) < len(events):
            kept: dict[tuple[str, str], Event] = {}  # equal rows are one event: the last address is noted
            for event in events:
                key = (event.user_id, event.event_key)
                if key not in kept or not self._source.ranked or self._rank(kept[key]) <= self._rank(event):
                    kept[key] = event
            todo = list(kept.values())
        refused = self._ranked.run(todo, breathe) if self._source.ranked else self._write_batches(todo, breathe)
        rejects = {(event.user_id, event.event_key): reject for event, reject in refused}
        if not rejects:
            return {}
        rows = ((event.address, rejects.get((event.user_id, event.event_key))) for event in events)
        return {address: reject for address, reject in rows if reject is not None}

    def _rank(self, event: Event) -> str:
        return event_rank(event, self._source)

    def _write_batches(self, events: list[Event], breathe: Callable[[], None]) -> list[tuple[Event, Reject]]:
        refused: list[tuple[Event, Reject]] = []

        def put(call: list[Event]) -> Left[list[Event]]:
            items = [event_item(event, self._source) for event in call]
            try:
                answer = self._client.batch_write_item(
                    **self._request([{"PutRequest": {"Item": item}} for item in items])
                )
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "ValidationException":
                    raise
                if len(call) > 1:  # one of them spoils the call: halve until it stands alone
                    return Left([call[: len(call) // 2], call[len(call) // 2 :]])
                refused.append((call[0], refusal(error)))
                return Left()
            return self._left_by(call, answer.get("UnprocessedItems", {}))

        calls = [events[at : at + CALL_ITEMS] for at in range(0, len(events), CALL_ITEMS)]
        self._calls.run(calls, put, breathe, self._quick)
        return refused

    def _request(self, writes: list[Any]) -> dict[str, Any]:
        return {"RequestItems": {self._table: writes}}

    def _text(self, call: list[Event]) -> bytes:
        """The body of such a request, made when it is sent: while other calls are under way, and for no longer."""
        items = b'}},{"PutRequest":{"Item":'.join(map(self._item_text, call))
        return b'%b{"PutRequest":{"Item":%b}}%b' % (self._text_begin, items, self._text_end)

    def _left_by_reply(self, call: list[Event], reply: Reply) -> Left[list[Event]] | None:
        unprocessed = reply.document.get("UnprocessedItems")
        return self._left_by(call, unprocessed) if isinstance(unprocessed, dict) else None

    def _left_by(self, call: list[Event], unprocessed: Mapping[str, Any]) -> Left[list[Event]]:
        """What a success left to do: those of the call it lists."""
        if not unprocessed.get(self._table):
            return Left()
        items = [request["PutRequest"]["Item"] for request in unprocessed[self._table]]
        keys = {(item["user_id"]["S"], item["event_key"]["S"]) for item in items}
        left = [event for event in call if (event.user_id, event.event_key) in keys]
        return Left([left or call], put_off=True)


def _all_written(reply: Reply) -> bool:
    return reply.status == OK and reply.body == _ALL_WRITTEN


def _without(
    events: list[Event], changes: list[UserChange], addresses: Collection[int]
) -> tuple[list[Event], list[UserChange]]:
    return (
        [event for event in events if event.address not in addresses],
        [change for change in changes if change.address not in addresses],
    )
