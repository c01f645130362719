"""A stand-in for API Gateway's HTTP API, in front of the twin: HTTP on the loopback address → events → the function.

    python -m cli.api_gateway --port PORT --endpoint-url URL --function NAME --template FILE

The emulator drops the routes of an HTTP API that SAM makes, so they are read from the template: what is no route there
is 404 here, as on AWS. It does what the gateway does to a request (payload format 2.0) and nothing else: tokens are the
function's affair. It ends with the process that `cli.twin` keeps by its lock.
"""

import argparse
import base64
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import parse_qsl, unquote

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

Event = dict[str, Any]
Invoke = Callable[[Event], Event]

BODY_BYTES: Final = 10_000_000  # Quota: of the gateway; docs.aws.amazon.com/apigateway/latest/developerguide
EVENT_BYTES: Final = 6 << 20  # Quota: of a synchronous invocation
AT_ONCE: Final = 8  # further requests wait: two cores run no more functions than that
IDLE_SECONDS: Final = 30
# What the gateway hands on as text; all else, and what has no type, comes in base64.
_TEXT_TYPE: Final = re.compile(r"text/.*|application/(json|javascript|xml)|application/.*\+(json|xml)", re.IGNORECASE)
_CHUNK_SIZE_BYTES: Final = 100  # of the line that says how long a chunk is


class _TooLarge(Exception):
    """A body over what the gateway takes."""


@dataclass(frozen=True, slots=True)
class Route:
    """`path` as the template has it: `/v1/{name}/…`; a name takes one segment. `DEFAULT` takes what is no other's."""

    method: str
    path: str

    @property
    def key(self) -> str:
        return f"{self.method} {self.path}".strip()

    def matched(self, method: str, path: str) -> dict[str, str] | None:
        """The path's parameters, decoded; None if it is another route's."""
        if self == DEFAULT:
            return {}
        pattern = re.sub(r"\\{(\w+)\\}", r"(?P<\1>[^/]+)", re.escape(self.path))
        found = re.fullmatch(pattern, path) if method == self.method else None
        return None if found is None else {name: unquote(value) for name, value in found.groupdict().items()}


DEFAULT: Final = Route("", "$default")  # Rule: as SAM makes of an event without method and path


def routes_of(template: Path, function: str = "ApiFunction") -> list[Route]:
    """The routes a template gives a function, as the gateway prefers them.

    Those without names in their paths come first, and `DEFAULT`, if there is one, last.
    """
    # The twin needs it, `importer` does not.
    from samtranslator.yaml_helper import yaml_parse  # type: ignore[import-untyped]

    events = yaml_parse(template.read_text(encoding="utf-8"))["Resources"][function]["Properties"]["Events"].values()
    found = [e["Properties"] for e in events if e["Type"] == "HttpApi"]
    routes = [Route(p["Method"].upper(), p["Path"]) if "Path" in p else DEFAULT for p in found]
    return sorted(routes, key=lambda route: (route == DEFAULT, route.path.count("{")))


