"""Undo: after it both tables are as if the file had never been imported, in whatever order things were done.

The oracle is another fake cloud in which the same files are imported in the same order, but for those undone; whole
tables are compared. Histories are drawn at random from a small universe of rows that clash, in all dialects; FAULT_SEED
repeats what was drawn.
"""

from __future__ import annotations

import gzip
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from importer import executions
from importer.executions import mending
from importer.ledger.undo import GONE, Busy, CannotUndo, Change, Desk, Progress, _Undoing, planned, receipt_key, undo
from importer.ledger.verdict import Place
from importer.model import Execution, Fenced, Status, TimeIsUp
from tests.faults.importing import Importer, deadly, installed
from tests.support.clock import START_MS
from tests.support.faults import Fault, attempt, every
from tests.support.scenarios import calls_of, explore, report, sample, seed
from tests.support.undoing import desk, tables_of

T = 1_700_000_000_000
EVERY_MS = 600_000  # between two drops
DEFINITIONS: dict[str, dict[str, Any]] = {
    "vendor-kissmetrics": {"identity": "vendor", "format": "kissmetrics"},
    "vendor-mediarithmics": {"identity": "vendor", "format": "mediarithmics"},
    "vendor-segment": {"identity": "vendor", "format": "segment"},
    "by-order": {"identity": "property:order"},
    "by-place": {"identity": "address"},
    "one-piece": {"atomic": True},
    "gone": {"document_type": "USER_POINTS_DELETION", "format": "mediarithmics"},
    "devices-gone": {"document_type": "USER_DEVICE_POINT_DELETION", "format": "mediarithmics"},
}


# ---- A small universe of rows that clash ----------------------------------------------------------------------------


def _user(dice: random.Random) -> str:
    return f"1:u{dice.randrange(3)}"


def _time(dice: random.Random) -> int:
    return T + 1000 * dice.randrange(4)


