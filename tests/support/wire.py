"""The one place where every AWS call of a test passes.

Rule: moto answers botocore through `BotocoreStubber.__call__`, once per HTTP attempt, the SDK's own retries
included. We stand around that method, so whatever is decided here (refuse, kill, lose, overwrite) is decided per
attempt and *instead of* or *around* the execution. A `before-send` handler of our own would not do: botocore asks all
handlers, so moto would execute the call although we had answered it (hazards M).

The importer's own transport opens sockets itself: here it is given the ends of a wire (`WireSocket`), so its code runs
as deployed, but for the network. Any other would have to be pointed at `Wire.send`; should one be forgotten, the guard
on `socket.connect` fails the test rather than let a call out.

The order around one attempt:
    is the delivery dead? → whose turn is it? → write the journal → faults( strict layer( moto ) )
"""

from __future__ import annotations

import json
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from io import BytesIO
from typing import TYPE_CHECKING
from unittest import mock
from urllib.parse import parse_qs, unquote, urlsplit

from botocore.awsrequest import AWSPreparedRequest, AWSResponse, HeadersDict
from botocore.exceptions import ReadTimeoutError
from botocore.httpsession import URLLib3Session
from moto.core.botocore_stubber import BotocoreStubber, MockRawResponse
from moto.core.models import botocore_stubber

from importer.aws import transport
from importer.aws.transport import Transport
from importer.sinks.calls import LOST

from . import strict
from .clock import CALL_MS

if TYPE_CHECKING:
    from .clock import LambdaContext
    from .cloud import Cloud

Execute = Callable[[], AWSResponse]
Around = Callable[["Call", Execute], AWSResponse]
Watch = Callable[["Call", AWSResponse], None]


class Killed(BaseException):
    """The process is gone (SIGKILL, out of memory, Lambda's time-out).

    Not an Exception: no `except Exception` may survive it. A `finally` still runs in Python where none would run in
    a killed process, therefore the delivery stays dead and every later AWS call or sleep of it raises again.
    """


@dataclass
class Delivery:
    """One run of the importer's code: it counts its own calls and dies alone.

    Args:
        deadline_ms: Lambda's time-out, when it is killed.
        context: what it is told of its time.
        skew_ms: how far its machine's clock is wrong.
    """

    name: str
    around: list[Around] = field(default_factory=list)
    deadline_ms: int | None = None
    context: LambdaContext | None = None
    skew_ms: int = 0
    calls: list[Call] = field(default_factory=list)
    dead: bool = False

    @property
    def journal(self) -> list[str]:
        """What it asked AWS to do, in order, one readable line per HTTP attempt."""
        return [call.label for call in self.calls]

    def die(self) -> Killed:
        """The exception to raise; from now on nothing of this delivery reaches AWS."""
        self.dead = True
        return Killed(self.name)


