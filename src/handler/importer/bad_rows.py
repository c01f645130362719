"""8 · Why a row or a file is refused, the bad-row document, and the segments bad rows wait in.

Only `Reject` makes a bad row; `ObjectProblem` ends the file FAILED with its source in place. Everything else is our
fault or AWS's and must stay loud.

A *segment* is one object holding the bad rows of one batch until settle joins them: for each row a line of JSON
(what the reason says, and `size`) followed by `size` raw bytes and LF. Length-prefixed, because rows may hold any byte.
Of a line too long to be held it has the first bytes, and under `long` what is needed to copy the line from the source.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, BinaryIO, Final

import orjson

from importer.model import LongLine, S3Object, Value

SHOWN_CHARACTERS = 120  # of a found value: enough to recognise it, too little to copy a row into a reason


class Reason(StrEnum):
    """Code of a refused row: lower case, stable, documented in docs/formats.md."""

    LINE_TOO_LONG = "line_too_long"
    NOT_UTF8 = "not_utf8"
    NOT_JSON = "not_json"
    NOT_AN_OBJECT = "not_an_object"
    DUPLICATE_KEY = "duplicate_key"
    TOO_DEEP = "too_deep"
    NOT_CSV = "not_csv"
    WRONG_COLUMN_COUNT = "wrong_column_count"
    MISSING_FIELD = "missing_field"
    WRONG_TYPE = "wrong_type"
    NESTED_VALUE = "nested_value"
    BAD_TIME = "bad_time"
    TIME_UNIT = "time_unit"
    TIME_OUT_OF_WINDOW = "time_out_of_window"
    BAD_NAME = "bad_name"
    RESERVED_NAME = "reserved_name"
    TOO_LONG = "too_long"
    TOO_MANY_PROPERTIES = "too_many_properties"
    NOT_ALLOWED = "not_allowed"
    PLACEHOLDER_ID = "placeholder_id"
    UNKNOWN_SCOPE_PREFIX = "unknown_scope_prefix"
    NOTHING_TO_RECORD = "nothing_to_record"
    AMBIGUOUS_COMMAND = "ambiguous_command"
    NO_IDENTIFIER = "no_identifier"
    MANY_IDENTIFIERS = "many_identifiers"
    EVENT_TOO_LARGE = "event_too_large"
    NUMBER_OUT_OF_RANGE = "number_out_of_range"
    REFUSED_BY_SINK = "refused_by_sink"


class FileReason(StrEnum):
    """Code of a refused file (`error.code` of a FAILED execution)."""

    WRONG_KIND = "wrong_kind"
    WRONG_ENCODING = "wrong_encoding"
    NOT_LINE_DELIMITED = "not_line_delimited"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    EXPANDS_TOO_MUCH = "expands_too_much"
    DIALECT_UNKNOWN = "dialect_unknown"
    CSV_HEADER_MISSING = "csv_header_missing"
    TOO_MANY_BAD_ROWS = "too_many_bad_rows"
    ATOMIC_REFUSED = "atomic_refused"
    OBJECT_GONE = "object_gone"
    OBJECT_ARCHIVED = "object_archived"
    REPLACED_WHILE_READING = "replaced_while_reading"
    ACCESS_DENIED = "access_denied"
    GAVE_UP = "gave_up"


class Reject(Exception):
    """The row's fault. `message` says what is wrong, `hint` what to do about it; `about` the value or name that it is
    about, where whoever refuses it does not know its place (`row_paths`)."""

    def __init__(
        self,
        reason: Reason,
        field: str = "",
        expected: str = "",
        found: str = "",
        hint: str = "",
        message: str = "",
        about: Value = None,
    ) -> None:
        self.reason = reason
        self.field = shown(field)
        self.expected = expected
        self.found = shown(found)
        self.hint = hint
        self.message = message or _sentence(reason, self.field, expected, self.found)
        self.about = about
        super().__init__(self.message)

    def at(self, field: str) -> "Reject":
        """The same said of another place."""
        return Reject(self.reason, field, self.expected, self.found, self.hint)


class ObjectProblem(Exception):
    """The file's fault: the execution ends FAILED with this code and its source stays where it is."""

    def __init__(self, code: FileReason, message: str) -> None:
        self.code = code
        self.message = message
        super().__init__(message)


def shown(text: str) -> str:
    """`text` cut to a length fit for a reason; control characters escaped, since rows are strangers' text (J8)."""
    cut = text if len(text) <= SHOWN_CHARACTERS else text[: SHOWN_CHARACTERS - 1] + "…"
    if cut.isprintable():
        return cut
    escaped = [c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in cut]
    while sum(map(len, escaped)) > SHOWN_CHARACTERS:  # never in the middle of an escape
        del escaped[-2:]
        escaped.append("…")
    return "".join(escaped)


def _sentence(reason: Reason, field: str, expected: str, found: str) -> str:
    subject = f"{field}: {_SAYS[reason]}" if field else _SAYS[reason]
    if expected and found:
        return f"{subject}; expected {expected}, found {found}"
    if expected:
        return f"{subject}; expected {expected}"
    return f"{subject}; found {found}" if found else subject


