"""Forgetting a person: nothing of theirs is left, nothing of anybody else's has changed, and the books balance."""

from __future__ import annotations

import gzip
import json
import random
import re
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import zstandard

from cli import forgetting as command
from cli.connection import Connection
from importer.aws import vault
from importer.aws.stored import StoredTables
from importer.ledger import Books, CannotRecount, forgetting, verify
from importer.ledger.forgetting import Wish
from importer.ledger.row_places import Asked
from importer.ledger.undo import receipt_key, undo
from importer.ledger.why import why_row
from importer.model import Unavailable
from tests.faults import test_any_order as dialects
from tests.faults.importing import Importer, WorkersClock, installed
from tests.faults.test_foreign_buckets import ENCRYPTED, kept
from tests.support.cloud import Cloud, shared_session
from tests.support.command import stack_of
from tests.support.faults import Fault, plan
from tests.support.scenarios import explore, in_copy, report, sample
from tests.support.undoing import desk

ANN = "ann-77"
PEOPLE = (ANN, "bob-1", "cy-3", "ann-771", "ann-77@x.org")
SECRET = "0" * 32


def connection(cloud: Cloud) -> Connection:
    session = shared_session()
    return Connection("the twin", stack_of(cloud), session.client("s3"), session.client("dynamodb"), session)


def forget(
    importer: Importer, *people: str, links: bool = True, secret: str = SECRET, bucket: str = "", **more: Any
) -> dict[str, Any]:
    """The certificate; what `importer forget` does, call by call in one thread."""
    clock = WorkersClock(importer.cloud)
    to = connection(importer.cloud)
    identifiers = command.identifiers_of(to, people, links, clock, 1)
    wish = Wish(identifiers, secret, **more)
    place = command.place_of(to, links, wish.id, clock, in_flight=1, bucket=bucket)
    return forgetting.forget(place, wish, forgetting.progress_of(place, wish))


@dataclass
class File:
    """What was dropped: its rows (a CSV's header is the first), and how they were packed."""

    key: str
    rows: list[bytes]
    packed: str = ""
    cut: int = 0

    @property
    def body(self) -> bytes:
        text = b"".join(self.rows)
        middle = len(text) // 2
        if self.packed == ".gz":
            body = gzip.compress(text[:middle], mtime=0) + gzip.compress(text[middle:], mtime=0)
        elif self.packed == ".zst":
            body = zstandard.compress(text[:middle]) + zstandard.compress(text[middle:])
        else:
            body = text
        return body[: len(body) - self.cut]


def plain(body: bytes) -> bytes:
    """As far as it can be unpacked."""
    if body[:2] == b"\x1f\x8b":
        text = b""
        while body[:2] == b"\x1f\x8b":
            member = zlib.decompressobj(wbits=31)
            text += member.decompress(body)
            body = member.unused_data
        return text
    if body[:4] == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).readall()
    return body


def spoken_of(text: bytes, people: tuple[str, ...] | list[str]) -> bool:
    """An independent look: the identifier in the text, and in no longer word."""
    return any(re.search(rb"(?<![\w@.-])" + re.escape(one.encode()) + rb"(?![\w@.-])", text) for one in people)


# -- histories -----------------------------------------------------------------------------------------------------


def files_of(dice: random.Random) -> list[File]:
    made: list[File] = []
    with mock.patch.object(dialects, "PEOPLE", PEOPLE):
        for number, dialect in enumerate(
            (dialects.cooladata, dialects.kissmetrics, dialects.woopra, dialects.mediarithmics, dialects.segment)
        ):
            rows = [json.dumps(row).encode() + b"\n" for row in (dialect(dice) for _ in range(9))]
            rows = [row for row in rows if sum(one.encode() in row for one in PEOPLE[1:4]) + (b"77" in row) < 2]
            if number == 1:
                rows.append(b'{"_p": "ann-77", "_t": 1700000001, "_p2": "cy-3"}\n')
            for _ in range(dice.randrange(5)):
                rows.insert(dice.randrange(min(2, len(rows)), len(rows) + 1), spoilt(dice, dice.choice(rows)))
            if number == 0:
                rows[-1] = rows[-1].removesuffix(b"\n")
            packed = dice.choice(("", "", ".gz", ".zst"))
            made.append(File(f"imports/{number}.json{packed}", rows, packed))
    made.append(File("imports/tables/people.csv", table(dice)))
    whole = [*made[0].rows, b'{"user_id":"ann-77","event_name":7}\n']
    made.append(File("imports/whole/all.json", whole))
    made.append(File("imports/cut.json.gz", made[1].rows * 9, ".gz", cut=9))
    dice.shuffle(made)
    again = dice.choice([file for file in made if "whole" not in file.key and "tables" not in file.key])
    made.append(File(f"imports/again{(again.packed and '.json' + again.packed) or '.json'}", again.rows, again.packed))
    return made


