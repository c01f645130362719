"""Woopra: a line is a visit of one visitor, with the actions in it (docs/formats/woopra.md, W1–W19).

Rule: each action of `actions` is one event of whoever `visitor` names by the highest of id, email and cookie (W6). What
stands beside the two is properties of the visit: all its events have them as session properties, and with them the
`visit_id`. What else `visitor` holds are properties of the user. A line without actions changes these only (W4).
Values are kept as sent, empty ones too, since the vendor writes them as they are (W11); only an identifier is absent
where it is `""` or null. What the vendor's words leave open is kept, unless that would be a guess; `strict` refuses it.

Checks, in this order: deletions, visitor, identifiers, actions one by one, a line without actions, empty names, strict,
placeholders, a line that says nothing, size.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import islice
from typing import Final

from importer import fields, users
from importer.bad_rows import FileReason, ObjectProblem, Reason, Reject, shown
from importer.definitions import LATEST_TIME_MS, NDJSON, Definition
from importer.formats.reading import Lost, Reading, Written, refuse_repeated
from importer.formats.writing import Taken, of_change, time_written
from importer.model import Event, Row, UserChange, Value, event_id, event_ids

NAME: Final = "woopra"
DOCUMENTS: Mapping[str, tuple[str, ...]] = {"": (NDJSON,)}  # W1
HAS_VENDOR_KEY: Final = False  # nothing read says how the vendor tells a repeated event
IDENTIFIERS: Final = ("id", "email", "cookie")  # W5; the highest first (W6)
VISIT_PROPERTIES: Final = (
    *("city", "region", "post", "country", "continent", "timezone", "offset", "lng", "lat", "ip"),
    *("screen", "language", "os", "domain", "org", "browser"),
    *("time", "hour", "day", "month", "quarter", "year", "duration"),
    *("referrertype", "referrerquery", "referrerurl", "landingpage"),
)  # W11
STRICT_CHARACTERS: Final = {"id": 140, "email": 140, "cookie": 24}  # W8
VISIT_ID: Final = "visit_id"

_ACTION: Final = ("name", "time", "properties")  # W3
_OF_ACTION: Final = frozenset(_ACTION)
_STRICT_NAME = re.compile(r"[a-z0-9_\- ]+\Z")  # W9
# What people write for a name; beside these, anything spelt nearly like it gets the hint.
_ALIASES: Final[dict[str, tuple[str, ...]]] = {
    "visitor": ("user", "person", "profile", "customer"),
    "actions": ("event", "events", "activities"),
    "id": ("userid", "user", "uid", "visitorid", "customerid"),
    "email": ("mail", "emailaddress", "useremail"),
    "cookie": ("cookieid", "deviceid"),
    "name": ("event", "eventname", "action", "actionname", "type"),
    "time": ("timestamp", "ts", "t", "date", "datetime", "eventtime", "eventtimets"),
    "properties": ("property", "props", "params", "attributes", "data"),
}
_NEAR: Final = 0.8
_LONGEST_NEAR: Final = 40  # characters
_SHORTEST_NEAR: Final = 4  # characters of a name: one slip makes another word of a shorter one
_LOOKED_AT: Final = 200  # keys of an object


# ---- What the port asks for -----------------------------------------------------------------------------------------


def refuse_name(base_name: str, mime_type: str) -> None:
    """See `Format`. The vendor's import has no file names: any will do."""


def refuse_columns(columns: Sequence[str], strict: bool) -> None:
    """See `Format`. No table holds a visit."""
    raise ObjectProblem(
        FileReason.CSV_HEADER_MISSING,
        "rows of woopra are lines of JSON, with an array of actions: a table cannot hold them. Drop a file of JSON",
    )


def claims(row: Row) -> bool:
    """By the one thing no line lacks (W2)."""
    return isinstance(row.get("visitor"), dict)


