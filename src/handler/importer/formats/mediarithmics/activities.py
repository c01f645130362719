"""USER_ACTIVITY: what one person did in a period of time; each element of `$events` is an event (D21, D22).

Order of checks: identifier, `$type`, `$session_status`, `$ts`, `$ttl`, the activity's other fields, then each event's
name, time and properties, its other fields, and at last whether all of it fits.
"""

import hashlib
import uuid
from collections.abc import Callable, Iterator
from typing import Final

from importer import users
from importer.bad_rows import Reason, Reject
from importer.formats.mediarithmics import identifiers
from importer.formats.mediarithmics.identifiers import Identifier
from importer.formats.mediarithmics.objects import UUID, Changes, Fields, Terms
from importer.formats.reading import Reading, refuse_repeated
from importer.model import Event, Row, Value, event_ids

FORMAT: Final = "mediarithmics"
TYPES: Final = ("SITE_VISIT", "APP_VISIT", "TOUCH", "EMAIL", "DISPLAY_AD", "RECOMMENDER")
SCENARIO: Final = "USER_SCENARIO"  # what the names of four more types begin with; their spelling was not seen (D21)
STATUSES: Final = ("NO_SESSION", "IN_SESSION", "CLOSED_SESSION", "SESSION_SNAPSHOT")
SOURCES: Final = ("GPS", "IP", "OTHER")
SET_PROFILE: Final = "$set_user_profile_properties"
UNIQUE_KEY: Final = "$unique_key"
KNOWN: Final = (
    *identifiers.IN_ACTIVITY,
    "$type",
    "$session_status",
    "$ts",
    "$ttl",
    UNIQUE_KEY,
    "$origin",
    "$location",
    "$topics",
    "$session_duration",
    "$site_id",
    "$app_id",
    "$events",
)
_OF_EVENT: Final = ("$event_name", "$ts", "$properties")
_OF_LOCATION: Final = ("$source",)


def reading(row: Row, text: bytes, address: int, terms: Terms) -> Reading:
    """What an activity says.

    Raises:
        Reject: what is wrong with it.
    """
    fields = Fields(row, KNOWN, terms)
    who = identifiers.of_activity(fields)
    session = _session(fields, who, text)
    started_ms = session.get("$ts")
    listed = fields.array("$events")
    if not listed:
        raise Reject(
            Reason.NOTHING_TO_RECORD,
            field="$events",
            expected="at least one event",
            found="an empty array",
            hint="an activity is stored by its events",
        )
    repeated: list[Value] = [session, who.sent, who.user_id]
    refuse_repeated(repeated, len(listed), len(text), "send the events in several activities")
    minutes = fields.minutes("$ttl") or 0
    changes = Changes(address)
    events: list[Event] = []
    for index, (element, id_) in enumerate(zip(listed, event_ids(FORMAT, text), strict=False)):
        name, time_ms, properties = _event(element, f"$events[{index}]", terms)
        base_ms = started_ms if isinstance(started_ms, int) else time_ms
        if index == 0 and who.email:
            link(changes, who, base_ms)
        if name == SET_PROFILE:
            for record, value, deleted in profile_changes(properties, f"$events[{index}].$properties"):
                changes.add(who.user_id, record, value, time_ms, deleted)
        expires_ms = fields.expiry("$ttl", base_ms, minutes)
        made = Event(id_, name, time_ms, who.user_id, properties, address, session, who.sent)
        made.expires_ms = expires_ms
        events.append(made)
    if all(event.expires_ms is not None and event.expires_ms <= terms.now_ms for event in events):
        return Reading([], [], expired=True)
    return Reading(events, changes.made, who.notes)


def link(changes: Changes, who: Identifier, time_ms: int | None = None) -> None:
    """An address and its hash are one person, said at both."""
    changes.add(who.user_id, users.LINK + who.email, True, time_ms=time_ms)
    changes.add(who.email, users.LINK + who.user_id, True, time_ms=time_ms)


