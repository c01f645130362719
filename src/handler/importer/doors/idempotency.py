"""A request that is sent twice is done once: the header Idempotency-Key.

Rule: draft-ietf-httpapi-idempotency-key-header-07. The key is a quoted text (a bare one is taken as well). The first
answer is kept for a day and given to every later request with the same key and content; another content under the key
is 422; a try that is still at it is 409. A refusal (4xx) is not kept, so a mended request may use its key again.

A try may die anywhere. Its random name was kept before it did anything, so the next try makes the same object or
definition under the same name, and finds what the first has made.
"""

import hashlib
import re
import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import orjson

from importer.doors.http import Answer, Problem, Request
from importer.doors.ports import Doorway
from importer.model import KeptRequest, Unavailable

HEADER: Final = "idempotency-key"
KEPT_S: Final = 86_400
_QUOTED: Final = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\]){1,255})"')  # RFC 8941, 3.3.3
_BARE: Final = re.compile(r"[\x21\x23-\x5b\x5d-\x7e]{1,255}")
_GRACE_MS: Final = 1_000  # past its invocation's end a try does nothing more


@dataclass(frozen=True, slots=True)
class Try:
    """One try of a request.

    Attributes:
        name: for what it makes: unique, the same in every try of a request with a key.
        begun_ms: when an earlier try of it began; None if this is the first.
    """

    name: str
    begun_ms: int | None


def once(request: Request, door: Doorway, act: Callable[[Try], Answer]) -> Answer:
    """What `act` answers, or what it has answered before.

    Raises:
        Problem: bad_idempotency_key (400), in_progress (409), key_reused (422); and what `act` raises.
    """
    now_ms = door.work.clock.now_ms()
    fresh = f"{datetime.fromtimestamp(now_ms / 1000, UTC):%Y%m%dT%H%M%S}-{secrets.token_hex(8)}"
    if HEADER not in request.headers:
        return act(Try(fresh, None))
    key = _record_key(request)
    busy_until_ms = now_ms + door.work.remaining_ms() + _GRACE_MS
    mine = KeptRequest(_fingerprint(request), secrets.token_hex(8), fresh, now_ms, busy_until_ms)
    kept = door.books.begin_request(key, mine, now_ms, now_ms // 1000 + KEPT_S)
    if kept.fingerprint != mine.fingerprint:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            "key_reused",
            "this Idempotency-Key came with another request within the last 24 hours: send a new key with a new "
            "request, and the same body with the same key",
        )
    if kept.status:
        return Answer(kept.status, orjson.loads(kept.body), {"Idempotency-Replayed": "true"})
    if kept.owner != mine.owner:
        seconds = max(1, -(-(kept.busy_until_ms - now_ms) // 1000))
        raise Problem(
            HTTPStatus.CONFLICT,
            "in_progress",
            f"the first request with this Idempotency-Key is still at work: send it again in {seconds} s",
            {"Retry-After": str(seconds)},
        )
    try:
        answer = act(Try(kept.name, None if kept.name == fresh else kept.begun_ms))
    except Problem:
        door.books.drop_request(key, kept)
        raise
    except Unavailable:
        with suppress(Unavailable):  # the next try need not wait for this one's end
            door.books.end_request(key, replace(kept, busy_until_ms=0))
        raise
    said = orjson.dumps(answer.body).decode()
    with suppress(Unavailable):  # it is done: a try without this record finds what was made, by its name
        door.books.end_request(key, replace(kept, status=int(answer.status), body=said))
    return answer


def _record_key(request: Request) -> str:
    """Of each token, and of each resource, its own."""
    text = request.headers[HEADER].strip(" \t")
    quoted = _QUOTED.fullmatch(text)
    if quoted is None and not _BARE.fullmatch(text):
        raise Problem(
            HTTPStatus.BAD_REQUEST,
            "bad_idempotency_key",
            'Idempotency-Key must be 1 to 255 ASCII characters in quotation marks, such as a UUID: "8e03978e-40d5-…"',
        )
    key = text if quoted is None else quoted[1]
    parts = (request.grant.token_id, request.method, request.path, key)
    return hashlib.blake2b("\0".join(parts).encode(), digest_size=32).hexdigest()


def _fingerprint(request: Request) -> str:
    said = [request.headers.get(name, "") for name in ("content-type", "content-encoding")]
    digest = hashlib.blake2b(orjson.dumps([said, sorted(request.query.items())]), digest_size=32)
    digest.update(request.body)
    return digest.hexdigest()
