"""Imports, undoings and forgettings in any order: the tables are those of a cloud without what is undone and forgotten.

The oracle is another fake cloud in which the same files come at the same times, but for those undone, and with the good
rows of whoever was forgotten since blank from the start. Whole tables are compared, but for the records `erased` and
for what was cut short behind the place it had saved. Nothing is said of rows of two persons of whom one is forgotten
(families are forgotten whole), of erasures by file, of identity "address", of undoing a file that is also replayed; nor
of errors/ beyond what `verify` and the search for names say. A damaged file in which nobody can read is left out of
that search where the certificate lists it.

Who dies while undoing or forgetting, or is met by the other one in the middle, is run again. FAULT_SEED repeats a draw.
"""

from __future__ import annotations

import gzip
import json
import random
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import zstandard

from importer import layouts
from importer.aws.stored import StoredTables
from importer.ledger import Books, verify
from importer.ledger.undo import CannotUndo
from importer.model import Execution, TimeIsUp, Unavailable
from importer.sinks.erasing import MARK
from tests.contract.test_forget import check_nothing_is_left, forget, plain
from tests.faults import test_any_order as dialects
from tests.faults.importing import Importer, installed
from tests.faults.test_undo import EVERY_MS, History, T, assert_equal, replayed, saved_of, without_uncertain
from tests.faults.test_undo import File as Dropped
from tests.support.clock import START_MS
from tests.support.faults import Fault, attempt
from tests.support.scenarios import seed

# Rows link persons of one family alone.
FAMILIES: dict[str, tuple[str, ...]] = {
    "ann": ("ann-77", "ann-77@x.org"),
    "bob": ("bob-1", "bob@x.org"),
    "cy": ("cy-3", "cy-3-phone"),
}
DEFINITIONS: dict[str, dict[str, Any]] = {
    "vendor-kissmetrics": {"identity": "vendor", "format": "kissmetrics"},
    "vendor-segment": {"identity": "vendor", "format": "segment"},
    "vendor-visits": {"identity": "vendor", "format": "mediarithmics"},
    "one-piece": {"atomic": True},
}


@dataclass(frozen=True)
class Row:
    """A line of a file; `family`: of whom it speaks, if of anybody."""

    text: bytes
    family: str
    is_good: bool = True

    def blank(self) -> bytes:
        return re.sub(rb"[^\r\n]", b" ", self.text)


