"""Bytes of an object, whatever happens on the wire: one reader for everything that is read from S3.

A body that breaks, ends early, stalls or trickles is left, and the rest is asked for by range, on the same ETag and
version (C1, C5). Bytes are counted, never believed (C2). The SDK does none of this: it tries a request again, not a
body, and its read time-out starts anew with every byte, so that one byte in ten seconds would go on for hours (C3).

The rule that ends it: while we wait, at least WINDOW_BYTES must come in WINDOW_MS. A connection slower than that is
left as if it had broken. A broken or slow connection is a try; TRIES of them, or WAIT_MS of waiting, without
WINDOW_BYTES between them are the end. Smaller progress buys no new tries. The time the caller takes between two chunks
does not count: a throttled destination is no fault of S3.
"""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final, Protocol

from botocore.exceptions import ClientError, FlexibleChecksumError, IncompleteReadError
from urllib3.exceptions import HTTPError

from importer.aws import answers
from importer.model import Clock, S3Object, Unavailable
from importer.sinks.calls import LOST

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

READ_BYTES: Final = 256 << 10  # Measured: larger reads cost no less CPU and more memory
# Asked for with one GET. More of them would cost requests; fewer, and what stands between us and S3 (a proxy, the local
# twin) may hold whole gigabytes of a body that we have not read yet. Larger than a part, so that a part is one GET.
GET_BYTES: Final = 512 << 20
MOMENT_MS: Final = 1_000  # what has come after this long is handed on, though it be less than READ_BYTES
WINDOW_MS: Final = 10_000
# 16 KiB/s, a thousandth of what S3 gives. In 15 minutes it would be 14 MB: rather another connection, then an alarm.
WINDOW_BYTES: Final = 160 << 10
TRIES: Final = 5
WAIT_MS: Final = 120_000  # two GETs that the SDK tried to the end (aws/clients.py), or twelve windows
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)\Z")


class Broken(Exception):
    """A connection gave less than it had to."""


def bytes_of(
    client: "S3Client", clock: Clock, source: S3Object, start: int, stop: int | None = None, begun: Any = None
) -> Iterator[bytes]:
    """The stored bytes of `[start, stop)`, clipped to the object; nothing where it is empty (A9, C9).

    Args:
        begun: an answer to a GET of the whole object that has just been given.
    Raises:
        ClientError: S3 refused, as it does when the object was deleted or replaced meanwhile (404, 412).
        Unavailable: the rule above; or what came cannot be the bytes asked for.
    """
    stop = source.size_bytes if stop is None else min(stop, source.size_bytes)
    pace = _Pace(clock)
    position = start
    while position < stop:  # never a GET for zero bytes: S3 answers 416
        until = min(position + GET_BYTES, stop)
        try:
            for chunk in _one_body(client, source, position, until, pace, begun):
                position += len(chunk)
                yield chunk
            failure: Exception = EOFError(f"the body ended at byte {position} of {source.size_bytes}")
        except (*LOST, Broken, IncompleteReadError, HTTPError, OSError) as error:
            failure = error
        except FlexibleChecksumError as error:
            raise Unavailable(f"{source.uri}: the bytes read do not match S3's checksum") from error
        begun = None
        if position < until:
            pace.broke(source, position, failure)


def _one_body(
    client: "S3Client", source: S3Object, position: int, stop: int, pace: "_Pace", begun: Any
) -> Iterator[bytes]:
    """The bytes of `[position, stop)` that one GET gives; it may end early."""
    answer = begun or pace.answer(client, _request(source, position, stop))
    at = _first_byte(answer, source, position)
    with closing(answer["Body"]) as body:
        body._raw_stream = _AsItComes(body._raw_stream, pace)
        # What goes to the object's end is read until the body says so: only then does the SDK compare checksums (C4).
        while (at < stop or at == source.size_bytes) and (chunk := body.read(READ_BYTES)):
            begin, end = max(position - at, 0), min(stop - at, len(chunk))
            at += len(chunk)
            if begin < end:
                yield chunk if end - begin == len(chunk) else chunk[begin:end]
            if at < stop:
                pace.check()


def _request(source: S3Object, position: int, stop: int) -> dict[str, Any]:
    wanted = {"Bucket": source.bucket, "Key": source.key, "IfMatch": source.etag}
    if source.version_id is not None:
        wanted["VersionId"] = source.version_id
    if stop < source.size_bytes:
        wanted["Range"] = f"bytes={position}-{stop - 1}"
    elif position:
        wanted["Range"] = f"bytes={position}-"
    return wanted


