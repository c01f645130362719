"""errors/ and its reasons against the bad rows they must hold, each read once from its begin in constant memory.

Rule for the reasons: they stand in the order of the file, so a document whose offset lies behind that of the row due
says that the row's own is missing, one before it says that it is extra. Rule for errors/, whose rows carry no offset:
after bytes that differ, the row due is looked for behind them, and the rows after it where they may begin; so one wrong
row is one finding, and where nothing fits three times in a row the rest is not compared.
"""

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from importer.bad_rows import BadRow, ObjectProblem, Reason, Reject, document
from importer.executions.ports import Objects
from importer.ledger.traces import is_blank
from importer.ledger.verdict import Findings, Kind, Place
from importer.model import Execution, Unavailable
from importer.notification import Dropped

MOST_SHOWN_BYTES: Final = 4_096  # of a row or document looked at to say what was found: it is cut to 120 characters
_AHEAD: Final = 8  # rows after the one due that are looked for: so many missing in a row are told as such
_AHEAD_BYTES: Final = 64 << 10  # how far behind an intruder the row due is looked for; a longer row is not looked for
_LOST: Final = 3  # rows after which errors/ and the archive have nothing in common any more
_MOST_HELD: Final = 32_768  # documents ahead of the row due: four times what a batch may have


def stored_bytes(objects: Objects, bucket: str, key: str) -> Iterator[bytes] | None:
    """The bytes of a paper as it is now; None if there is none.

    Raises:
        Unavailable: also when it is replaced while it is read.
    """
    found = objects.head(Dropped(bucket, key, None, ""))
    if found is None:
        return None

    def chunks() -> Iterator[bytes]:
        try:
            yield from objects.read(found, 0)
        except ObjectProblem as problem:
            raise Unavailable(f"{found.uri} changed while it was read: {problem.message}") from problem

    return chunks() if found.size_bytes else iter(())


