"""An execution as the world sees it: the vendor's shape, at every moment of its life."""

from dataclasses import replace

from importer.documents import document
from importer.model import FileError, Phase, Status
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
