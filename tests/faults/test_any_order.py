"""Files of all dialects about the same few people: whatever the order they are read in, into however many parts they
are cut and how often they come, both tables end the same. What they say is drawn; the uploads are the same for all.
"""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from importer.sinks.erasing import MARK
from tests.faults.importing import Importer, installed, nothing_to_find
from tests.support.cloud import START_MS
from tests.support.faults import Fault, Nth
from tests.support.scenarios import sample

PEOPLE = ("ann", "bob", "cy", "dee", "ann@x.org")
T = 1_700_000_000_000  # ms; rows' times lie close together, so that they are often equal
PAUSE_S = 4  # between two uploads
DEFINITIONS: dict[str, dict[str, Any]] = {
    "deletions": {"document_type": "USER_POINTS_DELETION"},
    "identifiers": {"document_type": "USER_IDENTIFIERS_DELETION"},
    "dissociations": {"document_type": "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS"},
    "once": {"format": "kissmetrics", "identity": "vendor"},
    "messages": {"format": "segment", "identity": "vendor"},
}


def cooladata(dice: random.Random) -> dict[str, Any]:
    more = {f"{{u}}{name}": dice.randrange(9) for name in dice.sample(["city", "age"], dice.randrange(3))}
    return {"event_name": "e", "event_time_ts": T + dice.randrange(4), "user_id": dice.choice(PEOPLE), **more}


