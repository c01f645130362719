"""KISSmetrics: JSON lines or CSV; record, set or alias by the row's shape (docs/formats/kissmetrics.md, K1–K33).

Rule: `_p` is the person, `_t` the second. A row with `_n` is an event of that name, whose other keys are its properties
(record). Without `_n` they are properties of the person (set). `_p2` is another identity of the same person (alias).
A CSV says the same in the columns Identity, Timestamp, Event, `Prop:<name>` and Alias. `""` and null are absent.
`strict` holds names, sizes and times to the vendor's own words; without it whatever can be stored is accepted.

First problem found is the reason, in this order: quotation marks of a strict CSV, `_p`, `_t`, `_n`, `_p2`, which
command it is, lengths of these, placeholders, `_d`, properties in the order of the row, nothing to record.
"""

import re
from collections.abc import Mapping, Sequence
from difflib import SequenceMatcher
from functools import lru_cache
from itertools import islice
from typing import Final, NamedTuple

from importer import exact_json, fields, users
from importer.bad_rows import FileReason, ObjectProblem, Reason, Reject, shown
from importer.definitions import NDJSON, TEXT_CSV, Definition
from importer.formats.reading import Lost, Reading, Written
from importer.formats.writing import Taken, of_change
from importer.model import Event, Row, UserChange, Value, event_id

NAME: Final = "kissmetrics"
DOCUMENTS: Mapping[str, tuple[str, ...]] = {"": (NDJSON, TEXT_CSV)}
HAS_VENDOR_KEY: Final = True  # K15
KEY_NOTE: Final = "api_key_removed"  # the row held `_k`; the key is stored nowhere, and said nowhere
NAMES_NOTE: Final = "names_changed"  # strict: `,` and `:` in a name became spaces
STRICT_EARLIEST_MS: Final = 1_230_768_000_000  # K14: 2009-01-01
STRICT_IDENTITY: Final = 255  # characters (K2)
STRICT_NAME: Final = 254  # characters (K12: under 255)
STRICT_VALUE_BYTES: Final = 8 << 10  # K10
STRICT_PROPERTIES: Final = 10  # of a CSV (K18)


class _Words(NamedTuple):
    """How the four fields of a row are called."""

    person: str
    time: str
    event: str
    alias: str


_JSON: Final = _Words("_p", "_t", "_n", "_p2")
_CSV: Final = _Words("Identity", "Timestamp", "Event", "Alias")
_PROPERTY: Final = "Prop:"  # before the name of a property in a CSV's header
_COLUMNS: Final = f"{', '.join(_CSV)} and {_PROPERTY}<name>"
# Names people send for one of the four, folded; in a CSV, anything spelt nearly like a column too.
_MEANT: Final = _Words(
    "p person identity identifier id user userid username uid customerid distinctid visitorid email",
    "t time timestamp ts date datetime eventtime eventtimets eventtimestamp createdat",
    "n name event eventname eventtype action",
    "p2 alias aliasid identity2 otheridentity",
)
_WORDS: Final = {word: place for place, words in enumerate(_MEANT) for word in words.split()}
_LIKE_PROPERTY: Final = re.compile(r"prop(?:erty)?\s*:", re.IGNORECASE)
_NEAR: Final = 0.8
_LONGEST_NEAR: Final = 40  # characters
_LOOKED_AT: Final = 200  # keys of a row
_DATED: Final = (0, 1, "0", "1")  # what `_d` may be (K8); true and false equal 1 and 0
_SAVED: Final = str.maketrans(",:", "  ")  # K12
# A text that is a number and no other text of the same value but for zeros at its end: 007, +1, 1e3 and -0 stay texts.
_NUMBER: Final = re.compile(r"(?:-(?=.*[1-9]))?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?", re.ASCII)
_SHORT_INTEGER: Final = 18  # characters: within 64 bits
_LONGEST_NUMBER: Final = 38  # characters; of so many digits a store keeps each, longer ones are ids