def spoilt(dice: random.Random, row: bytes) -> bytes:
    text = row.rstrip(b"\n")
    who = dice.choice(PEOPLE).encode()
    return (
        dice.choice(
            [
                text[:-2],
                b"not json, but of " + who + b" all the same",
                b'{"user_id":"' + who + b'","event_name":"e","event_time_ts":"yesterday"}',
                b'{"user_id":["' + who + b'"],"event_name":"e","event_time_ts":1700000000000}',
                b'{"user_id":"x\xff","of":"' + who + b'"}',
                b"",
                b'{"user_id":"' + who + b'","event_name":"' + b"z" * 3000 + b'","event_time_ts":1700000000000}',
            ]
        )
        + b"\n"
    )


def table(dice: random.Random) -> list[bytes]:
    rows = [b"user_id,event_name,event_time_ts,note,{u}city\n"]
    for number in range(12):
        who = dice.choice(PEOPLE).encode()
        note = dice.choice([b"", b"plain", b'"two\nlines ""quoted"""', b'"never closed', b'in"side', b"a,b"])
        time = b"yesterday" if dice.random() < 0.2 else b"2012-10-15 04:06:%02d" % number
        rows.append(b"%s,login,%s,%s,c%d\n" % (who, time, note, number % 3))
    return rows


@contextmanager
def lived(seed: int, **setup: Any) -> Iterator[tuple[Importer, list[File]]]:
    """An installation in which all that happened; the person has rows everywhere."""
    dice = random.Random(seed)
    files = files_of(dice)
    with installed(**setup) as importer:
        cloud = importer.cloud
        for import_id, definition in dialects.DEFINITIONS.items():
            cloud.put_item(cloud.imports_table, {"pk": f"IMPORT#{import_id}", "sk": "IMPORT", "definition": definition})
        for file in files:
            cloud.clock.sleep(4)
            importer.notify(cloud.drop(file.key, file.body, Metadata={"of": "tests"}, Tagging="a=b"))
            importer.run_until_quiet()
        with cloud.unseen():
            for key in ("previews/p.json", "preview_results/p.json.json", "work/" + "0" * 32 + "/8/errors/0-1"):
                cloud.client("s3").put_object(Bucket=cloud.bucket, Key=key, Body=b'{"user_id":"ann-77"}\nbob\n')
        cloud.clock.sleep(4)
        yield importer, files


# -- what must hold ------------------------------------------------------------------------------------------------


@dataclass
class Before:
    """What there was, for comparison."""

    objects: dict[str, bytes] = field(default_factory=dict)
    items: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    @classmethod
    def of(cls, cloud: Cloud) -> Before:
        tables = (cloud.events_table, cloud.users_table)
        return cls(cloud.objects(), {table: cloud.items(table) for table in tables})


def check_nothing_is_left(cloud: Cloud, people: list[str], links: bool, unreadable: Collection[str] = ()) -> None:
    for key, body in cloud.objects().items():
        assert key in unreadable or not spoken_of(plain(body), people), f"{key} speaks of {people}"
    for item in cloud.items(cloud.imports_table):
        assert not spoken_of(repr(item).encode(), people), item
    for table in (cloud.events_table, cloud.users_table):
        for item in cloud.items(table):
            if item.get("record") == "erased":
                continue
            assert item["user_id"] not in people, item
            assert not links or not spoken_of(repr(item).encode(), people), item


def check_others_are_as_they_were(cloud: Cloud, before: Before, people: list[str]) -> None:
    theirs = {f"link#{one}" for one in people}
    for table, items in before.items.items():
        others = [item for item in items if item["user_id"] not in people and item.get("record") not in theirs]
        now = [item for item in cloud.items(table) if item["user_id"] not in people and item["user_id"] != "erasures"]
        assert [item for item in others if item["user_id"] != "erasures"] == now


def check_rows(cloud: Cloud, before: Before, files: list[File], people: list[str]) -> None:
    """Every row of somebody else stands where it stood, byte for byte; those of the person are blank."""
    objects = cloud.objects()
    archives = {plain(body): key for key, body in before.objects.items() if key.startswith("completed_imports/")}
    for file in files:
        text = b"".join(file.rows)
        key = archives.get(text)
        if key is None:
            assert file.cut or "whole" in file.key, file.key
            continue
        now = plain(objects[key])
        assert len(now) == len(text), key
        assert not file.packed or objects[key][:2] == before.objects[key][:2], key
        attached = cloud.metadata(key)
        assert (attached["x-amz-meta-of"], attached["tags"]) == ("tests", {"a": "b"}), key
        at = 0
        for number, row in enumerate(file.rows):
            here = now[at : at + len(row)]
            at += len(row)
            if spoken_of(row, people):
                left = (here.translate(None, b' "\r\n'), here.count(b"\n"))
                assert left == (b"", row.count(b"\n")), (key, number, here)
            else:
                assert here == row, (key, number)


