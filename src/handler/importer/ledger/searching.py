"""Where in an import's objects the rows of a person stand: one walk of the archive tells it for errors/ and reasons.

Rule: a good row is the person's if its reader makes an event or a user change of theirs of it, or a link with them:
what the import made of it, under what it pinned. A row that was refused, or had expired, has no reader; it is theirs if
its text speaks of them (`traces`). A good row of somebody else that speaks of them is told as a mention, and stays.

errors/ and the reasons have the bad rows in the order of the archive, so that adding up lengths says where each stands
in them. What does not add up (somebody has edited errors/) is looked at line by line instead.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final

import orjson

from importer.bad_rows import BadRow, ObjectProblem, Reason, Reject
from importer.batches import Batch, batches
from importer.compression import CHECKSUM_BYTES, AsFar
from importer.csv_rows import is_record, records
from importer.definitions import TEXT_CSV
from importer.executions.pinned import rules_of
from importer.executions.plain_text import PlainText
from importer.executions.ports import Objects, Records
from importer.formats import FORMATS, UNKNOWN, UNREAD, judge_columns
from importer.ledger.erasures import BAD, EXPIRED, GOOD, Blanked, ErasedRow, Papers, Reckoning, Spans
from importer.ledger.papers import stored_bytes
from importer.ledger.traces import ERASED_TEXT, LONGEST_SPELLING, Traces, blank, is_blank
from importer.lines import BOM, first, lines, reading_start, skipped
from importer.model import TO_THE_END, Execution, LongLine, Misconfigured, Outcome, Part, S3Object, Status
from importer.receipts import FoldedReasons
from importer.users import LINK

_IN_MEMORY_BYTES: Final = 1 << 20
_SAID: Final = ("field", "expected", "found", "message", "hint")  # what of a reason's document is a row's


@dataclass
class Found:
    """What one walk found.

    Attributes:
        archive, errors, reasons: what of the three objects is the person's, or was of somebody forgotten before.
        rows: lines of an erasure paper about those of them that are not blank yet.
        fates: how many of these rows there are, by what they were; "long" of those too long to be held.
        shared: events and user changes of others that the person's rows made as well; they stay in the tables.
        mentions: good rows of others that speak of the person; `first_mentions` are offsets of some.
        folded: the reasons of all bad rows, those of the forgotten without their words.
        header_bytes: what errors/ begins with.
        errors_bytes: what errors/ must have, if the lengths add up; None if they do not.
        walk_sha256: of the walk's text, as it will be when it is blanked.
        stored_sha256: of the object's bytes as they are stored now; None if they were not all read.
        problem: why the walk ended before the object did.
    """

    archive: Spans = field(default_factory=Spans)
    errors: Spans = field(default_factory=Spans)
    reasons: Spans = field(default_factory=Spans)
    rows: IO[bytes] = field(default_factory=lambda: SpooledTemporaryFile(_IN_MEMORY_BYTES))  # noqa: SIM115
    fates: Counter[str] = field(default_factory=Counter)
    shared: int = 0
    mentions: int = 0
    first_mentions: list[int] = field(default_factory=list)
    folded: FoldedReasons = field(default_factory=FoldedReasons)
    header_bytes: int = 0
    errors_bytes: int | None = 0
    walk_sha256: str = ""
    stored_sha256: str | None = None
    problem: ObjectProblem | None = None

    @property
    def count(self) -> int:
        """Rows that are not blank yet."""
        return sum(self.fates.values())

    def paper_rows(self) -> Iterator[bytes]:
        self.rows.seek(0)
        yield from self.rows


MOST_MENTIONS: Final = 20


class Search:
    """The rows of one person in the objects of one execution.

    Args:
        moved: hears the plain bytes walked through.
    """

    def __init__(
        self, objects: Objects, records: Records, traces: Traces, moved: Callable[[int], None] = lambda offset: None
    ) -> None:
        self._objects = objects
        self._records = records
        self._traces = traces
        self._moved = moved

    def walk(self, execution: Execution, outcome: Outcome, archive: S3Object, papers: Papers) -> Found:
        """Walk an archive (or a source) as its import did.

        Raises:
            ObjectProblem: its rows cannot even be begun to be told apart.
            Misconfigured: what the execution pinned cannot be read.
        """
        return _Walk(self, execution, outcome, archive, papers).found()

    def lines_of(
        self,
        source: S3Object,
        is_theirs: Callable[[bytes], bool] | None = None,
        header_bytes: int = 0,
        chunks: Iterable[bytes] | None = None,
        is_csv: bool = False,
    ) -> Found:
        """Look at an object line by line, whoever's its rows are: each whose text speaks of the person.

        Args:
            chunks: its plain bytes, where not all of them can be read.
            is_csv: a record may stand on several lines; quotation marks stay where it is none.
        """
        is_theirs = is_theirs or self._traces.in_bytes
        found = Found()
        text: PlainText | None = None
        try:
            if chunks is None:
                text = PlainText(self._objects, source)
                chunks = text.read(0)
            is_header = is_csv
            for offset, raw in (records if is_csv else lines)(chunks, Part(0, TO_THE_END)):
                if is_header and isinstance(raw, bytes):
                    is_header = not raw.removeprefix(BOM).strip()
                    continue
                if isinstance(raw, LongLine):
                    if self.in_long(source, offset, raw, chunks if text is None else None):
                        found.archive.add(offset, offset + raw.size, is_csv)
                        found.fates["long"] += 1
                elif offset >= header_bytes and not is_blank(raw) and is_theirs(raw):
                    found.archive.add(offset, offset + len(raw), is_csv and not is_record(raw))
                    found.fates["line"] += 1
                self._moved(offset)
        except ObjectProblem as problem:
            found.problem = problem
        found.stored_sha256 = text.sha256() if text is not None and found.problem is None else None
        return found

    def in_long(self, source: S3Object, offset: int, line: LongLine, chunks: Iterable[bytes] | None = None) -> bool:
        """Whether a line that is too long to be held speaks of the person. `chunks` as for `lines_of`."""
        if chunks is None:
            plain = PlainText(self._objects, source).read(offset, offset + line.size)
        else:
            plain = first(skipped(iter(chunks), offset), line.size)
        return self._traces.in_windows(self._windows(plain))

    def as_far(self, source: S3Object, is_csv: bool = False) -> tuple[Found, bool]:
        """The lines of the person in what can be read of a damaged object, its last, unfinished one included; and
        whether that is all there is to read."""
        text = AsFar(lambda: self._objects.read(source, 0))
        found = self.lines_of(source, chunks=text, is_csv=is_csv)
        return found, found.problem is None and source.size_bytes - text.stored <= CHECKSUM_BYTES

    def blank_sha256(self, source: S3Object, offset: int, line: LongLine, keep_marks: bool) -> str:
        """Of such a line when it is blanked."""
        digest = hashlib.sha256()
        for chunk in PlainText(self._objects, source).read(offset, offset + line.size):
            digest.update(blank(chunk, keep_marks))
        return digest.hexdigest()

    def _windows(self, chunks: Iterable[bytes]) -> Iterator[bytes]:
        overlap = LONGEST_SPELLING * self._traces.longest_bytes + 4
        kept = b""
        for chunk in chunks:
            yield kept + chunk
            kept = (kept + chunk)[-overlap:]

    def says(self, document: Any) -> bool:
        """Whether what a reason's document says of a row speaks of the person."""
        return isinstance(document, dict) and any(self._traces.in_value(document.get(name, "")) for name in _SAID)

    def in_reason(self, raw: bytes) -> bool:
        try:
            return self.says(orjson.loads(raw))
        except orjson.JSONDecodeError:
            return self._traces.in_bytes(raw)


