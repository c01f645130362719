"""An S3 on a real socket that gives objects badly: each GET is answered by the next line of a script.

    with ScriptedS3(BODY, [reset_after(1000), honest]) as s3:
        assert b"".join(s3.objects().read(s3.source(), 0)) == BODY
        assert s3.ranges == [None, "bytes=1000-"]

The emulators sit above the socket, so a broken connection can only be acted there; here the kernel breaks it. The
clients have time-outs of tenths of a second, and the reader's limits are scaled down alike: nothing here waits long.
"""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import boto3
from botocore.config import Config

from importer.aws import reading
from importer.aws.clock import SystemClock
from importer.aws.objects import S3Objects
from importer.model import S3Object

READ_TIMEOUT_SECONDS = 0.3
LIFE_SECONDS = 30  # of a server; a test takes less than a second


@dataclass
class Get:
    """One request, and the connection its answer goes to."""

    connection: socket.socket
    headers: dict[str, str]
    body: bytes
    etag: str
    ending: threading.Event

    @property
    def range(self) -> str | None:
        return self.headers.get("range")

    def wanted(self) -> tuple[int, int]:
        """`[start, stop)` of what was asked for."""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.range or "bytes=0-")
        assert asked, self.range
        return int(asked[1]), int(asked[2]) + 1 if asked[2] else len(self.body)

    def head(self, length: int | None, **more: str) -> bytes:
        """Status and headers, as S3 gives them for what was asked."""
        start, stop = self.wanted()
        status = "206 Partial Content" if self.range else "200 OK"
        named = {"ETag": f'"{self.etag}"', "Last-Modified": "Fri, 20 Nov 2026 12:00:00 GMT"}
        if self.range:
            named["Content-Range"] = f"bytes {start}-{stop - 1}/{len(self.body)}"
        if length is not None:
            named["Content-Length"] = str(length)
        named |= {name.replace("_", "-"): value for name, value in more.items()}
        status = named.pop("status", status)
        return (f"HTTP/1.1 {status}\r\n" + "".join(f"{n}: {v}\r\n" for n, v in named.items()) + "\r\n").encode()

    def part(self) -> bytes:
        start, stop = self.wanted()
        return self.body[start:stop]

    def wait(self, seconds: float) -> None:
        """Sleep, or return when the server ends."""
        self.ending.wait(seconds)


Answer = Callable[[Get], None]


# --- ways to answer -----------------------------------------------------------------------------------------------


def honest(get: Get) -> None:
    """All that was asked for."""
    get.connection.sendall(get.head(len(get.part())) + get.part())


def in_chunks(get: Get) -> None:
    """With Transfer-Encoding: chunked, and so without a length."""
    pieces = [get.part()[at : at + 777] for at in range(0, len(get.part()), 777)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in [*pieces, b""])
    get.connection.sendall(get.head(None, Transfer_Encoding="chunked") + body)


def reset_after(count: int) -> Answer:
    """RST in the middle of the body."""

    def answer(get: Get) -> None:
        get.connection.sendall(get.head(len(get.part())) + get.part()[:count])
        get.wait(0.05)  # else the kernel throws away what it has not delivered yet
        get.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        get.connection.close()

    return answer


def closed_after(count: int, with_length: bool = True) -> Answer:
    """FIN in the middle of the body: with a length, a lie; without one, nothing in HTTP says that it was cut (C2)."""

    def answer(get: Get) -> None:
        get.connection.sendall(get.head(len(get.part()) if with_length else None) + get.part()[:count])
        get.connection.close()

    return answer


def closed_in_the_headers(get: Get) -> None:
    """Half a reply."""
    get.connection.sendall(get.head(len(get.part()))[:40])
    get.connection.close()


def chunks_cut(get: Get) -> None:
    """A chunked body without its end."""
    get.connection.sendall(get.head(None, Transfer_Encoding="chunked") + b"%x\r\n%s" % (1000, get.part()[:500]))
    get.connection.close()


def stalled_after(count: int) -> Answer:
    """The body stops coming, the connection stays open."""

    def answer(get: Get) -> None:
        get.connection.sendall(get.head(len(get.part())) + get.part()[:count])
        get.wait(LIFE_SECONDS)

    return answer


def trickling(bytes_at_once: int, seconds: float) -> Answer:
    """A little at a time, for ever below the read time-out (C3)."""

    def answer(get: Get) -> None:
        get.connection.sendall(get.head(len(get.part())))
        for at in range(0, len(get.part()), bytes_at_once):
            get.connection.sendall(get.part()[at : at + bytes_at_once])
            if get.ending.wait(seconds):
                return

    return answer