def check_books(importer: Importer) -> int:
    """`importer verify --all` of every execution; how many could be recounted."""
    cloud = importer.cloud
    place = importer.workplaces(lambda: 900_000)
    counted = 0
    with cloud.unseen():
        tables = cloud.events_table, cloud.users_table, cloud.imports_table
        stored = StoredTables(cloud.client("dynamodb"), *tables, cloud.clock, 1)
        for item in importer.executions():
            execution = place.records.execution(item["id"])
            assert execution is not None
            try:
                verdict = verify(Books(place.objects, place.records, stored, cloud.clock.now_ms()), execution, True)
            except CannotRecount:
                continue
            assert verdict.balanced, (execution.source.key, execution.status, verdict.findings)
            counted += 1
    return counted


@pytest.mark.sampled(2)
@pytest.mark.parametrize("links", [True, False], ids=["linked", "alone"])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 24))])
def test_after_it_nothing_is_left_of_a_person_and_of_others_all_is(seed: int, links: bool):
    """Files of every dialect, packed and in parts, good rows and refused ones, files that were refused, repeats."""
    setup = {"part_bytes": 1024} if seed % 2 else {}
    with lived(seed, **setup) as (importer, files):
        before, recounted = Before.of(importer.cloud), check_books(importer)
        with importer.cloud.unseen():
            made = forget(importer, ANN, links=links)
        people = made["identifiers"]
        assert made["complete"], made
        check_nothing_is_left(importer.cloud, people, links)
        check_others_are_as_they_were(importer.cloud, before, people)
        check_rows(importer.cloud, before, files, people)
        assert check_books(importer) == recounted
        with importer.cloud.unseen():
            again = forget(importer, ANN, links=links, secret="1" * 32)
        assert {name for name in again["done"] if "searched" not in name} == set(), again["done"]


# -- whoever is killed on the way ------------------------------------------------------------------------------------


@contextmanager
def small(**setup: Any) -> Iterator[Importer]:
    """A file packed, one that was refused, one of CSV: few enough calls to be killed at each."""
    rows = [
        b'{"user_id":"ann-77","event_name":"e","event_time_ts":1700000000000,"{u}city":"c"}\n',
        b'{"user_id":"bob-1","event_name":"e","event_time_ts":1700000000000,"{u}city":"c"}\n',
        b'{"user_id":"ann-77","event_name":"e"\n',
        b'{"user_id":"bob-1","event_name":"e","event_time_ts":"yesterday"}\n',
        b'{"userId":"ann-77","anonymousId":"cy-3","type":"identify","timestamp":1700000000000}\n',
    ]
    with installed(**setup) as importer:
        files = [
            ("imports/a.json.gz", gzip.compress(b"".join(rows), mtime=0)),
            ("imports/whole/b.json", b"".join(rows)),
            ("imports/tables/c.csv", b"user_id,event_name,event_time_ts\nann-77,e,never\nbob-1,e,1700000000000\n"),
        ]
        for key, body in files:
            importer.cloud.clock.sleep(4)
            importer.notify(importer.cloud.drop(key, body))
            importer.run_until_quiet()
        importer.cloud.clock.sleep(4)
        yield importer


# Who erased, when; and whom an erased record remembers as linked, which is as much as its links still said.
_OF_A_RUN = ("rank", "execution_id", "uploaded_ms", "linked")


def essence(cloud: Cloud) -> dict[str, Any]:
    """What is left, but for papers, and for who erased."""
    objects = {key: body for key, body in cloud.objects().items() if not key.startswith("erasures/")}
    users = [
        {name: value for name, value in item.items() if name not in _OF_A_RUN}
        for item in cloud.items(cloud.users_table)
    ]
    return {
        "objects": objects,
        "users": users,
        "events": cloud.items(cloud.events_table),
        "imports": cloud.items(cloud.imports_table),
    }


def test_killed_at_any_call_and_run_again_it_ends_the_same():
    """Gone on with, or begun anew: the same objects, the same tables, balanced books."""
    with small() as importer:
        cloud = importer.cloud

        def clean() -> tuple[int, dict[str, Any]]:
            with plan(cloud) as ended:
                assert forget(importer, ANN)["complete"]
            return len(ended.calls), essence(cloud)

        calls, wanted = in_copy(clean)
        faults = [Fault(kind, number) for number in range(1, calls + 1) for kind in ("kill_before", "kill_after")]

        def survive(fault: Fault) -> None:
            with plan(cloud, fault) as ended, suppress(Unavailable):
                forget(importer, ANN)
            assert ended.killed
            check_books(importer)
            cloud.clock.sleep(4)
            secret = SECRET if isinstance(fault.at, int) and fault.at % 2 else "2" * 32
            with cloud.unseen():
                made = forget(importer, ANN, secret=secret)
            assert made["complete"], made
            found = essence(cloud)
            for name, value in wanted.items():
                assert found[name] == value, name
            check_books(importer)

        failures = explore(sample(faults, 4, whole=30), survive)
        assert not failures, report(failures)


