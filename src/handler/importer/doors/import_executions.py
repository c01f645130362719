"""Executions over HTTP (D7–D10): a body becomes an object below imports/ and takes the path of a dropped file.

put → HEAD → `start`, so that the answer has the execution; S3's notification imports it. Should that be lost, the sweep
finds the execution unfinished. What a request is refused for is found before the put, so a refusal leaves nothing.
"""

import re
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Final, cast
from urllib.parse import quote

from importer.bad_rows import ObjectProblem
from importer.definitions import DEFAULT, NDJSON, TEXT_CSV, Definition
from importer.documents import document
from importer.doors import document_imports, uploads
from importer.doors.asking import (
    LATEST_MS,
    bad_parameter,
    definition_of,
    judge_datamart,
    milliseconds,
    paging,
    permitted,
)
from importer.doors.http import Answer, Problem, Request, media_type, ok
from importer.doors.idempotency import Try, once
from importer.doors.ports import Doorway
from importer.doors.tokens import Right
from importer.executions import cancel_soon, execution_id_of, mending, redrive, start
from importer.executions.starting import judge_name
from importer.model import Execution, Phase, S3Object, Status, Unavailable, Value
from importer.notification import IMPORTS_PREFIX

BODY_BYTES: Final = 4 << 20  # as base64 it still fits the 6 MB that Lambda takes
CONTENT_TYPES: Final = {NDJSON: "application/x-ndjson", TEXT_CSV: "text/csv"}  # D6
_SUFFIXES: Final = {NDJSON: (".ndjson", ".json", ".jsonl"), TEXT_CSV: (".csv",)}
# Content-Encoding → what a file's name says of it, and how it begins. What is compressed is stored as it came.
_ENCODINGS: Final = {
    "gzip": (".gz", b"\x1f\x8b"),
    "x-gzip": (".gz", b"\x1f\x8b"),
    "zstd": (".zst", b"\x28\xb5\x2f\xfd"),
}
_LONGEST_NAME: Final = 120


@dataclass(frozen=True, slots=True)
class File:
    """What a request brings: its bytes as they are stored, and the name they get."""

    name: str
    content_type: str
    body: bytes


def create(request: Request, door: Doorway) -> Answer:
    """POST …/executions: a raw body, or a form with a `file`; each file is one execution (D8)."""
    judge_datamart(request, door)
    import_id = request.parameters["import_id"]
    permitted(request, Right.WRITE, import_id)
    definition = definition_of(door, import_id)
    file = _file_of(request, definition)
    return once(request, door, lambda this: ok(begun_document(door, started(door, definition, file, this))))


def list_(request: Request, door: Doorway) -> Answer:
    """GET …/executions, newest first."""
    judge_datamart(request, door)
    import_id = request.parameters["import_id"]
    permitted(request, Right.READ, import_id)
    document_imports.found(door, import_id)
    first, most = paging(request)
    statuses = statuses_of(request)
    after_ms = milliseconds(request, "created_from", 0)
    before_ms = milliseconds(request, "created_before", LATEST_MS)
    found, complete = door.books.listed(import_id, statuses, after_ms, before_ms, first + most)
    shown = document_imports.fitting(execution_document(door, execution) for execution in found[first : first + most])
    total = len(found) if complete else None
    return ok(shown, paging=document_imports.pages(first, most, len(shown), total))


def show(request: Request, door: Doorway) -> Answer:
    """GET …/executions/{execution_id}"""
    execution = _found(request, door, Right.READ)
    stands = mending.outstanding(door.work.records, execution)
    return ok(execution_document(door, execution) | (stands.document() if stands.bad else {}))


def act(request: Request, door: Doorway) -> Answer:
    """POST …/executions/{execution_id}/action: CANCEL (D10); ours: RETRY of one that FAILED (`is_retryable`)."""
    execution = _found(request, door, Right.WRITE)
    said = request.json()
    action = said.get("action") if isinstance(said, dict) else None
    match action:
        case "CANCEL":
            after = cancel_soon(door.work, execution.id)
            if after.status is not Status.CANCELED:
                raise _not_now(
                    "CANCEL", after, "all its rows are read" if after.status is Status.RUNNING else "it has ended"
                )
        case "RETRY":
            after = retried(door, execution)
        case _:
            raise Problem(
                HTTPStatus.UNPROCESSABLE_ENTITY,
                "unknown_action",
                'send {"action": "CANCEL"} or {"action": "RETRY"}',
                field="action",
            )
    return ok(execution_document(door, after))


def retried(door: Doorway, execution: Execution) -> Execution:
    """Take up again one that FAILED. Raises Problem(not_possible_now)."""
    after = redrive(door.work, execution.id)
    if after.status is Status.FAILED:
        raise _not_now("RETRY", after, "its receipt is still being written: try again in a minute")
    if execution.status is not Status.FAILED:
        raise _not_now("RETRY", after, "only what FAILED can be taken up again")
    return after


