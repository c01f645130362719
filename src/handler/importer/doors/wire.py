"""A file from a web server: resolve, judge every address, connect to one of them, ask, follow redirects (J1, J2).

Rule: between judging an address and connecting to it nothing is resolved. The socket is connected to the address, and
the *name* goes into TLS (SNI, and the certificate is verified against it) and into the Host header. Each redirect, and
each later request for the rest of a file, begins with resolving and judging again, so a name that is pointed elsewhere
meanwhile (rebinding) is judged where it points then.

Every wait is bounded: one receive by IDLE_S, and all that belongs to an answer by the time its caller gives. A server
that sends a byte now and then is cut there (C3). Proxies of the environment are not looked at: through one, it would be
the proxy that resolves.

http.client reads the answer, since it is strict about lines and chunks; connecting is ours, and so is counting bytes,
since http.client ends a body that was cut as if it were whole (C2).
"""

import http.client
import io
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, Final

from importer.doors.addresses import MOST_REDIRECTS, AllowedHosts, HttpSource, redirected
from importer.fetches import Cut, FetchReason, Refused

CONNECT_S: Final = 10.0
IDLE_S: Final = 30.0  # without a byte; servers that make a file while they send it pause for seconds
HEAD_S: Final = 60.0  # for a connection, the request and the answer's head, of one hop of redirects
CHUNK_BYTES: Final = 256 << 10
AGENT: Final = "s3-event-importer (+import by URI)"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_WAIT_S: Final = 900  # of what Retry-After asks for; SQS delays no longer

Resolver = Callable[[str, int], list[str]]


def resolved(host: str, port: int) -> list[str]:
    """Every address of a name, in the resolver's order. Raises Cut: there is none, or the resolver does not answer."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise Cut(f"the name {host} cannot be resolved") from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


@cache
def system_trust() -> ssl.SSLContext:
    """The machine's certificate authorities; certificate and name are verified, TLS 1.2 is the least."""
    return ssl.create_default_context()


@dataclass(frozen=True, slots=True)
class Wire:
    """How web servers are reached.

    Args:
        resolve: gives the addresses of a name.
        trust: by which certificates are verified; made when a first one is.
        most_bytes: a longer body is refused.
    """

    hosts: AllowedHosts
    most_bytes: int
    resolve: Resolver = resolved
    trust: Callable[[], ssl.SSLContext] = system_trust

    def opened(self, source: HttpSource, offset: int, validator: str, until: float) -> "HttpBody":
        """The file from `offset` on, if it is still the version of this validator; else from its begin.

        Args:
            until: of time.monotonic: by then the body is read, or it is cut.
        Raises:
            Refused, Cut.
        """
        for _ in range(MOST_REDIRECTS + 1):
            self.hosts.judge_host(source)
            answer = self._asked(source, offset, validator, until)
            if answer.status == 416 and offset and not _ends_at(answer, offset):
                answer.close()
                offset = 0  # it has become shorter, so it has changed: from its begin
                continue
            if answer.status not in _REDIRECTS:
                return _body(source, answer, offset, validator, self.most_bytes)
            answer.close()
            location = answer.headers.get("location", "")
            if not location:
                raise Refused(FetchReason.BAD_REDIRECT, f"{source.shown} redirects without saying where to")
            source = redirected(source, location)
        raise Refused(
            FetchReason.BAD_REDIRECT,
            f"more than {MOST_REDIRECTS} redirects, the last to {source.shown}: give the URI where they end",
        )

    def _asked(self, source: HttpSource, offset: int, validator: str, until: float) -> "_Answer":
        head_until = min(until, time.monotonic() + HEAD_S)
        connection = self._connected(source, head_until)
        try:
            reader = _Reader(connection, head_until)
            response = http.client.HTTPResponse(reader, method="GET")  # type: ignore[arg-type]  # only makefile is used
            connection.settimeout(_left(head_until))
            connection.sendall(_request(source, offset, validator))
            response.begin()
            if reader.ended:  # http.client takes what came of the headers for all of them
                raise http.client.IncompleteRead(b"")
            reader.until = until
            return _Answer(response, connection)
        except (OSError, http.client.HTTPException, ValueError) as error:
            # ValueError: http.client's on a status or a header it cannot read
            connection.close()
            raise Cut(f"{source.host} did not answer the request: {_said(error)}") from error
        except BaseException:
            connection.close()
            raise

    def _connected(self, source: HttpSource, until: float) -> socket.socket:
        addresses = self.resolve(source.host, source.port)
        self.hosts.judge_addresses(source, addresses)
        failure: OSError = OSError("it has no address")
        for address in addresses:  # all of them are judged: the first that answers will do
            try:
                plain = _socket_to(address, source.port, min(CONNECT_S, _left(until)))
            except OSError as error:
                failure = error
                continue
            if source.scheme == "http":
                return plain
            try:
                plain.settimeout(min(CONNECT_S, _left(until)))
                return self.trust().wrap_socket(plain, server_hostname=source.host)
            except ssl.SSLCertVerificationError as error:
                plain.close()
                raise Refused(
                    FetchReason.TLS_FAILED,
                    f"the certificate of {source.host} is not accepted ({error.verify_message}): mend it there",
                ) from error
            except (OSError, ValueError) as error:
                plain.close()
                failure = error if isinstance(error, OSError) else OSError(str(error))
        raise Cut(f"no connection to {source.host} port {source.port}: {_said(failure)}") from failure