def evidence(row: Row) -> Sequence[str]:
    """The parts of a visit a row has."""
    visitor = row.get("visitor")
    found = ["object visitor"] if isinstance(visitor, dict) else []
    if isinstance(visitor, dict) and any(visitor.get(name) for name in IDENTIFIERS):
        found.append("an identifier in visitor")
    if isinstance(row.get("actions"), list):
        found.append("array actions")
    if _deletes(row) and "pid" in row:
        found.append("the deletion of a profile, as in an export")
    return found


def vendor_key(event: Event, index: int) -> str | None:
    """See `Format`."""
    return None


def reader(definition: Definition, now_ms: int) -> "WoopraReader":
    """The reader for an execution created at `now_ms`."""
    return WoopraReader(definition)


# ---- Row → events and user changes ----------------------------------------------------------------------------------


class WoopraReader:
    """Callable: (row, row text, address) → Reading."""

    def __init__(self, definition: Definition) -> None:
        self._strict = definition.strict
        self._date_format = definition.date_format
        self._window = (definition.earliest_ms, definition.latest_ms)  # C31 is another vendor's

    def __call__(self, row: Row, text: bytes, address: int) -> Reading:
        if _deletes(row):
            raise _deletion(row)
        visitor = _visitor(row)
        identifiers, places = _identifiers(visitor, row)
        actions = [self._action(value, f"actions[{index}]") for index, value in enumerate(_actions(row))]
        if not actions:
            _refuse_visit_properties(row)
        _refuse_empty_name(row, "")
        _refuse_empty_name(visitor, "visitor")
        if self._strict:
            _refuse_long(identifiers, places)
            _refuse_against_strict(row, visitor, actions)
        placeholder = next((kind for kind, value in identifiers.items() if _is_placeholder(value)), None)
        if placeholder is not None and self._strict:
            raise Reject(
                Reason.PLACEHOLDER_ID,
                field=places[placeholder],
                found=identifiers[placeholder],
                hint="send the id of a person, or no row",
            )
        user = next(iter(identifiers.values()))
        latest_ms = max((action.time_ms for action in actions), default=None)
        changes = [
            UserChange(user_id, record, value, latest_ms, address, index)
            for index, (user_id, record, value) in enumerate(_records(user, visitor, identifiers))
        ]
        if not actions and not changes:
            raise Reject(
                Reason.NOTHING_TO_RECORD,
                field="visitor",
                expected="actions, or a property of the visitor",
                hint="leave the line out: it names a visitor and says nothing of them",
            )
        known: Row = {**identifiers}
        if row.get(VISIT_ID) in (None, ""):
            row.pop(VISIT_ID, None)
            row = {VISIT_ID: event_id("woopra visit", text, 0), **row}
        hint = "send the visit's actions in several lines, with one visit_id"
        refuse_repeated([row, known], len(actions), len(text), hint)
        events = [
            Event(id_, action.name, action.time_ms, user, action.properties, address, row, known)
            for action, id_ in zip(actions, event_ids(NAME, text), strict=False)
        ]
        return Reading(events, changes, () if placeholder is None else (Reason.PLACEHOLDER_ID.value,))

    def _action(self, action: Value, path: str) -> "_Action":
        """An action, checked (W3). What else it holds is refused: there is no place for it, and none must vanish."""
        if not isinstance(action, dict):
            hint = f"write it as {{{', '.join(_ACTION)}}}"
            raise Reject(Reason.WRONG_TYPE, field=path, expected="object", found=fields.json_type(action), hint=hint)
        try:
            name = _text(action.get("name"), f"{path}.name")
            time_ms = self._time_ms(action.get("time"), f"{path}.time")
        except Reject as reject:
            if reject.reason is Reason.MISSING_FIELD:
                reject.hint = _did_you_mean(action, reject.field.rpartition(".")[2], but=_ACTION)
            raise
        properties = action.get("properties")
        if properties is None:
            properties = {}
        elif not isinstance(properties, dict):
            raise Reject(
                Reason.WRONG_TYPE,
                field=f"{path}.properties",
                expected="object",
                found=fields.json_type(properties),
                hint='write each as "name": value between { and }',
            )
        if not action.keys() <= _OF_ACTION:
            other = next(key for key in action if key not in _ACTION)
            if not other:
                raise _empty_name(path)
            meant = _did_you_mean([other], "properties") if "properties" not in action else ""
            raise _no_place(
                f"{path}.{shown(other)}",
                expected=f"an action of {', '.join(_ACTION)}",
                hint=meant or f"put it into {path}.properties",
            )
        if "" in properties:
            raise _empty_name(f"{path}.properties")
        return _Action(name, time_ms, properties)

    def _time_ms(self, value: Value, path: str) -> int:
        if self._strict:
            _refuse_text(value, path)
        return fields.time_ms(value, path, self._window, self._date_format)


