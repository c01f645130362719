"""The imports table on DynamoDB: executions, their parts, import definitions, stems.

`EXEC#id/EXEC` holds the public document at the top level, what only workers need in `state`, and in `undone` how its
undoing stands; `EXEC#id/UNDO` who asked a worker for that, `UNDO/UNDO` whose is under way; `EXEC#id/PART#start` a part
(its `rules_version` is the execution's round); `EXEC#id/NOTES` how far a long settling is; `EXEC#id/WATCH` what the
sweep last saw; `IMPORT#id/IMPORT` an import definition, `IMPORT#id/TURN` where a recurring one stands;
`EXEC#id/MENDED#child` that an execution's file has its bad rows, mended; `STEM#day#stem/STEM` who has a stem;
`KEY#hash/KEY` a request that came with an Idempotency-Key, which DynamoDB forgets some time after `expires_at`. Every
decision reads consistently (F10).

All that is kept of an execution that SUCCEEDED may have an `expires_at`, too. One that FAILED or was CANCELED has none:
its source lies in `imports/`, and without the record the sweep would take it for a file nobody has imported.

botocore repeats a write whose reply was lost and then sees its own success refused: each conditional write here is
followed, when refused, by a read that asks "was it me?" (F8).
"""

import hashlib
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, fields, replace
from typing import TYPE_CHECKING, Any, Final, NoReturn

import orjson
from botocore.exceptions import ClientError

from importer.aws.attributes import plain
from importer.definitions import Definition, StoredDefinition
from importer.documents import document
from importer.model import (
    LEGAL_MOVES,
    Border,
    Destination,
    Execution,
    Fenced,
    FileError,
    KeptRequest,
    LeaseHeld,
    Mending,
    Noted,
    Outcome,
    Part,
    PartState,
    Phase,
    S3Object,
    Status,
    Tally,
    Turn,
    Unavailable,
    Undone,
    Upload,
    Usage,
    Value,
    Watched,
)
from importer.sinks.calls import LOST, said
from importer.sinks.items import Item, attribute

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

FENCE: Final = "fence"  # an owner no worker is
_UNFINISHED: Final = "yes"  # partition key of the sparse index of executions that are not closed
_SAME_CHECKED: Final = "(attribute_not_exists(checked) OR checked = :checked)"
_LISTED: Final = "EXECUTION"  # partition key of the index that lists executions by time
_LISTED_DEFINITION: Final = "IMPORT"  # … and import definitions
LOOKED_AT_ONCE: Final = 200  # by a list that is asked for again and again; 0.5 MB
MOST_LOOKED_AT: Final = 3_000  # executions of other imports or statuses, while a few of one are looked for; 10 MB


