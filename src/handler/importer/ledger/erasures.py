"""Erasure papers: which rows of an import are blank since somebody was forgotten, and what they were to its books.

`erasures/<execution id>/<version before>-<forgetting>.ndjson` is written before a row is blanked, and never again:
first a document about the object, then a line for each row, in order:

    [offset, length, fate, events, user changes, reason, field]

No identifier stands there. The same name with `.done.json` says, once it is known, what the object is since.

Who walks the archive takes the rows of all papers into account that are blank; one that is not blank yet counts as what
it is. So the books balance before and after, and whoever is killed between paper and object leaves no riddle.
"""

import heapq
import struct
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import chain
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

import orjson

from importer.bad_rows import BadRow
from importer.batches import Batch
from importer.definitions import TEXT_CSV
from importer.executions.ports import Objects
from importer.ledger.papers import stored_bytes
from importer.ledger.traces import ERASED_TEXT, blank, is_blank
from importer.model import Execution, LongLine, S3Object
from importer.notification import Dropped

PREFIX: Final = "erasures/"
ASIDE: Final = "set_aside/"  # files that were refused, without the rows of who was forgotten
SCHEMA: Final = "erasure/1"
PAPER: Final = ".ndjson"
DONE: Final = ".done.json"
_ASIDE_NAME_BYTES: Final = 900  # so that the key is none too long for S3
GOOD, BAD, EXPIRED = "good", "bad", "expired"
_SPAN: Final = struct.Struct("<QQ?")
_IN_MEMORY_BYTES: Final = 1 << 20


class Spans:
    """Intervals of bytes to be blanked, in order; on disk where they are many.

    Each is (start, stop, whether quotation marks stay).
    """

    def __init__(self) -> None:
        self._file: IO[bytes] = SpooledTemporaryFile(_IN_MEMORY_BYTES)  # noqa: SIM115  it ends with us
        self.count = 0
        self.bytes = 0

    def add(self, start: int, stop: int, keep_marks: bool = False) -> None:
        self._file.write(_SPAN.pack(start, stop, keep_marks))
        self.count += 1
        self.bytes += stop - start

    def __iter__(self) -> Iterator[tuple[int, int, bool]]:
        for number in range(self.count):
            self._file.seek(number * _SPAN.size)
            yield _SPAN.unpack(self._file.read(_SPAN.size))
        self._file.seek(0, 2)


class Blanks:
    """What is to be blanked of an object, asked for from its begin to its end."""

    def __init__(self, spans: Iterable[tuple[int, int, bool]]) -> None:
        self._spans = iter(spans)
        self._next = next(self._spans, None)

    def touch(self, start: int, stop: int) -> bool:
        """Whether anything in `[start, stop)` is to be blanked."""
        while self._next is not None and self._next[1] <= start:
            self._next = next(self._spans, None)
        return self._next is not None and self._next[0] < stop

    def over(self, start: int, text: bytes) -> bytes:
        """The bytes that stand at `start`, blanked where they are to be."""
        stop = start + len(text)
        if not self.touch(start, stop):
            return text
        made = bytearray(text)
        while self._next is not None and self._next[0] < stop:
            begin, end, keep_marks = self._next
            low, high = max(begin - start, 0), min(end - start, len(text))
            made[low:high] = blank(bytes(made[low:high]), keep_marks)
            if end > stop:
                break
            self._next = next(self._spans, None)
        return bytes(made)


@dataclass(frozen=True, slots=True)
class ErasedRow:
    """A row that was blanked.

    Attributes:
        length: bytes, line end included.
        fate: what it was: good, bad, expired.
        events, user_changes: that it made, if it was good.
        reason, field: if it was bad.
    """

    offset: int
    length: int
    fate: str
    events: int = 0
    user_changes: int = 0
    reason: str = ""
    field: str = ""

    @property
    def stop(self) -> int:
        return self.offset + self.length

    def as_line(self) -> bytes:
        told = [self.offset, self.length, self.fate, self.events, self.user_changes, self.reason, self.field]
        return orjson.dumps(told) + b"\n"


@dataclass(frozen=True, slots=True)
class Done:
    """What became of an object, once it is blanked: `moved_to` where it was set aside, since it was no archive."""

    etag: str
    version_id: str | None
    size_bytes: int
    sha256: str
    rows: int
    ms: int
    moved_to: str = ""


def aside_key(execution: Execution) -> str:
    """Where the file of an import that was refused is, once rows of somebody forgotten were blanked in it."""
    name = execution.source.key.rpartition("/")[2]
    if len(name.encode()) > _ASIDE_NAME_BYTES:  # its end says what it is
        name = name.encode()[-_ASIDE_NAME_BYTES:].decode(errors="ignore")
    return f"{ASIDE}{execution.id}/{name}"