class _Text:
    """Bytes that come in chunks, looked at before they are taken."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._held = bytearray()
        self._at = 0

    def peek(self, count: int) -> bytes:
        """The next bytes: so many, or all that are left."""
        while len(self._held) - self._at < count and (chunk := next(self._chunks, None)) is not None:
            if self._at:
                del self._held[: self._at]
                self._at = 0
            self._held += chunk
        return bytes(self._held[self._at : self._at + count])

    def skip(self, count: int) -> None:
        while count:
            step = min(count, 1 << 20)
            taken = len(self.peek(step))
            if not taken:
                return
            self._at += taken
            count -= taken

    def take(self, count: int) -> bytes:
        taken = self.peek(count)
        self._at += len(taken)
        return taken

    def line_bytes(self, most: int) -> int:
        """How long the line here is, LF included; `most` if it does not end before."""
        size = 4_096
        while True:
            text = self.peek(min(size, most))
            stop = text.find(b"\n")
            if stop >= 0:
                return stop + 1
            if len(text) < size or size >= most:
                return len(text)
            size *= 4


# ---- errors/ -------------------------------------------------------------------------------------------------------


class ErrorRows:
    """The errors file, compared with the bad rows as they are told one after another."""

    def __init__(self, chunks: Iterator[bytes] | None, key: str, header: bytes, findings: Findings) -> None:
        """`header` is what it begins with: a CSV's, with its line end."""
        self._text = _Text(chunks or iter(()))
        self._key = key
        self._findings = findings
        self._due: deque[BadRow] = deque()  # told, and compared when it is known what follows
        self._header = header
        self._is_there = chunks is not None
        self._lost = 0
        self._begun = False

    def expect(self, row: BadRow) -> None:
        """The next bad row of the file."""
        if not self._is_there:
            if not self._begun:
                self._tell(Kind.MISSING, row, found="there is no such object")
            self._begun = True
            return
        if not self._begun:
            self._begun = True
            self._compare_header()
        self._due.append(row)
        if len(self._due) > _AHEAD:
            self._compare(self._due.popleft())

    def end(self) -> None:
        """All bad rows were told: nothing may be left."""
        while self._due:
            self._compare(self._due.popleft())
        if self._lost < _LOST and (left := self._text.peek(MOST_SHOWN_BYTES)):
            line = left.partition(b"\n")[0]
            self._findings.add(Kind.EXTRA, Place.ERRORS, key=self._key, found=_row_shown(line))

    def _compare_header(self) -> None:
        if self._header and self._text.peek(len(self._header)) != self._header:
            found = self._text.take(len(self._header))
            self._findings.add(
                Kind.DIFFERENT,
                Place.ERRORS,
                1,
                0,
                self._key,
                "header",
                _row_shown(self._header),
                _row_shown(found),
            )
        else:
            self._text.skip(len(self._header))

    def _compare(self, row: BadRow) -> None:
        if self._lost >= _LOST:
            return
        if row.long is not None:
            self._compare_long(row)
            return
        wanted = row.as_sent()
        here = self._text.peek(len(wanted))
        if here == wanted:
            self._text.skip(len(wanted))
            self._lost = 0
            return
        if not here:
            self._tell(Kind.MISSING, row)
            return
        followings = [next_.raw if next_.long is not None else next_.as_sent() for next_ in self._due]
        followings = [text for text in followings if len(text) <= _AHEAD_BYTES]
        after = followings[0] if followings else b""
        line_bytes = self._text.line_bytes(len(wanted) + _AHEAD_BYTES)
        look = self._text.peek(max(line_bytes, len(wanted), _AHEAD_BYTES) + max(len(wanted), len(after)))
        said = look[: min(line_bytes, MOST_SHOWN_BYTES)]

        def stands(text: bytes, at: int) -> bool:
            return bool(text) and look[at : at + len(text)] == text

        self._lost = 0
        behind = look.find(b"\n" + wanted)
        if any(stands(text, 0) for text in followings):
            self._tell(Kind.MISSING, row, said)
        elif behind >= 0 and not (stands(after, len(wanted)) or stands(after, line_bytes)):
            for line in look[:behind].split(b"\n"):
                found = _row_shown(line[:MOST_SHOWN_BYTES])
                self._findings.add(Kind.EXTRA, Place.ERRORS, key=self._key, found=found)
            self._text.skip(behind + 1 + len(wanted))
        elif not self._due:
            self._tell(Kind.DIFFERENT, row, said)
            self._text.skip(max(len(wanted), line_bytes))
        elif stands(after, len(wanted)):
            self._tell(Kind.DIFFERENT, row, said)
            self._text.skip(len(wanted))
        elif stands(after, line_bytes):
            self._tell(Kind.DIFFERENT, row, said)
            self._text.skip(line_bytes)
        else:
            self._tell(Kind.DIFFERENT, row, said)
            self._text.skip(len(wanted))
            self._lost += 1

    def _compare_long(self, row: BadRow) -> None:
        """A row that was never held: its bytes by their hash, as they go by."""
        long = row.long
        assert long is not None
        digest = hashlib.sha256()
        left, last, head = long.size, b"", b""
        while left and (piece := self._text.take(min(left, 1 << 20))):
            head = head or piece[:MOST_SHOWN_BYTES]
            digest.update(piece)
            left -= len(piece)
            last = piece[-1:]
        if last != b"\n" and not left:  # the file's last line had no line end: LF was added
            last = self._text.take(1)
        if left or last != b"\n" or digest.hexdigest() != long.sha256:
            self._tell(Kind.DIFFERENT if head else Kind.MISSING, row, head)

    def _tell(self, kind: Kind, row: BadRow, said: bytes = b"", found: str = "") -> None:
        expected = _row_shown(row.raw[:MOST_SHOWN_BYTES])
        found = found or _row_shown(said)
        ends_differ = kind is Kind.DIFFERENT and row.long is None and expected == found
        attribute = "line end" if ends_differ else ""
        self._findings.add(kind, Place.ERRORS, row.line, row.offset, self._key, attribute, expected, found)


def _row_shown(raw: bytes) -> str:
    return raw.rstrip(b"\r\n").decode("utf-8", "replace")


# ---- Reasons -------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Said:
    raw: bytes  # with its LF
    document: dict[str, Any] | None  # None for what is no JSON object with an offset

    @property
    def offset(self) -> int | None:
        return None if self.document is None else cast("int", self.document["offset"])