class ImportsTable:
    """See `executions.ports.Records`. What a person does with import definitions is here too; no worker does it."""

    def __init__(self, client: "DynamoDBClient", table: str, kept_days: int = 0) -> None:
        """`kept_days`: after which what has ended well is forgotten; 0 is never."""
        self._dynamodb = client
        self._table = table
        self._kept_days = kept_days

    # -- executions ---------------------------------------------------------------------------------------------

    def execution(self, execution_id: str) -> Execution | None:
        item = self._get(f"EXEC#{execution_id}", "EXEC")
        return None if item is None else _execution_of(item)

    def create(self, execution: Execution) -> Execution:
        item = _execution_item(execution)
        item |= {"pk": f"EXEC#{execution.id}", "sk": "EXEC", "listed": _LISTED}
        item["source_uri"] = _index_key(execution.source.uri)
        item["unfinished"] = _UNFINISHED
        self._conditional(
            "put_item", Item=_marshalled(item), ConditionExpression="attribute_not_exists(pk)"
        )  # refused or not: what is there now is the answer
        return self._now(execution.id)

    def unfinished(self, source_uri: str) -> list[str]:
        return list(self._unfinished(" AND source_uri = :uri", {":uri": _index_key(source_uri)}))

    def unfinished_below(self, uri: str) -> list[str]:
        # One whose URI is too long for the index (`_index_key`) is not found.
        return list(self._unfinished(" AND begins_with(source_uri, :uri)", {":uri": uri}))

    def all_unfinished(self) -> Iterator[str]:
        return self._unfinished("", {})

    def _unfinished(self, which: str, values: dict[str, Any]) -> Iterator[str]:
        items = self._pages(
            IndexName="unfinished",
            KeyConditionExpression=f"#unfinished = :yes{which}",
            ExpressionAttributeNames={"#unfinished": "unfinished"},
            ExpressionAttributeValues=_marshalled({":yes": _UNFINISHED, **values}),
        )
        return (item["pk"]["S"].removeprefix("EXEC#") for item in items)

    def definition(self, import_id: str) -> Value:
        stored = self.stored_definition(import_id)
        return None if stored is None else stored.definition

    def begin(self, execution: Execution, now_ms: int) -> Execution:
        return self._move(execution, replace(execution, status=Status.RUNNING, start_date=now_ms))

    def restart(self, execution: Execution, rules_version: int) -> Execution:
        again = replace(execution, rules_version=rules_version, checked=False, parts_done=frozenset())
        return self._move(execution, again)

    def check(self, execution: Execution) -> Execution:
        return self._move(execution, replace(execution, checked=True, parts_done=frozenset()))

    def cancel(self, execution: Execution) -> Execution:
        while execution.phase is Phase.IMPORTING:  # refused: it was begun, or begun again, since we looked
            execution = self._move(execution, replace(execution, status=Status.CANCELED, phase=Phase.CLOSING))
        return execution

    def redrive(self, execution: Execution, start_over: bool) -> Execution:
        if start_over:  # before the move: as long as it is FAILED every part is fenced, and nobody moves it
            # First of all: another redrive, by a clock that does not think it too old, keeps no part as done either.
            self._conditional(
                "update_item",
                Key=_key(f"EXEC#{execution.id}", "EXEC"),
                UpdateExpression="REMOVE parts_done",
                ConditionExpression=(
                    "#status = :failed AND #phase = :closed AND retry_count = :retries AND attribute_not_exists(undone)"
                ),
                ExpressionAttributeNames={"#status": "status", "#phase": "phase"},
                ExpressionAttributeValues=_marshalled(
                    {
                        ":failed": Status.FAILED.value,
                        ":closed": Phase.CLOSED.value,
                        ":retries": execution.attempt - 1,
                    }
                ),
            )
            for part in self.parts(execution.id):
                self._begin_again(execution, part)
        parts_done = frozenset() if start_over else execution.parts_done
        again = replace(
            execution,
            status=Status.PENDING,
            phase=Phase.IMPORTING,
            outcome=None,
            error=None,
            attempt=execution.attempt + 1,
            parts_done=parts_done,
        )
        self._moved(execution, again, unfinished=_UNFINISHED)
        return self._now(execution.id)

    def _begin_again(self, execution: Execution, part: PartState) -> None:
        self._conditional(
            "update_item",
            Key=_key(f"EXEC#{execution.id}", _part_sort_key(part.start)),
            UpdateExpression="SET next_offset = :start, tally = :zero REMOVE done, sha256, border",
            # As long as no worker of the next attempt has claimed it. (A fence was a BOOL in version 0.2.0.)
            ConditionExpression="(fenced = :attempt OR attribute_type(fenced, :bool)) AND #owner = :fence",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues=_marshalled(
                {
                    ":start": part.start,
                    ":zero": _tally_map(Tally()),
                    ":attempt": execution.attempt,
                    ":fence": FENCE,
                    ":bool": "BOOL",
                }
            ),
        )

    def finalise(self, execution: Execution, outcome: Outcome) -> Execution:
        return self._move(execution, replace(execution, phase=Phase.FINALISING, outcome=outcome))

    def fail(self, execution: Execution, code: str, message: str) -> Execution:
        error = FileError(code, message)
        while True:
            before = (execution.phase, execution.attempt, execution.round)
            failed = replace(execution, status=Status.FAILED, phase=Phase.CLOSING, error=error)
            execution = self._move(execution, failed)
            if (execution.phase, execution.attempt, execution.round) != before:
                return execution  # else it was only begun since we looked

    def fix(self, execution: Execution, outcome: Outcome) -> Execution:
        self._moved(execution, replace(execution, outcome=outcome), only_if_open=True)
        return self._now(execution.id)

    def close(self, execution: Execution, outcome: Outcome) -> bool:
        status = Status.SUCCEEDED if execution.phase is Phase.FINALISING else execution.status
        closed = replace(execution, status=status, phase=Phase.CLOSED, outcome=outcome)
        closer = uuid.uuid4().hex  # so that a lost reply is not taken for another worker's closing (F8)
        if self._moved(execution, closed, closer=closer, **self._forgotten(execution, outcome)):
            return True
        item = self._get(f"EXEC#{execution.id}", "EXEC") or {}
        return item.get("closer") == closer

    def let_go(self, execution: Execution, day: str, stem: str) -> None:
        if execution.outcome is None or not (forgotten := self._forgotten(execution, execution.outcome)):
            return
        beside = self._pages(
            KeyConditionExpression="pk = :pk",
            ExpressionAttributeValues=_marshalled({":pk": f"EXEC#{execution.id}"}),
            ProjectionExpression="pk, sk, expires_at",
            ConsistentRead=True,
        )
        for item in beside:
            if item["sk"]["S"] != "EXEC" and "expires_at" not in item:
                self._let_go(item["pk"]["S"], item["sk"]["S"], forgotten, "attribute_exists(pk)")
        # A day's names are claimed by the executions created on it, and that day is over.
        self._let_go(f"STEM#{day}#{stem}", "STEM", forgotten | {"me": execution.id}, "execution_id = :me")

    def _let_go(self, pk: str, sk: str, values: dict[str, Any], condition: str) -> None:
        self._conditional(
            "update_item",
            Key=_key(pk, sk),
            UpdateExpression="SET expires_at = :expires_at",
            ConditionExpression=condition,
            ExpressionAttributeValues=_marshalled({f":{name}": value for name, value in values.items()}),
        )

    def _forgotten(self, execution: Execution, outcome: Outcome) -> dict[str, Any]:
        if not self._kept_days or execution.phase is not Phase.FINALISING:
            return {}
        return {"expires_at": forget_s(outcome.end_date, self._kept_days)}

    def part_done(self, execution: Execution, start: int) -> Execution:
        # A set, not a counter: repeating the call changes nothing (I2).
        self._conditional(
            "update_item",
            Key=_key(f"EXEC#{execution.id}", "EXEC"),
            UpdateExpression="ADD parts_done :start",
            # The attempt too: the next one may have begun this part again.
            ConditionExpression=(
                f"#phase = :phase AND rules_version = :rules AND retry_count = :retries AND {_SAME_CHECKED}"
            ),
            ExpressionAttributeNames={"#phase": "phase"},
            ExpressionAttributeValues={
                ":checked": {"BOOL": execution.checked},
                ":start": {"NS": [str(start)]},
                ":retries": {"N": str(execution.attempt - 1)},
                ":phase": {"S": Phase.IMPORTING.value},
                ":rules": {"N": str(execution.rules_version)},
            },
        )
        return self._now(execution.id)

    def _move(self, before: Execution, after: Execution) -> Execution:
        """`after`, unless the execution no longer is as `before` says; then it is as somebody else (or we, before a
        lost reply) left it."""
        self._moved(before, after)
        return self._now(before.id)

    def _moved(self, before: Execution, after: Execution, only_if_open: bool = False, **more: Any) -> bool:
        """Whether this call made the move. Status, phase and rules are its condition: together they only go forward.

        Args:
            only_if_open: no outcome has been fixed yet.
        """
        if after.status is not before.status and after.status not in LEGAL_MOVES[before.status]:
            raise ValueError(f"no move from {before.status} to {after.status}")
        item = _execution_item(after) | more
        names = {f"#{index}": name for index, name in enumerate(item)}
        values = {f":{index}": attribute(value) for index, value in enumerate(item.values())}
        update = "SET " + ", ".join(f"#{index} = :{index}" for index in range(len(item)))
        remove = (["unfinished"] if after.phase is Phase.CLOSED else []) + (
            ["parts_done"]
            if after.round != before.round or (after.attempt != before.attempt and not after.parts_done)
            else []
        )
        if after.phase is not Phase.CLOSED:  # whatever is at work on it again, it is not forgotten meanwhile
            remove.append("expires_at")
        if remove:
            update += " REMOVE " + ", ".join(remove)
        by_name = {name: index for index, name in names.items()}
        not_undone = "" if after.attempt == before.attempt else " AND attribute_not_exists(undone)"
        return self._conditional(
            "update_item",
            Key=_key(f"EXEC#{before.id}", "EXEC"),
            UpdateExpression=update,
            ConditionExpression=(
                f"{by_name['status']} = :status AND {by_name['phase']} = :phase AND {by_name['rules_version']} = :rules"
                f" AND {by_name['retry_count']} = :retries"  # nobody of an earlier attempt moves a later one
                f" AND {_SAME_CHECKED}{not_undone}"
                + (f" AND attribute_type({by_name['result']}, :null)" if only_if_open else "")
            ),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=values
            | {
                ":status": {"S": before.status.value},
                ":phase": {"S": before.phase.value},
                ":rules": {"N": str(before.rules_version)},
                ":retries": {"N": str(before.attempt - 1)},
                ":checked": {"BOOL": before.checked},
            }
            | ({":null": {"S": "NULL"}} if only_if_open else {}),
        )

    def _now(self, execution_id: str) -> Execution:
        execution = self.execution(execution_id)
        if execution is None:
            raise Unavailable(f"execution {execution_id} was deleted from the imports table while it ran")
        return execution

    # -- undoing ------------------------------------------------------------------------------------------------

    def all_executions(self) -> Iterator[Execution]:
        """Newest first, by the index: it may lag by a second."""
        items = self._pages(
            IndexName="by_time",
            KeyConditionExpression="listed = :listed",
            ExpressionAttributeValues=_marshalled({":listed": _LISTED}),
            ScanIndexForward=False,
        )
        return map(_execution_of, map(plain, items))

    def take_turn(self, execution_id: str) -> str:
        """Id of the execution whose undoing is under way: this one, if no other is."""
        self._conditional(
            "update_item",
            Key=_key("UNDO", "UNDO"),
            UpdateExpression="SET execution_id = :me",
            ConditionExpression="attribute_not_exists(execution_id) OR execution_id = :me",  # ours since an earlier try
            ExpressionAttributeValues=_marshalled({":me": execution_id}),
        )
        return self.whose_turn()

    def whose_turn(self) -> str:
        return str((self._get("UNDO", "UNDO") or {}).get("execution_id", ""))

    def end_turn(self, execution_id: str) -> None:
        self._conditional(
            "update_item",
            Key=_key("UNDO", "UNDO"),
            UpdateExpression="REMOVE execution_id, until_ms",
            ConditionExpression="execution_id = :me",
            ExpressionAttributeValues=_marshalled({":me": execution_id}),
        )

    def claim_turn(self, execution_id: str, now_ms: int, until_ms: int) -> bool:
        worker = uuid.uuid4().hex  # so that a lost reply is not taken for another worker's (F8)
        if self._conditional(
            "update_item",
            Key=_key("UNDO", "UNDO"),
            UpdateExpression="SET until_ms = :until, worker = :worker",
            ConditionExpression="execution_id = :me AND (attribute_not_exists(until_ms) OR until_ms < :now)",
            ExpressionAttributeValues=_marshalled(
                {":me": execution_id, ":until": until_ms, ":now": now_ms, ":worker": worker}
            ),
        ):
            return True
        return (self._get("UNDO", "UNDO") or {}).get("worker") == worker

    def free_turn(self, execution_id: str) -> None:
        self._conditional(
            "update_item",
            Key=_key("UNDO", "UNDO"),
            UpdateExpression="REMOVE until_ms",
            ConditionExpression="execution_id = :me",
            ExpressionAttributeValues=_marshalled({":me": execution_id}),
        )

    def idle_turn(self, now_ms: int) -> str:
        turn = self._get("UNDO", "UNDO") or {}
        return "" if turn.get("until_ms", 0) >= now_ms else str(turn.get("execution_id", ""))

    def ask_undo(self, execution_id: str, by: str, now_ms: int, refused: str = "") -> None:
        item = {"pk": f"EXEC#{execution_id}", "sk": "UNDO", "by": by, "asked_ms": now_ms, "refused": refused}
        self._call("put_item", Item=_marshalled(item))

    def asked_undo(self, execution_id: str) -> dict[str, Any] | None:
        return self._get(f"EXEC#{execution_id}", "UNDO")

    def mark_undone(self, execution: Execution, undone: Undone) -> Execution:
        """Note how its undoing stands, as long as it is as it was seen. The execution as it then is."""
        before = execution.undone
        same = "attribute_not_exists(undone)" if before is None else "undone = :before"
        values = {
            ":undone": asdict(undone),
            ":phase": Phase.CLOSED.value,
            ":retries": execution.attempt - 1,
        }
        if before is not None:
            values[":before"] = asdict(before)
        self._conditional(
            "update_item",
            Key=_key(f"EXEC#{execution.id}", "EXEC"),
            UpdateExpression="SET undone = :undone",
            ConditionExpression=f"#phase = :phase AND retry_count = :retries AND {same}",
            ExpressionAttributeNames={"#phase": "phase"},
            ExpressionAttributeValues=_marshalled(values),
        )  # refused or not: what is there now is the answer
        return self._now(execution.id)

    # -- import definitions, as a person manages them -------------------------------------------------------------

    def stored_definition(self, import_id: str) -> StoredDefinition | None:
        item = self._get(f"IMPORT#{import_id}", "IMPORT")
        return None if item is None else _stored_definition(item)

    def definitions(self) -> Iterator[StoredDefinition]:
        """Newest first, by the index: it may lag, and those that were written by hand are not in it."""
        items = self._pages(
            IndexName="by_time",
            KeyConditionExpression="listed = :listed",
            ExpressionAttributeValues=_marshalled({":listed": _LISTED_DEFINITION}),
            ScanIndexForward=False,
        )
        return map(_stored_definition, map(plain, items))

    def create_definition(self, definition: Definition, now_ms: int) -> bool:
        """Keep a new definition. False: there is one of that id."""
        pk, sk = f"IMPORT#{definition.id}", "IMPORT"
        item = {
            "pk": pk,
            "sk": sk,
            "definition": definition.as_stored(),
            "listed": _LISTED_DEFINITION,
            "creation_date": now_ms,
            "changed_ms": now_ms,
        }
        if self._conditional("put_item", Item=_marshalled(item), ConditionExpression="attribute_not_exists(pk)"):
            return True
        return self._get(pk, sk) == item  # ours, its reply lost; or somebody's who wanted the same: as good

    def change_definition(self, import_id: str, before: Value, after: Definition, now_ms: int) -> bool:
        """Put `after` in the place of `before`, which was read. False: somebody has changed or deleted it since."""
        unchanged = self._unchanged(import_id, before)
        if unchanged is None:
            return False
        names, values = unchanged["ExpressionAttributeNames"], unchanged.get("ExpressionAttributeValues", {})
        told = {":after": after.as_stored(), ":now": now_ms, ":listed": _LISTED_DEFINITION}
        if self._conditional(
            "update_item",
            Key=_key(f"IMPORT#{import_id}", "IMPORT"),
            # One written by hand enters the list here.
            UpdateExpression=(
                "SET #definition = :after, changed_ms = :now, creation_date = if_not_exists(creation_date, :now),"
                " listed = :listed"
            ),
            ConditionExpression=unchanged["ConditionExpression"],
            ExpressionAttributeNames=names,
            ExpressionAttributeValues={**values, **_marshalled(told)},
        ):
            return True
        now = self._get(f"IMPORT#{import_id}", "IMPORT") or {}
        return (now.get("definition"), now.get("changed_ms")) == (after.as_stored(), now_ms)

    def delete_definition(self, import_id: str, before: Value) -> bool:
        """Whether it is gone. False: somebody has changed it since it was read as `before`."""
        unchanged = self._unchanged(import_id, before)
        if unchanged is not None:
            self._conditional("delete_item", Key=_key(f"IMPORT#{import_id}", "IMPORT"), **unchanged)
        return self._get(f"IMPORT#{import_id}", "IMPORT") is None

    def _unchanged(self, import_id: str, before: Value) -> dict[str, Any] | None:
        """The condition that a definition still is what was read; None if it is not even now.

        The stored attribute itself is compared, not a version: whoever writes by hand counts none.
        """
        item = self._call("get_item", Key=_key(f"IMPORT#{import_id}", "IMPORT"), ConsistentRead=True).get("Item")
        if item is None or _stored_definition(plain(item)).definition != before:
            return None
        names = {"#definition": "definition"}
        if "definition" not in item:
            condition = "attribute_exists(pk) AND attribute_not_exists(#definition)"
            return {"ConditionExpression": condition, "ExpressionAttributeNames": names}
        return {
            "ConditionExpression": "#definition = :before",
            "ExpressionAttributeNames": names,
            "ExpressionAttributeValues": {":before": item["definition"]},
        }

    # -- requests of doors --------------------------------------------------------------------------------------

    def listed(
        self, import_id: str, statuses: Collection[Status], after_ms: int, before_ms: int, enough: int
    ) -> tuple[list[Execution], bool]:
        if before_ms <= after_ms:
            return [], True
        found: list[Execution] = []
        looked_at = 0
        values: dict[str, Any] = {
            ":listed": _LISTED,
            ":import": import_id,
            ":after": after_ms,
            ":last": before_ms - 1,
        }
        names = {"#parameters": "parameters", "#import": "document_import_id"}
        chosen = ""
        if statuses:
            by_name = {f":status{number}": status.value for number, status in enumerate(statuses)}
            values |= by_name
            names["#status"] = "status"
            chosen = f" AND #status IN ({', '.join(by_name)})"
        page: dict[str, Any] = {}
        while True:
            answer = self._call(
                "query",
                IndexName="by_time",
                KeyConditionExpression="listed = :listed AND creation_date BETWEEN :after AND :last",
                FilterExpression=f"#parameters.#import = :import{chosen}",
                ExpressionAttributeNames=names,
                ExpressionAttributeValues=_marshalled(values),
                ScanIndexForward=False,
                **page,
            )
            found += [_execution_of(plain(item)) for item in answer["Items"]]
            looked_at += answer["ScannedCount"]
            if "LastEvaluatedKey" not in answer:
                return found, True
            if len(found) >= enough or looked_at >= MOST_LOOKED_AT:
                return found, False
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def listed_since(
        self,
        wanted: Callable[[Execution], bool],
        statuses: Collection[Status],
        after_ms: int,
        behind: tuple[int, str] | None,
        most: int,
    ) -> tuple[list[Execution], tuple[int, str] | None]:
        names, values, chosen = {}, {":listed": _LISTED, ":after": after_ms}, {}
        if statuses:
            by_name = {f":status{number}": status.value for number, status in enumerate(statuses)}
            names, values = {"#status": "status"}, values | by_name
            chosen = {
                "FilterExpression": f"#status IN ({', '.join(by_name)})",
                "ExpressionAttributeNames": names,
            }
        found: list[Execution] = []
        looked_at = 0
        while True:
            page: dict[str, Any] = {}
            if behind is not None:
                created_ms, execution_id = behind
                at = {"pk": f"EXEC#{execution_id}", "sk": "EXEC", "listed": _LISTED, "creation_date": created_ms}
                page = {"ExclusiveStartKey": _marshalled(at)}
            answer = self._call(
                "query",
                IndexName="by_time",
                KeyConditionExpression="listed = :listed AND creation_date >= :after",
                ExpressionAttributeValues=_marshalled(values),
                ScanIndexForward=False,
                Limit=LOOKED_AT_ONCE,
                **chosen,
                **page,
            )
            executions = [_execution_of(plain(item)) for item in answer["Items"]]
            for number, execution in enumerate(executions, 1):
                if wanted(execution):
                    found.append(execution)
                if len(found) == most:
                    is_last = number == len(executions) and "LastEvaluatedKey" not in answer
                    return found, None if is_last else (execution.created_ms, execution.id)
            if "LastEvaluatedKey" not in answer:
                return found, None
            last = plain(answer["LastEvaluatedKey"])
            behind = int(last["creation_date"]), str(last["pk"]).removeprefix("EXEC#")
            looked_at += answer["ScannedCount"]
            if looked_at >= MOST_LOOKED_AT:
                return found, behind

    def created_between(self, after_ms: int, before_ms: int) -> Iterator[Execution]:
        """Executions that were created in [after_ms, before_ms), oldest first, by the index: it may lag by a second."""
        if before_ms <= after_ms:
            return iter(())
        items = self._pages(
            IndexName="by_time",
            KeyConditionExpression="listed = :listed AND creation_date BETWEEN :after AND :last",
            ExpressionAttributeValues=_marshalled({":listed": _LISTED, ":after": after_ms, ":last": before_ms - 1}),
        )
        return map(_execution_of, map(plain, items))

    def stem_owner(self, day: str, name: str) -> str | None:
        item = self._get(f"STEM#{day}#{name}", "STEM")
        return None if item is None else str(item["execution_id"])

    def begin_request(self, key: str, request: KeptRequest, now_ms: int, forget_s: int) -> KeptRequest:
        pk, sk = f"KEY#{key}", "KEY"
        item = {"pk": pk, "sk": sk, **asdict(request), "expires_at": forget_s}
        self._conditional(
            "put_item",
            Item=_marshalled(item),
            ConditionExpression="attribute_not_exists(pk) OR expires_at <= :now",  # DynamoDB forgets within days only
            ExpressionAttributeValues=_marshalled({":now": now_ms // 1000}),
        )  # refused or not: what is there now is the answer
        kept = _kept_request(self._get(pk, sk) or item)
        if kept.owner == request.owner or kept.status or kept.fingerprint != request.fingerprint:
            return kept
        if kept.busy_until_ms > now_ms:
            return kept
        self._conditional(
            "update_item",
            Key=_key(pk, sk),
            UpdateExpression="SET #owner = :me, busy_until_ms = :until",
            ConditionExpression="#owner = :them AND busy_until_ms = :then AND #status = :unknown",
            ExpressionAttributeNames={"#owner": "owner", "#status": "status"},
            ExpressionAttributeValues=_marshalled(
                {
                    ":me": request.owner,
                    ":until": request.busy_until_ms,
                    ":them": kept.owner,
                    ":then": kept.busy_until_ms,
                    ":unknown": 0,
                }
            ),
        )
        return _kept_request(self._get(pk, sk) or item)

    def end_request(self, key: str, request: KeptRequest) -> None:
        self._conditional(
            "update_item",
            Key=_key(f"KEY#{key}", "KEY"),
            UpdateExpression="SET #status = :status, body = :body, busy_until_ms = :until",
            ConditionExpression="#owner = :me",
            ExpressionAttributeNames={"#owner": "owner", "#status": "status"},
            ExpressionAttributeValues=_marshalled(
                {
                    ":me": request.owner,
                    ":status": request.status,
                    ":body": request.body,
                    ":until": request.busy_until_ms,
                }
            ),
        )

    def drop_request(self, key: str, request: KeptRequest) -> None:
        self._conditional(
            "delete_item",
            Key=_key(f"KEY#{key}", "KEY"),
            ConditionExpression="#owner = :me",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues=_marshalled({":me": request.owner}),
        )

    # -- parts --------------------------------------------------------------------------------------------------

    def claim(
        self, execution: Execution, part: Part, owner: str, now_ms: int, lease_until_ms: int
    ) -> PartState | LeaseHeld:
        key = _key(f"EXEC#{execution.id}", _part_sort_key(part.start))
        values: dict[str, Any] = {
            ":me": owner,
            ":until": lease_until_ms,
            ":now": now_ms,
            ":start": part.start,
            ":stop": part.stop,
            ":zero": _tally_map(Tally()),
            ":round": execution.round,
            ":attempt": execution.attempt,
            ":none": 0,
            ":one": 1,
            ":bool": "BOOL",
        }
        unfenced = (  # a fence holds for the attempts until then: a redrive begins the next one
            "(attribute_not_exists(fenced) OR fenced < :attempt"
            " OR (attribute_type(fenced, :bool) AND :attempt > :one))"  # as version 0.2.0 wrote it
        )
        unowned = "(attribute_not_exists(#owner) OR lease_until_ms < :now OR #owner = :me)"
        names = {"#owner": "owner", "#start": "start", "#stop": "stop"}
        taken = "SET #owner = :me, lease_until_ms = :until, #start = :start, #stop = :stop, rules_version = :round"
        if not self._conditional(
            "update_item",
            Key=key,
            UpdateExpression=(
                f"{taken}, next_offset = if_not_exists(next_offset, :start), tally = if_not_exists(tally, :zero),"
                " tries = if_not_exists(tries, :none) + :one"
            ),
            ConditionExpression=(
                f"attribute_not_exists(done) AND {unfenced} AND {unowned}"
                " AND (attribute_not_exists(rules_version) OR rules_version = :round)"
            ),
            ExpressionAttributeNames=names,
            ExpressionAttributeValues=_marshalled(values),
        ):
            item = self._part(execution.id, part.start)
            begun = item.get("rules_version", execution.round)
            if begun // 2 > execution.rules_version:
                raise Unavailable(f"newer rules have begun on {execution.id}: a newer version of this function goes on")
            if begun > execution.round:
                raise Fenced(f"all of {execution.id} was checked meanwhile: its rows are being written")
            if begun < execution.round:  # what an earlier round made of it does not count, nor how often it was tried
                self._conditional(
                    "update_item",
                    Key=key,
                    UpdateExpression=(
                        f"{taken}, next_offset = :start, tally = :zero, tries = :one, hops = :none, waits = :none"
                        " REMOVE done, sha256, border"
                    ),
                    # Who was done with it in that round writes nothing any more, however long the lease.
                    ConditionExpression=(
                        f"{unfenced} AND ({unowned} OR attribute_exists(done)) AND rules_version < :round"
                    ),
                    ExpressionAttributeNames=names,
                    ExpressionAttributeValues=_marshalled(values),
                )
        item = self._part(execution.id, part.start)
        if item.get("owner") == owner or (item.get("done") and item["rules_version"] == execution.round):
            return _part_state(item)
        fenced = item.get("fenced", 0) >= execution.attempt
        return LeaseHeld(item.get("owner", ""), item.get("lease_until_ms", 0), fenced)

    def progress(
        self, execution: Execution, before: PartState, after: PartState, owner: str, lease_until_ms: int
    ) -> None:
        values = {
            ":me": owner,
            ":until": lease_until_ms,
            ":before": before.next_offset,
            ":after": after.next_offset,
            ":tally": _tally_map(after.tally),
            ":hops": after.hops,
            ":waits": after.waits,
            ":tries": after.tries,
            ":border": None if after.border is None else asdict(after.border),
            ":spent": after.spent.counts(),
        }
        update = (
            "SET lease_until_ms = :until, next_offset = :after, tally = :tally, hops = :hops, waits = :waits,"
            " tries = :tries, border = :border, spent = :spent"
        )
        if after.done:
            update += ", done = :done, sha256 = :sha256"
            values |= {":done": True, ":sha256": after.sha256}
        if self._conditional(
            "update_item",
            Key=_key(f"EXEC#{execution.id}", _part_sort_key(before.start)),
            UpdateExpression=update,
            # The position too: without it a late write of our own could move a tally back (I1).
            ConditionExpression="#owner = :me AND next_offset = :before AND attribute_not_exists(done)",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues=_marshalled(values),
        ):
            return
        now = self._part(execution.id, before.start)
        if now.get("owner") != owner or _part_state(now) != after:
            raise Fenced(f"part {before.start} of {execution.id} belongs to {now.get('owner')} now")

    def release(self, execution: Execution, state: PartState, owner: str) -> None:
        self._conditional(
            "update_item",
            Key=_key(f"EXEC#{execution.id}", _part_sort_key(state.start)),
            UpdateExpression="SET tries = :tries, spent = :spent REMOVE #owner, lease_until_ms",
            ConditionExpression="#owner = :me AND attribute_not_exists(done)",
            ExpressionAttributeNames={"#owner": "owner"},
            ExpressionAttributeValues=_marshalled(
                {":me": owner, ":tries": state.tries, ":spent": state.spent.counts()}
            ),
        )

    def parts(self, execution_id: str) -> list[PartState]:
        return [_part_state(item) for item in self._parts(execution_id)]

    def leases(self, execution_id: str) -> dict[int, int]:
        return {
            item["start"]: item["lease_until_ms"]
            for item in self._parts(execution_id)
            if "owner" in item and item["owner"] != FENCE and not item.get("done")
        }

    def _parts(self, execution_id: str) -> Iterator[dict[str, Any]]:
        items = self._pages(
            KeyConditionExpression="pk = :pk AND begins_with(sk, :part)",
            ExpressionAttributeValues=_marshalled({":pk": f"EXEC#{execution_id}", ":part": "PART#"}),
            ConsistentRead=True,
        )
        return map(plain, items)

    def fence(self, execution: Execution, parts: Iterable[Part]) -> None:
        for part in parts:
            self._conditional(
                "update_item",
                Key=_key(f"EXEC#{execution.id}", _part_sort_key(part.start)),
                UpdateExpression=(
                    "SET #owner = :fence, fenced = :attempt, lease_until_ms = :never, #start = :start, #stop = :stop,"
                    " hops = :none, waits = :none, tries = :none"  # the next attempt has as many as this one had
                    " REMOVE expires_at"  # of a settling that came to nothing in its last step
                ),
                # Refused: it is fenced already; by this attempt, or the next one has begun and is none of ours.
                ConditionExpression=(
                    "attribute_not_exists(fenced) OR fenced < :attempt OR attribute_type(fenced, :bool)"
                ),
                ExpressionAttributeNames={"#owner": "owner", "#start": "start", "#stop": "stop"},
                ExpressionAttributeValues=_marshalled(
                    {
                        ":fence": FENCE,
                        ":attempt": execution.attempt,
                        ":never": 0,
                        ":none": 0,
                        ":bool": "BOOL",
                        ":start": part.start,
                        ":stop": part.stop,
                    }
                ),
            )

    def _part(self, execution_id: str, start: int) -> dict[str, Any]:
        return self._get(f"EXEC#{execution_id}", _part_sort_key(start)) or {}

    # -- settling and sweeping ----------------------------------------------------------------------------------

    def notes(self, execution_id: str) -> tuple[int, dict[str, dict[str, Value]]]:
        item = self._get(f"EXEC#{execution_id}", "NOTES")
        return (0, {}) if item is None else (item["version"], orjson.loads(item["pages"]))

    def write_notes(self, execution_id: str, version: int, pages: dict[str, dict[str, Value]]) -> None:
        writer = uuid.uuid4().hex  # so that a lost reply is not taken for another worker's writing (F8)
        item: dict[str, Any] = {
            "pk": f"EXEC#{execution_id}",
            "sk": "NOTES",
            "version": version + 1,
            "pages": orjson.dumps(pages).decode(),
            "writer": writer,
        }
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if version:
            condition = {
                "ConditionExpression": "version = :before",
                "ExpressionAttributeValues": _marshalled({":before": version}),
            }
        if self._conditional("put_item", Item=_marshalled(item), **condition):
            return
        now = self._get(f"EXEC#{execution_id}", "NOTES") or {}
        if now.get("writer") != writer:
            raise Fenced(f"another worker settles {execution_id}")

    def watched(self, execution_id: str) -> Watched | None:
        item = self._get(f"EXEC#{execution_id}", "WATCH")
        return None if item is None else Watched(**{f.name: item[f.name] for f in fields(Watched)})

    def watch(self, execution_id: str, watched: Watched) -> None:
        item = {"pk": f"EXEC#{execution_id}", "sk": "WATCH", **asdict(watched)}
        self._call("put_item", Item=_marshalled(item))

    # -- mending ------------------------------------------------------------------------------------------------

    def link_mending(self, parent_id: str, mending: Mending) -> None:
        # Absolute: however often it is said, it is said once.
        key = {"pk": f"EXEC#{parent_id}", "sk": f"MENDED#{mending.execution_id}"}
        parent = self._get(f"EXEC#{parent_id}", "EXEC") if self._kept_days else None
        forgotten = {"expires_at": parent["expires_at"]} if parent and "expires_at" in parent else {}  # with it
        self._call("put_item", Item=_marshalled({**key, "rows": mending.rows, **forgotten}))

    def mendings(self, parent_id: str) -> list[Mending]:
        items = self._pages(
            KeyConditionExpression="pk = :pk AND begins_with(sk, :mended)",
            ExpressionAttributeValues=_marshalled({":pk": f"EXEC#{parent_id}", ":mended": "MENDED#"}),
            ConsistentRead=True,
        )
        return [Mending(item["sk"].removeprefix("MENDED#"), item["rows"]) for item in map(plain, items)]

    # -- recurring imports --------------------------------------------------------------------------------------

    def turn(self, import_id: str) -> Turn:
        item = self._get(f"IMPORT#{import_id}", "TURN")
        if item is None:
            return Turn()
        return Turn(item["slot_ms"], tuple(item["taken"]), item["current"], item["looked_ms"], item["version"])

    def write_turn(self, import_id: str, turn: Turn) -> Turn:
        written = replace(turn, version=turn.version + 1)
        writer = uuid.uuid4().hex  # so that a lost reply is not taken for another run's writing (F8)
        item = {"pk": f"IMPORT#{import_id}", "sk": "TURN", **asdict(written), "taken": list(turn.taken)}
        condition: dict[str, Any] = {"ConditionExpression": "attribute_not_exists(pk)"}
        if turn.version:
            condition = {
                "ConditionExpression": "version = :before",
                "ExpressionAttributeValues": _marshalled({":before": turn.version}),
            }
        if not self._conditional("put_item", Item=_marshalled(item | {"writer": writer}), **condition):
            now = self._get(f"IMPORT#{import_id}", "TURN") or {}
            if now.get("writer") != writer:
                raise Fenced(f"another run of import {import_id} is at it")
        return written

    # -- stems --------------------------------------------------------------------------------------------------

    def claim_stem(self, day: str, stem: str, execution_id: str) -> bool:
        pk = f"STEM#{day}#{stem}"
        if len(pk.encode()) > 2_048:
            raise ValueError("a stem is at most as long as a key")
        return self._conditional(
            "put_item",
            Item=_marshalled({"pk": pk, "sk": "STEM", "execution_id": execution_id}),
            ConditionExpression="attribute_not_exists(pk) OR execution_id = :me",  # ours since an earlier try
            ExpressionAttributeValues=_marshalled({":me": execution_id}),
        )

    # -- calls --------------------------------------------------------------------------------------------------

    def _get(self, pk: str, sk: str) -> dict[str, Any] | None:
        item = self._call("get_item", Key=_key(pk, sk), ConsistentRead=True).get("Item")
        return None if item is None else plain(item)

    def _pages(self, **query: Any) -> Iterator[dict[str, Any]]:
        """The items of a query, however many pages they are."""
        page: dict[str, Any] = {}
        while True:
            answer = self._call("query", **query, **page)
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            page = {"ExclusiveStartKey": answer["LastEvaluatedKey"]}

    def _conditional(self, operation: str, **arguments: Any) -> bool:
        """Whether a conditional write was accepted."""
        try:
            self._call(operation, **arguments)
        except _Refused:
            return False
        return True

    def _call(self, operation: str, **arguments: Any) -> Any:
        try:
            return getattr(self._dynamodb, operation)(TableName=self._table, **arguments)
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "")
            if code == "ConditionalCheckFailedException":
                raise _Refused from error
            _unavailable(error, operation, code)
        except LOST as error:
            raise Unavailable(f"{operation} on the imports table: {error}") from error


def forget_s(ended_ms: int, kept_days: int) -> int:
    """When something that ended then is forgotten, as `expires_at` says it: in seconds."""
    return ended_ms // 1000 + kept_days * 86_400


class _Refused(Exception):
    """A conditional write was not accepted."""


def _unavailable(error: ClientError, operation: str, code: str) -> NoReturn:
    action = "".join(word.title() for word in operation.split("_"))
    remedy = f"; allow dynamodb:{action} on the imports table and its index" if "AccessDenied" in code else ""
    raise Unavailable(f"{operation} on the imports table: {said(error)}{remedy}") from error


def _key(pk: str, sk: str) -> dict[str, Any]:
    return {"pk": {"S": pk}, "sk": {"S": sk}}


def _index_key(uri: str) -> str:
    """A URI as a sort key, which takes 1,024 bytes: a bucket and the longest key are longer."""
    encoded = uri.encode()
    return uri if len(encoded) <= 1_024 else hashlib.blake2b(encoded).hexdigest()


def _part_sort_key(start: int) -> str:
    return f"PART#{start:020d}"


def _marshalled(values: Mapping[str, Any]) -> Item:
    return {name: attribute(value) for name, value in values.items()}


def _tally_map(tally: Tally) -> dict[str, Any]:
    return asdict(tally)


def _tally_of(stored: dict[str, Any]) -> Tally:
    notes = {code: Noted(**noted) for code, noted in stored["notes"].items()}
    return Tally(**{**stored, "notes": notes})


def _part_state(item: dict[str, Any]) -> PartState:
    start = item["start"]
    tally = _tally_of(item["tally"]) if "tally" in item else Tally()
    done = bool(item.get("done"))
    border = item.get("border")
    return PartState(
        start,
        item["stop"],
        item.get("next_offset", start),
        tally,
        done,
        item.get("sha256"),
        None if border is None else Border(**border),
        item.get("hops", 0),
        item.get("waits", 0),
        item.get("tries", 0),
        Usage(**item.get("spent", {})),  # not said before it was counted
    )


def _stored_definition(item: dict[str, Any]) -> StoredDefinition:
    return StoredDefinition(
        item["pk"].removeprefix("IMPORT#"),
        item.get("definition", ""),
        item.get("creation_date"),
        item.get("changed_ms"),
    )


def _kept_request(item: dict[str, Any]) -> KeptRequest:
    return KeptRequest(**{f.name: item[f.name] for f in fields(KeptRequest)})


def _execution_item(execution: Execution) -> dict[str, Any]:
    """The public document, and as `state` (JSON text) what is not in it."""
    outcome = execution.outcome
    state = {
        "source": {name: value for name, value in asdict(execution.source).items() if name != "mends"},
        "definition": execution.definition,
        "sinks": execution.sinks,
        "part_bytes": execution.part_bytes,
        "outcome": None
        if outcome is None
        else {
            **asdict(outcome),
            "read_to": {str(start): offset for start, offset in outcome.read_to.items()},
            "spent": outcome.spent.counts(),
        },
        "attempt": execution.attempt,
        **({"replayed": asdict(execution.replayed)} if execution.replayed else {}),
    }
    return {
        **document(replace(execution, undone=None)),  # whoever undoes it writes that
        "format": execution.format,
        "rules_version": execution.rules_version,
        "checked": execution.checked,
        "state": orjson.dumps(state).decode(),
    }


def execution_in(image: Item) -> Execution:
    """The execution in an item as DynamoDB tells it of the table's changes.

    Raises:
        Unavailable: it is no item of ours, or was changed by hand.
    """
    return _execution_of(plain(image))


def _execution_of(item: dict[str, Any]) -> Execution:
    """Raises Unavailable: it is no item of ours, or was changed by hand."""
    try:
        return _read(item)
    except (KeyError, TypeError, ValueError) as broken:
        raise Unavailable(
            f"the item {item.get('pk')} of the imports table cannot be read: {type(broken).__name__} {broken}. "
            "Somebody has changed it; the table's point-in-time recovery has what it was"
        ) from broken


def _read(item: dict[str, Any]) -> Execution:
    state = orjson.loads(item["state"])
    outcome = state["outcome"]
    error = item["error"]
    return Execution(
        id=item["id"],
        source=S3Object(**state["source"]),
        status=Status(item["status"]),
        phase=Phase(item["phase"]),
        created_ms=item["creation_date"],
        definition=state["definition"],
        format=item["format"],
        part_count=item["num_tasks"],
        part_bytes=state.get("part_bytes", 0),
        sinks=tuple(state.get("sinks", ("dynamodb",))),  # not said before there was a choice
        rules_version=item["rules_version"],
        start_date=item["start_date"],
        parts_done=frozenset(item.get("parts_done", ())),
        outcome=None
        if outcome is None
        else Outcome(
            Destination(**outcome["destination"]),
            outcome["end_date"],
            _tally_of(outcome["sums"]),
            {int(start): offset for start, offset in outcome["read_to"].items()},
            outcome["sha256"],
            Usage(**outcome.get("spent", {})),  # not said before it was counted
        ),
        error=None if error is None else FileError(error["code"], error["message"]),
        attempt=state["attempt"],
        checked=item.get("checked", False),  # not said before there was a check
        undone=_undone_of(item["undone"]) if "undone" in item else None,
        mends=item.get("mends", ""),
        replayed=Upload(**state["replayed"]) if "replayed" in state else None,
    )


def _undone_of(stored: dict[str, Any]) -> Undone:
    return Undone(**{f.name: stored[f.name] for f in fields(Undone) if f.name in stored})
