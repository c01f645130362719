"""Waiting: which files lie in `imports/` without being imported or refused, and for how long the oldest has.

A notification may be lost (A3, A4), a dead letter unread, a permission still missing: whatever the cause, the file is
still there. So its age is the one measure that misses none of them. It is taken from a listing, not from our own
records, which know nothing of a file nobody told us of.

What waits is measured from the drop; a file that is being imported, from when the sweep first saw it stand where it
stands (`model.Watched`), so that a large one may take its hours.

Rule: a file waits if it was dropped GRACE_MS ago or earlier, unless its execution is closed FAILED or CANCELED: that is
a person's affair, who was told. SUCCEEDED and still there: the move is due, so it waits. Versions below a delete marker
do not: somebody took the file away. A version below a newer upload does: both are to be imported.

A file of a recurring import waits for its turn, which may be many runs away. It counts as one that gets nowhere from
RUNS_DUE_MS after a run has last got through; before the first run, after its drop. So the runs may be as rare as that,
and a schedule that has stopped is told all the same.

The listing may be of any length: only the LOOK_UPS oldest files are kept and asked about, and what there is no time for
is taken to wait. So a bound can make an alarm ring that need not, and never keep one from ringing.
"""

from collections.abc import Callable, Iterable, Iterator
from heapq import nsmallest
from typing import Final

from importer.definitions import Definition
from importer.executions.ports import Found, Waiting, Workplace
from importer.executions.starting import definition_now, execution_id_of
from importer.model import Execution, Misconfigured, Phase, S3Object, Status
from importer.notification import IMPORTS_PREFIX, is_import

GRACE_MS: Final = 5 * 60_000  # Source: S3's notifications "can sometimes take a minute or longer" (A3)
LOOK_UPS: Final = 10_000  # of executions in one sweep: one small read each, about 100 s
RUNS_DUE_MS: Final = 86_400_000  # docs/recurring.md asks for a run a day at least
RESERVE_MS: Final = 10_000  # to say what was found until then


def files_waiting(
    place: Workplace, bucket: str, each: Callable[[S3Object, Found], None] = lambda _file, _found: None
) -> Waiting:
    """Look through `imports/` of a bucket.

    Args:
        each: called with every waiting file that was looked up, oldest first.

    Raises:
        Unavailable: it cannot be listed, or the imports table cannot be read.
    """
    listing = _InTime(place, place.objects.versions(bucket, IMPORTS_PREFIX))
    now_ms = place.clock.now_ms()
    files, oldest = survey(listing, now_ms, LOOK_UPS + 1)
    complete = listing.complete
    waiting: S3Object | None = None
    since_ms = now_ms
    recurring = _Recurring(place)
    for asked, file in enumerate(oldest):
        file_since_ms = file.last_modified_ms
        looked_up = asked < LOOK_UPS and not _time_is_up(place)
        if looked_up:
            execution = place.records.execution(execution_id_of(file))
            found = found_of(execution)
            if found is None:
                files -= 1
                continue
            if found is not Found.TO_MOVE and recurring.is_to_read(file, execution):
                found = Found.SCHEDULED
                file_since_ms = max(file_since_ms, recurring.looked_ms(file)) + RUNS_DUE_MS
            elif found is Found.UNFINISHED and execution is not None:  # a long import that gets on does not wait
                watched = place.records.watched(execution.id)
                file_since_ms = max(file_since_ms, 0 if watched is None else watched.stands_since_ms)
            each(file, found)
        if file_since_ms < since_ms or waiting is None:
            waiting, since_ms = file, min(file_since_ms, now_ms)
        if not looked_up:
            complete = False
            break
    return Waiting(files, waiting, (now_ms - since_ms) // 1000 if waiting else 0, complete)


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


def found_of(execution: Execution | None) -> Found | None:
    """Why a file with this execution (None: it has none) waits; None if it is a person's affair, who was told."""
    if execution is None:
        return Found.UNKNOWN
    if execution.phase is not Phase.CLOSED:
        return Found.UNFINISHED
    return Found.TO_MOVE if execution.status is Status.SUCCEEDED else None


def _time_is_up(place: Workplace) -> bool:
    return place.remaining_ms() < RESERVE_MS


class _Recurring:
    """Which files are a recurring import's to read; each definition is read once a sweep."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._definitions: dict[str, Definition | None] = {}
        self._looked_ms: dict[str, int] = {}

    def is_to_read(self, file: S3Object, execution: Execution | None) -> bool:
        """As `starting` decides it: by the definition as it is now, and for a file that is begun by that it has."""
        if execution is not None and not (
            execution.phase is Phase.IMPORTING and Definition.of(execution.definition).has_in_series(file.key)
        ):
            return False
        definition = self._definition(file)
        return definition is not None and definition.has_in_series(file.key)

    def looked_ms(self, file: S3Object) -> int:
        folder = _folder(file)
        if folder not in self._looked_ms:
            self._looked_ms[folder] = self._place.records.turn(folder).looked_ms
        return self._looked_ms[folder]

    def _definition(self, file: S3Object) -> Definition | None:
        """None: it cannot be used. Whoever takes the file up is told so."""
        folder = _folder(file)
        if folder not in self._definitions:
            try:
                self._definitions[folder] = definition_now(self._place, file.key)
            except Misconfigured:
                self._definitions[folder] = None
        return self._definitions[folder]


def _folder(file: S3Object) -> str:
    """The first folder below `imports/`; "" for a file that lies in none."""
    return file.key.removeprefix(IMPORTS_PREFIX).rpartition("/")[0].partition("/")[0]


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