class Documents:
    """The lines of a reasons file, one after another, each with where it stands."""

    def __init__(self, chunks: Iterator[bytes] | None) -> None:
        self._lines = lines(chunks or iter(()), Part(0, TO_THE_END))
        self._next = next(self._lines, None)

    def peek(self) -> dict[str, Any] | None:
        """The next line's document; None where it is blank, none, or there is none."""
        if self._next is None or not isinstance(self._next[1], bytes):
            return None
        try:
            told = orjson.loads(self._next[1])
        except orjson.JSONDecodeError:
            return None
        return told if isinstance(told, dict) and type(told.get("offset")) is int else None

    @property
    def is_at_end(self) -> bool:
        return self._next is None

    def take(self) -> tuple[int, int]:
        """Begin and end of the next line; both -1 if there is none."""
        if self._next is None:
            return -1, -1
        offset, raw = self._next
        self._next = next(self._lines, None)
        return offset, offset + len(raw)


class _Walk:
    def __init__(
        self, search: Search, execution: Execution, outcome: Outcome, archive: S3Object, papers: Papers
    ) -> None:
        self._search = search
        self._traces = search._traces
        self._execution = execution
        self._outcome = outcome
        self._archive = archive
        self._rules = rules_of(execution)
        if execution.format not in (*FORMATS, UNKNOWN, UNREAD):
            raise Misconfigured(f"{execution.format} is a dialect unknown to this version")
        self._is_csv = execution.mime_type == TEXT_CSV
        self._is_whole = execution.status is Status.SUCCEEDED
        self._found = Found()
        self._digest = hashlib.sha256()
        self._marks_open = False
        self._errors_at = 0
        self._adds_up = True
        self._reckoning = Reckoning(papers.rows() if papers else iter(()))
        bucket = execution.source.bucket
        reasons = outcome.destination.reasons
        self._documents = Documents(stored_bytes(search._objects, bucket, reasons))
        self._ahead = Documents(stored_bytes(search._objects, bucket, reasons))
        self._numbered: dict[int, bool] = {}
        if not self._is_whole:
            known = True
            for part in search._records.parts(execution.id):
                self._numbered[part.start] = known
                known &= part.done

    def found(self) -> Found:
        text = PlainText(self._search._objects, self._archive)
        layout = text.layout(self._rules.definition.mime_type, self._execution.was_read)
        header = layout.header
        self._errors_at = len(header) + (bool(header) and not header.endswith(b"\n"))
        self._digest.update(header)
        found = self._found
        found.header_bytes = self._errors_at
        try:
            if layout.columns:
                judge_columns(self._execution.format, layout.columns, self._rules.definition)
            part = Part(len(header), TO_THE_END)
            for batch in batches(layout.lines(text.read(reading_start(part)), part), self._rules, layout):
                self._look(batch)
                self._search._moved(batch.next_offset)
        except ObjectProblem as problem:
            found.problem = problem
        for blanked in self._reckoning.rest():
            self._bad(blanked.bad_row(), True, True, b'"' in blanked.raw)
        if found.problem is None:
            found.stored_sha256 = text.sha256()
            self._adds_up &= self._documents.is_at_end
        found.walk_sha256 = self._digest.hexdigest()
        found.errors_bytes = self._errors_at if self._adds_up else None
        return found

    def _look(self, batch: Batch) -> None:
        is_due = self._is_due(batch)
        blanked = self._reckoning.settle(batch, is_due)
        mine = self._mine(batch)
        good = {event.address for event in batch.events} | {change.address for change in batch.user_changes}
        refused = self._refused(batch, good) if is_due else {}
        bad = {row.offset: row for row in batch.bad_rows}
        if self._is_csv and any(row.reason == Reason.NOT_CSV.value for row in batch.bad_rows):
            self._marks_open = True
        hits: dict[int, bool] = {}  # address → whether quotation marks stay
        lines_of: dict[int, tuple[int, bytes]] = {}
        numbers = dict(batch.line_numbers()) if refused else {}
        for offset, raw in batch.lines:
            if isinstance(raw, LongLine):
                self._long(offset, raw, hits)
                continue
            if offset in refused:
                lines_of[offset] = numbers[offset], raw
            if not self._is_theirs(offset, raw, mine, good, refused):
                self._digest.update(raw)
                continue
            keep = self._is_csv and (offset in bad or self._marks_open)
            hits[offset] = keep
            self._digest.update(blank(raw, keep))
            self._found.archive.add(offset, offset + len(raw), keep)
            self._note(offset, raw, batch, bad, refused, good)
        if is_due:
            self._bad_rows(batch, blanked, refused, lines_of, hits)

    def _mine(self, batch: Batch) -> set[int]:
        """Addresses of the rows whose events or changes are the person's."""
        ids = self._traces.identifiers
        mine = {
            event.address
            for event in batch.events
            if event.user_id in ids or (event.identifiers and _holds(event.identifiers, ids))
        }
        mine.update(
            change.address
            for change in batch.user_changes
            if change.user_id in ids or (change.record.startswith(LINK) and change.record[len(LINK) :] in ids)
        )
        return mine

    def _is_theirs(self, offset: int, raw: bytes, mine: set[int], good: set[int], refused: dict[int, Reject]) -> bool:
        if offset in mine:
            return True
        if offset in good and offset not in refused:
            if self._traces.in_bytes(raw):
                self._found.mentions += 1
                if len(self._found.first_mentions) < MOST_MENTIONS:
                    self._found.first_mentions.append(offset)
            return False
        return not is_blank(raw) and self._traces.in_bytes(raw.removeprefix(BOM))

    def _long(self, offset: int, raw: LongLine, hits: dict[int, bool]) -> None:
        """A line too long to be held. Its reason says nothing of it, so it needs no paper: it stays refused."""
        sha256 = raw.sha256
        if not is_blank(raw.head) and self._search.in_long(self._archive, offset, raw):
            sha256 = self._search.blank_sha256(self._archive, offset, raw, self._is_csv)
            self._found.archive.add(offset, offset + raw.size, self._is_csv)
            self._found.fates["long"] += 1
            hits[offset] = self._is_csv
        elif is_blank(raw.head):
            hits[offset] = self._is_csv  # of somebody forgotten before; in errors/ it is blank, or soon will be
        self._digest.update(sha256.encode())

    def _note(
        self,
        offset: int,
        raw: bytes,
        batch: Batch,
        bad: dict[int, BadRow],
        refused: dict[int, Reject],
        good: set[int],
    ) -> None:
        """A line of the paper."""
        row = ErasedRow(offset, len(raw), EXPIRED)
        if offset in refused:
            reject = refused[offset]
            row = replace(row, fate=BAD, reason=reject.reason.value, field=self._field(reject.field))
        elif offset in bad:
            row = replace(row, fate=BAD, reason=bad[offset].reason, field=self._field(bad[offset].field))
        elif offset in good:
            events = [event for event in batch.events if event.address == offset]
            changes = [change for change in batch.user_changes if change.address == offset]
            row = replace(row, fate=GOOD, events=len(events), user_changes=len(changes))
            ids = self._traces.identifiers
            self._found.shared += sum(event.user_id not in ids for event in events)
            self._found.shared += sum(
                change.user_id not in ids and change.record.removeprefix(LINK) not in ids for change in changes
            )
        self._found.rows.write(row.as_line())
        self._found.fates[row.fate] += 1

    def _field(self, name: str) -> str:
        return ERASED_TEXT if self._traces.in_text(name) else name

    # -- errors/ and reasons ------------------------------------------------------------------------------------

    def _refused(self, batch: Batch, good: set[int]) -> dict[int, Reject]:
        """Rows the walk calls good that a destination refused; only their documents say so."""
        refused: dict[int, Reject] = {}
        for offset, told in self._refusals(batch.next_offset):
            if offset in good:
                words = [str(told.get(name, "")) for name in ("field", "expected", "found", "hint", "message")]
                refused[offset] = Reject(Reason.REFUSED_BY_SINK, *words)
        return refused

    def _refusals(self, before: int) -> Iterator[tuple[int, dict[str, Any]]]:
        """Documents of refusals by a destination, from a reading of its own that runs ahead."""
        while not self._ahead.is_at_end:
            told = self._ahead.peek()
            if told is not None and told["offset"] >= before:
                return
            self._ahead.take()
            if told is not None and told.get("reason") == Reason.REFUSED_BY_SINK.value:
                yield told["offset"], told

    def _bad_rows(
        self,
        batch: Batch,
        blanked: list[Blanked],
        refused: dict[int, Reject],
        lines_of: dict[int, tuple[int, bytes]],
        hits: dict[int, bool],
    ) -> None:
        rows: list[tuple[int, BadRow, bool, bool, bool]] = [
            (one.row.offset, one.bad_row(), True, True, b'"' in one.raw) for one in blanked
        ]
        made = [BadRow.of(reject, lines_of[at][0], at, lines_of[at][1]) for at, reject in refused.items()]
        for row in [*batch.bad_rows, *made]:
            is_hit = row.offset in hits
            rows.append((row.offset, row, is_hit, is_hit and row.long is None, hits.get(row.offset, False)))
        is_numbered = self._is_whole or self._numbered.get(self._execution.part_start(batch.start), True)
        for _, row, is_theirs, is_masked, keep in sorted(rows, key=lambda one: one[0]):
            self._bad(row, is_theirs, is_masked, keep, is_numbered)

    def _bad(self, row: BadRow, is_theirs: bool, is_masked: bool, keep: bool, is_numbered: bool = True) -> None:
        """The next row of errors/, and the next document."""
        told = self._documents.peek()
        start, stop = self._documents.take()
        if told is not None and told["offset"] != row.offset:
            self._adds_up = False
        if row.long is not None:
            size = row.long.size + (row.long.size == row.long.length)
        else:
            size = len(row.raw) + (not row.raw.endswith(b"\n"))
        line = row.line if is_numbered else None
        if is_theirs and self._adds_up:
            self._found.errors.add(self._errors_at, self._errors_at + size, keep)
            if is_masked and start >= 0:
                self._found.reasons.add(start, stop)
        if is_masked:
            field_name = self._field(row.field)
            row = replace(row, field=field_name, expected="", found="", message=ERASED_TEXT, hint="")
        self._found.folded.add(row, line)
        self._errors_at += size

    def _is_due(self, batch: Batch) -> bool:
        if self._is_whole:
            return True
        start = self._execution.part_start(batch.start)
        return batch.start < self._outcome.read_to.get(start, start)


def _holds(value: Any, identifiers: frozenset[str]) -> bool:
    """Whether any text in a JSON value is one of these identifiers."""
    if isinstance(value, str):
        return value in identifiers
    if isinstance(value, dict):
        return any(_holds(member, identifiers) for member in value.values())
    return isinstance(value, list) and any(_holds(member, identifiers) for member in value)
