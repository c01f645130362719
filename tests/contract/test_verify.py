"""`verify`: what an import left behind balances; whatever is done to it afterwards is found, and told by its row.

The tampering is done in all places at once by hand and at random; FAULT_SEED repeats a random run.
"""

import gzip
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import orjson
import pytest

from importer.aws.stored import StoredTables
from importer.bad_rows import Reason, Reject
from importer.ledger import Books, CannotRecount, Finding, Kind, Place, Verdict, verify
from importer.model import RULES_VERSION, Execution, Phase, Status, Unavailable
from tests.faults.files import FILES, many_rows, row
from tests.faults.importing import Importer, installed
from tests.support import oracle
from tests.support.cloud import Cloud
from tests.support.scenarios import is_whole, sample, seed

KEY, BODY = FILES["medium"]


@dataclass
class Room:
    """One imported file, and its ledger."""

    importer: Importer
    execution: Execution
    body: bytes

    @property
    def cloud(self) -> Cloud:
        return self.importer.cloud

    def books(self) -> Books:
        place, cloud = self.importer.workplaces(lambda: 900_000), self.cloud
        tables = cloud.events_table, cloud.users_table, cloud.imports_table
        return Books(place.objects, place.records, StoredTables(cloud.client("dynamodb"), *tables, cloud.clock, 1))

    def verdict(self, scan: bool = False, most: int = 10) -> Verdict:
        with self.cloud.unseen():
            books = self.books()
            execution = books.records.execution(self.execution.id)
            assert execution is not None
            return verify(books, execution, scan, most)

    def balances(self) -> None:
        assert self.verdict(scan=True).findings == ()

    @contextmanager
    def object(self, key: str, change: Callable[[bytes], bytes | None]) -> Iterator[None]:
        """An object as somebody changed it (None: took it away), put back at the end."""
        before = self.cloud.objects()[key]
        after = change(before)
        self._put(key, after)
        yield
        self._put(key, before)

    def _put(self, key: str, body: bytes | None) -> None:
        with self.cloud.unseen():
            s3 = self.cloud.client("s3")
            if body is None:
                s3.delete_object(Bucket=self.cloud.bucket, Key=key)
            else:
                s3.put_object(Bucket=self.cloud.bucket, Key=key, Body=body)

    @contextmanager
    def item(self, table: str, key: dict[str, Any], change: Callable[[dict[str, Any]], dict[str, Any] | None]):
        """An item as somebody changed it (None: deleted it), put back at the end."""
        with self.cloud.unseen():
            dynamodb = self.cloud.client("dynamodb")
            before = dynamodb.get_item(TableName=table, Key=key).get("Item")
            after = change(dict(before or key))
            if after is None:
                dynamodb.delete_item(TableName=table, Key=key)
            else:
                dynamodb.put_item(TableName=table, Item=after)
        yield
        with self.cloud.unseen():
            if before is None:
                dynamodb.delete_item(TableName=table, Key=key)
            else:
                dynamodb.put_item(TableName=table, Item=before)

    @property
    def destination(self) -> Any:
        assert self.execution.outcome is not None
        return self.execution.outcome.destination

    def event_keys(self) -> list[dict[str, Any]]:
        return [_key(item, "event_key") for item in self.cloud.items(self.cloud.events_table)]

    def user_keys(self) -> list[dict[str, Any]]:
        return [_key(item, "record") for item in self.cloud.items(self.cloud.users_table)]


def _key(item: dict[str, Any], sort_key: str) -> dict[str, Any]:
    return {"user_id": {"S": item["user_id"]}, sort_key: {"S": item[sort_key]}}


@contextmanager
def imported(key: str = KEY, body: bytes = BODY, **how: Any) -> Iterator[Room]:
    with installed(**how) as importer:
        [execution] = importer.deliver(importer.cloud.drop(key, body))
        yield Room(importer, execution, body)


@pytest.fixture
def room() -> Iterator[Room]:
    """The medium workload, imported."""
    with imported() as room:
        yield room


def flipped(body: bytes, at: int, bit: int = 0) -> bytes:
    return body[:at] + bytes([body[at] ^ 1 << bit]) + body[at + 1 :]


def rows_of(findings: tuple[Finding, ...]) -> set[tuple[str, str, int | None]]:
    return {(finding.kind.value, finding.place.value, finding.offset) for finding in findings}


