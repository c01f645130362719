"""DynamoDB's forms and limits, pure: events and user changes → items, and what an item must not exceed.

`limit` is what the core calls for every row, so that a row over a limit was never half written.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final, TypeAlias

import orjson
from botocore.exceptions import ClientError

from importer.bad_rows import Reason, Reject
from importer.formats.reading import Reading
from importer.model import Event, Provenance, Row, Unavailable, UserChange, Value, event_rank
from importer.plain_rows import Column, Frames, Kind, PlainEvent
from importer.users import CONSENT, PROPERTY, SEGMENT, path_of

# Quota: docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html
ITEM_BYTES: Final = 400 << 10
USER_ID_BYTES: Final = 2_048
RECORD_BYTES: Final = 1_024
NAME_BYTES: Final = (64 << 10) - 1
DIGITS: Final = 38
SMALLEST_EXPONENT: Final = -130
LARGEST_EXPONENT: Final = 125
LEVELS: Final = 32
# What an item holds beside the row: our attribute names, ids, key and source. A row's text is never shorter than what
# it stores (quotes, colons and commas outweigh DynamoDB's bytes per member), so text + this bounds the item.
_OWN_BYTES: Final = 2_048

EXPIRES: Final = "expires_at"  # the attribute both tables' time to live goes by

_ALWAYS_FIT: Final = frozenset({str, int, bool, type(None)})  # fit whatever they hold: rows have 64-bit integers as int

AttributeValue: TypeAlias = dict[str, Any]  # boto's own shape: {"S": "…"}, nested without a type of its own
Item: TypeAlias = dict[str, AttributeValue]


def attribute(value: Value) -> AttributeValue:
    """A value in DynamoDB's form; numbers as text, numerically equal to what was sent."""
    kind = type(value)
    if kind is str:
        return {"S": value}
    if kind is bool:
        return {"BOOL": value}
    if kind is int:
        return {"N": str(value)}
    if kind is float:
        return {"N": orjson.dumps(value).decode()}  # as repr: the shortest text of this double, in half the time
    if value is None:
        return {"NULL": True}
    if isinstance(value, Decimal):
        return {"N": _plain(value)}
    if isinstance(value, dict):
        return {"M": {name: attribute(member) for name, member in value.items()}}
    if isinstance(value, list):
        return {"L": [attribute(member) for member in value]}
    raise TypeError(f"no attribute for a {kind.__name__}")


class EventTexts:
    """Writes events as items of the events table: JSON text in DynamoDB's form, ready to be sent.

    Measured: the text costs as much as all else a row needs before it is sent. Only what a sender chose goes through
    the JSON writer; what we made ourselves needs no escapes.
    """

    def __init__(self, source: Provenance) -> None:
        self._source = source
        self._ranked = source.ranked
        self._ends: dict[str, bytes] = {}  # by the format of the row
        self._frames = Frames(_frame)

    def __call__(self, event: Event) -> bytes:
        """The item of an event, without line breaks."""
        # Spelt out here, as `Event.event_key` has it: each call and copy less is felt.
        identity, time = event.event_id, event.event_time_ts
        ours = (
            f',"event_key":{{"S":"{time:013d}#{identity}"}},"event_id":{{"S":"{identity}"}},'
            f'"address":{{"N":"{event.address}"}},'
        )
        sent = self._frames(event) if type(event) is PlainEvent and not self._ranked else self._written(event)
        return b"%b%b%b" % (sent, ours.encode(), self._ends.get(event.format) or self._end(event.format))

    def _written(self, event: Event) -> bytes:
        """What a sender said, but for the last brace."""
        dumps = orjson.dumps
        item: Item = {
            "user_id": {"S": event.user_id},
            "event_name": {"S": event.event_name},
            "event_time_ts": {"N": str(event.event_time_ts)},
            "properties": {
                "M": {
                    name: {"S": value}
                    if (kind := type(value)) is str
                    else {"N": repr(value)}
                    if kind is int
                    else {"N": dumps(value).decode()}
                    if kind is float
                    else {"BOOL": value}
                    if kind is bool
                    else attribute(value)
                    for name, value in event.properties.items()
                }
            },
        }
        if event.session_properties is not None:
            item["session_properties"] = attribute(event.session_properties)
        if event.identifiers is not None:
            item["identifiers"] = attribute(event.identifiers)
        if event.expires_ms is not None:
            item[EXPIRES] = {"N": expires_at(event.expires_ms)}
        if self._ranked:
            item["rank"] = {"S": event_rank(event, self._source)}
        return dumps(item)[:-1]

    def _end(self, format_name: str) -> bytes:
        source = self._source
        common: Item = {
            "format": {"S": format_name or source.format},
            "import_id": {"S": source.import_id},
            "execution_id": {"S": source.execution_id},
        }
        self._ends[format_name] = orjson.dumps(common)[1:]
        return self._ends[format_name]


_WRITTEN: Final = {
    Kind.TEXT: b'%b:{"S":"%%b"}',
    Kind.NUMBER: b'%b:{"N":"%%b"}',
    Kind.TRUTH: b'%b:{"BOOL":%%b}',
}