@dataclass
class Call:
    """One HTTP attempt. `index` counts from 1 within its delivery: "call 17" is the seventeenth; `serial` counts from 1
    over all deliveries of a cloud.
    """

    index: int
    service: str
    operation: str
    request: AWSPreparedRequest
    cloud: Cloud
    delivery: Delivery
    serial: int = 0

    @property
    def url(self) -> str:
        return self.request.url

    def header(self, name: str) -> str | None:
        value = self.request.headers.get(name)
        return value.decode() if isinstance(value, bytes) else value

    @property
    def query(self) -> dict[str, str]:
        pairs = parse_qs(urlsplit(self.url).query, keep_blank_values=True)
        return {name: values[0] for name, values in pairs.items()}

    @property
    def body(self) -> bytes:
        """The request's bytes. A stream is read and put back."""
        body = self.request.body
        if body is None:
            return b""
        if isinstance(body, str):
            return body.encode()
        if isinstance(body, (bytes, bytearray)):
            return bytes(body)
        position = body.tell() if hasattr(body, "tell") else 0
        read = body.read()
        body.seek(position)
        return read

    @property
    def document(self) -> dict:
        """The JSON the caller sent; empty for services that do not speak JSON."""
        try:
            document = json.loads(self.body or b"{}")
        except ValueError:
            return {}
        return document if isinstance(document, dict) else {}

    @property
    def fields(self) -> dict[str, str]:
        """The form the caller sent, to a service that speaks AWS's query protocol."""
        return {name: values[0] for name, values in parse_qs(self.body.decode(), keep_blank_values=True).items()}

    def with_document(self, document: dict) -> None:
        """Change what will be executed."""
        self.request.body = json.dumps(document).encode()
        self.request.headers["Content-Length"] = str(len(self.request.body))

    @property
    def key(self) -> str | None:
        """The object key of an S3 call, decoded."""
        if self.service != "s3":
            return None
        parts = urlsplit(self.url)
        path = unquote(parts.path)[1:]
        bucket = self.cloud.bucket
        if not parts.netloc.startswith(bucket + "."):
            path = path[len(bucket) + 1 :] if path.startswith(bucket + "/") else ""
        return path or None

    @property
    def label(self) -> str:
        """E.g. `s3 PutObject work/8f2c/errors/000`, `dynamodb UpdateItem imports EXEC#8f2c EXEC`."""
        words = [self.service, self.operation]
        if self.service == "s3":
            words.append(self.key or self.query.get("prefix", ""))
        elif self.service == "dynamodb":
            words += _subject_of_table_call(self.document)
        elif self.service == "firehose":
            words.append(f"x{len(self.document.get('Records', [1]))}")
        elif self.service == "sqs":
            words.append(f"x{len(self.document.get('Entries', [1]))}")
        elif self.service == "eventbridge":
            words += [entry["DetailType"] for entry in self.document["Entries"]]
        elif self.service == "sns":
            words.append(self.fields.get("Subject", ""))
        return " ".join(word for word in words if word)


def _subject_of_table_call(document: dict) -> list[str]:
    if "RequestItems" in document:
        return [f"{table} x{len(requests)}" for table, requests in document["RequestItems"].items()]
    words = [document.get("TableName", "")]
    item = document.get("Key") or document.get("Item") or {}
    for name in ("pk", "sk", "user_id", "event_key", "record"):
        if name in item:
            words.append(item[name].get("S", ""))
    return words


def answer_of(call: Call, status: int, headers: dict[str, str], body: bytes) -> AWSResponse:
    """What the client would have read from the socket."""
    return AWSResponse(call.url, status, HeadersDict(headers), MockRawResponse(body))


class _PerThread(threading.local):
    delivery: Delivery | None = None
    unseen: bool = False