@dataclass(slots=True)
class _Action:
    name: str
    time_ms: int
    properties: Row


def _deletes(row: Row) -> bool:
    """Whether a line of an export says that a profile is gone (W19)."""
    kind = row.get("type")
    return kind == "delete" or (kind == "system" and row.get("method") == "delete")


def _deletion(row: Row) -> Reject:
    return Reject(
        Reason.NOT_ALLOWED,
        field="type" if row["type"] == "delete" else "method",
        expected="a visit",
        found="delete",
        hint="a line of an export (W19): it deletes a profile by its pid, which names nobody outside the vendor's own "
        "store. Leave the line out",
    )


def _visitor(row: Row) -> Row:
    """The visitor, taken out of the row.

    Raises:
        Reject: missing_field, wrong_type.
    """
    visitor = row.pop("visitor", None)
    if isinstance(visitor, dict):
        return visitor
    example = 'as in "visitor": {"email": "…"}'
    if visitor is None:
        hint = _did_you_mean(row, "visitor", but=("actions",))
        if not hint and any(row.get(name) for name in IDENTIFIERS):
            hint = f"put {next(name for name in IDENTIFIERS if row.get(name))} into an object, {example}"
        raise Reject(Reason.MISSING_FIELD, field="visitor", expected="object", hint=hint)
    raise Reject(
        Reason.WRONG_TYPE,
        field="visitor",
        expected="object",
        found=fields.json_type(visitor),
        hint=f"name the identifier, {example}",
    )


def _identifiers(visitor: Row, row: Row) -> tuple[dict[str, str], dict[str, str]]:
    """Those the visitor has, the highest first, and where each stood. They are taken out of visitor and out of the row,
    either of which may hold a cookie (W7).

    Raises:
        Reject: wrong_type, many_identifiers, no_identifier; not_allowed where one lies beside the visitor.
    """
    found: dict[str, str] = {}
    places = {kind: f"visitor.{kind}" for kind in IDENTIFIERS}
    for kind, place in places.items():
        value = visitor.pop(kind, None)
        if value is not None and value != "":
            found[kind] = _text(value, place)
    beside = row.pop("cookie", None)
    if beside is not None and beside != "":
        cookie = _text(beside, "cookie")
        if "cookie" not in found:
            found["cookie"], places["cookie"] = cookie, "cookie"
        elif found["cookie"] != cookie:
            raise Reject(
                Reason.MANY_IDENTIFIERS,
                field="cookie",
                expected="one cookie, in visitor or beside it",
                found=f"{shown(found['cookie'])} in visitor and {shown(cookie)} beside it",
                hint="keep one of them",
            )
    if not found:
        raise _no_identifier(visitor, row)
    for kind in ("id", "email"):
        if kind not in found and row.get(kind) not in (None, ""):
            raise _no_place(
                kind,
                expected="identifiers inside visitor",
                hint=f"put it into visitor: beside it, {kind} would be a property of the visit",
            )
    return found, places


def _no_identifier(visitor: Row, row: Row) -> Reject:
    hint = next(filter(None, (_did_you_mean(visitor, kind) for kind in IDENTIFIERS)), "")
    beside = next((kind for kind in IDENTIFIERS if row.get(kind) not in (None, "")), None)
    if not hint and beside is not None:
        hint = f"{beside} stands beside visitor: put it into visitor"
    if not hint and "pid" in row:
        hint = "pid names a profile for a while, and only to the vendor (W19): send id, email or cookie in visitor"
    return Reject(
        Reason.NO_IDENTIFIER,
        field="visitor",
        expected=", ".join(IDENTIFIERS[:-1]) + f" or {IDENTIFIERS[-1]}",
        hint=hint or "add one of them: without it nobody knows whose visit this is",
    )


