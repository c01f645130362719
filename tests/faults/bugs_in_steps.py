"""Bugs of starting, advancing, handing on and sweeping."""

from contextlib import AbstractContextManager
from typing import Any

from importer.aws.objects import S3Objects
from importer.executions import holding, importing, joining, settling, sweeping, waiting
from tests.faults.bugs import Bug, both, changed

Planted = AbstractContextManager[Any]

MOVED = "ours.move_behind(batch)"
JUDGED_OR_WRITTEN = "try:\n                if execution.is_checking:"


def progress_before_the_sink() -> Planted:
    """The position moves before the batch is written: a crash in between loses rows (I3)."""
    return changed(
        importing._read_on,
        (MOVED, "pass"),
        (JUDGED_OR_WRITTEN, f"{MOVED}; ours.save()\n            {JUDGED_OR_WRITTEN}"),
    )


def progress_before_the_segment() -> Planted:
    """The position moves before the bad rows are written: a crash in between loses them (I3)."""
    return changed(
        holding.Held.save,
        ("self._keep_bad_rows()", "pass"),
        (
            "self._saved, self._saved_ms = self.state, self._place.clock.now_ms()",
            "self._saved, self._saved_ms = self.state, self._place.clock.now_ms(); self._keep_bad_rows()",
        ),
    )


def overlaps_counted_twice() -> Planted:
    """Bad rows written again, cut otherwise than by the worker that died, are there twice (I10)."""
    return changed(joining._Rows.segments, ("row.offset > after and ", ""))


def segments_in_no_order() -> Planted:
    """A segment's name is a hash of where it begins: the same each time, but not in the order of the file (I10)."""
    hashed = "int(__import__('hashlib').sha256(b'%d' % self._kept_to).hexdigest()[:16], 16)"
    return changed(holding.Held._keep_bad_rows, ("(self._execution, self._kept_to,", f"(self._execution, {hashed},"))


def owner_is_the_request() -> Planted:
    """A redelivery has its first delivery's request id, and with it its lease (N4)."""
    return changed(holding.held, ("uuid.uuid4().hex", "f'{execution.id} {part.start}'"))


def settled_by_the_last_part() -> Planted:
    """Whoever ends the last part settles, and nobody looks whether the others are done (I2)."""
    return both(
        changed(
            importing._advance,
            (
                "not _is_read(execution)",
                "part.start < execution.part_bytes * (execution.part_count - 1)",
            ),
        ),
        nobody_looks_twice(),
    )


def nobody_looks_twice() -> Planted:
    """Without the belt of settling; by itself no bug, since the set of finished parts is right."""
    return changed(settling._outcome, ("if notebook is not None and not (len(parts)", "if False and not (len(parts)"))


def task_never_sent() -> Planted:
    """The time is up, and nobody is told of the rest (H4)."""
    return changed(
        holding.Held.hand_on,
        (
            "self._place.dispatch.send([task], delay_s)",
            "pass",
        ),
    )


def task_of_settling_never_sent() -> Planted:
    """The time is up while settling, and nobody is told of the rest (H4)."""
    return changed(
        importing._advance, ("place.dispatch.send([Task(execution.id, part.start, execution.priority)])", "pass")
    )


def tries_never_reset() -> Planted:
    """A part that gets on is given up, if its workers are killed often enough (I8)."""
    return changed(holding.Held.move_behind, (", tries=0", ""))


def poison_tried_for_ever() -> Planted:
    """A part that kills its workers kills one after another (I8)."""
    return changed(importing._import_part, ("ours.state.tries > TRIES or ", ""))


def redriven_without_its_segments() -> Planted:
    """A FAILED execution's bad rows are cleared away, so that a redrive never finds them (I9)."""
    honest = "if closed.phase is Phase.CLOSED and closed.status is not Status.FAILED:"
    return changed(settling._closed, (honest, "if True:"))


def cancel_that_only_says_so() -> Planted:
    """Canceled, but not fenced: its workers go on (N10)."""
    return changed(
        settling.close_failed,
        ("place.records.fence(execution, parts_of(execution.part_count, execution.part_bytes))", "pass"),
    )


def sweep_sees_the_latest_only() -> Planted:
    """A version overwritten before its notification came is never found (A3)."""
    return changed(
        S3Objects.versions,
        (
            'if entry["LastModified"] > gone or (entry["LastModified"] == gone and entry["IsLatest"]):',
            'if entry["IsLatest"]:',
        ),
    )


def sweep_trusts_every_lease() -> Planted:
    """A lease that has run out is taken for a worker's that is alive (A3)."""
    return changed(sweeping._sent_on, ("if until + _CLOCKS_DIFFER_MS < now_ms}", "if until < 0}"))


def sweep_takes_up_what_was_ended() -> Planted:
    """A file whose import was refused or canceled is taken up again by each sweep (I8)."""
    return changed(waiting.found_of, (" if execution.status is Status.SUCCEEDED else None", ""))


PROGRESS = "UpdateItem .*PART#"
SEGMENTS = "PutObject work"
BUGS = [
    Bug(progress_before_the_sink, "medium", "killed after", "_deleted", PROGRESS, begin=1),
    Bug(progress_before_the_segment, "medium", "killed after", "_live", PROGRESS, begin=1),
    Bug(overlaps_counted_twice, "seldom saved", "killed after", "_live", SEGMENTS),
    Bug(segments_in_no_order, "medium", "nothing", "_live"),
    Bug(owner_is_the_request, "medium", "told again", "check_leases", "BatchWriteItem"),
    Bug(settled_by_the_last_part, "four parts", "queue unruly", "_deleted"),
    Bug(task_never_sent, "three continuations", "nothing", "helped_by"),
    Bug(task_of_settling_never_sent, "four parts, in pieces", "time is up", "helped_by", "UploadPart"),
    Bug(tries_never_reset, "medium", "killed again and again", "check_every_end"),
    Bug(poison_tried_for_ever, "four parts", "poison", "_part"),
    Bug(redriven_without_its_segments, "four parts", "redriven", "_live", SEGMENTS),
    Bug(cancel_that_only_says_so, "medium", "canceled", "_moved", PROGRESS),
    Bug(sweep_sees_the_latest_only, "tiny", "overwritten, never told", "_live"),
    Bug(sweep_trusts_every_lease, "medium", "killed, never tried again", "_live", PROGRESS),
    Bug(sweep_takes_up_what_was_ended, "medium", "canceled", "nothing_late_matters", PROGRESS),
]