class Gateway(ThreadingHTTPServer):
    """Listens on the loopback address at a port; 0 is any that is free.

    Args:
        invoke: one invocation of the function: event → answer. Raises InvocationFailed.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, port: int, routes: Iterable[Route], invoke: Invoke) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.routes = list(routes)
        self.invoke = invoke
        self.at_once = threading.BoundedSemaphore(AT_ONCE)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class InvocationFailed(Exception):
    """The function raised, ran out of time or could not be called: the gateway says 500 and no more."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"  # curl waits for "100 Continue" before it sends a large body
    server_version = "twin"
    sys_version = ""
    timeout = IDLE_SECONDS
    server: Gateway

    def _serve(self) -> None:
        try:
            body = self._body()
        except _TooLarge:
            self.close_connection = True  # the rest of it is not read
            self._say(413, {"message": "Request Entity Too Large"})
            return
        except ValueError:
            self.close_connection = True
            self._say(400, {"message": "Bad Request"})
            return
        path, _, query = self.path.partition("?")
        for route in self.server.routes:
            parameters = route.matched(self.command, path)
            if parameters is not None:
                break
        else:
            self._say(404, {"message": "Not Found"})
            return
        event = event_of(self.command, path, query, self.headers.items(), body, route, parameters)
        if len(json.dumps(event)) > EVENT_BYTES:
            self._say(413, {"message": "Request Entity Too Large"})
            return
        with self.server.at_once:
            try:
                answer = self.server.invoke(event)
            except InvocationFailed:
                self._say(500, {"message": "Internal Server Error"})
                return
        said = answer.get("body") or ""
        raw = base64.b64decode(said) if answer.get("isBase64Encoded") else said.encode()
        self._send(int(answer["statusCode"]), answer.get("headers", {}), raw)

    def __getattr__(self, name: str) -> Callable[[], None]:
        if not name.startswith("do_"):
            raise AttributeError(name)
        return self._serve  # any method: what no route has is 404

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            return b"".join(self._chunks())
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= BODY_BYTES:
            raise _TooLarge
        return self.rfile.read(length)

    def _chunks(self) -> Iterable[bytes]:
        total = 0
        while size := int(self.rfile.readline(_CHUNK_SIZE_BYTES).partition(b";")[0], 16):
            total += size
            if not 0 <= size <= BODY_BYTES or total > BODY_BYTES:
                raise _TooLarge
            yield self.rfile.read(size)
            self.rfile.readline(_CHUNK_SIZE_BYTES)
        while self.rfile.readline(1024).strip():  # trailers
            pass

    def _say(self, status: int, message: dict[str, str]) -> None:
        self._send(status, {"Content-Type": "application/json"}, json.dumps(message).encode())

    def _send(self, status: int, headers: dict[str, Any], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a request line may hold a name, and a header a token."""


def event_of(
    method: str,
    path: str,
    query: str,
    headers: Iterable[tuple[str, str]],
    body: bytes,
    route: Route,
    parameters: dict[str, str],
) -> Event:
    """A request as API Gateway tells a function of it, in format 2.0."""
    joined: dict[str, str] = {}
    for name, value in headers:
        joined[name.lower()] = f"{joined[name.lower()]},{value}" if name.lower() in joined else value
    asked: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True, errors="replace"):
        asked[name] = f"{asked[name]},{value}" if name in asked else value
    now = datetime.now(UTC)
    decoded = unquote(path)
    event: Event = {
        "version": "2.0",
        "routeKey": route.key,
        "rawPath": decoded,
        "rawQueryString": query,
        "headers": joined,
        "requestContext": {
            "accountId": "000000000000",
            "apiId": "twin",
            "domainName": joined.get("host", ""),
            "http": {
                "method": method,
                "path": decoded,
                "protocol": "HTTP/1.1",
                "sourceIp": "127.0.0.1",
                "userAgent": joined.get("user-agent", ""),
            },
            "requestId": uuid.uuid4().hex,
            "routeKey": route.key,
            "stage": "$default",
            "time": now.strftime("%d/%b/%Y:%H:%M:%S +0000"),
            "timeEpoch": int(now.timestamp() * 1000),
        },
        "isBase64Encoded": False,
    }
    if asked:
        event["queryStringParameters"] = asked
    if parameters:
        event["pathParameters"] = parameters
    if body:
        said = joined.get("content-type", "").partition(";")[0].strip()
        is_text = bool(_TEXT_TYPE.fullmatch(said)) and "content-encoding" not in joined
        event["body"] = body.decode(errors="replace") if is_text else base64.b64encode(body).decode()
        event["isBase64Encoded"] = not is_text
    return event


def invoker(endpoint_url: str, function: str, region: str, access_key_id: str, secret_access_key: str) -> Invoke:
    """Calls the twin's function."""
    client = boto3.client(
        "lambda",
        endpoint_url=endpoint_url,
        region_name=region,
        aws_access_key_id=access_key_id,
        aws_secret_access_key=secret_access_key,
        config=Config(read_timeout=60, retries={"total_max_attempts": 1}, max_pool_connections=AT_ONCE),
    )

    def invoke(event: Event) -> Event:
        try:
            answer = client.invoke(FunctionName=function, Payload=json.dumps(event).encode())
            said = answer["Payload"].read()
        except (BotoCoreError, ClientError) as error:
            raise InvocationFailed(str(error)) from error
        if "FunctionError" in answer:
            raise InvocationFailed(answer["FunctionError"])
        return cast("Event", json.loads(said))

    return invoke


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m cli.api_gateway", description=__doc__)
    for name in ("--port", "--endpoint-url", "--function", "--template", "--region", "--key", "--secret"):
        parser.add_argument(name, required=True)
    told = parser.parse_args()
    invoke = invoker(told.endpoint_url, told.function, told.region, told.key, told.secret)
    with Gateway(int(told.port), routes_of(Path(told.template)), invoke) as gateway:
        gateway.serve_forever()


if __name__ == "__main__":
    main()
