"""User changes → the users table: the change with the highest rank wins, whatever the order of arrival.

Changes are folded per record within a batch first; each remaining one is a conditional write, which does not batch and
costs its write unit even when refused (N9). An equal rank is the same row's, so it is written over: a lost reply needs
no read back, and what older rules made of the row does not stay.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from botocore.exceptions import ClientError

from importer.bad_rows import Reject
from importer.costs import Meter, index_units, write_units
from importer.model import Clock, Provenance, UserChange, rank
from importer.sinks.calls import Calls, Left, suppress_refusal
from importer.sinks.items import EXPIRES, Item, record_item, refusal
from importer.sinks.pace import Rate
from importer.users import LINK

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


FIRST: Final = "first_uploaded_ms"  # of a link


def put_if_highest(client: "DynamoDBClient", table: str, item: Item) -> bool:
    """Put an item unless one of a higher rank is there; of an equal rank it is the same row's. Whether it is there now;
    it costs the same either way."""
    with suppress_refusal():
        client.put_item(
            TableName=table,
            Item=item,
            ConditionExpression="attribute_not_exists(#rank) OR #rank <= :rank",
            ExpressionAttributeNames={"#rank": "rank"},
            ExpressionAttributeValues={":rank": item["rank"]},
        )
        return True
    return False


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
        meter: Meter | None = None,
    ) -> None:
        self._client = client
        self._meter = meter or Meter()
        self._table = table
        self._source = source
        self._calls: Calls[UserChange] = Calls(clock, in_flight, f"the users table {table}", "dynamodb", rate)

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
        refused: dict[int, Reject] = {}

        def put(change: UserChange) -> Left[UserChange]:
            item = record_item(change, rank(change, self._source), self._source)
            try:
                if change.record.startswith(LINK) and change.record != LINK:
                    self._link(item, change.deleted)
                else:
                    written = put_if_highest(self._client, self._table, item)
                    self._meter.add(user_write_units=write_units(item) + (index_units(item) if written else 0))
            except ClientError as error:
                if error.response.get("Error", {}).get("Code") != "ValidationException":
                    raise
                refused[change.address] = refusal(error)
            return Left()

        self._calls.run(list(folded.values()), put, breathe)
        return refused

    def _link(self, item: Item, is_cut: bool) -> None:
        """A link keeps its highest rank, and beside it the first upload that ever made it: an erasure in between means
        both ends, whichever of the two uploads is read first (`erasing`)."""
        key: Item = {name: item[name] for name in ("user_id", "record")}
        told = {name: item[name] for name in item if name not in key}
        gone = [name for name in ("value", "deleted", "event_time_ts", EXPIRES) if name not in told]
        with suppress_refusal():
            self._client.update_item(
                TableName=self._table,
                Key=key,
                UpdateExpression=(
                    f"SET {', '.join(f'#{name} = :{name}' for name in told)}"
                    f" REMOVE {', '.join(f'#{name}' for name in gone)}"
                ),
                ConditionExpression="attribute_not_exists(#rank) OR #rank <= :rank",
                ExpressionAttributeNames={f"#{name}": name for name in (*told, *gone)},
                ExpressionAttributeValues={f":{name}": value for name, value in told.items()},
            )
        if is_cut:
            return
        with suppress_refusal():
            self._client.update_item(
                TableName=self._table,
                Key=key,
                UpdateExpression="SET #first = :first",
                # Not where it was erased meanwhile.
                ConditionExpression="attribute_exists(#rank) AND (attribute_not_exists(#first) OR #first > :first)",
                ExpressionAttributeNames={"#rank": "rank", "#first": FIRST},
                ExpressionAttributeValues={":first": {"N": str(self._source.uploaded_ms)}},
            )

    def _order(self, change: UserChange) -> tuple[int, int, int]:
        """What tells the ranks of one source apart. Their texts may take a KiB each, and a row have half a million."""
        time_ms = self._source.uploaded_ms if change.event_time_ts is None else change.event_time_ts
        return time_ms, change.address, change.index
