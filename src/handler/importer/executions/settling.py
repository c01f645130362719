"""Settle: from "every part is done" to SUCCEEDED, and from a file's failure to its receipt. Re-entrant throughout.

Any number of workers may settle one execution at once: the outcome is fixed first, by one conditional write, and every
object written after it is a function of that outcome and the segments. A segment missing because another worker is
already done shows as a wrong count before anything is written over.
"""

import hashlib
import io
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from importer.bad_rows import ObjectProblem, document, read_segment
from importer.definitions import NDJSON, TEXT_CSV
from importer.executions.destinations import claimed_name, day_of, destination
from importer.executions.plain_text import PlainText
from importer.executions.ports import Workplace, Writer
from importer.executions.starting import execution_id_of
from importer.model import Destination, Execution, LongLine, Outcome, Phase, S3Object, Status, Tally
from importer.notification import Dropped
from importer.parts import WHOLE
from importer.receipts import FoldedReasons, receipt

_MEDIA_TYPES: Final = {NDJSON: "application/x-ndjson", TEXT_CSV: "text/csv"}


class SegmentsMissing(Exception):
    """Fewer bad rows in work/ than were counted, or no header: a bug, unless another worker closed the execution."""


def segment_key(execution: Execution, batch_start: int) -> str:
    """Where the bad rows of a batch wait. By rules version: a late write of an older worker must not mix in."""
    return f"{_segments_of(execution)}{batch_start:020d}"


def header_key(execution: Execution) -> str:
    """Where the header of a CSV waits for the errors file."""
    return f"{_work_of(execution)}header"


def settle(place: Workplace, execution: Execution) -> Execution:
    """Everything after the last row: fix the outcome, join, receipt, copy, verify, delete, SUCCEEDED."""
    if execution.phase is Phase.CLOSED:
        return _move_again(place, execution)
    if execution.outcome is None:
        execution = place.records.finalise(execution, _outcome(place, execution))
    outcome = execution.outcome
    if execution.phase is not Phase.FINALISING or outcome is None:
        return execution if execution.status is Status.SUCCEEDED else close_failed(place, execution)
    try:
        _write_papers(place, execution, outcome)
        place.objects.copy(execution.source, outcome.destination.completed, _known(outcome.sha256))
    except SegmentsMissing as missing:
        return _closed_by_another(place, execution, missing)
    except ObjectProblem as problem:  # neither the source nor a proven copy of it is there: someone took it away
        failed = place.records.fail(execution, problem.code.value, problem.message)
        return failed if failed.status is not Status.FAILED else close_failed(place, failed)
    # Trade-off: a crash before this leaves the file twice until the next delivery; deleting first loses it (I3).
    place.objects.delete_version(execution.source)
    _hide_what_it_replaced(place, execution.source)
    return _closed(place, execution, outcome)


def _hide_what_it_replaced(place: Workplace, source: S3Object) -> None:
    """Keep a refused older version from coming back into `imports/` now that the mended one above it is gone.

    Deleting a version uncovers the one below. If that one is older and its import ended FAILED, a delete marker is put
    over it: the bytes stay, as they were before. Any other version (newer, or not yet imported) stays in sight.
    """
    if source.version_id is None:
        return
    below = place.objects.head(Dropped(source.bucket, source.key, None, ""))
    if below is None or below.last_modified_ms >= source.last_modified_ms:
        return
    older = place.records.execution(execution_id_of(below))
    if older is not None and older.status is Status.FAILED and older.phase is Phase.CLOSED:
        place.objects.hide(below)


def close_failed(place: Workplace, execution: Execution) -> Execution:
    """Errors and receipt of a FAILED or CANCELED execution: what was written stays, the source stays where it is."""
    if execution.phase is Phase.CLOSED:
        return execution
    place.records.fence(execution, [WHOLE])  # from here on no tally moves
    outcome = execution.outcome or _outcome(place, execution)
    try:
        _write_papers(place, execution, outcome)
    except SegmentsMissing as missing:
        return _closed_by_another(place, execution, missing)
    return _closed(place, execution, outcome)


def _write_papers(place: Workplace, execution: Execution, outcome: Outcome) -> None:
    reasons = _join(place, execution, outcome)
    body = receipt(execution, outcome, reasons)
    place.objects.put(execution.source.bucket, outcome.destination.receipt, body, "application/json")


def _closed_by_another(place: Workplace, execution: Execution, missing: SegmentsMissing) -> Execution:
    """The execution another worker has closed, segments and all, while we settled it too; else it is a bug."""
    now = place.records.execution(execution.id)
    if now is None or now.phase is not Phase.CLOSED:
        raise missing
    return now


def _closed(place: Workplace, execution: Execution, outcome: Outcome) -> Execution:
    was_us = place.records.close(execution, outcome)
    closed = place.records.execution(execution.id) or execution
    if was_us:
        place.telemetry.closed(closed)
    work = list(place.objects.keys(execution.source.bucket, _work_of(execution)))
    if work:  # a crash before this leaves them to the bucket's lifecycle rule
        place.objects.delete(execution.source.bucket, work)
    return closed


def _move_again(place: Workplace, execution: Execution) -> Execution:
    """A SUCCEEDED execution whose source is still, or again, in `imports/`: the same bytes, so only the move is due."""
    outcome = execution.outcome
    if outcome is not None and execution.status is Status.SUCCEEDED:
        try:
            place.objects.copy(execution.source, outcome.destination.completed, _known(outcome.sha256))
        except ObjectProblem:
            return execution  # it is not there any more: nothing to move
        place.objects.delete_version(execution.source)
    return execution


