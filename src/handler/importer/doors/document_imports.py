"""Import definitions over HTTP, as mediarithmics has its document imports (D1–D6).

They answer with mediarithmics' fields and ours. A definition written here is the one the command shows, and the other
way round.
"""

from collections.abc import Iterable
from dataclasses import fields
from http import HTTPStatus
from itertools import islice
from typing import Final

import orjson

from importer import formats
from importer.definitions import DEFAULT, SINK_CHOICES, Definition, StoredDefinition, folder_named
from importer.documents import definition_document, settings_told
from importer.doors.asking import (
    forbidden,
    judge_datamart,
    paging,
    permitted,
    permitted_anywhere,
    stored_import,
)
from importer.doors.http import Answer, Problem, Request, ok
from importer.doors.idempotency import Try, once
from importer.doors.ports import Doorway
from importer.doors.tokens import EVERY_IMPORT, Right
from importer.model import Misconfigured, Status, Value
from importer.notification import IMPORTS_PREFIX

_FIELDS: Final = {field.name for field in fields(Definition)}
_LIST_BYTES: Final = 2_500_000  # Lambda takes 6 MB, in which each quotation mark is two characters
_COUNTED_WAITING: Final = 1_000  # as one listing gives


def create(request: Request, door: Doorway) -> Answer:
    """POST …/document_imports: a new definition, called by its `id` or, without one, after its name."""
    judge_datamart(request, door)
    permitted_anywhere(request, Right.ADMIN)
    settings = _settings(request)
    wanted = settings.get("id")
    if not request.grant.may(Right.ADMIN, wanted if isinstance(wanted, str) else EVERY_IMPORT):
        raise forbidden(Right.ADMIN, f"import {wanted!r}" if wanted else "every import, which a new id asks for")
    if not settings.get("id") and not settings.get("name"):
        raise _invalid("give a name: what is the document import to be called?", "name")

    def act(this: Try) -> Answer:
        for import_id in _ids(settings, this):
            definition = _judged(door, {"name": import_id, **settings}, import_id)
            now_ms = door.work.clock.now_ms() if this.begun_ms is None else this.begun_ms
            if door.books.create_definition(definition, now_ms):
                return ok(_document(door, StoredDefinition(import_id, definition.as_stored(), now_ms, now_ms)))
            stored = door.books.stored_definition(import_id)
            if this.begun_ms is not None and stored is not None and stored.definition == definition.as_stored():
                return ok(_document(door, stored))  # an earlier try's
        raise Problem(
            HTTPStatus.CONFLICT,
            "import_exists",
            f"there is a document import {wanted!r} already: change it with PUT, or choose another id",
        )

    return once(request, door, act)


def list_(request: Request, door: Doorway) -> Answer:
    """GET …/document_imports: those the token may read, newest first."""
    judge_datamart(request, door)
    permitted_anywhere(request, Right.READ)
    first, most = paging(request)
    words = request.query.get("keywords", "").casefold().split()
    documents = []
    for stored in door.books.definitions():
        if not request.grant.may(Right.READ, stored.id):
            continue
        document = _document(door, stored)
        said = f"{stored.id} {document.get('name')}".casefold()
        if all(word in said for word in words):
            documents.append(document)
    shown = fitting(documents[first : first + most])
    return ok(shown, paging=pages(first, most, len(shown), len(documents)))


def show(request: Request, door: Doorway) -> Answer:
    """GET …/document_imports/{import_id}"""
    judge_datamart(request, door)
    import_id = request.parameters["import_id"]
    permitted(request, Right.READ, import_id)
    return ok(_document(door, found(door, import_id)))


def change(request: Request, door: Doorway) -> Answer:
    """PUT …/document_imports/{import_id}: the settings that are sent are changed, the others stay.

    A document of mediarithmics knows nothing of our settings: to put them back to their defaults would read its files
    in another way than a person has chosen.
    """
    judge_datamart(request, door)
    import_id = request.parameters["import_id"]
    permitted(request, Right.ADMIN, import_id)
    if import_id == DEFAULT.id:
        raise _of_default()
    settings = _settings(request)
    if settings.get("id", import_id) != import_id:
        raise _invalid(f"id is {import_id!r} and cannot be changed: make another document import", "id")
    stored = stored_import(door, import_id)
    before = stored.definition if isinstance(stored.definition, dict) else {}
    definition = _judged(door, {**DEFAULT.as_stored(), **before, **settings}, import_id)
    now_ms = door.work.clock.now_ms()
    if not door.books.change_definition(import_id, stored.definition, definition, now_ms):
        raise Problem(
            HTTPStatus.CONFLICT,
            "changed_meanwhile",
            f"somebody else has changed or deleted document import {import_id!r} just now: GET it and send it again",
        )
    created_ms = now_ms if stored.created_ms is None else stored.created_ms
    return ok(_document(door, StoredDefinition(import_id, definition.as_stored(), created_ms, now_ms)))


