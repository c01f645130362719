"""The HTTP door over a fake cloud: requests as a client sends them, through the gateway's stand-in, to app.api_handler.

    with Cloud() as cloud, opened(cloud) as door:
        reply = door.post("/v1/datamarts/1/document_imports", json={"name": "The shop"})
        assert (reply.status, reply.json["data"]["id"]) == (200, "the-shop")

`door.deliver()` does what S3's notification of every file in imports/ does.
"""

import base64
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urlencode

import app
from cli.api_gateway import event_of, routes_of
from importer import assembly
from importer.doors.tokens import EVERY_IMPORT, Right, new_token
from importer.model import Value

from .clock import LambdaContext
from .cloud import Cloud
from .cloud import Dropped as Upload

TOKENS = "/importer/stack/tokens"
SECONDS = 29
NDJSON = "application/x-ndjson"
IMPORTS = "/v1/datamarts/1/document_imports"
# One environment of Lambda may serve many requests: the table of routes is made once.
ROUTES = cache(lambda: routes_of(Path(__file__).parents[2] / "template.yaml"))


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> tuple[int, str]:
        """Status and code of a problem."""
        assert self.headers["content-type"] == "application/problem+json", self
        said = self.json
        assert said["status"] == self.status
        assert said["detail"]
        return self.status, said["code"]


class Door:
    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.token = self.new_token({EVERY_IMPORT: [Right.ADMIN]})

    def new_token(self, scopes: Mapping[str, list[Right]], expires_ms: int | None = None) -> str:
        made = new_token("a test's", scopes, self.cloud.clock.now_ms(), expires_ms)
        with self.cloud.unseen():
            self.cloud.client("ssm").put_parameter(
                Name=f"{TOKENS}/{made.stored.token_id}", Value=made.stored.text(), Type="SecureString"
            )
        return made.text

    def invoke(self, event: dict[str, Any]) -> dict[str, Any]:
        return app.api_handler(event, LambdaContext(self.cloud.clock, SECONDS))

    def request(
        self,
        method: str,
        path: str,
        body: bytes | str = b"",
        *,
        json: Value = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        token: str | None = "",
    ) -> Reply:
        """One request. `token`: "" is one that may do everything, None is no header at all."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = token or self.token
        if json is not None:
            sent.setdefault("Content-Type", "application/json")
            body = globals()["json"].dumps(json)
        raw = body.encode() if isinstance(body, str) else body
        for route in ROUTES():
            parameters = route.matched(method, path)
            if parameters is not None:
                break
        else:
            return Reply(404, {"content-type": "application/json"}, b'{"message":"Not Found"}')
        event = event_of(method, path, urlencode(query or {}), sent.items(), raw, route, parameters)
        answer = self.invoke(event)
        said = answer.get("body") or ""
        return Reply(
            answer["statusCode"],
            {name.lower(): value for name, value in answer["headers"].items()},
            base64.b64decode(said) if answer.get("isBase64Encoded") else said.encode(),
        )

    def get(self, path: str, **asked: Any) -> Reply:
        return self.request("GET", path, query=asked)

    def post(self, path: str, body: bytes | str = b"", **more: Any) -> Reply:
        return self.request("POST", path, body, **more)

    def made(self, **settings: Value) -> str:
        """Path of a new document import."""
        reply = self.post(IMPORTS, json=settings)
        assert reply.status == 200, reply.body
        return f"{IMPORTS}/{reply.json['data']['id']}"

    def deliver(self) -> None:
        """S3's notifications of all that lies in imports/, each once, and then the tasks that are due."""
        for key in self.cloud.objects("imports/"):
            version, body = self.cloud.versions(key)[-1]
            upload = Upload(key, body or b"", version, (self.cloud.etag(key) or "").strip('"'), {})
            app.lambda_handler(self.cloud.notification(upload), LambdaContext(self.cloud.clock))
        while (received := self.cloud.receive()) is not None:
            handle, task = received
            app.part_handler({"Records": [{"body": task}]}, LambdaContext(self.cloud.clock, 300))
            self.cloud.delete_message(handle)


@contextmanager
def opened(cloud: Cloud, **variables: str) -> Iterator[Door]:
    """All functions, told of this cloud by the variables template.yaml sets."""
    environment = {
        "BUCKET_NAME": cloud.bucket,
        "EVENTS_TABLE": cloud.events_table,
        "USERS_TABLE": cloud.users_table,
        "IMPORTS_TABLE": cloud.imports_table,
        "SINKS": "dynamodb",
        "PART_QUEUE_URL": cloud.part_queue_url,
        "TOKENS_PATH": TOKENS,
        "FETCH_QUEUE_URL": cloud.dead_letter_queue_url,  # nobody takes from it here
        **variables,
    }
    app._workplaces.cache_clear()
    app._front.cache_clear()
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(assembly, "SystemClock", return_value=cloud.clock),
        mock.patch.object(assembly, "IN_FLIGHT", 1),
        mock.patch.object(assembly, "QUICK_IN_FLIGHT", 1),
    ):
        yield Door(cloud)
    app._workplaces.cache_clear()
    app._front.cache_clear()
