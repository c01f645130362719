"""4 · Lines → rows: CSV (RFC 4180), the first record of the file naming the columns.

Rule: a record is the shortest run of lines that is well-formed: fields divided by commas, each either without any
quotation mark or wholly in quotation marks, a mark inside doubled. Where no run of at most MAX_LINE_BYTES is, the first
line alone is a bad row and reading goes on at the next: one stray quotation mark never swallows the rows behind it.
Lenient readers take what is malformed for data (E11); this one does not guess.

Why it ends: a run grows only inside quotation marks, and the line that could end it is the next with an odd number of
them. So each line is looked at twice at most. A CSV is never split (E11): no byte tells whether it is inside a field.
"""

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Final

from importer.bad_rows import FileReason, ObjectProblem, Reason, Reject, row_text, shown
from importer.lines import BOM, HEAD_BYTES, MAX_LINE_BYTES, lines
from importer.model import TO_THE_END, Line, Part, Row

# A quoted field from behind its opening mark to its closing one; without the latter it is still open.
_TO_CLOSING: Final = re.compile(rb'[^"]*+(?:""[^"]*+)*+"')
_PLAIN_FIELD: Final = re.compile(rb'[^",]*+')
_FIELD: Final = re.compile(r'"((?:[^"]|"")*+)"|([^",]*+)')
_OTHER_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars"}


class _State(Enum):
    WHOLE = "ends a record"
    OPEN = "ends inside quotation marks"
    BROKEN = "can be no record"


def records(chunks: Iterable[bytes], part: Part) -> Iterator[Line]:
    """The records of a part, in order, as `lines` gives lines: a record may hold line breaks.

    Args:
        chunks: as for `lines`; the part begins where a record does.
    """
    ahead: deque[Line] = deque()
    source = lines(chunks, Part(part.start, TO_THE_END))

    def following() -> Line | None:
        return ahead.popleft() if ahead else next(source, None)

    while (line := following()) is not None and line[0] < part.stop:
        offset, raw = line
        if isinstance(raw, bytes) and b'"' in raw and _state(raw, inside=False) is _State.OPEN:
            run = _run(raw, following, ahead)
            if run is not None:
                yield offset, run
                continue
        yield line


def _run(first: bytes, following: Callable[[], Line | None], ahead: deque[Line]) -> bytes | None:
    """The record that `first` begins; None if no run of lines is one: then those read are `ahead` again."""
    taken: list[Line] = []
    size = len(first)
    while (line := following()) is not None:
        taken.append(line)
        raw = line[1]
        size += len(raw)
        if not isinstance(raw, bytes) or size > MAX_LINE_BYTES:
            break
        state = _state(raw, inside=True) if b'"' in raw else _State.OPEN
        if state is _State.WHOLE:
            return b"".join([first, *(raw for _, raw in taken if isinstance(raw, bytes))])
        if state is _State.BROKEN:
            break
    ahead.extendleft(reversed(taken))
    return None


def _state(raw: bytes, inside: bool) -> _State:
    """What a line is to the record it begins, or (`inside` quotation marks) goes on with."""
    text = row_text(raw)
    at = 0
    while True:
        if inside or text[at : at + 1] == b'"':
            closing = _TO_CLOSING.match(text, at if inside else at + 1)
            if closing is None:
                return _State.OPEN
            at = closing.end()
            inside = False
        else:
            at = _PLAIN_FIELD.match(text, at).end()  # type: ignore[union-attr]  # matches the empty field too
        if at == len(text):
            return _State.WHOLE
        if text[at : at + 1] != b",":
            return _State.BROKEN
        at += 1


