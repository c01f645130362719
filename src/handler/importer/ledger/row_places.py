"""One row of a file by its line or by a byte of it, reading as little as can be.

Rule: reading begins at the last *mark* before what is asked for, a row's begin whose line number is known: the first
row (behind a CSV's header), the first of each part whose predecessors are done (their tallies say how many lines they
have), and each row that was refused (its document in the reasons file has line and offset, and that file is in the
order of both, so it is searched by halves). Compressed text is inflated from its begin all the same; a byte of plain
JSON lines is gone to directly, and only line breaks are counted from the mark up to there.

Lines count from 1 as an editor counts them, bytes from 0 of the decompressed text.
"""

import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from importer.bad_rows import ObjectProblem
from importer.batches import inner_breaks
from importer.executions.pinned import definition_of
from importer.executions.plain_text import PlainText
from importer.executions.ports import Objects
from importer.layouts import JSON_LINES, Layout
from importer.ledger.erasures import lengths_of_bad
from importer.lines import reading_start
from importer.model import TO_THE_END, Execution, LongLine, Part, PartState, S3Object
from importer.notification import Dropped
from importer.parts import parts_of

_WINDOW: Final = 64 << 10  # looked at backwards for a line's begin; eight times as much each time none is found
_NEAR: Final = 1 << 20  # behind a mark: what is asked for often lies there, and then no more is asked of S3
_DOCUMENT_BYTES: Final = 16 << 10  # read at once of the reasons file: a document has a few hundred bytes


@dataclass(frozen=True, slots=True)
class Asked:
    """A line, or a byte. One of the two."""

    line: int | None = None
    offset: int | None = None

    def said(self) -> str:
        return f"line {self.line:,}" if self.line is not None else f"byte {self.offset:,}"


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row where it stands. `line` is that of its first byte."""

    line: int
    offset: int
    raw: bytes | LongLine

    @property
    def lines(self) -> int:
        """Lines it stands on: a CSV's row may have several."""
        return 1 + inner_breaks(self.raw)


@dataclass(frozen=True, slots=True)
class Beyond:
    """There is no such line or byte: how many there are; None for what was not counted."""

    lines: int | None
    bytes: int | None


class Header(Exception):
    """What was asked for is a CSV's header, or a part of it."""


@dataclass(frozen=True, slots=True)
class _Mark:
    offset: int
    line: int


