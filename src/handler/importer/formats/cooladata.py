"""CoolaData / Medallia Journey Analytics: flat JSON rows, three mandatory properties (docs/formats.md, C1–C33).

Rule: a row is one event. `event_name`, `event_time_ts` and `user_id` must be there; every other non-empty property is
kept as sent; `{u}name` sets a property of the user instead of the event (C20). `""` and null are absent (C6).
`strict` holds names, sizes and times to the vendor's own words; without it whatever can be stored is accepted.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import islice
from typing import Final

import orjson

from importer import fields, users
from importer.bad_rows import FileReason, ObjectProblem, Reason, Reject, row_text, shown
from importer.definitions import DAY_MS, HOUR_MS, NDJSON, TEXT_CSV, Definition
from importer.formats.reading import Lost, Reading, Shortcut, Written
from importer.formats.writing import Taken, of_change, time_written
from importer.model import Event, Row, UserChange, event_id, identity_begun
from importer.plain_rows import Mandatory, PlainEvent, Shapes
from importer.rows import is_exact

NAME: Final = "cooladata"
DOCUMENTS: Mapping[str, tuple[str, ...]] = {"": (NDJSON, TEXT_CSV)}
HAS_VENDOR_KEY: Final = False  # nothing read says how the vendor tells a repeated event
MANDATORY: Final = ("event_name", "event_time_ts", "user_id")
STRICT_EVENT_BYTES: Final = 100 * 1024  # C24
# Names people send for a mandatory one; beside these, anything spelt nearly like it gets the hint (C11, C12).
_ALIASES: Final = {
    "event_name": ("event", "name", "eventtype", "action", "n"),
    "event_time_ts": (
        "eventtimestamp",
        "eventtimestampepoch",
        "timestamp",
        "time",
        "ts",
        "t",
        "eventtime",
        "datetime",
        "date",
    ),
    "user_id": ("user", "uid", "userid", "id", "customerid", "visitorid", "distinctid", "identity", "p"),
}
_NEAR: Final = 0.8
_LONGEST_NEAR: Final = 40  # characters
_LOOKED_AT: Final = 200  # keys of a row
_MOST_SHAPES: Final = 1_000
_FLAT: Final = frozenset({str, int, float, bool, type(None)})
_MOST_NAMES: Final = 10_000  # kept as checked: rows may have names that never come again
_STRICT_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*\Z")  # C14
_FORBIDDEN: Final = frozenset(
    ["select", "from", "where", "as", "null", "and", "between", "join", "left", "outer", "inner", "on"]
)  # C16
_RESERVED: Final = frozenset(  # C17
    [
        "internal_user_id",
        "internal_session_id",
        "user_alias",
        "session_clean_path",
        "session_duration",
        "session_end_time_ts",
        "session_events_counter",
        "session_full_category_path",
        "session_full_clean_category_path",
        "session_full_clean_path",
        "session_full_path",
        "session_funnel_path",
        "session_serial_event_counter",
        "uid",
        "sid",
    ]
)


def refuse_name(base_name: str, mime_type: str) -> None:
    """C2: the name of a file of JSON must not contain `csv` anywhere, whatever its case."""
    if mime_type == NDJSON and "csv" in base_name.lower():
        raise ObjectProblem(
            FileReason.WRONG_KIND,
            f"the name {base_name!r} contains `csv`, which this dialect refuses for rows of JSON: rename the file. "
            "(Rows of CSV are read under an import definition with mime_type TEXT_CSV.)",
        )


def refuse_columns(columns: Sequence[str], strict: bool) -> None:
    """The vendor's other loaders take CSV (C32): the same properties, as columns."""
    missing = [name for name in MANDATORY if name not in columns]
    if missing:
        near = next((column for column in columns if len(column) <= _LONGEST_NEAR and _meant(column) in missing), None)
        hint = f" ({shown(near)} present: did you mean {_meant(near)}?)" if near is not None else ""
        raise ObjectProblem(
            FileReason.CSV_HEADER_MISSING,
            f"the first line of a CSV names its columns, among them {', '.join(MANDATORY)}; "
            f"{missing[0]} is missing{hint}. Mend it and drop it again",
        )


def claims(row: Row) -> bool:
    """By two of the mandatory properties; the third is a word others use too."""
    return "event_time_ts" in row and "event_name" in row


def evidence(row: Row) -> Sequence[str]:
    """The mandatory properties a row has, and user-scoped ones."""
    found = [f"property {name}" for name in MANDATORY if name in row]
    return found + ["a property with the prefix {u}" for key in row if key.startswith("{u}")][:1]


def vendor_key(event: Event, index: int) -> str | None:
    """See `Format`."""
    return None