def paper_key(execution_id: str, etag: str, forgetting: str) -> str:
    return f"{PREFIX}{execution_id}/{etag}-{forgetting}{PAPER}"


def paper(
    source: S3Object, execution_id: str, forgetting: str, ms: int, plain_sha256: str, rows: Iterable[bytes]
) -> Iterator[bytes]:
    """A paper's bytes. `plain_sha256` is what the walk of the object will sum up to when it is blanked."""
    head: dict[str, Any] = {
        "schema": SCHEMA,
        "forgetting": forgetting,
        "execution_id": execution_id,
        "ms": ms,
        "key": source.key,
        "before": {"etag": source.etag, "version_id": source.version_id, "bytes": source.size_bytes},
        "walk_sha256": plain_sha256,
    }
    yield orjson.dumps(head) + b"\n"
    yield from rows


class Papers:
    """All papers of one execution."""

    def __init__(self, objects: Objects, bucket: str, execution_id: str) -> None:
        self._objects = objects
        self._bucket = bucket
        keys = list(objects.keys(bucket, f"{PREFIX}{execution_id}/"))
        self.keys = [key for key in keys if key.endswith(PAPER)]
        self.done: dict[str, Done] = {}
        for key in keys:
            if key.endswith(DONE) and (body := objects.get(bucket, key)):
                told = orjson.loads(body)
                self.done[key.removesuffix(DONE) + PAPER] = Done(
                    **{name: told[name] for name in Done.__dataclass_fields__}
                )

    @classmethod
    def of(cls, objects: Objects, execution: Execution) -> "Papers":
        """Those that tell of rows an execution has read as what they were.

        A replay reads an archive that is another's, as it is by then: the papers are those of the execution that read
        the upload first, from the one on that was written over the bytes the replay has read.
        """
        bucket, first = execution.source.bucket, execution.upload.execution_id
        papers = cls(objects, bucket, first)
        if execution.replayed is not None and papers.keys:
            heads = {key: papers.head(key) for key in papers.keys}
            keys = sorted(papers.keys, key=lambda key: int(heads[key]["ms"]))
            read = [heads[key]["before"]["etag"] for key in keys]
            since = read.index(execution.source.etag) if execution.source.etag in read else len(keys)
            papers.keys = sorted(keys[since:])
            papers.done = {key: done for key, done in papers.done.items() if key in papers.keys}
        return papers

    def __bool__(self) -> bool:
        return bool(self.keys)

    @property
    def unfinished(self) -> list[str]:
        """Keys of papers of which it is not known what the object is since."""
        return [key for key in self.keys if key not in self.done]

    @property
    def last(self) -> Done | None:
        """What the object is since; None if nobody has noted it."""
        return max(self.done.values(), key=lambda done: done.ms, default=None)

    def head(self, key: str) -> dict[str, Any]:
        """What a paper says of its object."""
        line = next(self._lines(key))
        told: dict[str, Any] = orjson.loads(line)
        return told

    def rows(self) -> Iterator[ErasedRow]:
        """The rows of all papers in order, each once."""
        last = -1
        streams = [self._rows(key) for key in self.keys]
        for row in heapq.merge(*streams, key=lambda row: row.offset):
            if row.offset > last:
                last = row.offset
                yield row

    def speaking(self, says: Callable[[str], bool]) -> Iterator[tuple[str, Iterator[bytes]]]:
        """(key, what it must say instead) of each paper that names a field by whom it must not name."""
        for key in self.keys:
            if any(row.field and says(row.field) for row in self._rows(key)):
                told = (replace(row, field=ERASED_TEXT) if says(row.field) else row for row in self._rows(key))
                head = next(self._lines(key)) + b"\n"
                yield key, chain([head], (row.as_line() for row in told))

    def _rows(self, key: str) -> Iterator[ErasedRow]:
        lines = self._lines(key)
        next(lines, None)
        return (ErasedRow(*orjson.loads(line)) for line in lines)

    def _lines(self, key: str) -> Iterator[bytes]:
        rest = b""
        for chunk in stored_bytes(self._objects, self._bucket, key) or ():
            *lines, rest = (rest + chunk).split(b"\n")
            yield from lines


def set_aside(objects: Objects, execution: Execution) -> S3Object | None:
    """The file of an import that was refused, where it lies since somebody was forgotten; None if it was not moved."""
    return objects.head(Dropped(execution.source.bucket, aside_key(execution), None, ""))


