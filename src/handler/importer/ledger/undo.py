"""Undo: both tables become what they would be, had one execution never been imported.

Rule: an item names its last writer. The execution's own object is walked again for its keys; of those whose stored item
names it, each is given what the other executions that are not undone would have left there (`former` plays them again
from their archives, in the order in which they ended), or is deleted where none held it. Every write has the condition
that the item still is as it was seen: what somebody else writes meanwhile stays.

Which writer was the last, where a sink asks nobody (events without a rank): the one that ended last, then that began
last. For imports one after another, that is exact. Of two that ran at the same time no one can tell; and of one that
was redriven, all rows count as written at its end. User records, and events with a rank, are exact in any order.

Executions that ran while one was undone may have been outranked by an item that is gone now: when the last item is
undone, those are waited for, and the keys they share are looked at once more. Who begins later finds the tables done.

The order of effects, each safe to repeat:

    turn        one undoing at a time: the turn is this execution's, until it is done
    mark        `undone` on the execution: from here on no other undoing puts back what it wrote, nobody redrives it
    window      keys are collected, others' archives played, then items written, as many keys at a time as there is room
    position    moves behind the window; a killed window is begun again, and finds done what was done
    look again  as above
    receipt     `undo/1`
    done        the mark says so; the turn is given back

Memory: a batch. On disk: `former`'s file, some 800 bytes a key.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import orjson

from importer.costs import bill
from importer.executions.destinations import KEY_BYTES
from importer.executions.pinned import definition_of, provenance_of
from importer.executions.ports import Objects, Records
from importer.ledger.former import Former, Found, is_link
from importer.ledger.ports import Key, Stored
from importer.ledger.verdict import Place
from importer.ledger.written import CannotWalk, Walk, Written, file_uri, outcome_of, wrote_nothing
from importer.model import (
    Border,
    Clock,
    Execution,
    Fenced,
    Phase,
    Provenance,
    Status,
    TimeIsUp,
    Undone,
    Usage,
    Value,
    uploaded_ms_of,
)
from importer.sinks.erasing import MARK
from importer.sinks.items import Item
from importer.sinks.users import FIRST
from importer.users import ERASED

SCHEMA: Final = "undo/1"
WINDOW_KEYS: Final = 5_000_000  # on disk 4 GB; each window costs another reading of all the others' archives
WRITES: Final = 500  # handed to the tables at a time
SETTLED_MS: Final = 60_000  # a worker that was fenced may still be in a write that began before: a lease, and a stall
ASK_S: Final = 5  # between two looks whether an execution has ended
GONE: Final = "gone"
ERASING_TYPES: Final = "_DELETION"  # end of the document types that erase; without one no row does (formats)
# Measured, CPU time on a core of an EPYC: 13 MB/s of rows of 194 bytes, every other of which matters; a walk alone, 39.
WALK_BYTES_PER_SECOND: Final = 10_000_000
WRITES_PER_SECOND: Final = 1_500  # sixteen calls at a time, of some 10 ms each


class CannotUndo(Exception):
    """It is not undone, and nothing was changed; the words say why, and what would change it."""


class Busy(CannotUndo):
    """Another undoing is under way."""


@dataclass(frozen=True, slots=True)
class Change:
    """One write of an undoing: to be made if the item still is as it was seen.

    Attributes:
        seen: None: there was none.
        item: None: it is deleted.
    """

    place: Place
    key: Key
    seen: Item | None
    item: Item | None


class Tables(Protocol):
    """The two tables, to be written."""

    def apply(self, changes: Sequence[Change], breathe: Callable[[], None]) -> list[bool]:
        """Whether each was made, now or before a reply was lost. Durable when it returns. Raises Unavailable."""


class Marks(Protocol):
    """What the imports table keeps of undoings; see `aws.tables.ImportsTable`."""

    def all_executions(self) -> Iterator[Execution]: ...

    def all_unfinished(self) -> Iterator[str]: ...

    def take_turn(self, execution_id: str) -> str: ...

    def whose_turn(self) -> str: ...

    def end_turn(self, execution_id: str) -> None: ...

    def mark_undone(self, execution: Execution, undone: Undone) -> Execution: ...


@dataclass(slots=True)
class Progress:
    """What an undoing is at; told after every batch.

    Attributes:
        step: "reading" its own object, "comparing" with another's, "writing", "waiting" for one that is running.
        done, of: bytes, or items while writing.
        what: the key of the object, or of the file waited for.
    """

    step: str
    done: int
    of: int
    what: str


def _nobody(progress: Progress) -> None: ...


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Desk:
    """Everything an undoing works with.

    Attributes:
        file: where keys are spilled; its folder must be there.
        told: hears how it gets on.
        time_is_short: asked after every batch; then what was done is saved and TimeIsUp raised.
        save, load: keep the spilled file for the next worker, and bring it back (False: there is none). Where nobody
            takes over, both do nothing.
        may_wait: whether to wait here for executions that are running; else TimeIsUp.
        window_keys: collected at a time.
    """

    objects: Objects
    records: Records
    stored: Stored
    marks: Marks
    tables: Tables
    clock: Clock
    file: Path
    told: Callable[[Progress], None] = _nobody
    time_is_short: Callable[[], bool] = _never
    save: Callable[[Path], None] = lambda path: None
    load: Callable[[Path], bool] = lambda path: False
    may_wait: bool = True
    window_keys: int = WINDOW_KEYS


# ---- Plan ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """What undoing an execution takes.

    Attributes:
        others: executions whose archives are read, since they may have held some of its items.
        running: ids of those that have not ended: their rows count as well, once they have.
        items: it wrote at most; some of them others may have written since.
        read_bytes: of objects, as stored.
        seconds: about.
        to_stream: some of it went to a stream, from which nothing can be taken back.
    """

    execution: Execution
    others: tuple[Execution, ...]
    running: tuple[str, ...]
    items: int
    read_bytes: int
    usage: Usage
    seconds: int
    to_stream: bool

    def document(self) -> dict[str, Value]:
        return {
            "schema": "undo_plan/1",
            "execution_id": self.execution.id,
            "status": self.execution.status.value,
            "items_at_most": self.items,
            "read_bytes": self.read_bytes,
            "others": [other.id for other in self.others],
            "running": list(self.running),
            "seconds": self.seconds,
            "cost": bill(self.usage),
            "stream": _stream_words(self.execution) if self.to_stream else None,
        }


def _stream_words(execution: Execution) -> str:
    return (
        "what went to the Firehose stream stays there: leave out downstream what has execution_id "
        f"{execution.id}. Where another import held a row as well, its own line is on the stream, too"
    )


def planned(desk: Desk, execution_id: str, without: Collection[str] = (), look: bool = True) -> Plan:
    """What undoing it would take. Writes nothing.

    Args:
        look: whether all that is to be read can be; else that is found out when it is read, and this is quick.
        without: executions that cannot be read any more: what only they held is not put back. GONE: all such.
    Raises:
        CannotUndo: it cannot be undone, or not now.
        Unavailable.
    """
    execution = _known(desk, execution_id)
    judge(desk, execution, look)
    others, running = _others(desk, execution, without, look)
    outcome = outcome_of(execution)
    sums = outcome.sums
    items = sums.events + sums.user_changes
    windows = max(-(-items // desk.window_keys), 1)
    read_bytes = execution.source.size_bytes + windows * sum(other.source.size_bytes for other in others)
    usage = Usage(
        read_units=items + 20,  # an item has rarely more than 4 KB
        event_write_units=sums.events,
        user_write_units=sums.user_changes,
        ledger_write_units=10 + 8 * windows,
        table_requests=items + items // 100 + 20,
        s3_reads=2 * (1 + windows * len(others)) + 2,
        s3_writes=1,
    )
    seconds = 2 + read_bytes // WALK_BYTES_PER_SECOND + items // WRITES_PER_SECOND
    return Plan(
        execution, tuple(others), tuple(running), items, read_bytes, usage, seconds, "firehose" in execution.sinks
    )


def _known(desk: Desk, execution_id: str) -> Execution:
    execution = desk.records.execution(execution_id)
    if execution is None:
        raise CannotUndo(f"there is no execution {execution_id}")
    return execution


def judge(desk: Desk, execution: Execution, look: bool = True) -> None:
    """Raises CannotUndo: it may not be undone at all, or not now. See `planned`."""
    if execution.undone is not None and execution.undone.done:
        return
    if execution.phase is not Phase.CLOSED:
        raise CannotUndo(
            f"execution {execution.id} is {execution.status.value} ({execution.phase.value.lower()}): what has not "
            "ended cannot be undone. `importer cancel` ends one that is still reading; else wait"
        )
    if "dynamodb" not in execution.sinks:
        raise CannotUndo(f"execution {execution.id} wrote to no table. " + _stream_words(execution).capitalize())
    turn = desk.marks.whose_turn()
    if turn not in ("", execution.id) and not _is_over(desk, turn):
        raise Busy(f"execution {turn} is being undone: one at a time. `importer undo {turn}` goes on with it")
    if wrote_nothing(execution) or not look:
        return
    try:
        walk = Walk(desk.objects, desk.records, execution)
        _judge_erasures(desk, execution, walk)
    except CannotWalk as reason:
        raise CannotUndo(f"it cannot be undone: {reason}") from reason


def turn_of(desk: Desk, execution: Execution) -> str:
    """Take the turn, if nobody else has it: id of the execution whose turn it is."""
    turn = desk.marks.take_turn(execution.id)
    if turn != execution.id and _is_over(desk, turn):
        desk.marks.end_turn(turn)
        turn = desk.marks.take_turn(execution.id)
    return turn


def _is_over(desk: Desk, execution_id: str) -> bool:
    """Whether who has the turn needs it no more: somebody was killed before it was given back, or it is forgotten."""
    execution = desk.records.execution(execution_id)
    return execution is None or (execution.undone is not None and execution.undone.done)


def _judge_erasures(desk: Desk, execution: Execution, walk: Walk) -> None:
    """Nobody who was erased comes back: what an erasure took out is undone by no one."""
    erases = str(execution.definition.get("document_type") or "").endswith(ERASING_TYPES)
    if not erases or execution.undone is not None:
        return
    if execution.status is Status.SUCCEEDED and not outcome_of(execution).sums.user_changes:
        return
    for written in walk.batches():
        erased = [change for change in written.changes if change.record == ERASED]
        if erased and not written.certain:
            there = desk.stored.users(list(dict.fromkeys((change.user_id, ERASED) for change in erased)))
            ours = {"S": execution.id}
            erased = [c for c in erased if there.get((c.user_id, ERASED), {}).get("execution_id") == ours]
        if erased:
            raise CannotUndo(
                f"execution {execution.id} erased persons, the first by its row at byte {erased[0].address}. An "
                "erasure stays: what it took out is not brought back from archives, and a person who asked to be "
                "forgotten does not come back by mistake. Nothing of this import is undone. Was the erasure itself a "
                "mistake, drop the persons' files again: rows uploaded after an erasure count"
            )


def _others(
    desk: Desk, execution: Execution, without: Collection[str], look: bool = True
) -> tuple[list[Execution], list[str]]:
    """(ended executions that may have held its items, in the order in which they ended; ids of those not ended)."""
    ended: list[Execution] = []
    running: list[str] = []
    for listed in desk.marks.all_executions():
        if listed.id == execution.id or not _may_share(execution, listed):
            continue
        if listed.status is Status.SUCCEEDED and (listed.undone is not None or wrote_nothing(listed)):
            continue  # for good
        other = desk.records.execution(listed.id)  # the index lags, and undoings are what is asked for
        if other is None or other.undone is not None or wrote_nothing(other):
            continue
        if other.phase is Phase.CLOSED and not _has_certain_rows(other):
            continue
        if other.phase is not Phase.CLOSED:
            running.append(other.id)
            continue
        if other.id in without:
            continue
        try:
            if look:
                Walk(desk.objects, desk.records, other)
        except CannotWalk as reason:
            if GONE in without:
                continue
            raise _unknown_place(execution, other, reason) from reason
        ended.append(other)
    return sorted(ended, key=_when), running


def _unknown_place(execution: Execution, other: Execution, reason: CannotWalk) -> CannotUndo:
    return CannotUndo(
        f"it cannot be undone now, since nobody knows what belongs in the place of its items: {reason}. "
        f"`importer undo {execution.id} --without {other.id}` undoes it all the same, and puts back nothing "
        f"that only that one held; --without {GONE} leaves out all that cannot be read"
    )


def _has_certain_rows(execution: Execution) -> bool:
    """Whether it is known of any of its rows that it is in the tables."""
    outcome = execution.outcome
    return outcome is not None and bool(outcome.sums.events or outcome.sums.user_changes)


def _may_share(execution: Execution, other: Execution) -> bool:
    """Whether both may have written under one key.

    A row's own bytes are its identity unless the import says otherwise, and the dialect is part of it; an identity by
    address is shared by nobody. User records may be anybody's.
    """
    outcome = execution.outcome
    if outcome is None or outcome.sums.user_changes or execution.status is not Status.SUCCEEDED:
        return True
    mine, other_identity = _identity(execution), _identity(other)
    if "address" in (mine, other_identity):  # of a replay, that of the upload it reads again
        return mine == other_identity and execution.upload.execution_id == other.upload.execution_id
    if not definition_of(execution).ranked and outcome.end_date < _begun_ms(other):
        # It began when ours had ended. What it has written it holds; but for what it writes by rank.
        return other_identity != "row"
    return True


def _begun_ms(execution: Execution) -> int:
    """Before it, an execution has written nothing. The start of one that was redriven is that of its last attempt."""
    if execution.attempt > 1 or execution.start_date is None:
        return execution.created_ms
    return execution.start_date


def _identity(execution: Execution) -> str:
    return str(execution.definition.get("identity", "row"))


def _when(execution: Execution) -> tuple[int, int, int, str]:
    outcome = execution.outcome
    end_ms = outcome.end_date if outcome is not None else 0
    return end_ms, execution.start_date or 0, execution.created_ms, execution.id


# ---- Undo ----------------------------------------------------------------------------------------------------------


def undo(desk: Desk, execution_id: str, by: str, without: Collection[str] = ()) -> Execution:
    """Undo an execution, or go on where an earlier try stopped: the execution as it then is, `undone` and done.

    Raises:
        CannotUndo: nothing was changed; or an earlier try has begun, and what is in the way now has to be mended.
        TimeIsUp: see `Desk`; what was done is saved.
        Fenced: another worker is at it, and goes on.
        Unavailable: undo again, later.
    """
    return _Undoing(desk, _begun(desk, execution_id, by, without), without).run()


def _begun(desk: Desk, execution_id: str, by: str, without: Collection[str]) -> Execution:
    execution = _known(desk, execution_id)
    judge(desk, execution)
    if execution.undone is not None and execution.undone.done:
        return execution
    if execution.undone is None and not wrote_nothing(execution):
        _others(desk, execution, without)  # what cannot go on is not begun: it would keep all others from their turn
    turn = turn_of(desk, execution)
    if turn != execution.id:
        raise Busy(f"execution {turn} is being undone: one at a time. `importer undo {turn}` goes on with it")
    if execution.undone is None:
        execution = desk.marks.mark_undone(execution, Undone(False, desk.clock.now_ms(), by))
        if execution.undone is None:
            desk.marks.end_turn(execution.id)
            raise CannotUndo(f"execution {execution.id} was taken up again meanwhile: it is {execution.status.value}")
    return execution


@dataclass(slots=True)
class _Sums:
    removed: int = 0
    put_back: int = 0
    kept: int = 0


@dataclass(slots=True)
class _Undoing:
    desk: Desk
    execution: Execution
    without: Collection[str]
    _mark_ms: int = -1
    _sums: _Sums = field(default_factory=_Sums)

    def run(self) -> Execution:
        desk, undone = self.desk, self._undone()
        if undone.done:
            desk.marks.end_turn(self.execution.id)  # whoever was killed before that
            return self.execution
        if not wrote_nothing(self.execution):
            self._let_settle()
            try:
                self._run()
            except CannotWalk as reason:
                raise CannotUndo(f"it cannot be undone further: {reason}") from reason
        done = replace(self._undone(), done=True, position=-1, done_ms=desk.clock.now_ms())
        self._receipt(done)
        self._mark(done)
        desk.marks.end_turn(self.execution.id)
        desk.file.unlink(missing_ok=True)
        return self.execution

    def _run(self) -> None:
        if not self._undone().looked_again:
            others, _ = self._others()
            self._windows(partial(self._window, others))
            self._mark(replace(self._undone(), looked_again=True, position=0))
        late = self._late()
        if late:
            # Of all of these the order counts anew; those undone meanwhile do not.
            others, _ = self._others()
            self._windows(partial(self._look_again, others, late))

    def _others(self) -> tuple[list[Execution], list[str]]:
        return _others(self.desk, self.execution, self.without)

    # -- windows ------------------------------------------------------------------------------------------------------

    def _windows(self, window: Callable[[Former, int], int]) -> None:
        """Window after window until the object's end; the position moves behind each."""
        desk = self.desk
        while (position := self._undone().position) >= 0:
            desk.file.unlink(missing_ok=True)
            desk.load(desk.file)
            former = Former(desk.file)
            self._sums = _Sums()
            try:
                this: dict[str, object] = {"position": position, "looks_again": self._undone().looked_again}
                if former.page("window") not in ({}, this):  # what was carried along is another window's
                    former.close()
                    desk.file.unlink()
                    former = Former(desk.file)
                former.keep("window", this)
                end = window(former, position)
            except TimeIsUp:
                former.close()
                self._mark(self._added(self._undone()))
                desk.save(desk.file)
                raise
            finally:
                former.close()
            self._mark(replace(self._added(self._undone()), position=end))

    def _window(self, others: Sequence[Execution], former: Former, position: int) -> int:
        """Undo what begins at a place of the object; returns where the next window begins, -1 for none."""
        end = self._collect(former, position, only_held=True)
        if former.count:
            for other in others:
                self._play(former, other)
            self._write(former)
        return end

    def _look_again(self, others: Sequence[Execution], late: Collection[str], former: Former, position: int) -> int:
        """As `_window`, for keys that an execution shares that ran while they were undone."""
        end = self._collect(former, position, only_held=False)
        if not former.page("hit"):
            for other in others:
                if other.id in late:
                    for written in self._walk(former, other, "hit"):
                        former.hit(Place.EVENTS, [(event.user_id, event.event_key) for event in written.events])
                        former.hit(Place.USERS, [(change.user_id, change.record) for change in written.changes])
            former.drop_others()
            former.keep("hit", {"done": True})
        if former.count:
            for other in others:
                self._play(former, other)
            self._write(former, late)
        return end

    def _walk(self, former: Former, other: Execution, step: str) -> Iterator[Written]:
        """An execution's batches, from where an earlier worker stopped with this window."""
        desk, name = self.desk, f"{step} {other.id}"
        page = former.page(name)
        if page.get("done"):
            return
        walk = Walk(desk.objects, desk.records, other)
        start, border = _place_in(page, walk)
        batches = walk.batches(start, border)
        while True:
            try:
                written = next(batches, None)
            except CannotWalk as reason:
                if GONE not in self.without:
                    raise _unknown_place(self.execution, other, reason) from reason
                break  # whole batches before the damage count
            if written is None:
                break
            yield written
            former.keep(name, _page_of(written, walk))
            self._tell("comparing" if step == "play" else "reading", written.next_offset, other)
            self._breathe()
        former.keep(name, {"done": True})

    def _collect(self, former: Former, position: int, only_held: bool) -> int:
        """Its keys from a place on, as many as a window has; returns where the next one begins, -1 for none."""
        page = former.page("collected")
        if "end" in page:
            return int(str(page["end"]))
        desk = self.desk
        walk = Walk(desk.objects, desk.records, self.execution)
        start, border = _place_in(page, walk) if page else (position, None)
        for written in walk.batches(start, border):
            events = list(dict.fromkeys((event.user_id, event.event_key) for event in written.events))
            records = list(dict.fromkeys((change.user_id, change.record) for change in written.changes))
            if only_held:
                source = provenance_of(self.execution)
                stored = desk.stored.events(events) if events else {}
                former.add(
                    Place.EVENTS, ((key, item) for key, item in stored.items() if self._matters(item, source.ranked))
                )
                made = {(c.user_id, c.record) for c in written.changes if is_link(c.record) and not c.deleted}
                stored = desk.stored.users(records) if records else {}
                former.add(
                    Place.USERS,
                    (
                        (key, item)
                        for key, item in stored.items()
                        if self._holds(item) or (key in made and _first_ms(item) == source.uploaded_ms)
                    ),
                )
            else:
                former.add(Place.EVENTS, ((key, None) for key in events))
                former.add(Place.USERS, ((key, None) for key in records))
            former.keep("collected", _page_of(written, walk))
            self._tell("reading", written.next_offset, self.execution)
            if former.count >= desk.window_keys:
                former.keep("collected", {"end": written.next_offset})
                return written.next_offset
            self._breathe()
        former.keep("collected", {"end": -1})
        return -1

    def _holds(self, item: Item) -> bool:
        return bool(item.get("execution_id") == {"S": self.execution.id})

    def _matters(self, item: Item, ranked: bool) -> bool:
        """Whether an event is ours; or was, and one of a low rank came after that a higher one would not have let in:
        an event without a rank takes the place of any."""
        return self._holds(item) or (not ranked and "rank" in item)

    def _play(self, former: Former, other: Execution) -> None:
        source = provenance_of(other)
        rows_go_whole = outcome_of(other).sums.erased > 0
        for written in self._walk(former, other, "play"):
            if written.certain:
                former.play(source, written.events, written.changes, partial(self._erased_among, source), rows_go_whole)

    def _as_now(self, some: list[Found]) -> list[Found]:
        """With what is stored under each key now."""
        events = [found.key for found in some if found.place is Place.EVENTS]
        records = [found.key for found in some if found.place is Place.USERS]
        stored = {
            Place.EVENTS: self.desk.stored.events(events) if events else {},
            Place.USERS: self.desk.stored.users(records) if records else {},
        }
        return [replace(found, seen=stored[found.place].get(found.key)) for found in some]

    # -- writing ------------------------------------------------------------------------------------------------------

    def _write(self, former: Former, late: Collection[str] = ()) -> None:
        page = former.page("written")
        written = int(str(page.get("count", 0)))
        for some in _some(former.found(int(str(page.get("after", 0)))), WRITES):
            # Of a second look just before it is written: whoever began meanwhile may have found the place empty.
            now = self._as_now(some) if late else some
            changes = [change for found in now if (change := self._change(found, late)) is not None]
            if changes:
                self._apply(changes)
            written += len(some)
            former.keep("written", {"count": written, "after": some[-1].id})
            self.desk.told(Progress("writing", written, former.count, self.execution.source.key))
            self._breathe()

    def _apply(self, changes: list[Change]) -> None:
        """Make some writes; who was erased while we did is taken out again (see `sinks.erasing`)."""
        self._mark_ms = -1
        before_ms = self._last_erasure_ms()
        if before_ms:
            changes = self._without_erased(changes)
        made = self.desk.tables.apply(changes, self._breathe_writing)
        for change, is_made in zip(changes, made, strict=True):
            if not is_made:
                self._sums.kept += 1
            elif change.item is None:
                self._sums.removed += 1
            else:
                self._sums.put_back += 1
        self._mark_ms = -1
        if self._last_erasure_ms() == before_ms:
            return
        back = [change for change, is_made in zip(changes, made, strict=True) if is_made and change.item is not None]
        erased = self._erased_ms({change.key[0] for change in back})
        gone = []
        for change in back:
            assert change.item is not None
            if self._uploaded_ms(change.item) < erased.get(change.key[0], 0):
                gone.append(replace(change, seen=change.item, item=None))
        self.desk.tables.apply(gone, self._breathe_writing)

    def _without_erased(self, changes: list[Change]) -> list[Change]:
        """Without putting back what is of persons who were erased since the others' archives were read, perhaps by
        another worker."""
        erased = self._erased_ms({change.key[0] for change in changes if change.item is not None})
        left = []
        for change in changes:
            erased_ms = erased.get(change.key[0])
            if change.item is None or erased_ms is None or self._uploaded_ms(change.item) >= erased_ms:
                left.append(change)
            elif change.seen is not None and self._holds(change.seen):
                left.append(replace(change, item=None))
        return left

    def _uploaded_ms(self, item: Item) -> int:
        if "rank" in item:
            return uploaded_ms_of(item["rank"]["S"])
        writer = self.desk.records.execution(item["execution_id"]["S"])
        return 0 if writer is None else writer.upload.uploaded_ms

    def _change(self, found: Found, late: Collection[str]) -> Change | None:
        """What is to be done under a key, if anything is."""
        seen, item = found.seen, found.item
        if seen is not None and self._holds(seen):
            return Change(found.place, found.key, seen, item)
        if item is None:
            return None
        change = Change(found.place, found.key, seen, item)
        theirs = _rank_of(seen) if seen is not None else ""
        if seen is not None and _rank_of(item) == theirs and seen.get(FIRST) != item.get(FIRST):
            return change  # a link that was first made by ours, and is held by another
        if not late:
            # One of a low rank was let in by ours, which has none: the higher one is to come back.
            return change if seen is not None and _is_event(found) and theirs and _rank_of(item) > theirs else None
        if item["execution_id"]["S"] not in late:
            return None
        if seen is None or _rank_of(item) > theirs > "" or (theirs == "" < _rank_of(item) and not _is_event(found)):
            return change
        return change if not theirs and not _rank_of(item) and self._is_later(item, seen) else None

    def _is_later(self, item: Item, seen: Item) -> bool:
        """Whether the writer of an item ended after that of the one that is stored."""
        writer = self.desk.records.execution(item["execution_id"]["S"])
        before = self.desk.records.execution(seen["execution_id"]["S"])
        if writer is None or before is None or before.outcome is None:
            return False
        return _when(writer) > _when(before)

    # -- persons who were erased --------------------------------------------------------------------------------------

    def _erased_among(self, source: Provenance, users: Collection[str]) -> Collection[str]:
        if self._last_erasure_ms() <= source.uploaded_ms:
            return ()
        return {user for user, erased_ms in self._erased_ms(users).items() if erased_ms > source.uploaded_ms}

    def _erased_ms(self, users: Collection[str]) -> dict[str, int]:
        """Those who were erased, and when the file was uploaded that said so."""
        found = self.desk.stored.users([(user, ERASED) for user in sorted(users)]) if users else {}
        return {
            user: uploaded_ms_of(item["rank"]["S"])
            for (user, _), item in found.items()
            if "rank" in item and not item.get("deleted", {}).get("BOOL", False)
        }

    def _last_erasure_ms(self) -> int:
        if self._mark_ms < 0:
            mark = self.desk.stored.users([(MARK["user_id"]["S"], MARK["record"]["S"])])
            self._mark_ms = max((int(item["uploaded_ms"]["N"]) for item in mark.values()), default=0)
        return self._mark_ms

    # -- executions that run meanwhile --------------------------------------------------------------------------------

    def _late(self) -> set[str]:
        """Ids of those that ran while ours was undone, all ended now."""
        desk, begun_ms = self.desk, self._undone().at_ms
        late: set[str] = set()
        running: list[str] = []
        for listed in desk.marks.all_executions():
            if listed.id == self.execution.id or not _may_share(self.execution, listed):
                continue
            if listed.status is Status.SUCCEEDED and _when(listed)[0] < begun_ms - SETTLED_MS:
                continue
            other = desk.records.execution(listed.id)
            if other is None or other.undone is not None or wrote_nothing(other):
                continue
            if other.phase is not Phase.CLOSED:
                running.append(other.id)
            elif _when(other)[0] >= begun_ms - SETTLED_MS:  # clocks differ
                late.add(other.id)
        for other_id in running:
            self._wait_for(other_id)
            late.add(other_id)
        return late

    def _wait_for(self, other_id: str) -> None:
        desk = self.desk
        while True:
            other = desk.records.execution(other_id)
            if other is None or other.phase is Phase.CLOSED:
                return
            desk.told(Progress("waiting", 0, 1, other.source.key))
            if not desk.may_wait or desk.time_is_short():
                raise TimeIsUp
            desk.clock.sleep(ASK_S)

    def _let_settle(self) -> None:
        """Of what was ended from outside, a worker may still be in its last write."""
        outcome, desk = outcome_of(self.execution), self.desk
        if self.execution.status is Status.SUCCEEDED:
            return
        while (left_ms := outcome.end_date + SETTLED_MS - desk.clock.now_ms()) > 0:
            desk.told(Progress("waiting", 0, 1, self.execution.source.key))
            if not desk.may_wait or desk.time_is_short():
                raise TimeIsUp
            desk.clock.sleep(min(left_ms / 1000, ASK_S))

    # -- marks --------------------------------------------------------------------------------------------------------

    def _undone(self) -> Undone:
        assert self.execution.undone is not None
        return self.execution.undone

    def _added(self, undone: Undone) -> Undone:
        sums, self._sums = self._sums, _Sums()
        return replace(
            undone,
            removed=undone.removed + sums.removed,
            put_back=undone.put_back + sums.put_back,
            kept=undone.kept + sums.kept,
        )

    def _mark(self, undone: Undone) -> None:
        if undone == self._undone():
            return
        self.execution = self.desk.marks.mark_undone(self.execution, undone)
        if self.execution.undone != undone:
            raise Fenced(f"another worker undoes {self.execution.id}")

    def _receipt(self, undone: Undone) -> None:
        objects, execution = self.desk.objects, self.execution
        document = receipt(execution, undone, file_uri(objects, execution))
        body = orjson.dumps(document, option=orjson.OPT_INDENT_2)
        objects.put(execution.source.bucket, receipt_key(execution), body, "application/json")

    # -- time ---------------------------------------------------------------------------------------------------------

    def _tell(self, step: str, done: int, of: Execution) -> None:
        self.desk.told(Progress(step, done, max(done, of.source.size_bytes), of.source.key))

    def _breathe(self) -> None:
        if self.desk.time_is_short():
            raise TimeIsUp

    def _breathe_writing(self) -> None: ...