@pytest.mark.parametrize("kind", ["reply_lost", "error_503", "throttled"])
def test_a_call_that_fails_once_is_made_again_or_told(kind: str):
    """Whatever one call does, the end is the same, at the latest when the command is run again."""
    with small() as importer:
        cloud = importer.cloud

        def clean() -> int:
            with plan(cloud) as ended:
                forget(importer, ANN)
            return len(ended.calls)

        def survive(fault: Fault) -> None:
            with plan(cloud, fault), suppress(Unavailable):
                forget(importer, ANN)
            with cloud.unseen():
                made = forget(importer, ANN, secret="3" * 32)
            assert made["complete"], made
            check_nothing_is_left(cloud, made["identifiers"], True)
            check_books(importer)

        faults = [Fault(kind, number) for number in range(1, in_copy(clean) + 1)]
        failures = explore(sample(faults, 1, whole=10), survive)
        assert not failures, report(failures)


# -- files that are on their way ---------------------------------------------------------------------------------------

ROW = b'{"user_id":"ann-77","event_name":"e","event_time_ts":1700000000000}\n'
BOB = b'{"user_id":"bob-1","event_name":"e","event_time_ts":1700000000000}\n'


def users_with_events(cloud: Cloud) -> set[str]:
    return {item["user_id"] for item in cloud.items(cloud.events_table)}


def test_a_file_dropped_before_stores_nothing_of_them_and_one_dropped_later_does():
    """What is still on its way is told as left to do; once it has been read, the next run cleans its archive."""
    with installed() as importer:
        cloud = importer.cloud
        early = cloud.drop("imports/early.json", ROW + BOB)
        cloud.clock.sleep(4)
        with cloud.unseen():
            made = forget(importer, ANN)
        assert (made["complete"], made["open"]["waiting_files"]) == (False, ["imports/early.json"])
        importer.notify(early)
        importer.run_until_quiet()
        assert users_with_events(cloud) == {"bob-1"}
        with cloud.unseen():
            made = forget(importer, ANN, secret="4" * 32)
        assert (made["complete"], made["done"]["rows_good"]) == (True, 1)
        assert not spoken_of(b"".join(cloud.objects().values()), [ANN])
        check_books(importer)
        cloud.clock.sleep(4)
        importer.notify(cloud.drop("imports/later.json", ROW))
        importer.run_until_quiet()
        assert users_with_events(cloud) == {"bob-1", ANN}
        check_books(importer)


def test_an_import_that_ends_while_somebody_is_forgotten_is_cleaned_too():
    """The wait is for that: its archive comes to be where the search has been already."""
    with installed() as importer:
        cloud = importer.cloud
        early = cloud.drop("imports/early.json", ROW + BOB)
        cloud.clock.sleep(4)
        ended = []

        def end_it(cloud: Cloud) -> None:
            if not ended:
                ended.append(importer.deliver(early))

        with plan(cloud, Fault("before", "ListObjectsV2 receipts/", detail={"do": end_it})):
            made = forget(importer, ANN)
        assert ended
        assert not spoken_of(b"".join(cloud.objects("completed_imports/").values()), [ANN]), made
        check_books(importer)


def test_what_was_uploaded_since_stays_when_a_forgetting_is_gone_on_with():
    """It was interrupted; until somebody goes on, the person has come back."""
    with installed() as importer:
        cloud = importer.cloud
        importer.deliver(cloud.drop("imports/early.json", ROW + BOB))
        cloud.clock.sleep(4)
        with plan(cloud, Fault("kill_before", "ListObjectsV2 receipts/")) as ended:
            forget(importer, ANN)
        assert ended.killed
        cloud.clock.sleep(4)
        importer.deliver(cloud.drop("imports/later.json", ROW + b"not json of ann-77\n"))
        cloud.clock.sleep(4)
        with cloud.unseen():
            made = forget(importer, ANN)
        assert made["complete"]
        assert users_with_events(cloud) == {"bob-1", ANN}
        archives = cloud.objects("completed_imports/")
        assert sorted(key.rpartition("/")[2] for key, body in archives.items() if spoken_of(body, [ANN])) == [
            "later.json"
        ]
        assert check_books(importer) == 2


@pytest.mark.parametrize(
    "rows", [ROW + 12 * BOB, 12 * BOB + ROW.removesuffix(b"\n"), 12 * BOB + b'{"user_id": "ann-77", "eve']
)
def test_a_file_cut_short_before_its_first_batch_ended_is_cleaned_as_well(rows: bytes):
    """None of its rows was ever read, so nothing but the file itself says whom they are of."""
    with installed() as importer:
        cloud = importer.cloud
        importer.deliver(cloud.drop("imports/cut.json.gz", gzip.compress(rows, mtime=0)[:-6]))
        importer.deliver(cloud.drop("imports/bobs.json.gz", gzip.compress(13 * BOB, mtime=0)[:-6]))
        importer.run_until_quiet()
        assert {execution["result"]["total_success"] for execution in importer.executions()} == {0}
        cloud.clock.sleep(4)
        with cloud.unseen():
            made = forget(importer, ANN)
        left = {key: body if "bobs" in key else plain(body) for key, body in cloud.objects().items()}
        assert [key for key, body in left.items() if spoken_of(body, [ANN])] == []
        assert (made["complete"], list(cloud.objects("imports/"))) == (True, ["imports/bobs.json.gz"])