class Wire:
    """All AWS traffic of one cloud.

    `turn`, when set, is called before every attempt; the interleaving hands over between threads there. `watchers` see
    every attempt that was executed, at the instant it was, whatever the client is told of it.
    Calls outside any delivery are journaled under `ambient`. Unless `quick`, botocore makes all calls alone.
    """

    def __init__(self, cloud: Cloud, strict_layer: bool = True, quick: bool = True) -> None:
        self.cloud = cloud
        self.quick = quick
        self.strict_layer = strict_layer
        self.ambient = Delivery("ambient")
        self.turn: Callable[[Delivery], None] | None = None
        self.watchers: list[Watch] = []
        self.serial = 0
        self._here = _PerThread()
        self._numbering = threading.Lock()

    @property
    def delivery(self) -> Delivery:
        """The delivery this thread works for."""
        return self._here.delivery or self.ambient

    @contextmanager
    def delivering(self, delivery: Delivery) -> Iterator[Delivery]:
        """Everything this thread (and threads it starts) does belongs to `delivery`, also where a test acts unseen."""
        before = self._here.delivery, self._here.unseen
        self._here.delivery, self._here.unseen = delivery, False
        try:
            yield delivery
        finally:
            self._here.delivery, self._here.unseen = before

    @contextmanager
    def unseen(self) -> Iterator[None]:
        """Calls of the test itself: no faults, no strictness, no journal, no time."""
        before, self._here.unseen = self._here.unseen, True
        try:
            yield
        finally:
            self._here.unseen = before

    def exchange(self, service: str, operation: str, request: AWSPreparedRequest, execute: Execute) -> AWSResponse:
        """One attempt, through everything that stands around moto."""
        if self._here.unseen:
            return execute()
        delivery = self.delivery
        self.check_alive(delivery)
        if self.turn is not None:
            self.turn(delivery)
            self.check_alive(delivery)
        self.cloud.clock.advance(self.cloud.write_ms if operation == "BatchWriteItem" else CALL_MS)
        with self._numbering:
            self.serial += 1
            call = Call(len(delivery.calls) + 1, service, operation, request, self.cloud, delivery, self.serial)
            delivery.calls.append(call)
        self.check_alive(delivery)

        def refuse_or_execute() -> AWSResponse:
            answer = strict.executed(call, execute) if self.strict_layer else execute()
            for watch in self.watchers:
                watch(call, answer)
            return answer

        chain: Execute = refuse_or_execute
        for around in reversed(delivery.around):
            chain = _around(around, call, chain)
        return chain()

    def check_alive(self, delivery: Delivery | None = None) -> None:
        """Raises: Killed, if this delivery is dead or its time is up."""
        delivery = delivery or self.delivery
        if delivery.deadline_ms is not None and self.cloud.clock.now_ms() >= delivery.deadline_ms:
            delivery.dead = True
        if delivery.dead:
            raise delivery.die()

    def send(self, method: str, url: str, headers: dict[str, str], body: bytes) -> tuple[int, dict[str, str], bytes]:
        """The door for a transport that does not go through botocore: request in, answer out.

        Raises: botocore's connection errors, where a fault says so.
        """
        request = AWSPreparedRequest(method, url, HeadersDict(headers), body, False)
        answer = self.exchange(*_name_of(request), request, lambda: _executed_by_moto(request))
        return answer.status_code, dict(answer.headers), answer.raw.read()

    @contextmanager
    def installed(self) -> Iterator[Wire]:
        """Stand around moto, around botocore's own HTTP session, and in front of the network."""
        wire, by_moto = self, BotocoreStubber.__call__
        start_thread = threading.Thread.start
        connect = socket.socket.connect

        def intercepted(stubber: BotocoreStubber, event_name: str, request: AWSPreparedRequest, **more: object):
            if not stubber.enabled:
                return None
            _, service, operation = event_name.split(".")
            return wire.exchange(service, operation, request, lambda: by_moto(stubber, event_name, request, **more))

        def sent(session: URLLib3Session, request: AWSPreparedRequest):
            return wire.exchange(*_name_of(request), request, lambda: _executed_by_moto(request))

        def start_as_child(thread: threading.Thread) -> None:
            delivery, run = wire._here.delivery, thread.run

            def run_for_delivery() -> None:
                wire._here.delivery = delivery
                run()

            if delivery is not None:
                thread.run = run_for_delivery  # type: ignore[method-assign]
            start_thread(thread)

        def stay_home(sock: socket.socket, address: object) -> None:
            if isinstance(address, tuple) and address[0] not in ("127.0.0.1", "::1", "localhost"):
                raise AssertionError(f"a call left the fake cloud for {address}: point the transport at Wire.send")
            connect(sock, address)  # type: ignore[arg-type]

        with (
            mock.patch.object(BotocoreStubber, "__call__", intercepted),
            mock.patch.object(URLLib3Session, "send", sent),
            mock.patch.object(threading.Thread, "start", start_as_child),
            mock.patch.object(socket.socket, "connect", stay_home),
            mock.patch.object(transport, "opened", lambda address, timeout_s, context: WireSocket(wire, address[0])),
            mock.patch.object(transport, "listeners", return_value=[]),  # moto does
            # Nothing is encrypted here, and to read all authorities' certificates is a tenth of a scenario's CPU.
            mock.patch.object(transport.Transport, "_tls_context", None),
            nullcontext() if self.quick else mock.patch.object(Transport, "of", return_value=None),
        ):
            yield self


