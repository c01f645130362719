"""Undo: after it both tables are as if the file had never been imported, in whatever order things were done.

The oracle is another fake cloud in which the same files are imported in the same order, but for those undone; whole
tables are compared. Histories are drawn at random from a small universe of rows that clash, in all dialects; FAULT_SEED
repeats what was drawn.
"""

from __future__ import annotations

import gzip

import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import orjson
import pytest

from importer import executions
from importer.ledger import undo as undoing
from importer.ledger.undo import Busy, CannotUndo, Desk, planned, receipt_key, undo
from importer.model import Execution, Fenced, Status, TimeIsUp, Unavailable
from tests.faults.importing import Importer, installed
from tests.support.clock import START_MS
from tests.support.faults import Fault, Nth, attempt
from tests.support.scenarios import sample, seed
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
    "gone": {"document_type": "USER_IDENTIFIERS_DELETION"},
}


# ---- A small universe of rows that clash ------------------------------------------------------------------------------


def _user(dice: random.Random) -> str:
    return f"u{dice.randrange(3)}"


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
            other = dice.choice([user for user in ("u0", "u1", "u2") if user != row["_p"]])
            return row | {"_p2": other}
    return row | {"age": dice.randrange(3)}


def woopra(dice: random.Random) -> dict[str, Any]:
    action = {"time": _time(dice), "name": "pv", "properties": {"order": str(dice.randrange(3))}}
    return {"visitor": {"id": _user(dice), "plan": dice.choice("ab")}, "actions": [action] * dice.randrange(1, 3)}


def mediarithmics(dice: random.Random) -> dict[str, Any]:
    who = {"compartment_id": "1", "user_account_id": _user(dice)}
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


# ---- Doing -------------------------------------------------------------------------------------------------------------


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


def files_of(number: int, count: int = 5) -> tuple[random.Random, list[File]]:
    dice = random.Random(f"{seed()} undo {number}")
    kinds = dice.sample(DIALECTS, dice.choice([1, 1, 2]))
    return dice, [file_of(dice, at, dice.choice(kinds)) for at in range(count)]


# ---- Random histories -----------------------------------------------------------------------------------------------


@pytest.mark.sampled(12)
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
                done = history.undo(there.pop(number), window_keys=dice.choice([1, 3, 1000]))
                assert done.undone is not None and done.undone.done
                gone.add(number)
        found = history.tables()
        assert history.desk().marks.whose_turn() == ""
    assert_equal(found, without(files, gone, tmp_path, **how))