def test_two_people_are_forgotten_one_after_the_other():
    """Papers of both explain what is blank; a file that was set aside for one is cleaned for the other."""
    with small() as importer:
        for number, who in enumerate((ANN, "bob-1")):
            importer.cloud.clock.sleep(4)
            with importer.cloud.unseen():
                assert forget(importer, who, secret=f"{number}" * 32)["complete"]
            assert check_books(importer) == 3
        check_nothing_is_left(importer.cloud, [ANN, "bob-1", "cy-3"], True)


# -- versions, marks, mentions -----------------------------------------------------------------------------------------


def versions(cloud: Cloud) -> list[tuple[str, bytes]]:
    with cloud.unseen():
        listed = cloud.client("s3").list_object_versions(Bucket=cloud.bucket).get("Versions", [])
        get = cloud.client("s3").get_object
        return [
            (one["Key"], get(Bucket=cloud.bucket, Key=one["Key"], VersionId=one["VersionId"])["Body"].read())
            for one in listed
        ]


@pytest.mark.parametrize("purge", [False, True])
def test_old_versions_are_told_or_deleted(purge: bool):
    with small() as importer:
        with importer.cloud.unseen():
            made = forget(importer, ANN, purge=purge)
        left = [key for key, body in versions(importer.cloud) if spoken_of(plain(body), [ANN])]
        assert (made["old_versions"]["count"] == 0, left == []) == (purge, purge), left


def test_a_bucket_without_versions_is_cleaned_as_well():
    with small(versioned=False) as importer:
        with importer.cloud.unseen():
            made = forget(importer, ANN)
        assert made["complete"]
        check_nothing_is_left(importer.cloud, made["identifiers"], True)
        check_books(importer)


def test_the_marker_is_taken_away_if_asked_and_nothing_is_open():
    with small() as importer:
        with importer.cloud.unseen():
            made = forget(importer, ANN, keep_marker=False)
        assert made["marker"] == "removed"
        assert not spoken_of(repr(importer.cloud.items(importer.cloud.users_table)).encode(), [ANN])
        check_books(importer)


def test_good_rows_of_others_that_speak_of_them_are_told_and_stay():
    """Somebody else's event names them in a property: it is that person's."""
    told = BOB.replace(b"}", b',"friend":"ann-77"}')
    with installed() as importer:
        cloud = importer.cloud
        importer.deliver(cloud.drop("imports/a.json", ROW + told))
        cloud.clock.sleep(4)
        with cloud.unseen():
            made = forget(importer, ANN)
        (archive,) = cloud.objects("completed_imports/").items()
        assert archive[1] == b" " * (len(ROW) - 1) + b"\n" + told
        assert made["mentions"]["rows_of_others"] == {archive[0]: {"count": 1, "first_offsets": [len(ROW)]}}


@pytest.mark.parametrize("name", ["a.json", "\u00e9" * 500 + ".json"], ids=["a short name", "the longest"])
def test_a_file_that_was_refused_is_set_aside_and_not_imported_again(name: str):
    """Blanked in place it would be a new upload; verify finds it where it went."""
    with installed() as importer:
        cloud = importer.cloud
        importer.notify(cloud.drop(f"imports/whole/{name}", ROW + BOB + b"no row\n"))
        importer.run_until_quiet()
        cloud.clock.sleep(4)
        with cloud.unseen():
            made = forget(importer, ANN)
        (execution,) = importer.executions()
        aside = f"set_aside/{execution['id']}/{name[-452:]}"  # two bytes each: 900
        assert (made["complete"], cloud.objects("imports/")) == (True, {})
        assert cloud.objects("set_aside/") == {aside: b" " * (len(ROW) - 1) + b"\n" + BOB + b"no row\n"}
        assert check_books(importer) == 1
        cloud.clock.sleep(4000)
        importer.run_until_quiet()
        assert len(importer.executions()) == 1


def test_the_receipt_of_an_undoing_says_where_a_file_was_set_aside(tmp_path: Path):
    """It is not in imports/ any more."""
    with installed() as importer:
        cloud = importer.cloud
        importer.notify(cloud.drop("imports/whole/a.json", ROW + BOB + b"no row\n"))
        importer.run_until_quiet()
        cloud.clock.sleep(4)
        with cloud.unseen():
            forget(importer, ANN)
        (execution,) = importer.executions()
        done = undo(desk(importer, tmp_path), execution["id"], "test")
        receipt = json.loads(cloud.objects()[receipt_key(done)])
        assert receipt["file_uri"] == f"s3://{cloud.bucket}/set_aside/{execution['id']}/a.json"


