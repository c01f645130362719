"""What an import of a CoolaData file must give, worked out a second time: slow, simple, standard library only.

Written from formats.md C1–C33 and the default settings of the design, on purpose without a line of the importer, so
that the two can only agree by both being right. Only zstd is opened by `zstandard`: the standard library lacks it.
Where the documents leave a row's fate open, `Undecided` is raised: such a row does not belong in a fault test.
"""

from __future__ import annotations

import datetime
import gzip
import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any

import zstandard

MANDATORY = ("event_name", "event_time_ts", "user_id")
LATEST_MS = 9_999_999_999_999
SECONDS_BELOW = 10**11  # A smaller number means seconds, 1973 at the latest as milliseconds.
LONGEST_LINE = 8 << 20  # the fault tests make it smaller, here and in the importer
FIELD = r'(?:"(?:[^"]|"")*"|[^",]*)'
RECORD = re.compile(rf"{FIELD}(?:,{FIELD})*")
DATE_AND_TIME = re.compile(r"(\d{4})-(\d\d)-(\d\d)[ T](\d\d):(\d\d):(\d\d)")


class Undecided(Exception):
    """The documents do not say what becomes of this row."""


class _Refused(Exception):
    def __init__(self, *reasons: str) -> None:
        self.reasons = frozenset(reasons)


@dataclass(frozen=True)
class Event:
    user_id: str
    event_key: str
    event_id: str
    event_name: str
    event_time_ts: int
    properties: dict[str, Any]


@dataclass(frozen=True)
class BadRow:
    """`written` is what errors/ holds: the row as sent, with a line end. `reasons`: any of these codes is right."""

    line: int
    offset: int
    row: bytes
    written: bytes
    reasons: frozenset[str]


@dataclass
class Expected:
    """All that one file must leave behind. Lines count from 1, offsets from 0, in the decompressed bytes.

    `header` stands before the bad rows in errors/; `beside` are lines of the file that begin no row of their own;
    `fates` has for each line its offset and whether it is "blank", "good" or "bad".
    """

    header: bytes = b""
    beside: int = 0
    lines: int = 0
    blank: int = 0
    good: int = 0
    events: dict[tuple[str, str], Event] = field(default_factory=dict)
    addresses: dict[tuple[str, str], set[int]] = field(default_factory=dict)
    bad_rows: list[BadRow] = field(default_factory=list)
    user_changes: list[tuple[str, str, tuple[int, int], Any]] = field(default_factory=list)
    fates: list[tuple[int, str]] = field(default_factory=list)

    def counts(self, intervals: Iterable[tuple[int, int]]) -> dict[str, int]:
        """How many lines, blank, good and bad ones begin in these half-open intervals."""
        within = [fate for start, stop in intervals for offset, fate in self.fates if start <= offset < stop]
        return {"lines": len(within), **{fate: within.count(fate) for fate in ("blank", "good", "bad")}}

    @property
    def bad(self) -> int:
        return len(self.bad_rows)

    @property
    def rows(self) -> int:
        return self.good + self.bad


def read(key: str, file: bytes) -> Expected:
    """What the file dropped at this key must leave behind. Raises: Undecided."""
    return _read(key, file, LONGEST_LINE)


@lru_cache(64)
def _read(key: str, file: bytes, longest_line: int) -> Expected:
    if file[:2] == b"\x1f\x8b":
        file = gzip.decompress(file)
    if file[:4] == b"\x28\xb5\x2f\xfd":
        file = zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read()
    if file[:3] == b"\xef\xbb\xbf":
        raise Undecided("offset and error bytes of a first row behind a byte order mark")
    if re.search(r"\.csv(\.gz|\.zst)?$", key):
        return _read_csv(file)
    expected, offset = Expected(), 0
    while offset < len(file):
        end = file.find(b"\n", offset)
        end = len(file) if end < 0 else end + 1
        _read_line(file[offset:end], offset, expected)
        offset = end
    return expected


