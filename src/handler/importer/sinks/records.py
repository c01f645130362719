"""Firehose's forms and limits, pure: events and user changes → lines of JSON → records, and what these must not exceed.

Rule: a line is one JSON object and LF, and holds no other LF. A line without `kind` is an event; user changes say
`"kind": "user_change"`. A record is whole lines, as many as fit, in order: the same lines always make the same records.
Numbers are written as they were kept: a Decimal with all its digits, a double so that it reads back as the same double.
`limit` is what the core calls for every row, so that a row over a limit was never half written.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

import orjson

from importer.bad_rows import Reason, Reject
from importer.formats.reading import Reading
from importer.model import Event, Provenance, UserChange, Value, event_rank, rank
from importer.plain_rows import Column, Frames, Kind, PlainEvent

# Quota: docs.aws.amazon.com/firehose/latest/APIReference/API_PutRecordBatch.html (KB and MB there are 1,024-fold)
RECORD_BYTES: Final = 1_000 << 10  # before base64
CALL_RECORDS: Final = 500
CALL_BYTES: Final = 4 << 20

# A record's lines. What gzip adds to what it cannot make smaller (under 0.05 %) must fit as well: so records begin and
# end at the same lines whether they are compressed or not.
LINES_BYTES: Final = 999 << 10
# Measured: orjson 3.13.0 writes 254 levels, of which the line and the map of properties are two.
LEVELS: Final = 250
# One row may become many lines that each repeat the user's id; without an end to that, a file of a few MiB could
# become terabytes. What its file adds to each is not counted: it is the same for rows of one event, and its longest
# (_SOURCE_BYTES) would refuse a visit of 4,600 actions for bytes that next to no file brings.
ROW_BYTES: Final = 64 << 20

# What the source adds to a line: import id and key (in the rank), 1,024 bytes of UTF-8 each and every one of them
# perhaps a control character, six bytes when escaped; ids, names and numbers of ours.
_SOURCE_BYTES: Final = 14 << 10
# Written, a value is never more than six times as long as sent (a raw control character in a CSV cell; a number such as
# 1e15 takes nearly four times its text), and stands in a line four times at most: user, identifier, name, property.
_GROWTH: Final = 24
_PLAIN: Final = frozenset({str, int, float, bool, type(None)})
_NO_SOURCE: Final = Provenance("", "", "", "", 0)
_CALL_FRAME_BYTES: Final = 1_024  # of a request's JSON: the stream's name and what stands around it
_RECORD_FRAME_BYTES: Final = 16  # {"Data":""},


class EventLines:
    """Writes the lines of one execution's events."""

    def __init__(self, source: Provenance) -> None:
        self._source = source
        self._frames = Frames(_frame)
        document = {"format": source.format, "import_id": source.import_id, "execution_id": source.execution_id}
        self._end = b"," + orjson.dumps(document)[1:-1]

    def __call__(self, event: Event) -> bytes:
        """The line of an event."""
        if type(event) is not PlainEvent or self._source.ranked:
            return event_line(event, self._source)
        sent = self._frames(event)
        return b'{"event_id":"%b",%b%b,"address":%d}\n' % (event.event_id.encode(), sent, self._end, event.address)


_WRITTEN: Final = {Kind.TEXT: b'%b:"%%b"', Kind.NUMBER: b"%b:%%b", Kind.TRUTH: b"%b:%%b"}


def _frame(columns: Sequence[Column]) -> bytes:
    """What a plain event's line has of its row."""
    properties = b",".join(_WRITTEN[kind] % text.replace(b"%", b"%%") for _, text, kind in columns)
    return b'"event_name":"%%b","event_time_ts":%%b,"user_id":"%%b","properties":{%b}' % properties


def event_line(event: Event, source: Provenance) -> bytes:
    """The line of an event."""
    document: dict[str, Any] = {
        "event_id": event.event_id,
        "event_name": event.event_name,
        "event_time_ts": event.event_time_ts,
        "user_id": event.user_id,
        "properties": event.properties,
        "format": event.format or source.format,
        "import_id": source.import_id,
        "execution_id": source.execution_id,
        "address": event.address,
    }
    if event.session_properties is not None:
        document["session_properties"] = event.session_properties
    if event.identifiers is not None:
        document["identifiers"] = event.identifiers
    if event.expires_ms is not None:
        document["expires_ms"] = event.expires_ms
    if source.ranked:
        document["rank"] = event_rank(event, source)
    return json_of(document) + b"\n"


def change_line(change: UserChange, source: Provenance) -> bytes:
    """The line of a user change: of all lines for one user and record, the one with the highest rank holds."""
    rank_text = rank(change, source)
    document: dict[str, Any] = {
        "kind": "user_change",
        "change_id": change_id(change, rank_text),
        "user_id": change.user_id,
        "record": change.record,
        **({"deleted": True} if change.deleted else {"value": change.value}),
        "rank": rank_text,
        "format": source.format,
        "import_id": source.import_id,
        "execution_id": source.execution_id,
        "address": change.address,
    }
    if change.event_time_ts is not None:
        document["event_time_ts"] = change.event_time_ts
    if change.expires_ms is not None:
        document["expires_ms"] = change.expires_ms
    return json_of(document) + b"\n"