def receipt_key(execution: Execution) -> str:
    """Beside the execution's own receipt; with its id, so that it is no other file's."""
    assert execution.outcome is not None
    stem = execution.outcome.destination.receipt.removesuffix(".json")
    key = f"{stem}.{execution.id}.undo.json"
    return key if len(key.encode()) <= KEY_BYTES else f"{stem}.undo.json"  # one that long has its id already


def receipt(execution: Execution, undone: Undone, uri: str) -> dict[str, Value]:
    """`undo/1`. `uri`: of the file, which stays where it is, and is not imported again."""
    source = execution.source
    return {
        "schema": SCHEMA,
        "execution_id": execution.id,
        "import_id": execution.document_import_id,
        "status": execution.status.value,
        "source": {"bucket": source.bucket, "key": source.key, "version_id": source.version_id, "etag": source.etag},
        "file_uri": uri,
        "begun_ms": undone.at_ms,
        "done_ms": undone.done_ms,
        "by": undone.by,
        "removed": undone.removed,
        "put_back": undone.put_back,
        "kept": undone.kept,
        "stream": _stream_words(execution) if "firehose" in execution.sinks else None,
    }


def _is_event(found: Found) -> bool:
    return found.place is Place.EVENTS


def _rank_of(item: Item) -> str:
    return str(item.get("rank", {}).get("S", ""))


def _first_ms(item: Item) -> int | None:
    return int(item[FIRST]["N"]) if FIRST in item else None


def _some(found: Iterable[Found], count: int) -> Iterator[list[Found]]:
    some: list[Found] = []
    for one in found:
        some.append(one)
        if len(some) == count:
            yield some
            some = []
    if some:
        yield some


def _page_of(written: Written, walk: Walk) -> dict[str, object]:
    border = written.border
    at = None if border is None else [border.stored_offset, border.plain_offset]
    return {"offset": written.next_offset, "border": at, "etag": walk.source.etag}


def _place_in(page: dict[str, object], walk: Walk) -> tuple[int, Border | None]:
    """Where to go on. A border is one of the bytes it was found in: forgetting somebody packs them anew."""
    offset, border = page.get("offset", 0), page.get("border")
    is_same = page.get("etag") == walk.source.etag
    at = Border(int(border[0]), int(border[1])) if isinstance(border, list) and is_same else None
    return int(str(offset)), at