# ---- The dialect: see `Format` --------------------------------------------------------------------------------------


def refuse_name(base_name: str, mime_type: str) -> None:
    """Any name will do."""


def refuse_columns(columns: Sequence[str], strict: bool) -> None:
    """K18: the vendor's columns and no others, spelt as the vendor spells them."""
    properties = [column for column in columns if _is_property(column)]
    needed = [_CSV.person] if _CSV.alias in columns else [_CSV.person, _CSV.time]
    missing = next((column for column in needed if column not in columns), None)
    if missing is not None:
        near = next((column for column in columns if column not in _CSV and _meant(column, _CSV) == missing), None)
        hint = f" ({shown(near)} present: did you mean {missing}?)" if near is not None else ""
        raise _header(f"{missing} is missing{hint}")
    unknown = next((column for column in columns if column not in _CSV and not _is_property(column)), None)
    if unknown is not None:
        meant = _meant(unknown, _CSV)
        first = f"{meant}, or " if meant and meant not in columns else ""
        bare = _LIKE_PROPERTY.sub("", unknown[:_LONGEST_NEAR]).strip() or "<name>"
        raise _header(f"{shown(unknown)!r} is none of them: did you mean {first}{_PROPERTY}{shown(bare)}?")
    if not properties and _CSV.event not in columns and _CSV.alias not in columns:
        raise _header("without Event, Alias or a property there is nothing to record")
    if strict and len(properties) > STRICT_PROPERTIES:
        raise _header(
            f"at most {STRICT_PROPERTIES} columns of properties are allowed (K18), there are {len(properties)}"
        )


def claims(row: Row) -> bool:
    """By the person and the time."""
    return ("_p" in row and "_t" in row) or ("Identity" in row and "Timestamp" in row)


def evidence(row: Row) -> Sequence[str]:
    """The vendor's names; of a CSV's only beside Identity, since the others are words that others use too."""
    found = [f"property {word}" for word in _JSON if word in row]
    if _CSV.person in row:
        found += [f"column {word}" for word in _CSV if word in row]
        found += [f"a column with the prefix {_PROPERTY}" for key in row if key.startswith(_PROPERTY)][:1]
    return found


def vendor_key(event: Event, index: int) -> str | None:
    """K15: one person, one name, one second is one event; names as the vendor compares them (K12)."""
    return _compared(event.event_name)


