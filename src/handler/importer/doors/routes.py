"""Every route of the HTTP door, and the one way a request takes: token, route, answer.

template.yaml names the same routes to the gateway, docs/openapi.json describes them; tests keep the three equal. A path
is written as both write it. But for the console's page, which holds nothing of anybody, there is no open route: a
request without a good token is 401 before anything is looked at. What is no route starts the function too, by the
gateway's `$default`, so that whoever asks is told in the door's own words (404, 405).
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from http import HTTPStatus
from typing import Final

from importer.doors import (
    asked_previews,
    console,
    data_files,
    document_imports,
    every_execution,
    import_executions,
    openapi,
    undoing,
    uploads,
    uri_imports,
    visits,
)
from importer.doors.http import Answer, Problem, Request
from importer.doors.ports import Doorway
from importer.doors.tokens import Grant, granted
from importer.model import Misconfigured, Unavailable

Serve = Callable[[Request, Doorway], Answer]

DOCUMENT_IMPORTS: Final = "/v1/datamarts/{datamart_id}/document_imports"
ONE: Final = f"{DOCUMENT_IMPORTS}/{{import_id}}"
EXECUTIONS: Final = f"{ONE}/executions"
EXECUTION: Final = f"{EXECUTIONS}/{{execution_id}}"
RETRY_S: Final = 5
NOBODY: Final = Grant("", "", {})
_STRANGERS: Final = ("cross-site", "same-site")  # Rule: values of Sec-Fetch-Site (w3.org/TR/fetch-metadata)


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    path: str
    serve: Serve
    is_open: bool = False


ROUTES: Final = (
    Route("GET", DOCUMENT_IMPORTS, document_imports.list_),
    Route("POST", DOCUMENT_IMPORTS, document_imports.create),
    Route("GET", ONE, document_imports.show),
    Route("PUT", ONE, document_imports.change),
    Route("DELETE", ONE, document_imports.remove),
    Route("GET", EXECUTIONS, import_executions.list_),
    Route("POST", EXECUTIONS, import_executions.create),
    Route("GET", EXECUTION, import_executions.show),
    Route("POST", f"{EXECUTION}/action", import_executions.act),
    Route("POST", f"{ONE}/uploads", uploads.create_upload),
    Route("POST", f"{ONE}/previews", asked_previews.create),
    Route("GET", f"{ONE}/previews/{{preview_name}}", asked_previews.show),
    Route("GET", every_execution.PATH, every_execution.list_),
    Route("GET", f"{every_execution.PATH}/{{execution_id}}", every_execution.show),
    Route("POST", f"{every_execution.PATH}/{{execution_id}}/redrive", every_execution.redrive),
    Route("GET", "/v1/data_file/data", data_files.show),
    Route("POST", "/import", visits.create),
    Route("POST", "/rest/3.7/import", visits.create),
    Route("PUT", "/rest/2.4/logs/import", visits.create),
    Route("GET", uri_imports.PATH, uri_imports.list_),
    Route("POST", uri_imports.PATH, uri_imports.create),
    Route("GET", f"{uri_imports.PATH}/{{fetch_id}}", uri_imports.show),
    Route("POST", undoing.PATH, undoing.create),
    Route("GET", undoing.PATH, undoing.show),
    Route("GET", "/v1/token", console.who),
    Route("GET", console.PATH, console.show, is_open=True),
    Route("GET", "/openapi.json", openapi.show),
)


def answered(
    route: Route,
    method: str,
    path: str,
    parameters: Mapping[str, str],
    query: Mapping[str, str],
    headers: Mapping[str, str],
    body: bytes,
    door: Doorway,
    troubled: Callable[[Exception], None],
) -> Answer:
    """What a route answers, or why it does not; never an exception.

    Args:
        headers: names in lower case.
        troubled: is told what ends a request with 5xx, and may log it, but not its words.
    """
    try:
        grant = NOBODY if route.is_open else _granted(headers, door, troubled)
        _judge_text(path, *parameters.values(), *query.keys(), *query.values(), *headers.values())
        return route.serve(Request(method, path, dict(parameters), dict(query), dict(headers), body, grant), door)
    except Problem as problem:
        return problem.answer()
    except Unavailable as trouble:
        troubled(trouble)
        return Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "unavailable",
            f"something this needs does not answer: send the request again in {RETRY_S} s, with the same "
            "Idempotency-Key if it has one. What is wrong is in the function's log",
            {"Retry-After": str(RETRY_S)},
        ).answer()
    except Exception as bug:  # noqa: BLE001  told, and answered as what it is: nothing is skipped or taken for good
        troubled(bug)
        return Problem(
            HTTPStatus.INTERNAL_SERVER_ERROR,
            "bug",
            "this is a fault of the importer: the function's log has it under this request's id",
        ).answer()


def _granted(headers: Mapping[str, str], door: Doorway, troubled: Callable[[Exception], None]) -> Grant:
    """Raises Problem(unauthorized), Unavailable."""
    authorization = headers.get("authorization", "")
    # Basic is what browsers remember, and send with whatever a stranger's page asks of this door. From such a page, and
    # they name it in a header no page can set, it counts for nothing. The other forms no stranger's page can send.
    if authorization.strip().lower().startswith("basic") and headers.get("sec-fetch-site") in _STRANGERS:
        raise unauthorized()
    try:
        grant = granted(authorization, door.kept_token, door.work.clock.now_ms())
    except Misconfigured as none:
        troubled(none)
        grant = None
    if grant is None:
        raise unauthorized()
    return grant


def unauthorized() -> Problem:
    return Problem(
        HTTPStatus.UNAUTHORIZED,
        "unauthorized",
        "send a token that is valid now: `Authorization: <token>`, `Authorization: Bearer <token>`, or Basic with the "
        "token's id and secret. `importer token create` makes one",
        {"WWW-Authenticate": 'Bearer realm="importer", Basic realm="importer"'},
    )


def no_such_route(method: str, path: str) -> Problem:
    """404; 405 for a resource that has other methods (RFC 9110, 15.5.6)."""
    methods = {route.method for route in ROUTES if _pattern(route.path).fullmatch(path)}
    if methods and method not in methods:
        allowed = ", ".join(sorted(methods))
        return Problem(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "method_not_allowed",
            f"this resource takes {allowed}: GET /openapi.json says what each is for",
            {"Allow": allowed},
        )
    if path.endswith("/") and any(_pattern(route.path).fullmatch(path.rstrip("/")) for route in ROUTES):
        # Not redirected: a client that follows makes a GET of a POST.
        remedy = "leave out the slash at its end"
    else:
        remedy = "GET /openapi.json lists them all"
    return Problem(HTTPStatus.NOT_FOUND, "no_such_route", f"there is no such resource: {remedy}")


@cache
def _pattern(path: str) -> re.Pattern[str]:
    return re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)))


def _judge_text(*texts: str) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise Problem(
                HTTPStatus.BAD_REQUEST, "not_unicode", "path, query and headers must be Unicode text: a part is none"
            ) from None
