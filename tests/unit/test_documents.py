"""An execution and an import definition as the world sees them: in the vendor's shapes."""

from dataclasses import replace
from typing import Any

import pytest

from importer.definitions import DEFAULT, TEXT_CSV, Definition
from importer.documents import definition_document, document, settings_told
from importer.model import FileError, Misconfigured, Phase, Status, Upload
from tests.unit.test_receipts import EXECUTION, OUTCOME

D12 = {
    *["parameters", "result", "error", "id", "status", "creation_date", "start_date", "duration", "end_date"],
    *["organisation_id", "user_id", "cancel_status", "debug", "is_retryable", "permalink_uri", "num_tasks"],
    *["completed_tasks", "erroneous_tasks", "retry_count", "job_type", "import_mode", "import_type", "phase"],
}


def test_document_of_a_new_execution():
    """Nothing is promised before it is so: no result, no dates."""
    new = replace(EXECUTION, status=Status.PENDING, phase=Phase.IMPORTING, start_date=None, outcome=None)
    assert document(new) == {
        "parameters": {
            "datamart_id": None,
            "document_import_id": "shop",
            "mime_type": "APPLICATION_X_NDJSON",
            "document_type": "cooladata",
            "input_file_name": "a.json",
            "file_uri": "s3://bucket/imports/shop/a.json",
            "number_of_lines": None,
            "segment_id": None,
        },
        "result": None,
        "error": None,
        "id": "e1",
        "status": "PENDING",
        "phase": "IMPORTING",
        "creation_date": 1_700_000_001_000,
        "start_date": None,
        "duration": None,
        "end_date": None,
        "organisation_id": None,
        "user_id": None,
        "cancel_status": None,
        "debug": None,
        "is_retryable": False,
        "permalink_uri": None,
        "num_tasks": 1,
        "completed_tasks": 0,
        "erroneous_tasks": 0,
        "retry_count": 0,
        "job_type": "DOCUMENT_IMPORT",
        "import_mode": "MANUAL_FILE",
        "import_type": None,
    }


def test_document_has_the_vendors_fields():
    """D12, and `phase`."""
    assert set(document(EXECUTION)) == D12


def test_document_of_a_finished_execution_points_at_its_papers():
    """end = start + duration; the input lies where it was moved."""
    done = document(replace(EXECUTION, status=Status.SUCCEEDED, phase=Phase.CLOSED, parts_done=frozenset({0})))
    assert {name: done[name] for name in ("result", "start_date", "duration", "end_date", "completed_tasks")} == {
        "result": {
            "total_success": 7,
            "total_failure": 2,
            "total_expired": 0,
            "total_erased": 0,
            "total_withheld": 0,
            "input_file_name": "a.json",
            "input_file_uri": "s3://bucket/completed_imports/c",
            "error_file_uri": "s3://bucket/errors/e",
            "receipt_uri": "s3://bucket/receipts/r.json",
            "possible_issue_on_identifiers": False,
            "top_identifiers": {},
        },
        "start_date": 1_700_000_002_000,
        "duration": 7_000,
        "end_date": 1_700_000_009_000,
        "completed_tasks": 1,
    }


def test_failed_execution_may_be_tried_again_and_its_input_is_where_it_was():
    """With the code and the sentence of its error."""
    failed = document(
        replace(EXECUTION, status=Status.FAILED, phase=Phase.CLOSED, error=FileError("truncated", "upload it again"))
    )
    result = failed["result"]
    assert isinstance(result, dict)
    assert (failed["error"], failed["is_retryable"], result["input_file_uri"]) == (
        {"code": "truncated", "message": "upload it again"},
        True,
        "s3://bucket/imports/shop/a.json",
    )


def test_pending_execution_never_shows_an_end():
    """The vendor's sample does: a slip (D15)."""
    for phase in (Phase.IMPORTING, Phase.FINALISING):
        shown = document(replace(EXECUTION, phase=phase, outcome=OUTCOME))
        assert (shown["end_date"], shown["duration"]) == (None, None)


def test_document_of_a_definition_has_the_vendors_fields_then_ours():
    """In the vendor's order; what only an installation of theirs knows is null."""
    definition = Definition("shop", "The shop", TEXT_CSV, strict=True, document_type="USER_SEGMENT", priority="LOW")
    found = definition_document(definition, 5, None)
    assert list(found.items())[:8] == [
        ("id", "shop"),
        ("datafarm_key", None),
        ("datamart_id", None),
        ("document_type", "USER_SEGMENT"),
        ("mime_type", "TEXT_CSV"),
        ("encoding", "utf-8"),
        ("name", "The shop"),
        ("priority", "LOW"),
    ]
    theirs_alone = {"datafarm_key": None, "datamart_id": None}
    assert found == {**theirs_alone, **definition.as_stored(), "created_ms": 5, "changed_ms": None}


@pytest.mark.parametrize("wrapped", [lambda d: d, lambda d: {"import": d}, lambda d: {"status": "ok", "data": d}])
def test_a_document_of_a_definition_tells_its_settings(wrapped: Any):
    """Ours, and mediarithmics' request and answer: what is null, what is theirs alone and when it was do not count."""
    definition = Definition("shop", "The shop", TEXT_CSV, strict=True, max_bad_rows=5)
    assert settings_told(wrapped(definition_document(definition, 5, 6))) == definition.as_stored()
    theirs = {"document_type": "USER_ACTIVITY", "mime_type": "APPLICATION_X_NDJSON", "encoding": "utf-8", "name": "My"}
    assert settings_told(wrapped(theirs)) == theirs
    answered = {"id": "7", "datafarm_key": "DF_EU_2026_11", "datamart_id": "15", **theirs, "priority": None}
    assert settings_told(wrapped(answered)) == {"id": "7", **theirs}


@pytest.mark.parametrize("body", [None, [], "shop", 1, [DEFAULT.as_stored()]])
def test_what_is_no_document_tells_no_settings(body: Any):
    with pytest.raises(Misconfigured, match="a definition is a JSON object"):
        settings_told(body)


def test_only_a_replay_has_a_parent():
    """What was written before there were replays stays as it is."""
    replay = replace(EXECUTION, replayed=Upload("p1", "e0", "imports/shop/a.json", 1, 2))
    assert document(replay) == {**document(EXECUTION), "parent": "p1"}
    assert "parent" not in document(EXECUTION)
