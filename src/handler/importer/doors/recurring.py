"""Recurring imports: a series of files, read by a schedule, one after another in the order of their names.

Rule: of all files of the series whose import has not ended, the first by its key is next, and it is begun only when the
one before has ended. Keys are ordered by their bytes (UTF-8), as S3 lists them; of several versions of one key the one
that was uploaded first. Nothing is remembered of names: there is no mark up to which the series is done, so a name that
comes late and early in the order is next. What has ended, in whatever way, holds nobody up (I8).

Each run may be killed anywhere, be delivered twice, or overlap with another. Whose turn it is is written (`model.Turn`,
conditionally) before anything is done for a file; a second run finds that, and the file's lease, and helps or goes. The
slot, the time for which the schedule has sent a run, makes a second delivery of one know what the first has taken.

When the time of a run is up, the import it is at stops as any does that hands its work on: position saved, lease given
back. But no task is sent: the next run finds it by the turn, and goes on where it stands. Only what is read to its end
is settled by the workers at once.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby, islice
from typing import Final

from importer import formats
from importer.aws.settings import Settings
from importer.definitions import Definition
from importer.executions import Workplace, import_dropped, work_on
from importer.executions.ports import RESERVE_MS, Dispatch, Records
from importer.executions.starting import execution_id_of
from importer.model import Denied, Execution, Fenced, Misconfigured, Phase, S3Object, Status, Task, Turn, Value
from importer.notification import IMPORTS_PREFIX, Dropped, is_import
from importer.parts import parts_of

# ---- Choosing (pure) -------------------------------------------------------------------------------------------------


def in_turn(listed: Iterable[S3Object], definition: Definition) -> Iterator[S3Object]:
    """The files of a series, in the order in which they are read.

    Args:
        listed: all versions below the import's folder as S3 lists them: keys by their bytes, newest version first.
    """
    for key, versions in groupby(listed, key=lambda file: file.key):
        if is_import(key) and definition.has_in_series(key):
            yield from reversed(list(versions))


def next_in_turn(
    listed: Iterable[S3Object], definition: Definition, has_ended: Callable[[S3Object], bool]
) -> S3Object | None:
    """The file that is to be read next; None if all have ended. Looks no further than that."""
    return next((file for file in in_turn(listed, definition) if not has_ended(file)), None)


# ---- A run -----------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Ran:
    """What a run did.

    Attributes:
        ended: the imports it brought to their end, in order.
        unfinished: the one whose turn it still is; None if its time was not what ended the run.
        denied: files that may not be read, passed over, in order; why, in the words of the first.
        overlapped: another run is at it, and this one left.
    """

    import_id: str
    ended: list[Execution] = field(default_factory=list)
    unfinished: Execution | None = None
    denied: list[str] = field(default_factory=list)
    why_denied: Denied | None = None
    overlapped: bool = False

    def document(self) -> dict[str, Value]:
        """For a person, and for `importer recurring run`."""
        return {
            "import_id": self.import_id,
            "ended": [{"execution_id": e.id, "uri": e.source.uri, "status": e.status.value} for e in self.ended],
            "unfinished": None
            if self.unfinished is None
            else {"execution_id": self.unfinished.id, "uri": self.unfinished.source.uri},
            "denied": list(self.denied),
            "why_denied": None if self.why_denied is None else str(self.why_denied),
            "overlapped": self.overlapped,
        }


def run(place: Workplace, import_id: str, slot_ms: int | None = None) -> Ran:
    """One run of a recurring import: take up so many files, for so long, as its definition says.

    Args:
        slot_ms: the time of the schedule this run was sent for; None: a person wants one now.
    Raises:
        Unavailable: run again; what was done is not lost, and whose turn it is stays so.
        Misconfigured: there is no such import, it is not recurring, or its definition cannot be used.
    """
    definition = recurring_import(place.records, import_id)
    ran = Ran(import_id)
    turn = place.records.turn(import_id)
    if slot_ms is not None and slot_ms < turn.slot_ms:
        return ran  # a late delivery of a run that is over
    taken = [one for one in turn.taken if not _failed(place, one)] if slot_ms == turn.slot_ms else []
    slot_ms = turn.slot_ms if slot_ms is None else slot_ms
    passed: set[str] = set()
    inside = _Inside(place, definition.run_seconds * 1000)
    try:
        while not inside.time_is_up:
            full = len(taken) >= definition.files_per_run
            mine: Execution | S3Object | None = _begun(place, definition, turn)
            if mine is None and not full:
                mine = _next(place, definition, turn, passed)
            if mine is None:
                break
            execution_id = mine.id if isinstance(mine, Execution) else execution_id_of(mine)
            if execution_id not in taken:
                if full:
                    break
                taken.append(execution_id)
                # 1 Whose turn it is, durable before anything is done for the file.
                turn = replace(turn, slot_ms=slot_ms, taken=tuple(taken), current=execution_id)
                turn = place.records.write_turn(import_id, turn)
            try:
                # 2 To its end, or until the time is up: then it waits for the next run.
                execution = _worked_at(inside, mine)
            except Denied as denied:
                if isinstance(mine, Execution) or place.records.execution(execution_id) is not None:
                    raise  # begun: it holds the others up until a person has mended the permission
                ran.denied.append(mine.uri)
                ran.why_denied = ran.why_denied or denied
                place.telemetry.run_failed(mine.uri, denied)
                execution = None
            if execution is not None and execution.phase is not Phase.CLOSED:
                ran.unfinished = execution
                break
            passed.add(execution_id)
            if execution is None or execution.status is Status.FAILED:
                taken.remove(execution_id)  # what is refused, may not be read or is gone does not use up the run
            if execution is not None:
                ran.ended.append(execution)
        if not ran.denied:
            # 3 It got through: from here the sweep counts whether runs still come.
            place.records.write_turn(import_id, replace(turn, looked_ms=place.clock.now_ms()))
    except Fenced:
        ran.overlapped = True
    place.telemetry.ran(import_id, len(ran.ended), ran.unfinished.source.key if ran.unfinished else None)
    return ran


def waiting(records: Records, listed: Iterable[S3Object], definition: Definition) -> Iterator[S3Object]:
    """The files of a series whose import has not ended, in the order in which they will be read."""
    return (file for file in in_turn(listed, definition) if not _has_ended(records, file))


def folder_of(definition: Definition) -> str:
    """Where the files of an import lie."""
    return f"{IMPORTS_PREFIX}{definition.id}/"


def recurring_import(records: Records, import_id: str) -> Definition:
    """The definition of a recurring import.

    Raises:
        Misconfigured: there is none of that id, it is not recurring, or it cannot be used.
    """
    stored = records.definition(import_id)
    if stored is None:
        raise Misconfigured(f"there is no import definition {import_id!r}")
    definition = formats.named(import_id, stored)
    if not definition.is_recurring:
        raise Misconfigured(
            f"import definition {import_id!r} is not recurring: its files are imported when they are dropped. Give it "
            "a base_file_name, such as accounts.json for accounts*.json"
        )
    return definition


@dataclass(frozen=True, slots=True)
class Due:
    """The recurring imports of a stack, those of HIGH priority first; and definitions that would be, but for what is
    wrong with them."""

    import_ids: tuple[str, ...]
    broken: tuple[Misconfigured, ...]


def due(records: Records) -> Due:
    """Which recurring imports there are.

    Raises:
        Unavailable.
    """
    found: list[Definition] = []
    broken: list[Misconfigured] = []
    for stored in records.definitions():
        try:
            found.append(formats.named(stored.id, stored.definition))
        except Misconfigured as problem:
            if not isinstance(stored.definition, dict) or stored.definition.get("base_file_name"):
                broken.append(problem)
    found.sort(key=lambda definition: (_PRIORITY[definition.priority], definition.id))
    return Due(tuple(definition.id for definition in found if definition.is_recurring), tuple(broken))


_PRIORITY: Final = {"HIGH": 0, "MEDIUM": 1, "LOW": 2}


# ---- The set-up ------------------------------------------------------------------------------------------------------

CHECKED_FILES: Final = 10  # of those that wait: each may have rights of its own (K28)


def missing(
    place: Workplace, settings: Settings, import_id: str, function: str, seen: Sequence[S3Object] = ()
) -> list[Value]:
    """The permissions that runs of an import lack, asked by the function that is to do them.

    Args:
        function: its name.
        seen: files of the series that a person may list, for a function that may not.
    Raises:
        Unavailable.
        Misconfigured: as `recurring_import`.
    """
    from importer.aws.probing import probed  # no run needs it

    definition = recurring_import(place.records, import_id)
    try:
        listed = place.objects.versions(settings.bucket, folder_of(definition))
        files = list(islice(in_turn(listed, definition), CHECKED_FILES))
    except Denied:  # it is among those that are missing
        files = [file for file in seen[:CHECKED_FILES] if file.key.startswith(folder_of(definition))]
    return [dict(one) for one in probed(settings, definition, files, function)]


# ---- The steps of a run ----------------------------------------------------------------------------------------------


class _Inside:
    """The workplace of one run: its time begins with its first file, and what is not read by then is nobody's task but
    the next run's."""

    def __init__(self, place: Workplace, run_ms: int) -> None:
        self._place = place
        self._run_ms = run_ms
        self._until_ms: int | None = None
        self.place = replace(
            place,
            may_read_on=lambda: not self.time_is_up,
            dispatch=_ForTheNextRun(place.records, place.dispatch),
        )

    def begin(self) -> None:
        if self._until_ms is None:
            self._until_ms = self._place.clock.now_ms() + self._run_ms

    @property
    def time_is_up(self) -> bool:
        if self._place.remaining_ms() < RESERVE_MS:
            return True
        return self._until_ms is not None and self._place.clock.now_ms() >= self._until_ms


