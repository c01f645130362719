"""AWS's JSON services over keep-alive connections used in turn: what threads would do, without them.

Rule: calls are sent one after another, each on a connection that is free; when all are busy, the oldest call's reply is
read first. So many calls are in flight by one thread, and a slow service slows the sender down.

How a call looks is botocore's word, not ours: for each operation and set of credentials a sample is prepared by the
client, which is kept from sending it, and every call repeats its address and headers. The signature we make of that
sample must be the one botocore made. Where anything is not understood (a proxy, a client certificate, another
signature, a header nobody expected, somebody listening), the client is used alone.

This is no HTTP client. What is not HTTP/1.1 with one Content-Length, all of its body and the right checksum is no
reply: the connection is closed, and whoever asked makes the call by the client. A connection with a reply that was not
read is never used again, whatever was raised meanwhile: the next call would read it.
"""

# Measured: CPU per item, 25 items of 620 bytes a call, signed: urllib3 10.0 µs, http.client 5.6, this way 1.5 (32 in
# flight). A row's share may be 3 at most, so HTTP is read by hand. The signature takes 0.7 of each.

import select
import socket
import ssl
import threading
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from typing import Any, Final
from urllib.parse import urlsplit

from botocore.awsrequest import AWSPreparedRequest
from botocore.exceptions import BotoCoreError
from botocore.httpsession import URLLib3Session, create_urllib3_context, get_cert_path

from importer.aws.signing import Signer
from importer.sinks.quick import Reply

SENDS_FOR_S: Final = 5.0  # a breath is taken between two exchanges; the replies under way come on top
IDLE_S: Final = 15.0  # a frozen function does not hear that it was hung up on, nor does anybody behind a NAT
FAILURES: Final = 3  # exchanges without a single reply, one after another: then this way is closed
CLOSED_FOR_S: Final = 60.0
_HEAD_BYTES: Final = 64 << 10
_BODY_BYTES: Final = 32 << 20  # twice the largest request: what is left of it may come back
_TOGETHER_BYTES: Final = 256 << 10  # head and body are one text if they are short: one packet, one TLS record
_READ_BYTES: Final = 64 << 10

_SIGNED: Final = frozenset({"content-type", "x-amz-target"})
_OURS: Final = frozenset({"x-amz-date", "x-amz-security-token", "authorization", "content-length"})
# Said about one attempt, for AWS's statistics and traces; left out.
_OF_AN_ATTEMPT: Final = frozenset({"amz-sdk-invocation-id", "amz-sdk-request", "x-amzn-trace-id"})
_KNOWN: Final = _SIGNED | _OURS | _OF_AN_ATTEMPT | {"user-agent"}


class _Prepared(BaseException):
    """Carries a request out of botocore, which takes any Exception for an attempt that failed."""

    def __init__(self, request: AWSPreparedRequest) -> None:
        self.request = request


class _NoReply(Exception):
    """What came is not a reply, or not one that can be relied on."""