class Reasons:
    """The reasons file, compared with the bad rows as they are told one after another."""

    def __init__(self, chunks: Iterator[bytes] | None, key: str, execution: Execution, findings: Findings) -> None:
        self._text = _Text(chunks or iter(()))
        self._is_there = chunks is not None
        self._key = key
        self._execution = execution
        self._findings = findings
        self._ahead: deque[_Said] = deque()
        self._told_missing = False

    def refused_before(self, offset: int) -> dict[int, Reject]:
        """By address, what stands there with reason `refused_by_sink` about rows before `offset` not yet told. Read
        ahead, since only this file knows them.
        """
        refused: dict[int, Reject] = {}
        behind = 0
        at = 0
        while behind < 2 and at < _MOST_HELD and (said := self._peek(at)) is not None:  # one may have a wrong offset
            at += 1
            if said.document is None or said.offset is None:
                continue
            if said.offset >= offset:
                behind += 1
            elif said.document.get("reason") == Reason.REFUSED_BY_SINK.value:
                words = [str(said.document.get(name, "")) for name in ("field", "expected", "found", "hint", "message")]
                refused[said.offset] = Reject(Reason.REFUSED_BY_SINK, *words)
        return refused

    def expect(self, row: BadRow, line: int | None) -> None:
        """The next bad row of the file; `line` is what its document must say."""
        if not self._is_there:
            if not self._told_missing:
                self._tell(Kind.MISSING, row, found="there is no such object")
            self._told_missing = True
            return
        wanted = document(row, self._execution.source, self._execution.id, line)
        while True:
            said = self._peek(0)
            if said is None:
                self._tell(Kind.MISSING, row, expected=wanted)
                return
            if said.raw == wanted + b"\n":
                self._ahead.popleft()
                return
            if said.offset is None and (then := self._peek(1)) is not None and then.offset == row.offset:
                self._extra(said)  # put before the row's own
                self._ahead.popleft()
                continue
            if said.offset is None or said.offset == row.offset:
                self._ahead.popleft()
                self._tell_difference(row, wanted, said)
                return
            if said.offset > row.offset:
                then = self._peek(1)
                if then is None or then.offset is None or then.offset > said.offset:
                    self._tell(Kind.MISSING, row, expected=wanted)
                    return
                if then.offset != row.offset:  # out of order: its own offset is what is wrong
                    self._ahead.popleft()
                    self._tell_difference(row, wanted, said)
                    return
            self._extra(said)
            self._ahead.popleft()

    def expect_erased(self, row: BadRow) -> None:
        """The next bad row of the file is one of a person who was forgotten: its document is blank."""
        said = self._peek(0)
        if said is not None and (is_blank(said.raw) or said.offset == row.offset):
            self._ahead.popleft()
            if is_blank(said.raw):
                return
            self._tell(Kind.DIFFERENT, row, expected=b"a blank line", found=_row_shown(said.raw[:MOST_SHOWN_BYTES]))
        elif said is None or self._is_there:
            self._tell(Kind.MISSING, row, expected=b"a blank line")

    def end(self) -> None:
        """All bad rows were told: nothing may be left."""
        while (said := self._peek(0)) is not None:
            self._extra(said)
            self._ahead.popleft()

    def _peek(self, index: int) -> _Said | None:
        while len(self._ahead) <= index:
            most = 1 << 20  # a document has a few KB
            line = self._text.take(self._text.line_bytes(most))
            if not line:
                return None
            self._ahead.append(_Said(line, _document(line)))
        return self._ahead[index]

    def _extra(self, said: _Said) -> None:
        told = said.document or {}
        line = told.get("line")
        self._findings.add(
            Kind.EXTRA,
            Place.REASONS,
            line if type(line) is int else None,
            said.offset,
            self._key,
            found=_row_shown(said.raw[:MOST_SHOWN_BYTES]),
        )

    def _tell_difference(self, row: BadRow, wanted: bytes, said: _Said) -> None:
        if said.document is None:
            self._tell(Kind.DIFFERENT, row, "", wanted, _row_shown(said.raw[:MOST_SHOWN_BYTES]))
            return
        expected: dict[str, Any] = orjson.loads(wanted)
        names = [*expected, *(name for name in said.document if name not in expected)]
        name = next((name for name in names if expected.get(name) != said.document.get(name)), "")
        if not name:  # the same values in other bytes
            self._tell(Kind.DIFFERENT, row, "", wanted, _row_shown(said.raw[:MOST_SHOWN_BYTES]))
            return
        self._tell(
            Kind.DIFFERENT,
            row,
            name,
            orjson.dumps(expected[name]) if name in expected else b"",
            orjson.dumps(said.document[name]).decode() if name in said.document else "",
        )

    def _tell(self, kind: Kind, row: BadRow, attribute: str = "", expected: bytes = b"", found: str = "") -> None:
        text = expected.decode("utf-8", "replace")
        self._findings.add(kind, Place.REASONS, row.line, row.offset, self._key, attribute, text, found)


def _document(raw: bytes) -> dict[str, Any] | None:
    try:
        told = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None
    return told if isinstance(told, dict) and type(told.get("offset")) is int else None