def written(reading: Reading) -> Written:
    """Rows of JSON: a record for each event, a set for properties of one person and second, an alias for each link."""
    taken = Taken(reading)
    rows: list[Row] = []
    for event in reading.events:
        if not event.event_name or not fields.is_seconds(event.event_time_ts // 1000):
            taken.lose(Lost.EVENT)
            continue
        row: Row = {"_p": event.user_id, "_t": event.event_time_ts // 1000, "_n": event.event_name}
        taken.lose_but(event, Lost.MILLISECONDS, Lost.SESSION_PROPERTIES, Lost.IDENTIFIERS, Lost.EXPIRY)
        rows.append(row | taken.flat(event.properties, _is_kept))
    return Written(rows + _changes_written(taken), taken.lost)


def _changes_written(taken: Taken) -> list[Row]:
    rows: list[Row] = []
    last_set: Row = {}  # properties join the set before theirs, if that is of the same person and second
    linked: set[tuple[str, str, int]] = set()
    for change in taken.reading.user_changes:
        time_ms = change.event_time_ts
        if time_ms is None or change.deleted or change.expires_ms is not None or not fields.is_seconds(time_ms // 1000):
            taken.lose(of_change(change))
            continue
        row: Row = {"_p": change.user_id, "_t": time_ms // 1000}
        path = users.path_of(change.record) if change.record.startswith(users.PROPERTY) else ()
        other = change.record.removeprefix(users.LINK) if change.record.startswith(users.LINK) else ""
        if len(path) == 1:
            members = taken.flat({path[0]: change.value}, _is_kept)
            if not members:
                continue
            if path[0] not in last_set and (last_set.get("_p"), last_set.get("_t")) == (row["_p"], row["_t"]):
                last_set |= members
            else:
                last_set = row | members
                rows.append(last_set)
        elif other and other != change.user_id and not any(map(fields.is_placeholder, (other, change.user_id))):
            pair = (min(other, change.user_id), max(other, change.user_id), time_ms)
            if pair not in linked:  # else it is the other end of the same link
                linked.add(pair)
                rows.append(row | {"_p2": other})
        else:
            taken.lose(of_change(change))
            continue
        if time_ms % 1000:
            taken.lose(Lost.MILLISECONDS)
    return rows


def _is_kept(name: str) -> bool:
    return not name or name.startswith("_")


def reader(definition: Definition, now_ms: int) -> "KissmetricsReader":
    """The reader for an execution; when that was created does not matter here."""
    return KissmetricsReader(definition)


# ---- Reading --------------------------------------------------------------------------------------------------------


class KissmetricsReader:
    """Callable: (row, row text, address) → Reading."""

    def __init__(self, definition: Definition) -> None:
        self._strict = definition.strict
        self._is_csv = definition.mime_type == TEXT_CSV
        self._words = _CSV if self._is_csv else _JSON
        self._window = (definition.earliest_ms, definition.latest_ms)
        self._date_format = definition.date_format
        self._numbers_in_strings = definition.numbers_in_strings

    def __call__(self, row: Row, text: bytes, address: int) -> Reading:
        words = self._words
        if self._strict and self._is_csv and b'"' in text:
            _refuse_quotation_marks(row, text)
        try:
            person = fields.text(row, words.person)
            time_ms = self._time_ms(row)
        except Reject as reject:
            raise self._with_hint(reject, row) from None
        name = _optional_text(row, words.event)
        other = _optional_text(row, words.alias)
        for word in words:
            row.pop(word, None)
        self._refuse_command(person, name, other)
        notes = self._notes(person, other)
        if not self._is_csv:
            _refuse_dated(row.pop("_d", None))
            if row.pop("_k", None) not in (None, ""):
                notes[KEY_NOTE] = None
        properties = self._properties(row, notes)
        if self._strict and name:
            name = _saved(name, notes)
        if name:
            if time_ms is None:
                raise self._time_missing()
            event = Event(event_id(NAME, text, 0), name, time_ms, person, properties, address)
            return Reading([event], [], tuple(notes))
        changes: list[UserChange] = []
        if other:
            changes.append(UserChange(person, users.LINK + other, True, time_ms, address, 0))
            changes.append(UserChange(other, users.LINK + person, True, time_ms, address, 1))
        if properties and time_ms is None:
            raise self._time_missing()
        for property_name, value in properties.items():
            record = users.property_record(property_name)
            changes.append(UserChange(person, record, value, time_ms, address, len(changes)))
        if not changes:
            raise Reject(
                Reason.NOTHING_TO_RECORD,
                expected=f"{words.event}, {words.alias} or a property with a value",
                hint=f"name the event in {words.event}, or leave the row out",
            )
        return Reading([], changes, tuple(notes))

    def _time_ms(self, row: Row) -> int | None:
        """The row's time. None: a CSV has none for it, as is right for an alias (K18)."""
        field = self._words.time
        value = row.get(field)
        if self._is_csv and value in (None, "") and (field not in row or row.get(self._words.alias) not in (None, "")):
            return None
        time_ms = fields.seconds_ms(value, field, self._window, self._date_format)
        if self._strict and time_ms < STRICT_EARLIEST_MS:
            raise Reject(
                Reason.TIME_OUT_OF_WINDOW,
                field=field,
                expected=f"{STRICT_EARLIEST_MS // 1000} (2009-01-01) or later",
                found=str(time_ms // 1000),
                hint="the vendor keeps nothing older (K14)",
            )
        return time_ms

    def _time_missing(self) -> Reject:
        return Reject(
            Reason.MISSING_FIELD,
            field=self._words.time,
            expected=fields.SECONDS_EXPECTED,
            hint="only a row that is nothing but an alias may go without (K18)",
        )

    def _refuse_command(self, person: str, name: str, other: str) -> None:
        """Two commands in one row, an alias that says nothing; strict: lengths of identities and of the name."""
        words = self._words
        if name and other:
            raise Reject(
                Reason.AMBIGUOUS_COMMAND,
                field=words.alias,
                expected=f"{words.event} or {words.alias}",
                found="both",
                hint=f"write two rows: the event with {words.event}, the alias with {words.alias} (K7)",
            )
        if other == person:
            raise Reject(
                Reason.NOTHING_TO_RECORD,
                field=words.alias,
                expected=f"another identity than {words.person}",
                found=other,
                hint=f"leave {words.alias} out",
            )
        if self._strict:
            for word, text, most in (
                (words.person, person, STRICT_IDENTITY),
                (words.event, name, STRICT_NAME),
                (words.alias, other, STRICT_IDENTITY),
            ):
                if len(text) > most:
                    raise _too_long(word, most, len(text))

    def _notes(self, person: str, other: str) -> dict[str, None]:
        """Codes of notes, each once. An alias of a placeholder would make one person of everybody, and for good (K16):
        that is refused without strict too."""
        refused = self._strict or bool(other)
        notes = dict.fromkeys(fields.identifier_notes(person, self._words.person, refused))
        if other:
            fields.identifier_notes(other, self._words.alias, refused)
        return notes

    def _properties(self, row: Row, notes: dict[str, None]) -> Row:
        """The properties of a row without its other fields, by name."""
        properties: Row = {}
        compared: dict[str, str] = {}  # strict: name as the vendor compares it → key
        for key, value in row.items():
            if value is None or value == "":
                continue
            name = key
            if self._is_csv:
                if not key.startswith(_PROPERTY):
                    raise Reject(Reason.BAD_NAME, field=key, expected=f"one of the columns {_COLUMNS}")
                name = key[len(_PROPERTY) :]
            if name[:1] == "_":
                raise self._reserved(key, name)
            if not name:
                raise Reject(Reason.BAD_NAME, field=key, expected="a non-empty name", found=key or '""')
            kind = type(value)
            if kind is dict or kind is list:
                raise fields.nested(key, value)
            if self._strict:
                _refuse_long_value(key, value)
                if len(name) > STRICT_NAME:
                    raise _too_long(key, STRICT_NAME, len(name))
                name = _saved(name, notes)
                same = name.lower()
                if same in compared:
                    raise Reject(
                        Reason.DUPLICATE_KEY,
                        field=key,
                        found=f"{shown(compared[same])} and {shown(key)}",
                        hint="names are not case sensitive, and `,` and `:` count as spaces (K12): keep one of them",
                    )
                compared[same] = key
            properties[name] = _number_in(value) if self._numbers_in_strings and isinstance(value, str) else value
        return properties

    def _reserved(self, key: str, name: str) -> Reject:
        """The value is not shown: it may be a key misspelt (K9)."""
        meant = "" if self._is_csv else _meant(name, _JSON)
        return Reject(
            Reason.RESERVED_NAME,
            field=key,
            expected="a name without _ in front" if self._is_csv else "_p, _t, _n, _p2, _d, _k, or a name without _",
            hint=f"did you mean {meant}?" if meant else "names that begin with _ are the vendor's: choose another",
        )

    def _with_hint(self, reject: Reject, row: Row) -> Reject:
        """The reject with "did you mean", or with what to do about rows inside a row (K1)."""
        if reject.reason is Reason.MISSING_FIELD:
            # Bounded: a row may have a hundred thousand keys, and a key may be as long as a row.
            keys = [key for key in islice(row, _LOOKED_AT) if len(key) <= _LONGEST_NEAR and key not in self._words]
            near = next((key for key in keys if _meant(key, self._words) == reject.field), None)
            if near is not None:
                reject.hint = f"{shown(near)} present: did you mean {reject.field}?"
            elif (wrapped := next((key for key in keys if _holds_rows(row[key])), None)) is not None:
                reject.hint = f"rows stand inside {shown(wrapped)}: write each on a line of its own"
        return reject


def _optional_text(row: Row, field: str) -> str:
    value = row.get(field)
    return "" if value is None or value == "" else fields.text(row, field)


def _refuse_quotation_marks(row: Row, text: bytes) -> None:
    """K20. The columns' names stand before the row's own text."""
    if b'"' in text.removeprefix("\0".join(row).encode() + b"\n"):
        raise Reject(
            Reason.NOT_CSV,
            expected="no double quotation marks (K20)",
            found='"',
            hint="leave them out; a value that holds a comma or a quotation mark goes into a file of JSON",
        )


def _refuse_dated(value: Value) -> None:
    """K8: `_d` says that `_t` counts, as it always does here."""
    if value not in (None, "", *_DATED):
        found = fields.json_type(value) if isinstance(value, dict | list) else str(value)
        raise Reject(
            Reason.NOT_ALLOWED,
            field="_d",
            expected="0 or 1",
            found=found,
            hint="leave it out: _t counts with or without it",
        )


def _refuse_long_value(key: str, value: Value) -> None:
    if isinstance(value, str) and len(value) * 4 > STRICT_VALUE_BYTES:
        size = len(value.encode())
        if size > STRICT_VALUE_BYTES:
            raise Reject(
                Reason.TOO_LONG,
                field=key,
                expected=f"at most {STRICT_VALUE_BYTES} bytes (K10)",
                found=f"{size} bytes",
                hint="keep large texts elsewhere and send their address",
            )


def _too_long(field: str, most: int, length: int) -> Reject:
    return Reject(Reason.TOO_LONG, field=field, expected=f"at most {most} characters", found=f"{length} characters")


def _saved(name: str, notes: dict[str, None]) -> str:
    """A name as the vendor saves it (K12); notes where that is another."""
    saved = name.translate(_SAVED)
    if saved != name:
        notes[NAMES_NOTE] = None
    return saved


def _compared(name: str) -> str:
    """A name as the vendor compares it (K12)."""
    return name.translate(_SAVED).lower()


def _number_in(text: str) -> Value:
    """K11: the number a text is, numerically equal; the text itself where a number would not give it back."""
    if len(text) > _LONGEST_NUMBER or not _NUMBER.fullmatch(text):
        return text
    return int(text) if len(text) <= _SHORT_INTEGER and "." not in text else exact_json.parse(text.encode())


def _is_property(column: str) -> bool:
    return column.startswith(_PROPERTY) and column != _PROPERTY


def _holds_rows(value: Value) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and "_p" in value[0]


def _header(why: str) -> ObjectProblem:
    return ObjectProblem(
        FileReason.CSV_HEADER_MISSING,
        f"the first line of a CSV names its columns, here {_COLUMNS}: {why}. Mend it and drop it again",
    )


def _meant(key: str, words: _Words) -> str:
    """Which of these words a name is a near miss of; "" if of none."""
    if len(key) > _LONGEST_NEAR:
        return ""
    place = _place_of(key, words is _CSV)
    return "" if place is None else words[place]


@lru_cache(maxsize=1_024)  # names repeat from row to row, and likeness is dear
def _place_of(key: str, is_column: bool) -> int | None:
    folded = "".join(c for c in key.lower() if c.isalnum())
    if folded in _WORDS or not is_column:
        return _WORDS.get(folded)
    likeness = [SequenceMatcher(None, folded, word.lower()).ratio() for word in _CSV]
    best = max(likeness)
    return likeness.index(best) if best >= _NEAR else None
