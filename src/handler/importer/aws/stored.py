"""The tables read back: items by their keys, and keys by who wrote them last. For recounts; nothing is written."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from importer.aws.attributes import plain
from importer.aws.patience import TRIES, Patience
from importer.model import Clock, Unavailable
from importer.sinks.items import Item

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

Key = tuple[str, str]

CALL_KEYS: Final = 100  # Quota: docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html


class StoredTables:
    """See `ledger.ports.Stored`.

    Args:
        in_flight: calls at the same time; 1 makes them one after another in the caller's thread.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        events_table: str,
        users_table: str,
        imports_table: str,
        clock: Clock,
        in_flight: int = 8,
    ) -> None:
        self._client = client
        self._events = events_table
        self._users = users_table
        self._imports = imports_table
        self._patience = Patience(clock)
        self._pool = ThreadPoolExecutor(in_flight) if in_flight > 1 else None

    def events(self, keys: Sequence[Key]) -> dict[Key, Item]:
        return self._items(self._events, "event_key", keys)

    def users(self, keys: Sequence[Key]) -> dict[Key, Item]:
        return self._items(self._users, "record", keys)

    def events_of(self, execution_id: str) -> Iterator[Key]:
        return self._keys_of(self._events, "event_key", execution_id)

    def users_of(self, execution_id: str) -> Iterator[Key]:
        return self._keys_of(self._users, "record", execution_id)

    def document(self, execution_id: str) -> dict[str, Any]:
        key: Any = {"pk": {"S": f"EXEC#{execution_id}"}, "sk": {"S": "EXEC"}}
        get = partial(self._client.get_item, TableName=self._imports, Key=key, ConsistentRead=True)
        answer: Any = self._patience.answer(get, self._imports, "dynamodb:GetItem")
        return plain(answer.get("Item", {}))

    def _items(self, table: str, sort_key: str, keys: Sequence[Key]) -> dict[Key, Item]:
        calls = [keys[at : at + CALL_KEYS] for at in range(0, len(keys), CALL_KEYS)]

        def got(some: Sequence[Key]) -> list[Item]:
            return self._got(table, [{"user_id": {"S": user}, sort_key: {"S": name}} for user, name in some])

        answers = map(got, calls) if self._pool is None or len(calls) < 2 else self._pool.map(got, calls)
        return {(item["user_id"]["S"], item[sort_key]["S"]): item for items in answers for item in items}

    def _got(self, table: str, keys: list[Any]) -> list[Item]:
        """The items of one call; what DynamoDB leaves unprocessed is asked for again."""
        found: list[Item] = []
        tries = 0
        while keys:
            asked: Any = {table: {"Keys": keys, "ConsistentRead": True}}
            answer: Any = self._patience.answer(
                partial(self._client.batch_get_item, RequestItems=asked), table, "dynamodb:BatchGetItem"
            )
            found += answer["Responses"].get(table, [])
            left: list[Any] = answer.get("UnprocessedKeys", {}).get(table, {}).get("Keys", [])
            if left:
                tries = tries + 1 if len(left) == len(keys) else 0
                if tries == TRIES:
                    raise Unavailable(f"the table {table}: {len(left)} keys left unprocessed {TRIES} times")
                self._patience.pause(tries)
            keys = left
        return found

    def _keys_of(self, table: str, sort_key: str, execution_id: str) -> Iterator[Key]:
        page: dict[str, Any] = {}
        while True:
            scan = partial(
                self._client.scan,
                TableName=table,
                ConsistentRead=True,
                FilterExpression="execution_id = :id",
                ExpressionAttributeValues={":id": {"S": execution_id}},
                ProjectionExpression="user_id, #name",
                ExpressionAttributeNames={"#name": sort_key},
                **page,
            )
            answer: Any = self._patience.answer(scan, table, "dynamodb:Scan")
            yield from ((item["user_id"]["S"], item[sort_key]["S"]) for item in answer["Items"])
            if "LastEvaluatedKey" not in answer:
                return
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}
