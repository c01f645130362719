"""What an execution wrote: its object walked once more under everything it pinned, batch after batch.

The same bytes make the same batches, so what a walk gives is what its workers gave to the sinks, in the order of the
file: rows that a destination refused are left out (only the reasons file knows them), and so is what was withheld. Of a
FAILED or CANCELED execution the rows before each part's `read_to` are certain; later ones may have been written or not.

A walk may begin at any place an earlier one gave, as an import may be resumed there.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import orjson

from importer.bad_rows import FileReason, ObjectProblem, Reason
from importer.batches import batches
from importer.executions.pinned import rules_of
from importer.executions.plain_text import PlainText
from importer.executions.ports import Objects, Records
from importer.formats import FORMATS, UNKNOWN, UNREAD, judge_columns
from importer.ledger.erasures import set_aside
from importer.ledger.papers import stored_bytes
from importer.lines import reading_start
from importer.model import (
    RULES_VERSION,
    TO_THE_END,
    Border,
    Event,
    Execution,
    Misconfigured,
    Outcome,
    Part,
    Phase,
    S3Object,
    Status,
    UserChange,
)
from importer.notification import Dropped
from importer.sinks import SINKS

# An object that cannot be read now; anything else a walk ends in is what the bytes are.
NOT_THERE: Final = frozenset({FileReason.OBJECT_GONE, FileReason.REPLACED_WHILE_READING, FileReason.OBJECT_ARCHIVED})


class CannotWalk(Exception):
    """What this execution wrote cannot be told; the words say why and what would change it."""


@dataclass(frozen=True, slots=True)
class Written:
    """What a batch gave to the sinks.

    Attributes:
        start: where it begins, in plain bytes; `next_offset` where the following batch does.
        certain: it was written. Else it may have been.
        border: where to begin to decompress in order to go on behind it; None where nothing is compressed.
    """

    start: int
    next_offset: int
    events: list[Event]
    changes: list[UserChange]
    certain: bool
    border: Border | None


def outcome_of(execution: Execution) -> Outcome:
    """What it ended with. Raises CannotWalk: it has not ended, or this version cannot read its rows as it did."""
    if execution.phase is not Phase.CLOSED or execution.outcome is None:
        raise CannotWalk(f"execution {execution.id} is {execution.status.value} ({execution.phase.value.lower()})")
    if execution.rules_version != RULES_VERSION:
        raise CannotWalk(
            f"execution {execution.id} was imported under rules {execution.rules_version} and this is version "
            f"{RULES_VERSION}, which may read its rows otherwise. Use the version that was deployed then"
        )
    unknown = [name for name in execution.sinks if name not in SINKS]
    if execution.format not in (*FORMATS, UNKNOWN, UNREAD) or unknown:
        raise CannotWalk(f"execution {execution.id}: {(unknown or [execution.format])[0]} is unknown to this version")
    return execution.outcome


def wrote_nothing(execution: Execution) -> bool:
    """Whether it is sure that it has nothing in the tables."""
    if "dynamodb" not in execution.sinks or execution.format in (UNKNOWN, UNREAD):
        return True
    if execution.outcome is None:
        return execution.start_date is None
    if execution.is_checking or execution.start_date is None:
        return True
    return execution.status is Status.SUCCEEDED and not (
        execution.outcome.sums.events or execution.outcome.sums.user_changes
    )


def object_of(objects: Objects, execution: Execution) -> S3Object:
    """The object to be walked: the archived one, or of what did not succeed the source, or where that was set aside.

    Raises:
        CannotWalk: it is gone.
        Unavailable.
    """
    source, outcome = execution.source, outcome_of(execution)
    archived = Dropped(source.bucket, outcome.destination.completed, None, "")
    if execution.status is not Status.SUCCEEDED:
        refused = _refused_object(objects, execution)
        if refused is not None:
            return refused
        raise CannotWalk(
            f"execution {execution.id} ended {execution.status.value}, and its file {source.uri} is not there any more"
        )
    found = objects.head(archived)
    if found is None:
        raise CannotWalk(f"execution {execution.id}: its archived file s3://{source.bucket}/{archived.key} is gone")
    return found


def _refused_object(objects: Objects, execution: Execution) -> S3Object | None:
    source = execution.source
    found = objects.head(Dropped(source.bucket, source.key, source.version_id, source.etag))
    if found is not None and found.etag == source.etag:
        return source
    return set_aside(objects, execution)  # with blanks where somebody was forgotten


def file_uri(objects: Objects, execution: Execution) -> str:
    """Where the file of an ended execution lies, or lay before somebody removed it. Raises Unavailable."""
    source, outcome = execution.source, execution.outcome
    if execution.status is Status.SUCCEEDED and outcome is not None:
        return f"s3://{source.bucket}/{outcome.destination.completed}"
    return (_refused_object(objects, execution) or source).uri


class Walk:
    """A walk over one ended execution.

    Raises:
        CannotWalk, Unavailable.
    """

    def __init__(self, objects: Objects, records: Records, execution: Execution) -> None:
        self._objects = objects
        self._execution = execution
        self._outcome = outcome_of(execution)
        self._is_whole = execution.status is Status.SUCCEEDED
        try:
            self._rules = rules_of(execution)
        except Misconfigured as problem:
            raise CannotWalk(f"execution {execution.id}: its definition cannot be read: {problem}") from problem
        self.source = object_of(objects, execution)
        parts = [] if self._is_whole else records.parts(execution.id)
        # Parts of which nothing was stored: those of a file that is stored as a whole, before all of it was checked.
        self._withheld = {part.start for part in parts if execution.is_checking or part.tally.withheld}

    def batches(self, start: int = 0, border: Border | None = None) -> Iterator[Written]:
        """What was written, from a place an earlier walk gave.

        Of a file that was refused, it ends where the import could not read on either.

        Raises:
            CannotWalk: the object is gone, or an archive is damaged since: nobody knows what it held.
            Unavailable.
        """
        refused = _Refused(self._objects, self._execution, self._outcome)
        try:
            text = PlainText(self._objects, self.source, border=border, straight=not start)
            layout = text.layout(self._rules.definition.mime_type, self._execution.was_read)
            if layout.columns:
                judge_columns(self._execution.format, layout.columns, self._rules.definition)
            part = Part(max(start, len(layout.header)), TO_THE_END)
            for batch in batches(layout.lines(text.read(reading_start(part)), part), self._rules, layout):
                events, changes = batch.events, batch.user_changes
                gone = refused.before(batch.next_offset)
                if gone:
                    events = [event for event in events if event.address not in gone]
                    changes = [change for change in changes if change.address not in gone]
                of = self._execution.part_start(batch.start)
                if of in self._withheld:
                    events, changes = [], []
                certain = self._is_whole or batch.start < self._outcome.read_to.get(of, of)
                at = batch.next_offset
                yield Written(batch.start, at, events, changes, certain, text.border_before(at))
        except ObjectProblem as problem:
            if self._is_whole or problem.code in NOT_THERE:
                raise CannotWalk(f"execution {self._execution.id}: {problem.message}") from problem


class _Refused:
    """Addresses of the rows that a destination refused, as the reasons file tells them, in the order of the file."""

    def __init__(self, objects: Objects, execution: Execution, outcome: Outcome) -> None:
        self._ahead: int | None = None
        self._addresses = self._read(objects, execution, outcome)

    def before(self, offset: int) -> set[int]:
        """Those before `offset`, not told yet."""
        found: set[int] = set()
        while True:
            if self._ahead is None:
                self._ahead = next(self._addresses, None)
            if self._ahead is None or self._ahead >= offset:
                return found
            found.add(self._ahead)
            self._ahead = None

    def _read(self, objects: Objects, execution: Execution, outcome: Outcome) -> Iterator[int]:
        bucket, destination = execution.source.bucket, outcome.destination
        code = Reason.REFUSED_BY_SINK.value
        if not outcome.sums.bad:
            return
        receipt = objects.get(bucket, destination.receipt)
        if receipt is not None and code.encode() not in receipt:  # the reasons may have gigabytes
            return
        for line in _lines(stored_bytes(objects, bucket, destination.reasons) or iter(())):
            if code.encode() not in line:
                continue
            told: Any = orjson.loads(line)
            if told.get("reason") == code:
                yield int(told["offset"])


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        yield from whole
    if rest:
        yield rest