def _actions(row: Row) -> list[Value]:
    """The actions, taken out of the row; none are the same as an empty array."""
    actions = row.pop("actions", None)
    if actions is None:
        return []
    if isinstance(actions, list):
        return actions
    raise Reject(
        Reason.WRONG_TYPE,
        field="actions",
        expected="array",
        found=fields.json_type(actions),
        hint="put the action in [ ]" if isinstance(actions, dict) else "write it as an array of objects",
    )


def _refuse_visit_properties(visit: Row) -> None:
    """A line without actions has no event that could keep them (W4)."""
    if not visit:
        return
    name = next(iter(visit))
    raise _no_place(
        name,
        expected="nothing beside visitor in a line without actions (W4)",
        hint=_did_you_mean(visit, "actions") or "put it into visitor, or add the actions of the visit",
    )


def _records(user: str, visitor: Row, identifiers: Mapping[str, str]) -> Iterator[tuple[str, str, Value]]:
    """(user id, record, value) of what a line says of its visitor.

    The email is a property too, for whoever stands under an id. Both then are one person; a cookie is not linked, since
    all who share a browser would become one.
    """
    for name, value in visitor.items():
        yield user, users.property_record(name), value
    email = identifiers.get("email")
    if email is not None and "id" in identifiers:
        yield user, users.property_record("email"), email
        if _are_linked(user, email):
            yield user, users.LINK + email, True
            yield email, users.LINK + user, True


def _are_linked(id_: str, email: str) -> bool:
    """Whether an id and an email of one visitor say that both are one person: ids of nobody would make one of all."""
    return id_ != email and not _is_placeholder(id_) and not _is_placeholder(email)


def _is_placeholder(identifier: str) -> bool:
    return identifier.strip().lower() in fields.PLACEHOLDER_IDS


# ---- The vendor's own limits and names ------------------------------------------------------------------------------


def _refuse_long(identifiers: Mapping[str, str], places: Mapping[str, str]) -> None:
    for kind, identifier in identifiers.items():
        if len(identifier) > STRICT_CHARACTERS[kind]:
            raise Reject(
                Reason.TOO_LONG,
                field=places[kind],
                expected=f"at most {STRICT_CHARACTERS[kind]} characters (W8)",
                found=f"{len(identifier)} characters",
                hint="the vendor cuts it, and what is left may be somebody else's: send a shorter one",
            )


def _refuse_against_strict(visit: Row, visitor: Row, actions: Sequence[_Action]) -> None:
    """Names (W9), visit properties (W11), and nested values, of which no word is said."""
    _refuse_strict_properties(visitor, "visitor")
    for index, action in enumerate(actions):
        if not _STRICT_NAME.match(action.name):
            raise _bad_name(f"actions[{index}].name", action.name)
        _refuse_strict_properties(action.properties, f"actions[{index}].properties")
    for name, value in visit.items():
        if name not in VISIT_PROPERTIES:
            nearest = max(VISIT_PROPERTIES, key=lambda known: _likeness(name[:_LONGEST_NEAR], known))
            raise _no_place(
                name,
                expected="visitor, actions, or a generated visit property (W11)",
                hint=_did_you_mean([name], nearest) or "properties of your own belong into an action or into visitor",
            )
        _refuse_nested(name, value)
    if visit.get("time") not in (None, ""):
        _refuse_text(visit["time"], "time")
        fields.time_ms(visit["time"], "time", (0, LATEST_TIME_MS))
    _refuse_text(visit.get("duration"), "duration")


def _refuse_strict_properties(properties: Row, path: str) -> None:
    for name, value in properties.items():
        if not _STRICT_NAME.match(name):
            raise _bad_name(f"{path}.{shown(name)}", name)
        _refuse_nested(name, value, f"{path}.")


