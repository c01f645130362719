"""A preview that is asked for over HTTP: a signed form to post a file under previews/, and what was found in it.

The form is that of an upload (`uploads`), under another prefix; what looks at the file is what looks at any file that
is dropped there (`dropped_previews`). It asks for both rights: to write, since a file is put and looked at, and to
read, since the result shows what is in the file, and which of its names the store holds.
"""

import re
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

import orjson

from importer.bad_rows import ObjectProblem
from importer.definitions import DEFAULT
from importer.doors.asking import definition_of, judge_datamart, permitted
from importer.doors.data_files import ANSWER_BYTES
from importer.doors.document_imports import found
from importer.doors.http import Answer, Problem, Request
from importer.doors.ports import Doorway
from importer.doors.tokens import Right
from importer.doors.uploads import LONGEST_KEY, SECONDS, BadName, bad_name, file_name_of, refused, upload
from importer.notification import PREVIEWS_PREFIX

# A look ends after 16 MiB of plain text (`dropped_previews.LOOK_BYTES`): a little more of a file's begin, compressed or
# not, shows the same.
POST_BYTES: Final = 17 << 20
_LEFT_OUT: Final = ("first_events", "bad_rows")


def create(request: Request, door: Doorway) -> Answer:
    """POST …/document_imports/{import_id}/previews with `{"file_name": "monday.ndjson"}`; a file's begin will do."""
    judge_datamart(request, door)
    import_id = request.parameters["import_id"]
    permitted(request, Right.READ, import_id)
    permitted(request, Right.WRITE, import_id)
    definition = definition_of(door, import_id)
    file_name = file_name_of(request, ("file_name",))
    now_ms = door.work.clock.now_ms()
    most = min(POST_BYTES, door.upload_bytes)
    try:
        made = upload(door.forms, door.bucket, definition, file_name, most, now_ms, SECONDS, prefix=PREVIEWS_PREFIX)
    except ObjectProblem as problem:
        raise refused(problem) from None
    except BadName as problem:
        raise bad_name(problem) from None
    name = quote(made.key.rpartition("/")[2], safe="")
    result = f"/v1/datamarts/{door.datamart_id}/document_imports/{quote(import_id, safe='')}/previews/{name}"
    data = made.document(file_name) | {"result": result}
    return Answer(HTTPStatus.CREATED, {"status": "ok", "data": data}, {"Cache-Control": "no-store"})


def show(request: Request, door: Doorway) -> Answer:
    """GET …/previews/{preview_name}: `preview/1`, or null as long as nobody has looked at the file."""
    from importer.doors.dropped_previews import result_key  # with all that looks at files: by few requests

    judge_datamart(request, door)
    import_id, name = request.parameters["import_id"], request.parameters["preview_name"]
    permitted(request, Right.READ, import_id)
    found(door, import_id)
    folder = "" if import_id == DEFAULT.id else f"{import_id}/"
    if re.search(r"[/\x00-\x1f\x7f]", name) or name in (".", ".."):
        raise Problem(HTTPStatus.NOT_FOUND, "no_such_preview", "there is no such preview: POST …/previews begins one")
    key = f"{result_key(f'{PREVIEWS_PREFIX}{folder}{name}')}.json"
    body = door.work.objects.get(door.bucket, key) if len(key.encode()) <= LONGEST_KEY else None
    if body is not None and len(body) > ANSWER_BYTES:
        whole = orjson.loads(body)
        body = orjson.dumps({name: value for name, value in whole.items() if name not in _LEFT_OUT})
    # As it was written: numbers of a row may be such as no number here can hold.
    said = b'{"status":"ok","data":' + (body or b"null") + b"}"
    return Answer(HTTPStatus.OK, said, {"Content-Type": "application/json", "Cache-Control": "no-store"})