def begun_document(door: Doorway, execution: Execution) -> dict[str, Value]:
    """Its document as it was when it was made: PENDING, as mediarithmics answers. It may be at work by now, or done."""
    begun = replace(
        execution,
        status=Status.PENDING,
        phase=Phase.IMPORTING,
        start_date=None,
        parts_done=frozenset(),
        outcome=None,
        error=None,
        attempt=1,
    )
    return execution_document(door, begun)


def execution_document(door: Doorway, execution: Execution) -> dict[str, Value]:
    """Its document, with what mediarithmics has and the store leaves out: whose it is and where it is."""
    said = document(execution)
    parameters = cast("dict[str, Value]", said["parameters"])
    import_id = execution.document_import_id
    path = quote(import_id, safe="")
    return said | {
        "parameters": parameters | {"datamart_id": _number(door.datamart_id), "document_import_id": _number(import_id)},
        "organisation_id": door.organisation_id,
        "permalink_uri": f"/v1/datamarts/{door.datamart_id}/document_imports/{path}/executions/{execution.id}",
    }


# ---- From a body to an execution ---------------------------------------------------------------------------------


def started(door: Doorway, definition: Definition, file: File, this: Try) -> Execution:
    """Put a file where dropped files lie, and the execution it begins. Durable on return.

    Raises:
        Unavailable: the file may lie in imports/, and be imported, all the same.
    """
    folder = "" if definition.id == DEFAULT.id else f"{definition.id}/"
    key = f"{IMPORTS_PREFIX}{folder}{this.name}/{file.name}"
    if this.begun_ms is not None and (execution := _begun_before(door, definition, key, this.begun_ms)):
        return execution
    dropped = door.bodies.upload(door.bucket, key, file.body, file.content_type)
    if dropped is None:
        raise Unavailable(f"s3://{door.bucket}/{key} holds other bytes than this request's")
    # One called like a series of its recurring import is begun, too, and waits PENDING for a run: who sends is answered
    # with an execution, whatever the name.
    begun = start(door.work, dropped, in_a_run=True)
    execution = next((e for e in begun if e.source.version_id == dropped.version_id), None)
    if execution is None and dropped.version_id is not None:  # imported and moved already
        source = S3Object(door.bucket, key, dropped.version_id, dropped.etag, len(file.body), 0)
        execution = door.work.records.execution(execution_id_of(source))
    if execution is None:
        execution = _begun_before(door, definition, key, 0)
    if execution is None:
        raise Unavailable(f"s3://{door.bucket}/{key} was uploaded, and its execution is not to be found")
    return execution


def _begun_before(door: Doorway, definition: Definition, key: str, since_ms: int) -> Execution | None:
    """The execution of a key that is used once only. It may have ended, and the file been moved, before this try."""
    found, _ = door.books.listed(definition.id, (), max(since_ms - 60_000, 0), LATEST_MS, 1_000)
    return next((execution for execution in found if execution.source.key == key), None)


def _file_of(request: Request, definition: Definition) -> File:
    """What the request brings, if it is what the import takes.

    Raises:
        Problem.
    """
    judge_size(request.body)
    said = media_type(request.headers.get("content-type", ""))
    if said == "multipart/form-data":
        return _file_of_form(request, definition)
    wanted = CONTENT_TYPES[definition.mime_type]
    if said != wanted:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "content_type_mismatch",
            f"document import {definition.id!r} has mime_type {definition.mime_type}: send Content-Type: {wanted}, or "
            "a form (multipart/form-data) with a field `file`",
            {"Accept-Post": f"{wanted}, multipart/form-data"},
        )
    judge_charset(request.headers["content-type"])
    return plain_file(request, f"upload{_SUFFIXES[definition.mime_type][0]}", wanted)


def plain_file(request: Request, name: str, content_type: str) -> File:
    """The body as it is, under a name that says how it is compressed.

    Raises:
        Problem: too_large, empty_body, unknown_encoding, not_compressed.
    """
    judge_size(request.body)
    if not request.body:
        raise Problem(HTTPStatus.BAD_REQUEST, "empty_body", "the body is empty: send one row a line")
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity"):
        return File(name, content_type, request.body)
    if encoding not in _ENCODINGS:
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unknown_encoding",
            f"Content-Encoding may be {', '.join(_ENCODINGS)}: send the body so, or as it is",
            {"Accept-Encoding": "gzip, zstd"},
        )
    suffix, begin = _ENCODINGS[encoding]
    if not request.body.startswith(begin):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "not_compressed",
            f"Content-Encoding says {encoding}, and the body is not: compress it (curl's --data-binary sends a file as "
            "it is), or leave the header out",
        )
    return File(name + suffix, content_type, request.body)