# -- what is as it should be ---------------------------------------------------------------------------------------


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("workload", "sinks"),
    [
        *((workload, ("dynamodb",)) for workload in FILES),
        *((workload, ("dynamodb", "firehose")) for workload in ("medium", "CSV")),
        ("medium", ("firehose",)),
    ],
)
def test_what_an_import_left_behind_balances(workload: str, sinks: tuple[str, ...]) -> None:
    """Also with the tables searched, and after the same rows were dropped under another name."""
    key, body = FILES[workload]
    with imported(key, body, sinks=sinks) as room:
        expected = oracle.read(key, body)
        verdict = room.verdict()
        assert (verdict.balanced, verdict.recounted.good, verdict.recounted.bad) == (True, expected.good, expected.bad)
        room.balances()
        first, dot, suffix = key.partition(".")
        room.importer.deliver(room.cloud.drop(f"{first}-again{dot}{suffix}", body))
        room.balances()


@pytest.mark.sampled(1)
@pytest.mark.parametrize("number", range(2))
def test_parts_and_their_order_make_no_difference(number: int) -> None:
    """Equal rows lie in several parts, and the last to be written is not the last of the file."""
    body = many_rows(60) + many_rows(40)
    with installed(part_bytes=2048) as importer:
        importer.notify(importer.cloud.drop("imports/many.json", body))
        importer.run_until_quiet(seed=number, workers=3)
        execution_id = importer.executions()[0]["id"]
        execution = importer.workplaces(lambda: 900_000).records.execution(execution_id)
        assert execution.part_count > 3
        room = Room(importer, execution, body)
        room.balances()
        assert room.verdict().recounted.rows == oracle.read("imports/many.json", body).rows


def test_a_row_a_destination_refused_is_a_bad_row_and_must_not_be_stored() -> None:
    """Nothing but the reasons file says so."""
    refused = 0

    class Refusing:
        def __init__(self, sink: Any) -> None:
            self._sink = sink

        def write(self, events, user_changes, breathe=lambda: None):  # type: ignore[no-untyped-def]
            nonlocal refused
            out = {
                e.address: Reject(Reason.REFUSED_BY_SINK, found="item size") for e in events if e.user_id == "user-2"
            }
            refused += len(out)
            kept = [event for event in events if event.address not in out]
            return out | self._sink.write(kept, [c for c in user_changes if c.address not in out], breathe)

    with installed() as importer:
        workplaces = importer.workplaces

        def refusing(remaining_ms: Callable[[], int]) -> Any:
            place = workplaces(remaining_ms)
            return replace(place, open_sink=lambda *asked: Refusing(place.open_sink(*asked)))

        importer.workplaces = refusing
        [execution] = importer.deliver(importer.cloud.drop(KEY, BODY))
        importer.workplaces = workplaces
        room = Room(importer, execution, BODY)
        assert refused > 1
        room.balances()

        documents = [orjson.loads(line) for line in room.cloud.objects()[room.destination.reasons].splitlines()]
        offset = next(document["offset"] for document in documents if document["reason"] == "refused_by_sink")
        text = BODY[offset:].partition(b"\n")[0]
        event = next(iter(oracle.read(KEY, text).events.items()))
        stray = {"user_id": {"S": event[0][0]}, "event_key": {"S": event[0][1]}}
        with room.item(room.cloud.events_table, stray, lambda item: {**item, "execution_id": {"S": execution.id}}):
            assert ("extra", "events", offset) in rows_of(room.verdict().findings)


# -- executions that did not succeed -------------------------------------------------------------------------------


def test_a_refused_file_is_recounted_up_to_where_it_was_read() -> None:
    """The source stays in imports/ and is walked there."""
    body = gzip.compress(many_rows(80), mtime=0, compresslevel=0)
    with mock.patch("importer.compression.BLOCK_BYTES", 512), imported("imports/cut.json.gz", body[:-2000]) as room:
        assert room.execution.status is Status.FAILED
        assert room.verdict().recounted.rows > 10
        room.balances()
        with room.item(room.cloud.events_table, room.event_keys()[0], lambda item: None):
            assert not room.verdict().balanced