@dataclass(frozen=True)
class File:
    """One drop: how it is packed, and how it ends; or a replay of an earlier one, or bad rows of one mended."""

    number: int
    folder: str
    ending: str
    rows: tuple[Row, ...]
    ends: str = "well"
    mends: int | None = None
    replays: int | None = None
    kind: str = ""

    def text(self, blank: frozenset[str]) -> bytes:
        return b"".join(row.blank() if row.is_good and row.family in blank else row.text for row in self.rows)

    def body(self, blank: frozenset[str]) -> bytes:
        text = self.text(blank)
        middle = sum(len(row.text) for row in self.rows[: len(self.rows) // 2])
        if self.ending.endswith(".gz"):
            whole = [gzip.compress(text[:middle], mtime=0), gzip.compress(text[middle:], mtime=0)]
            return whole[0] + whole[1][:-6] if self.ends == "cut" else b"".join(whole)
        if self.ending.endswith(".zst"):
            return zstandard.compress(text[:middle]) + zstandard.compress(text[middle:])
        return text


@dataclass(frozen=True)
class Deed:
    """What is done: a file dropped, undone (by its number), or a family forgotten; and what goes wrong in it."""

    verb: str
    what: Any
    fault: str = ""
    at: int = 0
    family: str = ""  # forgotten in the middle of an undoing, or behind one that was killed


# ---- Drawing --------------------------------------------------------------------------------------------------------


def woopra(dice: random.Random) -> dict[str, Any]:
    visitor = {"id": dialects.PEOPLE[0], **({"email": dialects.PEOPLE[1]} if dice.random() < 0.3 else {})}
    return {"visitor": {**visitor, "level": dice.randrange(3)}, "actions": [{"name": "a", "time": T, "properties": {}}]}


def visit(dice: random.Random) -> dict[str, Any]:
    page = {"$event_name": dice.choice("pq"), "$ts": T, "$properties": {}}
    who = {"$user_account_id": dialects.PEOPLE[0], "$type": "SITE_VISIT", "$session_status": "CLOSED_SESSION"}
    return {**who, "$ts": T, "$unique_key": str(dice.randrange(2)), "$events": [page]}


KINDS: dict[str, Callable[[random.Random], dict[str, Any]]] = {
    "cooladata": dialects.cooladata,
    "kissmetrics": dialects.kissmetrics,
    "woopra": woopra,
    "mediarithmics": dialects.mediarithmics,
    "segment": dialects.segment,
    "visits": visit,
}


def good(dice: random.Random, kind: str) -> Row:
    family = dice.choice(sorted(FAMILIES))
    with mock.patch.object(dialects, "PEOPLE", FAMILIES[family]):
        return Row(json.dumps(KINDS[kind](dice)).encode() + b"\n", family)


def spoilt(dice: random.Random, row: Row) -> Row:
    who = FAMILIES[row.family][0].encode()
    text = dice.choice(
        [
            row.text[:-3],
            b"no row, but of " + who + b" all the same",
            b'{"user_id":["' + who + b'"],"event_name":"e","event_time_ts":1700000000000}',
            b'{"user_id":"x\xff","of":"' + who + b'"}',
            b'{"user_id":"' + who + b'","event_name":"' + b"z" * 3000 + b'"}',
        ]
    )
    return Row(text + b"\n", row.family, False)


def table(dice: random.Random) -> list[Row]:
    rows = [Row(b"user_id,event_name,event_time_ts,note,{u}city\n", "", False)]
    for _ in range(dice.randrange(1, 9)):
        family = dice.choice(sorted(FAMILIES))
        note = dice.choice([b"", b"plain", b'"two\nlines ""quoted"""'])
        is_good = dice.random() < 0.8
        time = b"2012-10-15 04:06:0%d" % dice.randrange(3) if is_good else b"yesterday"
        who = dice.choice(FAMILIES[family]).encode()
        rows.append(Row(b"%s,login,%s,%s,c%d\n" % (who, time, note, dice.randrange(3)), family, is_good))
    return rows


def file_of(dice: random.Random, number: int, before: list[File]) -> File:
    bad = [one for one in before if any(not row.is_good for row in one.rows) and one.ending == ".json"]
    if before and dice.random() < 0.1:
        well = [one for one in before if one.ends == "well" and one.folder != "one-piece/" and one.replays is None]
        if well:
            return replace(dice.choice(well), number=number, replays=dice.choice(well).number)
    if bad and dice.random() < 0.15:
        parent = dice.choice(bad)
        rows = tuple(good(dice, "cooladata") for _ in range(sum(not row.is_good for row in parent.rows)))
        return File(number, parent.folder, ".json", rows, mends=parent.number)
    if dice.random() < 0.12:
        return File(number, "tables/", dice.choice([".csv", ".csv.gz"]), tuple(table(dice)))
    kind = dice.choice(sorted(KINDS))
    rows = [good(dice, kind) for _ in range(dice.randrange(1, 14))]
    same = [row for one in before if one.kind == kind for row in one.rows if row.is_good]
    rows += dice.sample(same, min(len(same), 3))
    for _ in range(dice.choice([0, 0, 1, 3])):
        rows.insert(dice.randrange(1, len(rows) + 1), spoilt(dice, dice.choice(rows[:1])))
    folders = ["", "", "one-piece/", *([f"vendor-{kind}/"] * 2 if f"vendor-{kind}" in DEFINITIONS else [])]
    ending = dice.choice([".json", ".json", ".json", ".json.gz", ".json.zst"])
    ends = "cut" if ending == ".json.gz" and dice.random() < 0.4 else "well"
    if ending == ".json" and dice.random() < 0.15:
        ends = "cancelled"
    return File(number, dice.choice(folders), ending, tuple(rows), ends, kind=kind)


def deeds_of(dice: random.Random, count: int) -> list[Deed]:
    files: list[File] = []
    there: list[int] = []
    deeds: list[Deed] = []
    for number in range(count):
        file = file_of(dice, number, files)
        if file.replays is not None:  # of one that stays
            kept = [n for n in there if files[n].number == file.replays]
            if not kept:
                file = replace(file, replays=None, number=number)
            else:
                parent = files[file.replays]
                file = replace(parent, number=number, replays=parent.number)
                there.remove(parent.number)
        files.append(file)
        there.append(number)
        deeds.append(Deed("drop", file))
        while dice.random() < 0.4:
            fault = dice.choice(["", "", "kill_before", "kill_after", "before"])
            at, family = dice.randrange(1, 60), dice.choice(sorted(FAMILIES))
            if there and dice.random() < 0.6:
                met = family if fault and dice.random() < 0.5 else ""
                fault = "" if fault == "before" and not met else fault
                deeds.append(Deed("undo", there.pop(dice.randrange(len(there))), fault, at, met))
            else:
                fault = "kill_before" if fault == "before" else fault
                deeds.append(Deed("forget", family, fault, 4 * at))
    return deeds


# ---- Doing ----------------------------------------------------------------------------------------------------------


@dataclass
class Story(History):
    """What is done in one cloud, and of whom nothing may be left."""

    done: dict[int, Execution] = field(default_factory=dict)
    forgotten: set[str] = field(default_factory=set)
    unreadable: set[str] = field(default_factory=set)

    def come(self, file: File, blank: frozenset[str]) -> None:
        cloud = self.importer.cloud
        due_ms = START_MS + EVERY_MS * file.number
        assert cloud.clock.now_ms() <= due_ms, "what was done before took too long"
        if file.replays is not None:
            cloud.clock.advance(max(due_ms - EVERY_MS - cloud.clock.now_ms(), 0))
            execution = replayed(self, self.done[file.replays], f"again {file.number}")
            self.ids[execution.id] = f"file {file.number}"
        else:
            parent = ""
            if file.mends is not None:
                parent = "." + (self.done[file.mends].id if file.mends in self.done else "0" * 32)
            key = f"imports/{file.folder}f{file.number}{parent}{file.ending}"
            execution = self.drop(Dropped(file.number, key, file.body(blank), file.ends))
            self.forgotten -= {row.family for row in file.rows}
        self.done[file.number] = execution

    def forget(self, family: str) -> None:
        self.importer.cloud.clock.sleep(4)
        made = forget(self.importer, *FAMILIES[family])
        opened = made["open"]
        assert not opened["executions"], made
        assert not opened["waiting_files"], made
        # What is cut off within its first bytes is unreadable to whoever imports it, too, and the certificate says so.
        assert all("truncated" in said for said in made["unreadable"].values()), made
        self.unreadable |= set(made["unreadable"])
        self.check_gone(family)
        self.forgotten.add(family)

    def check_gone(self, family: str) -> None:
        check_nothing_is_left(self.importer.cloud, list(FAMILIES[family]), True, self.unreadable)

    def do(self, deed: Deed) -> None:
        cloud = self.importer.cloud
        work: Callable[[], Any]
        met: list[str] = []

        def meets(_: Any) -> None:
            met.append(deed.family)
            self.forget(deed.family)

        if deed.verb == "undo":
            execution = self.done[deed.what]
            work = lambda: self.undo(self.now(execution.id), window_keys=3)  # noqa: E731
        else:
            work = lambda: self.forget(deed.what)  # noqa: E731
        if deed.fault:
            meet = {"do": meets} if deed.fault == "before" else {}
            with suppress(Unavailable):
                ended = attempt(cloud, work, Fault(deed.fault, deed.at, detail=meet))
                # Bytes that were blanked while they were read: run it again.
                assert ended.error is None or (meet and isinstance(ended.error, CannotUndo | Unavailable)), ended.error
        if deed.family and deed.family not in met:
            self.forget(deed.family)
        work()
        if deed.verb == "undo":
            undone = self.now(execution.id).undone
            assert undone is not None
            assert undone.done
            assert self.desk().marks.whose_turn() == ""

    def found(self) -> dict[str, Any]:
        tables = self.tables()
        for items in tables.values():
            for item in items.values():
                if "rank" in item:  # a replay's, with the upload's ETag and when it was asked for; a mended file's name
                    item["rank"] = re.sub(r"(?<=[.#])[0-9a-f]{32}(\+\d{13})?(?=[.#f])", "id", item["rank"])
        users = tables["users"]
        tables["users"] = {key: item for key, item in users.items() if key[1] not in ("erased", MARK["record"]["S"])}
        return tables

    def check_books(self) -> None:
        cloud, place = self.importer.cloud, self.importer.workplaces(lambda: 900_000)
        names = cloud.events_table, cloud.users_table, cloud.imports_table
        stored = StoredTables(cloud.client("dynamodb"), *names, cloud.clock, 1)  # type: ignore[arg-type]
        for number, known in self.done.items():
            books = Books(place.objects, place.records, stored, cloud.clock.now_ms())
            verdict = verify(books, self.now(known.id), True)
            assert not verdict.findings, (number, verdict.findings)


def define(importer: Importer) -> None:
    for name, settings in DEFINITIONS.items():
        item = {"pk": f"IMPORT#{name}", "sk": "IMPORT", "definition": {"id": name, **settings}}
        importer.cloud.put_item(importer.cloud.imports_table, item)


def blank_of(deeds: list[Deed]) -> dict[int, frozenset[str]]:
    """Of each file, the families that were forgotten after it was uploaded."""
    uploaded: dict[int, int] = {}
    found: dict[int, set[str]] = {}
    for at, deed in enumerate(deeds):
        if deed.verb == "drop":
            uploaded[deed.what.number] = at if deed.what.replays is None else uploaded[deed.what.replays]
    for number, since in uploaded.items():
        later = deeds[since:]
        found[number] = {deed.family for deed in later} | {deed.what for deed in later if deed.verb == "forget"}
    return {number: frozenset(families - {""}) for number, families in found.items()}


def without(deeds: list[Deed], folder: Path, **how: Any) -> dict[str, Any]:
    """The oracle's tables."""
    gone = {deed.what for deed in deeds if deed.verb == "undo"}
    blank = blank_of(deeds)
    # Before they were blank, its rows told that they are one a line.
    with installed(**how) as importer, mock.patch.object(layouts, "judge_layout"):
        define(importer)
        story = Story(importer, folder)
        for deed in deeds:
            if deed.verb == "drop" and deed.what.number not in gone:
                story.come(deed.what, blank[deed.what.number])
        return story.found()


def check_archives(story: Story, deeds: list[Deed]) -> None:
    """Rows of whoever was forgotten since are blank, those of others are as they came."""
    objects, blank = story.importer.cloud.objects(), blank_of(deeds)
    for deed in deeds:
        if deed.verb != "drop" or deed.what.replays is not None:
            continue
        execution = story.now(story.done[deed.what.number].id)
        assert execution.outcome is not None
        if execution.status.value != "SUCCEEDED":
            continue
        text, at = plain(objects[execution.outcome.destination.completed]), 0
        for row in deed.what.rows:
            here = text[at : at + len(row.text)]
            at += len(row.text)
            if row.family in blank[deed.what.number]:
                assert (here.translate(None, b' "\r\n'), here.count(b"\n")) == (b"", row.text.count(b"\n")), here
            else:
                assert here == row.text
        assert at == len(text)


def play(deeds: list[Deed], folder: Path, **how: Any) -> None:
    with installed(**how) as importer:
        define(importer)
        story = Story(importer, folder)
        for deed in deeds:
            if deed.verb == "drop":
                story.come(deed.what, frozenset())
            else:
                story.do(deed)
        with importer.cloud.unseen():
            story.check_books()
            check_archives(story, deeds)
            for family in story.forgotten:
                story.check_gone(family)
            found = story.found()
            saved = saved_of(story)
    expected = without(deeds, folder, **how)
    without_uncertain(saved, found, expected)
    assert_equal(found, expected)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("number", range(100))
def test_nothing_is_left_of_whom_and_what_is_gone_and_all_else_is(number: int, tmp_path: Path) -> None:
    dice = random.Random(f"{seed()} undo and forget {number}")
    how: dict[str, Any] = {"part_bytes": dice.choice([1024, 256 << 20]), "versioned": dice.random() < 0.5}
    play(deeds_of(dice, 6), tmp_path, **how)


# ---- Where both had met ---------------------------------------------------------------------------------------------


def said(who: str, second: int, **more: Any) -> Row:
    row = {"user_id": who, "event_name": "e", "event_time_ts": T + 1000 * second, **more}
    return Row(json.dumps(row).encode() + b"\n", who)


def test_a_refused_file_that_was_set_aside_is_undone_and_put_back_from(tmp_path: Path) -> None:
    """Somebody else of whom it had rows was forgotten: its other rows lie in set_aside/ since."""
    shared = tuple(said(who, second) for second in range(4) for who in ("bob", "ann"))
    files = [
        File(0, "", ".json.gz", shared * 2, "cut"),
        File(1, "", ".json", (said("bob", 1), said("cy", 1))),
        File(2, "", ".json.gz", shared * 2, "cut"),
    ]
    with installed(versioned=False) as importer, mock.patch.dict(FAMILIES, {"ann": ("ann",)}):
        story = Story(importer, tmp_path)
        for file in files:
            story.come(file, frozenset())
        assert [one.status.value for one in story.done.values()] == ["FAILED", "SUCCEEDED", "FAILED"]
        story.forget("ann")
        for number, left in ((2, {"bob", "cy"}), (1, {"bob"}), (0, set())):
            story.undo(story.done[number])
            assert {user for user, _ in story.tables()["events"]} == left
        story.check_books()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("hop", range(1, 8))
def test_an_undoing_goes_on_in_bytes_that_were_packed_anew(tmp_path: Path, hop: int) -> None:
    """Between two hops somebody was forgotten: of the archive all but the plain text lies elsewhere."""
    rows = tuple(said("ann" if second < 9 else "bob", second, text=str(second) * 90) for second in range(40))
    with installed(versioned=False) as importer, mock.patch.dict(FAMILIES, {"ann": ("ann",)}):
        story = Story(importer, tmp_path)
        story.come(File(0, "", ".json.gz", rows), frozenset())
        story.come(File(1, "", ".json.gz", rows), frozenset())
        assert undone_in_hops(story, story.done[1].id, {hop: lambda: story.forget("ann")}) > hop
        found = story.found()["events"]
        assert {item["execution_id"] for item in found.values()} == {"file 0"}
        assert {user for user, _ in found} == {"bob"}
        assert len(found) == 31


def undone_in_hops(story: Story, execution_id: str, between: dict[int, Callable[[], Any]]) -> int:
    """An undoing that stops wherever it may; what is done before which hop. Returns how many it took."""
    kept: list[bytes] = []

    def load(path: Path) -> bool:
        if kept:
            path.write_bytes(kept[-1])
        return bool(kept)

    def save(path: Path) -> None:
        kept.append(path.read_bytes())

    for hop in range(100):
        between.get(hop, lambda: None)()
        with suppress(TimeIsUp):
            story.undo(story.now(execution_id), time_is_short=lambda: True, save=save, load=load, may_wait=False)
            return hop
    raise AssertionError("no end")


def test_rows_stay_rows_where_the_one_that_told_so_is_blank(tmp_path: Path) -> None:
    """A first row that is broken, and behind it one that is whole: by itself it would be JSON over several lines."""
    files = [
        File(0, "", ".json", (Row(b'{"of":"bob",\n', "bob", False), said("ann", 1), said("ann", 2))),
        File(1, "", ".json", (Row(b"{\n", "", False), said("ann", 1), said("ann", 3))),
    ]
    with installed() as importer, mock.patch.dict(FAMILIES, {"ann": ("ann",)}):
        story = Story(importer, tmp_path)
        for file in files:
            story.come(file, frozenset())
        story.forget("ann")
        story.check_books()
        story.come(replace(files[1], number=2, replays=1), frozenset())
        story.check_books()
        again = story.now(story.done[2].id).outcome
        assert again is not None
        assert (again.sums.good, again.sums.bad, again.sums.blank) == (0, 1, 2)
        for number in (2, 1, 0):
            story.undo(story.now(story.done[number].id))
        assert story.found()["events"] == {}
        story.check_books()


@pytest.mark.parametrize("rows", [3, 40])
def test_rows_of_the_batch_in_which_a_refused_file_breaks_off_are_forgotten(tmp_path: Path, rows: int) -> None:
    """No batch is made of them; whoever inflates the file as far as it goes can read them."""
    others = tuple(said("bob", second, text="b" * 90) for second in range(rows))
    with installed(versioned=False) as importer, mock.patch.dict(FAMILIES, {"ann": ("ann",)}):
        story = Story(importer, tmp_path)
        story.come(File(0, "", ".json.gz", (*others, said("ann", 1), *others[:2]), "cut"), frozenset())
        story.forget("ann")
        assert not story.unreadable
        assert any(b"bob" in plain(body) for body in importer.cloud.objects("set_aside/").values())
        story.check_books()