def _file_of_form(request: Request, definition: Definition) -> File:
    from importer.doors.forms import fields_of  # by few requests: kept out of their cold start

    form = fields_of(request)
    field = form.get("file")
    if field is None:
        raise Problem(
            HTTPStatus.BAD_REQUEST, "no_file", "the form has no field `file`: curl sends one with -F file=@name.ndjson"
        )
    if not field.body:
        raise Problem(HTTPStatus.BAD_REQUEST, "empty_body", "the field `file` is empty: send one row a line")
    wanted = CONTENT_TYPES[definition.mime_type]
    said = form["type"].body.decode(errors="replace").strip() if "type" in form else field.content_type
    # Browsers and curl call what they do not know application/octet-stream, and CSV by a spreadsheet's name.
    vague = ("", "application/octet-stream", "text/plain", "application/vnd.ms-excel")
    fits = said in (definition.mime_type, wanted) or media_type(said) == wanted
    if not fits and not (media_type(said) in vague and "type" not in form) and field.content_type != "application/gzip":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "content_type_mismatch",
            f"document import {definition.id!r} has mime_type {definition.mime_type}: send the file as {wanted} "
            f"(curl: -F 'file=@name;type={wanted}'), or a field `type` that says so",
        )
    name = _name_of(field.file_name, definition.mime_type)
    try:
        judge_name(name, definition.format, definition.mime_type)
    except ObjectProblem as problem:
        raise uploads.refused(problem, "file") from None
    return File(name, wanted, field.body)


def _name_of(given: str, mime_type: str) -> str:
    """A file's name as its sender has it, without folders, with an end that this import reads."""
    base = re.sub(r"[\x00-\x1f\x7f\ud800-\udfff]", "", re.split(r"[/\\]", given)[-1]).strip()
    plain = base.lower().removesuffix(".gz").removesuffix(".zst")
    suffixes = _SUFFIXES[mime_type]
    name = base if base and plain.endswith(suffixes) and plain not in suffixes else f"{base or 'upload'}{suffixes[0]}"
    while len(name.encode()) > _LONGEST_NAME:
        name = name[1:]
    return name


def judge_size(body: bytes) -> None:
    """Raises Problem(too_large), which names the way for larger files."""
    if len(body) > BODY_BYTES:
        raise Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            "too_large",
            f"the body has {len(body):,} bytes, and {BODY_BYTES:,} are taken here: POST "
            "…/document_imports/{import_id}/uploads gives an address for larger files; or drop it in the bucket",
            limit_bytes=BODY_BYTES,
        )


def judge_charset(content_type: str) -> None:
    """Raises Problem(unsupported_charset) where a Content-Type names another than UTF-8."""
    found = re.search(r'charset\s*=\s*"?([^\s;"]+)', content_type, re.IGNORECASE)
    if found and found[1].lower() not in ("utf-8", "utf8", "us-ascii"):
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "unsupported_charset",
            "rows are read as UTF-8: convert the body (`iconv -t UTF-8`), or leave the charset out",
        )


# ---- Small things ------------------------------------------------------------------------------------------------


def _found(request: Request, door: Doorway, right: Right) -> Execution:
    judge_datamart(request, door)
    import_id = request.parameters["import_id"]
    permitted(request, right, import_id)
    execution_id = request.parameters["execution_id"]
    known = re.fullmatch(r"[0-9a-f]{32}", execution_id)
    execution = door.work.records.execution(execution_id) if known else None
    if execution is None or execution.document_import_id != import_id:
        raise Problem(
            HTTPStatus.NOT_FOUND,
            "no_such_execution",
            f"document import {import_id!r} has no such execution: GET …/executions lists those it has",
        )
    return execution


def statuses_of(request: Request) -> list[Status]:
    """Those a list is asked for; none for any. Raises Problem(bad_parameter)."""
    given = request.query.get("status", "")
    try:
        return [Status(name) for name in given.split(",")] if "status" in request.query else []
    except ValueError:
        raise bad_parameter("status", f"one or more of {', '.join(Status)}, with commas between") from None


def _not_now(action: str, execution: Execution, reason: str) -> Problem:
    return Problem(
        HTTPStatus.CONFLICT,
        "not_possible_now",
        f"{action} of an execution that is {execution.status.value}: {reason}",
        execution_status=execution.status.value,
        phase=execution.phase.value,
    )


def _number(identifier: str) -> Value:
    """mediarithmics' ids in `parameters` are numbers; ours are, where they look like one and stay the same."""
    return int(identifier) if re.fullmatch(r"[1-9][0-9]{0,14}", identifier) else identifier
