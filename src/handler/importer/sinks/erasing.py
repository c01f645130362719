"""Erasure: whoever is erased is gone from both tables, with all that was uploaded before, also if it is read later.

Three steps, each safe to repeat:

1. The *mark*, one item of the users table, says the latest upload that erased anybody.
2. Each identifier of the person, found along its links, gets the record `erased`. It stays for good.
3. Events and records whose file was uploaded before are deleted. Links go last, those found last first: whoever goes on
   after a crash still finds the way to every identifier that is not done. The records `erased` keep them in mind, since
   a later erasure of one means the others as well, whichever of two erasures is read first. A link that was said before
and again after an erasure leads on, and stays.

Any other writer reads the mark after it has written. Does it speak of a later upload than its own, the writer looks
whom of its rows are erased and takes them out again; else step 3 is still to come, and sees what was written. So no
order of two writers leaves a row behind, and where nobody was erased since a file was uploaded all of this costs one
small read a batch.

A row is dropped if anybody in it was erased after its file was uploaded. If it links an erased person with another
identifier, that one is the same person's: it is erased too, as if the link had come first.

Given up: which of two uploads of one and the same row wrote an event is known of the last only. If one came before an
erasure and the other after, and they are read the wrong way round, the event goes with the first.
"""

from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final

import orjson
from botocore.exceptions import ClientError

from importer.model import Clock, Event, Provenance, UserChange, rank, uploaded_ms_of
from importer.sinks.calls import Calls, Left, suppress_refusal, unless_refused
from importer.sinks.items import Item, record_item
from importer.sinks.quick import Quick, Reply, Transport
from importer.sinks.users import FIRST
from importer.users import ERASED, LINK, PERSON, SCOPE

if TYPE_CHECKING:
    from mypy_boto3_dynamodb import DynamoDBClient

UploadedMs = Callable[[str], int | None]  # execution id → when its file was uploaded; None: nobody knows any more

MARK: Final[Item] = {"user_id": {"S": "erasures"}, "record": {"S": "mark"}}
MOST_IDENTIFIERS: Final = 10_000  # of one person
PAGE: Final = 100  # items deleted between two breaths
# Quota: docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_BatchGetItem.html
CALL_KEYS: Final = 100
LINKED: Final = "linked"  # of a record `erased`: the other identifiers its own was linked with
REMEMBERED_BYTES: Final = 64 << 10  # of them at a time
_KEY: Final = ("user_id", "record", LINKED)
_RECORD: Final = f"user_id, #record, #rank, deleted, {FIRST}"
_NAMES: Final = {"#record": "record", "#rank": "rank"}


@dataclass(slots=True)
class _Person:
    """Somebody to be erased: where to begin, the record every identifier gets, and which those are."""

    start: str
    erased: Item
    identifiers: dict[str, None] = field(default_factory=dict)  # in the order they were found
    queue: deque[tuple[str, str]] = field(default_factory=deque)  # still to be looked at, and rank of the link there

    def __post_init__(self) -> None:
        self.queue.append((self.start, ""))

    @property
    def before_ms(self) -> int:
        """What was uploaded before is gone."""
        return uploaded_ms_of(self.erased["rank"]["S"])


@dataclass(frozen=True, slots=True)
class _Step:
    """Some of what there is to do for a person; how far it is, the person knows."""

    person: _Person
    times: int = 0  # so that a job that got somewhere is another one


@dataclass(frozen=True, slots=True)
class _Data:
    """What one identifier has, but for its links, still to be deleted."""

    person: _Person
    user_id: str
    times: int = 0  # so that a job that got somewhere is another one


