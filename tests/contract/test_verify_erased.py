"""`verify` of files with erased persons: what is rightly gone is no finding, and what came back is one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from importer.aws.stored import StoredTables
from importer.ledger import Books, Verdict, verify
from tests.faults.importing import Importer, installed

ROWS = b"".join(
    json.dumps(
        {"event_name": "e", "event_time_ts": 1_700_000_000_000 + n, "user_id": user, "{u}city": f"c{n}"}
    ).encode()
    + b"\n"
    for n in range(3)
    for user in ("ann", "bob")
)
ERASURE = b'{"type":"USER_ACCOUNT","user_account_id":"ann"}\n'
FILES = {"imports/rows.json": ROWS, "imports/del/ann.json": ERASURE}


def dropped(importer: Importer, key: str) -> dict[str, Any]:
    importer.cloud.clock.sleep(4)
    return importer.cloud.drop(key, FILES[key])


def read(importer: Importer, notification: dict[str, Any]) -> None:
    importer.notify(notification)
    importer.run_until_quiet()


def define(importer: Importer) -> None:
    definition = {"document_type": "USER_POINTS_DELETION"}
    importer.cloud.put_item(
        importer.cloud.imports_table, {"pk": "IMPORT#del", "sk": "IMPORT", "definition": definition}
    )


def verdict(importer: Importer, key: str = "imports/rows.json") -> Verdict:
    cloud = importer.cloud
    place = importer.workplaces(lambda: 900_000)
    with cloud.unseen():
        tables = cloud.events_table, cloud.users_table, cloud.imports_table
        stored = StoredTables(cloud.client("dynamodb"), *tables, cloud.clock, 1)
        books = Books(place.objects, place.records, stored, cloud.clock.now_ms())
        (item,) = (item for item in importer.executions() if item["parameters"]["file_uri"].endswith(key))
        execution = books.records.execution(item["id"])
        assert execution is not None
        return verify(books, execution, True)


@pytest.mark.parametrize("erasure_first", [False, True])
def test_what_went_with_a_person_is_told_and_is_no_difference(erasure_first: bool):
    """Read before the erasure or after: the books balance, in their own words."""
    with installed() as importer:
        define(importer)
        rows, erasure = dropped(importer, "imports/rows.json"), dropped(importer, "imports/del/ann.json")
        for notification in (erasure, rows) if erasure_first else (rows, erasure):
            read(importer, notification)
        found = verdict(importer)
        counts = found.recounted.counts()
        erased = 3 if erasure_first else 0
        assert (found.balanced, found.gone > 0, counts["good"], counts["erased"]) == (True, True, 6 - erased, erased)
        assert verdict(importer, "imports/del/ann.json").balanced


@pytest.mark.parametrize("what", ["events", "users"])
def test_what_came_back_of_an_erased_person_is_a_finding(what: str):
    """A restored backup, say: nothing of theirs may be there once the erasure has ended."""
    with installed() as importer:
        cloud = importer.cloud
        define(importer)
        read(importer, dropped(importer, "imports/rows.json"))
        table = cloud.events_table if what == "events" else cloud.users_table
        before = [item for item in cloud.items(table) if item["user_id"] == "ann"]
        read(importer, dropped(importer, "imports/del/ann.json"))
        for item in before:
            cloud.put_item(table, item)
        found = verdict(importer)
        assert {(finding.kind.value, finding.place.value) for finding in found.findings} == {("extra", what)}
        assert found.differences == {found.findings[0].kind: len(before)}


def test_what_was_uploaded_after_an_erasure_is_missed_like_anything_else():
    """A record that says somebody was erased excuses nothing that came later."""
    with installed() as importer:
        cloud = importer.cloud
        define(importer)
        read(importer, dropped(importer, "imports/del/ann.json"))
        cloud.clock.sleep(4)
        read(importer, cloud.drop("imports/later.json", ROWS))
        (event, *_) = (item for item in cloud.items(cloud.events_table) if item["user_id"] == "ann")
        with cloud.unseen():
            cloud.client("dynamodb").delete_item(
                TableName=cloud.events_table,
                Key={"user_id": {"S": "ann"}, "event_key": {"S": event["event_key"]}},
            )
        assert [finding.kind.value for finding in verdict(importer, "imports/later.json").findings] == ["missing"]