class Transport:
    """The quick way to the service of one client; see `sinks.quick.Transport`."""

    def __init__(self, client: Any, in_flight: int) -> None:
        self.in_flight = in_flight
        self._client = client
        self._operations: dict[tuple[str, str], _Operation] = {}
        self._idle: list[_Connection] = []
        self._failures = 0
        self._closed_until = 0.0
        self._context: ssl.SSLContext | None = None

    @classmethod
    def of(cls, client: Any, in_flight: int) -> "Transport | None":
        """The quick way, or None where the client is to be used alone."""
        is_plain = type(client._endpoint.http_session) is URLLib3Session and client.meta.config.client_cert is None
        return cls(client, in_flight) if is_plain else None

    def operation(self, method: str, **sample: Any) -> "_Operation":
        """What is learned of one is kept for the next file's sink."""
        return self._operations.setdefault((method, repr(sample)), _Operation(self, method, sample))

    def exchange(
        self, way: "_Way", bodies: Iterable[bytes], in_flight: int, is_done: Callable[[Reply], bool]
    ) -> list[Reply | None]:
        replies: list[Reply | None] = []
        under_way: deque[_Connection] = deque()
        until = time.monotonic() + SENDS_FOR_S
        goes_on = True

        def collect() -> None:
            nonlocal goes_on
            reply = under_way[0].reply()
            connection = under_way.popleft()
            if reply is not None and connection.is_open:
                self._idle.append(connection)
            replies.append(reply)
            goes_on = goes_on and reply is not None and is_done(reply)

        try:
            todo = iter(bodies)
            while goes_on and time.monotonic() < until:
                if len(under_way) >= in_flight:
                    collect()
                    continue
                body = next(todo, None)
                if body is None:
                    break
                connection = self._connection(way)
                under_way.append(connection)
                goes_on = connection.send(way.head(body), body)
            while under_way:
                collect()
        finally:
            for connection in under_way:
                connection.close()
        self._judge(replies)
        return replies

    @property
    def is_closed(self) -> bool:
        return time.monotonic() < self._closed_until

    def _judge(self, replies: list[Reply | None]) -> None:
        self._failures = self._failures + 1 if replies and not any(replies) else 0
        if self._failures >= FAILURES:
            self._failures, self._closed_until = 0, time.monotonic() + CLOSED_FOR_S

    def _connection(self, way: "_Way") -> "_Connection":
        """One that is free, or a new one, which is opened when it is sent on."""
        with suppress(IndexError):
            while True:
                connection = self._idle.pop()
                if connection.address == way.address and connection.is_usable:
                    return connection
                connection.close()
        return _Connection(way.address, self._timeouts, self._tls_context if way.is_secure else None)

    @property
    def _timeouts(self) -> tuple[float, float]:
        config = self._client.meta.config
        return config.connect_timeout, config.read_timeout

    @property
    def _tls_context(self) -> ssl.SSLContext:
        """As botocore makes it, and the host's name is checked by it, too."""
        if self._context is None:
            verify = self._client._endpoint.http_session._verify
            context = create_urllib3_context()
            context.check_hostname = bool(verify)
            if verify:
                context.load_verify_locations(get_cert_path(verify))
            else:
                context.verify_mode = ssl.CERT_NONE
            self._context = context
        return self._context

    def name_of(self, method: str) -> str:
        name: str = self._client.meta.method_to_api_mapping[method]
        return name

    def way(self, method: str, sample: dict[str, Any], credentials: Any) -> "_Way | None":
        """How calls of an operation look; None where botocore's own call is not understood."""
        service = self._client.meta.service_model.service_id.hyphenize()
        if listeners(self._client, f"before-send.{service}.{self.name_of(method)}"):
            return None
        request = self._prepared(method, sample)
        url = urlsplit(request.url)
        if self._client._endpoint.http_session._proxy_config.proxy_url_for(request.url):
            return None
        if (request.method, url.path, url.query, url.username) != ("POST", "/", "", None):
            return None
        headers = {name.lower(): _text(value) for name, value in request.headers.items()}
        if headers.keys() - _KNOWN or not headers.keys() >= _SIGNED | {"authorization"}:
            return None
        _, _, *scope = headers["authorization"].split("/")  # …Credential=key/day/region/service/aws4_request, …
        if len(scope) < 3 or not headers["content-type"].startswith("application/x-amz-json-1."):
            return None
        way = _Way(url.scheme, url.hostname or "", url.port, headers, credentials, scope[0], scope[1])
        return way if way.says(headers, request.body) else None

    def _prepared(self, method: str, sample: dict[str, Any]) -> AWSPreparedRequest:
        """A call as botocore would send it."""
        thread = threading.get_ident()

        def stop(request: AWSPreparedRequest, **_: Any) -> None:
            if threading.get_ident() == thread:
                raise _Prepared(request)

        events = self._client.meta.events
        events.register_first("before-send.*.*", stop)
        try:
            getattr(self._client, method)(**sample)
        except _Prepared as prepared:
            return prepared.request
        finally:
            events.unregister("before-send.*.*", stop)
        raise AssertionError("botocore sent a sample")

    def credentials(self) -> Any:
        """As they are now; renewed if they are about to run out. None where there are none."""
        credentials = self._client._request_signer._credentials
        return None if credentials is None else credentials.get_frozen_credentials()


