"""Files without a definition: recognised once, read row by row, however they are cut."""

from __future__ import annotations

import json
from typing import Any

from importer.bad_rows import FileReason
from tests.faults.importing import installed, nothing_late_matters
from tests.support.books import essence
from tests.support.scenarios import in_copy
from tests.unit.test_recognition import COOLA, KISS, TORN

WOOPRA = b'{"visitor":{"id":"v"},"actions":[{"name":"b","time":1350273990000,"properties":{}}]}\n'
BAD = b'{"_p":"u","_t":1350273990000,"_n":"a"}\n'
MIXED = b"".join(
    row.replace(b"1350273990", b"%d" % (1350273990 + number))
    for number in range(20)
    for row in (COOLA, KISS, WOOPRA, *([BAD] if number % 7 == 3 else []))
)


def imported(key: str, body: bytes, **setup: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """(essence of what is left, the receipt)."""

    def run() -> tuple[dict[str, Any], dict[str, Any]]:
        with installed(**setup) as importer:
            importer.notify(importer.cloud.drop(key, body))
            importer.run_until_quiet()
            nothing_late_matters(importer)
            (receipt,) = importer.cloud.objects("receipts/").values()
            return essence(importer.cloud), json.loads(receipt)

    return in_copy(run)


def test_a_file_of_several_dialects_is_read_row_by_row_however_it_is_cut():
    """Store, errors, reasons and receipt are the same in one part and in many."""
    whole, receipt = imported("imports/mixed.json", MIXED)
    cut, _ = imported("imports/mixed.json", MIXED, part_bytes=1024)
    assert cut == whole
    assert (receipt["good"], receipt["bad"], [reason["code"] for reason in receipt["reasons"]]) == (
        60,
        3,
        ["time_unit"],
    )


def test_an_event_is_the_same_in_a_mixed_file_and_in_one_of_its_own():
    """By its id, and in everything but the note of who wrote it last."""
    with installed() as importer:
        cloud = importer.cloud
        for key, body in (("imports/mixed.json", COOLA + KISS + COOLA + WOOPRA), ("imports/own.json", KISS)):
            importer.notify(cloud.drop(key, body))
            importer.run_until_quiet()
        items = cloud.items(cloud.events_table)
        assert sorted((item["format"], item["event_name"]) for item in items) == [
            ("cooladata", "a"),
            ("kissmetrics", "a"),
            ("woopra", "b"),
        ]
        nothing_late_matters(importer)


def test_a_file_torn_between_two_dialects_is_refused():
    """FAILED, nothing stored, the file where it was, and the sentence what to do."""
    with installed() as importer:
        importer.notify(importer.cloud.drop("imports/torn.json", TORN * 3))
        importer.run_until_quiet()
        (execution,) = importer.executions()
        assert (execution["status"], execution["error"]["code"]) == ("FAILED", FileReason.DIALECT_UNKNOWN)
        assert "importer imports create --format" in execution["error"]["message"]
        assert importer.cloud.objects("imports/") == {"imports/torn.json": TORN * 3}
        assert not importer.cloud.items(importer.cloud.events_table)
        nothing_late_matters(importer)


def test_a_file_that_could_not_be_read_is_recognised_when_it_can():
    """Archived when it was dropped; restored, and redriven: read by its own columns."""
    body = b"Identity,Timestamp,Event\n" + b"".join(b"u%d,%d,signed\n" % (n, 1_700_000_000 + n) for n in range(9))
    with installed() as importer:
        cloud = importer.cloud
        importer.notify(cloud.drop("imports/tables/people.csv", body, StorageClass="GLACIER"))
        importer.run_until_quiet()
        (execution,) = importer.executions()
        assert (execution["status"], execution["error"]["code"]) == ("FAILED", FileReason.OBJECT_ARCHIVED)
        cloud._object("imports/tables/people.csv")._storage_class = "STANDARD"
        importer.by_hand("redrive", execution["id"])
        importer.run_until_quiet()
        (execution,) = importer.executions()
        assert (execution["status"], execution["format"], len(cloud.items(cloud.events_table))) == (
            "SUCCEEDED",
            "kissmetrics",
            9,
        )