def cooladata(dice: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {
        "user_id": _user(dice),
        "event_name": dice.choice(["login", "pay"]),
        "event_time_ts": _time(dice),
        "order": str(dice.randrange(3)),
        "n": dice.randrange(2),
    }
    if dice.random() < 0.4:
        row["{u}city"] = dice.choice("AB")
    return row


def kissmetrics(dice: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {"_p": _user(dice), "_t": _time(dice) // 1000}
    match dice.randrange(3):
        case 0:
            return row | {"_n": dice.choice(["Saw", "saw"]), "plan": dice.choice("ab"), "order": str(dice.randrange(3))}
        case 1:
            other = dice.choice([user for user in ("1:u0", "1:u1", "1:u2") if user != row["_p"]])
            return row | {"_p2": other}
    return row | {"age": dice.randrange(3)}


def woopra(dice: random.Random) -> dict[str, Any]:
    action = {"time": _time(dice), "name": "pv", "properties": {"order": str(dice.randrange(3))}}
    return {"visitor": {"id": _user(dice), "plan": dice.choice("ab")}, "actions": [action] * dice.randrange(1, 3)}


def mediarithmics(dice: random.Random) -> dict[str, Any]:
    who = {"compartment_id": "1", "user_account_id": _user(dice).removeprefix("1:")}
    match dice.randrange(4):
        case 0:
            out = {"operation": "DELETE"}
            enters = {"operation": "UPDATE", "expiration_duration": dice.choice([0, 30, 5000])}
            return who | {"segment_id": str(dice.randrange(2))} | dice.choice([out, enters])
        case 1:
            profile = {"city": dice.choice("ab"), "home": {"zip": dice.choice("12")}}
            merge = {"force_replace": False, "merge_objects": True}
            how = dice.choice([{"force_replace": True}, merge])
            return {"operation": "UPSERT", **who, **how, "user_profile": profile}
        case 2:
            agent = {"type": "USER_AGENT", "user_agent_id": f"vec:{dice.randrange(2)}"}
            account = {"type": "USER_ACCOUNT", **who}
            return {"operation": "UPSERT", "identifiers": [account, agent]}
    return {
        "$user_account_id": who["user_account_id"],
        "$compartment_id": "1",
        "$type": "SITE_VISIT",
        "$session_status": "CLOSED_SESSION",
        "$ts": _time(dice),
        "$unique_key": str(dice.randrange(2)),
        "$events": [
            {"$event_name": "page", "$ts": _time(dice), "$properties": {"order": str(dice.randrange(3))}},
        ],
    }


def segment(dice: random.Random) -> dict[str, Any]:
    stamp = f"2026-11-20T08:10:0{dice.randrange(4)}.000Z"
    row = {
        "type": dice.choice(["track", "identify"]),
        "userId": dice.choice([None, _user(dice)]),
        "anonymousId": f"a{dice.randrange(2)}",
        "messageId": f"m{dice.randrange(3)}",
        "timestamp": stamp,
        "receivedAt": stamp,
        "originalTimestamp": stamp,
        "channel": "client",
    }
    more = {"event": "Bought", "properties": {"order": str(dice.randrange(3))}}
    return row | (more if row["type"] == "track" else {"traits": {"plan": dice.choice("ab")}})


DIALECTS: tuple[Callable[[random.Random], dict[str, Any]], ...] = (
    cooladata,
    kissmetrics,
    woopra,
    mediarithmics,
    segment,
)


@dataclass(frozen=True)
class File:
    """One drop. `ends`: "well", or how it is made not to: "cut" (its gzip), "cancelled"."""

    number: int
    key: str
    body: bytes
    ends: str = "well"


def file_of(dice: random.Random, number: int, dialect: Callable[[random.Random], dict[str, Any]]) -> File:
    if dialect is mediarithmics and dice.random() < 0.2:
        # A device alone: whom an undone link led an erasure to stays erased, so persons have tests of their own.
        gone = {"type": "USER_AGENT", "user_agent_id": f"vec:{dice.randrange(2)}"}
        return File(number, f"imports/devices-gone/f{number}.json", orjson.dumps(gone))
    rows = [orjson.dumps(dialect(dice)) for _ in range(dice.randrange(1, 14))]
    if dice.random() < 0.3:
        rows.insert(dice.randrange(len(rows) + 1), dice.choice([b"no row", b"{}", rows[0]]))
    body = b"\n".join(rows) + b"\n"
    vendor = f"vendor-{dialect.__name__}"
    folders = ["", "", "by-order/", "by-place/", "one-piece/", *([f"{vendor}/"] * 2 if vendor in DEFINITIONS else [])]
    folder = dice.choice(folders)
    name, ends = f"f{number}.json", "well"
    if dice.random() < 0.3:
        name, body = f"{name}.gz", gzip.compress(body, mtime=0)
        if dice.random() < 0.4:  # two members, of which the second has no end
            body, ends = body + body[:-6], "cut"
    elif dice.random() < 0.15:
        ends = "cancelled"
    return File(number, f"imports/{folder}{name}", body, ends)


# ---- Doing ----------------------------------------------------------------------------------------------------------


def define(importer: Importer) -> None:
    for name, settings in DEFINITIONS.items():
        item = {"pk": f"IMPORT#{name}", "sk": "IMPORT", "definition": {"id": name, **settings}}
        importer.cloud.put_item(importer.cloud.imports_table, item)


@dataclass
class History:
    """What was done to one installation."""

    importer: Importer
    folder: Path
    ids: dict[str, str] = field(default_factory=dict)  # execution id → number of its file
    told: list[Execution] = field(default_factory=list)

    def drop(self, file: File) -> Execution:
        cloud = self.importer.cloud
        due_ms = START_MS + EVERY_MS * file.number
        cloud.clock.advance(max(due_ms - cloud.clock.now_ms(), 0))
        notification = cloud.drop(file.key, file.body)
        if file.ends == "cancelled":
            [execution] = self._half(notification)
        else:
            [execution] = self.importer.deliver(notification)
            self.importer.run_until_quiet()
        self.ids[execution.id] = f"file {file.number}"
        return self.now(execution.id)

    def _half(self, notification: dict[str, Any]) -> list[Execution]:
        """Some of it is written and saved, then a person ends it."""
        place = self.importer.workplaces(lambda: 900_000)
        begun = executions.starting.start(place, next(iter(_dropped(notification))), False)
        left = iter([900_000] * 12)
        short = replace(place, remaining_ms=lambda: next(left, 0))
        executions.import_dropped(short, next(iter(_dropped(notification))))
        for execution in begun:
            executions.cancel(place, execution.id)
        self.importer.run_until_quiet()
        return begun

    def now(self, execution_id: str) -> Execution:
        execution = self.importer.workplaces(lambda: 900_000).records.execution(execution_id)
        assert execution is not None
        return execution

    def desk(self, **more: Any) -> Desk:
        return desk(self.importer, self.folder, **more)

    def undo(self, execution: Execution, **more: Any) -> Execution:
        return undo(self.desk(**more), execution.id, "test")

    def tables(self) -> dict[str, Any]:
        return tables_of(self.importer, lambda execution_id: self.ids.get(execution_id, execution_id))


def _dropped(notification: dict[str, Any]) -> Any:
    from importer.notification import dropped_objects

    return dropped_objects(notification)


def without(files: list[File], gone: set[int], folder: Path, **how: Any) -> dict[str, Any]:
    """The oracle's tables."""
    with installed(**how) as importer:
        define(importer)
        history = History(importer, folder)
        for file in files:
            if file.number not in gone:
                history.drop(file)
        return history.tables()


def assert_equal(found: dict[str, Any], expected: dict[str, Any]) -> None:
    """Both tables, whole; the first difference by its key."""
    for table in expected:
        for key in {**expected[table], **found[table]}:
            assert found[table].get(key) == expected[table].get(key), (table, key)
    assert found == expected


def saved_of(history: History) -> dict[str, dict[int, int]]:
    """Up to where it is known what was written of files that were cut short, by the name of their execution."""
    told = {name: history.now(execution_id) for execution_id, name in history.ids.items()}
    return {name: one.outcome.read_to for name, one in told.items() if one.outcome and one.status is Status.CANCELED}


def without_uncertain(saved: dict[str, dict[int, int]], *tables: dict[str, Any]) -> None:
    """Leave out what lies behind that: where another is undone it is not put back, since nobody knows (0042)."""
    uncertain = {
        (name, key)
        for found in tables
        for name, items in found.items()
        for key, item in items.items()
        if item.get("execution_id") in saved and not _is_before(item["address"], saved[item["execution_id"]])
    }
    for name, key in uncertain:
        for found in tables:
            found[name].pop(key, None)


def _is_before(address: Any, read_to: dict[int, int]) -> bool:
    return any(start <= int(address) < stop for start, stop in read_to.items())


def files_of(number: int, count: int = 5) -> tuple[random.Random, list[File]]:
    dice = random.Random(f"{seed()} undo {number}")
    kinds = dice.sample(DIALECTS, dice.choice([1, 1, 2]))
    return dice, [file_of(dice, at, dice.choice(kinds)) for at in range(count)]


# ---- Random histories -----------------------------------------------------------------------------------------------


@pytest.mark.sampled(6)
@pytest.mark.parametrize("number", range(200))
def test_a_history_with_undoings_is_the_history_without_them(number: int, tmp_path: Path) -> None:
    """Files dropped, some undone at some time after, in any order: both tables are as if those had never been there."""
    dice, files = files_of(number)
    # Without versions an execution's id is made of what and when: the same in both clouds, as identity "address" needs.
    how: dict[str, Any] = {"part_bytes": dice.choice([1024, 256 << 20]), "versioned": False}
    gone: set[int] = set()
    with installed(**how) as importer:
        define(importer)
        history = History(importer, tmp_path)
        there: dict[int, Execution] = {}
        for file in files:
            there[file.number] = history.drop(file)
            while there and dice.random() < 0.35:
                number = dice.choice(sorted(there))
                if "gone" in there[number].source.key:
                    break
                done = history.undo(there.pop(number), window_keys=dice.choice([1, 3, 1000]))
                assert done.undone is not None
                assert done.undone.done
                gone.add(number)
        found = history.tables()
        assert history.desk().marks.whose_turn() == ""
        saved = saved_of(history)
    expected = without(files, gone, tmp_path, **how)
    without_uncertain(saved, found, expected)
    assert_equal(found, expected)


# ---- One story, and whatever goes wrong in it -----------------------------------------------------------------------


def row(user: str, second: int, **more: Any) -> bytes:
    said = {"user_id": user, "event_name": "pay", "event_time_ts": T + 1000 * second, **more}
    return orjson.dumps(said) + b"\n"


def link(one: str, other: str) -> bytes:
    return orjson.dumps({"_p": one, "_p2": other, "_t": T // 1000}) + b"\n"


def visit(user: str, key: str, page: str) -> bytes:
    """An activity that is known by its key."""
    said = {
        "$user_account_id": user,
        "$compartment_id": "1",
        "$type": "SITE_VISIT",
        "$session_status": "CLOSED_SESSION",
        "$ts": T,
        "$unique_key": key,
        "$events": [{"$event_name": page, "$ts": T, "$properties": {}}],
    }
    return orjson.dumps(said) + b"\n"


FIRST = b"".join(row("1:a", n, **{"{u}city": "Oslo"}) for n in range(6)) + link("1:a", "b") + visit("v", "1", "p")
WRONG = (
    b"".join(row("1:a", n, **{"{u}city": "Oslo"}) for n in range(3, 9))
    + row("z", 1)
    + link("1:a", "b")
    + link("b", "c")
)
LATER = row("1:a", 8, **{"{u}city": "Oslo"}) + row("new", 1) + link("b", "c")
ERASED_A = b'{"type":"USER_ACCOUNT","compartment_id":"1","user_account_id":"a"}\n'
STORY = [File(0, "imports/first.json", FIRST), File(1, "imports/wrong.json", WRONG)]
MEANWHILE = File(2, "imports/later.json", LATER + row("1:a", 4, **{"{u}city": "Oslo"}) + link("1:a", "b"))
KINDS = ("kill_before", "kill_after", "connection_lost", "reply_lost", "error_500", "throttled", "denied")


@contextmanager
def told(folder: Path) -> Iterator[History]:
    """Two files, the second of which is to be undone."""
    with installed(versioned=False) as importer:
        define(importer)
        history = History(importer, folder)
        history.told = [history.drop(file) for file in STORY]
        yield history


@pytest.fixture
def story(tmp_path: Path) -> Iterator[History]:
    with told(tmp_path) as history:
        yield history


@pytest.fixture(scope="module")
def undone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both tables without the second file."""
    return without(STORY, {1}, tmp_path_factory.mktemp("oracle"), versioned=False)


def test_undone_twice_is_undone_once(undone: dict[str, Any], story: History) -> None:
    """The second time changes nothing, and says when it was done."""
    wrong = story.told[1]
    first = story.undo(wrong)
    tables = story.tables()
    assert story.undo(story.now(wrong.id)) == first
    assert_equal(tables, undone)
    assert story.tables() == tables


def test_what_was_done_stands_on_the_execution_and_in_a_receipt(story: History) -> None:
    """Three rows it shares are put back, with the links; the others are gone. Its status stays what it was."""
    wrong = story.told[1]
    done = story.undo(wrong)
    assert done.status is Status.SUCCEEDED
    assert done.undone is not None
    said = done.undone.document()
    assert (said["status"], said["by"], said["kept"], said["position"]) == ("DONE", "test", 0, None)
    # Events: 3 of 6 were the first's; one of z. Records: the city, and the link of a and b at both ends, were its.
    assert (said["removed"], said["put_back"]) == (3 + 1 + 2, 3 + 1 + 2)
    receipt = orjson.loads(story.importer.cloud.objects()[receipt_key(done)])
    assert (receipt["schema"], receipt["removed"], receipt["put_back"]) == ("undo/1", 6, 6)
    assert receipt["file_uri"].endswith(done.outcome.destination.completed)


def test_a_receipt_has_room_beside_the_longest_key(tmp_path: Path) -> None:
    """Dropped twice on one day, the second file's papers have its id in their names already."""
    key = "imports/" + "k" * (1024 - len("imports/.json")) + ".json"
    with installed(versioned=False) as importer:
        story = History(importer, tmp_path)
        for number in range(2):
            execution = story.drop(File(number, key, row("a", number)))
            done = story.undo(execution)
            assert done.undone is not None
            assert done.undone.done
            assert execution.id in receipt_key(done)
            assert orjson.loads(importer.cloud.objects()[receipt_key(done)])["removed"] == 1


def test_the_same_file_again_is_a_new_import(tmp_path: Path) -> None:
    """Undone, then dropped again: as if it had only come now."""
    again = File(2, "imports/wrong.json", WRONG)
    expected = without([*STORY, again], {1}, tmp_path, versioned=False)
    with told(tmp_path) as story:
        story.undo(story.told[1])
        story.drop(again)
        assert_equal(story.tables(), expected)


@pytest.mark.sampled(each="kind")
@pytest.mark.parametrize("kind", KINDS)
def test_whoever_dies_on_the_way_goes_on(undone: dict[str, Any], story: History, kind: str) -> None:
    """At any call; the next try ends in the same tables, and the turn is given back."""
    wrong = story.told[1]
    cloud = story.importer.cloud
    calls = calls_of(cloud, lambda: story.undo(wrong))

    def play(fault: Fault) -> None:
        ended = attempt(cloud, lambda: story.undo(wrong), fault)
        assert not isinstance(ended.error, CannotUndo | Fenced), ended.error
        done = story.undo(story.now(wrong.id))
        assert done.undone is not None
        assert done.undone.done
        assert story.desk().marks.whose_turn() == ""
        assert_equal(story.tables(), undone)

    faults = sample(every(calls, [kind]), 4, whole=200)
    failures = explore(faults, play)
    assert not failures, report(failures)


@pytest.mark.sampled(each="kind")
@pytest.mark.parametrize("kind", ["before", "after"])
def test_an_import_at_the_same_time_loses_nothing(tmp_path: Path, kind: str) -> None:
    """Between any two calls another file is imported that shares rows with both."""
    expected = without([*STORY, MEANWHILE], {1}, tmp_path, versioned=False)
    with told(tmp_path) as story:
        wrong, cloud = story.told[1], story.importer.cloud
        calls = calls_of(cloud, lambda: story.undo(wrong))

        def play(at: int) -> None:
            fault = Fault(kind, at, detail={"do": lambda _: story.drop(MEANWHILE)})
            ended = attempt(cloud, lambda: story.undo(wrong), fault)
            assert ended.error is None, ended.error
            assert_equal(story.tables(), expected)

        failures = explore(sample(range(1, len(calls) + 1), 6, whole=200), play)
    assert not failures, report(failures)


def test_hop_by_hop_it_comes_to_the_same_end(undone: dict[str, Any], story: History) -> None:
    """Stopped after every batch, its file kept and brought back: nothing is done twice, nothing is left out."""
    wrong = story.told[1]
    kept: list[bytes] = []

    def load(path: Path) -> bool:
        if kept:
            path.write_bytes(kept[-1])
        return bool(kept)

    hops = 0
    while hops < 200:
        hops += 1
        with suppress(TimeIsUp):
            how = {"save": lambda path: kept.append(path.read_bytes()), "load": load, "may_wait": False}
            done = undo(story.desk(time_is_short=lambda: True, window_keys=3, **how), wrong.id, "test")
            break
    assert hops > 2
    assert done.undone is not None
    assert (done.undone.removed, done.undone.put_back) == (6, 6)
    assert_equal(story.tables(), undone)


def test_a_second_look_does_not_go_on_with_what_the_first_one_carried_along(tmp_path: Path) -> None:
    """Another file, imported before anything was written, was outranked by what is taken out: it gets its due."""
    wrong, kept_out = (row("1:a", second, **{"{u}city": city}) for second, city in ((2, "Oslo"), (1, "Bergen")))
    first, later = File(0, "imports/wrong.json", wrong), File(1, "imports/later.json", kept_out)
    expected = without([first, later], {0}, tmp_path, versioned=False)
    with installed(versioned=False) as importer:
        define(importer)
        story = History(importer, tmp_path)
        execution = story.drop(first)
        carried: list[bytes] = []
        steps: list[str] = []

        def hear(progress: Progress) -> None:
            steps.append(progress.step)
            if steps == ["reading"]:
                story.drop(later)

        def load(path: Path) -> bool:
            return bool(carried) and path.write_bytes(carried[-1]) > 0

        hop = story.desk(
            told=hear,
            save=lambda path: carried.append(path.read_bytes()),
            load=load,
            time_is_short=lambda: steps[-1] == "writing" and not carried,  # when all of the first look is written
            may_wait=False,
        )
        with pytest.raises(TimeIsUp):
            undo(hop, execution.id, "test")
        undo(hop, execution.id, "test")
        assert_equal(story.tables(), expected)


# ---- What cannot be undone, or not now ------------------------------------------------------------------------------


def test_an_erasure_is_not_undone(story: History) -> None:
    """Nothing of its import is: nobody who was erased comes back."""
    erasing = File(2, "imports/gone/a.json", ERASED_A)
    erased = story.drop(erasing)
    before = story.tables()
    with pytest.raises(CannotUndo, match="erased persons, the first by its row at byte 0"):
        story.undo(erased)
    assert (story.tables(), story.now(erased.id).undone, story.desk().marks.whose_turn()) == (before, None, "")


@pytest.mark.parametrize("erased_first", [True, False], ids=["erased before the last", "erased after"])
def test_who_was_erased_is_not_put_back(tmp_path: Path, erased_first: bool) -> None:
    """The first file held them, and was uploaded before the erasure."""
    erasing = File(2 if erased_first else 3, "imports/gone/a.json", ERASED_A)
    again = File(3 if erased_first else 2, "imports/again.json", WRONG)
    files = sorted([*STORY, erasing, again], key=lambda file: file.number)
    expected = without(files, {again.number}, tmp_path, versioned=False)
    with told(tmp_path) as story:
        done = {file.number: story.drop(file) for file in files[2:]}
        story.undo(done[again.number])
        assert_equal(story.tables(), expected)


def test_who_is_erased_between_two_hops_is_not_put_back(story: History) -> None:
    """The others' rows were played by a worker before the erasure, and are written by one after it."""
    _, wrong = story.told
    cloud = story.importer.cloud
    keys = [
        (item["user_id"], item["event_key"]) for item in cloud.items(cloud.events_table) if item["user_id"] == "1:a"
    ]
    stored = story.desk().stored.events(keys)
    erased = story.drop(File(2, "imports/gone/a.json", ERASED_A))
    assert erased.status is Status.SUCCEEDED
    before = story.tables()
    changes = [Change(Place.EVENTS, key, None, stored[key]) for key in keys]
    assert len(changes) == 9
    _Undoing(story.desk(), wrong, ())._apply(changes)
    assert_equal(story.tables(), before)


def test_one_undoing_at_a_time(story: History) -> None:
    """Another would put back what this one takes out."""
    first, wrong = story.told
    undo_begun = attempt(story.importer.cloud, lambda: story.undo(wrong), kill_before=12)
    assert undo_begun.killed
    with pytest.raises(Busy, match=f"importer undo {wrong.id}"):
        story.undo(first)


def test_a_turn_that_was_not_given_back_keeps_nobody_waiting(story: History) -> None:
    """Its undoing was done, and whoever did it was killed before that; or the imports table has forgotten it."""
    first, wrong = story.told
    cloud = story.importer.cloud
    calls = calls_of(cloud, lambda: story.undo(wrong))
    assert attempt(cloud, lambda: story.undo(wrong), kill_before=len(calls)).killed
    assert (story.desk().marks.whose_turn(), story.now(wrong.id).undone.done) == (wrong.id, True)  # type: ignore[union-attr]
    assert planned(story.desk(), first.id).others == ()
    story.undo(first)
    assert story.tables() == {"events": {}, "users": {}}
    later = story.drop(MEANWHILE)
    story.desk().marks.take_turn("f" * 32)
    assert story.undo(later).undone is not None
    assert story.tables() == {"events": {}, "users": {}}


def test_what_has_not_ended_is_not_undone(story: History) -> None:
    place = story.importer.workplaces(lambda: 900_000)
    notification = story.importer.cloud.drop("imports/next.json", LATER)
    [begun] = executions.starting.start(place, next(iter(_dropped(notification))), False)
    with pytest.raises(CannotUndo, match="is PENDING"):
        story.undo(begun)


def test_where_an_archive_is_gone_a_person_decides(story: History) -> None:
    """Nobody knows then what belongs in the place of what both held; nothing is changed until one has."""
    first, wrong = story.told
    story.importer.cloud.remove(first.outcome.destination.completed)
    with pytest.raises(CannotUndo, match=f"--without {first.id}"):
        story.undo(wrong)
    assert story.now(wrong.id).undone is None
    other = story.drop(File(2, "imports/other.json", row("other", 1)))
    assert undo(story.desk(), other.id, "test", [first.id]).undone is not None  # nobody is in its way
    done = undo(story.desk(), wrong.id, "test", [first.id])
    assert done.undone is not None
    assert (done.undone.removed, done.undone.put_back) == (12, 0)


def test_where_an_archive_is_damaged_a_person_decides(tmp_path: Path) -> None:
    """It ends within a row, so that what stood behind is unknown: of whoever is undone, and of the others."""
    with installed(versioned=False) as importer:
        story = History(importer, tmp_path)
        rows = b"".join(row("a", second) for second in range(6))
        first, wrong = (
            story.drop(File(number, f"imports/{number}.json.gz", gzip.compress(rows[:300]) + gzip.compress(rows[300:])))
            for number in range(2)
        )
        for damaged in (first, wrong):
            assert damaged.outcome is not None
            key = damaged.outcome.destination.completed
            whole = importer.cloud.objects()[key]
            importer.cloud.drop(key, whole[:-9])
            with pytest.raises(CannotUndo, match=f"{damaged.id}: the gzip stream ends"):
                story.undo(wrong)
            importer.cloud.drop(key, whole)
        key = first.outcome.destination.completed  # type: ignore[union-attr]
        importer.cloud.drop(key, importer.cloud.objects()[key][:-9])
        done = undo(story.desk(), wrong.id, "test", [GONE]).undone
        assert done is not None
        assert (done.done, done.removed, done.put_back) == (True, 6, 0)  # no batch of it can be read


def test_what_was_undone_is_not_taken_up_again(story: History) -> None:
    """A redrive would import its second half alone."""
    cut = story.drop(File(2, "imports/cut.json.gz", (packed := gzip.compress(LATER, mtime=0)) + packed[:-6], "cut"))
    assert cut.status is Status.FAILED
    story.undo(cut)
    place = story.importer.workplaces(lambda: 900_000)
    assert executions.redrive(place, cut.id).status is Status.FAILED
    story.importer.run_until_quiet()
    assert story.now(cut.id).undone is not None


def test_a_plan_tells_what_it_takes_and_changes_nothing(story: History) -> None:
    """Items, bytes, executions to read, dollars."""
    first, wrong = story.told
    before = story.tables()
    plan = planned(story.desk(), wrong.id).document()
    assert (plan["others"], plan["running"], plan["stream"]) == ([first.id], [], None)
    assert plan["items_at_most"] == 7 + 6 + 4
    assert plan["read_bytes"] == len(FIRST) + len(WRONG)
    assert isinstance(plan["cost"], dict)
    assert plan["cost"]["usd"] > 0
    assert (story.tables(), story.now(wrong.id).undone) == (before, None)


def test_what_was_written_before_a_redrive_is_put_back(tmp_path: Path) -> None:
    """It began again when ours had ended, and the rows it had written before it does not write again."""
    body = b"".join(row("a", second) for second in range(30))
    with installed(versioned=False, part_bytes=1024) as importer:
        story = History(importer, tmp_path)
        importer.notify(importer.cloud.drop("imports/first.json", body))
        with deadly(row("a", 25).strip()):
            importer.run_until_quiet()
        [item] = importer.executions()
        wrong = story.drop(File(1, "imports/wrong.json", body[: 5 * len(row("a", 0))]))
        importer.by_hand("redrive", item["id"])
        importer.run_until_quiet()
        first = story.now(item["id"])
        assert (first.status, first.attempt) == (Status.SUCCEEDED, 2)
        done = story.undo(wrong).undone
        assert done is not None
        assert (done.removed, done.put_back) == (0, 5)
        assert {item["execution_id"] for item in story.tables()["events"].values()} == {first.id}
        assert len(story.tables()["events"]) == 30


# ---- Replays --------------------------------------------------------------------------------------------------------


def replayed(story: History, execution: Execution, name: str) -> Execution:
    """Its archived file, read again as an execution of its own."""
    known = {item["id"] for item in story.importer.executions()}
    story.importer.cloud.clock.advance(EVERY_MS)
    story.importer.replay(execution.id, name)
    story.importer.run_until_quiet()
    [replay_id] = {item["id"] for item in story.importer.executions()} - known
    return story.now(replay_id)


def test_an_undone_replay_leaves_what_its_first_reading_wrote(story: History) -> None:
    """And is not the import of its file: that one's items are put back under its own name."""
    first, wrong = story.told
    before = story.tables()
    for execution in (first, wrong):
        replay = replayed(story, execution, "again")
        assert replay.status is Status.SUCCEEDED
        assert story.tables() != before
        story.undo(replay)
        assert_equal(story.tables(), before)


def test_an_undone_import_leaves_what_its_replay_wrote(tmp_path: Path) -> None:
    """They hold the same rows: undone are both, or nothing is gone."""
    expected = without(STORY, {0}, tmp_path, versioned=False)
    with told(tmp_path) as story:
        first, _ = story.told
        replay = replayed(story, first, "again")
        held = story.tables()
        story.undo(first)
        assert_equal(story.tables(), held)
        story.undo(replay)
        assert_equal(story.tables(), expected)


def test_rows_of_a_replay_under_another_identity_are_undone_with_it(story: History) -> None:
    """What the file said before stays; what it says under other settings goes."""
    first, _ = story.told
    before = story.tables()
    known = {item["id"] for item in story.importer.executions()}
    story.importer.cloud.clock.advance(EVERY_MS)
    story.importer.replay(first.id, "by place", identity="address")
    story.importer.run_until_quiet()
    [replay_id] = {item["id"] for item in story.importer.executions()} - known
    assert len(story.tables()["events"]) > len(before["events"])
    story.undo(story.now(replay_id))
    assert_equal(story.tables(), before)


# ---- Mended files ---------------------------------------------------------------------------------------------------


def test_rows_a_mended_file_had_taken_over_are_outstanding_again(story: History) -> None:
    """What is undone has taken nothing over."""
    place = story.importer.workplaces(lambda: 900_000)
    bad = row("x", 1).replace(b'"user_id":"x"', b'"user_id":7')
    parent = story.drop(File(2, "imports/bad.json", bad))
    child = story.drop(File(3, f"imports/bad.{parent.id}.json", row("x", 1)))
    assert mending.outstanding(place.records, parent).rows == 0
    story.undo(child)
    assert mending.outstanding(place.records, parent).rows == 1
