"""What an import would do with a file (pure): the first batches, with no sink behind them.

Rule: a preview reads the lines that begin before `stop` through the very core an import uses and keeps sums, a few
rows and, for each property, its types. Memory does not grow with the file: what has no bound in the file (properties,
event names) has one here, and what is beyond it is counted. How much was looked at is part of what was found.
Beside what a store is known to hold (`known`), a name may be new and a type may clash.
`place_of` says which bytes of a refused row its reason speaks of, so that a person's eye finds them.
"""

import json
import json.decoder
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Final, cast

from importer import formats, users
from importer.bad_rows import BadRow, FileReason, ObjectProblem, Reason, row_text, shown
from importer.batches import Batch, Limit, Rules, batches, judge_bad_rows, judge_whole
from importer.compression import opened, peeked
from importer.definitions import NDJSON, Definition
from importer.diagnosis import diagnosis
from importer.fields import json_type
from importer.forecast import Forecast, Forecaster
from importer.known import Known, Where, clash_within
from importer.layouts import layout_of
from importer.lines import BOM, HEAD_BYTES, MAX_LINE_BYTES, reading_start, skipped
from importer.model import TO_THE_END, Event, FileError, Part, Tally, UserChange, Value
from importer.receipts import FoldedReasons
from importer.recognition import recognised
from importer.words import many

SCHEMA: Final = "preview/1"
# Codes of a problem that is none of the file: a definition that is wrong, and what passes by itself.
MISCONFIGURED: Final = "misconfigured"
UNAVAILABLE: Final = "unavailable"
MAX_NAMES: Final = 1_000  # of properties and of events: more than a person reads, little enough to keep
SHOWN_BYTES: Final = 2_000  # of a refused row in the document
SAMPLES: Final = 3  # different values of a property
ALIKE: Final = 2  # refused rows of one reason and field that are worth a look
MAX_EXAMPLES: Final = 20  # of refused rows
SAMPLE_CHARACTERS: Final = 200  # of one of them in the document

_KINDS: Final = {
    users.PROPERTY: "",
    users.SEGMENT: "segment membership",
    users.CONSENT: "consent",
    users.LINK: "link",
    users.ERASED: "erasure",
}

_SPACE = re.compile(r"[ \t\n\r]*")
_AT_BYTE = re.compile(r"at byte (\d+) of the row\Z")
_AT_CHARACTER = re.compile(r"ends at character (\d+) of the row\Z")
_OF_A_NAME: Final = frozenset(
    [Reason.BAD_NAME, Reason.RESERVED_NAME, Reason.DUPLICATE_KEY, Reason.UNKNOWN_SCOPE_PREFIX]
)


@dataclass(slots=True)
class Seen:
    """How often a type was seen, and where first."""

    count: int
    first_line: int


@dataclass(slots=True)
class Property:
    """What the good rows say about one property: the JSON types of its values, the first of them, and others that are
    neither the same nor nested."""

    example: Value
    types: dict[str, Seen] = field(default_factory=dict)
    samples: list[Value] = field(default_factory=list)

    @property
    def count(self) -> int:
        return sum(seen.count for seen in self.types.values())

    @property
    def clashes(self) -> bool:
        """More than one type, null aside: a table of columns could not hold it."""
        return clash_within(self.types)


