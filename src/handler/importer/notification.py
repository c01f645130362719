"""1 · Notification → the objects it speaks of.

S3 speaks straight to a function, through SNS, through SQS, through SNS into SQS (with SNS's envelope, or raw), and
through EventBridge (A6). Wrappers are taken off one by one, at most `_DEEPEST` of them; what is inside decides.

S3's own records have keys URL-encoded, a blank as `+`: decoded exactly once. EventBridge gives the key as it is (A5).
What is not below the prefix asked for, `imports/` or `previews/`, is not ours: this guard keeps our own output from
importing itself even where the bucket's filter is wrong (B1).

Accepted in silence: records and test events about anything but a creation; folder markers, whatever their size; a
record without a schema version; fields we do not know.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote_plus

import orjson

IMPORTS_PREFIX: Final = "imports/"
PREVIEWS_PREFIX: Final = "previews/"

# Rule: minor versions add fields, a new major one may change any (docs.aws.amazon.com/AmazonS3/latest/userguide/
# notification-content-structure.html, 2.6 in November 2026; ev-events.html: EventBridge's is 0).
_RECORD_MAJOR: Final = "2"
_DETAIL_MAJOR: Final = "0"
_DEEPEST: Final = 3  # S3 or EventBridge in SNS in SQS is two
_TOLD: Final = 3  # problems a message spells out; the dead letter has the whole notification


class UnknownNotification(Exception):
    """Something in a notification has no shape this importer knows: raised, so that it ends in the dead-letter queue
    and not in silence (A7). The message says where and what, and quotes nothing.

    Attributes:
        known: the objects the rest of the notification names, in its order. Import them, then raise this.
    """

    def __init__(self, reason: str, known: Sequence["Dropped"] = ()) -> None:
        super().__init__(reason)
        self.known = tuple(known)


@dataclass(frozen=True, slots=True)
class Dropped:
    """An object somebody dropped, as its notification named it; HEAD says the rest."""

    bucket: str
    key: str
    version_id: str | None
    etag: str


def dropped_objects(notification: object, prefix: str = IMPORTS_PREFIX) -> list[Dropped]:
    """The objects a notification wants imported, in its order, each once; none for S3's test event, for folder markers
    and for what is no creation.

    Args:
        notification: the event as Lambda gives it: any JSON value.
        prefix: of the keys that are meant, with its slash. Others are passed over.
    Raises:
        UnknownNotification: part of it, or all, is not understood. It carries the objects of the other parts.
    """
    reading = _Reading(prefix)
    reading.read(notification, "event", 0)
    found = list(reading.found)
    if reading.problems:
        more = f"; and {len(reading.problems) - _TOLD} more" if len(reading.problems) > _TOLD else ""
        raise UnknownNotification("; ".join(reading.problems[:_TOLD]) + more, found)
    return found


class _NotUnderstood(Exception):
    """Why one part of a notification cannot be read."""


class _Reading:
    """One notification being taken apart. A part that is not understood is noted, and the next one is read."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self.found: dict[Dropped, None] = {}  # a set that keeps its order
        self.problems: list[str] = []

    def read(self, document: object, where: str, wrappers: int) -> None:
        """Read a JSON value that was in so many wrappers; `where` is the path to it."""
        for part, its_place in _parts(document, where):
            try:
                self._read_part(part, its_place, wrappers)
            except _NotUnderstood as problem:
                self.problems.append(f"{its_place}: {problem}")

    def _read_part(self, part: object, where: str, wrappers: int) -> None:
        if not isinstance(part, dict):
            raise _NotUnderstood("not a JSON object")
        match part:
            case {"eventSource": "aws:s3"}:
                self._add(_told_by_s3(part))
            case {"source": "aws.s3", "detail-type": _}:
                self._add(_told_by_eventbridge(part))
            case {"eventSource": "aws:sqs"}:
                self._unwrap(part, ("body",), where, wrappers)
            case {"EventSource": "aws:sns"}:
                self._unwrap(part, ("Sns", "Message"), where, wrappers)
            case {"Type": "Notification", "TopicArn": _}:
                self._unwrap(part, ("Message",), where, wrappers)
            case {"Service": "Amazon S3", "Event": "s3:TestEvent"}:
                pass  # S3 sends one when a notification is set up (A7)
            case _:
                raise _NotUnderstood("neither from S3, SQS or SNS nor EventBridge's of aws.s3")

    def _unwrap(self, part: dict[str, object], path: tuple[str, ...], where: str, wrappers: int) -> None:
        if wrappers == _DEEPEST:
            raise _NotUnderstood(f"wrapped more than {_DEEPEST} times")
        where = ".".join((where, *path))
        try:
            inner = orjson.loads(_text(part, *path))
        except orjson.JSONDecodeError:
            raise _NotUnderstood(f"{'.'.join(path)} is not JSON") from None
        self.read(inner, where, wrappers + 1)

    def _add(self, dropped: Dropped | None) -> None:
        if dropped is not None and is_file_below(self._prefix, dropped.key):
            self.found[dropped] = None


