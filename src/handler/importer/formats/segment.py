"""Segment: a line is one message of the Spec, as raw exports have them (docs/formats/segment.md, S1–S25).

Rule: `type` says what a message is. A track is an event under its own name; a page, a screen and a group are events of
that name. An identify sets properties of the user, an alias says that two ids are one person's. Whose it is `userId`
says, else `anonymousId` (S4); when it was, `timestamp` (S10). What else a message with an event holds, `messageId` and
`context` among it, is kept whole as session properties. Values are kept as sent, empty ones too.

Checks, in this order: type, identifiers, time, the type's own fields, fields that have no place, empty names, strict,
placeholders, a message that says nothing.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import islice
from typing import Final

from importer import fields, users
from importer.bad_rows import FileReason, ObjectProblem, Reason, Reject, shown
from importer.definitions import NDJSON, Definition
from importer.formats.reading import Lost, Reading, Written
from importer.formats.writing import Taken, of_change
from importer.model import Event, Row, UserChange, Value, event_id

NAME: Final = "segment"
DOCUMENTS: Mapping[str, tuple[str, ...]] = {"": (NDJSON,)}  # S1
HAS_VENDOR_KEY: Final = True  # S12
KEY_NOTE: Final = "api_key_removed"  # the message held `writeKey` (S16); the key is stored nowhere, and said nowhere
STRICT_MESSAGE_ID: Final = 100  # characters (S11)

TRACK: Final = "track"
PAGE: Final = "page"
SCREEN: Final = "screen"
GROUP: Final = "group"
IDENTIFY: Final = "identify"
ALIAS: Final = "alias"
# Types → the fields that are theirs alone. In a message of another type they mean nothing, and are kept as they are.
OWN_FIELDS: Final[Mapping[str, tuple[str, ...]]] = {
    TRACK: ("event", "properties"),
    PAGE: ("name", "category", "properties"),
    SCREEN: ("name", "category", "properties"),
    GROUP: ("groupId", "traits"),
    IDENTIFY: ("traits",),
    ALIAS: ("previousId",),
}
TYPES: Final = tuple(OWN_FIELDS)  # S3
IDENTIFIERS: Final = ("userId", "anonymousId")  # the higher first (S4)
_OF_ALL: Final = ("type", *IDENTIFIERS, "timestamp", "writeKey")
_ADDED: Final = ("messageId", "originalTimestamp", "receivedAt", "sentAt")
_OTHER_TIMES: Final = {
    "originalTimestamp": "when it happened by the sender's own clock",
    "sentAt": "when it was sent by the sender's own clock",
    "receivedAt": "when Segment received it",
}  # S10
_LIKELY: Final = {"event": TRACK, "previousId": ALIAS, "groupId": GROUP, "traits": IDENTIFY}
# What people write for a name; beside these, anything spelt nearly like it gets the hint. Warehouses have snake case.
_ALIASES: Final[Mapping[str, tuple[str, ...]]] = {
    "type": ("method", "call", "messagetype", "eventtype"),
    "userId": ("user", "uid", "id", "customerid"),
    "anonymousId": ("anonid", "deviceid", "cookie", "visitorid"),
    "timestamp": ("time", "ts", "t", "date", "datetime", "eventtime", "eventtimets"),
    "event": ("eventname", "eventtext", "name", "action"),
    "groupId": ("group", "accountid", "companyid", "organizationid"),
    "previousId": ("previous", "oldid", "from", "aliasid"),
}
_NEAR: Final = 0.8
_LONGEST_NEAR: Final = 40  # characters
_LOOKED_AT: Final = 200  # keys of a row
_ISO: Final = re.compile(r"\d{4}-\d\d-\d\d(?:T|\Z)", re.ASCII)  # S10
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


# ---- The dialect: see `Format` --------------------------------------------------------------------------------------


def refuse_name(base_name: str, mime_type: str) -> None:
    """Any name will do."""


def refuse_columns(columns: Sequence[str], strict: bool) -> None:
    """A message has objects inside it, which no table holds."""
    raise ObjectProblem(
        FileReason.CSV_HEADER_MISSING,
        "rows of segment are lines of JSON, with objects inside them: a table cannot hold them. Drop a file of JSON",
    )


def claims(row: Row) -> bool:
    """By what no message lacks: its type, somebody it is about, its time (S3, S4, S10)."""
    # A tuple: what is no string may be anything, and not all of it can be looked up in a set.
    return row.get("type") in TYPES and "timestamp" in row and ("userId" in row or "anonymousId" in row)


def evidence(row: Row) -> Sequence[str]:
    """The type with what stands beside it: each alone is a word that others may use too. So it is one mark, and another
    one what only Segment adds. A flat row of another dialect that was made of a message has more of its own."""
    of_whom = [name for name in IDENTIFIERS if name in row]
    added = [name for name in _ADDED if name in row]
    if row.get("type") not in TYPES or not (of_whom or added):
        return []
    return [f"type {row['type']} with {[*of_whom, *added][0]}", *(f"field {name}" for name in added[:1] if of_whom)]


def vendor_key(event: Event, index: int) -> str | None:
    """S12: one `messageId` is one message."""
    message_id = (event.session_properties or {}).get("messageId")
    return message_id if isinstance(message_id, str) and message_id else None


def reader(definition: Definition, now_ms: int) -> "SegmentReader":
    """The reader for an execution; when that was created does not matter here."""
    return SegmentReader(definition)


# ---- Row → events and user changes ----------------------------------------------------------------------------------


class SegmentReader:
    """Callable: (row, row text, address) → Reading."""

    def __init__(self, definition: Definition) -> None:
        self._strict = definition.strict
        self._date_format = definition.date_format
        self._window = (definition.earliest_ms, definition.latest_ms)

    def __call__(self, row: Row, text: bytes, address: int) -> Reading:
        kind = _type_of(row)
        identifiers = _linked_identifiers(row) if kind == ALIAS else _identifiers(row)
        time = row.pop("timestamp", None)
        time_ms = self._time_ms(time, row)
        has_key = row.pop("writeKey", None) not in (None, "")
        event = _EVENTS[kind](row) if kind in _EVENTS else None
        records = [] if event is not None else _RECORDS[kind](row, identifiers)
        if "" in row:
            raise _empty_name("")
        if self._strict:
            _refuse_against_strict(time, row.get("messageId"))
        notes = self._notes(kind, identifiers) + ((KEY_NOTE,) if has_key else ())
        if event is not None:
            name, properties = event
            user = next(iter(identifiers.values()))
            known: Row = {**identifiers}
            id_ = event_id(NAME, text, 0)
            return Reading([Event(id_, name, time_ms, user, properties, address, row or None, known)], [], notes)
        if not records:
            raise _nothing_said(kind, identifiers)
        changes = [
            UserChange(user, record, value, time_ms, address, index)
            for index, (user, record, value) in enumerate(records)
        ]
        return Reading([], changes, notes)

    def _time_ms(self, time: Value, row: Row) -> int:
        try:
            return fields.time_ms(time, "timestamp", self._window, self._date_format)
        except Reject as reject:
            if reject.reason is Reason.MISSING_FIELD:
                reject.hint = _did_you_mean(row, "timestamp") or _other_time(row)
            raise

    def _notes(self, kind: str, identifiers: Mapping[str, str]) -> tuple[str, ...]:
        """The note of a message of nobody in particular. Strict refuses it, and of an alias nothing would be left."""
        placeholder = next((name for name, value in identifiers.items() if _is_placeholder(value)), None)
        if placeholder is None:
            return ()
        if not self._strict and kind != ALIAS:
            return (Reason.PLACEHOLDER_ID.value,)
        alone = "leave the line out: it would make one person of everybody who has this id"
        raise Reject(
            Reason.PLACEHOLDER_ID,
            field=placeholder,
            found=identifiers[placeholder],
            hint=alone if kind == ALIAS else "send the id of a person, or no row",
        )


def _type_of(row: Row) -> str:
    """The type, taken out of the row.

    Raises:
        Reject: missing_field, wrong_type, not_allowed.
    """
    kind = row.pop("type", None)
    if isinstance(kind, str) and kind in TYPES:
        return kind
    expected = f"one of {', '.join(TYPES)}"
    if kind is None or kind == "":
        raise Reject(Reason.MISSING_FIELD, field="type", expected=expected, hint=_type_meant(row))
    if not isinstance(kind, str):
        raise Reject(Reason.WRONG_TYPE, field="type", expected=expected, found=fields.json_type(kind))
    meant = next((name for name in TYPES if _likeness(kind[:_LONGEST_NEAR], name) >= _NEAR), "")
    hint = "types are written in lower case" if kind.lower() == meant else f"did you mean {meant}?" if meant else ""
    raise Reject(Reason.NOT_ALLOWED, field="type", expected=expected, found=kind, hint=hint)


def _type_meant(row: Row) -> str:
    """What to do about a row without a type: as a request has them (S16, S17), or as somebody wrote them."""
    if isinstance(row.get("batch"), list):
        return "messages stand inside batch: write each on a line of its own"
    near = _did_you_mean(row, "type")
    if near:
        return near
    name = next((name for name in _LIKELY if row.get(name) not in (None, "")), None)
    return "" if name is None else f'{name} present: write "type": "{_LIKELY[name]}", if that is what it is'


def _identifiers(row: Row) -> dict[str, str]:
    """Those a message has, the higher first, taken out of the row (S4).

    Raises:
        Reject: wrong_type, no_identifier.
    """
    found: dict[str, str] = {}
    for name in IDENTIFIERS:
        value = row.pop(name, None)
        if value is not None and value != "":
            found[name] = fields.text({name: value}, name)
    if not found:
        hint = next(filter(None, (_did_you_mean(row, name) for name in IDENTIFIERS)), "")
        raise Reject(Reason.NO_IDENTIFIER, field="userId", expected=" or ".join(IDENTIFIERS), hint=hint)
    return found


def _linked_identifiers(row: Row) -> dict[str, str]:
    """The two of an alias, taken out of the row (S9). Of its sender's browser, which it may name too, it says nothing.

    Raises:
        Reject: missing_field, wrong_type.
    """
    return {name: _text(row, name) for name in ("userId", "previousId")}


def _track(row: Row) -> tuple[str, Row]:
    """S5."""
    return _text(row, "event"), _object(row, "properties")


def _page(row: Row) -> tuple[str, Row]:
    """S6: name and category are properties as well."""
    return PAGE, _properties_of_view(row)


def _screen(row: Row) -> tuple[str, Row]:
    """S6."""
    return SCREEN, _properties_of_view(row)


def _properties_of_view(row: Row) -> Row:
    beside = {name: row.pop(name, None) for name in ("name", "category")}
    properties = _object(row, "properties")
    for name, value in beside.items():
        if value is not None and value != "":
            _add(properties, name, fields.text({name: value}, name), "properties")
    return properties


def _group(row: Row) -> tuple[str, Row]:
    """S7: the traits are the group's, so they are said of the event and not of the user."""
    group_id = _text(row, "groupId")
    properties = _object(row, "traits")
    _add(properties, "groupId", group_id, "traits")
    return GROUP, properties