class Rows:
    """The rows of one file, found one at a time.

    Args:
        source: the object they are read from.
        parts: of the execution, as far as they were claimed.
        moved: hears the plain bytes that were looked at.
    Raises:
        ObjectProblem, Unavailable: while anything is looked for.
    """

    def __init__(
        self,
        objects: Objects,
        execution: Execution,
        source: S3Object,
        parts: list[PartState],
        reasons: "Reasons | None",
        moved: Callable[[int], None] = lambda offset: None,
    ) -> None:
        self._objects = objects
        self._execution = execution
        self._source = source
        self._reasons = reasons
        self._moved = moved
        self.text = PlainText(objects, source, straight=False)
        try:
            self.layout: Layout = self.text.layout(definition_of(execution).mime_type, execution.was_read)
        except ObjectProblem:  # the file was refused for it: its lines can be looked at all the same
            self.layout = JSON_LINES
        self._marks = [_Mark(len(self.layout.header), 1 + self.layout.header.count(b"\n"))]
        lines = 0
        for part, state in zip(parts_of(execution.part_count, execution.part_bytes), parts, strict=False):
            if state.start != part.start or not state.done:
                break
            lines += state.tally.file_lines
            self._marks.append(_Mark(state.stop, lines + 1))

    @property
    def is_compressed(self) -> bool:
        return self.text.is_compressed

    def row(self, asked: Asked) -> FoundRow | Beyond:
        """The row that holds a line or a byte.

        Raises:
            Header.
        """
        header = self.layout.header
        if asked.offset is not None:
            if asked.offset < len(header):
                raise Header
            if not self.is_compressed and asked.offset >= self._source.size_bytes:
                return Beyond(self._known_lines(), self._source.size_bytes)
            if not self.is_compressed and self.layout is JSON_LINES:
                return self._row_at(asked.offset)
        elif asked.line is not None:
            if asked.line <= header.count(b"\n"):
                raise Header
            known = self._known_lines()
            if known is not None and asked.line > known:
                return Beyond(known, None)
        return self._walked(asked)

    def line_of(self, offset: int) -> int | None:
        """The number of the line that begins at a byte; None for compressed text, which takes a long way."""
        return None if self.is_compressed else self._counted(self._mark(Asked(offset=offset)), offset)

    def bytes_of(self, offset: int, size: int) -> Iterator[bytes]:
        """The plain bytes `[offset, offset + size)`."""
        yield from self.text.read(offset, offset + size)

    # -- marks ----------------------------------------------------------------------------------------------------

    def _known_lines(self) -> int | None:
        outcome = self._execution.outcome
        whole = outcome is not None and self._execution.status.value == "SUCCEEDED"
        return outcome.sums.file_lines if outcome is not None and whole else None

    def _mark(self, asked: Asked) -> _Mark:
        """The last one at or before what is asked for, which is no part of the header."""

        def is_before(mark: _Mark) -> bool:
            if asked.offset is not None:
                return mark.offset <= asked.offset
            return asked.line is not None and mark.line <= asked.line

        marks = [mark for mark in self._marks if is_before(mark) and mark.offset < TO_THE_END][-1:]
        if self._reasons is not None:
            said = self._reasons.before(asked)
            if said is not None and type(said["line"]) is int:
                marks.append(_Mark(said["offset"], said["line"]))
        return max(marks, key=lambda mark: mark.offset)

    # -- ways -----------------------------------------------------------------------------------------------------

    def _row_at(self, offset: int) -> FoundRow:
        """Of plain JSON lines: the begin of the line is looked for backwards."""
        begin, window = 0, _WINDOW
        stop = offset
        while stop > 0:
            start = max(stop - window, 0)
            at = b"".join(self._objects.read(self._source, start, stop)).rfind(b"\n")
            if at >= 0:
                begin = start + at + 1
                break
            stop, window = start, window * 8
        part = Part(begin, TO_THE_END)
        found = next(self.layout.lines(self.text.read(reading_start(part), likely_stop=begin + _WINDOW), part))
        mark = self._mark(Asked(offset=begin))
        return FoundRow(self._counted(mark, begin), *found)

    def _counted(self, mark: _Mark, begin: int) -> int:
        """The number of the line that begins at a byte, by the line breaks from a mark up to it.

        A part's mark is where the part begins, which may lie inside a line of the part before.
        """
        if begin == mark.offset:
            return mark.line
        breaks = 0
        at = start = max(mark.offset - 1, 0) if mark in self._marks[1:] else mark.offset
        stop = begin - 1 if start < mark.offset else begin
        for chunk in self.text.read(start, stop):
            breaks += chunk.count(b"\n")
            at += len(chunk)
            self._moved(at)
        return mark.line + breaks

    def _walked(self, asked: Asked) -> FoundRow | Beyond:
        mark = self._mark(asked)
        part = Part(mark.offset, TO_THE_END)
        number = mark.line
        offset = mark.offset
        near = mark.offset + _NEAR
        for offset, raw in self.layout.lines(self.text.read(reading_start(part), likely_stop=near), part):
            found = FoundRow(number, offset, raw)
            after = offset + len(raw)
            if asked.line is not None and asked.line < number + found.lines:
                return found
            if asked.offset is not None and asked.offset < after:
                return found
            number += found.lines
            offset = after
            self._moved(offset)
        return Beyond(number - 1, offset)


# ---- The reasons file ------------------------------------------------------------------------------------------------


