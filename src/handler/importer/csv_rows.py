"""4 · Lines → rows: CSV (RFC 4180), the first record of the file naming the columns.

Rule: a record is the shortest run of lines that is well-formed: fields divided by commas, each either without any
quotation mark or wholly in quotation marks, a mark inside doubled. Where no run of at most MAX_LINE_BYTES is, the first
line alone is a bad row and reading goes on at the next: one stray quotation mark never swallows the rows behind it.
Lenient readers take what is malformed for data (E11); this one does not guess.

Why it ends: a run grows only inside quotation marks, and the line that could end it is the next with an odd number of
them. So each line is looked at twice at most. A CSV is never split (E11): no byte tells whether it is inside a field.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from enum import Enum
from typing import Final

from importer.bad_rows import FileReason, ObjectProblem, Reason, Reject, row_text
from importer.lines import BOM, HEAD_BYTES, MAX_LINE_BYTES, lines
from importer.model import TO_THE_END, Line, Part, Row

_PLAIN_FIELD: Final = re.compile(rb'[^",]*')
_LONE_CR: Final = re.compile(rb"\r(?!\n)")
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
    source = _Lines(lines(chunks, Part(part.start, TO_THE_END)))
    while (line := source.next()) is not None and line[0] < part.stop:
        offset, raw = line
        if isinstance(raw, bytes) and b'"' in raw and _state(raw, inside=False) is _State.OPEN:
            run = _run(raw, source)
            if run is not None:
                yield offset, run
                continue
        yield line


def is_record(raw: bytes) -> bool:
    """Whether these lines are a well-formed record."""
    return _state(raw, inside=False) is _State.WHOLE


class _Lines:
    """Lines, of which the last ones can be given again. As bytes: a list of a million short ones would be too large."""

    def __init__(self, source: Iterator[Line]) -> None:
        self._source = source
        self._again = b""
        self._at = 0  # of `_again`
        self._offset = 0  # address of its first byte
        self._behind: Line | None = None  # the line over the limit that followed

    def next(self) -> Line | None:
        if self._at < len(self._again):
            start = self._at
            self._at = self._again.find(b"\n", start) + 1 or len(self._again)
            return self._offset + start, self._again[start : self._at]
        behind, self._behind = self._behind, None
        return behind or next(self._source, None)

    def give_again(self, offset: int, raw: bytes, behind: Line | None) -> None:
        """Give these lines again: the last ones given, `behind` the very last if it is a line over the limit."""
        if self._offset <= offset and offset + len(raw) == self._offset + self._at and behind is None:
            self._at -= len(raw)  # all of them come from what is given again already
        else:
            self._again, self._at, self._offset, self._behind = raw, 0, offset, behind


def _run(first: bytes, source: _Lines) -> bytes | None:
    """The record that `first` begins; None if no run of lines is one: then the other lines are given again."""
    run = bytearray(first)
    begin = None
    behind: Line | None = None
    while (line := source.next()) is not None:
        begin = line[0] if begin is None else begin
        raw = line[1]
        if not isinstance(raw, bytes):
            behind = line
            break
        run += raw
        if len(run) > MAX_LINE_BYTES:
            break
        if b'"' not in raw:
            continue
        state = _state(raw, inside=True)
        if state is _State.WHOLE:
            return bytes(run)
        if state is _State.BROKEN:
            break
    if begin is not None:
        source.give_again(begin, bytes(run[len(first) :]), behind)
    return None


def _state(raw: bytes, inside: bool) -> _State:
    """What a line is to the record it begins, or (`inside` quotation marks) goes on with."""
    text = row_text(raw)
    at = 0
    while True:
        if inside or text[at : at + 1] == b'"':
            at = _closing(text, at if inside else at + 1)
            if at < 0:
                return _State.OPEN
            inside = False
        else:
            at = _PLAIN_FIELD.match(text, at).end()  # type: ignore[union-attr]  # matches the empty field too
        if at == len(text):
            return _State.WHOLE
        if text[at : at + 1] != b",":
            return _State.BROKEN
        at += 1


def _closing(text: bytes, at: int) -> int:
    """Where a quoted field ends that goes on at `at`: behind its closing mark; -1 if it stays open."""
    while (mark := text.find(b'"', at)) >= 0:
        if text[mark + 1 : mark + 2] != b'"':
            return mark + 1
        at = mark + 2
    return -1


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
                _refuse_lone_crs(head)
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
    while at <= len(text):
        if text[at : at + 1] == b'"':
            stop = _closing(text, at + 1)
            fields.append(text[at + 1 : stop - 1].replace(b'""', b'"').decode())
        else:
            stop = text.find(b",", at)
            stop = len(text) if stop < 0 else stop
            fields.append(text[at:stop].decode())
        at = stop + 1
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
    _refuse_lone_crs(text)
    seen: dict[str, int] = {}
    for place, column in enumerate(columns, start=1):
        if not column.strip():
            raise _no_header(f"column {place} has no name")
        if column in seen:
            # By their places: where there is no header, what stands there is a row's, and this goes into notices.
            raise _no_header(f"columns {seen[column]} and {place} have the same name")
        seen[column] = place
    return columns


def _refuse_lone_crs(header: bytes) -> None:
    if _LONE_CR.search(header):
        raise _no_header("the lines end in CR alone; write them with LF (`tr '\\r' '\\n' < FILE`)")


def _no_header(why: str) -> ObjectProblem:
    return ObjectProblem(
        FileReason.CSV_HEADER_MISSING, f"the first line of a CSV names its columns: {why}. Mend it and drop it again"
    )
