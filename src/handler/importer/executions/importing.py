"""Advance: one invocation's work on one part of an execution. The order of effects is `_read_on`, on one screen; who
may do it, until when, and how the rest is handed on, is `holding`'s.
"""

from dataclasses import replace
from typing import Final

from importer.bad_rows import FileReason, ObjectProblem
from importer.batches import Batch, batches, judge_bad_rows, judge_whole
from importer.executions.holding import Held, Occupied, held
from importer.executions.joining import header_key
from importer.executions.pinned import definition_of, provenance_of, rules_of
from importer.executions.plain_text import HEAD_STORED_BYTES, PlainText, longest_member_bytes
from importer.executions.ports import Workplace
from importer.executions.reading_ahead import ReadAhead
from importer.executions.settling import close_failed, settle
from importer.executions.starting import judge_name, start, waits_for_a_run
from importer.formats import UNKNOWN, UNREAD, Recognised, judge_columns
from importer.lines import reading_start
from importer.model import (
    RULES_VERSION,
    TO_THE_END,
    Execution,
    Fenced,
    Part,
    PartState,
    Phase,
    Status,
    Task,
    Throttled,
    TimeIsUp,
    Unavailable,
)
from importer.notification import Dropped
from importer.parts import parts_of
from importer.recognition import recognised_stored
from importer.sinks import Sink

# Claims of a part in a row that moved nothing and said nothing: crashes, kills, time-outs. A part that kills its
# workers is not tried for ever. What AWS refuses or denies does not count.
TRIES: Final = 10
HOPS: Final = 2_000  # of one part, and as many waits: a week of whole invocations
LINE_BYTES: Final = 64 << 10  # a part's last line hardly ends further behind the part


def import_dropped(place: Workplace, dropped: Dropped, in_a_run: bool = False) -> list[Execution]:
    """One delivery of one dropped object: how its execution (rarely: several) then stands.

    A file that is one part is imported to its end, or handed on when the time is up; the parts of a larger one become
    tasks. A file of a recurring import is left as it is, unless it is its turn.

    Raises:
        Unavailable: deliver again later; what was done so far is not lost.
    """
    executions = start(place, dropped, in_a_run)
    for index, execution in enumerate(executions):
        place.telemetry.delivered(dropped, execution)
        if not in_a_run and waits_for_a_run(place, execution):
            continue
        if execution.part_count == 1 or execution.phase is not Phase.IMPORTING:
            executions[index] = _advance(place, execution, parts_of(execution.part_count, execution.part_bytes)[0])
        else:
            send_on(place, execution)
    return executions


def deliver(place: Workplace, dropped: Dropped) -> list[Execution]:
    """Start the execution of a dropped object, and make all its work tasks; but for a recurring import's.

    Raises:
        Unavailable: deliver again later.
    """
    executions = start(place, dropped)
    for execution in executions:
        place.telemetry.delivered(dropped, execution)
        if not waits_for_a_run(place, execution):
            send_on(place, execution)
    return executions


def send_on(place: Workplace, execution: Execution) -> None:
    """Tasks for all that is left of an execution; for its first part, where only settling is left."""
    starts = [part.start for part in parts_of(execution.part_count, execution.part_bytes)]
    if execution.phase is Phase.IMPORTING:
        starts = [begin for begin in starts if begin not in execution.parts_done] or starts[:1]
    else:
        starts = starts[:1]
    place.dispatch.send([Task(execution.id, begin, execution.priority) for begin in starts])


def work_on(place: Workplace, task: Task) -> Execution:
    """One delivery of a task: how its execution then stands.

    Raises:
        Unavailable: deliver again later; or there is no such part.
    """
    execution = place.records.execution(task.execution_id)
    if execution is None:
        raise Unavailable(f"there is no execution {task.execution_id} in the imports table")
    part = next((p for p in parts_of(execution.part_count, execution.part_bytes) if p.start == task.start), None)
    if part is None:
        raise Unavailable(f"{execution.source.uri} has no part that begins at byte {task.start}")
    return _advance(place, execution, part)