def kissmetrics(dice: random.Random) -> dict[str, Any]:
    row: dict[str, Any] = {"_p": dice.choice(PEOPLE), "_t": T // 1000 + dice.randrange(2)}
    other = dice.choice([person for person in PEOPLE if person != row["_p"]])
    more = dice.choice([{"_n": "signed up", "plan": dice.randrange(3)}, {"plan": dice.randrange(9)}, {"_p2": other}])
    return row | more


def woopra(dice: random.Random) -> dict[str, Any]:
    visitor = {"id": dice.choice(PEOPLE[:4]), "email": "ann@x.org"} if dice.random() < 0.3 else {"id": "bob"}
    actions = [{"name": "a", "time": T + dice.randrange(4), "properties": {}} for _ in range(dice.randrange(1, 3))]
    return {"visitor": {**visitor, "level": dice.randrange(9)}, "actions": actions}


def mediarithmics(dice: random.Random) -> dict[str, Any]:
    who = {"user_account_id": dice.choice(PEOPLE[:4])}
    profile = {"plan": dice.randrange(9), "address": {dice.choice(["city", "street"]): dice.randrange(9)}}
    consent = {"$processing_id": "p", "$choice_ts": T + dice.randrange(4), "given": dice.random() < 0.5}
    return dice.choice(
        [
            {"operation": "UPDATE", **who, "segment_id": dice.choice(["s", "t"]), "expiration_duration": 0},
            {"operation": "DELETE", **who, "segment_id": dice.choice(["s", "t"])},
            {"operation": "UPSERT", **who, "force_replace": True, "user_profile": profile},
            {"operation": "UPSERT", **who, "force_replace": False, "user_profile": profile},
            {
                "operation": "UPSERT",
                **who,
                "force_replace": False,
                "merge_objects": True,
                "user_profile": profile,
            },
            {
                "operation": "UPSERT",
                **who,
                "force_replace": True,
                "user_choice": consent,
            },
        ]
    )


def segment(dice: random.Random) -> dict[str, Any]:
    one, other = dice.sample(PEOPLE, 2)
    message = dice.choice(
        [
            {"type": "track", "event": "e", "properties": {"n": dice.randrange(3)}},
            {"type": "page", "anonymousId": other, "name": "p"},
            {"type": "identify", "traits": {"plan": dice.randrange(9), "address": {"city": dice.randrange(9)}}},
            {"type": "identify", "anonymousId": other},
            {"type": "alias", "previousId": other},
        ]
    )
    return {"userId": one, "timestamp": T + dice.randrange(4), "messageId": f"m{dice.randrange(3)}", **message}


def accounts(dice: random.Random, count: int) -> list[dict[str, Any]]:
    return [{"type": "USER_ACCOUNT", "user_account_id": person} for person in dice.sample(PEOPLE[:4], count)]


def uploads(dice: random.Random, erasing: bool) -> list[tuple[str, bytes]]:
    """(key, bytes) in the order of the uploads."""
    made: list[tuple[str, list[dict[str, Any]]]] = []
    for number, dialect in enumerate((cooladata, kissmetrics, woopra, mediarithmics, segment)):
        made.append((f"imports/{number}.json", [dialect(dice) for _ in range(8)]))
    made.append(
        ("imports/mixed.json", [dice.choice((cooladata, kissmetrics, woopra, segment))(dice) for _ in range(8)])
    )
    made.append(("imports/once/k.json", [kissmetrics(dice) | {"_n": "signed up"} for _ in range(6)]))
    made.append(("imports/messages/m.json", [segment(dice) for _ in range(8)]))
    if erasing:
        made.append(("imports/deletions/d.json", accounts(dice, 1)))
    else:  # who is cut off by a file that is read after an erasure is erased with it: decision 0023
        made.append(("imports/dissociations/d.json", [{"identifiers": accounts(dice, 2)}]))
        made.append(("imports/identifiers/i.json", accounts(dice, 1)))
    dice.shuffle(made)
    for number, (_, rows) in enumerate(made):
        for row in rows:
            if "_p2" in row:
                row.pop("_n", None)
            if erasing:  # what was uploaded later also happened later: decision 0023 says what is given up otherwise
                _happened(row, START_MS + (number + 1) * PAUSE_S * 1000)
    return [(key, b"".join(json.dumps(row).encode() + b"\n" for row in rows)) for key, rows in made]


def _happened(row: dict[str, Any], begin_ms: int) -> None:
    """Move a row's times, which lie within a second of T, to a second of that file."""
    if "_t" in row:
        row["_t"] = begin_ms // 1000
    for name in ("event_time_ts", "timestamp"):
        if name in row:
            row[name] += begin_ms - T
    for action in row.get("actions", ()):
        action["time"] += begin_ms - T
    if "user_choice" in row:
        row["user_choice"] = {**row["user_choice"], "$choice_ts": row["user_choice"]["$choice_ts"] + begin_ms - T}


def tables(importer: Importer) -> list[Any]:
    """What both tables hold, but for the note of who wrote an event last."""
    cloud = importer.cloud
    note = ("execution_id", "address", "import_id")
    events = [{name: item[name] for name in item if name not in note} for item in cloud.items(cloud.events_table)]
    users = [item for item in cloud.items(cloud.users_table) if item["record"] != MARK["record"]["S"]]
    return [sorted(map(repr, map(sorted, map(dict.items, found)))) for found in (events, users)]


def read(files: list[tuple[str, bytes]], order: list[int], *faults: Fault, **setup: Any) -> list[Any]:
    """The tables after the files, dropped one after another, were told of in this order."""
    with installed(**setup) as importer:
        for import_id, definition in DEFINITIONS.items():
            importer.cloud.put_item(
                importer.cloud.imports_table, {"pk": f"IMPORT#{import_id}", "sk": "IMPORT", "definition": definition}
            )
        told = []
        for key, body in files:
            importer.cloud.clock.sleep(PAUSE_S)
            told.append(importer.cloud.drop(key, body))
        for index in order:
            importer.notify(told[index])
            importer.run_until_quiet(*faults)
            faults = ()
        assert [item["status"] for item in importer.executions()] == ["SUCCEEDED"] * len(files)
        assert not importer.cloud.objects("errors/")
        nothing_to_find(importer)
        return tables(importer)


@pytest.mark.sampled(each="erasing")
@pytest.mark.parametrize("erasing", [False, True], ids=["cut off", "erased"])
@pytest.mark.parametrize("seed", [0, 1, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(2, 12))])
def test_any_order_any_parts_any_repeats_leave_the_same_tables(seed: int, erasing: bool):
    """Read as they were uploaded; in another order, cut in parts; with a worker killed; and told of twice (or one of
    these)."""
    dice = random.Random(seed)
    files = uploads(dice, erasing)
    straight = list(range(len(files)))
    first = read(files, straight)
    again = dice.sample(straight, len(files))
    fault = Fault("kill_after", Nth(dice.randrange(60, 200)))
    others = {
        "in parts": lambda: read(files, dice.sample(straight, len(files)), part_bytes=1024),
        "killed": lambda: read(files, dice.sample(straight, len(files)), fault),
        "told twice": lambda: read(files, [*again, *dice.sample(again, 3)]),
    }
    for name in sample(list(others), 1, whole=3):
        assert others[name]() == first, name
