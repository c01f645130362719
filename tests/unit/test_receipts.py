"""The receipt: whole, balanced, and the same however the work was cut."""

import json
from dataclasses import replace
from typing import Any

from importer.bad_rows import BadRow, Reason, Reject
from importer.diagnosis import diagnosis
from importer.model import (
    Destination,
    Execution,
    FileError,
    Noted,
    Outcome,
    Phase,
    S3Object,
    Status,
    Tally,
    Usage,
)
from importer.prices import AS_OF
from importer.receipts import MAX_GROUPS, FoldedReasons, receipt

SOURCE = S3Object("bucket", "imports/shop/a.json", "v1", "etag", 1_234, 1_700_000_000_000)
DESTINATION = Destination("completed_imports/c", "errors/e", "errors/e.reasons.ndjson", "receipts/r.json")
SUMS = Tally(lines=10, blank=1, good=7, bad=2, events=7, user_changes=3, notes={"placeholder_id": Noted(2, 4)})
SPENT = Usage(event_write_units=7, user_write_units=3, ledger_write_units=20, read_units=10, s3_reads=8)
OUTCOME = Outcome(DESTINATION, 1_700_000_009_000, SUMS, {0: 1_234}, "ab" * 32, SPENT)
EXECUTION = Execution(
    id="e1",
    source=SOURCE,
    status=Status.RUNNING,
    phase=Phase.FINALISING,
    created_ms=1_700_000_001_000,
    definition={"id": "shop"},
    format="cooladata",
    part_count=1,
    start_date=1_700_000_002_000,
    outcome=OUTCOME,
)


def test_every_reason_has_a_remedy_of_its_own():
    """Where most rows are refused for one cause, what mends them is said."""
    said = {}
    for reason in Reason:
        group = {"code": reason.value, "field": "", "count": 9, "samples": [{"message": "", "hint": ""}]}
        found = diagnosis(9, [group])
        assert found is not None
        said[reason] = found["remedy"]
    assert all(said.values())
    assert "date_format" in str(said[Reason.BAD_TIME])


def bad_row(line: int, reason: Reason = Reason.NOT_JSON, field: str = "") -> BadRow:
    return BadRow.of(Reject(reason, field=field, hint="mend it"), line, line * 10, b"x\n")


def told(execution: Execution, outcome: Outcome, reasons: FoldedReasons | None = None) -> dict[str, Any]:
    return json.loads(receipt(execution, outcome, reasons or FoldedReasons()))  # type: ignore[no-any-return]


def test_receipt_is_receipt_1():
    """The schema, whole, of an import with bad rows."""
    reasons = FoldedReasons()
    reasons.add(bad_row(3), 3)
    reasons.add(bad_row(8, Reason.REFUSED_BY_SINK), 8)
    assert told(EXECUTION, OUTCOME, reasons) == {
        "schema": "receipt/1",
        "execution_id": "e1",
        "status": "SUCCEEDED",
        "complete": True,
        "error": None,
        "source": {
            "bucket": "bucket",
            "key": "imports/shop/a.json",
            "version_id": "v1",
            "etag": "etag",
            "bytes": 1_234,
            "sha256": "ab" * 32,
        },
        "format": "cooladata",
        "import_id": "shop",
        "lines": 10,
        "blank": 1,
        "rows": 9,
        "good": 7,
        "bad": 2,
        "expired": 0,
        "erased": 0,
        "withheld": 0,
        "events": 7,
        "user_changes": 3,
        "reasons": [
            {
                "code": "not_json",
                "field": "",
                "count": 1,
                "first_line": 3,
                "samples": [{"line": 3, "offset": 30, "message": "not valid JSON", "hint": "mend it"}],
            },
            {
                "code": "refused_by_sink",
                "field": "",
                "count": 1,
                "first_line": 8,
                "samples": [{"line": 8, "offset": 80, "message": "the destination refused it", "hint": "mend it"}],
            },
        ],
        "diagnosis": None,
        "notes": [{"code": "placeholder_id", "count": 2, "first_line": 4}],
        "sinks": {"dynamodb": {"written": 7, "refused": 1}},
        "completed_uri": "s3://bucket/completed_imports/c",
        "errors_uri": "s3://bucket/errors/e",
        "reasons_uri": "s3://bucket/errors/e.reasons.ndjson",
        "unread": [],
        "parts": 1,
        "timing": {
            "created_ms": 1_700_000_001_000,
            "started_ms": 1_700_000_002_000,
            "ended_ms": 1_700_000_009_000,
            "duration_ms": 7_000,
        },
        "cost": {
            "usd": 0.0000694,
            "usd_by_service": {"dynamodb": 0.000028, "s3": 0.0000414},
            "units": {
                "event_write_units": 7,
                "user_write_units": 3,
                "ledger_write_units": 20,
                "read_units": 10,
                "s3_reads": 8,
            },
            "prices": {"region": "us-east-1", "as_of": AS_OF},
            "last_steps": {
                "ledger_write_units": 12,
                "read_units": 4,
                "s3_writes": 7,
                "s3_reads": 8,
                "table_requests": 6,
            },
        },
    }


