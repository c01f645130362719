"""Files stored as a whole or not at all: first every row is judged, then the file is read again and written."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from tests.faults.files import many_rows, row
from tests.faults.importing import Importer, installed, nothing_late_matters
from tests.support.books import assert_books_balance, essence
from tests.support.faults import Fault, Nth
from tests.support.scenarios import in_copy, sample

GOOD = b"\n".join(row(number, filler="y" * 60) for number in range(60))
BAD = GOOD.replace(b'"n":47,', b'"n":47,,')
KEY = "imports/whole/rows.json"
SETUPS: dict[str, dict[str, Any]] = {
    "one part": {},
    "four parts": {"part_bytes": 2048},
    "short invocations": {"write_ms": 3_000, "import_seconds": 12, "hop_seconds": 12},
    "both sinks": {"sinks": ("dynamodb", "firehose")},
}


def stored(importer: Importer) -> int:
    cloud = importer.cloud
    return len(cloud.items(cloud.events_table)) + len(cloud.items(cloud.users_table))


def receipt_of(importer: Importer) -> dict[str, Any]:
    (body,) = importer.cloud.objects("receipts/").values()
    found: dict[str, Any] = json.loads(body)
    return found


def told_of(importer: Importer) -> dict[str, Any]:
    receipt = receipt_of(importer)
    names = ("status", "complete", "rows", "good", "bad", "withheld", "events", "completed_uri")
    return {name: receipt[name] for name in names} | {"code": (receipt["error"] or {}).get("code")}


REFUSED = {
    "status": "FAILED",
    "complete": False,
    "rows": 60,
    "good": 0,
    "bad": 1,
    "withheld": 59,
    "events": 0,
    "completed_uri": None,
    "code": "atomic_refused",
}


@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS.keys())
def test_a_file_with_a_bad_row_stores_nothing(setup: dict[str, Any]):
    """FAILED, its good rows withheld, its bad row in errors/, the file where it was (W15)."""
    with installed(**setup) as importer:
        importer.notify(importer.cloud.drop(KEY, BAD))
        importer.run_until_quiet()
        assert (told_of(importer), stored(importer)) == (REFUSED, 0)
        errors = [body for key, body in importer.cloud.objects("errors/").items() if not key.endswith("reasons.ndjson")]
        assert errors == [BAD.splitlines(keepends=True)[47]]
        assert importer.cloud.objects("imports/") == {KEY: BAD}
        assert not (importer.cloud.stream and importer.cloud.stream_lines())
        nothing_late_matters(importer)


@pytest.mark.sampled(each="setup key")
@pytest.mark.parametrize("setup", SETUPS.values(), ids=SETUPS.keys())
@pytest.mark.parametrize("key", [KEY, f"{KEY}.gz"])
def test_a_file_of_good_rows_is_stored_as_any_other(setup: dict[str, Any], key: str):
    """Read twice, counted once."""
    with installed(**setup, watched=True) as importer:
        body = gzip.compress(GOOD, mtime=0) if key.endswith(".gz") else GOOD
        importer.notify(importer.cloud.drop(key, body))
        importer.run_until_quiet()
        assert_books_balance(importer.cloud, {key: body}, tidy=True)
        assert told_of(importer)["withheld"] == 0
        nothing_late_matters(importer)


def clean_calls(body: bytes, setup: dict[str, Any]) -> int:
    def run() -> int:
        with installed(**setup) as importer:
            count = 0

            def counted(*_: Any) -> None:
                nonlocal count
                count += 1

            importer.cloud.wire.watchers.append(counted)
            importer.notify(importer.cloud.drop(KEY, body))
            importer.run_until_quiet()
            return count

    return in_copy(run)


@pytest.mark.sampled(each="kind setup")
@pytest.mark.parametrize("setup", ["one part", "four parts"])
@pytest.mark.parametrize("kind", ["kill_before", "kill_after", "reply_lost"])
def test_a_bad_file_stores_nothing_whatever_goes_wrong(setup: str, kind: str):
    """At no moment is any of it in a table, wherever its workers end."""
    calls = clean_calls(BAD, SETUPS[setup])
    for at in sample(range(1, calls + 1), 1, whole=2):
        with installed(**SETUPS[setup]) as importer:
            moments: list[int] = []
            importer.cloud.wire.watchers.append(lambda call, _, here=importer, seen=moments: seen.append(stored(here)))
            importer.notify(importer.cloud.drop(KEY, BAD))
            importer.run_until_quiet(Fault(kind, Nth(at)))
            assert (told_of(importer), max(moments)) == (REFUSED, 0), f"{kind} at call {at}"
            nothing_late_matters(importer)


@pytest.mark.sampled(each="kind setup")
@pytest.mark.parametrize("setup", ["one part", "four parts", "short invocations"])
@pytest.mark.parametrize("kind", ["kill_before", "kill_after", "reply_lost"])
def test_a_good_file_is_stored_once_whatever_goes_wrong(setup: str, kind: str):
    """Between checking and writing, and in both."""
    calls = clean_calls(GOOD, SETUPS[setup])
    clean = None
    for at in [None, *sample(range(1, calls + 1), 1, whole=2)]:
        with installed(**SETUPS[setup], watched=True) as importer:
            importer.notify(importer.cloud.drop(KEY, GOOD))
            importer.run_until_quiet(*([] if at is None else [Fault(kind, Nth(at))]))
            assert_books_balance(importer.cloud, {KEY: GOOD})
            clean = clean or essence(importer.cloud)
            assert essence(importer.cloud) == clean, f"{kind} at call {at}"
            nothing_late_matters(importer)


def test_a_file_with_more_bad_rows_than_allowed_fails():
    """`max_bad_rows`: of all parts together; what was good is imported, and the file stays."""
    body = many_rows(55)
    for part_bytes in (1 << 28, 2048):
        with installed(part_bytes=part_bytes) as importer:
            importer.cloud.put_item(
                importer.cloud.imports_table,
                {"pk": "IMPORT#few", "sk": "IMPORT", "definition": {"id": "few", "max_bad_rows": 2}},
            )
            importer.notify(importer.cloud.drop("imports/few/rows.json", body))
            importer.run_until_quiet()
            found = told_of(importer)
            assert (found["status"], found["code"], found["bad"] > 2) == ("FAILED", "too_many_bad_rows", True)
            assert importer.cloud.objects("imports/") == {"imports/few/rows.json": body}
            nothing_late_matters(importer)


def test_too_many_bad_rows_of_a_file_that_is_only_checked_are_no_rows_in_the_store():
    """The sentence says so."""
    with installed() as importer:
        definition = {"id": "few", "max_bad_rows": 2, "atomic": True}
        importer.cloud.put_item(
            importer.cloud.imports_table, {"pk": "IMPORT#few", "sk": "IMPORT", "definition": definition}
        )
        importer.notify(importer.cloud.drop("imports/few/rows.json", many_rows(55)))
        importer.run_until_quiet()
        error = receipt_of(importer)["error"]
        assert (error["code"], "Nothing of it was stored" in error["message"]) == ("too_many_bad_rows", True)
        assert stored(importer) == 0


@pytest.mark.parametrize("part_bytes", [1 << 28, 2048])
def test_the_second_round_does_not_wait_for_the_leases_of_the_first(part_bytes: int):
    """Whoever checked a part is done with it."""
    with installed(part_bytes=part_bytes) as importer:
        begun_ms = importer.cloud.clock.now_ms()
        importer.notify(importer.cloud.drop(KEY, GOOD))
        importer.run_until_quiet()
        assert importer.cloud.clock.now_ms() - begun_ms < 10_000
        assert_books_balance(importer.cloud, {KEY: GOOD})