def _advance(place: Workplace, execution: Execution, part: Part) -> Execution:
    reserve_ms = place.reserve_ms()
    try:
        if execution.phase is Phase.IMPORTING:
            try:
                read = _import_part(place, execution, part)
                if read is not None and _is_read(read):
                    _judge_whole(place, read)
                    if read.is_checking:
                        return _read_again(place, read, reserve_ms)
            except ObjectProblem as problem:
                now = _now(place, execution)
                if now.attempt != execution.attempt or now.round > execution.round:
                    return now  # begun again: it is for whoever did so to judge the file
                execution = now
                if execution.phase is Phase.IMPORTING:
                    execution = place.records.fail(execution, problem.code.value, problem.message)
                if execution.status is not Status.FAILED:
                    # Past reading already: it was a fenced worker's stale look at an object that has been moved since.
                    return execution
            else:
                if read is None:  # handed on, or another worker's
                    return _now(place, execution)
                execution = read
                if execution.phase is Phase.IMPORTING and not _is_read(execution):
                    return execution
                if place.remaining_ms() < reserve_ms:
                    raise TimeIsUp  # settling is an invocation of its own
        if execution.phase in (Phase.CLOSING, Phase.CLOSED) and execution.status is not Status.SUCCEEDED:
            return close_failed(place, execution)
        return settle(place, execution)
    except Fenced:
        return _now(place, execution)
    except TimeIsUp:  # of settling: how far it is, it has saved
        place.dispatch.send([Task(execution.id, part.start, execution.priority)])
        place.telemetry.handed_on(execution, None)
        return _now(place, execution)


def _is_read(execution: Execution) -> bool:
    return execution.phase is Phase.IMPORTING and len(execution.parts_done) == execution.part_count


def _judge_whole(place: Workplace, execution: Execution) -> None:
    """What only all parts together can say.

    Raises:
        ObjectProblem: too_many_bad_rows; atomic_refused.
    """
    definition = definition_of(execution)
    if not (execution.is_checking or definition.max_bad_rows):
        return
    bad = sum(part.tally.bad for part in place.records.parts(execution.id))
    judge_bad_rows(definition, bad, stored=not execution.is_checking)
    if execution.is_checking:
        judge_whole(bad)


def _read_again(place: Workplace, execution: Execution, reserve_ms: int) -> Execution:
    """All rows of a file that is stored as a whole were found to be good: now they are written."""
    execution = place.records.check(execution)
    if execution.phase is Phase.IMPORTING:
        if execution.part_count == 1 and place.remaining_ms() >= reserve_ms:
            return _advance(place, execution, parts_of(1, 0)[0])
        send_on(place, execution)
    return execution