def remove(request: Request, door: Doorway) -> Answer:
    """DELETE …/document_imports/{import_id}: refused where files wait for it, unless `force=true`."""
    judge_datamart(request, door)
    import_id = request.parameters["import_id"]
    permitted(request, Right.ADMIN, import_id)
    if import_id == DEFAULT.id:
        raise _of_default()
    stored = stored_import(door, import_id)
    force = request.query.get("force", "false")
    if force not in ("true", "false"):
        raise Problem(HTTPStatus.BAD_REQUEST, "bad_parameter", "force must be true or false", parameter="force")
    if reason := "" if force == "true" else _why_not_deleted(door, import_id):
        raise Problem(
            HTTPStatus.CONFLICT,
            "import_in_use",
            f"document import {import_id!r} is in use: {reason}. Wait for their end, or send force=true: then files "
            "that wait are read with the defaults",
        )
    if not door.books.delete_definition(import_id, stored.definition):
        raise Problem(
            HTTPStatus.CONFLICT,
            "changed_meanwhile",
            f"somebody else has changed document import {import_id!r} just now: look at it, and delete it again",
        )
    return ok(_document(door, stored))


def pages(first: int, most: int, count: int, total: int | None) -> dict[str, Value]:
    """Paging as mediarithmics tells it beside `data`."""
    return {
        "count": count,
        "total": total,
        "first_result": first,
        "max_result": first + most,
        "max_results": most,
    }


def fitting(documents: Iterable[dict[str, Value]]) -> list[Value]:
    """As many, from the first, as one answer can hold; one at least. `count` says how many, and where to go on."""
    shown: list[Value] = []
    size = 0
    for document in documents:
        size += len(orjson.dumps(document, default=str))
        if shown and size > _LIST_BYTES:
            break
        shown.append(document)
    return shown


def found(door: Doorway, import_id: str) -> StoredDefinition:
    """As stored; "default", which nobody stores, as it is. Raises Problem(no_such_import)."""
    if import_id == DEFAULT.id:
        return StoredDefinition(DEFAULT.id, DEFAULT.as_stored(), None, None)
    return stored_import(door, import_id)


def _document(door: Doorway, stored: StoredDefinition) -> dict[str, Value]:
    """As the world sees it; of one that cannot be used, its id, what is stored and why."""
    ours: dict[str, Value] = {"datafarm_key": door.datafarm_key, "datamart_id": door.datamart_id}
    try:
        definition = formats.named(stored.id, stored.definition)
    except Misconfigured as problem:
        return {"id": stored.id, **ours, "stored": stored.definition, "problem": str(problem)}
    document = definition_document(definition, stored.created_ms, stored.changed_ms) | ours
    document["document_type"] = document["document_type"] or None
    return {**document, "problem": None}


def _ids(settings: dict[str, Value], this: Try) -> list[str]:
    """Ids to try: the one that is asked for; else its name as a folder's, then with something of its own."""
    if wanted := settings.get("id"):
        return [str(wanted)]
    folder = folder_named(str(settings["name"]))
    own = this.name.rpartition("-")[2][:8]
    return [*([folder] if folder and folder != DEFAULT.id else []), f"{folder or 'import'}-{own}"]


def _settings(request: Request) -> dict[str, Value]:
    try:
        return settings_told(request.json())
    except Misconfigured as problem:
        raise _invalid(str(problem)) from None


def _judged(door: Doorway, settings: dict[str, Value], import_id: str) -> Definition:
    """Raises Problem(invalid_setting): says which, and what could be chosen."""
    if import_id == DEFAULT.id:
        raise _invalid(f"id {DEFAULT.id!r}: files that no definition is for are called so; choose another", "id")
    try:
        definition = formats.completed(Definition.of({**settings, "id": import_id}))
        for name, value in definition.as_stored().items():
            if isinstance(value, str):
                value.encode()
            elif isinstance(value, int) and abs(value) >= 10**15:
                raise Misconfigured(f"{name} {value}: choose a smaller number")
    except Misconfigured as problem:
        raise _invalid(str(problem)) from None
    except UnicodeEncodeError:
        raise _invalid("half of a surrogate pair is no text") from None
    if "firehose" in SINK_CHOICES.get(definition.sinks, ()) and not door.has_stream:
        raise _invalid(
            f"sinks {definition.sinks!r}: this installation has no delivery stream: deploy it with one", "sinks"
        )
    return definition


def _invalid(detail: str, setting: str | None = None) -> Problem:
    """422 with the setting it is about, which the words of Misconfigured begin with."""
    words = detail.replace("unknown setting ", "", 1).split()
    first = words[0].strip("':") if words else ""
    field = setting or (first if first in _FIELDS or detail.startswith("unknown setting") else None)
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid_setting", detail, field=field)


def _of_default() -> Problem:
    return Problem(
        HTTPStatus.CONFLICT,
        "default_is_fixed",
        "document import 'default' stands for files that no definition is for, and has the default settings: make a "
        "document import with those you want",
    )


def _why_not_deleted(door: Doorway, import_id: str) -> str:
    """What would be read otherwise, or is being read; "" where nothing is."""
    folder = f"{IMPORTS_PREFIX}{import_id}/"
    keys = (key for key in door.work.objects.keys(door.bucket, folder) if not key.endswith("/"))
    if waiting := len(list(islice(keys, _COUNTED_WAITING))):
        return f"{waiting} or more files lie in {folder}" if waiting == _COUNTED_WAITING else f"{waiting} in {folder}"
    unfinished, _ = door.books.listed(import_id, (Status.PENDING, Status.RUNNING), 0, 2**53, 1)
    return f"{len(unfinished)} of its executions have not ended" if unfinished else ""