def _read_csv(file: bytes) -> Expected:
    """By the definition: a record is the shortest run of lines that RFC 4180 calls one, else a line."""
    lines = re.findall(rb"[^\n]*\n|[^\n]+", file)
    expected, at, offset = Expected(), 0, 0
    columns: list[str] | None = None
    while at < len(lines):
        runs = (b"".join(lines[at:stop]) for stop in range(at + 1, len(lines) + 1))
        whole = (run for run in runs if len(run) <= LONGEST_LINE and RECORD.fullmatch(_text_of(run).decode("latin-1")))
        record = next(whole, lines[at])
        count = record.count(b"\n", 0, -1)
        if columns is None:
            columns = _cells(_text_of(record).decode())
            expected.header = record if record.endswith(b"\n") else record + b"\n"
            expected.beside = count + 1
        else:
            _read_line(record, offset, expected, columns)
            expected.beside += count
        at += 1 + count
        offset += len(record)
    return expected


def _text_of(line: bytes) -> bytes:
    return re.sub(rb"\r?\n?\Z", b"", line, count=1)


def _cells(text: str) -> list[str]:
    if not RECORD.fullmatch(text):
        raise _Refused("not_csv")
    return [
        cell[1:-1].replace('""', '"') if cell[:1] == '"' else cell for cell in re.findall(rf"(?:^|,)({FIELD})", text)
    ]


def _csv_fields(row: bytes, columns: list[str]) -> dict[str, Any]:
    try:
        cells = _cells(row.decode("utf-8"))
    except UnicodeDecodeError:
        raise _Refused("not_utf8") from None
    if len(cells) != len(columns):
        raise _Refused("wrong_column_count")
    return dict(zip(columns, cells, strict=True))


def _read_line(line: bytes, offset: int, expected: Expected, columns: list[str] | None = None) -> None:
    expected.lines += 1
    row = line[:-1] if line.endswith(b"\n") else line
    row = row[:-1] if row.endswith(b"\r") else row
    if not row:
        expected.blank += 1
        expected.fates.append((offset, "blank"))
        return
    if not row.strip(b" \t\r"):
        raise Undecided("a line of white space only")
    try:
        if len(line) > LONGEST_LINE:
            raise _Refused("line_too_long")
        if columns is None:
            event, changes = event_of(row)
        else:
            names = "\0".join(columns).encode() + b"\n"
            event, changes = _event_from(_csv_fields(row, columns), names + row)
    except _Refused as refused:
        written = line if line.endswith(b"\n") else line + b"\n"
        number = expected.lines + expected.beside
        expected.bad_rows.append(BadRow(number, offset, row, written, refused.reasons))
        expected.fates.append((offset, "bad"))
        return
    key = (event.user_id, event.event_key)
    expected.good += 1
    expected.fates.append((offset, "good"))
    expected.events[key] = event
    expected.addresses.setdefault(key, set()).add(offset)
    for index, (name, value) in enumerate(changes.items()):
        expected.user_changes.append((event.user_id, f"prop#{name}", (event.event_time_ts, index), value))


def event_of(row: bytes) -> tuple[Event, dict[str, Any]]:
    """The event of one row (its bytes without line end) and the user properties it sets."""
    return _event_from(_object_in(row), row)


def _event_from(fields: dict[str, Any], row: bytes) -> tuple[Event, dict[str, Any]]:
    properties: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    for name, value in fields.items():
        if name in MANDATORY:
            continue
        into, name = _scope_of(name, properties, changes)
        if isinstance(value, (dict, list)):
            raise _Refused("nested_value")
        if isinstance(value, bool):
            raise Undecided("a boolean: C18 knows no such type")
        if isinstance(value, Decimal):
            _check_number(value)
        if value is not None and value != "":  # C6: empty means null means not given.
            into[name] = value
    user_id, event_name = _text(fields, "user_id"), _text(fields, "event_name")
    if len(user_id.encode()) > 2048:
        raise _Refused("too_long", "event_too_large")
    time_ms = _time_ms(fields.get("event_time_ts"))
    if len(row) > 200_000:
        if len(row) < 450_000:
            raise Undecided("close to the 400 KB an item may have")
        raise _Refused("event_too_large", "too_long")
    event_id = hashlib.blake2b(b"cooladata\n0\n" + row, digest_size=16).hexdigest()
    return Event(user_id, f"{time_ms:013d}#{event_id}", event_id, event_name, time_ms, properties), changes


