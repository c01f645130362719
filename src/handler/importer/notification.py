"""1 · Notification → the objects it speaks of.

Keys come URL-encoded, a blank as `+`, and are decoded exactly once (A5). What is not below `imports/` is not ours:
this guard keeps our own output from importing itself even where the bucket's filter is wrong (B1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import unquote_plus

from importer.model import Value

IMPORTS_PREFIX = "imports/"


class UnknownNotification(Exception):
    """A shape this importer does not know: raised, so that it ends in the dead-letter queue and not in silence (A7)."""


@dataclass(frozen=True, slots=True)
class Dropped:
    """An object somebody dropped, as its notification named it; HEAD says the rest."""

    bucket: str
    key: str
    version_id: str | None
    etag: str


def dropped_objects(notification: Mapping[str, Value]) -> list[Dropped]:
    """The objects a notification wants imported, in its order; empty for S3's test event and for folder markers.

    Raises:
        UnknownNotification: no shape S3 sends to a function directly.
    """
    if notification.get("Event") == "s3:TestEvent":
        return []
    records = notification.get("Records")
    if not isinstance(records, list) or not records:
        raise UnknownNotification(f"no Records in a notification with the keys {sorted(notification)[:10]}")
    found = [_dropped(record) for record in records]
    return [dropped for dropped in found if dropped is not None and _is_import(dropped.key)]


def _dropped(record: Value) -> Dropped | None:
    if not isinstance(record, dict) or record.get("eventSource") != "aws:s3":
        raise UnknownNotification("a record that is not from aws:s3")
    if not str(record.get("eventName", "")).removeprefix("s3:").startswith("ObjectCreated:"):
        return None
    try:
        s3 = cast("dict[str, dict[str, str]]", record["s3"])
        entry = s3["object"]
        key = unquote_plus(entry["key"], errors="strict")
        return Dropped(s3["bucket"]["name"], key, _version(entry.get("versionId")), entry.get("eTag", "").strip('"'))
    except (KeyError, TypeError, UnicodeDecodeError) as problem:
        raise UnknownNotification(f"an S3 record without what it must have: {problem!r}") from problem


def _version(version_id: str | None) -> str | None:
    """S3 calls the version of an object uploaded without versioning "null": for us that is none."""
    return None if version_id in (None, "", "null") else version_id


def _is_import(key: str) -> bool:
    """Folder markers (`…/`, `…_$folder$`) are no files (A9)."""
    return key.startswith(IMPORTS_PREFIX) and not key.endswith(("/", "_$folder$"))