def test_only_what_items_name_is_searched_if_asked_and_the_rest_is_told():
    with installed() as importer:
        cloud = importer.cloud
        importer.deliver(cloud.drop("imports/a.json", ROW))
        importer.deliver(cloud.drop("imports/b.json", b'{"user_id":"ann-77"\n'))
        cloud.clock.sleep(3600)
        with cloud.unseen():
            made = forget(importer, ANN, only_named=True)
        assert made["done"]["rows_good"] == 1
        assert made["not_searched"]["objects_no_item_names"] > 0
        assert any(spoken_of(body, [ANN]) for body in cloud.objects("errors/").values())


def test_what_is_kept_in_the_bucket_names_nobody():
    with small() as importer:
        with importer.cloud.unseen():
            made = forget(importer, ANN)
        kept = importer.cloud.objects("erasures/")
        assert not any(spoken_of(body, made["identifiers"]) for body in kept.values())
        (certificate,) = (json.loads(body) for key, body in kept.items() if "certificates" in key)
        assert certificate["identifier_hashes"] == made["identifier_hashes"]
        assert Wish((ANN,), SECRET).hashed(ANN) in certificate["identifier_hashes"]


def test_folders_that_are_not_the_importers_are_told_and_not_searched():
    with installed() as importer:
        cloud = importer.cloud
        cloud.drop("exports/a.json", ROW)
        with cloud.unseen():
            made = forget(importer, ANN)
        assert made["not_searched"]["folders"] == ["exports/"]
        assert cloud.objects("exports/") == {"exports/a.json": ROW}


def test_a_row_that_is_blank_without_a_paper_is_a_difference():
    """Somebody's own hand is no erasure."""
    with small() as importer:
        cloud = importer.cloud
        with cloud.unseen():
            assert forget(importer, ANN)["complete"]
            for key in cloud.objects("erasures/"):
                cloud.client("s3").delete_object(Bucket=cloud.bucket, Key=key)
        with pytest.raises(AssertionError):
            check_books(importer)


def test_another_bucket_is_searched_if_named_and_told_if_not():
    """A file imported from a bucket of the customer's own lies there, with its papers."""
    with installed() as importer:
        cloud = importer.cloud
        with cloud.unseen():
            s3 = cloud.client("s3")
            s3.create_bucket(Bucket="partner")
            put = s3.put_object(Bucket="partner", Key="imports/a.json", Body=ROW + BOB)
        told = json.dumps(cloud.drop("elsewhere/a.json", ROW + BOB))
        told = told.replace(cloud.bucket, "partner").replace("elsewhere/", "imports/")
        told = told.replace(cloud.dropped[-1].version_id or "", "null").replace('"versionId": "null", ', "")
        importer.deliver(json.loads(told.replace(cloud.dropped[-1].etag, put["ETag"].strip('"'))))
        cloud.clock.sleep(4)
        with cloud.unseen():
            made = forget(importer, ANN)
        assert made["not_searched"]["buckets"] == ["partner"]
        assert spoken_of(b"".join(cloud.objects(bucket="partner").values()), [ANN])
        with cloud.unseen():
            made = forget(importer, ANN, bucket="partner", secret="5" * 32)
        assert made["done"]["rows_good"] == 1
        assert not spoken_of(b"".join(cloud.objects(bucket="partner").values()), [ANN])
        assert check_books(importer) == 1


@pytest.mark.parametrize("size", [1, 1_000_000])
def test_encryption_class_metadata_and_tags_stay(monkeypatch: pytest.MonkeyPatch, size: int):
    monkeypatch.setattr(vault, "ONE_CALL_BYTES", size)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    with installed() as importer:
        cloud = importer.cloud
        importer.deliver(cloud.drop("imports/a.json", ROW + BOB, **ENCRYPTED))
        before = kept(importer, "completed_imports/")
        cloud.clock.sleep(4)
        with cloud.unseen():
            assert forget(importer, ANN)["done"]["rows_good"] == 1
        assert kept(importer, "completed_imports/") == before


# -- large objects -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("packed", [False, True])
def test_a_large_object_is_made_anew_of_itself(monkeypatch: pytest.MonkeyPatch, packed: bool):
    """Only pieces that change are sent; the others are copied within S3."""
    monkeypatch.setattr(vault, "ONE_CALL_BYTES", 1_000)
    monkeypatch.setattr(vault, "PIECE_BYTES", 4_000 if packed else 700)
    monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 1)
    filler = random.Random(0)
    more = b"%x" % filler.getrandbits(4_000) if packed else b""
    rows = [BOB.replace(b"bob-1", b"bob-%d" % number).replace(b"{", b'{"f":"%s",' % more) for number in range(80)]
    if packed:
        rows = [row.replace(more, b"%x" % filler.getrandbits(4_000)) for row in rows * 8]
    rows[20] = ROW
    body = b"".join(rows)
    with installed() as importer:
        cloud = importer.cloud
        name = "imports/a.json.gz" if packed else "imports/a.json"
        stored = gzip.compress(body, 0, mtime=0) if packed else body
        importer.deliver(cloud.drop(name, stored, Metadata={"x": "y"}))
        cloud.clock.sleep(4)
        with plan(cloud) as ended:
            assert forget(importer, ANN)["complete"]
        (archive,) = cloud.objects("completed_imports/").items()
        assert plain(archive[1]) == body.replace(ROW, b" " * (len(ROW) - 1) + b"\n")
        assert cloud.metadata(archive[0])["x-amz-meta-x"] == "y"
        operations = [call.operation for call in ended.calls]
        assert operations.count("UploadPartCopy") == (0 if packed else 2)
        assert (operations.count("UploadPart") > 1) == packed
        check_books(importer)