def _identify(row: Row, identifiers: Mapping[str, str]) -> list[tuple[str, str, Value]]:
    """(user id, record, value) of what a message says of its user (S8)."""
    traits = _object(row, "traits")
    _refuse_lost(row, "properties", "put them into traits")
    user = next(iter(identifiers.values()))
    records = [(user, users.property_record(name), value) for name, value in traits.items()]
    one, other = identifiers.get("userId"), identifiers.get("anonymousId")
    if one is not None and other is not None and not _is_placeholder(one) and not _is_placeholder(other):
        records += _link(one, other)
    return records


def _alias(row: Row, identifiers: Mapping[str, str]) -> list[tuple[str, str, Value]]:
    """S9."""
    for name in ("properties", "traits"):
        _refuse_lost(row, name, "send them in an identify")
    return _link(identifiers["userId"], identifiers["previousId"])


_EVENTS: Final = {TRACK: _track, PAGE: _page, SCREEN: _screen, GROUP: _group}
_RECORDS: Final = {IDENTIFY: _identify, ALIAS: _alias}


def _link(one: str, other: str) -> list[tuple[str, str, Value]]:
    return [] if one == other else [(one, users.LINK + other, True), (other, users.LINK + one, True)]


def _is_placeholder(identifier: str) -> bool:
    """Also whatever is made of zeros and dashes alone (S19)."""
    folded = identifier.strip().lower()
    return folded in fields.PLACEHOLDER_IDS or not folded.strip("0-")


