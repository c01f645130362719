"""Import by URI over HTTP: ask for a file to be fetched, and look at what became of it.

The request is answered as soon as it is stored and somebody's job; fetching takes as long as it takes. Whoever asked
may look at it, as may whoever may read the import it goes to; for others there is no such fetch.
"""

import hashlib
import re
from dataclasses import dataclass, fields
from http import HTTPStatus
from typing import Final, Protocol, cast

from importer.definitions import DEFAULT
from importer.documents import document
from importer.doors.addresses import AllowedHosts, HttpSource, source_of
from importer.doors.asking import definition_of, paging, permitted, permitted_anywhere
from importer.doors.document_imports import fitting, pages
from importer.doors.fetching import Fetches, FetchQueue
from importer.doors.http import Answer, Problem, Request, ok
from importer.doors.idempotency import Try, once
from importer.doors.ports import Doorway
from importer.doors.requested import Asked, fetch_of
from importer.doors.tokens import Right
from importer.fetches import Fetch, FetchReason, Refused, document_of
from importer.model import Value

PATH: Final = "/v1/uri_imports"
_FIELDS: Final = tuple(field.name for field in fields(Asked))
_LOOKED_AT: Final = 1_000  # of the newest, for those a token may see


class FetchBooks(Fetches, Protocol):
    def fetches(self, count: int) -> list[Fetch]:
        """The newest, newest first; may lag."""


@dataclass(frozen=True, slots=True)
class UriDoor:
    """What these routes need beside the doorway."""

    books: FetchBooks
    queue: FetchQueue
    hosts: AllowedHosts


def create(request: Request, door: Doorway) -> Answer:
    """POST /v1/uri_imports: {"uri": …, "import_id"?, "credentials"?, "role_arn"?, "external_id"?}"""
    asked, uris = _asked(request), _uris(door)
    import_id = asked.import_id or DEFAULT.id
    permitted(request, Right.WRITE, import_id)
    definition = definition_of(door, import_id)

    def act(this: Try) -> Answer:
        fetch_id = hashlib.blake2b(this.name.encode(), digest_size=16).hexdigest()
        now_ms = door.work.clock.now_ms()
        try:
            source = source_of(asked.uri)
            wanted = fetch_of(asked, definition, door.bucket, fetch_id, now_ms, request.grant.token_id)
            if isinstance(source, HttpSource):
                uris.hosts.judge_host(source)
        except Refused as refused:
            status = HTTPStatus.BAD_REQUEST if refused.code is FetchReason.BAD_URI else HTTPStatus.UNPROCESSABLE_ENTITY
            raise Problem(status, refused.code.value, refused.message) from None
        fetch = uris.books.create_fetch(wanted)
        if not fetch.ended:
            uris.queue.send(fetch.id)
        return ok(_document(request, door, fetch), HTTPStatus.ACCEPTED)

    answer = once(request, door, act)
    made = cast("dict[str, dict[str, Value]]", answer.body)["data"]
    # Of an answer that is given again, too: what is kept of one is its status and body.
    return Answer(answer.status, answer.body, {**answer.headers, "Location": f"{PATH}/{made['id']}"})


def list_(request: Request, door: Doorway) -> Answer:
    """GET /v1/uri_imports: those the token may see, newest first."""
    permitted_anywhere(request, Right.READ)
    first, most = paging(request)
    newest = _uris(door).books.fetches(_LOOKED_AT)
    seen = [fetch for fetch in newest if _may_see(request, fetch)]
    shown = fitting(_document(request, door, fetch) for fetch in seen[first : first + most])
    total = len(seen) if len(newest) < _LOOKED_AT else None
    return ok(shown, paging=pages(first, most, len(shown), total))


def show(request: Request, door: Doorway) -> Answer:
    """GET /v1/uri_imports/{fetch_id}"""
    fetch_id = request.parameters["fetch_id"]
    known = re.fullmatch(r"[0-9a-f]{32}", fetch_id)
    fetch = _uris(door).books.fetch(fetch_id) if known else None
    if fetch is None or not _may_see(request, fetch):
        raise Problem(
            HTTPStatus.NOT_FOUND,
            "no_such_uri_import",
            f"there is no such import by URI: GET {PATH} lists those this token may see",
        )
    return ok(_document(request, door, fetch))


def _asked(request: Request) -> Asked:
    """Raises Problem. No value is quoted: a key may stand where the name of one belongs."""
    body = request.json()
    if not isinstance(body, dict):
        raise _invalid(f"send a JSON object with {', '.join(_FIELDS)}", "")
    unknown = next((name for name in body if name not in _FIELDS), None)
    if unknown is not None:
        raise _invalid(f"there is no field of that name: choose from {', '.join(_FIELDS)}", unknown[:100])
    given: dict[str, str] = {}
    for name, value in body.items():
        if value is None and name != "uri":
            continue
        if not isinstance(value, str) or not value:
            raise _invalid(f"{name} must be a text that is not empty", name)
        given[name] = value
    if "uri" not in given:
        raise _invalid("give a uri: which file is to be fetched?", "uri")
    return Asked(**given)


def _invalid(detail: str, field: str) -> Problem:
    return Problem(HTTPStatus.BAD_REQUEST, "invalid_request", detail, field=field)


def _uris(door: Doorway) -> UriDoor:
    if door.uris is None:
        raise Problem(HTTPStatus.NOT_FOUND, "no_such_route", "this installation fetches nothing: deploy it again")
    return door.uris


def _may_see(request: Request, fetch: Fetch) -> bool:
    grant = request.grant
    return fetch.asked_by == grant.token_id or grant.may(Right.READ, fetch.import_id or DEFAULT.id)


def _document(request: Request, door: Doorway, fetch: Fetch) -> dict[str, Value]:
    """With its execution for who may read that: who only sends is not told what is in the file."""
    may_read = request.grant.may(Right.READ, fetch.import_id or DEFAULT.id)
    execution = door.work.records.execution(fetch.execution_id) if fetch.execution_id and may_read else None
    return document_of(fetch, door.bucket, None if execution is None else document(execution))