def test_nothing_is_written_over_that_was_written_meanwhile():
    """It is read again, whoever changed it."""
    with installed() as importer:
        cloud = importer.cloud
        importer.deliver(cloud.drop("imports/a.json", ROW + BOB))
        cloud.clock.sleep(4)
        (key,) = cloud.objects("completed_imports/")
        changed = []

        def change(cloud: Cloud) -> None:
            if not changed:
                changed.append(True)
                with cloud.unseen():
                    cloud.client("s3").put_object(Bucket=cloud.bucket, Key=key, Body=BOB + ROW)

        with plan(cloud, Fault("before", f"PutObject {key}", detail={"do": change})):
            made = forget(importer, ANN)
        assert changed
        assert (made["complete"], cloud.objects("completed_imports/")) == (
            True,
            {key: BOB + b" " * (len(ROW) - 1) + b"\n"},
        )


# -- damaged files, short names, what is noted where -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("damage", "rows", "left"),
    [
        (lambda body: body[:-9], ROW + BOB, set()),
        (lambda body: body[:-9], BOB + BOB, set()),
        (lambda body: body[:-6] + bytes([body[-6] ^ 1]) + body[-5:], BOB + BOB, set()),
        (lambda body: body[:-40] + b"\xff" * 9 + body[-31:], BOB + BOB, {"imports/a.json.gz"}),
        (lambda body: body[:-6] + bytes([body[-6] ^ 1]) + body[-5:], ROW + BOB, set()),
    ],
    ids=["cut", "cut, and nothing of them", "checksum, and nothing of them", "in the middle", "checksum"],
)
def test_a_damaged_file_is_read_as_far_as_anybody_can(damage: Any, rows: bytes, left: set[str]):
    """Importing it gave nothing at all; unpacking it by hand gives rows. Only what nobody has seen is left to do."""
    with installed() as importer:
        cloud = importer.cloud
        cloud.clock.sleep(4)
        importer.notify(cloud.drop("imports/a.json.gz", damage(gzip.compress(rows, mtime=0))))
        importer.run_until_quiet()
        cloud.clock.sleep(4)
        made = forget(importer, ANN)
        assert (set(made["unreadable"]), made["complete"]) == (left, not left)
        found = {key: body for key, body in cloud.objects().items() if key.startswith(("imports/", "set_aside/"))}
        assert len(found) == 1
        assert all(key.startswith("set_aside/") == (ROW in rows) for key in found)
        if ROW in rows:
            assert plain(found.popitem()[1]).startswith(b" " * (len(ROW) - 1) + b"\n" + BOB[:9])
        assert check_books(importer) == 1


@pytest.mark.parametrize("who", ["1", "string", "7"])
def test_a_reason_that_happens_to_say_what_somebody_is_called_is_anothers(who: str):
    """`expected string`, `at byte 1`: a reason is theirs if its row is."""
    with installed() as importer:
        cloud = importer.cloud
        rows = [
            b'{"user_id":"%s","event_name":"e","event_time_ts":1700000000000}\n' % who.encode(),
            b'{"user_id":["%s"],"event_name":"e","event_time_ts":1700000000000}\n' % who.encode(),
            b'{"user_id":true,"event_name":"e","event_time_ts":1700000000000}\n',
            b"{'event_name':'e'}\n",
        ]
        for name in ("a.json", "b.json"):
            cloud.clock.sleep(4)
            importer.notify(cloud.drop(f"imports/{name}", b"".join(rows if name == "a.json" else rows[2:])))
            importer.run_until_quiet()
        before = cloud.objects("receipts/")["receipts/2026/11/20/b.json.json"]
        cloud.clock.sleep(4)
        assert forget(importer, who)["complete"]
        assert check_books(importer) == 2
        assert cloud.objects("receipts/")["receipts/2026/11/20/b.json.json"] == before


def test_a_paper_names_no_field_by_somebody_who_is_forgotten_later():
    """A property's name may be somebody's; the row was blanked for another one."""
    row = b'{"user_id":"ann-77","event_name":"e","event_time_ts":1700000000000,"bob-1":{"a":1}}\n'
    with installed() as importer:
        cloud = importer.cloud
        importer.notify(cloud.drop("imports/a.json", row + BOB.replace(b"bob-1", b"cy-3")))
        importer.run_until_quiet()
        cloud.clock.sleep(4)
        forget(importer, ANN)
        assert any(b"bob-1" in body for body in cloud.objects("erasures/").values())
        cloud.clock.sleep(4)
        forget(importer, "bob-1", secret="5" * 32)
        check_nothing_is_left(cloud, ["bob-1"], False)
        check_books(importer)


