"""Executions across all imports a token may read, and one of them with its receipt: what somebody who watches asks for.

`/v1/executions` is ours; mediarithmics' list is that of one import (`import_executions`). Of an execution that the
token may not read nothing is told, not even that there is one.
"""

import base64
import binascii
import hashlib
import re
from http import HTTPStatus
from typing import Final, cast

import orjson

from importer.doors.asking import bad_parameter, forbidden, milliseconds, permitted, permitted_anywhere, whole_number
from importer.doors.document_imports import fitting
from importer.doors.http import Answer, Problem, Request, ok
from importer.doors.import_executions import execution_document, retried, statuses_of
from importer.doors.ports import Doorway, Mark
from importer.doors.tokens import Right
from importer.model import Execution, Phase, Status, Tally, Value

PATH: Final = "/v1/executions"
# Each part is an item of some 1 KB: so many are read in one call, and above that progress tells parts alone.
MOST_PARTS_READ: Final = 500
_RECEIPT_BYTES: Final = 2_500_000  # Measured: 50 groups of three samples, the longest there can be, take 0.4 MB
_EXECUTION_ID: Final = re.compile(r"[0-9a-f]{32}")


def list_(request: Request, door: Doorway) -> Answer:
    """GET /v1/executions: newest first, of all imports the token may read; `cursor` goes on where a page ended."""
    permitted_anywhere(request, Right.READ)
    import_id, key = request.query.get("import_id"), request.query.get("key")
    if import_id is not None:
        permitted(request, Right.READ, import_id)
    most = whole_number(request, "max_results", 50, 1, 200)
    after_ms = milliseconds(request, "created_from", 0)

    def wanted(execution: Execution) -> bool:
        return (
            request.grant.may(Right.READ, execution.document_import_id)
            and import_id in (None, execution.document_import_id)
            and key in (None, execution.source.key)
        )

    found, mark = door.books.listed_since(wanted, statuses_of(request), after_ms, _mark(request), most)
    shown = fitting(execution_document(door, execution) for execution in found)
    if len(shown) < len(found):
        last = found[len(shown) - 1]
        mark = (last.created_ms, last.id)
    return _fresh(request, ok(shown, paging={"count": len(shown), "cursor": None if mark is None else _cursor(mark)}))


def show(request: Request, door: Doorway) -> Answer:
    """GET /v1/executions/{execution_id}: its document, how far it is while it runs, and its receipt when it has ended.

    `If-None-Match` with the ETag of an earlier answer is 304 as long as nothing has changed.
    """
    execution = found(request, door, Right.READ)
    said = execution_document(door, execution) | {
        "progress": _progress(door, execution),
        "receipt": _receipt(door, execution),
    }
    return _fresh(request, ok(said))


def redrive(request: Request, door: Doorway) -> Answer:
    """POST /v1/executions/{execution_id}/redrive: take up again what FAILED, as `importer redrive` does."""
    return ok(execution_document(door, retried(door, found(request, door, Right.WRITE))))


def found(request: Request, door: Doorway, right: Right) -> Execution:
    """Raises Problem: forbidden, or no_such_execution, also for what the token cannot see."""
    permitted_anywhere(request, right)
    execution_id = request.parameters["execution_id"]
    execution = door.work.records.execution(execution_id) if _EXECUTION_ID.fullmatch(execution_id) else None
    import_id = "" if execution is None else execution.document_import_id
    if execution is None or not any(request.grant.may(any_right, import_id) for any_right in Right):
        raise Problem(
            HTTPStatus.NOT_FOUND,
            "no_such_execution",
            "there is no such execution that this token may see: GET /v1/executions lists those there are",
        )
    if not request.grant.may(right, import_id):
        raise forbidden(right, f"import {import_id!r}")
    return execution


def _progress(door: Doorway, execution: Execution) -> Value:
    """How far a running execution is; None once it has ended. Counts are None where there are too many parts."""
    if execution.phase in (Phase.CLOSING, Phase.CLOSED):
        return None
    told: dict[str, Value] = {
        "parts": execution.part_count,
        "parts_done": len(execution.parts_done),
        "bytes": execution.source.size_bytes,
        "bytes_read": None,
        "rows": None,
        "good": None,
        "bad": None,
    }
    if execution.status is Status.PENDING or execution.part_count > MOST_PARTS_READ:
        return told
    parts = door.work.records.parts(execution.id)
    sums = Tally()
    for part in parts:
        sums = sums.plus(part.tally)
    read = sum(part.next_offset - part.start for part in parts)
    # What is decompressed is counted in bytes of its own: no share of the file as it lies in the bucket.
    plain = all(part.border is None for part in parts) and read <= execution.source.size_bytes
    return told | {"bytes_read": read if plain else None, "rows": sums.rows, "good": sums.good, "bad": sums.bad}


def _receipt(door: Doorway, execution: Execution) -> Value:
    """None while there is none, and where it was deleted since."""
    if execution.phase is not Phase.CLOSED or execution.outcome is None:
        return None
    key = execution.outcome.destination.receipt
    size = door.work.objects.size(door.bucket, key)
    if size is None or size > _RECEIPT_BYTES:
        return None
    body = door.work.objects.get(door.bucket, key)
    try:
        return None if body is None else cast("Value", orjson.loads(body))
    except orjson.JSONDecodeError:  # somebody else's, put in its place
        return None


def _fresh(request: Request, answer: Answer) -> Answer:
    """With a tag by which it is known again, and 304 where it is what the client has."""
    body = orjson.dumps(answer.body, default=str)
    tag = f'"{hashlib.blake2b(body, digest_size=16).hexdigest()}"'
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if tag in request.headers.get("if-none-match", ""):
        return Answer(HTTPStatus.NOT_MODIFIED, None, headers)
    return Answer(answer.status, answer.body, answer.headers | headers)


def _cursor(mark: Mark) -> str:
    return base64.urlsafe_b64encode(f"{mark[0]}.{mark[1]}".encode()).rstrip(b"=").decode()


def _mark(request: Request) -> Mark | None:
    """Raises Problem(bad_parameter)."""
    if "cursor" not in request.query:
        return None
    text = request.query["cursor"]
    try:
        padded = text.encode("ascii") + b"=" * (-len(text) % 4)
        found = re.fullmatch(r"(\d{1,16})\.([0-9a-f]{32})", base64.b64decode(padded, b"-_", validate=True).decode())
    except (binascii.Error, ValueError):
        found = None
    if found is None:
        raise bad_parameter("cursor", "one that an answer of this list gave")
    return int(found[1]), found[2]
