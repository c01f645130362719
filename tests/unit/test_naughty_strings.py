"""Strings that break software which takes user input, through a whole import: as keys, values and names (A12).

tests/unit/test_notification.py reads them as keys of notifications.
"""

import json
import posixpath
from pathlib import Path
from typing import Any

import pytest

from tests.support import oracle
from tests.support.books import assert_books_balance
from tests.support.cloud import Cloud
from tests.support.function import deployed

NAUGHTY: list[str] = json.loads((Path(__file__).parents[1] / "corpora" / "naughty_strings.json").read_bytes())
pytestmark = pytest.mark.filterwarnings("ignore:No application metrics")

GROUP = 64  # files a cloud: its state is compared as a whole
MORE = [
    "a\nb",
    "a\r\nb",
    "\x00",
    "\x1b[2J",
    "a//b",
    "./a",
    "a/../b",
    "a?b#c",
    "a%2Fb",
    "{u}a",
    "\u00e9",
    "e\u0301",
    "x" * 900,
]
"""Nobody's list: what keys may hold besides."""

TIME_MS = 1_425_920_218_354


def key_of(string: str) -> str:
    return f"imports/{string}.json"


def s3_takes(key: str) -> bool:
    """S3 refuses keys over 1,024 bytes, and those that climb out of the bucket by `..`.

    Rule: docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html, read November 2026.
    """
    return len(key.encode()) <= 1024 and not posixpath.normpath(key).startswith("..")


KEYS = [key_of(string) for string in [*NAUGHTY, *MORE] if s3_takes(key_of(string))]


def test_only_what_s3_refuses_is_left_out():
    """Two strings climb out of the bucket; none is too long."""
    refused = [string for string in [*NAUGHTY, *MORE] if not s3_takes(key_of(string))]
    assert refused == ["../" * 11 + "etc/passwd%00", "../" * 11 + "etc/hosts"]


def imported_and_moved(keys: list[str]) -> None:
    with Cloud() as cloud, deployed(cloud) as deliver:
        sources = {}
        for number, key in enumerate(keys):
            sources[key] = row(user_id=f"user-{number}") + b"\nnot a row\n"
            deliver(cloud.drop(key, sources[key]))
        assert_books_balance(cloud, sources, tidy=True)


def test_keys_are_imported_and_moved():
    """Dropped, notified of as S3 does, imported, moved under its own name, with a receipt that names it."""
    imported_and_moved([*KEYS[: len(NAUGHTY) : 24], *KEYS[-len(MORE) :]])


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, len(KEYS), GROUP))
def test_every_key_is_imported_and_moved(first: int):
    """The same for all of them; half a minute for each group."""
    imported_and_moved(KEYS[first : first + GROUP])


def row(user_id: str = "user", event_name: str = "event", **properties: Any) -> bytes:
    fields = {"user_id": user_id, "event_name": event_name, "event_time_ts": TIME_MS} | properties
    return json.dumps(fields, ensure_ascii=False).encode()


def rows_with(string: str) -> list[bytes]:
    """The string in each place a row has for one; written in UTF-8, and as JSON escapes."""
    rows = [row(user_id=string), row(event_name=string), row(property=string), row(**{string: "value"})]
    escaped = json.dumps({"user_id": "user", "event_name": "event", "event_time_ts": TIME_MS, "escaped": string})
    return [*rows, escaped.encode()]


def is_decided(line: bytes) -> bool:
    try:
        oracle.read("imports/naughty.json", line)
    except oracle.Undecided:
        return False
    return True


ROWS = [line for string in [*NAUGHTY, *MORE] for line in rows_with(string)]


def test_any_value_and_name_is_stored_as_it_is():
    """As user id, event name, property and property's name: equal in the store, or the row in errors/ as it was."""
    decided = b"\n".join(line for line in ROWS if is_decided(line))
    with Cloud() as cloud, deployed(cloud) as deliver:
        deliver(cloud.drop("imports/naughty.json", decided))
        assert_books_balance(cloud, {"imports/naughty.json": decided})


def test_rows_the_manual_is_silent_on_come_back_whole():
    """A name that begins with something in braces looks like a scope prefix, and none that anybody knows."""
    undecided = [line for line in ROWS if not is_decided(line)]
    with Cloud() as cloud, deployed(cloud) as deliver:
        deliver(cloud.drop("imports/naughty.json", b"\n".join(undecided)))
        (refused,) = [body for key, body in cloud.objects("errors/").items() if key.endswith(".json")]
        assert (len(undecided), refused.splitlines(), cloud.items(cloud.events_table)) == (2, undecided, [])
