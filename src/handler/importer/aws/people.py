"""People read back from the tables: records, events newest first, members of segments. Nothing is written."""

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

from botocore.exceptions import ClientError

from importer.aws.attributes import value_of
from importer.aws.patience import Patience
from importer.model import Clock, Event, Row, Unavailable
from importer.sinks.items import EXPIRES, Item
from importer.users import LINK, MOST_IDENTIFIERS, Record, Span, StoredEvent

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

INDEX: Final = "by_segment"
MOST_PAGE: Final = 1_000  # events of one identifier asked for at once
_BEHIND_LINKS: Final = LINK[:-1] + chr(ord(LINK[-1]) + 1)  # sorts behind every link, and before any other record
# Whatever else stands in the users table, such as the importer's own marks, is no record of a person.
_RANK: Final = re.compile(r"\d{13,}#\d{13,}#", re.ASCII)
_NO_INDEX: Final = ("ValidationException", "ResourceNotFoundException")


class StoredPeople:
    """See `users.People`.

    Args:
        in_flight: calls at the same time; 1 makes them one after another in the caller's thread.
        most_links: of one identifier.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        events_table: str,
        users_table: str,
        clock: Clock,
        in_flight: int = 8,
        most_links: int = MOST_IDENTIFIERS,
    ) -> None:
        self._client = client
        self._events = events_table
        self._users = users_table
        self._clock = clock
        self._patience = Patience(clock)
        self._most_links = most_links
        self._pool = ThreadPoolExecutor(in_flight) if in_flight > 1 else None

    def records(self, user_ids: Sequence[str]) -> dict[str, list[Record]]:
        return dict(zip(user_ids, self._map(self._records, user_ids), strict=True))

    def events(self, user_ids: Sequence[str], span: Span, page: int) -> list[Iterator[StoredEvent]]:
        if span.lowest_key >= span.highest_key:
            return [iter(()) for _ in user_ids]
        first = self._map(lambda user_id: self._event_page(user_id, span, max(page, 1), {}), user_ids)
        return [
            self._events_from(user_id, span, max(page, 1), answer)
            for user_id, answer in zip(user_ids, first, strict=True)
        ]

    def members(self, segment_id: str) -> Iterator[Record]:
        asked: dict[str, Any] = {
            "TableName": self._users,
            "IndexName": INDEX,
            "KeyConditionExpression": "#segment = :segment",  # a reserved word
            "ExpressionAttributeNames": {"#segment": "segment"},
            "ExpressionAttributeValues": {":segment": {"S": segment_id}},
        }
        while True:
            answer = self._query(asked, f"{self._users}/index/{INDEX}")
            now_ms = self._clock.now_ms()
            for item in answer["Items"]:
                record = _record(item)
                if record is not None and (record.expires_ms is None or record.expires_ms > now_ms):
                    yield record
            if "LastEvaluatedKey" not in answer:
                return
            asked["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _map(self, one: Callable[[str], Any], user_ids: Sequence[str]) -> list[Any]:
        in_turn = self._pool is None or len(user_ids) < 2
        return list(map(one, user_ids) if in_turn else self._pool.map(one, user_ids))  # type: ignore[union-attr]

    def _records(self, user_id: str) -> list[Record]:
        """All of them; where the links are too many, it goes on behind them."""
        found: list[Record] = []
        links = 0
        asked: dict[str, Any] = {
            "TableName": self._users,
            "KeyConditionExpression": "user_id = :user",
            "ExpressionAttributeValues": {":user": {"S": user_id}},
            "ConsistentRead": True,
        }
        while True:
            answer = self._query(asked, self._users)
            for item in answer["Items"]:
                record = _record(item)
                if record is not None:
                    found.append(record)
                    links += record.record.startswith(LINK)
            last = answer.get("LastEvaluatedKey")
            if last is None:
                return found
            if links > self._most_links and last["record"]["S"].startswith(LINK):
                asked.pop("ExclusiveStartKey", None)
                asked["KeyConditionExpression"] = "user_id = :user AND #record >= :behind"
                asked["ExpressionAttributeNames"] = {"#record": "record"}
                asked["ExpressionAttributeValues"] = {":user": {"S": user_id}, ":behind": {"S": _BEHIND_LINKS}}
            else:
                asked["ExclusiveStartKey"] = last

    def _events_from(self, user_id: str, span: Span, page: int, answer: Any) -> Iterator[StoredEvent]:
        while True:
            now_ms = self._clock.now_ms()
            for item in answer["Items"]:
                # BETWEEN takes in its end, which is where a span, or the event before which it ends, begins.
                if item["event_key"]["S"] < span.highest_key and not _is_over(item, now_ms):
                    yield _stored_event(item)
            if "LastEvaluatedKey" not in answer:
                return
            page = min(page * 4, MOST_PAGE)  # whoever goes on reads much
            answer = self._event_page(user_id, span, page, {"ExclusiveStartKey": answer["LastEvaluatedKey"]})

    def _event_page(self, user_id: str, span: Span, page: int, start: dict[str, Any]) -> Any:
        asked = {
            "TableName": self._events,
            "KeyConditionExpression": "user_id = :user AND event_key BETWEEN :low AND :high",
            "ExpressionAttributeValues": {
                ":user": {"S": user_id},
                ":low": {"S": span.lowest_key},
                ":high": {"S": span.highest_key},
            },
            "ScanIndexForward": False,
            "ConsistentRead": True,
            "Limit": page,
            **start,
        }
        return self._query(asked, self._events)

    def _query(self, asked: dict[str, Any], place: str) -> Any:
        def call() -> Any:
            try:
                return self._client.query(**asked)
            except ClientError as error:
                said = error.response.get("Error", {})
                # "The table does not have the specified index", "Cannot read from backfilling global secondary index"
                if said.get("Code") in _NO_INDEX and "index" in str(said.get("Message", "")):
                    raise Unavailable(
                        f"the table {self._users} has no index {INDEX}, or is still filling it: deploy this version, "
                        "then wait until DynamoDB calls the index active"
                    ) from error
                raise

        return self._patience.answer(call, place, "dynamodb:Query")


def _record(item: Item) -> Record | None:
    """The record an item is; None if it is none."""
    rank = _text(item, "rank")
    if not _RANK.match(rank):
        return None
    expires_at = _whole(item, EXPIRES)
    return Record(
        user_id=_text(item, "user_id"),
        record=_text(item, "record"),
        rank=rank,
        value=value_of(item["value"]) if "value" in item else None,
        deleted=bool(item.get("deleted", {}).get("BOOL", False)),
        event_time_ts=_whole(item, "event_time_ts"),
        expires_ms=None if expires_at is None else expires_at * 1000,
        execution_id=_text(item, "execution_id"),
        address=_whole(item, "address") or 0,
    )


def _stored_event(item: Item) -> StoredEvent:
    expires_at = _whole(item, EXPIRES)
    event = Event(
        event_id=_text(item, "event_id"),
        event_name=_text(item, "event_name"),
        event_time_ts=_whole(item, "event_time_ts") or 0,
        user_id=_text(item, "user_id"),
        properties=_row(item, "properties") or {},
        address=_whole(item, "address") or 0,
        session_properties=_row(item, "session_properties"),
        identifiers=_row(item, "identifiers"),
        format=_text(item, "format"),
        expires_ms=None if expires_at is None else expires_at * 1000,
    )
    return StoredEvent(event, _text(item, "import_id"), _text(item, "execution_id"))


def _is_over(item: Item, now_ms: int) -> bool:
    """Whether its time to live has ended: DynamoDB takes its time to remove it."""
    expires_at = _whole(item, EXPIRES)
    return expires_at is not None and expires_at * 1000 <= now_ms


def _text(item: Item, name: str) -> str:
    return str(item.get(name, {}).get("S", ""))


def _whole(item: Item, name: str) -> int | None:
    text = item.get(name, {}).get("N")
    return None if text is None else int(Decimal(text))


def _row(item: Item, name: str) -> Row | None:
    members = item.get(name, {}).get("M")
    return None if members is None else {name: value_of(member) for name, member in members.items()}
