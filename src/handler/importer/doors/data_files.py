"""`GET /v1/data_file/data?uri=…` (D11): the files that an execution's document names, and no others of the bucket.

A completed file, bad rows, their reasons and a receipt are those of the execution that has claimed their name, which
says whose they are. A file still in imports/ belongs to the import of its folder.
"""

import re
from http import HTTPStatus
from typing import Final

from importer.definitions import DEFAULT
from importer.doors.asking import bad_parameter, permitted
from importer.doors.http import Answer, Problem, Request, ok
from importer.doors.ports import Doorway
from importer.doors.tokens import Right
from importer.executions import result_names
from importer.notification import IMPORTS_PREFIX, is_import

ANSWER_BYTES: Final = 4 << 20  # as base64 it still fits the 6 MB that Lambda gives
LINK_SECONDS: Final = 300
_DATED: Final = re.compile(r"(?:completed_imports|errors|receipts)/(\d{4}/\d{2}/\d{2})/(.+)", re.DOTALL)


def show(request: Request, door: Doorway) -> Answer:
    """The file's bytes; of one over 4 MiB, 302 to a link that is good for five minutes; with `as=link`, that link."""
    uri = request.query.get("uri", "")
    prefix = f"s3://{door.bucket}/"
    if not uri.startswith(prefix):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "bad_parameter",
            f"uri must be one that an execution's document has, which begins with {prefix}",
            parameter="uri",
        )
    key = uri.removeprefix(prefix)
    import_id = _import_of(door, key)
    # Without a word on whether there is such a file: what a token may not read, it cannot find out.
    permitted(request, Right.READ, DEFAULT.id if import_id is None else import_id)
    size = None if import_id is None else door.work.objects.size(door.bucket, key)
    if size is None:
        raise Problem(
            HTTPStatus.NOT_FOUND,
            "no_such_file",
            "there is no such file of an execution: GET the execution, its uris change when it ends",
        )
    name = key.rpartition("/")[2]
    answer_as = request.query.get("as", "file")
    if answer_as not in ("file", "link"):
        raise bad_parameter("as", "file or link")
    if size > ANSWER_BYTES or answer_as == "link":
        link = door.bodies.link(door.bucket, key, name, LINK_SECONDS)
        if answer_as == "link":
            said = ok({"url": link, "bytes": size, "seconds": LINK_SECONDS, "file_name": name})
            return Answer(said.status, said.body, {"Cache-Control": "no-store"})
        return Answer(HTTPStatus.FOUND, None, {"Location": link, "Cache-Control": "no-store"})
    body = door.work.objects.get(door.bucket, key) if size else b""
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": "attachment",  # nothing a customer sent is shown as a page of ours
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-store",
    }
    return Answer(HTTPStatus.OK, body or b"", headers)


def _import_of(door: Doorway, key: str) -> str | None:
    """Id of the import whose file this is; None if it is none's."""
    if len(key.encode("utf-8", "surrogatepass")) > 1_024 or re.search(r"[\ud800-\udfff]", key):
        return None
    if is_import(key):
        folder, slash, _ = key.removeprefix(IMPORTS_PREFIX).partition("/")
        return folder if slash and folder and door.books.stored_definition(folder) is not None else DEFAULT.id
    dated = _DATED.fullmatch(key)
    if dated is None:
        return None
    day, path = dated.groups()
    for name in result_names(path):
        owner = door.books.stem_owner(day, name)
        execution = None if owner is None else door.work.records.execution(owner)
        if execution is not None and execution.outcome is not None:
            destination = execution.outcome.destination
            if key in (destination.completed, destination.errors, destination.reasons, destination.receipt):
                return execution.document_import_id
    # Where two files of a day share a name, the later one's results have its execution's id in theirs.
    for execution_id in re.findall(r"\.([0-9a-f]{32})(?=[./]|$)", path):
        execution = door.work.records.execution(execution_id)
        if execution is not None and execution.outcome is not None:
            destination = execution.outcome.destination
            if key in (destination.completed, destination.errors, destination.reasons, destination.receipt):
                return execution.document_import_id
    return None
