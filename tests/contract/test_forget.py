"""Forgetting a person: nothing of theirs is left, nothing of anybody else's has changed, and the books balance."""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import pytest
import zstandard

from cli import forgetting as command
from cli.connection import Connection
from cli.stack import Stack
from importer.aws.stored import StoredTables
from importer.ledger import Books, CannotRecount, forgetting, verify
from importer.ledger.forgetting import Wish
from tests.faults import test_any_order as dialects
from tests.faults.importing import Importer, WorkersClock, installed
from tests.support.cloud import Cloud, shared_session

ANN = "ann-77"
PEOPLE = (ANN, "bob-1", "cy-3", "ann-771", "ann-77@x.org")
SECRET = "0" * 32


def connection(cloud: Cloud) -> Connection:
    stack = Stack(
        region="us-east-1",
        bucket=cloud.bucket,
        events_table=cloud.events_table,
        users_table=cloud.users_table,
        imports_table=cloud.imports_table,
        part_queue_url=cloud.part_queue_url,
        dead_letter_queue_url=cloud.dead_letter_queue_url,
        alarm_topic_arn="",
        functions={},
    )
    session = shared_session()
    return Connection("the twin", stack, session.client("s3"), session.client("dynamodb"), session)


def forget(importer: Importer, *people: str, links: bool = True, secret: str = SECRET, **more: Any) -> dict[str, Any]:
    """The certificate; what `importer forget` does, call by call in one thread."""
    clock = WorkersClock(importer.cloud)
    to = connection(importer.cloud)
    identifiers = command.identifiers_of(to, people, links, clock, 1)
    wish = Wish(identifiers, secret, **more)
    place = command.place_of(to, links, wish.id, clock, in_flight=1)
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
    if body[:2] == b"\x1f\x8b":
        return gzip.decompress(body)
    if body[:4] == b"\x28\xb5\x2f\xfd":
        return b"".join(
            zstandard.ZstdDecompressor().stream_reader(body, read_across_frames=True).readall() for _ in "1"
        )
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
                rows.insert(dice.randrange(2, len(rows)), spoilt(dice, dice.choice(rows)))
            if number == 0:
                rows[-1] = rows[-1].removesuffix(b"\n")
            packed = dice.choice(("", "", ".gz", ".zst"))
            made.append(File(f"imports/{number}.json{packed}", rows, packed))
    made.append(File("imports/tables/people.csv", table(dice)))
    whole = [row for row in made[0].rows] + [b'{"user_id":"ann-77","event_name":7}\n']
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


def check_nothing_is_left(cloud: Cloud, people: list[str], links: bool) -> None:
    for key, body in cloud.objects().items():
        assert not spoken_of(plain(body), people), f"{key} speaks of {people}"
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
                assert not here.translate(None, b' "\r\n') and here.count(b"\n") == row.count(b"\n"), (
                    key,
                    number,
                    here,
                )
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