@dataclass(slots=True)
class Findings:
    """What a preview found.

    `read_to` is the first plain byte that was not looked at; `whole` says that there is none, and `share` how much of
    the stored file that was, where its size is known. `problem` is why an import of the file would end FAILED; what
    stands beside it was found before. `known` is what the store holds, where somebody looked; else `not_compared` may
    say why nobody did.
    """

    format: str = formats.DEFAULT
    evidence: tuple[str, ...] = ()
    marked: Mapping[str, int] = field(default_factory=dict)  # dialect → rows among the first that bear its marks
    compression: str = ""
    tally: Tally = field(default_factory=Tally)
    read_to: int = 0
    whole: bool = False
    first_events: list[tuple[int, Event]] = field(default_factory=list)
    event_names: dict[str, int] = field(default_factory=dict)
    properties: dict[str, Property] = field(default_factory=dict)
    user_properties: dict[str, Property] = field(default_factory=dict)
    session_properties: dict[str, Property] = field(default_factory=dict)
    user_records: dict[str, int] = field(default_factory=dict)  # what else is said of persons, in words → how often
    names_left_out: int = 0  # values and events whose name found no place among MAX_NAMES
    earliest_ms: int | None = None
    latest_ms: int | None = None
    bad_rows: list[BadRow] = field(default_factory=list)
    examples: list[BadRow] = field(default_factory=list)  # of each reason and field the first ALIKE
    reasons: FoldedReasons = field(default_factory=FoldedReasons)
    problem: FileError | None = None
    cost: Forecast | None = None  # None where nobody asked, and where an import would refuse the file
    share: Fraction | None = None
    known: Known | None = None
    not_compared: str = ""

    @property
    def is_judged(self) -> bool:
        """False: what kept the file from being looked at says nothing about it."""
        unread = (MISCONFIGURED, UNAVAILABLE, FileReason.OBJECT_GONE)
        return self.problem is None or self.problem.code not in unread

    def names(self) -> Iterator[tuple[Where, dict[str, Property]]]:
        """The properties, kind by kind."""
        yield Where.PROPERTIES, self.properties
        yield Where.USER_PROPERTIES, self.user_properties
        yield Where.SESSION_PROPERTIES, self.session_properties

    def is_new(self, where: Where, name: str) -> bool:
        """Whether a name was not found in the store; False where nobody looked, and where there was nothing at all."""
        return self.known is not None and self.known.looked_at(where).items > 0 and self.known.is_new(where, name)

    def stored_types(self, where: Where, name: str) -> tuple[str, ...]:
        """The types that clash with those in the file; none where they agree."""
        types = dict(self.names())[where][name].types
        if self.known is None or not self.known.clashes(where, name, types):
            return ()
        return self.known.types_of(where, name)


@dataclass(frozen=True, slots=True)
class Place:
    """Half-open interval of a row's bytes. Empty: something is missing just there."""

    start: int
    stop: int


def previewed(
    stored: Iterable[bytes],
    definition: Definition,
    now_ms: int,
    limits: Sequence[Limit],
    *,
    first_rows: int,
    bad_rows: int,
    stop: int = TO_THE_END,
    cost: Forecaster | None = None,
    size_bytes: int = 0,
    enough: Callable[[Findings], bool] = lambda found: False,
) -> Findings:
    """What an import under this definition would find in these stored bytes (gzip and zstd are opened).

    Args:
        first_rows, bad_rows: how many good and refused rows to keep.
        stop: lines that begin at this plain byte or later are not read.
        cost: told what would be written.
        size_bytes: of the file, as stored; 0 where nobody knows.
        enough: asked after each batch; no line is read after a yes.
    """
    found = Findings()
    kept = _Counted(iter(stored))
    try:
        found.compression, text = opened(kept)
        head, text = peeked(text, HEAD_BYTES)
        layout = layout_of(definition.mime_type, head)
        said = recognised(head[:HEAD_BYTES], layout, definition)
        found.format, found.evidence, found.marked = said.format, said.evidence, said.rows
        if said.doubt:
            raise ObjectProblem(FileReason.DIALECT_UNKNOWN, said.doubt)
        if cost is not None:
            cost.reads(said.format, whole=bool(found.compression) or definition.mime_type != NDJSON)
        if layout.columns:
            formats.judge_columns(found.format, layout.columns, definition)
        rules = Rules(said.format, definition, now_ms, limits)
        found.read_to = len(layout.header)
        part = Part(len(layout.header), stop)
        # A line that has no end would be read to the end of the file, though it is refused long before.
        reading = _Counted(text, TO_THE_END if stop == TO_THE_END else stop + 2 * MAX_LINE_BYTES)
        for batch in batches(layout.lines(skipped(reading, reading_start(part)), part), rules, layout):
            if reading.cut:
                _say_at_least(batch)
            _add(found, batch, first_rows, bad_rows)
            if cost is not None:
                cost.add(batch)
            if enough(found):
                break
        found.whole = not reading.cut and reading.given == found.read_to and not next(reading, b"")
        found.share = _share(found, kept.given, size_bytes)
        judge_bad_rows(definition, found.tally.bad, stored=not definition.atomic)
        if definition.atomic:
            judge_whole(found.tally.bad)
        if cost is not None:
            found.cost = cost.forecast(_share(found, kept.given, cost.size_bytes) or 1)
    except ObjectProblem as problem:
        found.problem = FileError(problem.code.value, problem.message)
    return found


