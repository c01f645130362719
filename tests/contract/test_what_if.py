"""What-if says what a replay then does: the same sums, and the rows that change are those whose fates differ.

FAULT_SEED repeats a random run.
"""

import random
from typing import Any

import orjson
import pytest

from importer import executions, formats
from importer.definitions import Definition
from importer.executions.pinned import definition_of
from importer.ledger.replaying import What, WhatIf, what_if
from importer.model import Execution
from tests.faults.files import FILES, row
from tests.faults.importing import Importer, installed, nothing_to_find
from tests.support.scenarios import sample, seed

SETTINGS: list[dict[str, Any]] = [
    {},
    {"strict": True},
    {"date_format": "dd/mm/yyyy"},
    {"date_format": "mm/dd/yyyy"},
    {"session_scope": True},
    {"earliest_ms": 1_350_274_995_000},
    {"format": "segment"},
    {"format": "cooladata", "identity": "property:n"},
    {"format": "kissmetrics", "numbers_in_strings": True},
    {"max_bad_rows": 1},
    {"atomic": True},
]


def random_rows(choose: random.Random, count: int) -> bytes:
    """Rows that some of the settings take and others do not."""
    rows = []
    for number in range(count):
        kind = choose.randrange(8)
        rows.append(
            row(number)
            if kind < 3
            else row(number).replace(b'"event_time_ts":', b'"event_time_ts":"03/04/2012","was":')
            if kind == 3
            else row(number, **{"{s}page": number})
            if kind == 4
            else row(number, **{"bad name": 1})
            if kind == 5
            else orjson.dumps({"_p": f"p{number}", "_t": 1_350_274_990 + number, "_n": "seen", "price": "12"})
            if kind == 6
            else choose.choice([b"", b"no row", b'{"user_id":"null","event_name":"e","event_time_ts":1350274990000}'])
        )
    return b"\n".join(rows)


def looked_at(importer: Importer, parent_id: str, changed: dict[str, Any]) -> tuple[WhatIf, Execution]:
    place = importer.workplaces(lambda: 900_000)
    with importer.cloud.unseen():
        parent = place.records.execution(parent_id)
        assert parent is not None
        archive = executions.archive_of(place, parent)
        assert archive is not None
        definition = formats.completed(Definition.of({**definition_of(parent).as_stored(), **changed}))
        wanted = executions.replay_of(place, parent, archive, definition, parent.sinks, "what if")
        before = importer.cloud.objects(), importer.cloud.items(importer.cloud.imports_table)
        found = what_if(place.objects, parent, wanted)
        assert (importer.cloud.objects(), importer.cloud.items(importer.cloud.imports_table)) == before
        return found, executions.replay(place, wanted)


@pytest.mark.parametrize("number", sample(range(len(SETTINGS)), 4, whole=len(SETTINGS)))
def test_what_if_counts_what_the_replay_then_counts(number: int) -> None:
    changed = SETTINGS[number]
    choose = random.Random(f"{seed()} {number}")
    with installed(part_bytes=4096) as importer:
        importer.notify(importer.cloud.drop("imports/a.json", random_rows(choose, choose.randrange(20, 120))))
        importer.run_until_quiet()
        [parent] = importer.executions()
        found, replay = looked_at(importer, parent["id"], changed)
        assert (found.before.good, found.before.bad) == (
            parent["result"]["total_success"],
            parent["result"]["total_failure"],
        )
        importer.run_until_quiet()
        after = next(item for item in importer.executions() if item["id"] == replay.id)
        if found.refused is not None:
            assert (after["status"], after["error"]["code"]) == ("FAILED", found.refused.code.value)
            return
        assert after["status"] == "SUCCEEDED"
        assert (found.after.good, found.after.bad) == (
            after["result"]["total_success"],
            after["result"]["total_failure"],
        )
        assert found.after.good - found.before.good == found.changed[What.BAD_TO_GOOD] - found.changed[What.GOOD_TO_BAD]
        assert sum(group.count for group in found.groups) == found.changed.total()
        assert found.differs is bool(found.changed)
        nothing_to_find(importer)


@pytest.mark.parametrize("name", ["CSV", "CSV, gzip", "gzip of two members", "long lines", "CRLF", "empty"])
def test_the_same_settings_change_nothing_about_any_file(name: str) -> None:
    key, body = FILES[name]
    with installed() as importer:
        importer.notify(importer.cloud.drop(key, body))
        importer.run_until_quiet()
        [parent] = importer.executions()
        found, _ = looked_at(importer, parent["id"], {})
        assert (found.differs, found.settings, found.notes) == (False, {}, [])
        assert found.before == found.after


def test_of_other_rows_each_is_told_where_it_begins() -> None:
    """A CSV read as JSON lines: rows of the one are no rows of the other."""
    key, body = FILES["CSV"]
    with installed() as importer:
        importer.notify(importer.cloud.drop(key, body))
        importer.run_until_quiet()
        [parent] = importer.executions()
        found, _ = looked_at(importer, parent["id"], {"mime_type": "APPLICATION_X_NDJSON"})
        assert found.refused is not None
        assert found.refused.code.value == "wrong_kind"