def _add(properties: Row, name: str, value: str, container: str) -> None:
    """Add what stands beside properties to them, where it may stand too.

    Raises:
        Reject: duplicate_key, where another value stands there.
    """
    inside = properties.get(name)
    if inside is not None and inside != "" and inside != value:
        found = inside if isinstance(inside, str) else fields.json_type(inside)
        raise Reject(
            Reason.DUPLICATE_KEY,
            field=name,
            expected=f"one value, in {container} or beside it",
            found=f"{shown(value)} beside {container} and {shown(found)} in it",
            hint="keep one of them",
        )
    properties[name] = value


# ---- Fields, and words for what is wrong ----------------------------------------------------------------------------


def _text(row: Row, name: str) -> str:
    """A mandatory text, taken out of the row."""
    value = row.pop(name, None)
    try:
        return fields.text({name: value}, name)
    except Reject as reject:
        if reject.reason is Reason.MISSING_FIELD:
            reject.hint = _did_you_mean(row, name)
            if not reject.hint and name == "previousId" and row.get("anonymousId") not in (None, ""):
                reject.hint = "anonymousId present: write it as previousId, as the libraries do, if that is who it was"
        raise


def _object(row: Row, name: str) -> Row:
    """An object, taken out of the row; none is the same as an empty one (S5)."""
    value = row.pop(name, None)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Reject(
            Reason.WRONG_TYPE,
            field=name,
            expected="object",
            found=fields.json_type(value),
            hint='write each as "name": value between { and }',
        )
    if "" in value:
        raise _empty_name(name)
    return value