class _Operation:
    """See `sinks.quick.Operation`."""

    def __init__(self, transport: Transport, method: str, sample: dict[str, Any]) -> None:
        self._transport = transport
        self.name = transport.name_of(method)
        self._method = method
        self._sample = sample
        self._known_for: Any = None
        self._way: _Way | None = None

    def exchange(self, bodies: Iterable[bytes], in_flight: int, is_done: Callable[[Reply], bool]) -> list[Reply | None]:
        try:
            way = None if self._transport.is_closed else self._now()
        except (BotoCoreError, OSError):  # no credentials, an endpoint that is none: the client says it better
            way = None
        return [] if way is None else self._transport.exchange(way, bodies, in_flight, is_done)

    def _now(self) -> "_Way | None":
        credentials = self._transport.credentials()
        if credentials != self._known_for:
            self._way = None if credentials is None else self._transport.way(self._method, self._sample, credentials)
            self._known_for = credentials
        return self._way


class _Way:
    """Where calls of an operation go, and what stands in each of them."""

    def __init__(
        self,
        scheme: str,
        host: str,
        port: int | None,
        headers: dict[str, str],
        credentials: Any,
        region: str,
        service: str,
    ) -> None:
        usual = 443 if scheme == "https" else 80
        name = f"[{host}]" if ":" in host else host
        host_header = name if port in (None, usual) else f"{name}:{port}"
        self.is_secure = scheme == "https"
        self.address = (host, port or usual)
        token = credentials.token or ""
        signed = {name: headers[name] for name in _SIGNED} | {"host": host_header}
        self._signer = Signer(credentials.access_key, credentials.secret_key, token, region, service, signed)
        self._head = (
            f"POST / HTTP/1.1\r\nHost: {host_header}\r\nAccept-Encoding: identity\r\n"
            f"X-Amz-Target: {headers['x-amz-target']}\r\nContent-Type: {headers['content-type']}\r\n"
            f"User-Agent: {headers.get('user-agent', '')}\r\nContent-Length: "
        ).encode()

    def head(self, body: bytes) -> bytes:
        """All of a request that stands before its body, signed now."""
        return b"%b%d\r\n%b\r\n" % (self._head, len(body), self._signer.lines(body, int(time.time())))

    def says(self, headers: dict[str, str], body: Any) -> bool:
        """Whether we date and sign this very call as botocore did."""
        second = int(datetime.fromisoformat(headers["x-amz-date"]).timestamp())
        lines = self._signer.lines(body, second).decode().splitlines()
        ours = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return ours == {name: headers[name] for name in _OURS & headers.keys() - {"content-length"}}