def _first_byte(answer: Any, source: S3Object, position: int) -> int:
    """Where the body of an answer begins in the object: a range may be answered with the whole body (N11)."""
    if answer["ResponseMetadata"]["HTTPStatusCode"] != 206:
        if answer.get("ContentLength", source.size_bytes) != source.size_bytes:  # none, if sent in chunks
            raise Unavailable(
                f"{source.uri}: {answer['ContentLength']} bytes, {source.size_bytes} when it was looked at"
            )
        return 0
    given = _CONTENT_RANGE.match(answer.get("ContentRange", ""))
    if given is None or int(given[1]) > position or int(given[3]) != source.size_bytes:
        raise Unavailable(f"{source.uri}: asked for bytes from {position}, given {answer.get('ContentRange')!r}")
    return int(given[1])


class _Raw(Protocol):
    """Of urllib3's response."""

    def read1(self, amount: int) -> bytes: ...

    def close(self) -> None: ...


class _AsItComes:
    """The connection below the SDK's body, read as it comes instead of until all that was asked for is there.

    The body reads through this, so that comparing Content-Length and checksum stays the SDK's work. What came before a
    connection broke is handed on, and the break is told at the next read.
    """

    def __init__(self, raw: _Raw, pace: "_Pace") -> None:
        self._raw = raw
        self._pace = pace
        self._failure: Exception | None = None

    def read(self, amount: int) -> bytes:
        if self._failure is not None:
            raise self._failure
        pieces: list[bytes] = []
        missing = amount
        self._pace.starts_waiting()
        try:
            while missing and (piece := self._raw.read1(missing)):
                pieces.append(piece)
                missing -= len(piece)
                if self._pace.waited_ms() >= MOMENT_MS:
                    break
        except (HTTPError, OSError) as failure:
            if not pieces:
                raise
            self._failure = failure
        finally:
            self._pace.came(amount - missing)
        return b"".join(pieces)

    def close(self) -> None:
        self._raw.close()


class _Pace:
    """How fast bytes come while we wait for them, over all the connections of one reading."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._tries = 0
        self._idle_ms = 0  # waited since the last full window
        self._window_ms = 0
        self._window_bytes = 0
        self._since_ms = 0

    def answer(self, client: "S3Client", request: dict[str, Any]) -> Any:
        """The answer to a GET. Slow first bytes are no slow connection, but they are waiting."""
        self.starts_waiting()
        try:
            return client.get_object(**request)
        finally:
            self._idle_ms += self.waited_ms()

    def starts_waiting(self) -> None:
        self._since_ms = self._clock.now_ms()

    def waited_ms(self) -> int:
        return self._clock.now_ms() - self._since_ms

    def came(self, count: int) -> None:
        """So many bytes came since we began to wait."""
        waited_ms = self.waited_ms()
        self._idle_ms += waited_ms
        self._window_ms += waited_ms
        self._window_bytes += count
        if self._window_bytes >= WINDOW_BYTES:
            self._window_ms = self._window_bytes = self._idle_ms = self._tries = 0

    def check(self) -> None:
        """Raises Broken, if a window is over and was not filled."""
        if self._window_ms >= WINDOW_MS:
            came, in_ms = self._window_bytes, self._window_ms
            self._window_ms = self._window_bytes = 0
            raise Broken(f"{came} bytes in {in_ms} ms")

    def broke(self, source: S3Object, position: int, failure: Exception) -> None:
        """Count a connection that was not enough, and wait a little before the next.

        Raises:
            Unavailable: it was one too many.
        """
        self._tries += 1
        if self._tries >= TRIES or self._idle_ms >= WAIT_MS:
            raise Unavailable(
                f"{source.uri}: stuck at byte {position} of {source.size_bytes} after {self._tries} connections and "
                f"{self._idle_ms} ms of waiting: {failure}"
            ) from failure
        self._clock.sleep(0.2 * 2**self._tries)


def whole(client: "S3Client", clock: Clock, bucket: str, key: str) -> bytes | None:
    """A small object of ours as it is now; None if there is none.

    Raises:
        ClientError, Unavailable: as `bytes_of`.
    """
    try:
        answer = client.get_object(Bucket=bucket, Key=key)
    except ClientError as error:
        if answers.is_gone(error):
            return None
        raise
    found = S3Object(bucket, key, None, answer["ETag"].strip('"'), answer["ContentLength"], 0)
    if not found.size_bytes:
        answer["Body"].close()
    return b"".join(bytes_of(client, clock, found, 0, begun=answer))