def _share(found: Findings, given_bytes: int, size_bytes: int) -> Fraction | None:
    """How much of a stored file was read: of a compressed one, what had to be given for the rows that were."""
    if found.whole:
        return Fraction(1)
    read_bytes = given_bytes if found.compression else found.read_to
    return min(Fraction(read_bytes, size_bytes), Fraction(1)) if size_bytes else None


class _Counted:
    """Chunks, and how many bytes of them were given. After `most` bytes they end: `cut` says that there may be more."""

    def __init__(self, chunks: Iterator[bytes], most: int = TO_THE_END) -> None:
        self._chunks = chunks
        self._most = most
        self.given = 0
        self.cut = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self.given >= self._most:
            self.cut = True
            raise StopIteration
        chunk = next(self._chunks)
        self.given += len(chunk)
        return chunk


def _say_at_least(batch: Batch) -> None:
    """How long the last line is nobody knows, where it was not read to its end."""
    if batch.bad_rows and batch.bad_rows[-1].reason == Reason.LINE_TOO_LONG:
        last = batch.bad_rows[-1]
        longer = f"at least {last.found}"
        batch.bad_rows[-1] = replace(last, found=longer, message=last.message.replace(last.found, longer))


def _add(found: Findings, batch: Batch, first_rows: int, bad_rows: int) -> None:
    found.tally = found.tally.plus(batch.tally)
    found.read_to = batch.next_offset
    numbers = dict(batch.line_numbers())
    for row in batch.bad_rows:
        found.reasons.add(row, row.line)
        if len(found.examples) < MAX_EXAMPLES and sum(_alike(row, other) for other in found.examples) < ALIKE:
            found.examples.append(row)
        if len(found.bad_rows) < bad_rows:
            found.bad_rows.append(row)
    for event in batch.events:
        if len(found.first_events) < first_rows:
            found.first_events.append((numbers[event.address], event))
        if event.event_name in found.event_names or len(found.event_names) < MAX_NAMES:
            found.event_names[event.event_name] = found.event_names.get(event.event_name, 0) + 1
        else:
            found.names_left_out += 1
        time_ms = event.event_time_ts
        found.earliest_ms = time_ms if found.earliest_ms is None else min(found.earliest_ms, time_ms)
        found.latest_ms = time_ms if found.latest_ms is None else max(found.latest_ms, time_ms)
        for name, value in event.properties.items():
            _see(found, found.properties, name, value, numbers[event.address])
        for name, value in (event.session_properties or {}).items():
            _see(found, found.session_properties, name, value, numbers[event.address])
    for change in batch.user_changes:
        kind = _kind_of(change)
        if kind:
            found.user_records[kind] = found.user_records.get(kind, 0) + 1
        else:
            _see(found, found.user_properties, change.record.partition("#")[2], change.value, numbers[change.address])


def _alike(row: BadRow, other: BadRow) -> bool:
    return row.reason == other.reason and row.field == other.field


def _kind_of(change: UserChange) -> str:
    """What a change of a person is, in words; "" for the value of a property."""
    kind = next(words for record, words in _KINDS.items() if change.record.startswith(record))
    if not change.deleted:
        return kind
    return f"removed {kind or 'property'}"


def _see(found: Findings, known: dict[str, Property], name: str, value: Value, line: int) -> None:
    seen_property = known.get(name)
    if seen_property is None:
        if len(known) >= MAX_NAMES:
            found.names_left_out += 1
            return
        seen_property = known[name] = Property(value)
    samples = seen_property.samples
    if len(samples) < SAMPLES and (not samples or (not isinstance(value, dict | list) and value not in samples)):
        samples.append(value)
    kind = json_type(value)
    seen = seen_property.types.get(kind)
    if seen is None:
        seen_property.types[kind] = Seen(1, line)
    else:
        seen.count += 1


