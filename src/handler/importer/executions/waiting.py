"""Waiting: how long the oldest file has lain in `imports/` without being imported or refused.

A notification may be lost (A3, A4), a dead letter unread, a permission still missing: whatever the cause, the file is
still there. So its age is the one measure that misses none of them. It is taken from a listing, not from our own
records, which know nothing of a file nobody told us of.

Rule: a file waits if it was dropped GRACE_MS ago or earlier, unless its execution is closed FAILED or CANCELED: that is
a person's affair, who was told. SUCCEEDED and still there: the move is due, so it waits. Versions below a delete marker
do not: somebody took the file away. A version below a newer upload does: both are to be imported.

The listing may be of any length: only the LOOK_UPS oldest files are kept and asked about, and what there is no time for
is taken to wait. So a bound can make an alarm ring that need not, and never keep one from ringing.
"""

from collections.abc import Iterable, Iterator
from heapq import nsmallest
from typing import Final

from importer.executions.ports import Waiting, Workplace
from importer.executions.starting import execution_id_of
from importer.model import Execution, Phase, S3Object, Status
from importer.notification import IMPORTS_PREFIX, is_import

GRACE_MS: Final = 5 * 60_000  # Source: S3's notifications "can sometimes take a minute or longer" (A3)
LOOK_UPS: Final = 1_000  # of executions in one sweep: one small read each, about 10 s
RESERVE_MS: Final = 10_000  # to say what was found until then


def files_waiting(place: Workplace, bucket: str) -> Waiting:
    """Look through `imports/` of a bucket. Changes nothing.

    Raises:
        Unavailable: it cannot be listed, or the imports table cannot be read.
    """
    listing = _InTime(place, place.objects.versions(bucket, IMPORTS_PREFIX))
    now_ms = place.clock.now_ms()
    files, oldest = survey(listing, now_ms, LOOK_UPS + 1)
    complete = listing.complete
    waiting: S3Object | None = None
    for asked, file in enumerate(oldest):
        if asked == LOOK_UPS or _time_is_up(place):
            complete = False
            waiting = waiting or file
            break
        if waits(place.records.execution(execution_id_of(file))):
            waiting = waiting or file
        else:
            files -= 1
    age_ms = 0 if waiting is None else now_ms - waiting.last_modified_ms
    return Waiting(files, waiting, age_ms // 1000, complete)


def survey(listed: Iterable[S3Object], now_ms: int, at_most: int) -> tuple[int, list[S3Object]]:
    """How many files were dropped GRACE_MS ago or earlier, and the oldest of them, oldest first; constant memory."""
    count = 0

    def old_enough() -> Iterator[S3Object]:
        nonlocal count
        for file in listed:
            if is_import(file.key) and now_ms - file.last_modified_ms >= GRACE_MS:
                count += 1
                yield file

    oldest = nsmallest(at_most, old_enough(), key=lambda file: (file.last_modified_ms, file.key))
    return count, oldest


def waits(execution: Execution | None) -> bool:
    """Whether a file with this execution (None: it has none) is still to be imported or moved."""
    return execution is None or execution.phase is not Phase.CLOSED or execution.status is Status.SUCCEEDED


def _time_is_up(place: Workplace) -> bool:
    return place.remaining_ms() < RESERVE_MS


class _InTime:
    """What is listed while there is time."""

    def __init__(self, place: Workplace, files: Iterator[S3Object]) -> None:
        self._place = place
        self._files = files
        self.complete = False

    def __iter__(self) -> Iterator[S3Object]:
        for file in self._files:
            yield file
            if _time_is_up(self._place):
                return
        self.complete = True