def _outcome(place: Workplace, execution: Execution) -> Outcome:
    parts = place.records.parts(execution.id)
    sums = Tally()
    for part in parts:
        sums = sums.plus(part.tally)
    reading = execution.phase is Phase.IMPORTING
    sha256 = (parts[0].sha256 if len(parts) == 1 else None) or (_hash_again(place, execution) if reading else None)
    return Outcome(
        _destination(place, execution), place.clock.now_ms(), sums, {p.start: p.next_offset for p in parts}, sha256
    )


def _destination(place: Workplace, execution: Execution) -> Destination:
    free = place.records.claim_stem(day_of(execution), claimed_name(execution), execution.id)
    wanted = destination(execution, free)
    # Something no execution of ours has put there (an older tool's archive, a person's copy) is not overwritten.
    return destination(execution, False) if place.objects.exists(execution.source.bucket, wanted.completed) else wanted


def _hash_again(place: Workplace, execution: Execution) -> str:
    """The source's hash where no single worker saw all of it: the copy is proven against it before the source goes."""
    digest = hashlib.sha256()
    for chunk in place.objects.read(execution.source, 0):
        digest.update(chunk)
    return digest.hexdigest()


def _join(place: Workplace, execution: Execution, outcome: Outcome) -> FoldedReasons:
    """Segments → the errors file and its reasons, in the order of the source, in constant memory.

    Raises:
        SegmentsMissing: nothing was written.
    """
    reasons = FoldedReasons()
    if not outcome.sums.bad:
        return reasons
    source = execution.source
    read_to = max(outcome.read_to.values())
    count = 0
    originals = _Originals(place, execution, outcome)
    with (
        place.objects.writer(source.bucket, outcome.destination.errors, _MEDIA_TYPES[execution.mime_type]) as errors,
        place.objects.writer(source.bucket, outcome.destination.reasons, _MEDIA_TYPES[NDJSON]) as documents,
    ):
        if execution.mime_type == TEXT_CSV:
            header = place.objects.get(source.bucket, header_key(execution))
            if header is None:
                raise SegmentsMissing(f"the header of {source.uri} is gone from work/{execution.id}/")
            errors.write(header if header.endswith(b"\n") else header + b"\n")
        for key in place.objects.keys(source.bucket, _segments_of(execution)):
            body = place.objects.get(source.bucket, key)
            for row in read_segment(io.BytesIO(body or b"")):
                if row.offset >= read_to:
                    continue  # written, but its progress was not: a failed execution does not count those rows
                if row.long is None:
                    errors.write(row.as_sent())
                else:
                    originals.copy(row.offset, row.long, errors)
                documents.write(document(row, source, execution.id, 0) + b"\n")
                reasons.add(row, row.line)
                count += 1
        if count != outcome.sums.bad:
            raise SegmentsMissing(f"{count} bad rows in the segments of {execution.id}, {outcome.sums.bad} counted")
        errors.commit()
        documents.commit()
    return reasons


class _Originals:
    """The rows too long to be kept in a segment, copied from the source; once that is moved, from where it is now."""

    def __init__(self, place: Workplace, execution: Execution, outcome: Outcome) -> None:
        self._place = place
        self._failed = execution.status is Status.FAILED
        self._source = execution.source
        self._completed = outcome.destination.completed
        self._sources = self._candidates()
        self._text: PlainText | None = None
        self._problem: ObjectProblem | None = None

    def copy(self, offset: int, line: LongLine, errors: Writer) -> None:
        """Write a line's bytes, LF added if it has none; as many as can be had of a FAILED execution's source.

        Raises:
            ObjectProblem: neither source nor copy has it.
        """
        digest = hashlib.sha256()
        copied = 0
        has_end = False
        while copied < line.size:
            before = copied
            try:
                self._text = self._text or PlainText(self._place.objects, next(self._sources))
                for chunk in self._text.read(offset + copied, offset + line.size):
                    digest.update(chunk)
                    errors.write(chunk)
                    copied += len(chunk)
                    has_end = chunk.endswith(b"\n")
                if copied == before:
                    raise ValueError(f"{self._source.uri} ends before the line at byte {offset} does")
            except ObjectProblem as problem:
                self._text = None
                self._problem = problem
            except StopIteration:
                if self._problem is not None and not self._failed:
                    raise self._problem from None
                break
        if not has_end:
            errors.write(b"\n")
        if copied == line.size and digest.hexdigest() != line.sha256:
            raise ValueError(f"the line at byte {offset} of {self._source.uri} was read differently before")

    def _candidates(self) -> Iterator[S3Object]:
        yield self._source
        moved = self._place.objects.head(Dropped(self._source.bucket, self._completed, None, ""))
        if moved is not None and moved.size_bytes == self._source.size_bytes:
            yield replace(moved, version_id=None)


def _segments_of(execution: Execution) -> str:
    return f"{_work_of(execution)}errors/"


def _work_of(execution: Execution) -> str:
    return f"work/{execution.id}/{execution.rules_version}/"


def _known(sha256: str | None) -> str:
    if sha256 is None:
        raise ValueError("an outcome without the source's hash: only failures have none")
    return sha256