def _object_in(row: bytes) -> dict[str, Any]:
    try:
        text = row.decode("utf-8")
    except UnicodeDecodeError:
        raise _Refused("not_utf8", "not_json") from None

    def no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len({name for name, _ in pairs}) < len(pairs):
            raise _Refused("duplicate_key")
        return dict(pairs)

    def not_a_number(word: str) -> None:
        raise ValueError(word)

    try:
        document = json.loads(
            text,
            parse_int=Decimal,
            parse_float=Decimal,
            parse_constant=not_a_number,
            object_pairs_hook=no_duplicates,
        )
        json.dumps(document, ensure_ascii=False, default=str).encode("utf-8")  # Lone surrogates: E6.
    except RecursionError:
        raise _Refused("too_deep", "nested_value", "not_json") from None
    except ValueError:
        raise _Refused("not_json", "not_utf8") from None
    if not isinstance(document, dict):
        raise _Refused("not_an_object")
    return document


def _scope_of(name: str, properties: dict, changes: dict) -> tuple[dict, str]:
    scope = re.match(r"\{([^}]*)\}", name)
    if scope is None:
        if not name:
            raise _Refused("bad_name")
        return properties, name
    if scope[1] != "u":
        if len(scope[1]) != 1 or scope[1] == "U":
            raise Undecided(f"scope prefix {scope[0]}")
        raise _Refused("unknown_scope_prefix")
    bare = name[3:]
    if not bare:
        raise _Refused("bad_name")
    if bare in MANDATORY:
        raise Undecided(f"user property {bare}")
    return changes, bare


def _check_number(number: Decimal) -> None:
    digits = "".join(map(str, number.as_tuple().digits)).strip("0")
    if len(digits) > 38 or (number and not Decimal("1e-130") <= number.copy_abs() < Decimal("1e126")):
        raise _Refused("number_out_of_range")


def _text(fields: dict[str, Any], name: str) -> str:
    value = fields.get(name)
    if value is None or value == "":
        raise _Refused("missing_field")
    if isinstance(value, (dict, list)):
        raise _Refused("wrong_type", "nested_value")
    if not isinstance(value, str):
        raise _Refused("wrong_type")
    return value


def _time_ms(value: Any) -> int:
    if value is None or value == "":
        raise _Refused("missing_field")
    if isinstance(value, (dict, list)):
        raise _Refused("wrong_type", "nested_value", "bad_time")
    if isinstance(value, bool):
        raise _Refused("wrong_type", "bad_time")
    if isinstance(value, Decimal):
        if value < 0:
            raise _Refused("time_out_of_window", "time_unit")
        if value < SECONDS_BELOW:
            raise _Refused("time_unit")
        if int(value) > LATEST_MS:
            raise _Refused("time_out_of_window", "time_unit")
        return int(value)
    written = DATE_AND_TIME.fullmatch(value)
    if written is not None:
        try:
            when = datetime.datetime(*map(int, written.groups()), tzinfo=datetime.UTC)  # C9: no zone is UTC.
        except ValueError:
            raise _Refused("bad_time") from None
        time_ms = int(when.timestamp()) * 1000
        if time_ms < 0:
            raise _Refused("time_out_of_window")
        return time_ms
    if re.search(r"\d", value):
        raise Undecided(f"time {value!r}")
    raise _Refused("bad_time")