class _Connection:
    """A connection that is sent one call, then read one reply from, and so on."""

    def __init__(self, address: tuple[str, int], timeouts: tuple[float, float], context: ssl.SSLContext | None) -> None:
        self.address = address
        self._connect_s, self._read_s = timeouts
        self._context = context
        self._socket: Any = None
        self._readable = select.poll()
        self._sent_at = 0.0
        # By the clock on the wall: the other may stand still while a function is frozen.
        self._used_at = 0.0

    @property
    def is_open(self) -> bool:
        return self._socket is not None

    @property
    def is_usable(self) -> bool:
        """Whether nobody has hung up on it, and nothing lies in it that nobody asked for."""
        if not 0 <= time.time() - self._used_at <= IDLE_S or self._readable.poll(0):
            return False
        return not (isinstance(self._socket, ssl.SSLSocket) and self._socket.pending())

    def send(self, head: bytes, body: bytes) -> bool:
        """Whether the call could be sent. If not, there will be no reply."""
        try:
            if self._socket is None:
                self._socket = opened(self.address, self._connect_s, self._context)
                self._readable.register(self._socket.fileno(), select.POLLIN)
            self._socket.settimeout(self._read_s)
            if len(body) <= _TOGETHER_BYTES:
                self._socket.sendall(head + body)
            else:
                self._socket.sendall(head)
                self._socket.sendall(body)
        except OSError:
            self.close()
            return False
        self._sent_at = time.monotonic()
        return True

    def reply(self) -> Reply | None:
        """The reply to what was sent, unless it takes longer than the time for that, counted from then."""
        if self._socket is None:
            return None
        try:
            reply, is_last = self._read()
        except (OSError, _NoReply):
            self.close()
            return None
        self._used_at = time.time()
        if is_last or reply.status >= 500:
            self.close()
        return reply

    def _read(self) -> tuple[Reply, bool]:
        text = self._some()
        while (end := text.find(b"\r\n\r\n")) < 0:
            if len(text) > _HEAD_BYTES:
                raise _NoReply("no end of its head")
            text += self._some()
        status, length, checksum, is_last = _head_of(text[:end])
        pieces, missing = [text[end + 4 :]], length - (len(text) - end - 4)
        while missing > 0:
            pieces.append(self._some())
            missing -= len(pieces[-1])
        if missing:
            raise _NoReply("more than its length")
        body = b"".join(pieces)
        if checksum is not None and zlib.crc32(body) != checksum:
            raise _NoReply("another checksum")
        return Reply(status, body), is_last

    def _some(self) -> bytes:
        # When its time is up, what is there already is still taken: 0 is to wait for nothing.
        self._socket.settimeout(max(self._sent_at + self._read_s - time.monotonic(), 0))
        some: bytes = self._socket.recv(_READ_BYTES)
        if not some:
            raise _NoReply("hung up")
        return some

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def opened(address: tuple[str, int], timeout_s: float, context: ssl.SSLContext | None) -> Any:
    """A socket to this address. Raises OSError."""
    made = socket.create_connection(address, timeout_s)
    try:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made if context is None else context.wrap_socket(made, server_hostname=address[0])
    except BaseException:
        made.close()
        raise


def listeners(client: Any, event: str) -> list[Any]:
    """Who would see a call of the client before it is sent, and may answer it. botocore has no public way to ask."""
    return list(client.meta.events._emitter._handlers.prefix_search(event))


def _head_of(head: bytes) -> tuple[int, int, int | None, bool]:
    """Status, length, checksum, and whether the connection ends with this reply."""
    first, *lines = head.split(b"\r\n")
    if first[:9] != b"HTTP/1.1 " or not first[9:12].isdigit() or first[12:13] not in (b" ", b""):
        raise _NoReply("not HTTP/1.1")
    length = checksum = None
    is_last = False
    for line in lines:
        name, colon, value = line.partition(b":")
        name, value = name.lower(), value.strip()
        if not colon or name.strip() != name or not name:
            raise _NoReply("not a header")
        if name == b"content-length":
            if length is not None or not value.isdigit() or len(value) > 9 or int(value) > _BODY_BYTES:
                raise _NoReply("not one length")
            length = int(value)
        elif name in (b"transfer-encoding", b"content-encoding"):
            raise _NoReply("not as it is")
        elif name == b"connection":
            is_last = value.lower() != b"keep-alive"
        elif name == b"x-amz-crc32":
            if not value.isdigit():
                raise _NoReply("not a checksum")
            checksum = int(value)
    status = int(first[9:12])
    if length is None or status < 200:
        raise _NoReply("no length")
    return status, length, checksum, is_last


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
