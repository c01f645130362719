"""Settle: from "every part is done" to SUCCEEDED, and from a file's failure to its receipt. Re-entrant throughout.

Any number of workers may settle one execution at once: the outcome is fixed first, by one conditional write, and every
object written after it is a function of that outcome and the segments. A segment missing because another worker is
already done shows as a wrong count before anything is written over.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import reduce
from typing import Final

from importer.bad_rows import FileReason, ObjectProblem
from importer.executions.destinations import claimed_name, day_of, destination, replay_name
from importer.executions.joining import SegmentsMissing, join, work_of
from importer.executions.notebook import SettlingNotebook
from importer.executions.plain_text import hash_of
from importer.executions.ports import Workplace
from importer.executions.starting import execution_id_of
from importer.model import (
    Destination,
    Execution,
    Fenced,
    Noted,
    Outcome,
    PartState,
    Phase,
    S3Object,
    Status,
    Tally,
    Unavailable,
    Usage,
)
from importer.notification import Dropped
from importer.parts import parts_of
from importer.receipts import FoldedReasons, receipt

DELETE_KEYS: Final = 1_000  # at once, of what is under work/
# Segments are kept for at least 14 days (WorkRetentionDays); each is younger than its execution.
SEGMENTS_KEPT_MS: Final = 13 * 86_400_000
_SEGMENTS_GONE: Final = (
    "it took so long that bad rows found at its begin have been removed from work/: `importer redrive` begins again"
)


def settle(place: Workplace, execution: Execution) -> Execution:
    """Everything after the last row: fix the outcome, join, receipt, copy, verify, delete, SUCCEEDED.

    Raises:
        TimeIsUp: what was done is kept; settle again.
        Fenced: another worker is at it.
        Unavailable.
    """
    if execution.phase is Phase.CLOSED:
        return _move_again(place, execution)
    notebook = SettlingNotebook(place, execution)
    if execution.outcome is None:
        try:
            fixed = _outcome(place, execution, notebook)
        except ObjectProblem as problem:  # taken away before its hash was known
            return _failed(place, execution, problem)
        execution = place.records.finalise(execution, fixed)
    outcome = execution.outcome
    if execution.phase is Phase.IMPORTING:  # newer rules or a redrive have begun it again: none of our parts is ours
        raise Fenced(f"{execution.source.uri} was begun again meanwhile")
    if execution.phase is not Phase.FINALISING or outcome is None:
        return execution if execution.status is Status.SUCCEEDED else close_failed(place, execution)
    over = _written_over(place, execution, outcome)
    if over is None:
        return place.records.execution(execution.id) or execution
    try:
        reasons = _write_papers(place, execution, outcome, notebook, over)
        if execution.replayed is None:  # else it was read from where it lies, and stays
            place.objects.copy(execution.source, outcome.destination.completed, _known(outcome.sha256), notebook)
    except SegmentsMissing as missing:
        if _segments_are_old(place, execution):
            return _failed(place, execution, ObjectProblem(FileReason.GAVE_UP, _SEGMENTS_GONE))
        return _closed_by_another(place, execution, missing)
    except ObjectProblem as problem:  # neither the source nor a proven copy of it is there: someone took it away
        return _failed(place, execution, problem)
    if execution.replayed is None:
        # Trade-off: a crash before this leaves the file twice until the next delivery; deleting first loses it (I3).
        place.objects.delete_version(execution.source)
        _hide_what_it_replaced(place, execution.source)
    # Before it is closed, or a crash in between would leave them for ever: what is closed is nobody's job any more.
    place.records.let_go(execution, day_of(execution), claimed_name(execution))
    return _closed(place, execution, outcome, reasons)


def _failed(place: Workplace, execution: Execution, problem: ObjectProblem) -> Execution:
    failed = place.records.fail(execution, problem.code.value, problem.message)
    return failed if failed.status is not Status.FAILED else close_failed(place, failed)


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
    # From here on no tally moves.
    place.records.fence(execution, parts_of(execution.part_count, execution.part_bytes))
    notebook = SettlingNotebook(place, execution)
    attempt = execution.attempt
    if execution.outcome is None:  # fixed before a paper is written: whoever closes it writes the same
        execution = place.records.fix(execution, _outcome(place, execution, None))
    outcome = execution.outcome
    if outcome is None or (execution.phase, execution.attempt) != (Phase.CLOSING, attempt):
        return execution
    over = _written_over(place, execution, outcome)
    if over is None:
        return place.records.execution(execution.id) or execution
    try:
        reasons = _write_papers(place, execution, outcome, notebook, over)
    except SegmentsMissing as missing:
        now = place.records.execution(execution.id) or execution
        if not _segments_are_old(place, execution) or (now.phase, now.attempt) != (Phase.CLOSING, attempt):
            return _closed_by_another(place, execution, missing)
        reasons = None
        _write_receipt(place, execution, outcome, reasons, over)
    return _closed(place, execution, outcome, reasons)


def _written_over(place: Workplace, execution: Execution, outcome: Outcome) -> Mapping[str, str] | None:
    """What stands under the names of the papers, as seen while the execution was in this phase of this attempt; None
    if it is not any more.

    A redrive may follow as soon as somebody has closed it, and the next attempt writes papers of the same names, maybe
    under other rules: a slow worker of this one must not write over them. So each is written over what was seen only.
    """
    bucket, to = execution.source.bucket, outcome.destination
    none_bad = not outcome.sums.bad and execution.attempt == 1
    papers = (to.receipt,) if none_bad else (to.errors, to.reasons, to.receipt)
    over = {key: place.objects.seen(bucket, key) for key in papers}
    now = place.records.execution(execution.id) or execution
    return over if (now.phase, now.attempt) == (execution.phase, execution.attempt) else None


def _write_papers(
    place: Workplace, execution: Execution, outcome: Outcome, notebook: SettlingNotebook, over: Mapping[str, str]
) -> FoldedReasons | None:
    """The reasons of the bad rows; None if there are none."""
    reasons = join(place, execution, outcome, notebook, over)
    _write_receipt(place, execution, outcome, reasons, over)
    return reasons


def _write_receipt(
    place: Workplace,
    execution: Execution,
    outcome: Outcome,
    reasons: FoldedReasons | None,
    over: Mapping[str, str],
) -> None:
    body = receipt(execution, outcome, reasons)
    to = outcome.destination.receipt
    place.objects.put(execution.source.bucket, to, body, "application/json", over.get(to))


def _segments_are_old(place: Workplace, execution: Execution) -> bool:
    """Whether the bucket's rule may have removed some of them."""
    return place.clock.now_ms() - execution.created_ms > SEGMENTS_KEPT_MS


