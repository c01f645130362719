"""4¾ · Plain rows, read by a pattern: rows that look like those before them need no parser.

Rule: a *shape* is the names of a row, in their order, and the kind of each value. Its pattern is JSON's own grammar for
exactly these members, each once, with no member that nests: text without a `\\u` escape, numbers that a double and
DynamoDB hold as they are written, booleans. What it matches was read exactly, for nothing was converted; what it does
not match is read another way. Bytes of a value go from the file to the request as they stand.

A value that says nothing (null or "") is the same as none. Blanks may stand where `json.dumps` puts them.

Measured: parser, proof that it read exactly and writer took 7 µs a row of 14 members; the pattern and a `%` take 4.
"""

import re
from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final, NamedTuple, Self

import orjson

from importer.bad_rows import row_text
from importer.model import Event, Row, Value
from importer.rows import row_of

_SURE_TEXT: Final = rb'"([^"\\\x00-\x1f]++)"'
_TIME: Final = rb"([1-9][0-9]{0,14})"
_NOTHING: Final = rb'null|""'


class Kind(Enum):
    """What the values of a column are, by the pattern of one that is there. Its group is what goes on to a sink.

    Measured: quantifiers that give nothing back (`++`), and looking ahead only where there may be something odd, make
    the pattern a third faster.
    """

    # An escape of one letter is the same in every JSON text. `\/` is not how JSON writers put it, and `\u` may be half
    # a character (E5). A text that begins with an escape is read the other way, too: it would cost all others.
    TEXT = rb'"([^"\\\x00-\x1f]++(?:\\["\\bfnrt][^"\\\x00-\x1f]*+)*+)"'
    # Up to 15 digits before the point and 17 behind it: DynamoDB holds 38. Zeros at the end, -0, and what a JSON writer
    # would put with an exponent are not the way numbers are written that were read.
    NUMBER = rb"((?:-(?!0[,}]))?+(?:[1-9][0-9]{0,14}+|0(?!\.0000))(?:(?=[,}])|\.[0-9]{0,16}[1-9]))0*+"
    TRUTH = rb"(true|false)"

    @classmethod
    def of(cls, value: Value) -> "Kind | None":
        """The kind of a value; None for one that says nothing, or nests."""
        kind = type(value)
        if kind is str:
            return cls.TEXT if value else None
        if kind is bool:
            return cls.TRUTH
        return cls.NUMBER if kind is int or kind is float else None


class Mandatory(NamedTuple):
    """The names under which a dialect says what happened, when (in milliseconds), and to whom."""

    event_name: str
    time: str
    user_id: str


class Column(NamedTuple):
    """A property of a shape: its name, and as JSON text; the kind of its values."""

    name: str
    text: bytes
    kind: Kind


class Shape:
    """How some rows look.

    Attributes:
        match: of a line: whether its row has this shape. Whether it is UTF-8, it does not say.
        mandatory: groups of name, time and user.
        order: the same, then a group for each of `columns`.
        columns: properties that have had a value.
    """

    __slots__ = ("columns", "mandatory", "match", "order")

    def __init__(self, names: Sequence[str], kinds: Sequence[Kind | None], mandatory: Mandatory, blank: bytes) -> None:
        """`blank` is what stands behind each colon and comma."""
        groups: dict[str, int] = {}
        members: list[bytes] = []
        columns: list[Column] = []
        for name, kind in zip(names, kinds, strict=True):
            text = orjson.dumps(name)
            if name in mandatory:
                value = _TIME if name == mandatory.time else _SURE_TEXT
            elif kind is None:
                value = rb"(?:%b)" % _NOTHING
            else:
                value = rb"(?:%b|%b)" % (kind.value, _NOTHING)
                columns.append(Column(name, text, kind))
            if name in mandatory or kind is not None:
                groups[name] = len(groups) + 1
            members.append(re.escape(text) + b":" + blank + value)
        self.match = re.compile(rb"\{%b\}\r?\n?" % (b"," + blank).join(members)).fullmatch
        self.mandatory = tuple(groups[name] for name in mandatory)
        self.columns = tuple(columns)
        self.order = self.mandatory + tuple(groups[column.name] for column in columns)