def _parts(document: object, where: str) -> list[tuple[object, str]]:
    """What is to be read one by one, each with its place: a document's records, or else the document itself."""
    records = document.get("Records") if isinstance(document, dict) else None
    if not isinstance(records, list) or not records:
        return [(document, where)]
    return [(record, f"{where}.Records[{number}]") for number, record in enumerate(records)]


def _told_by_s3(record: dict[str, object]) -> Dropped | None:
    """Raises _NotUnderstood; None for what is no creation (A8)."""
    _judge_version(_text(record, "eventVersion", default=_RECORD_MAJOR), _RECORD_MAJOR)
    if not _text(record, "eventName").removeprefix("s3:").startswith("ObjectCreated:"):
        return None
    try:
        key = unquote_plus(_text(record, "s3", "object", "key"), errors="strict")
    except UnicodeDecodeError:
        raise _NotUnderstood("s3.object.key does not decode to UTF-8") from None
    return Dropped(
        _text(record, "s3", "bucket", "name"),
        key,
        _version(_text(record, "s3", "object", "versionId", default="")),
        _etag(_text(record, "s3", "object", "eTag", default="")),
    )


def _told_by_eventbridge(event: dict[str, object]) -> Dropped | None:
    """Raises _NotUnderstood; None for what is no creation.

    CloudTrail's events of S3 have the same source, and may be all that a rule was meant to catch: they are not passed
    over, since that would be in silence.
    """
    kind = _text(event, "detail-type")
    if not kind.startswith("Object "):
        raise _NotUnderstood("detail-type is none of S3's own")
    _judge_version(_text(event, "detail", "version", default=_DETAIL_MAJOR), _DETAIL_MAJOR)
    if kind != "Object Created":
        return None
    return Dropped(
        _text(event, "detail", "bucket", "name"),
        _text(event, "detail", "object", "key"),
        _version(_text(event, "detail", "object", "version-id", default="")),
        _etag(_text(event, "detail", "object", "etag", default="")),
    )


def _text(document: dict[str, object], *path: str, default: str | None = None) -> str:
    """The text at a path. `default` stands for one that is absent, null or empty; without it there must be one."""
    found: object = document
    for name in path:
        found = found.get(name) if isinstance(found, dict) else None
    if found in (None, "") and default is not None:
        return default
    if not isinstance(found, str) or not found:
        raise _NotUnderstood(f"no text at {'.'.join(path)}")
    try:
        found.encode()
    except UnicodeEncodeError:  # half of a surrogate pair: no key of S3's
        raise _NotUnderstood(f"{'.'.join(path)} is no Unicode text") from None
    return found


def _judge_version(version: str, major: str) -> None:
    """Raises _NotUnderstood for a schema of another major version; any minor one is fine (A6)."""
    if version.partition(".")[0] != major:
        raise _NotUnderstood(f"not version {major} of S3's schema, which is the one this importer reads")


def _version(version_id: str) -> str | None:
    """S3 calls the version of an object uploaded without versioning "null": for us that is none."""
    return None if version_id in ("", "null") else version_id


def _etag(etag: str) -> str:
    """Quotation marks belong to HTTP and not to the ETag."""
    return etag.strip('"')


def is_import(key: str) -> bool:
    """Whether a key is that of a file to import."""
    return is_file_below(IMPORTS_PREFIX, key)


def is_file_below(prefix: str, key: str) -> bool:
    """Whether a key is that of a file there: folder markers (`…/`, `…_$folder$`) are none (A9)."""
    return key.startswith(prefix) and not key.endswith(("/", "_$folder$"))