def _refuse_lost(row: Row, name: str, hint: str) -> None:
    """Refuse what says something, and would be lost with all else that a message without an event holds."""
    if row.get(name) not in (None, "", {}):
        expected = "traits" if name == "properties" else "two ids"
        message = f"{name}: there is no place for it; expected {expected}"
        raise Reject(Reason.NOT_ALLOWED, field=name, expected=expected, hint=hint, message=message)


def _refuse_against_strict(time: Value, message_id: Value) -> None:
    """The vendor's form of times (S10) and of a message's id (S11)."""
    if not isinstance(time, str):
        raise Reject(Reason.WRONG_TYPE, field="timestamp", expected="a text, ISO 8601", found=fields.json_type(time))
    if not _ISO.match(time):
        raise Reject(Reason.BAD_TIME, field="timestamp", expected="ISO 8601, as 2015-12-12T19:11:01.249Z", found=time)
    if message_id is None or message_id == "":
        return
    if len(fields.text({"messageId": message_id}, "messageId")) > STRICT_MESSAGE_ID:
        raise Reject(
            Reason.TOO_LONG,
            field="messageId",
            expected=f"at most {STRICT_MESSAGE_ID} characters (S11)",
            found=f"{len(str(message_id))} characters",
        )


def _nothing_said(kind: str, identifiers: Mapping[str, str]) -> Reject:
    if kind == ALIAS:
        return Reject(
            Reason.NOTHING_TO_RECORD,
            field="previousId",
            expected="another id than userId",
            found=identifiers["previousId"],
            hint="leave the line out",
        )
    return Reject(
        Reason.NOTHING_TO_RECORD,
        field="traits",
        expected="a trait, or both userId and anonymousId",
        hint="leave the line out: it names a user and says nothing of them",
    )


def _other_time(row: Row) -> str:
    """What may be written as the time that is missing. Which of the others is right, only the sender can know."""
    name = next((name for name in _OTHER_TIMES if row.get(name) not in (None, "")), None)
    if name is None:
        return ""
    return f"{name} present, {_OTHER_TIMES[name]}: write it as timestamp too if that will do"


def _empty_name(path: str) -> Reject:
    return Reject(Reason.BAD_NAME, field=path, expected="a non-empty name", found='""')


def _did_you_mean(keys: Iterable[str], name: str) -> str:
    """The hint for a missing name, if one of these keys is a near miss of it; else ""."""
    # Bounded: an object may have a hundred thousand keys, and a key may be as long as a row.
    looked_at = (key for key in islice(keys, _LOOKED_AT) if len(key) <= _LONGEST_NEAR)
    near = next((key for key in looked_at if _likeness(key, name) >= _NEAR), None)
    return f"{shown(near)} present: did you mean {name}?" if near is not None else ""