def written(reading: Reading) -> Written:
    """An event a row; its user's changes ride on a row of the same user and time (C20)."""
    taken = Taken(reading)
    rows: list[Row] = []
    for event in reading.events:
        row: Row = {
            "event_name": event.event_name,
            "event_time_ts": time_written(event.event_time_ts),
            "user_id": event.user_id,
        }
        row |= taken.flat(event.properties, lambda name: name in MANDATORY or name.startswith("{"))
        taken.lose_but(event, Lost.SESSION_PROPERTIES, Lost.IDENTIFIERS, Lost.EXPIRY)
        rows.append(row)
    carriers = {(event.user_id, event.event_time_ts): row for event, row in zip(reading.events, rows, strict=True)}
    for change in reading.user_changes:
        path = users.path_of(change.record) if change.record.startswith(users.PROPERTY) else ()
        row = carriers.get((change.user_id, change.event_time_ts or 0), {})
        if not row or len(path) != 1 or change.deleted or change.expires_ms is not None:
            taken.lose(of_change(change))
        else:
            row |= {f"{{u}}{name}": value for name, value in taken.flat({path[0]: change.value}).items()}
    return Written(rows, taken.lost)


def time_window(definition: Definition, now_ms: int) -> tuple[int, int]:
    """Accepted event times, both ends inclusive; strict adds the vendor's 30 days back and 1 hour ahead (C31)."""
    if not definition.strict:
        return definition.earliest_ms, definition.latest_ms
    return max(definition.earliest_ms, now_ms - 30 * DAY_MS), min(definition.latest_ms, now_ms + HOUR_MS)


def reader(definition: Definition, now_ms: int) -> "CoolaDataReader":
    """The reader for an execution created at `now_ms`."""
    return CoolaDataReader(definition, now_ms)


def shortcut(definition: Definition, now_ms: int) -> Shortcut | None:
    """Reads rows that are as nearly all are, as `rows.row_of`, `claims` and `reader` together do, in half the time.

    Plain is a row of text, numbers and booleans with no prefix in its names, its time in milliseconds, of a user who
    is somebody. Rows of a file look alike: where a row's shape is known its text is matched, and not parsed; else names
    are looked at when they come for the first time.
    """
    if definition.strict:
        return None
    window = time_window(definition, now_ms)
    first_ms, last_ms = max(window[0], fields.SECONDS_BELOW), min(window[1], fields.MICROSECONDS_FROM - 1)
    seen: dict[tuple[str, ...], bool] = {}  # all names of a row → whether they are plain
    shapes = Shapes(Mandatory("event_name", "event_time_ts", "user_id"))
    loads, dumps, begun, shape_of = orjson.loads, orjson.dumps, identity_begun(NAME, 0), shapes.of

    def are_plain(names: tuple[str, ...]) -> bool:
        plain = set(names) >= set(MANDATORY) and all(name and name[0] != "{" for name in names)
        if len(names) <= _LOOKED_AT and len(seen) < _MOST_SHAPES:
            seen[names] = plain
        return plain

    def identified(text: bytes) -> str:
        identity = begun.copy()
        identity.update(text)
        return identity.hexdigest()

    def read(line: bytes, address: int) -> Event | None:
        known_shape = shape_of(line)
        if known_shape is None:
            return parsed(line, address)
        shape, found = known_shape
        _, time_text, user_text = found.group(*shape.mandatory)
        time, user = int(time_text), user_text.decode()
        if not first_ms <= time <= last_ms or user.strip().lower() in fields.PLACEHOLDER_IDS:
            return None
        return PlainEvent(identified(row_text(line)), time, user, address, shape, found)

    def parsed(line: bytes, address: int) -> Event | None:
        text = row_text(line)
        try:
            row = loads(text)
            if type(row) is not dict or (dumps(row) != text and not is_exact(row, text)):
                return None
        except (orjson.JSONDecodeError, orjson.JSONEncodeError):
            return None
        names = tuple(row)
        known = seen.get(names)
        if not (are_plain(names) if known is None else known):
            return None
        name, time, user = row["event_name"], row["event_time_ts"], row["user_id"]
        kinds = set(map(type, row.values()))
        if not (
            kinds <= _FLAT
            and type(name) is str
            and name
            and type(time) is int
            and first_ms <= time <= last_ms
            and type(user) is str
            and user
            and user.strip().lower() not in fields.PLACEHOLDER_IDS
        ):
            return None
        shapes.learn(names, row, line)
        del row["event_name"], row["event_time_ts"], row["user_id"]
        if type(None) in kinds or "" in row.values():
            row = {key: value for key, value in row.items() if value is not None and value != ""}
        return Event(identified(text), name, time, user, row, address)

    return read


