"""5 · Row → events and user changes, one file per vendor's dialect.

`FORMATS` is the whole list. A new dialect is one file, one name here and a folder of cases in tests/cases/.

Which dialect a file is in, its definition says, or else its first rows do (`recognise`). Where no definition says it,
files may hold rows of several: each row is read by the dialect that it bears the marks of, the file's own coming first.
That is safe, since a row says by its marks alone whose it is, whatever stands around it and whoever reads it.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Protocol

from importer.bad_rows import ObjectProblem, Reason, Reject
from importer.definitions import BY_PROPERTY, Definition
from importer.fields import json_type
from importer.formats import cooladata, kissmetrics, mediarithmics, segment, woopra
from importer.formats.reading import Reading, Shortcut, Written
from importer.model import Event, Misconfigured, Row, Value

RowReader = Callable[[Row, bytes, int], Reading]


class Format(Protocol):
    """A dialect. Modules are the implementations: each has these names."""

    NAME: str
    DOCUMENTS: Mapping[str, tuple[str, ...]]
    """Document types it has → mime types each comes in; "" stands for a definition that names none."""
    HAS_VENDOR_KEY: bool
    """Whether the vendor has a rule by which two events are one."""

    def reader(self, definition: Definition, now_ms: int) -> RowReader:
        """Reads (row, row text, address) into a Reading, or raises Reject. The row is the reader's to take apart."""

    def claims(self, row: Row) -> bool:
        """Whether a row bears all marks of the dialect. Cheap: it is asked for every row. Where it says yes, the row is
        read by this dialect if it is that of the file, whatever other marks it bears."""

    def evidence(self, row: Row) -> Sequence[str]:
        """What in this row speaks for the dialect, in words; empty if nothing does."""

    def vendor_key(self, event: Event, index: int) -> str | None:
        """What beside user and time tells two events apart by the vendor's rule; None: all the bytes of their rows do.

        Args:
            index: of the event in its row.
        """

    def written(self, reading: Reading) -> Written:
        """Rows of this dialect that say the same, and what they cannot say. Read again they give what was not lost."""

    def refuse_name(self, base_name: str, mime_type: str) -> None:
        """Raises ObjectProblem(wrong_kind) for a file name the dialect does not take."""

    def refuse_columns(self, columns: Sequence[str], strict: bool) -> None:
        """Raises ObjectProblem(csv_header_missing) for the header of a CSV no row of which could be good."""


def _by_name(*dialects: Format) -> dict[str, Format]:
    # The type of these parameters is what makes mypy hold each module against `Format`.
    return {dialect.NAME: dialect for dialect in dialects}


DEFAULT: Final = cooladata.NAME
UNKNOWN: Final = "unknown"  # of an execution whose file cannot be said to be of one dialect or another
UNREAD: Final = "unread"  # of one whose file could not be read yet: it is recognised when it can
FORMATS: Final = _by_name(cooladata, kissmetrics, woopra, mediarithmics, segment)
# Dialects whose usual row is worth a shortcut.
_SHORTCUTS: Final = {cooladata.NAME: cooladata.shortcut}


# ---- By definition --------------------------------------------------------------------------------------------------


def completed(definition: Definition) -> Definition:
    """A definition checked against the dialects there are; one that names a document type gets its dialect.

    Raises:
        Misconfigured: what is wrong, and what could be chosen.
    """
    of_type = [name for name, dialect in FORMATS.items() if definition.document_type in dialect.DOCUMENTS]
    if definition.format and definition.format not in FORMATS:
        raise Misconfigured(f"format {definition.format!r}: choose one of {', '.join(FORMATS)}")
    if not of_type or (definition.document_type and definition.format not in ("", *of_type)):
        dialects = [definition.format] if definition.format else list(FORMATS)
        types = [kind for name in dialects for kind in FORMATS[name].DOCUMENTS if kind]
        choose = f"choose one of {', '.join(types)}, or leave it empty" if types else "leave it empty"
        of = f" of {definition.format}" if definition.format else ""
        raise Misconfigured(f"document_type {definition.document_type!r}{of}: {choose}")
    if definition.document_type:
        definition = replace(definition, format=of_type[0])
    if definition.format:
        dialect = FORMATS[definition.format]
        mime_types = dialect.DOCUMENTS[definition.document_type]
        if definition.mime_type not in mime_types:
            of = definition.document_type or f"files of {definition.format}"
            raise Misconfigured(f"mime_type {definition.mime_type}: {of} come as {' or '.join(mime_types)} only")
    if definition.identity == "vendor":
        with_rule = [name for name, dialect in FORMATS.items() if dialect.HAS_VENDOR_KEY]
        if definition.format not in with_rule:
            of = f"{definition.format} has no rule of its own" if definition.format else "no format is set"
            raise Misconfigured(
                f"identity 'vendor': {of}. Set format to {' or '.join(with_rule)}, or identity to row, address or "
                "property:<name>"
            )
    return definition


