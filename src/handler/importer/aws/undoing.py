"""The two tables as an undoing writes them: each write on condition that the item still is as it was seen.

A refused write is followed by a read that asks "was it me?", since a lost reply makes the next try see its own success
refused (F8).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

from botocore.exceptions import ClientError

from importer.model import Clock
from importer.sinks.calls import Calls, Left, unless_refused
from importer.sinks.items import Item
from importer.sinks.users import FIRST

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

# What tells two writings of one item apart.
_SEEN_BY: Final = ("execution_id", "address", "rank", FIRST)


class _Place(Protocol):
    @property
    def value(self) -> str: ...


class _Change(Protocol):
    """See `ledger.undo.Change`."""

    @property
    def place(self) -> _Place: ...

    @property
    def key(self) -> tuple[str, str]: ...

    @property
    def seen(self) -> Item | None: ...

    @property
    def item(self) -> Item | None: ...


class UndoneTables:
    """See `ledger.undo.Tables`."""

    def __init__(
        self, client: "DynamoDBClient", events_table: str, users_table: str, clock: Clock, in_flight: int = 16
    ) -> None:
        self._client = client
        # By the place's name in `ledger.verdict`.
        self._tables = {"events": (events_table, "event_key"), "users": (users_table, "record")}
        self._calls: Calls[int] = Calls(clock, in_flight, f"the tables {events_table} and {users_table}", "dynamodb")

    def apply(self, changes: Sequence[_Change], breathe: Callable[[], None]) -> list[bool]:
        made = [True] * len(changes)

        def write(number: int) -> Left[int]:
            change = changes[number]
            try:
                self._write(change)
            except ClientError as error:
                unless_refused(error)
                made[number] = self._is_made(change)
            return Left()

        self._calls.run(range(len(changes)), write, breathe)
        return made

    def _write(self, change: _Change) -> None:
        table, sort_key = self._tables[change.place.value]
        condition = _as_seen(change.seen)
        if change.item is None:
            self._client.delete_item(TableName=table, Key=_key(change, sort_key), **condition)
        else:
            self._client.put_item(TableName=table, Item=change.item, **condition)

    def _is_made(self, change: _Change) -> bool:
        table, sort_key = self._tables[change.place.value]
        answer: Any = self._client.get_item(TableName=table, Key=_key(change, sort_key), ConsistentRead=True)
        return _told(answer.get("Item")) == _told(change.item)


def _key(change: _Change, sort_key: str) -> Item:
    user_id, name = change.key
    return {"user_id": {"S": user_id}, sort_key: {"S": name}}


def _told(item: Mapping[str, Any] | None) -> list[Any] | None:
    return None if item is None else [item.get(name) for name in _SEEN_BY]


def _as_seen(item: Item | None) -> dict[str, Any]:
    """The condition that an item still is as it was seen; None: that there is none."""
    if item is None:
        return {"ConditionExpression": "attribute_not_exists(user_id)"}
    names = {f"#{number}": name for number, name in enumerate(_SEEN_BY)}
    there = {number: item[name] for number, name in enumerate(_SEEN_BY) if name in item}
    tests = [
        f"#{number} = :{number}" if number in there else f"attribute_not_exists(#{number})"
        for number in range(len(_SEEN_BY))
    ]
    return {
        "ConditionExpression": " AND ".join(tests),
        "ExpressionAttributeNames": names,
        "ExpressionAttributeValues": {f":{number}": value for number, value in there.items()},
    }