class _ForTheNextRun:
    """See `executions.ports.Dispatch`. Passes on what is settling; what is left to be read, the next run finds."""

    def __init__(self, records: Records, dispatch: Dispatch) -> None:
        self._records = records
        self._dispatch = dispatch

    def send(self, tasks: Sequence[Task], delay_s: int = 0) -> None:
        for task in tasks:
            execution = self._records.execution(task.execution_id)
            if execution is not None and execution.phase is not Phase.IMPORTING:
                self._dispatch.send([task], delay_s)


def _begun(place: Workplace, definition: Definition, turn: Turn) -> Execution | None:
    """The one whose turn it is, or one that somebody else has begun: a person's redrive, say. The index that finds
    these may lag."""
    ids = dict.fromkeys(
        [turn.current, *place.records.unfinished_below(f"s3://{place.own_bucket}/{folder_of(definition)}")]
    )
    found = [place.records.execution(one) for one in ids if one]
    ours = [
        e for e in found if e is not None and e.phase is not Phase.CLOSED and definition.has_in_series(e.source.key)
    ]
    return min(ours, key=lambda e: (e.id != turn.current, e.source.key.encode()), default=None)


def _next(place: Workplace, definition: Definition, turn: Turn, passed: set[str]) -> S3Object | None:
    """The file to begin with.

    Args:
        passed: executions that are not looked at again; those found to have ended are added.
    """

    def has_ended(file: S3Object) -> bool:
        execution_id = execution_id_of(file)
        if execution_id not in passed and _has_ended(place.records, file):
            passed.add(execution_id)
        return execution_id in passed

    def listed() -> Iterator[S3Object]:
        return place.objects.versions(place.own_bucket, folder_of(definition))

    if turn.current and turn.current not in passed and place.records.execution(turn.current) is None:
        # A run has written whose turn it is, and was killed, or is just about to begin: no other is begun beside it.
        promised = next((file for file in in_turn(listed(), definition) if execution_id_of(file) == turn.current), None)
        if promised is not None:
            return promised
    return next_in_turn(listed(), definition, has_ended)


def _has_ended(records: Records, file: S3Object) -> bool:
    execution = records.execution(execution_id_of(file))
    return execution is not None and execution.phase is Phase.CLOSED


def _worked_at(inside: _Inside, mine: Execution | S3Object) -> Execution | None:
    """How the import then stands; None: its file is gone, and it was never begun."""
    inside.begin()
    place = inside.place
    if isinstance(mine, S3Object):
        import_dropped(place, Dropped(mine.bucket, mine.key, mine.version_id, mine.etag), in_a_run=True)
        return place.records.execution(execution_id_of(mine))
    if mine.part_count > 1:
        return mine  # begun when it was no recurring import's: its workers end it
    return work_on(place, Task(mine.id, parts_of(1, 0)[0].start))


def _failed(place: Workplace, execution_id: str) -> bool:
    execution = place.records.execution(execution_id)
    return execution is not None and execution.status is Status.FAILED