def named(import_id: str, stored: Value) -> Definition:
    """The definition stored under an id, checked as a whole.

    Raises:
        Misconfigured: as `Definition.named` and `completed`, with the import's id.
    """
    definition = Definition.named(import_id, stored)
    try:
        return completed(definition)
    except Misconfigured as problem:
        raise Misconfigured(f"import definition {import_id!r}: {problem}") from None


def reader(name: str, definition: Definition, now_ms: int, execution_id: str = "") -> RowReader:
    """What reads the rows of a file of that dialect, under a definition that is complete.

    Args:
        now_ms: when its execution was created.
        execution_id: for events that are known by the place they were read from.
    """
    name = DEFAULT if name in (UNKNOWN, UNREAD) else name  # of which nothing is ever stored
    read = _Reader(name, definition, now_ms) if definition.format else _AnyReader(name, definition, now_ms)
    return read if definition.identity == "row" else _Identified(read, name, definition, execution_id)


def shortcut(name: str, definition: Definition, now_ms: int) -> Shortcut | None:
    """A shortcut for the usual rows of such a file: it gives what `reader` would, or None, in which case `reader` is to
    be asked. A row that it reads bears all marks of the file's dialect."""
    known = _SHORTCUTS.get(name) if definition.identity == "row" else None
    return known(definition, now_ms) if known is not None else None


class _Reader:
    """Reads rows of one dialect; of a row that is plainly of another it says so."""

    def __init__(self, name: str, definition: Definition, now_ms: int) -> None:
        self._name = name
        self._read = FORMATS[name].reader(definition, now_ms)

    def __call__(self, row: Row, text: bytes, address: int) -> Reading:
        marked = dict(row)  # reading takes the row apart
        try:
            return self._read(row, text, address)
        except Reject as reject:
            if reject.reason in (Reason.MISSING_FIELD, Reason.NO_IDENTIFIER, Reason.NOT_ALLOWED):
                other = _owner(marked, self._name)
                # Of a row that is whole in another dialect, no name is a slip of ours.
                if other != self._name and (not reject.hint or FORMATS[other].claims(marked)):
                    reject.hint = f"this looks like a row of {other}: drop it where an import reads {other}"
            raise


class _AnyReader:
    """Reads rows of any dialect by their marks; those of the file's own first."""

    def __init__(self, name: str, definition: Definition, now_ms: int) -> None:
        self._name = name
        self._definition = definition
        self._now_ms = now_ms
        self._readers: dict[str, RowReader] = {}
        self._claims = FORMATS[name].claims
        self._read = self._reader(name)

    def __call__(self, row: Row, text: bytes, address: int) -> Reading:
        if self._claims(row):
            return self._read(row, text, address)
        owner = _owner(row, self._name)
        if owner == self._name:
            return self._read(row, text, address)
        reading = self._reader(owner)(row, text, address)
        for event in reading.events:
            event.format = owner
        return reading

    def _reader(self, name: str) -> RowReader:
        if name not in self._readers:
            self._readers[name] = FORMATS[name].reader(self._definition, self._now_ms)
        return self._readers[name]


def _owner(row: Row, own: str) -> str:
    """The dialect a row bears most marks of; in doubt the file's own."""
    owners = _owners(row, {name: dialect.evidence(row) for name, dialect in FORMATS.items()})
    return owners[0] if len(owners) == 1 else own


