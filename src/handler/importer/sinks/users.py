"""User changes → the users table: the change with the highest rank wins, whatever the order of arrival.

Changes are folded per record within a batch first; each remaining one is a conditional write, which does not batch and
costs its write unit even when refused (N9).
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from importer.bad_rows import Reject
from importer.model import Clock, Provenance, UserChange, rank
from importer.sinks.calls import Calls
from importer.sinks.conditional import ANY_ITEM, ConditionalWrites, Request, put_if_highest
from importer.sinks.items import EXPIRES, Item, record_item
from importer.sinks.pace import Rate
from importer.sinks.quick import Transport
from importer.users import LINK

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


FIRST: Final = "first_uploaded_ms"  # of a link


def link_if_highest(table: str, item: Item) -> Request:
    """UpdateItem of a link unless one of a higher rank is there: beside its rank it keeps when it was first made."""
    key = {name: item[name] for name in ("user_id", "record")}
    told = {name: item[name] for name in item if name not in key}
    gone = [name for name in ("value", "deleted", "event_time_ts", EXPIRES) if name not in told]
    return {
        "TableName": table,
        "Key": key,
        "UpdateExpression": (
            f"SET {', '.join(f'#{name} = :{name}' for name in told)} REMOVE {', '.join(f'#{name}' for name in gone)}"
        ),
        "ConditionExpression": "attribute_not_exists(#rank) OR #rank <= :rank",
        "ExpressionAttributeNames": {f"#{name}": name for name in (*told, *gone)},
        "ExpressionAttributeValues": {f":{name}": value for name, value in told.items()},
    }


def first_linked(table: str, item: Item, uploaded_ms: int) -> Request:
    """UpdateItem of when a link was first made. Not where it was erased meanwhile."""
    return {
        "TableName": table,
        "Key": {name: item[name] for name in ("user_id", "record")},
        "UpdateExpression": "SET #first = :first",
        "ConditionExpression": "attribute_exists(#rank) AND (attribute_not_exists(#first) OR #first > :first)",
        "ExpressionAttributeNames": {"#rank": "rank", "#first": FIRST},
        "ExpressionAttributeValues": {":first": {"N": str(uploaded_ms)}},
    }


class UserRecords:
    """Writes one execution's user changes."""

    def __init__(
        self,
        client: "DynamoDBClient",
        table: str,
        source: Provenance,
        clock: Clock,
        in_flight: int,
        rate: Rate | None = None,
        transport: Transport | None = None,
    ) -> None:
        self._source = source
        calls: Calls[UserChange] = Calls(
            clock,
            in_flight,
            f"the users table {table}",
            "dynamodb",
            rate,
            quick_in_flight=1 if transport is None else transport.in_flight,
        )
        sample = put_if_highest(table, ANY_ITEM)
        self._puts = ConditionalWrites(
            client, "put_item", lambda change: put_if_highest(table, self._item(change)), sample, calls, transport
        )
        sample = link_if_highest(table, ANY_ITEM)
        self._links = ConditionalWrites(
            client, "update_item", lambda change: link_if_highest(table, self._item(change)), sample, calls, transport
        )
        self._firsts = ConditionalWrites(
            client,
            "update_item",
            lambda change: first_linked(table, self._item(change), source.uploaded_ms),
            sample,
            calls,
            transport,
        )

    def write(self, changes: list[UserChange], breathe: Callable[[], None]) -> dict[int, Reject]:
        """Make the changes that outrank what the table holds; returns refused rows by address (see `Sink.write`)."""
        refused: dict[int, Reject] = {}
        while changes:
            newly = self._write_folded(changes, breathe)
            refused |= newly
            # A refused change may have stood in the way of a lower ranked one of another row.
            changes = [change for change in changes if change.address not in refused] if newly else []
        return refused

    def _write_folded(self, changes: list[UserChange], breathe: Callable[[], None]) -> dict[int, Reject]:
        folded: dict[tuple[str, str], UserChange] = {}
        for change in changes:
            key = (change.user_id, change.record)
            if key not in folded or self._order(folded[key]) < self._order(change):
                folded[key] = change
        links = [change for change in folded.values() if change.record.startswith(LINK) and change.record != LINK]
        others = [change for change in folded.values() if not change.record.startswith(LINK) or change.record == LINK]
        refused = {change.address: reject for change, reject in self._puts.run(others, breathe)}
        refused |= {change.address: reject for change, reject in self._links.run(links, breathe)}
        # A link keeps its highest rank, and beside it the first upload that ever made it: an erasure in between means
        # both ends, whichever of the two uploads is read first (`erasing`).
        made = [change for change in links if not change.deleted and change.address not in refused]
        self._firsts.run(made, breathe)
        return refused

    def _item(self, change: UserChange) -> Item:
        return record_item(change, rank(change, self._source), self._source)

    def _order(self, change: UserChange) -> tuple[int, int, int]:
        """What tells the ranks of one source apart. Their texts may take a KiB each, and a row have half a million."""
        time_ms = self._source.uploaded_ms if change.event_time_ts is None else change.event_time_ts
        return time_ms, change.address, change.index