def _refuse_text(value: Value, path: str) -> None:
    """A time or a duration is a number of milliseconds (W3, W11)."""
    if isinstance(value, bool | dict | list) or (isinstance(value, str) and value):
        raise Reject(
            Reason.WRONG_TYPE,
            field=path,
            expected="milliseconds, as a number",
            found=fields.json_type(value),
            hint="a number stands without quotation marks" if isinstance(value, str) else "",
        )


# ---- Words for what is wrong ----------------------------------------------------------------------------------------


def _text(value: Value, path: str) -> str:
    return fields.text({path: value}, path)


def _refuse_nested(name: str, value: Value, path: str = "") -> None:
    if isinstance(value, dict | list):
        raise Reject(
            Reason.NESTED_VALUE,
            field=f"{path}{shown(name)}",
            expected="a string, number, boolean or null",
            found=fields.json_type(value),
            hint="write its members as properties" if isinstance(value, dict) else "write it as one string",
        )


def _no_place(path: str, expected: str, hint: str) -> Reject:
    message = f"{shown(path)}: there is no place for it; expected {expected}"
    return Reject(Reason.NOT_ALLOWED, field=path, expected=expected, hint=hint, message=message)


def _bad_name(path: str, name: str) -> Reject:
    return Reject(
        Reason.BAD_NAME,
        field=path,
        expected="lower-case letters, digits, underscores, dashes and spaces (W9)",
        found=name,
        hint="names are case sensitive: write it in lower case" if _STRICT_NAME.match(name.lower()) else "",
    )


def _refuse_empty_name(properties: Row, path: str) -> None:
    if "" in properties:
        raise _empty_name(path)


def _empty_name(path: str) -> Reject:
    return Reject(Reason.BAD_NAME, field=path, expected="a non-empty name", found='""')


def _did_you_mean(keys: Iterable[str], name: str, but: Sequence[str] = ()) -> str:
    """The hint for a missing name, if one of these keys is a near miss of it; else "".

    Args:
        but: keys that have a meaning of their own.
    """
    # Bounded: an object may have a hundred thousand keys, and a key may be as long as a row.
    looked_at = (key for key in islice(keys, _LOOKED_AT) if len(key) <= _LONGEST_NEAR and key != name)
    near = next((key for key in looked_at if key not in but and _likeness(key, name) >= _NEAR), None)
    return f"{shown(near)} present: did you mean {name}?" if near is not None else ""


@lru_cache(maxsize=4_096)  # names repeat from row to row, and likeness is dear
def _likeness(key: str, name: str) -> float:
    folded = "".join(c for c in key.lower() if c.isalnum())
    if folded == name or folded in _ALIASES.get(name, ()):
        return 1.0
    return SequenceMatcher(None, folded, name).ratio() if len(name) >= _SHORTEST_NEAR else 0.0


# ---- What others say, as lines of woopra ----------------------------------------------------------------------------


@dataclass(slots=True)
class _Line:
    """A line in the making.

    Attributes:
        time_ms: of the changes it can carry: that of its latest action, or None without actions.
    """

    visitor: Row
    visit: Row = field(default_factory=dict)
    actions: list[Value] = field(default_factory=list)
    time_ms: int | None = None
    may_add_email: bool = False

    @property
    def user(self) -> str:
        return str(next(self.visitor[kind] for kind in IDENTIFIERS if kind in self.visitor))

    def row(self) -> Row:
        return {"visitor": self.visitor, **self.visit} | ({"actions": self.actions} if self.actions else {})


_Changes = dict[tuple[str, str, int | None], UserChange]