def _frame(columns: Sequence[Column]) -> bytes:
    """As `EventTexts._written`, of a plain event."""
    properties = b",".join(_WRITTEN[kind] % text.replace(b"%", b"%%") for _, text, kind in columns)
    return (
        b'{"event_name":{"S":"%%b"},"event_time_ts":{"N":"%%b"},"user_id":{"S":"%%b"},"properties":{"M":{%b}}'
        % properties
    )


def event_item(event: Event, source: Provenance) -> Item:
    """The item of an event, as boto3 takes it."""
    item: Item = orjson.loads(EventTexts(source)(event))
    return item


def expires_at(expires_ms: int) -> str:
    """As DynamoDB's time to live wants it: whole seconds since 1970. Never early."""
    return str(-(-expires_ms // 1000))


def limit(text_bytes: int, reading: Reading) -> None:
    """Raises Reject for a row DynamoDB could not hold: too_long, number_out_of_range, too_deep, event_too_large."""
    # What all events of a row have in common is one map. It is looked at once: there may be a hundred thousand events.
    shared: Row | None = None
    shared_in_doubt, shared_bytes = False, 0
    for event in reading.events:
        if len(event.user_id) * 4 > USER_ID_BYTES:
            _check_key(event.user_id, "user_id", USER_ID_BYTES)
        if event.session_properties is not shared:
            shared = event.session_properties
            shared_in_doubt, shared_bytes = bool(shared) and _check_values(shared or {}, text_bytes), 0
        in_doubt = shared_in_doubt or text_bytes + _OWN_BYTES > ITEM_BYTES
        in_doubt |= _check_values(event.properties, text_bytes)
        if event.identifiers:
            in_doubt |= _check_values(event.identifiers, text_bytes)
        if in_doubt:
            shared_bytes = shared_bytes or size_bytes(shared)
            _check_size(
                size_bytes(event.properties)
                + shared_bytes
                + size_bytes(event.identifiers)
                + len(event.user_id.encode())
                + len(event.event_name.encode())
            )
    for change in reading.user_changes:
        _check_key(change.user_id, "user_id", USER_ID_BYTES)
        _check_record(change.record)
        nested = _check_values({_named(change.record): change.value}, text_bytes)
        if nested or text_bytes + _OWN_BYTES > ITEM_BYTES:
            _check_size(size_bytes(change.value) + 2 * len(change.record.encode()) + len(change.user_id.encode()))


def surely_fits(text_bytes: int, event: Event) -> bool:
    """Whether a flat row shorter than any limit, names and all, has no odd number: see `batches.Limit`."""
    if text_bytes > USER_ID_BYTES:
        return False
    if type(event) is PlainEvent:  # whose pattern no odd number matches
        return True
    for value in event.properties.values():
        if type(value) not in _ALWAYS_FIT and not (type(value) is float and (1e-130 <= value < 1e126 or not value)):
            return False
    return True


def size_bytes(value: Value) -> int:
    """Stored size of a value, never less than DynamoDB counts (Constraints, "Item size").

    Text counts its UTF-8 bytes; a number one byte for two digits, one more and one for a sign; a map or list 3 bytes
    and one for each member beside the member itself.
    """
    if isinstance(value, str):
        return len(value.encode())
    if value is None or isinstance(value, bool):
        return 1
    if isinstance(value, int | float | Decimal):
        return min(21, len(repr(value) if not isinstance(value, Decimal) else _plain(value)) // 2 + 3)
    if isinstance(value, dict):
        return 3 + sum(1 + len(name.encode()) + size_bytes(member) for name, member in value.items())
    return 3 + sum(1 + size_bytes(member) for member in value)


def _check_size(own_bytes: int) -> None:
    if own_bytes + _OWN_BYTES > ITEM_BYTES:
        raise Reject(
            Reason.EVENT_TOO_LARGE,
            expected=f"at most {ITEM_BYTES - _OWN_BYTES} bytes of values and names",
            found=f"{own_bytes} bytes",
            hint="keep large texts in a bucket and send their address",
        )


def _check_key(value: str, field: str, most_bytes: int) -> None:
    if len(value) * 4 > most_bytes and len(value.encode()) > most_bytes:
        raise Reject(
            Reason.TOO_LONG,
            field=field,
            expected=f"at most {most_bytes} bytes",
            found=f"{len(value.encode())} bytes",
            about=value,
        )


def _check_record(record: str) -> None:
    """A record's key: the kind, and a name or an identifier of the row, which is what is too long."""
    if len(record) * 4 > RECORD_BYTES and len(record.encode()) > RECORD_BYTES:
        names = path_of(record) if record.startswith((PROPERTY, CONSENT)) else (record.partition("#")[2],)
        longest = max(names, key=len)
        ours = len(record.encode()) - len(longest.encode())
        _check_key(longest, longest, RECORD_BYTES - ours)


def _named(record: str) -> str:
    """What of a record's key the sender may have called so."""
    return ".".join(path_of(record)) if record.startswith(PROPERTY) else ""


def _check_values(values: Row, text_bytes: int) -> bool:
    """Numbers, nesting and names of a map; whether its size is in doubt, because members nest (an array of ones takes
    more room stored than sent)."""
    nested = False
    if not _ALWAYS_FIT.issuperset(map(type, values.values())):
        for name, value in values.items():
            if type(value) not in _ALWAYS_FIT:
                _check_deep(value, name)
                nested |= isinstance(value, dict | list)
    if text_bytes > NAME_BYTES:
        for name in values:
            _check_name(name)
    return nested


def _check_deep(value: Value, path: str) -> None:
    """Numbers, nesting and names inside a value that is not plain. Level 1 is the map the value is in."""
    todo: list[tuple[Value, str, int]] = [(value, path, 2)]
    while todo:
        member, place, level = todo.pop()
        if isinstance(member, dict | list):
            if level > LEVELS:
                raise Reject(Reason.TOO_DEEP, field=path, expected=f"at most {LEVELS} levels in DynamoDB", about=path)
            if isinstance(member, dict):
                for name in member:
                    _check_name(name)
                todo += [(inner, f"{place}.{name}", level + 1) for name, inner in member.items()]
            else:
                todo += [(inner, f"{place}[{index}]", level + 1) for index, inner in enumerate(member)]
        elif isinstance(member, Decimal):
            # By its text: a number may have eight million digits, and a tuple of them takes a hundred times that.
            digits = str(member).lstrip("-").partition("E")[0].replace(".", "").strip("0")
            if digits and (len(digits) > DIGITS or not SMALLEST_EXPONENT <= member.adjusted() <= LARGEST_EXPONENT):
                raise _out_of_range(place, member)
        elif isinstance(member, float) and member and not 1e-130 <= abs(member) < 1e126:
            raise _out_of_range(place, member)


def _check_name(name: str) -> None:
    if len(name) * 4 > NAME_BYTES and len(name.encode()) > NAME_BYTES:
        raise Reject(Reason.TOO_LONG, field=name, expected=f"a name of at most {NAME_BYTES} bytes", about=name)


def _out_of_range(field: str, value: Value) -> Reject:
    return Reject(
        Reason.NUMBER_OUT_OF_RANGE,
        field=field.removeprefix("."),
        expected=f"at most {DIGITS} significant digits, 1e{SMALLEST_EXPONENT} to 1e{LARGEST_EXPONENT + 1}",
        found=str(value),
        hint="send it as a string",
        about=value,
    )


def _plain(number: Decimal) -> str:
    """A Decimal's text without the zeros that carry no value."""
    mantissa, _, exponent = str(number.copy_abs()).partition("E")
    whole, _, fraction = mantissa.partition(".")
    digits = f"{whole}{fraction}".lstrip("0")
    kept = digits.rstrip("0")
    if not kept:
        return "0"
    return f"{'-' if number.is_signed() else ''}{kept}E{int(exponent or 0) - len(fraction) + len(digits) - len(kept)}"


def record_item(change: UserChange, rank_text: str, source: Provenance) -> Item:
    """The item of a user record in the users table. One that was deleted stays, without a value, for its rank."""
    item: Item = {
        "user_id": {"S": change.user_id},
        "record": {"S": change.record},
        "rank": {"S": rank_text},
        "execution_id": {"S": source.execution_id},
        "address": {"N": str(change.address)},
    }
    if change.event_time_ts is not None:
        item["event_time_ts"] = {"N": str(change.event_time_ts)}
    if change.expires_ms is not None:
        item[EXPIRES] = {"N": expires_at(change.expires_ms)}
    if change.deleted:
        item["deleted"] = {"BOOL": True}
        return item
    item["value"] = attribute(change.value)
    if change.record.startswith(SEGMENT):
        item["segment"] = {"S": change.record.removeprefix(SEGMENT)}  # key of the sparse index of members
    return item


# What DynamoDB says of an item that is itself at fault: too large, too deep, a number or a key it cannot hold.
# Source: messages of ValidationException from API_PutItem and API_BatchWriteItem, lower case.
_ROW_AT_FAULT: Final = (
    "item size",
    "nesting levels",
    "number overflow",
    "number underflow",
    "significant digits",
    "size of hashkey",
    "range keys has exceeded",
    "size of rangekey",
    "empty string value",
    "cannot contain an empty string",
)
# What it says of a table that is not as the template makes it. Told as it stands here: its own words may quote an item.
_TABLE_AT_FAULT: Final = ("does not match the schema", "type mismatch for key", "missing the key")


def refusal(error: ClientError) -> Reject:
    """The reject for an item DynamoDB calls invalid.

    Raises:
        Unavailable: it is not the row that is at fault but the table, or our own code.
    """
    message = str(error.response.get("Error", {}).get("Message", ""))
    if not any(sign in message.lower() for sign in _ROW_AT_FAULT):
        why = next((sign for sign in _TABLE_AT_FAULT if sign in message.lower()), "words withheld: they may quote it")
        raise Unavailable(f"DynamoDB calls an item invalid for a reason no row can have ({why})") from error
    return Reject(Reason.REFUSED_BY_SINK, found=message, hint="the row itself is valid: see DynamoDB's words")