class CoolaDataReader:
    """Callable: (row, row text, address) → Reading."""

    def __init__(self, definition: Definition, now_ms: int) -> None:
        self._strict = definition.strict
        self._session_scope = definition.session_scope
        self._date_format = definition.date_format
        self._window = time_window(definition, now_ms)
        self._checked_names: set[str] = set()  # names strict has passed; names repeat from row to row

    def __call__(self, row: Row, text: bytes, address: int) -> Reading:
        name = row.pop("event_name", None)
        time = row.pop("event_time_ts", None)
        user = row.pop("user_id", None)
        # The usual row passes these three looks; anything else is read again slowly, to say what is wrong.
        if not (type(name) is str and name and type(user) is str and user and time is not None):
            raise _mandatory_problem({**row, "event_name": name, "event_time_ts": time, "user_id": user})
        try:
            time_ms = fields.time_ms(time, "event_time_ts", self._window, self._date_format)
        except Reject as reject:
            raise _with_hint(reject, row) from None
        if self._strict:
            self._refuse_against_strict(row, text)
        notes = fields.identifier_notes(user, "user_id", self._strict)
        properties: Row = {}
        session: Row | None = None
        changes: list[UserChange] = []
        for key, value in row.items():
            if value is None or value == "":
                continue
            kind = type(value)
            if kind is dict or kind is list:
                raise fields.nested(key, value)
            if key.startswith("{"):
                scope, bare = self._scope(key)
                if scope == "u":
                    changes.append(UserChange(user, users.property_record(bare), value, time_ms, address, len(changes)))
                else:
                    session = {} if session is None else session
                    session[bare] = value
            elif key:
                properties[key] = value
            else:
                raise Reject(Reason.BAD_NAME, expected="a non-empty name", found='""')
        event = Event(event_id(NAME, text, 0), name, time_ms, user, properties, address, session)
        return Reading([event], changes, notes)

    def _scope(self, key: str) -> tuple[str, str]:
        """(scope, name) of a key that begins with `{` (C20–C22); `{s}` only behind its setting (C21)."""
        scope, closed, bare = key[1:].partition("}")
        if not closed or scope not in ("u", "s") or (scope == "s" and not self._session_scope):
            allowed = "{u} for a property of the user" + (
                " or {s} for one of the session" if self._session_scope else ""
            )
            hint = "set session_scope of the import to accept {s}" if scope == "s" and closed else ""
            raise Reject(
                Reason.UNKNOWN_SCOPE_PREFIX, field=key, expected=allowed, found=key[: len(scope) + 2], hint=hint
            )
        if not bare:
            raise Reject(Reason.BAD_NAME, field=key, expected="a name after the prefix", found=key)
        return scope, bare

    def _refuse_against_strict(self, row: Row, text: bytes) -> None:
        """The vendor's own limits: C14–C17 on names, C24 on size."""
        if len(text) > STRICT_EVENT_BYTES:
            raise Reject(
                Reason.EVENT_TOO_LARGE, expected=f"at most {STRICT_EVENT_BYTES} bytes", found=f"{len(text)} bytes"
            )
        seen: dict[str, str] = {name: name for name in MANDATORY}
        for key in row:
            bare = self._scope(key)[1] if key[:1] == "{" else key
            if bare not in self._checked_names:
                _refuse_strict_name(key, bare)
                if len(self._checked_names) < _MOST_NAMES:
                    self._checked_names.add(bare)
            folded = key.lower()
            if folded in seen:
                raise Reject(
                    Reason.DUPLICATE_KEY,
                    field=key,
                    found=f"{seen[folded]} and {key}",
                    hint="property names are not case sensitive (C15): keep one of them",
                )
            seen[folded] = key


def _refuse_strict_name(key: str, bare: str) -> None:
    if not _STRICT_NAME.match(bare):
        raise Reject(
            Reason.BAD_NAME,
            field=key,
            expected="a letter, then letters, digits and underscores (C14)",
            found=bare or '""',
        )
    if bare.lower() in _FORBIDDEN or bare.lower() in _RESERVED:
        raise Reject(Reason.RESERVED_NAME, field=key, found=bare, hint="choose another name (C16, C17)")


def _mandatory_problem(row: Row) -> Reject:
    """What is wrong with the mandatory properties of a row, in their documented order."""
    for name in MANDATORY:
        value = row.get(name)
        if value is None or value == "":
            expected = fields.TIME_EXPECTED if name == "event_time_ts" else "string"
            return _with_hint(Reject(Reason.MISSING_FIELD, field=name, expected=expected), row)
        if name != "event_time_ts":
            try:
                fields.text(row, name)
            except Reject as reject:
                return reject
    raise AssertionError("called for a row whose mandatory properties are all right")


def _with_hint(reject: Reject, row: Row) -> Reject:
    """The reject with "did you mean", where the row holds a near miss of the missing name."""
    if reject.reason is Reason.MISSING_FIELD:
        # Bounded: a row may have a hundred thousand keys, and a key may be as long as a row.
        keys = (key for key in islice(row, _LOOKED_AT) if len(key) <= _LONGEST_NEAR and key not in MANDATORY)
        near = next((key for key in keys if _meant(key) == reject.field), None)
        if near is not None:
            reject.hint = f"{shown(near)} present: did you mean {reject.field}?"
    return reject


@lru_cache(maxsize=1_024)  # names repeat from row to row, and likeness is dear
def _meant(key: str) -> str:
    """The mandatory name a key is a near miss of; "" if none."""
    folded = "".join(c for c in key.lower() if c.isalnum())
    for name, aliases in _ALIASES.items():
        if folded in aliases or folded == name.replace("_", ""):
            return name
    likeness = {name: SequenceMatcher(None, folded, name.replace("_", "")).ratio() for name in MANDATORY}
    best = max(likeness, key=lambda name: likeness[name])
    return best if likeness[best] >= _NEAR else ""