def written(reading: Reading) -> Written:
    """A line a visit: events of one user with the same session properties. What is said of users rides on the line that
    has its time; what has none gets a line without actions."""
    taken = Taken(reading)
    changes: _Changes = {}
    for change in reading.user_changes:
        if change.deleted or change.expires_ms is not None:
            taken.lose(of_change(change))
        else:
            changes[change.user_id, change.record, change.event_time_ts] = change
    lines = _visits(reading, taken)
    without_time = dict.fromkeys(user for user, _, time_ms in changes if time_ms is None)
    lines += [_Line({"id": user}, may_add_email=True) for user in without_time]
    carriers: dict[tuple[str, int | None], _Line] = {}
    for line in lines:
        carriers.setdefault((line.user, line.time_ms), line)
    for line in lines:
        _settle_email(line, changes, taken)
    for change in changes.values():
        carrier = carriers.get((change.user_id, change.event_time_ts))
        path = users.path_of(change.record) if change.record.startswith(users.PROPERTY) else ()
        if carrier is None or len(path) != 1:
            taken.lose(of_change(change))
        elif path[0] in IDENTIFIERS:
            taken.lose(Lost.PROPERTY_NAME)
        else:
            carrier.visitor[path[0]] = change.value
    says_something = (line for line in lines if line.actions or len(line.visitor) > 1)
    return Written([line.row() for line in says_something], taken.lost)


def _visits(reading: Reading, taken: Taken) -> list[_Line]:
    lines: dict[tuple[str, str, str], _Line] = {}
    told: dict[int, str] = {}  # what events share is written out once

    def tell(properties: Row | None) -> str:
        if not properties:
            return ""
        if id(properties) not in told:
            told[id(properties)] = repr(properties)
        return told[id(properties)]

    for event in reading.events:
        taken.lose_but(event, Lost.EXPIRY)
        key = (event.user_id, tell(event.identifiers), tell(event.session_properties))
        line = lines.get(key)
        if line is None:
            line = lines[key] = _Line(_visitor_of(event, taken))
            for name, value in (event.session_properties or {}).items():
                if _has_another_meaning(name, value):
                    taken.lose(Lost.PROPERTY_NAME)
                else:
                    line.visit[name] = value
        properties = event.properties
        if "" in properties:
            taken.lose(Lost.PROPERTY_NAME)
            properties = {name: value for name, value in properties.items() if name}
        line.actions.append(
            {"name": event.event_name, "time": time_written(event.event_time_ts), "properties": properties}
        )
        line.time_ms = max(event.event_time_ts, line.time_ms or 0)
    return list(lines.values())


def _visitor_of(event: Event, taken: Taken) -> Row:
    """The identifiers of an event, if the highest is what it stands under; else that, as an id."""
    given = event.identifiers or {}
    visitor: Row = {kind: given[kind] for kind in IDENTIFIERS if isinstance(given.get(kind), str) and given[kind]}
    if next(iter(visitor.values()), None) != event.user_id:
        visitor = {"id": event.user_id}
    if any(value != event.user_id and visitor.get(kind) != value for kind, value in given.items()):
        taken.lose(Lost.IDENTIFIERS)
    return visitor


def _has_another_meaning(name: str, value: Value) -> bool:
    """Whether a visit property would be read as something else than a visit property."""
    return name in ("", "visitor", "actions", *IDENTIFIERS) or (name in ("type", "method") and value == "delete")


def _settle_email(line: _Line, changes: _Changes, taken: Taken) -> None:
    """An email beside an id says three things of the user (`_records`). Where all are to be said, it stays, or is added
    to a line without actions, and they are said; else it is left out."""
    if "id" not in line.visitor:
        return
    user = line.user
    said = changes.get((user, users.property_record("email"), line.time_ms))
    email = line.visitor.get("email", said.value if said is not None and line.may_add_email else None)
    if not isinstance(email, str) or not email:
        return
    both = {"id": user, "email": email}
    implied = {(user_id, record, line.time_ms): value for user_id, record, value in _records(user, {}, both)}
    if all(key in changes and _is_same(changes[key].value, implied[key]) for key in implied):
        for key in implied:
            del changes[key]
        line.visitor = {**both, **line.visitor}
    elif line.visitor.pop("email", None) is not None and email != user:
        taken.lose(Lost.IDENTIFIERS)


def _is_same(one: Value, other: Value) -> bool:
    return type(one) is type(other) and one == other
