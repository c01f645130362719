"""Nouns of import by URI: a fetch, why one is refused, and the bytes a source gives. Pure.

A fetch brings one file from a URI to `imports/`, where it is imported as any dropped file is. It ends SUCCEEDED as soon
as the file is there, whatever its rows will turn out to be: those are its execution's.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from importer.model import Status, Value

PIECE_BYTES: Final = 8 << 20  # Quota: a piece of an upload has 5 MiB or more, but for the last
PIECES: Final = 10_000  # Quota: docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html
_MIB: Final = 1 << 20


class FetchReason(StrEnum):
    """`error.code` of a fetch that FAILED; docs/import-by-uri.md has each with its remedy."""

    BAD_URI = "bad_uri"
    WRONG_KIND = "wrong_kind"
    HOST_NOT_ALLOWED = "host_not_allowed"
    PORT_NOT_ALLOWED = "port_not_allowed"
    ADDRESS_DENIED = "address_denied"
    BAD_REDIRECT = "bad_redirect"
    CREDENTIALS_REFUSED = "credentials_refused"
    SOURCE_REFUSED = "source_refused"
    SOURCE_CHANGED = "source_changed"
    BAD_ANSWER = "bad_answer"
    ENCODED = "encoded"
    NO_LENGTH = "no_length"
    TLS_FAILED = "tls_failed"
    TOO_LARGE = "too_large"
    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"


# Nobody's fault, perhaps: the same fetch may succeed later.
PASSING: Final = frozenset({FetchReason.TIMED_OUT, FetchReason.UNREACHABLE})


class Refused(Exception):
    """The source or its address is at fault: asking again brings the same. Its words name no secret and no address."""

    def __init__(self, code: FetchReason, message: str) -> None:
        super().__init__(f"{code.value}: {message}")
        self.code = code
        self.message = message


class Cut(Exception):
    """The source did not answer, or not to the end: asking again may help.

    Args:
        after_s: not before this long, says the source; 0 where it says nothing.
    """

    def __init__(self, message: str, after_s: int = 0) -> None:
        super().__init__(message)
        self.message = message
        self.after_s = after_s


class UnknownFetch(Exception):
    """A message of the fetch queue that is none, or names no fetch: raised, so that it ends among the dead letters."""


@dataclass(frozen=True, slots=True)
class Access:
    """How a private S3 source is read: by the function's own role if nothing is said.

    Attributes:
        credentials: name of the secret that holds an access key; never the key.
        role_arn, external_id: a role to be assumed, and what its owner wants to be told.
    """

    credentials: str = ""
    role_arn: str = ""
    external_id: str = ""


@dataclass(frozen=True, slots=True)
class Fetch:
    """One fetch, as stored.

    Attributes:
        uri: without query: that may be the signature of a URL which is as good as a password (J3).
        query: of the URI; "" once the fetch has ended.
        key: where the file goes.
        piece_bytes: 0 until the source has answered once.
        next_offset: bytes of the source that are durable as pieces of the upload: whole pieces, until `received`.
        total_bytes: as the source says; None while it has not, or where it says none.
        validator: ETag or Last-Modified of the source's version that is being read; "" if it gives neither.
        received: all bytes are durable, as pieces.
        restarts: how often the source had changed and was read from its begin.
        tries: in vain, since the last progress.
        version_id, execution_id: of the file in imports/ and its execution, of a fetch that SUCCEEDED.
        digest: of what was asked for, by which a repeated request is told from another under its name.
        asked_by: id of the token, or "".
    """

    id: str
    uri: str
    query: str
    key: str
    created_ms: int
    import_id: str = ""
    access: Access = Access()
    status: Status = Status.PENDING
    start_ms: int | None = None
    end_ms: int | None = None
    piece_bytes: int = 0
    next_offset: int = 0
    total_bytes: int | None = None
    validator: str = ""
    upload_id: str = ""
    received: bool = False
    restarts: int = 0
    tries: int = 0
    error_code: str = ""
    error_message: str = ""
    version_id: str = ""
    execution_id: str = ""
    digest: str = ""
    asked_by: str = ""

    @property
    def ended(self) -> bool:
        return self.status in (Status.SUCCEEDED, Status.FAILED)

    @property
    def whole_uri(self) -> str:
        return f"{self.uri}?{self.query}" if self.query else self.uri

    @property
    def pieces(self) -> int:
        """How many are durable."""
        return -(-self.next_offset // self.piece_bytes) if self.piece_bytes else 0


@dataclass(frozen=True, slots=True)
class Nudged:
    """When the sweep last sent a fetch on, and how often since a worker was last at it; 0: never."""

    at_ms: int
    times: int


class Body(Protocol):
    """What a source gives: the bytes of `[offset, …)`, of the version its validator names.

    `chunks` raises Cut where they end too early, and Refused where they are too many; `close` may come at any time.
    """

    @property
    def offset(self) -> int:
        """The one asked for, or 0: it begins again (N11)."""

    @property
    def total_bytes(self) -> int | None: ...

    @property
    def validator(self) -> str: ...

    def chunks(self) -> Iterator[bytes]: ...

    def close(self) -> None: ...


def piece_bytes_of(total_bytes: int | None, most_bytes: int) -> int:
    """The size of pieces with which a file of this size, or the largest allowed one, has no more than PIECES."""
    least = -(-(most_bytes if total_bytes is None else total_bytes) // PIECES)
    return max(PIECE_BYTES, -(-least // _MIB) * _MIB)


def document_of(fetch: Fetch, bucket: str, execution: dict[str, Value] | None) -> dict[str, Value]:
    """A fetch as the world sees it: on the command line and over HTTP. Times are milliseconds since 1970 UTC."""
    error: dict[str, Value] | None = None
    if fetch.status is Status.FAILED:
        error = {"code": fetch.error_code, "message": fetch.error_message}
    return {
        "id": fetch.id,
        "uri": fetch.uri,
        "status": fetch.status.value,
        "import_id": fetch.import_id or None,
        "credentials": fetch.access.credentials or None,
        "role_arn": fetch.access.role_arn or None,
        "external_id": fetch.access.external_id or None,
        "file_uri": f"s3://{bucket}/{fetch.key}",
        "fetched_bytes": fetch.next_offset,
        "total_bytes": fetch.total_bytes,
        "restarts": fetch.restarts,
        "creation_date": fetch.created_ms,
        "start_date": fetch.start_ms,
        "end_date": fetch.end_ms,
        "error": error,
        "execution_id": fetch.execution_id or None,
        "execution": execution,
    }