def change_id(change: UserChange, rank_text: str) -> str:
    """128-bit identity of one user change of one upload: what was delivered twice has the same id.

    Rule: blake2b-128, hexadecimal, over the JSON array [user_id, record, rank]. With the rank in it, since the same
    words said again by a later upload are a later change: they win over what was said between the two.
    """
    return hashlib.blake2b(orjson.dumps([change.user_id, change.record, rank_text]), digest_size=16).hexdigest()


def packed(lines: Iterable[bytes]) -> Iterator[bytes]:
    """Records of whole lines, each as full as the next line lets it be.

    Raises:
        ValueError: a line that fits no record; `limit` should have refused its row.
    """
    record: list[bytes] = []
    size_bytes = 0
    for line in lines:
        if size_bytes + len(line) > LINES_BYTES:
            if len(line) > LINES_BYTES:
                raise ValueError(f"a line of {len(line)} bytes fits no Firehose record")
            yield b"".join(record)
            record, size_bytes = [], 0
        record.append(line)
        size_bytes += len(line)
    if record:
        yield b"".join(record)


def calls_of(records: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Records in calls that are within the quota whichever way it counts: before base64 or after, frame and all."""
    call: list[bytes] = []
    size_bytes = _CALL_FRAME_BYTES
    for record in records:
        sent_bytes = (len(record) + 2) // 3 * 4 + _RECORD_FRAME_BYTES
        if call and (len(call) == CALL_RECORDS or size_bytes + sent_bytes > CALL_BYTES):
            yield call
            call, size_bytes = [], _CALL_FRAME_BYTES
        call.append(record)
        size_bytes += sent_bytes
    if call:
        yield call


def limit(text_bytes: int, reading: Reading) -> None:
    """Raises Reject for a row one of whose lines could not be written: too_deep, event_too_large.

    Args:
        text_bytes: of the row as it was sent, with what its names take (those of a CSV stand in the header).
    """
    if text_bytes > 2 * LEVELS:  # a bracket opens and a bracket closes each level
        _check_depth(reading)
    at_most = text_bytes * _GROWTH + _SOURCE_BYTES
    if at_most <= LINES_BYTES and at_most * (len(reading.events) + len(reading.user_changes)) <= ROW_BYTES:
        return
    total = 0
    for event in reading.events:
        total += _checked_size(len(event_line(event, _NO_SOURCE)))
    user, user_bytes = "", 2
    for change in reading.user_changes:
        if change.user_id != user:
            user, user_bytes = change.user_id, len(json_of(change.user_id))
        total += _checked_size(user_bytes + len(json_of(change.record)) + len(json_of(change.value)))
    if total > ROW_BYTES:
        raise Reject(
            Reason.EVENT_TOO_LARGE,
            expected=f"a row that becomes at most {ROW_BYTES} bytes of lines on the stream",
            found=f"{total} bytes",
            hint="each of its events and changes becomes a line with all they share: send them in several rows",
        )


def surely_fits(text_bytes: int, event: Event) -> bool:
    """Whether a flat row is too short to become too long a line: see `batches.Limit`."""
    return text_bytes * _GROWTH + _SOURCE_BYTES <= LINES_BYTES


def _checked_size(line_bytes: int) -> int:
    if line_bytes + _SOURCE_BYTES > LINES_BYTES:
        raise Reject(
            Reason.EVENT_TOO_LARGE,
            expected=f"at most {LINES_BYTES - _SOURCE_BYTES} bytes as a line of a Firehose record",
            found=f"{line_bytes} bytes",
            hint="keep large texts in a bucket and send their address",
        )
    return line_bytes


def _check_depth(reading: Reading) -> None:
    for event in reading.events:
        for values in (event.properties, event.session_properties, event.identifiers):
            if values and not _PLAIN.issuperset(map(type, values.values())):
                for name, value in values.items():
                    _check_levels(name, value)
    for change in reading.user_changes:
        _check_levels(change.record.partition("#")[2], change.value)


def _check_levels(name: str, value: Value) -> None:
    todo: list[tuple[Value, int]] = [(value, 1)]
    while todo:
        member, level = todo.pop()
        if isinstance(member, dict | list):
            if level > LEVELS:
                expected = f"at most {LEVELS} levels on the stream"
                raise Reject(Reason.TOO_DEEP, field=name, expected=expected, about=name)
            todo += [(inner, level + 1) for inner in (member.values() if isinstance(member, dict) else member)]


def json_of(value: Any) -> bytes:
    """Compact JSON in UTF-8, numbers exact; controls in strings are escaped, so no LF is left in it."""
    try:
        return orjson.dumps(value, default=_exact)
    except orjson.JSONEncodeError:  # an int over 64 bits, which orjson gives to nobody
        return orjson.dumps(_without_long_integers(value), default=_exact)


def _exact(value: Any) -> orjson.Fragment:
    if isinstance(value, Decimal) and value.is_finite():
        return orjson.Fragment(str(value).encode())  # all its digits, and a JSON number in each of its forms
    raise TypeError(f"no JSON for a {type(value).__name__}")


def _without_long_integers(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_long_integers(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_without_long_integers(member) for member in value]
    return Decimal(value) if type(value) is int and not -(2**63) <= value < 2**64 else value