class PlainEvent(Event):
    """An event whose properties are where they were found, until somebody asks for them."""

    # What every plain event has in common hides the slots of `Event`: there is nothing to store.
    session_properties = None
    identifiers = None
    format = ""
    expires_ms = None
    __slots__ = ("found", "shape")

    def __init__(
        self, event_id: str, event_time_ts: int, user_id: str, address: int, shape: Shape, found: re.Match[bytes]
    ) -> None:
        self.event_id = event_id
        self.event_time_ts = event_time_ts
        self.user_id = user_id
        self.address = address
        self.shape = shape
        self.found = found

    @property
    def event_name(self) -> str:  # type: ignore[override]  # read only, as all of an event is once it was made
        return self.found[self.shape.mandatory[0]].decode()

    @property
    def properties(self) -> Row:  # type: ignore[override]
        row = row_of(row_text(self.found.string))
        return {name: row[name] for name, _, _ in self.shape.columns if row[name] is not None and row[name] != ""}

    @property
    def read(self) -> Event:
        """The same, read."""
        properties = self.properties
        return Event(self.event_id, self.event_name, self.event_time_ts, self.user_id, properties, self.address)

    def __eq__(self, other: object) -> bool:
        return self.read == (other.read if isinstance(other, PlainEvent) else other)

    __hash__ = None  # type: ignore[assignment]  # as `Event`

    def __repr__(self) -> str:
        return repr(self.read)


class Frames:
    """Fills what stands around the values of plain events: for each shape, and for each choice of its values that are
    there, one `%` template.

    Args:
        write: a template for name, time, user and these columns, with a `%b` for each of them; a `%` that is meant as
            such is doubled.
    """

    def __init__(self, write: Callable[[Sequence[Column]], bytes]) -> None:
        self._write = write
        self._whole: dict[Shape, bytes] = {}
        self._some: dict[tuple[Shape, tuple[bool, ...]], bytes] = {}

    def __call__(self, event: PlainEvent) -> bytes:
        """The template filled with the values of an event."""
        shape = event.shape
        values = event.found.group(*shape.order)
        if None not in values:
            frame = self._whole.get(shape)
            if frame is None:
                frame = self._whole[shape] = self._write(shape.columns)
            return frame % values
        there = tuple([value is not None for value in values])
        frame = self._some.get((shape, there))
        if frame is None:
            columns = [column for column, is_there in zip(shape.columns, there[3:], strict=True) if is_there]
            frame = self._write(columns)
            if len(self._some) < _MOST_FRAMES:
                self._some[shape, there] = frame
        return frame % tuple([value for value in values if value is not None])


# Measured: to compile a pattern of 14 members takes as long as reading 500 rows without it saves.
_LEARNT_FROM: Final = 100  # rows of the same names
_MOST_SHAPES: Final = 64
_MOST_NAMES: Final = 64  # of a row; nobody's pattern is longer
_MOST_ALIKE: Final = 3  # shapes tried of those whose rows have the same number of quotes
_MOST_FRAMES: Final = 1_024


class Shapes:
    """The shapes of a file, learnt from its rows.

    Rows of different shapes mostly differ in how many quotes they have, which is quickly counted.
    """

    def __init__(self, mandatory: Mandatory) -> None:
        self._mandatory = mandatory
        self._last: Shape | None = None
        self._by_quotes: dict[int, tuple[Shape, ...]] = {}
        self._seen: dict[tuple[str, ...], _Seen] = {}
        self._learnt = 0

    def of(self, line: bytes) -> tuple[Shape, re.Match[bytes]] | None:
        """The shape of the row in a line, if it is known, and what was found in it. It is UTF-8."""
        last = self._last
        found = last.match(line) if last is not None else None
        if found is None:
            last, found = self._other(line)
        if last is None or found is None or not (line.isascii() or _is_utf8(line)):
            return None
        return last, found

    def _other(self, line: bytes) -> tuple[Shape, re.Match[bytes]] | tuple[None, None]:
        for shape in self._by_quotes.get(line.count(b'"'), ()):
            found = shape.match(line)
            if found is not None:
                self._last = shape
                return shape, found
        return None, None

    def learn(self, names: tuple[str, ...], row: Row, line: bytes) -> None:
        """Look at the row of a line that `of` did not know. It is flat, and has what is mandatory."""
        seen = self._seen.get(names)
        if seen is None:
            if len(self._seen) >= _MOST_SHAPES * 16 or len(names) > _MOST_NAMES:
                return
            seen = self._seen[names] = _Seen([None] * len(names))
        if seen.shape is None:
            seen.see(row)
            if seen.rows < _LEARNT_FROM or self._learnt >= _MOST_SHAPES:
                return
            blank = b" " if line.startswith(b"{%b: " % orjson.dumps(names[0])) else b""
            seen.shape = Shape(names, seen.kinds, self._mandatory, blank)
            self._learnt += 1
        quotes = line.count(b'"')
        alike = self._by_quotes.get(quotes, ())
        if seen.shape not in alike and len(alike) < _MOST_ALIKE:
            self._by_quotes[quotes] = (*alike, seen.shape)


class _Seen:
    """Rows of the same names, before and after their shape was learnt."""

    def __init__(self, kinds: list[Kind | None]) -> None:
        self.kinds = kinds
        self.rows = 0
        self.shape: Shape | None = None

    def see(self, row: Row) -> Self:
        self.rows += 1
        for at, value in enumerate(row.values()):
            if self.kinds[at] is None:
                self.kinds[at] = Kind.of(value)
        return self


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True