def verdict(found: Findings) -> str:
    """What an import would do, in a sentence without its end."""
    tally = found.tally
    if found.problem is not None:
        if not found.is_judged:
            return f"This file could not be looked at ({found.problem.code})"
        return f"An import would refuse this file ({found.problem.code})"
    if not tally.rows:
        return "There are no rows in it. An import would only move the file"
    made = many(tally.events, "event")
    if tally.user_changes:
        made += f" and {many(tally.user_changes, 'change')} of user records"
    of_what = "" if found.whole else " of what was read"
    if tally.bad:
        bad = many(tally.bad, "row")
        return f"An import would write {made}{of_what} and put {bad} into errors/, each with its reason"
    return f"An import would write {made}{of_what}, and refuse no row"


# ---- The document -------------------------------------------------------------------------------------------------


def document(found: Findings) -> dict[str, Value]:
    """`preview/1`: the findings as a map of plain values (Decimal among them), for JSON."""
    tally = found.tally
    return {
        "schema": SCHEMA,
        "error": {"code": found.problem.code, "message": found.problem.message} if found.problem else None,
        "format": found.format,
        "evidence": list(found.evidence),
        "marked": dict(found.marked),
        "compression": found.compression or None,
        "complete": found.whole,
        "bytes_read": found.read_to,
        "share_read": float(found.share) if found.share is not None else None,
        **tally.counts(),
        "earliest_ms": found.earliest_ms,
        "latest_ms": found.latest_ms,
        "event_names": dict(found.event_names),
        **{where.value: _properties(known) for where, known in found.names()},
        "user_records": dict(found.user_records),
        "names_left_out": found.names_left_out,
        "first_events": [_event(line, event, found.format) for line, event in found.first_events],
        "reasons": list(found.reasons.folded()),
        "diagnosis": cast("Value", diagnosis(tally.rows, found.reasons.folded())),
        "bad_rows": [_bad_row(row) for row in found.bad_rows],
        "compared_with": _compared_with(found),
        "new": _new(found) if found.known else None,
        "clashes": _clashes(found),
        "cost": found.cost.document() if found.cost else None,
        "notes": [
            {"code": code, "count": noted.count, "first_line": noted.first_line}
            for code, noted in sorted(tally.notes.items())
        ],
    }


def _properties(known: dict[str, Property]) -> dict[str, Value]:
    return {
        name: {
            "count": known_property.count,
            "types": {
                kind: {"count": seen.count, "first_line": seen.first_line}
                for kind, seen in known_property.types.items()
            },
            "example": known_property.example,
            "samples": [_cut(value) for value in known_property.samples],
        }
        for name, known_property in known.items()
    }


def _cut(value: Value) -> Value:
    if isinstance(value, str) and len(value) > SAMPLE_CHARACTERS:
        return f"{value[: SAMPLE_CHARACTERS - 1]}…"
    return value


def _compared_with(found: Findings) -> Value:
    if found.known is None:
        return {"reason": found.not_compared} if found.not_compared else None
    known = found.known
    return {
        "events": {"items": known.events.items, "whole": known.events.whole},
        "user_records": {"items": known.user_records.items, "whole": known.user_records.whole},
    }


def _new(found: Findings) -> Value:
    """The names that were not found in the store."""
    new: dict[str, Value] = {"event_names": [name for name in found.event_names if found.is_new(Where.EVENTS, name)]}
    for where, known in found.names():
        new[where.value] = [name for name in known if found.is_new(where, name)]
    return new


def _clashes(found: Findings) -> list[Value]:
    """Properties with several types, or with others than the store has."""
    clashes: list[Value] = []
    for where, known in found.names():
        for name, one in known.items():
            stored = found.stored_types(where, name)
            if one.clashes or stored:
                clashes.append({"where": where.value, "name": name, "types": list(one.types), "stored": list(stored)})
    return clashes


def _event(line: int, event: Event, format_name: str) -> Value:
    return {
        "line": line,
        "offset": event.address,
        "event_id": event.event_id,
        "event_name": event.event_name,
        "event_time_ts": event.event_time_ts,
        "user_id": event.user_id,
        "properties": event.properties,
        "session_properties": event.session_properties,
        "identifiers": event.identifiers,
        "format": event.format or format_name,
    }