def lengths_of_bad(objects: Objects, execution: Execution) -> Iterator[int]:
    """How long each refused row was that is blank in errors/ by now, in order: its reason, blank too, says it no more.

    Less the line end, which may be two bytes. Rows that are lines need no measure: nothing is told of those.
    """
    papers = Papers.of(objects, execution) if execution.mime_type == TEXT_CSV else None
    return (max(row.length - 2, 0) for row in papers.rows() if row.fate == BAD) if papers else iter(())


@dataclass(slots=True)
class Blanked:
    """An erased row as it stands in the archive now."""

    row: ErasedRow
    line: int  # number in its part
    raw: bytes

    def bad_row(self) -> BadRow:
        """What stands in errors/ of it, with what its receipt may still say."""
        row = self.row
        return BadRow(self.line, row.offset, self.raw, row.reason, row.field, "", "", ERASED_TEXT, "")


@dataclass
class Reckoning:
    """Puts the rows that papers tell of back into the books of a walk: each is what it was, in the batch it begins in.

    `total`: rows put back so far.
    """

    rows: Iterator[ErasedRow]
    good_rows: int = 0  # of those, and the events and changes they made
    events: int = 0
    user_changes: int = 0
    total: int = 0
    _next: ErasedRow | None = None
    _open: Blanked | None = None
    _begun: bool = False
    _due: bool = True
    _ready: list[Blanked] = field(default_factory=list)

    def settle(self, batch: Batch, is_due: bool = True) -> list[Blanked]:
        """Count a batch's blanked rows as what they were; those that were bad and are whole now, in order.

        `is_due`: the batch's rows are in the books at all.
        """
        if not self._begun:
            self._next, self._begun = next(self.rows, None), True
        while self._next is not None and self._next.offset < batch.start:
            self._next = next(self.rows, None)
        nothing_open = self._open is None
        if nothing_open and (self._next is None or self._next.offset >= batch.next_offset):
            return []
        lines = dict(batch.lines)
        numbers = dict(batch.line_numbers())
        bad = {row.offset for row in batch.bad_rows}
        gone: set[int] = set()
        for offset, raw in batch.lines:
            if self._open is not None:
                if offset < self._open.row.stop:
                    self._take(batch, offset, raw, bad, gone)
                    batch.tally.inner_lines += 1
                    self._open.raw += raw if isinstance(raw, bytes) else b""
                    continue
                self._end()
            while self._next is not None and self._next.offset < offset:
                self._next = next(self.rows, None)
            row = self._next
            if row is None or row.offset != offset:
                continue
            self._next = next(self.rows, None)
            if isinstance(raw, LongLine) or not _stands_blank(row, lines):
                continue
            self._take(batch, offset, raw, bad, gone)
            self._count(batch, row, is_due)
            self._open = Blanked(row, numbers[offset], raw)
        if self._open is not None and self._open.row.stop <= batch.next_offset:
            self._end()
        if gone:
            batch.bad_rows = [one for one in batch.bad_rows if one.offset not in gone]
        ready, self._ready = self._ready, []
        return ready

    def rest(self) -> list[Blanked]:
        """What is whole now that there are no more batches."""
        self._end()
        ready, self._ready = self._ready, []
        return ready

    def _take(self, batch: Batch, offset: int, raw: bytes | LongLine, bad: set[int], gone: set[int]) -> None:
        """A line that is blank, or refused for its quotation marks, is none of its own."""
        batch.tally.lines -= 1
        if offset in bad:
            batch.tally.bad -= 1
            gone.add(offset)
        elif isinstance(raw, bytes) and b'"' in raw:  # a column of blanks: read as good
            batch.tally.good -= 1
        else:
            batch.tally.blank -= 1

    def _count(self, batch: Batch, row: ErasedRow, is_due: bool) -> None:
        tally = batch.tally
        tally.lines += 1
        self._due = is_due
        if row.fate == GOOD:
            tally.good += 1
            tally.events += row.events
            tally.user_changes += row.user_changes
            self.good_rows += is_due
            self.events += row.events * is_due
            self.user_changes += row.user_changes * is_due
        elif row.fate == BAD:
            tally.bad += 1
        else:
            tally.expired += 1
        self.total += is_due

    def _end(self) -> None:
        if self._open is not None and self._open.row.fate == BAD and self._due:
            self._ready.append(self._open)
        self._open = None


def _stands_blank(row: ErasedRow, lines: dict[int, bytes | LongLine]) -> bool:
    """Whether what stands in a row's place, as far as the batch has it, is what blanking leaves."""
    offset = row.offset
    while offset < row.stop and (raw := lines.get(offset)) is not None:
        if not isinstance(raw, bytes) or not is_blank(raw):
            return False
        offset += len(raw)
    return offset > row.offset
