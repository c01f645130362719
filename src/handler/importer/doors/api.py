"""The HTTP door at API Gateway: an event of its HTTP API (format 2.0) → a route → its answer. Powertools routes."""

import base64
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import orjson
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver, Response

from importer.doors.http import JSON, Answer
from importer.doors.ports import Doorway
from importer.doors.routes import ROUTES, Route, answered, no_such_route
from importer.model import Value

if TYPE_CHECKING:
    from aws_lambda_powertools.utilities.typing import LambdaContext


class Api:
    """All routes. One for an execution environment.

    Args:
        troubled: see `routes.answered`.
    """

    def __init__(self, troubled: Callable[[Exception], None]) -> None:
        self._troubled = troubled
        self._resolver = APIGatewayHttpResolver()
        self._door: Doorway
        self._event: dict[str, Any]
        for route in ROUTES:
            rule = route.path.replace("{", "<").replace("}", ">")
            self._resolver.route(rule, method=route.method)(self._served(route))
        self._resolver.not_found(lambda _error: self._not_found())

    def answer(self, event: dict[str, Value], context: "LambdaContext", door: Doorway) -> dict[str, Any]:
        """As API Gateway takes it."""
        # One request at a time: Lambda sends an environment no second one.
        self._door, self._event = door, event
        return self._resolver.resolve(_routed(event), context)

    def _not_found(self) -> Response[str | bytes]:
        event = self._event
        return _response(no_such_route(event["requestContext"]["http"]["method"], event["rawPath"]).answer())

    def _served(self, route: Route) -> Callable[..., Response[str | bytes]]:
        def served(**by_powertools: str) -> Response[str | bytes]:
            event = self._event
            http = event["requestContext"]["http"]
            return _response(
                answered(
                    route,
                    http["method"],
                    event["rawPath"],
                    # The gateway's own are decoded; Powertools takes its from the path.
                    event.get("pathParameters") or by_powertools,
                    event.get("queryStringParameters") or {},
                    {name.lower(): value for name, value in event.get("headers", {}).items()},
                    _body(event),
                    self._door,
                    self._troubled,
                )
            )

        return served


def _routed(event: dict[str, Any]) -> dict[str, Any]:
    """With the path of the route the gateway has found, which is one to Powertools, whatever the names in it stand for:
    its own patterns of them leave out characters that ids may have (#, quotation marks, whatever is no letter).
    """
    path = str(event.get("routeKey", "")).partition(" ")[2]
    if not event.get("pathParameters") or "{" not in path:
        return event
    stage = event["requestContext"].get("stage", "$default")
    prefix = "" if stage == "$default" else f"/{stage}"
    return {**event, "rawPath": prefix + path.replace("{", "").replace("}", "")}


def _body(event: dict[str, Any]) -> bytes:
    text = event.get("body") or ""
    return base64.b64decode(text) if event.get("isBase64Encoded") else text.encode(errors="surrogatepass")


def _response(answer: Answer) -> Response[str | bytes]:
    body = answer.body
    if body is not None and not isinstance(body, bytes):
        # `str` for what somebody wrote into a table by hand, and is no JSON.
        body = orjson.dumps(body, default=str).decode()
    headers = {"Content-Type": JSON, **answer.headers} if body is not None else answer.headers
    if isinstance(body, bytes) and headers["Content-Type"] == JSON:
        body = body.decode()  # text, to Powertools as well
    return Response(status_code=int(answer.status), body=body, headers=headers)