@pytest.mark.parametrize("secret", [SECRET, "6" * 32], ids=["gone on with", "begun anew"])
def test_old_versions_of_what_was_deleted_before_somebody_was_killed_are_deleted_too(secret: str):
    """What is about to be changed is noted first."""
    with installed() as importer:
        cloud = importer.cloud
        with cloud.unseen():
            cloud.client("s3").put_object(Bucket=cloud.bucket, Key="previews/p.json", Body=ROW)
            cloud.client("s3").put_object(Bucket=cloud.bucket, Key="previews/q.json", Body=BOB)
            cloud.client("s3").delete_object(Bucket=cloud.bucket, Key="previews/q.json")
        cloud.clock.sleep(4)
        with plan(cloud, Fault("kill_after", "DeleteObjects")) as ended:
            forget(importer, ANN)
        assert ended.killed
        made = forget(importer, ANN, secret=secret, purge=True)
        assert (made["done"]["versions_deleted"], made["old_versions"]["count"]) == (1, 0)
        with cloud.unseen():
            assert [body for _, body in cloud.versions("previews/p.json") if body] == []
            assert [body for _, body in cloud.versions("previews/q.json") if body] == [BOB]


@pytest.mark.parametrize("good", [True, False], ids=["good", "refused"])
def test_why_knows_every_line_of_a_row_that_is_blank(good: bool):
    """A row of a CSV may stand on several; and what is too long to be held has no paper."""
    time = b"1700000000000" if good else b"yesterday"
    text = b'user_id,event_name,event_time_ts,note\nann-77,e,%s,"a\n\nb"\nbob-1,e,1700000000000,x\n' % time
    long = b'{"user_id":"ann-77","event_name":"%s"}\n' % (b"z" * 3000)
    with installed() as importer:
        cloud = importer.cloud
        for key, body in (("imports/tables/a.csv", text), ("imports/b.json", ROW + long)):
            cloud.clock.sleep(4)
            importer.notify(cloud.drop(key, body))
            importer.run_until_quiet()
        cloud.clock.sleep(4)
        assert forget(importer, ANN)["complete"]
        place = importer.workplaces(lambda: 900_000)
        stored = StoredTables(cloud.client("dynamodb"), cloud.events_table, cloud.users_table, "imports", cloud.clock)
        books = Books(place.objects, place.records, stored, cloud.clock.now_ms())
        said: list[tuple[str, int, str]] = []
        with cloud.unseen():
            for item in importer.executions():
                execution = place.records.execution(item["id"])
                assert execution is not None
                for line in (2, 3, 4) if execution.mime_type == "TEXT_CSV" else (1, 2):
                    why = why_row(books, execution, Asked(line=line))
                    said.append((execution.source.key, line, why.verdict.value))
        lines = [("imports/tables/a.csv", 2), ("imports/tables/a.csv", 3), ("imports/tables/a.csv", 4)]
        lines += [("imports/b.json", 1), ("imports/b.json", 2)]
        assert sorted(said) == sorted((key, line, "erased") for key, line in lines)


def test_a_table_that_no_import_knows_any_more_is_cleaned_record_by_record():
    """Its import's record has expired: a row of theirs goes whole, on however many lines; the header stays."""
    header = b"user_id,event_name,event_time_ts,ann-77\n"
    rows = [
        b'ann-77,e,1700000000000,"my\nstory"\n',
        b'bob-1,e,1700000000000,"his\nstory"\n',
        b'ann-77,"open\n',
        b"cy-3,e\n",
    ]
    with installed() as importer:
        cloud = importer.cloud
        key = "completed_imports/2026/01/02/tables/a.csv"
        with cloud.unseen():
            cloud.client("s3").put_object(Bucket=cloud.bucket, Key=key, Body=header + b"".join(rows))
        cloud.clock.sleep(4)
        made = forget(importer, ANN)
        assert (made["complete"], made["done"]["lines"]) == (True, 2)
        blank = [re.sub(rb"[^\n]", b" ", rows[0]), rows[1], b'       "    \n', rows[3]]
        assert cloud.objects(key)[key] == header + b"".join(blank)


def test_what_is_blank_is_packed_no_tighter_than_we_unpack():
    """Else a large file of one person would be refused by whoever recounts it."""
    texts = [b" " * 999_999 + b"\n", (b" " * 200 + b"\n") * 5_000, b"x" * 5_000 + b" " * 900_000, b"", BOB * 20]
    packer = vault._zstd()
    stored = b"".join(vault._not_too_tight(packer, text) for text in texts) + packer.flush()
    assert zstandard.ZstdDecompressor().stream_reader(stored).readall() == b"".join(texts)
    assert len(b"".join(texts)) < 600 * len(stored)