def profile_changes(properties: Row, path: str) -> Iterator[tuple[str, Value, bool]]:
    """(record, value, deleted) of each property set as a whole; null takes it away."""
    for name, value in properties.items():
        if not name:
            raise _nameless(path)
        yield users.property_record(name), value, value is None


# ---- An activity's own fields ---------------------------------------------------------------------------------------


def _type(fields: Fields) -> Value:
    if fields.text("$type").startswith(SCENARIO):
        return fields.values["$type"]
    return fields.one_of("$type", (*TYPES, f"{SCENARIO}…"))


def _unique_key(fields: Fields) -> Value:
    key = fields.text(UNIQUE_KEY)
    if fields.terms.strict and not UUID.match(key):
        raise fields.not_allowed(UNIQUE_KEY, "a UUID", key)
    return key


def _location(fields: Fields) -> Value:
    location = fields.object("$location")
    inner = Fields(location, _OF_LOCATION, fields.terms, "$location.")
    if inner.get("$source") is not None:
        inner.one_of("$source", SOURCES)
    return location


def _ttl(fields: Fields) -> Value:
    fields.minutes("$ttl")
    return fields.values["$ttl"]


# Fields of an activity that are looked at, in the order of checks → what is kept of them.
CHECKED: Final[dict[str, Callable[[Fields], Value]]] = {
    "$type": _type,
    "$session_status": lambda fields: fields.one_of("$session_status", STATUSES),
    "$ts": lambda fields: fields.time_ms("$ts"),
    "$ttl": _ttl,
    UNIQUE_KEY: _unique_key,
    "$origin": lambda fields: fields.object("$origin"),
    "$location": _location,
    "$topics": lambda fields: fields.object("$topics"),
}
MANDATORY: Final = ("$type", "$session_status")


def _session(fields: Fields, who: Identifier, text: bytes) -> Row:
    """What every event of the activity keeps of it: all but who it is about and the events. Its own fields that are
    null or "" are absent; those the sender made up are kept as they are."""
    row = fields.values
    checked: Row = {}
    for name, check in CHECKED.items():
        if name in MANDATORY or fields.get(name) is not None:
            checked[name] = check(fields)
    session: Row = {}
    is_account = "user_account_id" in who.sent
    for name, value in row.items():
        if name in checked:
            session[name] = checked[name]
        elif name == "$events" or (name in identifiers.IN_ACTIVITY and (name != "$compartment_id" or is_account)):
            continue
        elif not name:
            raise _nameless("")
        elif name[0] != "$" or (value is not None and value != ""):
            session[name] = value
    if UNIQUE_KEY not in session:
        session[UNIQUE_KEY] = _made_key(text)
    return session


def _made_key(text: bytes) -> str:
    """The key of an activity that has none: a UUID (version 8, RFC 9562) of the row's bytes, the same every time."""
    made = bytearray(hashlib.blake2b(text, digest_size=16).digest())
    made[6] = made[6] & 0x0F | 0x80
    made[8] = made[8] & 0x3F | 0x80
    return str(uuid.UUID(bytes=bytes(made)))


# ---- Its events -----------------------------------------------------------------------------------------------------


def _event(element: Value, path: str, terms: Terms) -> tuple[str, int, Row]:
    """(name, time, properties) of an element of `$events`."""
    if not isinstance(element, dict):
        raise Fields({}, (), terms).wrong(path, "object", element)
    fields = Fields(element, _OF_EVENT, terms, f"{path}.")
    name = fields.text("$event_name")
    time_ms = fields.time_ms("$ts", terms.window)
    if time_ms is None:
        # Not the activity's: that is when a session began (D21), and every event has a time of its own (D22).
        hint = "the activity's $ts is when it began: write each event's own"
        raise fields.missing("$ts", "milliseconds since 1970 UTC", hint)
    properties = fields.object("$properties")
    if "" in properties:
        raise _nameless(f"{path}.$properties")
    if len(element) > len(_OF_EVENT):
        fields.refuse_others()
    return name, time_ms, properties


def _nameless(path: str) -> Reject:
    return Reject(Reason.BAD_NAME, field=path, expected="a non-empty name", found='""')