def _closed_by_another(place: Workplace, execution: Execution, missing: SegmentsMissing) -> Execution:
    """The execution another worker has closed while we settled it too (and perhaps a redrive has opened); else it is a
    bug.
    """
    now = place.records.execution(execution.id)
    if now is None or (now.phase is not Phase.CLOSED and now.attempt == execution.attempt):
        raise missing
    return now


def _closed(place: Workplace, execution: Execution, outcome: Outcome, reasons: FoldedReasons | None) -> Execution:
    was_us = place.records.close(execution, outcome)
    closed = place.records.execution(execution.id) or execution
    if was_us:
        place.telemetry.closed(closed, place.clock.now_ms(), reasons.by_code() if reasons is not None else {})
    # Not by what it was when we began: it may have ended FAILED meanwhile, and a redrive goes on with them.
    if closed.phase is Phase.CLOSED and closed.status is not Status.FAILED:
        _clear_away(place, execution)
    return closed


def _clear_away(place: Workplace, execution: Execution) -> None:
    """Remove what lies under work/; what a crash leaves is removed by the bucket's lifecycle rule."""
    some: list[str] = []
    for key in place.objects.keys(execution.source.bucket, work_of(execution)):
        some.append(key)
        if len(some) == DELETE_KEYS:
            place.objects.delete(execution.source.bucket, some)
            some = []
    if some:
        place.objects.delete(execution.source.bucket, some)


def _move_again(place: Workplace, execution: Execution) -> Execution:
    """A SUCCEEDED execution whose source is still, or again, in `imports/`: the same bytes, so only the move is due."""
    if execution.replayed is not None:
        return execution
    outcome = execution.outcome
    source = execution.source
    there = place.objects.head(Dropped(source.bucket, source.key, source.version_id, source.etag))
    if there is None or execution_id_of(there) != execution.id:
        return execution  # a late message: looking at the copy would mean to read all of it
    if outcome is not None and execution.status is Status.SUCCEEDED:
        try:
            notebook = SettlingNotebook(place, execution)
            place.objects.copy(execution.source, outcome.destination.completed, _known(outcome.sha256), notebook)
        except ObjectProblem:
            return execution  # it is not there any more: nothing to move
        place.objects.delete_version(execution.source)
    return execution


def _outcome(place: Workplace, execution: Execution, notebook: SettlingNotebook | None) -> Outcome:
    """What is known now that no part moves any more; with the source's hash where there is a notebook for it."""
    parts = place.records.parts(execution.id)
    sha256 = parts[0].sha256 if len(parts) == 1 else None
    if notebook is not None and not (len(parts) == execution.part_count and all(part.done for part in parts)):
        # A belt for the set of finished parts: nothing is deleted on its word alone.
        raise Unavailable(f"{execution.source.uri} was started over meanwhile: deliver again")
    if sha256 is None and notebook is not None:
        sha256 = hash_of(place.objects, execution.source, notebook)
    return Outcome(
        _destination(place, execution),
        place.clock.now_ms(),
        _sums(parts),
        {part.start: part.next_offset for part in parts},
        sha256,
        reduce(Usage.plus, (part.spent for part in parts), place.meter.taken(place.clock.now_ms())),
    )


def _sums(parts: list[PartState]) -> Tally:
    """The tallies of all parts, their line numbers counted through; behind a part not read to its end, nobody can."""
    sums = Tally()
    known = True
    for part in parts:
        before = sums.file_lines
        notes = {
            code: Noted(noted.count, before + noted.first_line if known and noted.first_line else None)
            for code, noted in part.tally.notes.items()
        }
        sums = sums.plus(replace(part.tally, notes=notes))
        known &= part.done
    return sums


def _destination(place: Workplace, execution: Execution) -> Destination:
    if execution.replayed is not None:
        # Its id is in the name, and nobody drops a file of that name before the papers tell it.
        place.records.claim_stem(day_of(execution), replay_name(execution), execution.id)
        return destination(execution, False)
    free = place.records.claim_stem(day_of(execution), claimed_name(execution), execution.id)
    wanted = destination(execution, free)
    # Something no execution of ours has put there (an older tool's archive, a person's copy) is not overwritten.
    return destination(execution, False) if place.objects.exists(execution.source.bucket, wanted.completed) else wanted


def _known(sha256: str | None) -> str:
    if sha256 is None:
        raise ValueError("an outcome without the source's hash: only failures have none")
    return sha256