def _owners(row: Row, evidence: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The dialects that have most marks in a row; none if there are no marks. A row that is whole in one of them is no
    other's: a visit may bring properties that are called `$type` and `$ts`, as those do that were converted."""
    most = max(map(len, evidence.values()))
    owners = [name for name, marks in evidence.items() if most and len(marks) == most]
    if len(owners) > 1:
        owners = [name for name in owners if FORMATS[name].claims(row)] or owners
    return tuple(owners)


class _Identified:
    """Gives events another identity than the bytes of their row. A row's event keeps it where it has no such mark."""

    def __init__(self, read: RowReader, name: str, definition: Definition, execution_id: str) -> None:
        self._read = read
        self._format = name
        self._identity = definition.identity
        self._execution_id = execution_id

    def __call__(self, row: Row, text: bytes, address: int) -> Reading:
        reading = self._read(row, text, address)
        for index, event in enumerate(reading.events):
            key = self._key(event, index)
            if key is not None:
                # With user and time, which are its key in the store: on the stream, ids alone must tell events apart.
                parts = (event.format or self._format, event.user_id, str(event.event_time_ts), key)
                event.event_id = hashlib.blake2b("\0".join(parts).encode(), digest_size=16).hexdigest()
        return reading

    def _key(self, event: Event, index: int) -> str | None:
        if self._identity == "address":
            return f"address\0{self._execution_id}\0{event.address}\0{index}"
        if self._identity == "vendor":
            key = FORMATS[event.format or self._format].vendor_key(event, index)
            return None if key is None else f"vendor\0{key}"
        name = self._identity.removeprefix(BY_PROPERTY)
        value = event.properties.get(name)
        if value is None or value == "":
            raise Reject(
                Reason.MISSING_FIELD,
                field=name,
                expected="a value: the import knows its events by it",
                hint=f"send it in every row, or change the import's identity, which is {self._identity}",
            )
        return f"property\0{name}\0{json_type(value)}\0{value}\0{index}"


def judge_columns(name: str, columns: Sequence[str], definition: Definition) -> None:
    """See `Format.refuse_columns`; where the columns are plainly another dialect's, that is said as well.

    Raises:
        ObjectProblem: csv_header_missing.
    """
    if name not in FORMATS:
        return
    try:
        FORMATS[name].refuse_columns(columns, definition.strict)
    except ObjectProblem as problem:
        other = _owner(dict.fromkeys(columns, ""), name)
        if other == name:
            raise
        raise ObjectProblem(
            problem.code,
            f"these columns look like those of {other}, and this import reads {name}: drop the file in the folder of "
            f"an import with `format` {other} (`importer imports create --format {other} --mime-type TEXT_CSV …`)",
        ) from problem


# ---- By its rows ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Recognised:
    """The dialect a file seems to be written in, and why.

    Attributes:
        evidence: in words, each once.
        rows: how many of the rows that were looked at speak for each dialect; those that speak for none are left out.
        doubt: why the file cannot be read as one dialect or another; "" where it can.
    """

    format: str
    evidence: tuple[str, ...]
    rows: Mapping[str, int] = field(default_factory=dict)
    doubt: str = ""


def recognise(rows: Iterable[Row]) -> Recognised:
    """The dialect most of these rows speak for; without any evidence the default, which then says what is missing."""
    found: dict[str, dict[str, None]] = {name: {} for name in FORMATS}
    owned = dict.fromkeys(FORMATS, 0)
    torn: dict[tuple[str, ...], int] = {}
    for row in rows:
        evidence = {name: dialect.evidence(row) for name, dialect in FORMATS.items()}
        owners = _owners(row, evidence)
        if len(owners) == 1:
            owned[owners[0]] += 1
            found[owners[0]].update(dict.fromkeys(evidence[owners[0]]))
        elif owners:
            torn[owners] = torn.get(owners, 0) + 1
    best = max(owned, key=lambda name: (owned[name], name == DEFAULT))
    counts = {name: count for name, count in owned.items() if count}
    for owners, count in torn.items():
        # A single odd row among many that are plain costs itself at most, and not the file.
        if not set(owners) & set(counts) and count >= sum(counts.values()):
            names = " and of ".join(owners)
            doubt = (
                f"{count} of its first rows bear marks of {names} alike, and none decides: say which it is in the "
                f"`format` of an import definition (`importer imports create --format {owners[0]} …`), and drop the "
                "file in that import's folder"
            )
            return Recognised(UNKNOWN, (), counts, doubt)
    return Recognised(best, tuple(found[best]), counts)