def late(seconds: float) -> Answer:
    """The first byte takes its time."""

    def answer(get: Get) -> None:
        get.wait(seconds)
        honest(get)

    return answer


def range_ignored(get: Get) -> None:
    """200 with the whole body, which HTTP allows (N11)."""
    get.connection.sendall(get.head(len(get.body), status="200 OK") + get.body)


def other_range(text: str) -> Answer:
    """206, but of bytes nobody asked for."""
    return lambda get: get.connection.sendall(get.head(len(get.part()), Content_Range=text) + get.part())


def refused(status: str, code: str) -> Answer:
    """An error document."""

    def answer(get: Get) -> None:
        body = f"<Error><Code>{code}</Code><Message>scripted</Message></Error>".encode()
        get.connection.sendall(get.head(len(body), status=status, Content_Type="application/xml") + body)

    return answer


def with_checksum(of: bytes) -> Answer:
    """A whole body with the CRC32 of `of`."""
    crc = base64.b64encode(struct.pack(">I", zlib.crc32(of))).decode()
    return lambda get: get.connection.sendall(
        get.head(len(get.part()), x_amz_checksum_crc32=crc, x_amz_checksum_type="FULL_OBJECT") + get.part()
    )


# --- the server ---------------------------------------------------------------------------------------------------


@dataclass
class ScriptedS3:
    """One object, and how each GET of it is answered; the last line of the script answers all that follow.

    Before the script, If-Match is looked at as S3 does: 412 where it names another ETag.
    """

    body: bytes
    script: Sequence[Answer]
    etag: str = ""
    requests: list[dict[str, str]] = field(default_factory=list)

    def __enter__(self) -> ScriptedS3:
        self.etag = self.etag or hashlib.md5(self.body).hexdigest()
        self._ending = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self._until = time.monotonic() + LIFE_SECONDS
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(5)
        self._listener.close()

    @property
    def ranges(self) -> list[str | None]:
        """What each GET asked for."""
        return [headers.get("range") for headers in self.requests]

    def client(self, attempts: int = 1) -> Any:
        """A real one of botocore's, on a real socket."""
        return boto3.client(
            "s3",
            region_name="us-east-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
            endpoint_url=f"http://127.0.0.1:{self._listener.getsockname()[1]}",
            config=Config(
                connect_timeout=1,
                read_timeout=READ_TIMEOUT_SECONDS,
                retries={"total_max_attempts": attempts},
                s3={"addressing_style": "path"},
                proxies={},
            ),
        )

    def objects(self, attempts: int = 1, clock: ImpatientClock | None = None) -> S3Objects:
        return S3Objects(self.client(attempts), clock or ImpatientClock())

    def source(self) -> S3Object:
        return S3Object("b", "imports/a.json", None, hashlib.md5(self.body).hexdigest(), len(self.body), 0)

    def _accept(self) -> None:
        while not self._ending.is_set() and time.monotonic() < self._until:
            with suppress(TimeoutError):
                connection, _ = self._listener.accept()
                self._threads.append(threading.Thread(target=self._serve, args=(connection,), daemon=True))
                self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        connection.settimeout(0.1)
        with connection, suppress(OSError):
            for headers in self._requests_on(connection):
                number = len(self.requests)
                self.requests.append(headers)
                get = Get(connection, headers, self.body, self.etag, self._ending)
                if headers.get("if-match", self.etag).strip('"') != self.etag:
                    refused("412 Precondition Failed", "PreconditionFailed")(get)
                else:
                    connection.settimeout(LIFE_SECONDS)
                    self.script[min(number, len(self.script) - 1)](get)
                connection.settimeout(0.1)

    def _requests_on(self, connection: socket.socket) -> Iterator[dict[str, str]]:
        waiting = b""
        while not self._ending.is_set() and time.monotonic() < self._until:
            with suppress(TimeoutError):
                got = connection.recv(65536)
                if not got:
                    return
                waiting += got
            if b"\r\n\r\n" in waiting:
                text, _, waiting = waiting.partition(b"\r\n\r\n")
                pairs = (line.partition(": ") for line in text.decode().split("\r\n")[1:])
                yield {name.lower(): value for name, _, value in pairs}


class ImpatientClock(SystemClock):
    """Real time, but nobody waits between two tries, and a test may let time pass."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms

    def sleep(self, seconds: float) -> None: ...


@contextmanager
def small_limits(window_bytes: int = 1000, window_ms: int = 200, moment_ms: int = 50) -> Iterator[None]:
    """The reader's limits in tenths of seconds."""
    with (
        mock.patch.object(reading, "WINDOW_BYTES", window_bytes),
        mock.patch.object(reading, "WINDOW_MS", window_ms),
        mock.patch.object(reading, "MOMENT_MS", moment_ms),
    ):
        yield