class Reasons:
    """The documents of an execution's refused rows, searched without being read."""

    def __init__(self, objects: Objects, source: S3Object) -> None:
        self._objects = objects
        self._source = source

    @classmethod
    def of(cls, objects: Objects, execution: Execution) -> "Reasons | None":
        """None: it has none, or they are gone."""
        outcome = execution.outcome
        if outcome is None or not outcome.sums.bad:
            return None
        key = outcome.destination.reasons
        found = objects.head(Dropped(execution.source.bucket, key, None, ""))
        return None if found is None or not found.size_bytes else cls(objects, found)

    @property
    def key(self) -> str:
        return self._source.key

    def before(self, asked: Asked) -> dict[str, Any] | None:
        """The last document of a row that begins at or before what is asked for; None if there is none."""
        low, high = 0, self._source.size_bytes  # the document sought begins in [low, high), or is `best`
        best: dict[str, Any] | None = None
        while low < high:
            middle = (low + high) // 2
            at, document = self._next(middle if middle > low else low, low)
            if document is None or at >= high or _is_behind(document, asked):
                if middle <= low:
                    break
                high = middle
                continue
            best = document
            low = at + document["_bytes"]
        return best

    def at(self, offset: int) -> dict[str, Any] | None:
        """The document of the row that begins at a byte; None if that was not refused."""
        found = self.before(Asked(offset=offset))
        return found if found is not None and found["offset"] == offset else None

    def _next(self, start: int, begin: int) -> tuple[int, dict[str, Any] | None]:
        """(where it begins, the first document that begins at or behind a byte). `begin` is where one surely does."""
        at = start if start == begin else start - 1
        skip = 0 if start == begin else -1
        text, size, window = b"", self._source.size_bytes, _DOCUMENT_BYTES
        while at + len(text) < size:
            text += b"".join(self._objects.read(self._source, at + len(text), min(at + len(text) + window, size)))
            window *= 4  # what a field holds may be long
            if skip < 0:
                skip = text.find(b"\n") + 1 or -1
            while skip >= 0 and (stop := text.find(b"\n", skip)) >= 0:
                document = _document(text[skip : stop + 1])
                if document is not None:
                    return at + skip, document
                text, at, skip = text[stop + 1 :], at + stop + 1, 0  # blank: of somebody who was forgotten
        return at, None


def _document(line: bytes) -> dict[str, Any] | None:
    try:
        said = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(said, dict) or type(said.get("offset")) is not int:
        return None
    return {**said, "_bytes": len(line)}


def _is_behind(document: dict[str, Any], asked: Asked) -> bool:
    if asked.offset is not None:
        return bool(document["offset"] > asked.offset)
    line = document.get("line")
    return type(line) is not int or line > (asked.line or 0)


@dataclass(frozen=True, slots=True)
class ErrorPlace:
    """Where a refused row lies in errors/: its begin, and the line it is there."""

    key: str
    line: int
    offset: int
    length: int


def place_in_errors(
    objects: Objects,
    execution: Execution,
    offset: int,
    header_bytes: int,
    moved: Callable[[int], None] = lambda count: None,
) -> ErrorPlace | None:
    """Where the refused row of this address lies; None if errors/ or its reasons do not have it.

    Rule: both go row by row together, and only the documents know where a row ends: so both are read up to there, in
    constant memory.
    """
    outcome = execution.outcome
    if outcome is None:
        return None
    bucket, to = execution.source.bucket, outcome.destination
    documents, rows = (_opened(objects, bucket, key) for key in (to.reasons, to.errors))
    if documents is None or rows is None:
        return None
    at, line = 0, 1
    at, line = _passed(rows, header_bytes, at, line)
    blanked = lengths_of_bad(objects, execution)
    for said in map(_document, documents):
        if said is not None and said["offset"] == offset:
            return ErrorPlace(to.errors, line, at, said["length"])
        if said is not None and said["offset"] > offset:
            return None
        at, line = _passed(rows, next(blanked, 0) if said is None else said["length"], at, line)
        end = rows.readline()  # LF, or CR LF
        at, line = at + len(end), line + 1
        moved(at)
    return None


def _passed(rows: io.BufferedReader, count: int, at: int, line: int) -> tuple[int, int]:
    while count and (piece := rows.read(min(count, 1 << 20))):
        line += piece.count(b"\n")
        at += len(piece)
        count -= len(piece)
    return at, line


class _Chunks(io.RawIOBase):
    """Chunks as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return 0
            self._rest = chunk
        taken = self._rest[: len(buffer)]
        buffer[: len(taken)] = taken
        self._rest = self._rest[len(taken) :]
        return len(taken)


def _opened(objects: Objects, bucket: str, key: str) -> io.BufferedReader | None:
    found = objects.head(Dropped(bucket, key, None, ""))
    return None if found is None else io.BufferedReader(_Chunks(objects.read(found, 0)), 1 << 16)