# What each code says in a message.
_SAYS: dict[Reason, str] = {
    Reason.LINE_TOO_LONG: "the line is longer than the limit",
    Reason.NOT_UTF8: "not valid UTF-8",
    Reason.NOT_JSON: "not valid JSON",
    Reason.NOT_AN_OBJECT: "the row is not a JSON object",
    Reason.DUPLICATE_KEY: "the key stands more than once in the row",
    Reason.TOO_DEEP: "nested too deeply",
    Reason.NOT_CSV: "not valid CSV",
    Reason.WRONG_COLUMN_COUNT: "the row does not have as many columns as the header",
    Reason.MISSING_FIELD: "mandatory, but missing or empty",
    Reason.WRONG_TYPE: "wrong type",
    Reason.NESTED_VALUE: "an object or array where only flat values are allowed",
    Reason.BAD_TIME: "not a time this importer can read one way only",
    Reason.TIME_UNIT: "the number is in the wrong unit of time",
    Reason.TIME_OUT_OF_WINDOW: "the time lies outside what is accepted",
    Reason.BAD_NAME: "not an acceptable name",
    Reason.RESERVED_NAME: "the name is reserved",
    Reason.TOO_LONG: "too long",
    Reason.TOO_MANY_PROPERTIES: "too many properties",
    Reason.NOT_ALLOWED: "the value is not one of those allowed",
    Reason.PLACEHOLDER_ID: "a placeholder, not the id of a person",
    Reason.UNKNOWN_SCOPE_PREFIX: "unknown scope prefix",
    Reason.NOTHING_TO_RECORD: "the row holds nothing to record",
    Reason.AMBIGUOUS_COMMAND: "the row can be read as two commands",
    Reason.NO_IDENTIFIER: "no identifier",
    Reason.MANY_IDENTIFIERS: "more than one identifier",
    Reason.EVENT_TOO_LARGE: "too large for the destination",
    Reason.NUMBER_OUT_OF_RANGE: "the destination cannot hold this number exactly",
    Reason.REFUSED_BY_SINK: "the destination refused it",
}


@dataclass(slots=True)
class BadRow:
    """A refused row: where it stands, its bytes as sent (line end included), and why.

    `line` counts from 1 at the start of the *part*; settle adds the lines of the parts before. Where `long` is set,
    `raw` is only the begin of the row.
    """

    line: int
    offset: int
    raw: bytes
    reason: str
    field: str
    expected: str
    found: str
    message: str
    hint: str
    long: LongLine | None = None

    @classmethod
    def of(cls, reject: Reject, line: int, offset: int, raw: bytes | LongLine) -> "BadRow":
        """The bad row a reject makes of the line at `offset`."""
        long = raw if isinstance(raw, LongLine) else None
        return cls(
            line,
            offset,
            raw.head if isinstance(raw, LongLine) else raw,
            reject.reason.value,
            reject.field,
            reject.expected,
            reject.found,
            reject.message,
            reject.hint,
            long,
        )

    @classmethod
    def told(cls, document: Mapping[str, Any], raw: bytes) -> "BadRow":
        """The bad row a `bad_row/1` (or a segment's head) speaks of, with its bytes as sent."""
        return cls(raw=raw, **{name: document[name] for name in ("line", "offset", *_SAID)})

    def said(self) -> dict[str, str]:
        """What the reason says, as it stands in every document about the row."""
        return {name: getattr(self, name) for name in _SAID}

    @property
    def length(self) -> int:
        """Bytes of the row without its line end."""
        return len(row_text(self.raw)) if self.long is None else self.long.length

    def as_sent(self) -> bytes:
        """The bytes for the errors file: as sent, LF added if the source's last line had none. Not for a long row."""
        return self.raw if self.raw.endswith(b"\n") else self.raw + b"\n"


_SAID: Final = ("reason", "field", "expected", "found", "message", "hint")


def row_text(raw: bytes) -> bytes:
    """A line without its line end: LF, CR LF, or the CR that is left where a file was cut between the two."""
    if raw.endswith(b"\n"):
        return raw[:-2] if raw.endswith(b"\r\n") else raw[:-1]
    return raw[:-1] if raw.endswith(b"\r") else raw


def document(row: BadRow, source: S3Object, execution_id: str, line: int | None) -> bytes:
    """`bad_row/1`: one line of the reasons file, without LF.

    `line` is the row's number in the whole file; None where an earlier part of the file was not read to its end.
    """
    return orjson.dumps(
        {
            "schema": "bad_row/1",
            "line": line,
            "offset": row.offset,
            "length": row.length,
            **row.said(),
            "source": {
                "bucket": source.bucket,
                "key": source.key,
                "version_id": source.version_id,
                "etag": source.etag,
            },
            "execution_id": execution_id,
        }
    )


def segment(rows: Iterable[BadRow]) -> bytes:
    """Refused rows as they wait in work/: same rows, same bytes. Segments one after another are a segment again."""
    pieces: list[bytes] = []
    for row in rows:
        head: dict[str, Any] = {"line": row.line, "offset": row.offset, "size": len(row.raw), **row.said()}
        if row.long is not None:
            head["long"] = {"size": row.long.size, "length": row.long.length, "sha256": row.long.sha256}
        pieces += (orjson.dumps(head), b"\n", row.raw, b"\n")
    return b"".join(pieces)


def read_segment(stream: BinaryIO) -> Iterator[BadRow]:
    """The rows of a segment, one at a time.

    Raises:
        ValueError: the segment ends inside a row: it was not written by `segment`.
    """
    while head := stream.readline():
        said = orjson.loads(head)
        raw = stream.read(said["size"])
        if len(raw) != said["size"] or stream.read(1) != b"\n":
            raise ValueError(f"segment cut short inside the row at offset {said['offset']}")
        row = BadRow.told(said, raw)
        if "long" in said:
            row.long = LongLine(head=raw, **said["long"])
        yield row
