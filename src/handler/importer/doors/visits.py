"""Woopra's import (W1–W5, W16): `POST /import` with one visit a line, by its old paths too.

Woopra tells projects apart by `website` (or `project`): here that is the id of an import. Without one it is "woopra",
which is made at its first use, so that Woopra's own example works as it stands.
"""

from http import HTTPStatus
from typing import Final

from importer.definitions import NDJSON, Definition
from importer.doors.asking import definition_of, permitted
from importer.doors.http import Answer, Problem, Request, media_type
from importer.doors.idempotency import once
from importer.doors.import_executions import begun_document, judge_charset, plain_file, started
from importer.doors.ports import Doorway
from importer.doors.tokens import Right

OWN: Final = Definition(id="woopra", name="Visits of POST /import", format="woopra")


def create(request: Request, door: Doorway) -> Answer:
    """The lines become one execution. Of a Content-Type only what cannot be lines is refused: Woopra asks for none."""
    import_id = request.query.get("website") or request.query.get("project") or OWN.id
    permitted(request, Right.WRITE, import_id)
    said = media_type(request.headers.get("content-type", ""))
    if said.startswith(("multipart/", "image/", "audio/", "video/")) or said == "text/csv":
        raise Problem(
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            "content_type_mismatch",
            "send one visit as JSON on each line of the body (curl: --data-binary @visits.json)",
            {"Accept-Post": "application/x-ndjson"},
        )
    judge_charset(request.headers.get("content-type", ""))
    file = plain_file(request, "visits.json", "application/x-ndjson")
    if import_id == OWN.id and door.books.stored_definition(OWN.id) is None:
        door.books.create_definition(OWN, door.work.clock.now_ms())  # or somebody else just has
    definition = definition_of(door, import_id)
    if definition.format not in ("", OWN.format) or definition.mime_type != NDJSON:
        raise Problem(
            HTTPStatus.CONFLICT,
            "import_of_another_dialect",
            f"import {import_id!r} reads {definition.format or 'files'} as {definition.mime_type}: choose another "
            "website, or make an import with format woopra",
        )
    return once(
        request,
        door,
        lambda this: Answer(
            HTTPStatus.OK,
            {"success": True, "execution": begun_document(door, started(door, definition, file, this))},
        ),
    )
