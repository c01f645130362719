"""What the tables hold of a person, for who forgets them: counts, links of others, and what imports noted of names.

A note of an import holds names where it lists the users that turn up most in a file (of the execution, and of each of
its parts). They are replaced there; whatever else of the imports table speaks of a person is told, and not touched.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

from importer.aws.attributes import plain
from importer.aws.patience import Patience
from importer.aws.tables import ImportsTable, _execution_item, _key, _marshalled, _read, _tally_map, _tally_of
from importer.model import Clock, Execution, Tally, Unavailable
from importer.sinks.erasing import LINKED
from importer.sinks.items import attribute
from importer.users import ERASED, LINK

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient


@dataclass(frozen=True, slots=True)
class Noted:
    """An item of the imports table, as plain values."""

    pk: str
    sk: str
    item: dict[str, Any]


class ForgottenTables:
    """See `ledger.forgetting.Tables`."""

    def __init__(
        self, client: "DynamoDBClient", events_table: str, users_table: str, imports_table: str, clock: Clock
    ) -> None:
        self._client = client
        self._events = events_table
        self._users = users_table
        self._imports_table = imports_table
        self._imports = ImportsTable(client, imports_table)
        self._patience = Patience(clock)

    # -- events and users ---------------------------------------------------------------------------------------

    def counts(self, user_id: str) -> tuple[int, int]:
        """How many events and records there are of an identifier, the record `erased` aside."""
        records = self._count(self._users, user_id)
        return self._count(self._events, user_id), records - bool(self._erased(user_id))

    def linked(self, user_id: str) -> set[str]:
        """Whom an identifier was linked with when it was erased before."""
        return set(self._erased(user_id).get(LINKED, {}).get("SS", ()))

    def links(self, user_id: str) -> Iterator[str]:
        """Whom any record of an identifier names as linked, or as linked no more."""
        pages = self._pages(
            self._users,
            "user_id = :user AND begins_with(#record, :link)",
            {":user": {"S": user_id}, ":link": {"S": LINK}},
            ProjectionExpression="#record",
            ExpressionAttributeNames={"#record": "record"},
        )
        names = (item["record"]["S"].removeprefix(LINK) for item in pages)
        return (name for name in names if name)

    def unlink(self, user_id: str, other: str) -> bool:
        """Delete what an identifier's records say of another, if they do; whether they did."""
        key: Any = {"user_id": {"S": user_id}, "record": {"S": f"{LINK}{other}"}}
        delete = partial(self._client.delete_item, TableName=self._users, Key=key, ReturnValues="ALL_OLD")
        answer: Any = self._patience.answer(delete, self._users, "dynamodb:DeleteItem")
        return bool(answer.get("Attributes"))

    def unmark(self, user_id: str) -> None:
        """Delete the record `erased`."""
        key: Any = {"user_id": {"S": user_id}, "record": {"S": ERASED}}
        delete = partial(self._client.delete_item, TableName=self._users, Key=key)
        self._patience.answer(delete, self._users, "dynamodb:DeleteItem")

    def writers(self, user_id: str) -> Iterator[str]:
        """Executions that wrote an event or a record of an identifier last; each may come many times."""
        for table in (self._events, self._users):
            values = {":user": {"S": user_id}}
            for item in self._pages(table, "user_id = :user", values, ProjectionExpression="execution_id"):
                if "execution_id" in item:
                    yield item["execution_id"]["S"]

    def _erased(self, user_id: str) -> dict[str, Any]:
        key: Any = {"user_id": {"S": user_id}, "record": {"S": ERASED}}
        get = partial(self._client.get_item, TableName=self._users, Key=key, ConsistentRead=True)
        answer: Any = self._patience.answer(get, self._users, "dynamodb:GetItem")
        found: dict[str, Any] = answer.get("Item", {})
        return found

    def _count(self, table: str, user_id: str) -> int:
        return sum(
            answer["Count"]
            for answer in self._answers(table, "user_id = :user", {":user": {"S": user_id}}, Select="COUNT")
        )

    def _pages(self, table: str, condition: str, values: dict[str, Any], **more: Any) -> Iterator[dict[str, Any]]:
        for answer in self._answers(table, condition, values, **more):
            yield from answer["Items"]

    def _answers(self, table: str, condition: str, values: dict[str, Any], **more: Any) -> Iterator[Any]:
        page: dict[str, Any] = {}
        while True:
            query: Any = partial(
                self._client.query,
                TableName=table,
                KeyConditionExpression=condition,
                ExpressionAttributeValues=values,
                ConsistentRead=True,
                **more,
                **page,
            )
            answer = self._patience.answer(query, table, "dynamodb:Query")
            yield answer
            if "LastEvaluatedKey" not in answer:
                return
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    # -- the imports table --------------------------------------------------------------------------------------

    def noted(self) -> Iterator[Noted]:
        """Every item of the imports table. Reads it whole."""
        page: dict[str, Any] = {}
        while True:
            scan: Any = partial(self._client.scan, TableName=self._imports_table, ConsistentRead=True, **page)
            answer = self._patience.answer(scan, self._imports_table, "dynamodb:Scan")
            for item in answer["Items"]:
                told = plain(item)
                yield Noted(told["pk"], told["sk"], told)
            if "LastEvaluatedKey" not in answer:
                return
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def executions_since(self, created_ms: int) -> Iterator[str]:
        """Ids of executions created since; a hint: may lag."""
        return (
            item["pk"]["S"].removeprefix("EXEC#")
            for item in self._imports._pages(
                IndexName="by_time",
                KeyConditionExpression="listed = :listed AND creation_date >= :since",
                ExpressionAttributeValues=_marshalled({":listed": "EXECUTION", ":since": created_ms}),
                ProjectionExpression="pk",
            )
        )

    def take_names(self, noted: Noted, names: frozenset[str], instead: str) -> bool:
        """Replace names among the users that turn up most, in an execution's or a part's item, if it is still so.

        Whether the item is as it should be now.
        """
        if noted.sk == "EXEC":
            return self._take_of_execution(noted, names, instead)
        if noted.sk.startswith("PART#"):
            return self._take_of_part(noted, names, instead)
        return False

    def drop_notes(self, noted: Noted) -> None:
        """Delete the notebook of an execution that has ended: nobody opens it again."""
        key = _key(noted.pk, noted.sk)
        delete = partial(self._client.delete_item, TableName=self._imports_table, Key=key)
        self._patience.answer(delete, self._imports_table, "dynamodb:DeleteItem")

    def _take_of_execution(self, noted: Noted, names: frozenset[str], instead: str) -> bool:
        execution: Execution = _read(noted.item)
        if execution.outcome is None:
            return True
        sums = _without(execution.outcome.sums, names, instead)
        item = _execution_item(replace(execution, outcome=replace(execution.outcome, sums=sums)))
        told = {name: item[name] for name in ("state", "result")}
        return self._update(noted, told, "state", noted.item["state"])

    def _take_of_part(self, noted: Noted, names: frozenset[str], instead: str) -> bool:
        stored = noted.item.get("tally")
        if stored is None:
            return True
        tally = _tally_map(_without(_tally_of(stored), names, instead))
        return self._update(noted, {"tally": tally}, "tally", stored)

    def _update(self, noted: Noted, told: dict[str, Any], unchanged: str, before: Any) -> bool:
        names = {f"#{index}": name for index, name in enumerate(told)} | {"#unchanged": unchanged}
        values = {f":{index}": attribute(value) for index, value in enumerate(told.values())}
        sets = ", ".join(f"#{index} = :{index}" for index in range(len(told)))
        update: Any = partial(
            self._client.update_item,
            TableName=self._imports_table,
            Key=_key(noted.pk, noted.sk),
            UpdateExpression=f"SET {sets}",
            ConditionExpression="#unchanged = :before",
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values | {":before": attribute(before)},
        )
        try:
            self._patience.answer(update, self._imports_table, "dynamodb:UpdateItem")
        except Unavailable as error:
            if isinstance(error.__cause__, ClientError) and "ConditionalCheckFailed" in str(error.__cause__):
                return False  # a worker has written since
            raise
        return True


def _without(tally: Tally, names: frozenset[str], instead: str) -> Tally:
    top: dict[str, int] = {}
    for user, events in tally.top_users.items():
        name = instead if user in names else user
        top[name] = top.get(name, 0) + events
    return replace(tally, top_users=top)
