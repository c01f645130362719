"""The console over a fake cloud: a gateway and a bucket on the loopback address, as a browser reaches them.

    with installed() as place:
        page.goto(f"{place.url}#token={place.token}")

The bucket's stand-in takes signed forms and gives presigned downloads, with S3's CORS as template.yaml asks for it.
What is posted is looked at, or imported, at once; with `place.holds` it waits for `place.deliver()`.
"""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast
from unittest import mock
from urllib.parse import parse_qs, quote, unquote, urlsplit

from samtranslator.yaml_helper import yaml_parse

import app
from cli.api_gateway import Gateway
from importer.aws import clients
from importer.doors.tokens import Right
from tests.support.clock import LambdaContext
from tests.support.cloud import Cloud
from tests.support.door import IMPORTS, ROUTES, Door, opened

TIME_MS = 1_795_000_000_000
_RESOURCES = yaml_parse((Path(__file__).parents[2] / "template.yaml").read_text(encoding="utf-8"))["Resources"]
CORS = _RESOURCES["Bucket"]["Properties"]["CorsConfiguration"]["CorsRules"]


def rows(count: int, bad: int = 0, name: str = "login") -> bytes:
    """Some good rows, and as many that are refused as asked for, of two reasons."""
    lines = [
        json.dumps({"user_id": f"u{number}", "event_name": name, "event_time_ts": TIME_MS + number})
        for number in range(count)
    ]
    for number in range(bad):
        lines[number * count // bad] = '{"user_id": "ann"' if number % 2 else json.dumps({"user_id": f"u{number}"})
    return ("\n".join(lines) + "\n").encode()


class Bucket(ThreadingHTTPServer):
    """S3 for browsers: posts by signed forms, downloads by presigned links."""

    daemon_threads = True

    def __init__(self, place: Installation) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.place = place

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def do_OPTIONS(self) -> None:
        asked = self.headers.get("Access-Control-Request-Method", "")
        allowed = any(asked in rule["AllowedMethods"] for rule in CORS) and not self.headers.get(
            "Access-Control-Request-Headers"
        )
        self._say(200 if allowed else 403, b"", {"Access-Control-Allow-Methods": asked} if allowed else {})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        head = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
        fields: dict[str, Any] = {}
        for part in BytesParser(policy=HTTP).parsebytes(head + body).iter_parts():  # type: ignore[attr-defined]
            fields[part.get_param("name", header="content-disposition")] = part.get_payload(decode=True)
        file, key = fields.pop("file"), fields["key"].decode()
        code = self._refused({name: value.decode() for name, value in fields.items()}, len(file))
        if code:
            self._say(403, f"<Error><Code>{code}</Code></Error>".encode(), {"Access-Control-Allow-Origin": "*"})
            return
        self.server.place.posted(key, file)
        self._say(204, b"", {"Access-Control-Allow-Origin": "*"})

    def _refused(self, fields: dict[str, str], size: int) -> str:
        for condition in json.loads(base64.b64decode(fields["policy"]))["conditions"]:
            match condition:
                case ["content-length-range", least, most]:
                    if not least <= size <= most:
                        return "EntityTooLarge"
                case dict():
                    ((name, value),) = condition.items()
                    if name != "bucket" and fields.get(name) != value:
                        return "AccessDenied"
        return self.server.place.bucket_refuses

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        _, _, key = unquote(address.path).lstrip("/").partition("/")
        query = parse_qs(address.query)
        assert "X-Amz-Signature" in query
        with self.server.place.lock:
            body = self.server.place.cloud.objects(key).get(key)
        disposition = query["response-content-disposition"][0]
        self._say(404 if body is None else 200, body or b"", {"Content-Disposition": disposition})

    def _say(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Access-Control-Allow-Origin": "*", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None: ...


@dataclass
class Installation:
    """Attributes:
    holds: what is posted waits for `deliver`.
    undoes: False: it has no routes of undo, as of a version before them.
    bucket_refuses: the code with which the bucket refuses every form.
    """

    cloud: Cloud
    door: Door
    lock: threading.RLock = field(default_factory=threading.RLock)
    holds: bool = False
    held: list[tuple[str, bytes]] = field(default_factory=list)
    undoes: bool = True
    asked: list[str] = field(default_factory=list)
    bucket_refuses: str = ""
    url: str = ""

    @property
    def token(self) -> str:
        return self.door.token

    def new_token(self, **scopes: list[Right]) -> str:
        with self.lock:
            return self.door.new_token({"*" if name == "every" else name: rights for name, rights in scopes.items()})

    def posted(self, key: str, body: bytes) -> None:
        if self.holds:
            self.held.append((key, body))
        else:
            self.deliver([(key, body)])

    def deliver(self, posts: list[tuple[str, bytes]] | None = None) -> None:
        """What S3's notifications start."""
        with self.lock:
            for key, body in self.held if posts is None else posts:
                event = self.cloud.drop(key, body)
                if key.startswith("previews/"):
                    app.preview_handler(event, LambdaContext(self.cloud.clock, 300))
                else:
                    app.lambda_handler(event, LambdaContext(self.cloud.clock))
            if posts is None:
                self.held.clear()

    def work(self) -> None:
        """What lies in the queues is done."""
        with self.lock:
            while (received := self.cloud.receive()) is not None:
                handle, task = received
                app.part_handler({"Records": [{"body": task}]}, LambdaContext(self.cloud.clock, 300))
                self.cloud.delete_message(handle)

    def imported(self, key: str, body: bytes) -> str:
        """Id of the execution of a file that was dropped."""
        with self.lock:
            self.cloud.clock.advance(1_000)
            self.deliver([(key, body)])
            found = self.door.get("/v1/executions", max_results=1, key=key).json["data"]
            return cast("str", found[0]["id"])

    def define(self, **settings: Any) -> None:
        with self.lock:
            assert self.door.post(IMPORTS, json=settings).status == 200

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        with self.lock:
            http = event["requestContext"]["http"]
            self.asked.append(f"{http['method']} {event['rawPath']}")
            if event["rawPath"].endswith("/undo") and not self.undoes:
                return _json(404, {"status": 404, "code": "no_such_route", "detail": "there is no such resource"})
            return self.door.invoke(event)


def _json(status: int, body: Any) -> dict[str, Any]:
    return {"statusCode": status, "headers": {"Content-Type": "application/json"}, "body": json.dumps(body)}


@contextmanager
def installed() -> Iterator[Installation]:
    with Cloud(strict=False) as cloud:
        place = Installation(cloud, cast("Door", None))
        bucket = Bucket(place)

        def signer() -> Any:
            made = clients.session().create_client("s3", config=clients.SIGNING, endpoint_url=bucket.url)
            return cast("Any", made)

        app._preview_places.cache_clear()
        with mock.patch.object(clients, "signer", signer), opened(cloud) as door:
            place.door = door
            with Gateway(0, ROUTES(), place.invoke) as gateway:
                place.url = f"{gateway.url}/console"
                for server in (gateway, bucket):
                    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
                yield place
                gateway.shutdown()
                bucket.shutdown()
                bucket.server_close()
        app._preview_places.cache_clear()


def key_of(name: str, import_id: str = "") -> str:
    return f"imports/{import_id}/{name}" if import_id else f"imports/{name}"


def quoted(text: str) -> str:
    return quote(text, safe="")
