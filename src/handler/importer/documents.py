"""An execution and an import definition as the world sees them: in the shapes of mediarithmics' document imports and
their executions (D2, D12), plus what is ours.

The same in the store, on the command line and over HTTP. Times are milliseconds since 1970 UTC.
"""

from typing import Final, cast

from importer.definitions import Definition
from importer.model import Execution, Misconfigured, Phase, Status, Tally, Value

MOST_TOP: Final = 10
SUSPICIOUS_SHARE: Final = 4  # one user in every fourth event or more often …
SUSPICIOUS_FROM: Final = 100  # … of at least so many
_THEIRS: Final = ("document_type", "mime_type", "encoding", "name", "priority")  # D2, in its order
_NOT_SETTINGS: Final = {"datafarm_key", "datamart_id", "created_ms", "changed_ms", "problem"}


def document(execution: Execution) -> dict[str, Value]:
    """The execution's public document. `result` is null until it has ended, `error` unless it FAILED; `undone` is there
    only where it was."""
    source = execution.source
    ended = execution.phase in (Phase.CLOSING, Phase.CLOSED)
    outcome = execution.outcome if ended else None  # a result before the end would contradict the status (D15)
    bucket = source.bucket
    result: dict[str, Value] | None = None
    if outcome is not None:
        top = _top_identifiers(outcome.sums)
        moved = execution.status is Status.SUCCEEDED
        completed = f"s3://{bucket}/{outcome.destination.completed}"
        result = {
            "total_success": outcome.sums.good,
            "total_failure": outcome.sums.bad,
            "total_expired": outcome.sums.expired,
            "total_erased": outcome.sums.erased,
            "total_withheld": outcome.sums.withheld,
            "input_file_name": source.key.rpartition("/")[2],
            "input_file_uri": completed if moved else source.uri,
            "error_file_uri": f"s3://{bucket}/{outcome.destination.errors}" if outcome.sums.bad else None,
            "receipt_uri": f"s3://{bucket}/{outcome.destination.receipt}",
            "possible_issue_on_identifiers": _is_suspicious(outcome.sums, top),
            "top_identifiers": top,
        }
    # Only of a replay: what was written before there were replays says nothing of it, and is to stay as it is.
    parent: dict[str, Value] = {"parent": execution.replayed.parent} if execution.replayed else {}
    end_date = outcome.end_date if outcome is not None else None
    start_date = execution.start_date
    return {
        "parameters": {
            "datamart_id": None,
            "document_import_id": execution.document_import_id,
            "mime_type": execution.mime_type,
            "document_type": execution.definition.get("document_type") or execution.format,
            "input_file_name": source.key.rpartition("/")[2],
            "file_uri": source.uri,
            "number_of_lines": outcome.sums.lines if outcome is not None else None,
            "segment_id": None,
        },
        "result": cast("Value", result),
        "error": {"code": execution.error.code, "message": execution.error.message} if execution.error else None,
        "id": execution.id,
        "status": execution.status.value,
        "phase": execution.phase.value,
        "creation_date": execution.created_ms,
        "start_date": start_date,
        "duration": end_date - start_date if end_date is not None and start_date is not None else None,
        "end_date": end_date,
        "organisation_id": None,
        "user_id": None,
        "cancel_status": None,
        "debug": None,
        "is_retryable": execution.status is Status.FAILED,
        "permalink_uri": None,
        "num_tasks": execution.part_count,
        "completed_tasks": len(execution.parts_done),
        "erroneous_tasks": 0,
        "retry_count": execution.attempt - 1,
        "job_type": "DOCUMENT_IMPORT",
        "import_mode": "MANUAL_FILE",
        "import_type": None,
        **({"undone": execution.undone.document()} if execution.undone is not None else {}),
        **({"parent": execution.mends, "mends": execution.mends} if execution.mends else {}),
        **parent,
    }


def _top_identifiers(sums: Tally) -> dict[str, Value]:
    """The users that turn up most in the events that were sampled, most first."""
    most = sorted(sums.top_users.items(), key=lambda user: (-user[1], user[0]))
    return dict(most[:MOST_TOP])


def _is_suspicious(sums: Tally, top: dict[str, Value]) -> bool:
    """Whether one user has so many of the events that it may be a placeholder or a mistake."""
    return any(
        sums.sampled >= SUSPICIOUS_FROM and isinstance(count, int) and count * SUSPICIOUS_SHARE >= sums.sampled
        for count in top.values()
    )


def definition_document(definition: Definition, created_ms: int | None, changed_ms: int | None) -> dict[str, Value]:
    """An import definition's public document: mediarithmics' fields first, then the other settings.

    Args:
        created_ms, changed_ms: None where nobody has noted it.
    """
    ours = definition.as_stored()
    theirs: dict[str, Value] = {"id": ours.pop("id"), "datafarm_key": None, "datamart_id": None}
    theirs |= {name: ours.pop(name) for name in _THEIRS}
    return theirs | ours | {"created_ms": created_ms, "changed_ms": changed_ms}


def settings_told(body: Value) -> dict[str, Value]:
    """The settings a document of a definition tells: `definition_document` of another, or what mediarithmics is sent
    for a document import or answers (D2), with what these wrap it in. null is what is not set.

    Raises:
        Misconfigured: it is no document. Its settings are not looked at.
    """
    for wrapper in ("data", "import"):
        if isinstance(body, dict) and isinstance(body.get(wrapper), dict):
            body = body[wrapper]
    if not isinstance(body, dict):
        raise Misconfigured('a definition is a JSON object, as {"name": "My import", "document_type": "USER_ACTIVITY"}')
    return {name: value for name, value in body.items() if name not in _NOT_SETTINGS and value is not None}