@lru_cache(maxsize=4_096)  # names repeat from row to row, and likeness is dear
def _likeness(key: str, name: str) -> float:
    folded = "".join(c for c in key.lower() if c.isalnum())
    if folded in _ALIASES.get(name, ()):
        return 1.0
    return SequenceMatcher(None, folded, name.lower()).ratio()


# ---- What others say, as messages of segment ------------------------------------------------------------------------


def written(reading: Reading) -> Written:
    """A message for each event, an identify for the properties of one user and time, an alias for each link."""
    taken = Taken(reading)
    rows = [_message(event, taken) for event in reading.events]
    return Written([row for row in rows if row] + _people(taken), taken.lost)


def _message(event: Event, taken: Taken) -> Row:
    if not event.event_name:
        taken.lose(Lost.EVENT)
        return {}
    taken.lose_but(event, Lost.EXPIRY)
    properties = {name: value for name, value in event.properties.items() if name}
    if len(properties) < len(event.properties):
        taken.lose(Lost.PROPERTY_NAME)
    kind, own = _own_fields(event.event_name, properties)
    session = {
        name: value
        for name, value in (event.session_properties or {}).items()
        if name and name not in _OF_ALL and name not in OWN_FIELDS[kind]
    }
    if len(session) < len(event.session_properties or {}):
        taken.lose(Lost.PROPERTY_NAME)
    return {"type": kind, **_ids_written(event, taken), "timestamp": _iso(event.event_time_ts), **own, **session}


def _own_fields(name: str, properties: Row) -> tuple[str, Row]:
    """The type an event is written as, and the fields of that type."""
    if name in (PAGE, SCREEN):
        beside = {key: properties[key] for key in ("name", "category") if _is_text(properties.get(key))}
        return name, {**beside, "properties": properties}
    if name == GROUP and _is_text(properties.get("groupId")):
        traits = {key: value for key, value in properties.items() if key != "groupId"}
        return name, {"groupId": properties["groupId"], "traits": traits}
    return TRACK, {"event": name, "properties": properties}


def _ids_written(event: Event, taken: Taken) -> Row:
    """The identifiers of an event, if the higher is what it stands under; else that, as the user's."""
    given = event.identifiers or {}
    ids: Row = {name: given[name] for name in IDENTIFIERS if _is_text(given.get(name))}
    if next(iter(ids.values()), None) != event.user_id:
        ids = {"userId": event.user_id}
    if any(value != event.user_id and ids.get(name) != value for name, value in given.items()):
        taken.lose(Lost.IDENTIFIERS)
    return ids


def _people(taken: Taken) -> list[Row]:
    """What is said of users. Nothing can be said without a time, taken away, or for a while."""
    said: dict[tuple[str, str, int], Value] = {}
    for change in taken.reading.user_changes:
        if change.event_time_ts is None or change.deleted or change.expires_ms is not None:
            taken.lose(of_change(change))
        else:
            said[change.user_id, change.record, change.event_time_ts] = change.value
    identifies: dict[tuple[str, int], Row] = {}
    aliases: list[Row] = []
    for user, record, time_ms in list(said):
        if (user, record, time_ms) not in said:  # the other end of a link that is written
            continue
        value = said[user, record, time_ms]
        path = users.path_of(record) if record.startswith(users.PROPERTY) else ()
        other = record.removeprefix(users.LINK) if record.startswith(users.LINK) else ""
        end = (other, users.LINK + user, time_ms)
        if len(path) == 1:
            identifies.setdefault((user, time_ms), {})[path[0]] = value
        elif other not in ("", user) and value is True and said.get(end) is True and not _are_nobody(user, other):
            aliases.append({"type": ALIAS, "userId": user, "previousId": other, "timestamp": _iso(time_ms)})
            del said[end]
        else:
            taken.lose(of_change(UserChange(user, record, value, time_ms, 0, 0)))
    rows: list[Row] = [
        {"type": IDENTIFY, "userId": user, "timestamp": _iso(time_ms), "traits": traits}
        for (user, time_ms), traits in identifies.items()
    ]
    return rows + aliases


def _are_nobody(*identifiers: str) -> bool:
    return any(_is_placeholder(identifier) for identifier in identifiers)


def _is_text(value: Value) -> bool:
    return isinstance(value, str) and bool(value)


def _iso(time_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