def _bad_row(row: BadRow) -> Value:
    place = place_of(row)
    return {
        "line": row.line,
        "offset": row.offset,
        "length": row.length,
        **row.said(),
        "place": {"start": place.start, "stop": place.stop} if place else None,
        "text": row_text(row.raw)[:SHOWN_BYTES].decode("utf-8", "backslashreplace"),
    }


# ---- The place in a refused row ------------------------------------------------------------------------------------


def place_of(row: BadRow) -> Place | None:
    """The bytes of a refused row that its reason speaks of; None where it speaks of the row as a whole."""
    text = row_text(row.raw)
    before = len(BOM) if row.offset == 0 and text.startswith(BOM) else 0
    text = text[before:]
    if row.reason in (Reason.NOT_JSON, Reason.NOT_UTF8):
        place = _said_place(row.found, text)
    else:
        place = _field_place(row, text)
    return Place(before + place.start, before + place.stop) if place else None


def _said_place(found: str, text: bytes) -> Place | None:
    """The byte a message names; it is one of ours, since these reasons quote one character at most."""
    said = _AT_BYTE.search(found)
    if said is not None:
        start = min(int(said[1]), len(text))
        stop = start + 1
        while stop < len(text) and 0x80 <= text[stop] < 0xC0 <= text[start]:  # the whole character
            stop += 1
        return Place(start, min(stop, len(text)))
    if found == "the end of the row" or found.startswith("the end of the row "):
        return Place(len(text), len(text))
    said = _AT_CHARACTER.search(found)
    if said is not None:
        end = len(text.decode("utf-8", "replace")[: int(said[1])].encode())
        start = text.rfind(b"\\u", 0, end)
        return Place(start, min(start + 6, end)) if start >= 0 else Place(end - 1, end)
    return None


def _field_place(row: BadRow, text: bytes) -> Place | None:
    if row.reason == Reason.NOT_AN_OBJECT:
        return Place(0, len(text))
    if not row.field and row.reason != Reason.BAD_NAME:
        return None
    try:
        members = list(_members(text.decode("utf-8")))
    except (ValueError, RecursionError):  # not one flat object after all: no place is better than a wrong one
        return None
    wanted = (row.field, f"{{u}}{row.field}", f"{{s}}{row.field}")
    # A reason cuts and escapes what it shows, names as well; a path leads into the value of the member it begins with.
    hits = [m for m in members if m.name in wanted or shown(m.name) == row.field]
    hits = hits or [m for m in members if m.name and row.field.startswith((f"{m.name}.", f"{m.name}["))]
    if row.reason == Reason.MISSING_FIELD and not hits:
        meant = row.hint.removesuffix(f" present: did you mean {row.field}?")
        near = [m for m in members if m.name == meant]
        if near:
            return near[0].key
        end = text.rstrip().rfind(b"}")
        return Place(end, end) if end >= 0 else None  # a CSV's row has no place for a name
    if not hits:
        return None
    if row.reason == Reason.DUPLICATE_KEY:
        return hits[min(1, len(hits) - 1)].key
    return hits[0].key if row.reason in _OF_A_NAME else hits[0].value


@dataclass(frozen=True, slots=True)
class _Member:
    name: str
    key: Place
    value: Place


def _members(text: str) -> Iterator[_Member]:
    """The members of the object a text is, with their places in bytes, repeated ones too.

    Raises:
        ValueError: it is no object. RecursionError: it is a very deep one.
    """
    decoder = json.JSONDecoder(parse_int=str, parse_float=str)
    ascii_only = text.isascii()

    def byte(at: int) -> int:
        return at if ascii_only else len(text[:at].encode())

    def after_space(at: int) -> int:
        return _SPACE.match(text, at).end()  # type: ignore[union-attr]  # matches the empty string too

    at = after_space(0)
    while at < len(text) and text[at] in "{,":
        key_start = after_space(at + 1)
        if text[key_start : key_start + 1] != '"':
            return
        name, key_stop = json.decoder.scanstring(text, key_start + 1, False)  # type: ignore[attr-defined]
        value_start = after_space(after_space(key_stop) + 1)
        _, value_stop = decoder.raw_decode(text, value_start)
        yield _Member(name, Place(byte(key_start), byte(key_stop)), Place(byte(value_start), byte(value_stop)))
        at = after_space(value_stop)