class Csv:
    """The CSV whose columns a header names. See `layouts.Layout`.

    Attributes:
        header: the file's bytes up to and with the header's line end, byte order mark included.
        columns: the names, in order.
        names: the same as bytes, with LF: the same values under other names are another row.
    """

    def __init__(self, header: bytes, columns: Sequence[str]) -> None:
        self.header = header
        self.columns = tuple(columns)
        self.names = "\0".join(columns).encode() + b"\n"

    @classmethod
    def of(cls, head: bytes) -> "Csv":
        """The layout that the first bytes of a file declare.

        Args:
            head: the first HEAD_BYTES of the plain text, or all of it.
        Raises:
            ObjectProblem: csv_header_missing, wrong_encoding (a header that is not UTF-8).
        """
        skipped = len(BOM) if head.startswith(BOM) else 0
        for offset, raw in records([head[skipped:]], Part(0, TO_THE_END)):
            text = row_text(raw) if isinstance(raw, bytes) else b""
            if not text.strip(b" \t\r"):
                continue
            if len(head) >= HEAD_BYTES and not raw.endswith(b"\n"):  # type: ignore[union-attr]
                raise _no_header(f"the first record is longer than {HEAD_BYTES >> 10} KiB")
            return cls(head[: skipped + offset + len(raw)], _columns(text))
        if len(head) >= HEAD_BYTES:
            raise _no_header(f"the first {HEAD_BYTES >> 10} KiB are blank")
        return cls(head, ())

    def lines(self, chunks: Iterable[bytes], part: Part) -> Iterator[Line]:
        return records(chunks, part)

    def row_of(self, text: bytes) -> Row:
        """The row in a record's text: every value is the text between two commas.

        Raises:
            Reject: not_utf8, not_csv, wrong_column_count.
        """
        fields = _fields(text)
        if len(fields) != len(self.columns):
            raise Reject(
                Reason.WRONG_COLUMN_COUNT,
                expected=f"{len(self.columns)} columns, as the header has",
                found=f"{len(fields)}",
                hint="put a value that holds a comma in double quotes" if len(fields) > len(self.columns) else "",
            )
        return dict(zip(self.columns, fields, strict=True))


def _fields(text: bytes) -> list[str]:
    try:
        characters = text.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise Reject(
            Reason.NOT_UTF8,
            expected="UTF-8",
            found=f"byte 0x{text[problem.start]:02x} at byte {problem.start} of the row",
            hint="write the file as UTF-8",
        ) from None
    if '"' not in characters:
        return characters.split(",")
    state = _state(text, inside=False)
    if state is not _State.WHOLE:
        raise Reject(
            Reason.NOT_CSV,
            expected="a quotation mark only around a whole field, or doubled inside one",
            found="a field whose quotation mark is never closed"
            if state is _State.OPEN
            else "a quotation mark inside a field",
            hint='put the whole field in double quotes and write each one inside it twice: "5"" pipe"',
        )
    fields: list[str] = []
    at = 0
    while at <= len(characters):
        field = _FIELD.match(characters, at)
        assert field is not None
        fields.append(field[2] if field[1] is None else field[1].replace('""', '"'))
        at = field.end() + 1
    return fields


def _columns(text: bytes) -> list[str]:
    try:
        columns = _fields(text)
    except Reject as reject:
        if reject.reason is Reason.NOT_UTF8:
            raise ObjectProblem(
                FileReason.WRONG_ENCODING, f"the header is not UTF-8 ({reject.found}): write the file as UTF-8"
            ) from None
        raise _no_header(reject.found) from None
    if len(columns) == 1:
        for delimiter, name in _OTHER_DELIMITERS.items():
            if delimiter in columns[0]:
                raise _no_header(f"columns are divided by {name}; write the file with commas")
    if b"\r" in text:
        raise _no_header("the lines end in CR alone; write them with LF (`tr '\\r' '\\n' < FILE`)")
    seen: set[str] = set()
    for place, column in enumerate(columns, start=1):
        if not column.strip():
            raise _no_header(f"column {place} has no name")
        if column in seen:
            raise _no_header(f"two columns are named {shown(column)!r}")
        seen.add(column)
    return columns


def _no_header(why: str) -> ObjectProblem:
    return ObjectProblem(
        FileReason.CSV_HEADER_MISSING, f"the first line of a CSV names its columns: {why}. Mend it and drop it again"
    )