def test_receipt_without_bad_rows_points_at_no_errors():
    """There is no such object."""
    outcome = replace(OUTCOME, sums=Tally(lines=1, good=1, events=1))
    found = told(EXECUTION, outcome)
    assert (found["errors_uri"], found["reasons_uri"], found["reasons"]) == (None, None, [])


def test_receipt_of_a_failure_says_what_was_never_read():
    """`complete: false`, the error, no completed_uri, and from which byte on nothing was done."""
    failed = replace(
        EXECUTION,
        status=Status.FAILED,
        phase=Phase.CLOSING,
        error=FileError("truncated", "upload it again"),
        outcome=None,
    )
    found = told(failed, replace(OUTCOME, sha256=None, read_to={0: 500}))
    assert {name: found[name] for name in ("status", "complete", "error", "completed_uri", "unread")} == {
        "status": "FAILED",
        "complete": False,
        "error": {"code": "truncated", "message": "upload it again"},
        "completed_uri": None,
        "unread": [{"part": 0, "from": 500}],
    }


def test_receipt_does_not_change_as_the_last_steps_are_done():
    """Written twice, before and after a crash, it has the same bytes."""
    closed = replace(EXECUTION, status=Status.SUCCEEDED, phase=Phase.CLOSED)
    papers = [receipt(execution, OUTCOME, FoldedReasons()) for execution in (EXECUTION, closed)]
    assert papers[0] == papers[1]


def test_reasons_are_folded_by_code_and_field_largest_first():
    """Three samples each, at the lines of the whole file."""
    reasons = FoldedReasons()
    for line in range(1, 6):
        reasons.add(bad_row(line, Reason.MISSING_FIELD, "user_id"), line)
    reasons.add(bad_row(6), 6)
    reasons.add(bad_row(7, Reason.MISSING_FIELD, "event_name"), 7)
    folded = reasons.folded()
    assert [(group["code"], group["field"], group["count"], group["first_line"]) for group in folded] == [
        ("missing_field", "user_id", 5, 1),
        ("not_json", "", 1, 6),
        ("missing_field", "event_name", 1, 7),
    ]
    assert [len(group["samples"]) for group in folded] == [3, 1, 1]  # type: ignore[arg-type]


def test_folding_takes_constant_memory_and_loses_no_count():
    """A million different fields are counted by code once there are too many groups."""
    reasons = FoldedReasons()
    for line in range(1, 10_001):
        reasons.add(bad_row(line, Reason.BAD_NAME if line % 2 else Reason.NESTED_VALUE, f"field {line}"), line)
    folded = reasons.folded()
    assert (len(folded) <= MAX_GROUPS + len(Reason), sum(group["count"] for group in folded)) == (True, 10_000)  # type: ignore[misc]
    assert {(group["code"], group["count"]) for group in folded[:2]} == {("bad_name", 4_975), ("nested_value", 4_975)}


def test_a_file_that_stays_where_it_is_is_not_billed_for_a_copy():
    """A large one is copied in pieces, each a request; a refused one is not copied."""
    source = replace(SOURCE, size_bytes=10 << 30)
    moved = replace(EXECUTION, source=source)
    refused = replace(
        moved, status=Status.FAILED, phase=Phase.CLOSED, error=FileError("too_many_bad_rows", "more than 1")
    )
    steps = [told(execution, OUTCOME)["cost"]["last_steps"]["s3_writes"] for execution in (moved, refused)]
    assert steps == [87, 7]
