"""What names a store holds, by a bounded look at its tables. Nothing is written, and no value leaves this room.

Rule: a Scan of SEGMENTS places of each table, one page of at most ITEMS items each. A Scan goes through a table by the
hash of the partition key, so one long page would be the events of a few persons; many short ones are of many. Most that
a look can cost: SEGMENTS pages of 1 MB of each table, 4,096 read units, $0.0005; with items of 1 KB an eighth of it.
Its reads are eventually consistent: half the price, and a name of this second is not what it is about.
"""

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from importer.aws.attributes import value_of
from importer.aws.patience import Patience
from importer.fields import json_type
from importer.known import Known, Looked, Where
from importer.model import Clock
from importer.sinks.items import Item
from importer.users import PROPERTY

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

SEGMENTS: Final = 16
ITEMS: Final = 125  # of a segment: 2,000 of a table
_OF_AN_EVENT: Final = {
    "properties": Where.PROPERTIES,
    "session_properties": Where.SESSION_PROPERTIES,
}


class StoreSample:
    """Looks at both tables when asked."""

    def __init__(self, client: "DynamoDBClient", events_table: str, users_table: str, clock: Clock) -> None:
        self._client = client
        self._events = events_table
        self._users = users_table
        self._patience = Patience(clock)

    def known(self) -> Known:
        """Raises Unavailable: a table cannot be read; says which permission is missing."""
        known = Known()
        for item in self._items(self._events, ("event_name", *_OF_AN_EVENT), known.events):
            known.event_names.add(item.get("event_name", {}).get("S", ""))
            for attribute, where in _OF_AN_EVENT.items():
                for name, value in item.get(attribute, {}).get("M", {}).items():
                    known.add(where, name, json_type(value_of(value)))
        for item in self._items(self._users, ("record", "value"), known.user_records):
            record = item["record"]["S"]
            if record.startswith(PROPERTY) and "value" in item:  # what was removed has none
                known.add(Where.USER_PROPERTIES, record.removeprefix(PROPERTY), json_type(value_of(item["value"])))
        return known

    def _items(self, table: str, attributes: tuple[str, ...], looked: Looked) -> list[Item]:
        names = {f"#{number}": attribute for number, attribute in enumerate(attributes)}
        items: list[Item] = []
        for segment in range(SEGMENTS):
            scan = partial(
                self._client.scan,
                TableName=table,
                Limit=ITEMS,
                Segment=segment,
                TotalSegments=SEGMENTS,
                ProjectionExpression=", ".join(names),
                ExpressionAttributeNames=names,
            )
            answer: Any = self._patience.answer(scan, table, "dynamodb:Scan")
            items += answer["Items"]
            looked.whole = looked.whole and "LastEvaluatedKey" not in answer
        looked.items = len(items)
        return items