class WireSocket:
    """An end of a connection whose other end is AWS: a call is executed when all of it was sent."""

    def __init__(self, wire: Wire, host: str) -> None:
        self._wire = wire
        self._host = host
        self._mine, self._others = socket.socketpair()  # only to be looked at: readable means that AWS hung up
        self._request = b""
        self._reply = b""
        self._lost: Exception | None = None

    def fileno(self) -> int:
        return self._mine.fileno()

    def settimeout(self, seconds: float) -> None: ...

    def sendall(self, some: bytes) -> None:
        self._request += some
        head, _, body = self._request.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        assert first == "POST / HTTP/1.1", "the fake cloud knows no other call of ours"
        if len(body) < int(headers["Content-Length"]):
            return
        assert len(body) == int(headers["Content-Length"])
        assert not self._reply, "a reply was not read, and the next call sent"
        self._request = b""
        try:
            status, answered, text = self._wire.send("POST", f"https://{headers['Host']}/", headers, body)
        except LOST as lost:
            self._lost = TimeoutError() if isinstance(lost, ReadTimeoutError) else ConnectionResetError()
            self._others.close()
            return
        told = {name.lower(): value for name, value in answered.items()}
        told |= {"content-length": str(len(text)), "x-amz-crc32": str(zlib.crc32(text))}
        self._reply = f"HTTP/1.1 {status} Said\r\n".encode()
        self._reply += "".join(f"{name}: {value}\r\n" for name, value in told.items()).encode() + b"\r\n" + text

    def recv(self, most: int) -> bytes:
        if self._lost is not None:
            raise self._lost
        some, self._reply = self._reply[: min(most, 100)], self._reply[min(most, 100) :]
        return some

    def close(self) -> None:
        self._mine.close()
        self._others.close()


def _around(around: Around, call: Call, chain: Execute) -> Execute:
    return lambda: around(call, chain)


def _executed_by_moto(request: AWSPreparedRequest) -> AWSResponse:
    status, headers, body = botocore_stubber.process_request(request)  # type: ignore[misc]
    return AWSResponse(request.url, status, HeadersDict(headers), MockRawResponse(body))


_S3_BY_METHOD = {"GET": "GetObject", "HEAD": "HeadObject", "PUT": "PutObject", "DELETE": "DeleteObject"}


def _name_of(request: AWSPreparedRequest) -> tuple[str, str]:
    """Service and operation of a request that carries no botocore event name."""
    target = request.headers.get("X-Amz-Target")
    if target:
        target = target.decode() if isinstance(target, bytes) else target
        prefix, operation = target.split(".")
        service = prefix.split("_")[0].lower()
        return service.replace("amazonsqs", "sqs"), operation
    return "s3", _S3_BY_METHOD.get(request.method, "PostObject")


class BrokenBody(BytesIO):
    """A response body that ends its life after `good` bytes, in the way `end` says (None: as if complete)."""

    def __init__(self, body: bytes, good: int, end: Callable[[], Exception] | None) -> None:
        super().__init__(body[:good])
        self._end = end

    def read(self, amount: int | None = -1) -> bytes:
        read = super().read(-1 if amount is None else amount)
        wanted_more = amount is None or amount < 0 or (amount > 0 and not read)
        if self._end is not None and wanted_more:
            raise self._end()
        return read

    def read1(self, amount: int | None = -1) -> bytes:
        return self.read(amount)

    def readinto(self, buffer) -> int:  # type: ignore[override, no-untyped-def]
        read = self.read(len(buffer))
        buffer[: len(read)] = read
        return len(read)

    def stream(self, amount: int = 65536, **_: object) -> Iterator[bytes]:
        while piece := self.read(amount):
            yield piece