def _socket_to(address: str, port: int, timeout_s: float) -> socket.socket:
    """Connected to an address: nothing is resolved here, or what was judged would not be what is connected to."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    plain = socket.socket(family, socket.SOCK_STREAM)
    try:
        plain.settimeout(timeout_s)
        plain.connect((address, port))
    except BaseException:
        plain.close()
        raise
    return plain


def _request(source: HttpSource, offset: int, validator: str) -> bytes:
    lines = [
        f"GET {source.target} HTTP/1.1",
        f"Host: {source.authority}",
        f"User-Agent: {AGENT}",
        "Accept: */*",
        "Accept-Encoding: identity",  # a length that counts the bytes we store, and no bomb (J2)
        "Connection: close",
    ]
    if offset:
        lines += [f"Range: bytes={offset}-", f"If-Range: {validator}"]
    # Every part was judged: no line break can be among them.
    return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Reader(io.RawIOBase):
    """What a socket receives, with every wait bounded; http.client reads through it."""

    def __init__(self, connection: socket.socket, until: float) -> None:
        self._connection = connection
        self.until = until
        self.ended = False

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, CHUNK_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._connection.settimeout(min(IDLE_S, _left(self.until)))
        count = self._connection.recv_into(buffer)
        self.ended = not count
        return count


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("the time for it is up")
    return left


@dataclass(frozen=True, slots=True)
class _Answer:
    response: http.client.HTTPResponse
    connection: socket.socket

    @property
    def status(self) -> int:
        return self.response.status

    @property
    def headers(self) -> http.client.HTTPMessage:
        return self.response.headers

    def close(self) -> None:
        self.response.close()
        self.connection.close()


@dataclass(slots=True)
class HttpBody:
    """See `fetches.Body`."""

    offset: int
    total_bytes: int | None
    validator: str
    _host: str
    _most_bytes: int
    _answer: _Answer = field(repr=False)

    def chunks(self) -> Iterator[bytes]:
        at = self.offset
        while True:
            try:
                chunk = self._answer.response.read1(CHUNK_BYTES)
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise Cut(f"{self._host} sent {at:,} bytes{self._of()}, then: {_said(error)}") from error
            if not chunk:
                break
            at += len(chunk)
            if at > self._most_bytes:
                raise too_large(at, self._most_bytes)
            yield chunk
        if self.total_bytes is not None and at != self.total_bytes:
            raise Cut(f"{self._host} ended the file after {at:,} bytes{self._of()}")

    def close(self) -> None:
        self._answer.close()

    def _of(self) -> str:
        return "" if self.total_bytes is None else f" of {self.total_bytes:,}"


def _body(source: HttpSource, answer: _Answer, offset: int, asked: str, most_bytes: int) -> HttpBody:
    """The body of an answer that is no redirect, to a request with this validator. Raises Refused, Cut."""
    try:
        _judge_status(source, answer, offset)
        headers = answer.headers
        encoding = ", ".join(headers.get_all("content-encoding", [])).strip().lower()
        if encoding not in ("", "identity"):
            raise Refused(
                FetchReason.ENCODED,
                f"{source.shown} is sent with Content-Encoding {encoding[:40]!r} though it was asked for as it is: its "
                "bytes cannot be counted or resumed. Files compressed as such (.gz, .zst) are welcome",
            )
        if answer.status == 416:
            answer.response.close()  # the words that come with it are none of the file's
            return HttpBody(offset, offset, _validator(headers) or asked, source.host, most_bytes, answer)
        length = _length(source, answer)
        begin, total = 0, length
        if answer.status == 206:
            begin, total = _range(source, answer, length)
        if begin not in (0, offset):
            raise Refused(FetchReason.BAD_ANSWER, f"{source.shown} was asked for byte {offset:,} and sent {begin:,}")
        if total is not None and total > most_bytes:
            raise too_large(total, most_bytes)
        validator = _validator(headers)
        if answer.status == 206 and not validator:
            validator = asked  # it need not be said again (RFC 9110, 15.3.7)
        return HttpBody(begin, total, validator, source.host, most_bytes, answer)
    except BaseException:
        answer.close()
        raise


def _judge_status(source: HttpSource, answer: _Answer, offset: int) -> None:
    status = answer.status
    if status == 200 or (offset and status in (206, 416)):
        return
    said = f"{status} {http.client.responses.get(status, '')}".strip()
    if status in _PASSING:
        raise Cut(f"{source.host} answers {said}", _retry_after(answer.headers.get("retry-after", "")))
    remedy = {
        401: "give a URI that needs no login, such as a signed one",
        403: "give a URI that may be read by anybody who has it; a signed one may have expired",
        404: "there is no such file",
        410: "the file is gone",
    }.get(status, "a file is answered with 200")
    code = FetchReason.SOURCE_REFUSED if 400 <= status < 500 else FetchReason.BAD_ANSWER
    raise Refused(code, f"{source.shown} answers {said}: {remedy}")


def _ends_at(answer: _Answer, offset: int) -> bool:
    """Whether a 416 says that the file ends where more was asked for: it was read to its end, unknown till now."""
    return answer.headers.get("content-range", "").replace(" ", "") == f"bytes*/{offset}"


def _length(source: HttpSource, answer: _Answer) -> int | None:
    """Bytes of this body; None where it comes in chunks, which say their end themselves.

    Raises:
        Refused(no_length, bad_answer).
    """
    if answer.response.chunked:
        return None
    if answer.headers.get("transfer-encoding") is not None:
        raise Refused(FetchReason.BAD_ANSWER, f"{source.shown} is sent with a Transfer-Encoding that nobody asked for")
    lengths = {text.strip() for value in answer.headers.get_all("content-length", []) for text in value.split(",")}
    if not lengths:
        raise Refused(
            FetchReason.NO_LENGTH,
            f"{source.shown} is sent without length and not in chunks: a transfer that was cut could not be told from "
            "a whole one",
        )
    (text,) = lengths if len(lengths) == 1 else ("",)
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise Refused(FetchReason.BAD_ANSWER, f"{source.shown} is sent with a Content-Length that is no number")
    return int(text)


def _range(source: HttpSource, answer: _Answer, length: int | None) -> tuple[int, int | None]:
    """Where a 206 begins, and the size of the file."""
    unit, _, said = answer.headers.get("content-range", "").strip().partition(" ")
    span, _, total = said.strip().partition("/")
    first, _, last = span.partition("-")
    numbers = [text for text in (first, last, total) if text.isascii() and text.isdigit() and len(text) < 19]
    if unit.lower() != "bytes" or not (len(numbers) == 3 or (len(numbers) == 2 and total == "*")):
        raise Refused(FetchReason.BAD_ANSWER, f"{source.shown} sends a part and does not say which: {unit[:20]!r}")
    begin, end = int(first), int(last)
    if length is not None and length != end + 1 - begin:
        raise Refused(FetchReason.BAD_ANSWER, f"{source.shown} sends a part of another length than it says")
    return begin, None if total == "*" else int(total)


def _validator(headers: http.client.HTTPMessage) -> str:
    """What stands for this version of the file in If-Range; "" if nothing does.

    Rule: RFC 9110, 13.1.5: a strong ETag; else Last-Modified, if at least a second older than the answer (8.8.2.2).
    """
    etag = headers.get("etag", "").strip()
    if etag.startswith('"') and etag.endswith('"') and len(etag) > 2:
        return etag if len(etag) <= 1_024 and etag.isascii() and etag.isprintable() else ""
    modified = headers.get("last-modified", "").strip()
    try:
        # A weak ETag says that it may not be compared byte for byte; the date says the same, or more.
        age = parsedate_to_datetime(headers.get("date", "")) - parsedate_to_datetime(modified)
    except (ValueError, TypeError):
        return ""
    return modified if age.total_seconds() >= 1 and modified.isascii() and modified.isprintable() else ""


def _retry_after(text: str) -> int:
    """Seconds; a date is not read, since the pauses grow anyway."""
    return min(int(text), _LONGEST_WAIT_S) if text.isascii() and text.isdigit() and len(text) < 10 else 0


def too_large(found: int, most: int) -> Refused:
    return Refused(
        FetchReason.TOO_LARGE, f"the file has {found:,} bytes or more; {most:,} are allowed (UriMaxGiB): raise it"
    )


def _said(error: BaseException) -> str:
    """What went wrong on the wire, in our words: a server's own may be anything."""
    if isinstance(error, TimeoutError):
        return "it takes too long"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended"
    if isinstance(error, http.client.HTTPException | ValueError):
        return "what it sent is no HTTP"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed ({error.reason or 'no reason given'})"
    return error.strerror if isinstance(error, OSError) and error.strerror else "the connection ended"