@pytest.mark.sampled(1)
@pytest.mark.parametrize("number", range(2))
def test_a_cancelled_execution_is_recounted_part_by_part(number: int) -> None:
    """Rows behind each part's last position may be stored or not; behind a part cut short no line number is known."""
    body = many_rows(100)
    with installed(part_bytes=4096, write_ms=15_000, hop_seconds=60) as importer:
        [execution] = importer.deliver(importer.cloud.drop("imports/many.json", body))
        choose = random.Random(number)
        for message in choose.sample(sorted(set(importer.cloud.messages())), 3):
            importer.work_on(message)
        importer.by_hand("cancel", execution.id)
        execution = importer.workplaces(lambda: 900_000).records.execution(execution.id)
        assert (execution.status, execution.phase) == (Status.CANCELED, Phase.CLOSED)
        room = Room(importer, execution, body)
        counted = room.verdict().recounted
        assert 0 < counted.rows < oracle.read("imports/many.json", body).rows
        room.balances()
        with room.object(room.destination.errors, lambda errors: flipped(errors, len(errors) // 2)):
            assert not room.verdict().balanced


def test_what_cannot_be_recounted_is_said_and_not_guessed(room: Room) -> None:
    running = replace(room.execution, status=Status.RUNNING, phase=Phase.IMPORTING, outcome=None)
    older = replace(room.execution, rules_version=RULES_VERSION - 1)
    with pytest.raises(CannotRecount, match="RUNNING"):
        verify(room.books(), running)
    with pytest.raises(CannotRecount, match="cannot be recounted by this version"):
        verify(room.books(), older)


def test_a_refused_file_that_was_taken_away_cannot_be_recounted() -> None:
    with imported("imports/cut.json.gz", gzip.compress(BODY)[:-5]) as room:
        version = room.execution.source.version_id
        with room.cloud.unseen():
            room.cloud.client("s3").delete_object(
                Bucket=room.cloud.bucket, Key="imports/cut.json.gz", VersionId=version
            )
        with pytest.raises(CannotRecount, match="not there any more"):
            room.verdict()


# -- the archive ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("at_most", [5, pytest.param(10**6, marks=pytest.mark.slow)], ids=["a sample", "every byte"])
def test_a_flipped_byte_of_the_archive_is_found_and_its_row_told(room: Room, at_most: int) -> None:
    """The row's line is the first finding's place, whatever the row was: good, bad or blank."""
    choose = random.Random(seed())
    places = range(len(BODY)) if at_most >= len(BODY) else choose.sample(range(len(BODY)), at_most)
    for at in places:
        with room.object(room.destination.completed, lambda body, at=at: flipped(body, at, choose.randrange(8))):
            first = room.verdict().findings[0]
        line_start = BODY.rfind(b"\n", 0, at) + 1
        assert first.place is Place.ARCHIVE, at
        if BODY[line_start : line_start + 1] not in (b"\n", b"") and BODY[at : at + 1] != b"\n":
            assert first.offset == line_start, f"byte {at}: {first}"


def test_an_archive_that_cannot_be_read_through_is_told_once() -> None:
    """What it no longer tells is not called extra."""
    with imported("imports/packed.json.gz", gzip.compress(BODY, mtime=0)) as room:
        with room.object(room.destination.completed, lambda body: flipped(body, len(body) - 6)):
            [finding] = room.verdict().findings
        assert (finding.kind, finding.place) == (Kind.DIFFERENT, Place.ARCHIVE)
        assert finding.found.startswith("corrupt: ")


def test_an_archive_that_is_gone_is_missing(room: Room) -> None:
    with room.object(room.destination.completed, lambda body: None):
        verdict = room.verdict()
    assert [(f.kind, f.place, f.key) for f in verdict.findings] == [
        (Kind.MISSING, Place.ARCHIVE, room.destination.completed)
    ]


# -- errors/ and reasons -------------------------------------------------------------------------------------------


def bad_offsets(room: Room) -> list[int]:
    return [bad_row.offset for bad_row in oracle.read(KEY, BODY).bad_rows]


@pytest.mark.parametrize("paper", ["errors", "reasons"])
def test_a_flipped_byte_of_a_paper_is_one_row_different(room: Room, paper: str) -> None:
    """Every byte of it, once; only that row is told. A flipped offset may look like a row gone and another come."""
    key = getattr(room.destination, paper)
    body = room.cloud.objects()[key]
    choose = random.Random(seed())
    for at in choose.sample(range(len(body)), 40 if is_whole() else 6):
        number = body.count(b"\n", 0, at)
        with room.object(key, lambda body, at=at: flipped(body, at)):
            verdict = room.verdict()
        assert verdict.findings, at
        assert {finding.place.value for finding in verdict.findings} <= {paper, "receipt", "execution"}, at
        told = {finding.offset for finding in verdict.findings if finding.place.value == paper}
        assert bad_offsets(room)[number] in told, f"byte {at}: {verdict.findings}"
        if paper == "errors":
            assert len(told) == 1, f"byte {at}: {verdict.findings}"


@pytest.mark.parametrize("paper", ["errors", "reasons"])
def test_two_bad_rows_that_changed_places_are_told(room: Room, paper: str) -> None:
    def swapped(body: bytes) -> bytes:
        lines = body.splitlines(keepends=True)
        return b"".join([lines[1], lines[0], *lines[2:]])

    with room.object(getattr(room.destination, paper), swapped):
        verdict = room.verdict()
    assert {finding.offset for finding in verdict.findings} <= {*bad_offsets(room)[:2], None}
    assert set(verdict.differences) == {Kind.MISSING, Kind.EXTRA}


@pytest.mark.parametrize("paper", ["errors", "reasons"])
@pytest.mark.parametrize("number", [0, 1, -1])
def test_a_bad_row_taken_out_is_missing_and_one_put_in_is_extra(room: Room, paper: str, number: int) -> None:
    key = getattr(room.destination, paper)

    def without(body: bytes) -> bytes:
        lines = body.splitlines(keepends=True)
        del lines[number]
        return b"".join(lines)

    def doubled(body: bytes) -> bytes:
        lines = body.splitlines(keepends=True)
        lines.insert(number % len(lines), lines[number])
        return b"".join(lines)

    with room.object(key, without):
        [finding] = room.verdict().findings
    assert (finding.kind, finding.place.value, finding.offset) == (Kind.MISSING, paper, bad_offsets(room)[number])
    with room.object(key, doubled):
        [finding] = room.verdict().findings
    assert (finding.kind, finding.place.value) == (Kind.EXTRA, paper)


@pytest.mark.parametrize("paper", ["errors", "reasons"])
def test_a_paper_that_is_gone_is_missing_once(room: Room, paper: str) -> None:
    key = getattr(room.destination, paper)
    with room.object(key, lambda body: None):
        [finding] = room.verdict().findings
    assert (finding.kind, finding.place.value, finding.key) == (Kind.MISSING, paper, key)
    assert finding.offset == bad_offsets(room)[0]


@pytest.mark.parametrize("workload", ["long lines", "CSV", "long lines, gzip", "all bad"])
def test_a_flipped_byte_in_errors_of_long_rows_and_tables_is_found(workload: str) -> None:
    """Rows that were never held, a header, and fields with line breaks."""
    with imported(*FILES[workload]) as room:
        errors = room.cloud.objects()[room.destination.errors]
        for at in [0, len(errors) - 1, *random.Random(seed()).sample(range(len(errors)), 8)]:
            with room.object(room.destination.errors, lambda body, at=at: flipped(body, at)):
                verdict = room.verdict()
            assert verdict.findings, at
            assert verdict.findings[0].place is Place.ERRORS, at
        room.balances()


def test_errors_of_a_file_without_bad_rows_are_extra() -> None:
    with imported("imports/good.json", row(1) + b"\n") as room:
        room._put(room.destination.errors, b"a row from nowhere\n")
        [finding] = room.verdict().findings
        assert (finding.kind, finding.place, finding.found) == (Kind.EXTRA, Place.ERRORS, "a row from nowhere")


# -- receipt and execution -----------------------------------------------------------------------------------------


def test_every_count_of_the_receipt_is_held_against_the_recount(room: Room) -> None:
    receipt = orjson.loads(room.cloud.objects()[room.destination.receipt])
    names = [
        "lines",
        "blank",
        "rows",
        "good",
        "bad",
        "events",
        "user_changes",
        "complete",
        "status",
        "reasons",
        "sinks",
    ]
    names += ["source", "execution_id", "notes", "completed_uri", "errors_uri", "unread", "timing"]
    for name in sample(names, 6, whole=len(names)):
        for changed in ({**receipt, name: 17}, {key: value for key, value in receipt.items() if key != name}):
            with room.object(room.destination.receipt, lambda body, changed=changed: orjson.dumps(changed)):
                findings = room.verdict().findings
            assert [(f.kind, f.place, f.attribute) for f in findings] == [(Kind.DIFFERENT, Place.RECEIPT, name)]
    first = receipt["reasons"][0] | {"count": receipt["reasons"][0]["count"] + 1}
    changed = {**receipt, "reasons": [first, *receipt["reasons"][1:]]}
    with room.object(room.destination.receipt, lambda body: orjson.dumps(changed)):
        [finding] = room.verdict().findings
    assert finding.attribute == "reasons[0].count"


@pytest.mark.parametrize("change", [lambda body: None, lambda body: body[:-2]], ids=["gone", "cut"])
def test_a_receipt_that_cannot_be_read_is_told(room: Room, change: Callable[[bytes], bytes | None]) -> None:
    with room.object(room.destination.receipt, change):
        [finding] = room.verdict().findings
    assert finding.place is Place.RECEIPT


def test_the_executions_own_document_is_compared(room: Room) -> None:
    key = {"pk": {"S": f"EXEC#{room.execution.id}"}, "sk": {"S": "EXEC"}}

    def more(item: dict[str, Any]) -> dict[str, Any]:
        result = {"M": {**item["result"]["M"], "total_success": {"N": "1000"}}}
        return {**item, "result": result}

    with room.item(room.cloud.imports_table, key, more):
        [finding] = room.verdict().findings
    assert (finding.place, finding.attribute, finding.found) == (Place.EXECUTION, "result.total_success", "1000")


# -- items ---------------------------------------------------------------------------------------------------------


def test_an_event_deleted_is_missing_with_its_row(room: Room) -> None:
    for key in sample(room.event_keys(), 8, whole=1_000):
        with room.item(room.cloud.events_table, key, lambda item: None):
            findings = room.verdict().findings
        assert {(f.kind, f.place) for f in findings} == {(Kind.MISSING, Place.EVENTS)}
        assert findings[0].key == f"{key['user_id']['S']}/{key['event_key']['S']}"
        assert findings[0].line == BODY.count(b"\n", 0, findings[0].offset) + 1


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "attribute",
    ["event_id", "event_name", "event_time_ts", "properties", "format", "import_id", "execution_id", "address"],
)
def test_every_attribute_of_an_event_counts(room: Room, attribute: str) -> None:
    """Changed to something else of its kind, to another kind, and taken away."""
    key = room.event_keys()[3]
    other = {
        "event_time_ts": {"N": "1350273990001"},
        "address": {"N": "77"},
        "properties": {"M": {"n": {"N": "1"}}},
    }.get(attribute, {"S": "another"})
    for value in (other, {"BOOL": True}, None):
        changed = lambda item, value=value: {k: v for k, v in {**item, attribute: value}.items() if v}  # noqa: E731
        with room.item(room.cloud.events_table, key, changed):
            findings = room.verdict().findings
        assert {(f.kind, f.place) for f in findings} == {(Kind.DIFFERENT, Place.EVENTS)}, value
        assert findings[0].attribute.startswith(attribute), findings


def test_an_attribute_nobody_expects_and_a_property_changed_are_told_by_name(room: Room) -> None:
    key = next(key for key in room.event_keys())
    with room.item(room.cloud.events_table, key, lambda item: {**item, "discount": {"N": "5"}}):
        [finding] = {f.attribute: f for f in room.verdict().findings}.values()
    assert (finding.attribute, finding.found, finding.expected) == ("discount", "5", "")

    def changed(item: dict[str, Any]) -> dict[str, Any]:
        return {**item, "properties": {"M": {**item["properties"]["M"], "n": {"N": "1e3"}}}}

    with room.item(room.cloud.events_table, key, changed):
        finding = room.verdict().findings[0]
    assert (finding.attribute, finding.found) == ("properties.n", "1E+3")


def test_a_number_spelt_in_another_way_is_the_same_number(room: Room) -> None:
    def spelt(item: dict[str, Any]) -> dict[str, Any]:
        properties = item["properties"]["M"]
        return {**item, "properties": {"M": {**properties, "n": {"N": f"{properties['n']['N']}.0"}}}}

    with room.item(room.cloud.events_table, room.event_keys()[0], spelt):
        assert room.verdict().balanced


def test_an_item_no_row_accounts_for_is_found_where_the_tables_are_searched(room: Room) -> None:
    ours = {"execution_id": {"S": room.execution.id}}
    event = {"user_id": {"S": "nobody"}, "event_key": {"S": "0000000000000#0"}}
    record = {"user_id": {"S": "user-1"}, "record": {"S": "prop#debt"}}
    with (
        room.item(room.cloud.events_table, event, lambda item: item | ours),
        room.item(room.cloud.users_table, record, lambda item: item | ours),
    ):
        assert room.verdict().balanced
        found = room.verdict(scan=True)
    assert [(f.kind, f.place, f.key) for f in found.findings] == [
        (Kind.EXTRA, Place.EVENTS, "nobody/0000000000000#0"),
        (Kind.EXTRA, Place.USERS, "user-1/prop#debt"),
    ]


@pytest.mark.sampled(3)
@pytest.mark.parametrize("attribute", ["value", "rank", "event_time_ts", "execution_id", "address", "more"])
def test_every_attribute_of_a_user_record_counts(room: Room, attribute: str) -> None:
    for key in room.user_keys()[:3]:
        before = room.cloud.stored(room.cloud.users_table, key)
        rank = before["rank"]["S"]
        values = {
            "value": [{"S": "elsewhere"}, {"N": "1"}],
            "rank": [{"S": "9" + rank[1:]}, {"S": rank[:-1] + "9"}, {"S": "0" + rank[1:]}, {"S": "~"}],
            "event_time_ts": [{"N": "9350273990001"}],
            "execution_id": [{"S": "f" * 32}],
            "address": [{"N": "1"}, {"S": "1"}],
            "more": [{"S": "x"}],
        }[attribute]
        for value in [*values, None] if attribute != "more" else values:
            changed = lambda item, value=value: {k: v for k, v in {**item, attribute: value}.items() if v}  # noqa: E731
            with room.item(room.cloud.users_table, key, changed):
                findings = room.verdict().findings
            assert {(f.kind, f.place) for f in findings} == {(Kind.DIFFERENT, Place.USERS)}, value
            assert findings[0].key == f"{key['user_id']['S']}/{key['record']['S']}"


def test_a_user_record_deleted_is_missing(room: Room) -> None:
    for key in room.user_keys():
        with room.item(room.cloud.users_table, key, lambda item: None):
            assert {(f.kind, f.place) for f in room.verdict().findings} == {(Kind.MISSING, Place.USERS)}


def test_a_record_that_a_later_file_outranked_balances_and_one_that_only_says_so_does_not() -> None:
    """Its rank must be that of the change and the execution it names."""
    with imported() as room:
        later = row(99, **{"{u}city": "later"}).replace(b"user-4", b"user-0").replace(b"2012", b"2013") + b"\n"
        [other] = room.importer.deliver(room.cloud.drop("imports/later.json", later))
        room.balances()
        key = {"user_id": {"S": "user-0"}, "record": {"S": "prop#city"}}
        assert room.cloud.stored(room.cloud.users_table, key)["execution_id"] == {"S": other.id}
        for name, value in (("event_time_ts", {"N": "1450273990001"}), ("address", {"N": "5"})):
            with room.item(room.cloud.users_table, key, lambda item, n=name, v=value: {**item, n: v}):
                finding = room.verdict().findings[0]
            assert (finding.place, finding.attribute) == (Place.USERS, "rank")


def test_an_older_record_standing_where_this_files_later_one_belongs_is_different() -> None:
    """A lost write: what is there is whole and true, and outranked."""
    first, later = (
        row(0, **{"{u}city": city}).replace(b"2012", year) + b"\n" for city, year in (("a", b"2012"), ("b", b"2013"))
    )
    with imported("imports/first.json", first) as room:
        [key] = room.user_keys()
        before = room.cloud.stored(room.cloud.users_table, key)
        [execution] = room.importer.deliver(room.cloud.drop("imports/later.json", later))
        later_room = Room(room.importer, execution, later)
        later_room.balances()
        with room.item(room.cloud.users_table, key, lambda item: before):
            [finding] = later_room.verdict().findings
        assert (finding.kind, finding.place) == (Kind.DIFFERENT, Place.USERS)


def test_an_event_may_name_another_equal_row_of_its_file_and_no_other_place() -> None:
    """Whichever of two equal rows was written last: known once the row it names came by, before or after."""
    body = row(1) + b"\n" + b"\n".join(row(n, filler="x" * 700) for n in range(2, 6)) + b"\n" + row(1) + b"\n"
    second = body.rindex(row(1))
    with imported("imports/twice.json", body) as room:
        key = next(k for k in room.event_keys() if k["user_id"]["S"] == "user-1")
        for address in (0, second):
            with room.item(room.cloud.events_table, key, lambda item, a=address: {**item, "address": {"N": str(a)}}):
                assert room.verdict(scan=True).findings == ()
        with room.item(room.cloud.events_table, key, lambda item: {**item, "address": {"N": str(second + 1)}}):
            findings = room.verdict().findings
        assert findings
        assert {(f.kind, f.attribute) for f in findings} == {(Kind.DIFFERENT, "address")}


def test_more_items_naming_other_rows_than_can_be_kept_are_said_to_be_unproven(room: Room) -> None:
    """Memory has an end; what it costs is told and not called balanced in silence."""
    with mock.patch("importer.ledger.stores.MOST_CLAIMS", 0):
        verdict = room.verdict()
    assert verdict.balanced
    assert any("name another row of this file" in sentence for sentence in verdict.unchecked)


def test_the_first_differences_are_told_and_all_are_counted(room: Room) -> None:
    with room.cloud.unseen():
        items = [room.cloud.stored(room.cloud.events_table, key) for key in room.event_keys()]
        for key in room.event_keys():
            room.cloud.client("dynamodb").delete_item(TableName=room.cloud.events_table, Key=key)
    verdict = room.verdict(most=3)
    with room.cloud.unseen():
        for item in items:
            room.cloud.client("dynamodb").put_item(TableName=room.cloud.events_table, Item=item)
    offsets = [finding.offset for finding in verdict.findings]
    assert len(offsets) == 3
    assert offsets == sorted(offsets)  # type: ignore[type-var]  # each is about a row
    assert verdict.differences[Kind.MISSING] >= len(items)
    room.balances()


# -- anything, anywhere --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [8, pytest.param(2_000, marks=pytest.mark.slow)])
def test_whatever_is_tampered_with_is_found(room: Room, count: int) -> None:
    """A random change of a random thing; and without it the books balance, a second file of the same rows or not."""
    choose = random.Random(seed())
    destination = room.destination
    for _ in range(count):
        what = choose.choice(["object", "event", "user"])
        if what == "object":
            key = choose.choice([destination.completed, destination.errors, destination.reasons])
            body = room.cloud.objects()[key]
            at = choose.randrange(len(body))
            change = choose.choice(
                [
                    lambda body, at=at: flipped(body, at, choose.randrange(8)),
                    lambda body, at=at: body[:at] + body[at + 1 :],
                    lambda body, at=at: body[:at] + b"x" + body[at:],
                    lambda body, at=at: body[:at],
                    lambda body: None,
                ]
            )
            tampered = room.object(key, change)
        else:
            table = room.cloud.events_table if what == "event" else room.cloud.users_table
            key = choose.choice(room.event_keys() if what == "event" else room.user_keys())
            name = choose.choice(sorted(set(room.cloud.stored(table, key)) - set(key)))
            drop = choose.random() < 0.3

            def changed(item: dict[str, Any], name: str = name, drop: bool = drop) -> dict[str, Any] | None:
                return None if drop else {**item, name: {"S": str(choose.random())}}

            tampered = room.item(table, key, changed)
        with tampered:
            assert not room.verdict().balanced, (what, key)
    room.balances()


# ---- What a hostile tester changed ---------------------------------------------------------------------------------


def exec_key(room: Room) -> dict[str, Any]:
    return {"pk": {"S": f"EXEC#{room.execution.id}"}, "sk": {"S": "EXEC"}}


@pytest.mark.parametrize("name", ["result", "parameters", "duration", "end_date", "job_type"])
def test_an_attribute_taken_from_the_executions_document_is_missed(room: Room, name: str) -> None:
    with room.item(room.cloud.imports_table, exec_key(room), lambda item: {k: v for k, v in item.items() if k != name}):
        findings = room.verdict().findings
    assert [(f.kind, f.place, f.attribute, f.found) for f in findings] == [
        (Kind.DIFFERENT, Place.EXECUTION, name, "nothing")
    ]


def test_a_part_that_was_removed_or_counts_otherwise_is_told(room: Room) -> None:
    """The books of the parts are books, too."""
    key = {"pk": exec_key(room)["pk"], "sk": {"S": f"PART#{0:020d}"}}
    with room.item(room.cloud.imports_table, key, lambda item: None):
        assert [f.attribute for f in room.verdict().findings] == ["parts"]

    def one_more(item: dict[str, Any]) -> dict[str, Any]:
        good = str(int(item["tally"]["M"]["good"]["N"]) + 1)
        return {**item, "tally": {"M": {**item["tally"]["M"], "good": {"N": good}}}}

    with room.item(room.cloud.imports_table, key, one_more):
        assert [f.attribute for f in room.verdict().findings] == ["parts.tally.rows", "parts.tally.good"]


def test_a_status_changed_by_hand_is_told_and_the_archive_is_found(room: Room) -> None:
    """Nobody is sent to look for a file that is safely in completed_imports/."""
    with room.item(room.cloud.imports_table, exec_key(room), lambda item: {**item, "status": {"S": "FAILED"}}):
        findings = room.verdict().findings
    assert ("status", "SUCCEEDED", "FAILED") in [(f.attribute, f.expected, f.found) for f in findings]
    assert {f.place for f in findings} <= {Place.EXECUTION, Place.RECEIPT}


def test_an_execution_that_cannot_be_read_is_a_sentence(room: Room) -> None:
    """An item changed by hand is no traceback."""
    with (
        room.item(room.cloud.imports_table, exec_key(room), lambda item: {**item, "status": {"S": "HUH"}}),
        pytest.raises(Unavailable, match="cannot be read: ValueError"),
    ):
        room.verdict()


@pytest.mark.parametrize(("name", "value"), [("complete", 1), ("bad", 3.0)])
def test_a_number_of_another_type_is_another_value(room: Room, name: str, value: Any) -> None:
    """To Python 1 is true, and 3 is 3.0; in JSON they are not."""
    receipt = orjson.loads(room.cloud.objects()[room.destination.receipt])
    assert receipt[name] == value or name == "bad"
    changed = {**receipt, name: value if name != "bad" else float(receipt["bad"])}
    with room.object(room.destination.receipt, lambda body: orjson.dumps(changed)):
        assert [f.attribute for f in room.verdict().findings] == [name]


def test_a_damaged_archive_accuses_no_record_and_says_where_it_broke_off() -> None:
    """Later rows never came by, so what their items claim cannot be refuted."""
    body = b"".join(row(n, **{"{u}city": f"c{n}"}).replace(b'"user-', b'"u-') + b"\n" for n in range(40))
    with imported("imports/users.json.gz", gzip.compress(body + body, mtime=0)) as room:
        with room.object(room.destination.completed, lambda stored: stored + b"junk"):
            verdict = room.verdict()
        (found,) = verdict.findings
        assert (found.place, found.attribute) == (Place.ARCHIVE, "bytes")
        assert 0 < (found.offset or 0) <= 2 * len(body)
        with (
            room.object(room.destination.completed, lambda stored: b"\x1f\x8b\x08\x00garbage"),
            room.object(room.destination.receipt, lambda stored: b"[]"),
        ):
            assert {f.place for f in room.verdict().findings} == {Place.ARCHIVE, Place.RECEIPT}


def test_missing_and_extra_bad_rows_in_a_row_are_told_as_such() -> None:
    """Three taken away are three missing; two put in are two extra: the rest still fits."""
    with imported("imports/bad.json", b"".join(b"not json at all, row %d\n" % n for n in range(20))) as room:
        with room.object(
            room.destination.errors, lambda body: b"".join(body.splitlines(True)[:5] + body.splitlines(True)[8:])
        ):
            found = room.verdict().findings
        assert [(f.kind, f.place, f.line) for f in found] == [(Kind.MISSING, Place.ERRORS, n) for n in (6, 7, 8)]
        with room.object(room.destination.errors, lambda body: body.replace(b"row 9\n", b"row 9\none\ntwo\n")):
            found = room.verdict().findings
        assert [(f.kind, f.place, f.found) for f in found] == [
            (Kind.EXTRA, Place.ERRORS, "one"),
            (Kind.EXTRA, Place.ERRORS, "two"),
        ]
        with room.object(room.destination.reasons, lambda body: b"\n" + body):
            assert [(f.kind, f.place) for f in room.verdict().findings] == [(Kind.EXTRA, Place.REASONS)]


def test_what_differs_late_or_at_the_line_end_is_shown_where_it_differs() -> None:
    """Cut to the same begin, expected and found would look alike."""
    long = b"x" * 300
    with imported("imports/bad.json", long + b"\n" + b"short\n") as room:
        with room.object(room.destination.errors, lambda body: body.replace(long, long[:200] + b"y" + long[201:])):
            (found,) = room.verdict().findings
        assert ("y" in found.found, "y" in found.expected, len(found.found) <= 120) == (True, False, True)
        with room.object(room.destination.errors, lambda body: body.replace(b"short\n", b"short\r\n")):
            (found,) = room.verdict().findings
        assert (found.line, found.attribute) == (2, "line end")
