"""Events → the events table; user changes go on to `users`.

25 items a call (F1), a key at most once a call (F2). An item that fails a whole call is found by halving (F3); what is
known beforehand about limits was checked by `items.limit`. A call never nears the quota of 16 MB on the wire: a batch
is the lines of one grid cell (1 MiB), an item at most 400 KB, and JSON of our making at most six times either.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from botocore.exceptions import ClientError

from importer.bad_rows import Reject
from importer.model import Clock, Event, Provenance, UserChange
from importer.sinks.calls import Calls, Left
from importer.sinks.items import Item, event_item, refusal
from importer.sinks.pace import Rate
from importer.sinks.users import UserRecords

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# Quota: docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchWriteItem.html
CALL_ITEMS: Final = 25


class DynamoDBSink:
    """Writes one execution's events and user changes.

    Args:
        client: makes one attempt a call (`total_max_attempts` 1): trying again is this sink's work.
        in_flight: calls at the same time, at most. Each table has its own limits, and is learned about on its own.
        rate: what events and user changes together keep to.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        events_table: str,
        users_table: str,
        source: Provenance,
        clock: Clock,
        in_flight: int,
        rate: Rate | None = None,
    ) -> None:
        self._client = client
        self._table = events_table
        self._source = source
        self._calls: Calls[list[Item]] = Calls(
            clock, in_flight, f"the events table {events_table}", "dynamodb:BatchWriteItem", rate, len
        )
        self._users = UserRecords(client, users_table, source, clock, in_flight, rate)

    def write(
        self, events: list[Event], user_changes: list[UserChange], breathe: Callable[[], None] = lambda: None
    ) -> dict[int, Reject]:
        """See `Sink.write`."""
        refused = self._users.write(user_changes, breathe)
        return refused | self._write_events([event for event in events if event.address not in refused], breathe)

    def _write_events(self, events: list[Event], breathe: Callable[[], None]) -> dict[int, Reject]:
        items: dict[tuple[str, str], Item] = {}  # equal rows are one event: the last address is noted
        rows: dict[tuple[str, str], list[int]] = {}
        for event in events:
            key = (event.user_id, event.event_key)
            items[key] = event_item(event, self._source)
            rows.setdefault(key, []).append(event.address)
        refused: dict[int, Reject] = {}

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
                reject = refusal(error)
                for address in rows[(call[0]["user_id"]["S"], call[0]["event_key"]["S"])]:
                    refused[address] = reject
                return Left()
            unprocessed = answer.get("UnprocessedItems", {}).get(self._table, [])
            if not unprocessed:
                return Left()
            return Left([[cast("Item", request["PutRequest"]["Item"]) for request in unprocessed]], put_off=True)

        todo = list(items.values())
        self._calls.run([todo[at : at + CALL_ITEMS] for at in range(0, len(todo), CALL_ITEMS)], put, breathe)
        return refused