def _import_part(place: Workplace, execution: Execution, part: Part) -> Execution | None:
    """The execution, with this part done; None if the part was handed on or is another worker's.

    Raises:
        ObjectProblem: the file is at fault, or the part kills its workers.
        Unavailable, Fenced.
    """
    judge_name(execution.upload.key, execution.format, execution.mime_type)
    said = None
    if execution.format in (UNREAD, UNKNOWN):
        said = _recognised(place, execution)
        if said.doubt:
            raise ObjectProblem(FileReason.DIALECT_UNKNOWN, said.doubt)
    if execution.status is Status.PENDING:
        # Until it is begun nothing of it was read: its dialect may still be pinned.
        pinned = execution if said is None else replace(execution, format=said.format)
        execution = place.records.begin(pinned, place.clock.now_ms())
    if execution.rules_version > RULES_VERSION:
        raise Unavailable(f"{execution.source.uri} is being imported by a newer version of this function")
    if execution.rules_version < RULES_VERSION:
        execution = place.records.restart(execution, RULES_VERSION)
        if execution.part_count > 1:
            send_on(place, execution)  # parts that were done have to be done again, and nobody else would
    try:
        ours = held(place, execution, part)
    except Occupied as lease:
        place.dispatch.send([Task(execution.id, part.start, execution.priority)], lease.lease_ms // 1000 + 1)
        return None
    if ours is None:
        return None
    if not ours.state.done:
        if ours.state.tries > TRIES or max(ours.state.hops, ours.state.waits) > HOPS:
            raise _gave_up(ours.state)
        if not _read_on(place, execution, ours):
            return None
    execution = place.records.part_done(execution, part.start)
    if execution.phase is Phase.IMPORTING and part.start not in execution.parts_done:
        raise Unavailable(f"{execution.source.uri} was started over meanwhile: deliver again")
    return execution


def _read_on(place: Workplace, execution: Execution, ours: Held) -> bool:
    """Read a part that is ours from where it stands: whether to its end, or the rest is handed on.

    Raises:
        ObjectProblem, Unavailable, Fenced.
    """
    source, state = execution.source, ours.state
    definition, rules = definition_of(execution), rules_of(execution)
    # Packed text has a border as soon as some of it was read.
    straight = state.border is not None or (not state.next_offset and state.stop == TO_THE_END)
    try:
        ahead = ReadAhead()
        sink = place.open_sink(provenance_of(execution), execution.sinks, ahead.look)
        longest = longest_member_bytes(place.hop_ms)
        text = PlainText(place.objects, source, ours.breathe, state.border, longest, straight)
        layout = text.layout(definition.mime_type, execution.was_read)
        if layout.columns:
            judge_columns(execution.format, layout.columns, definition)
            place.objects.put(source.bucket, header_key(execution), layout.header, "application/octet-stream")
        todo = ours.begin(text, len(layout.header))
        if todo.start == len(layout.header):
            text.judge_members()
        found = layout.lines(text.read(reading_start(todo), likely_stop=todo.stop + LINE_BYTES), todo)
        for batch in ahead.of(batches(found, rules, layout, state.tally.file_lines)):
            if ours.time_is_short and ours.has_moved:
                ours.hand_on()
                return False
            try:
                if execution.is_checking:
                    batch.withhold()
                else:
                    _write(sink, batch, ours)  # 1 durable when it returns
            except Throttled:
                ours.hand_on()
                return False
            # 2 When this is due, bad rows are made durable, and 3 then the position is moved, with absolute tallies.
            ours.move_behind(batch)
            judge_bad_rows(definition, ours.state.tally.bad, stored=not execution.is_checking)
            del batch  # before the next one is read: they take megabytes
    except Unavailable:
        ours.give_back()
        raise
    except ObjectProblem:
        ours.save_if_moved()  # what was read before the damage is imported, and counts
        raise
    ours.end(text.sha256())
    return True


def _recognised(place: Workplace, execution: Execution) -> Recognised:
    """The dialect of a file that could not be read when its execution began, or could not be told."""
    source = execution.source
    head = b"".join(place.objects.read(source, 0, min(HEAD_STORED_BYTES, source.size_bytes)))
    return recognised_stored([head], definition_of(execution))


def _write(sink: Sink, batch: Batch, ours: Held) -> None:
    """Write a batch, again and again while throttled and time is left; the lease is renewed in between.

    Raises:
        Throttled: the time is up.
        Unavailable, Fenced.
    """
    while True:
        try:
            not_stored = sink.write(batch.events, batch.user_changes, ours.breathe_writing)
        except Throttled:
            ours.save()
            if ours.time_is_short:
                raise
        else:
            if not_stored:
                batch.take_out(not_stored)
            return


def _gave_up(state: PartState) -> ObjectProblem:
    handed_on = max(state.hops, state.waits)
    why = f"handed on {handed_on} times" if handed_on > HOPS else f"{TRIES} invocations in a row ended without a word"
    return ObjectProblem(
        FileReason.GAVE_UP,
        f"the part from byte {state.start} stands at byte {state.next_offset}: {why}. The function's log says what "
        "ended them; mend the cause, then `importer redrive` goes on from there",
    )


def _now(place: Workplace, execution: Execution) -> Execution:
    return place.records.execution(execution.id) or execution