class Erasing:
    """Erases, and keeps one execution's rows out of what was erased.

    Args:
        client: makes one attempt a call.
        transport: the quick way of the same client, for what is asked after every batch.
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
        transport: Transport | None = None,
    ) -> None:
        self._client = client
        self._events = events_table
        self._users = users_table
        self._source = source
        self._uploaded_ms = lru_cache(1_024)(uploaded_ms)
        self._mark_ms = -1  # as last read

        tables = f"the tables {events_table} and {users_table}"
        self._calls: Calls[Any] = Calls(clock, in_flight, tables, "dynamodb")
        self._mark: dict[str, Any] = {"TableName": users_table, "Key": MARK, "ConsistentRead": True}
        self._quick_mark: Quick[Item] | None = None
        if transport is not None:
            text, operation = orjson.dumps(self._mark), transport.operation("get_item", **self._mark)
            self._quick_mark = Quick(operation, lambda _: text, lambda _: False, self._marked)

    # -- keeping rows out -------------------------------------------------------------------------------------------

    def look(self) -> bool:
        """Look at the mark: whether anybody has been erased by an upload later than ours."""
        self._read_mark()
        return self._mark_ms > self._source.uploaded_ms

    def has_anyone(self) -> bool:
        """Whether anybody at all was erased by an upload later than ours, as far as we have looked."""
        if self._mark_ms < 0:
            self._read_mark()
        return self._mark_ms > self._source.uploaded_ms

    def erased_among(self, user_ids: Collection[str], breathe: Callable[[], None]) -> dict[str, Item]:
        """Those of these who were erased by an upload later than ours, with the record that says so."""
        if not self.has_anyone() or not user_ids:
            return {}
        found: dict[str, Item] = {}

        def get(keys: list[Item]) -> Left[list[Item]]:
            asked: Any = {self._users: {"Keys": keys, "ConsistentRead": True}}
            answer: Any = self._client.batch_get_item(RequestItems=asked)
            for item in answer["Responses"].get(self._users, []):
                if uploaded_ms_of(item["rank"]["S"]) > self._source.uploaded_ms:
                    found[item["user_id"]["S"]] = item
            left = answer.get("UnprocessedKeys", {}).get(self._users, {}).get("Keys", [])
            return Left([left], put_off=True) if left else Left()

        keys: list[Item] = [{"user_id": {"S": user}, "record": {"S": ERASED}} for user in user_ids]
        self._calls.run([keys[at : at + CALL_KEYS] for at in range(0, len(keys), CALL_KEYS)], get, breathe)
        return found

    def take_out(
        self,
        events: Sequence[Event],
        changes: Sequence[UserChange],
        erased: dict[str, Item],
        breathe: Callable[[], None],
    ) -> None:
        """Delete what these rows have written, now or in an earlier try; a link passes its erasure on."""
        links: dict[str, set[str]] = {}
        passed_on: dict[str, _Person] = {}
        for change in changes:
            other = change.record.removeprefix(LINK)
            if change.deleted or not other or not change.record.startswith(LINK):
                continue
            links.setdefault(change.user_id, set()).add(other)
            said = erased.get(change.user_id)
            if said is not None and other not in erased and _is_of_a_person(said):
                passed_on[other] = _Person(other, {name: said[name] for name in said if name != LINKED})
        if passed_on:
            self._erase(list(passed_on.values()), breathe)

        def remember(user_id: str) -> Left[str]:
            self._remember(user_id, links[user_id])
            return Left()

        persons = {user_id for user_id, said in erased.items() if _is_of_a_person(said)} | set(passed_on)
        self._calls.run(sorted(persons & set(links)), remember, breathe)

        def delete(what: Event | UserChange) -> Left[Event | UserChange]:
            if isinstance(what, Event):
                key = {"user_id": {"S": what.user_id}, "event_key": {"S": what.event_key}}
                self._delete(self._events, key, "execution_id", self._source.execution_id)
            else:
                key = {"user_id": {"S": what.user_id}, "record": {"S": what.record}}
                self._delete(self._users, key, "rank", rank(what, self._source))
            return Left()

        self._calls.run([*events, *changes], delete, breathe)

    def _read_mark(self) -> None:
        def get(_: Item) -> Left[Item]:
            return self._marked_by(self._client.get_item(**self._mark))

        self._calls.run([MARK], get, lambda: None, self._quick_mark)

    def _marked(self, _: Item, reply: Reply) -> Left[Item] | None:
        """None where it cannot be told whether there is a mark."""
        answer = reply.document
        return self._marked_by(answer) if "Item" in answer or reply.body == b"{}" else None

    def _marked_by(self, answer: Mapping[str, Any]) -> Left[Item]:
        item = answer.get("Item")
        self._mark_ms = int(item["uploaded_ms"]["N"]) if item else 0
        return Left()

    # -- erasing ----------------------------------------------------------------------------------------------------

    def erase(self, changes: Iterable[UserChange], breathe: Callable[[], None]) -> None:
        """Erase the persons these changes name; durable when it returns, and done again for nothing."""

        def mark(key: Item) -> Left[Item]:
            now: Item = {":ms": {"N": str(self._source.uploaded_ms)}}
            try:
                self._client.update_item(
                    TableName=self._users,
                    Key=key,
                    UpdateExpression="SET uploaded_ms = :ms",
                    ConditionExpression="attribute_not_exists(uploaded_ms) OR uploaded_ms < :ms",
                    ExpressionAttributeValues=now,
                )
            except ClientError as error:
                unless_refused(error)
            return Left()

        self._calls.run([MARK], mark, breathe)
        self._erase(
            [
                _Person(change.user_id, record_item(change, rank(change, self._source), self._source))
                for change in changes
            ],
            breathe,
        )

    def _erase(self, persons: list[_Person], breathe: Callable[[], None]) -> None:
        self._calls.run([_Step(person) for person in persons], self._find, breathe)
        jobs = [_Data(person, user_id) for person in persons for user_id in person.identifiers]
        self._calls.run(jobs, self._delete_data, breathe)
        self._calls.run([_Step(person) for person in persons], self._delete_links, breathe)

    def _find(self, job: _Step) -> Left[_Step]:
        """All identifiers of a person get the record, the one we begin with first. One of them is looked at; others
        are left: a person may have thousands, and what is throttled or lost meanwhile must not begin with the first.
        """
        person = job.person
        while person.queue and len(person.identifiers) < MOST_IDENTIFIERS:
            user_id, rank_text = person.queue[0]
            if user_id not in person.identifiers and not (rank_text and rank_text < self._cut_rank(user_id, person)):
                former = self._put_erased(person, user_id)  # before the links are read: a link written later sees it
                if not _is_of_a_person(person.erased):
                    person.identifiers[user_id] = None
                    return Left()
                linked = self._linked(user_id, person)
                self._remember(user_id, set(linked) - former)
                person.queue.extend(linked.items())
                person.queue.extend((other, "") for other in sorted(former - set(linked)))
                person.identifiers[user_id] = None
                person.queue.popleft()
                return Left([_Step(person, job.times + 1)])
            person.queue.popleft()
        return Left()

    def _linked(self, user_id: str, person: _Person) -> dict[str, str]:
        """Other identifiers → rank of the link, of those links that hold."""
        cut_rank = self._cut_rank(user_id, person)
        return {
            str(record["record"]["S"]).removeprefix(LINK): record["rank"]["S"]
            for record in self._links(user_id)
            if _first_ms(record) < person.before_ms
            and not record.get("deleted", {}).get("BOOL", False)
            and record["rank"]["S"] > cut_rank
        }

    def _cut_rank(self, user_id: str, person: _Person) -> str:
        """Rank of the record that all links until then were cut; "" if they were not."""
        first = next(self._links(user_id), None)
        is_cut = first is not None and first["record"]["S"] == LINK and _is_before(first, person)
        return str(first["rank"]["S"]) if first is not None and is_cut else ""

    def _put_erased(self, person: _Person, user_id: str) -> set[str]:
        """Make the record of an identifier; which others it was linked with when it was erased before."""
        item = person.erased
        names = {name: f"#{index}" for index, name in enumerate(item) if name not in _KEY}
        values = {f":{mark[1:]}": item[name] for name, mark in names.items()}
        update = ", ".join(f"{name} = {value}" for name, value in zip(names.values(), values, strict=True))
        rank_is = dict(zip(names, values, strict=True))["rank"]
        key: Item = {"user_id": {"S": user_id}, "record": {"S": ERASED}}
        try:
            answer: Any = self._client.update_item(
                TableName=self._users,
                Key=key,
                UpdateExpression=f"SET {update}",
                ConditionExpression=f"attribute_not_exists({names['rank']}) OR {names['rank']} <= {rank_is}",
                ExpressionAttributeNames={mark: name for name, mark in names.items()},
                ExpressionAttributeValues=values,
                ReturnValues="ALL_NEW",
            )
            found = answer.get("Attributes", {})
        except ClientError as error:
            unless_refused(error)  # erased by a later upload already
            found = self._client.get_item(TableName=self._users, Key=key, ConsistentRead=True).get("Item", {})
        return set(found.get(LINKED, {}).get("SS", ()))

    def _remember(self, user_id: str, others: set[str]) -> None:
        """Keep whom an erased identifier was linked with: the links go, and the next erasure means them too.

        As many as the item holds (400 KB): the erasure itself must not fail for it.
        """
        left = deque(sorted(others))
        while left:
            some = [left.popleft()]
            size_bytes = len(some[0].encode())
            while left and size_bytes + len(left[0].encode()) <= REMEMBERED_BYTES:
                some.append(left.popleft())
                size_bytes += len(some[-1].encode())
            try:
                self._client.update_item(
                    TableName=self._users,
                    Key={"user_id": {"S": user_id}, "record": {"S": ERASED}},
                    UpdateExpression="ADD #linked :some",
                    ExpressionAttributeNames={"#linked": LINKED},
                    ExpressionAttributeValues={":some": {"SS": some}},
                )
            except ClientError as error:
                if "item size" not in str(error.response.get("Error", {}).get("Message", "")).lower():
                    raise
                return

    def _delete_data(self, job: _Data) -> Left[_Data]:
        """Delete a page of what an identifier has."""
        todo = PAGE
        for record in self._pages(self._users, job.user_id, _RECORD, _NAMES):
            name = record["record"]["S"]
            if name == ERASED or name.startswith(LINK) or not _is_before(record, job.person):
                continue
            self._delete(self._users, _key(record, "record"), "rank", record["rank"]["S"])
            todo -= 1
            if not todo:
                return Left([_Data(job.person, job.user_id, job.times + 1)])
        for event in self._pages(self._events, job.user_id, "user_id, event_key, execution_id", {}):
            uploaded_ms = self._uploaded_ms(event["execution_id"]["S"])
            if uploaded_ms is not None and uploaded_ms >= job.person.before_ms:
                continue
            self._delete(self._events, _key(event, "event_key"), "execution_id", event["execution_id"]["S"])
            todo -= 1
            if not todo:
                return Left([_Data(job.person, job.user_id, job.times + 1)])
        return Left()

    def _delete_links(self, job: _Step) -> Left[_Step]:
        """Delete a page of a person's links, those found last first."""
        person = job.person
        todo = PAGE
        while person.identifiers:
            user_id = next(reversed(person.identifiers))
            for record in self._links(user_id):
                if not _is_before(record, person):  # said again since: from then on it counts
                    self._begin_link_again(record, person)
                    continue
                self._delete(self._users, _key(record, "record"), "rank", record["rank"]["S"])
                other = str(record["record"]["S"]).removeprefix(LINK)
                if other and not _is_of_a_person(person.erased):  # its other end is nobody's who is erased
                    key: Item = {"user_id": {"S": other}, "record": {"S": f"{LINK}{user_id}"}}
                    self._delete(self._users, key, "rank", record["rank"]["S"])
                todo -= 1
                if todo <= 0:
                    return Left([_Step(person, job.times + 1)])
            del person.identifiers[user_id]
        return Left()

    # -- calls ------------------------------------------------------------------------------------------------------

    def _links(self, user_id: str) -> Iterator[Item]:
        """Link records; the one of all links comes first."""
        records = self._pages(self._users, user_id, _RECORD, _NAMES, only_links=True)
        return (record for record in records if "rank" in record)

    def _begin_link_again(self, record: Item, person: _Person) -> None:
        """A link that was said before the erasure and again after it was first said after it, from now on."""
        if _first_ms(record) >= person.before_ms:
            return
        with suppress_refusal():
            self._client.update_item(
                TableName=self._users,
                Key=_key(record, "record"),
                UpdateExpression="SET #first = :first",
                ConditionExpression="#rank = :rank",
                ExpressionAttributeNames={"#rank": "rank", "#first": FIRST},
                ExpressionAttributeValues={
                    ":rank": record["rank"],
                    ":first": {"N": str(uploaded_ms_of(record["rank"]["S"]))},
                },
            )

    def _pages(
        self, table: str, user_id: str, projection: str, names: dict[str, str], only_links: bool = False
    ) -> Iterator[Item]:
        page: dict[str, Any] = {"ExpressionAttributeNames": names} if names else {}
        values: Item = {":user": {"S": user_id}} | ({":link": {"S": LINK}} if only_links else {})
        while True:
            answer: Any = self._client.query(
                TableName=table,
                KeyConditionExpression="user_id = :user" + (" AND begins_with(#record, :link)" if only_links else ""),
                ExpressionAttributeValues=values,
                ProjectionExpression=projection,
                ConsistentRead=True,
                **page,
            )
            yield from answer["Items"]
            if "LastEvaluatedKey" not in answer:
                return
            page["ExclusiveStartKey"] = answer["LastEvaluatedKey"]

    def _delete(self, table: str, key: Item, attribute: str, value: str) -> None:
        """Delete an item that is still as it was seen; one written since is another upload's."""
        try:
            self._client.delete_item(
                TableName=table,
                Key=key,
                ConditionExpression="#attribute = :value",
                ExpressionAttributeNames={"#attribute": attribute},
                ExpressionAttributeValues={":value": {"S": value}},
            )
        except ClientError as error:
            unless_refused(error)


def _is_before(record: Item, person: _Person) -> bool:
    return "rank" in record and uploaded_ms_of(record["rank"]["S"]) < person.before_ms


def _first_ms(link: Item) -> int:
    """When the first file was uploaded that said so."""
    return min(int(link[FIRST]["N"]) if FIRST in link else 2**63, uploaded_ms_of(link["rank"]["S"]))


def _is_of_a_person(erased: Item) -> bool:
    """Whether all identifiers of the person are meant, and not one device alone (D30)."""
    return bool(erased.get("value", {}).get("M", {}).get(SCOPE, {"S": PERSON})["S"] == PERSON)


def _key(item: Item, sort_key: str) -> Item:
    return {"user_id": item["user_id"], sort_key: item[sort_key]}
