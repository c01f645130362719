"""Advance: one invocation's work on one part of an execution. The order of effects is `_read_on`, on one screen.

Lease: the owner is a uuid made in the invocation, never a request id, which a redelivery repeats (N4). Who meets a live
lease watches it: renewed means its owner is alive and its own delivery will come back if it dies, so we may go;
run out means it is dead, so we take over. A write of a fenced worker that arrives late writes what is there already.

Handing on, when the time is up: the position is saved, then the rest is made a task of the part queue, then the lease
is given back. A crash between any two of these leaves a task too many, or a lease that runs out, and never work that
nobody has.
"""

import random
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Final

from importer.bad_rows import FileReason, ObjectProblem, Reject, segment
from importer.batches import Batch, Rules, batches
from importer.definitions import Definition
from importer.executions.joining import header_key, segment_key
from importer.executions.plain_text import PlainText, longest_member_bytes
from importer.executions.ports import Workplace
from importer.executions.settling import close_failed, settle
from importer.executions.starting import judge_name, start
from importer.formats import FORMATS
from importer.lines import reading_start
from importer.model import (
    RULES_VERSION,
    TO_THE_END,
    Execution,
    Fenced,
    LeaseHeld,
    Part,
    PartState,
    Phase,
    Provenance,
    Status,
    Task,
    Throttled,
    TimeIsUp,
    Unavailable,
)
from importer.notification import Dropped
from importer.parts import parts_of, remainder
from importer.sinks import SINKS, Sink

LEASE_MS: Final = 45_000  # three times the longest stall of a sink (sinks.calls.BOUND_MS)
RENEW_MS: Final = 10_000  # a lease this old is renewed at the next breath of a sink
FIRST_SAVE_MS: Final = 500  # then twice as long each time: workers killed again and again still get on
WATCH_MS: Final = (250, 5_000)  # how soon a live lease is looked at again: at first, at most
LONGEST_WATCH_MS: Final = 12_000  # who is alive renews every RENEW_MS; more than this is learnt more cheaply later
# Time kept for ending: one bounded write, a segment, a progress write and a message fit into it. At most a third of an
# invocation, however short that is; at least twice the slowest batch of this one.
RESERVE_MS: Final = 30_000
# Before a part that got nowhere, its destination being throttled, is tried again. By chance, so that many workers that
# share a limit (one user's partition, say) thin out until some of them get through.
THROTTLED_DELAY_S: Final = (30, 300)
# Claims of a part in a row that moved nothing and said nothing: crashes, kills, time-outs. A part that kills its
# workers is not tried for ever. What AWS refuses or denies does not count.
TRIES: Final = 10
LINE_BYTES: Final = 64 << 10  # a part's last line hardly ends further behind the part
HOPS: Final = 2_000  # of one part, and as many waits: a week of whole invocations


def import_dropped(place: Workplace, dropped: Dropped) -> list[Execution]:
    """One delivery of one dropped object: how its execution (rarely: several) then stands.

    A file that is one part is imported to its end, or handed on when the time is up; the parts of a larger one become
    tasks.

    Raises:
        Unavailable: deliver again later; what was done so far is not lost.
    """
    executions = start(place, dropped)
    for index, execution in enumerate(executions):
        place.telemetry.delivered(dropped, execution)
        if execution.part_count == 1 or execution.phase is not Phase.IMPORTING:
            executions[index] = _advance(place, execution, parts_of(execution.part_count, execution.part_bytes)[0])
        else:
            send_on(place, execution)
    return executions


def deliver(place: Workplace, dropped: Dropped) -> list[Execution]:
    """Start the execution of a dropped object, and make all its work tasks.

    Raises:
        Unavailable: deliver again later.
    """
    executions = start(place, dropped)
    for execution in executions:
        place.telemetry.delivered(dropped, execution)
        send_on(place, execution)
    return executions


def send_on(place: Workplace, execution: Execution) -> None:
    """Tasks for all that is left of an execution; for its first part, where only settling is left."""
    starts = [part.start for part in parts_of(execution.part_count, execution.part_bytes)]
    if execution.phase is Phase.IMPORTING:
        starts = [begin for begin in starts if begin not in execution.parts_done] or starts[:1]
    else:
        starts = starts[:1]
    place.dispatch.send([Task(execution.id, begin) for begin in starts])


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
    task = Task(execution.id, part.start)
    budget_ms = place.remaining_ms()
    try:
        if execution.phase is Phase.IMPORTING:
            try:
                read = _import_part(place, execution, part)
            except ObjectProblem as problem:
                now = _now(place, execution)
                if now.attempt != execution.attempt:
                    return now
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
                if execution.phase is Phase.IMPORTING and len(execution.parts_done) < execution.part_count:
                    return execution
                if place.remaining_ms() < budget_ms // 3 and place.remaining_ms() < RESERVE_MS:
                    raise TimeIsUp  # settling is an invocation of its own
        if execution.phase in (Phase.CLOSING, Phase.CLOSED) and execution.status is not Status.SUCCEEDED:
            return close_failed(place, execution)
        return settle(place, execution)
    except Fenced:
        return _now(place, execution)
    except TimeIsUp:  # of settling: how far it is, it has saved
        place.dispatch.send([task])
        place.telemetry.handed_on(execution, None)
        return _now(place, execution)


def _import_part(place: Workplace, execution: Execution, part: Part) -> Execution | None:
    """The execution, with this part done; None if the part was handed on or is another worker's.

    Raises:
        ObjectProblem: the file is at fault, or the part kills its workers.
        Unavailable, Fenced.
    """
    budget_ms = place.remaining_ms()
    judge_name(execution.source.key, execution.format, execution.mime_type)
    if execution.status is Status.PENDING:
        execution = place.records.begin(execution, place.clock.now_ms())
    if execution.rules_version > RULES_VERSION:
        raise Unavailable(f"{execution.source.uri} is being imported by a newer version of this function")
    if execution.rules_version < RULES_VERSION:
        execution = place.records.restart(execution, RULES_VERSION)
        if execution.part_count > 1:
            send_on(place, execution)  # parts that were done have to be done again, and nobody else would
    owner = uuid.uuid4().hex
    try:
        state = _claimed(place, execution, part, owner, min(RESERVE_MS, budget_ms // 3))
    except _Watched as held:
        place.dispatch.send([Task(execution.id, part.start)], held.lease_ms // 1000 + 1)
        return None
    if state is None:
        return None
    if not state.done:
        if state.tries > TRIES or max(state.hops, state.waits) > HOPS:
            raise _gave_up(state)
        try:
            _read_on(place, execution, part, state, owner, budget_ms)
        except _HandOn as time_is_up:
            place.dispatch.send([Task(execution.id, part.start)], time_is_up.delay_s)
            place.records.release(execution, time_is_up.state, owner)
            place.telemetry.handed_on(execution, time_is_up.state)
            return None
    execution = place.records.part_done(execution, part.start)
    if execution.phase is Phase.IMPORTING and part.start not in execution.parts_done:
        raise Unavailable(f"{execution.source.uri} was started over meanwhile: deliver again")
    return execution


class _Watched(Exception):
    """A lease was watched for long enough, and neither moved nor ran out; `lease_ms` of it are left."""

    def __init__(self, lease_ms: int) -> None:
        super().__init__()
        self.lease_ms = lease_ms


class _HandOn(Exception):
    """The time is up; the part is saved as `state`, which says what a release is to make of this try."""

    def __init__(self, state: PartState, delay_s: int) -> None:
        super().__init__()
        self.state = state
        self.delay_s = delay_s


def _read_on(place: Workplace, execution: Execution, part: Part, state: PartState, owner: str, budget_ms: int) -> None:
    """Read a claimed part from where it stands to its end.

    Raises:
        _HandOn: not to its end.
        ObjectProblem, Unavailable, Fenced.
    """
    source = execution.source
    provenance = Provenance(
        execution.format, execution.document_import_id, execution.id, source.key, source.last_modified_ms
    )
    definition = Definition.of(execution.definition)
    rules = Rules(execution.format, definition, execution.created_ms, tuple(SINKS[name] for name in execution.sinks))
    claimed_ms = saved_ms = place.clock.now_ms()
    saved = state
    text: PlainText | None = None

    def save() -> None:
        nonlocal state, saved, saved_ms
        if text is not None:
            state = replace(state, border=text.border_before(reading_start(remainder(part, state.next_offset))))
        _save(place, execution, saved, state, owner)
        saved, saved_ms = state, place.clock.now_ms()

    def breathe() -> None:  # a slow destination, or a long way to the next line, must not cost the lease
        if place.clock.now_ms() - saved_ms >= RENEW_MS:
            save()

    def breathe_writing() -> None:
        breathe()
        if place.remaining_ms() < reserve_ms // 2:  # else killed in the middle of a batch, and blamed for it
            raise Throttled(f"time is up in the middle of the batch at byte {state.next_offset}")

    def hand_on() -> _HandOn:
        nonlocal state
        got_on = state.next_offset != begun
        state = replace(
            state, hops=state.hops + got_on, waits=state.waits + (not got_on), tries=max(state.tries - 1, 0)
        )
        save()
        return _HandOn(state, 0 if got_on else random.randint(*THROTTLED_DELAY_S))

    try:
        sink = place.open_sink(provenance, execution.sinks)
        # Packed text has a border as soon as some of it was read.
        straight = state.border is not None or (not state.next_offset and part.stop == TO_THE_END)
        longest = longest_member_bytes(place.hop_ms)
        text = PlainText(place.objects, source, breathe, state.border, longest, straight)
        layout = text.layout(definition.mime_type)
        if layout.columns:
            FORMATS[execution.format].refuse_columns(layout.columns)
            place.objects.put(source.bucket, header_key(execution), layout.header, "application/octet-stream")
        state = replace(state, next_offset=max(state.next_offset, len(layout.header)))
        begun = state.next_offset
        if begun == len(layout.header):
            text.judge_members()
        todo = remainder(part, begun)
        found = layout.lines(text.read(reading_start(todo), likely_stop=part.stop + LINE_BYTES), todo)
        reserve_ms = min(RESERVE_MS, budget_ms // 3)
        batch_ms = place.clock.now_ms()
        for batch in batches(found, rules, layout, state.tally.file_lines):
            if place.remaining_ms() < reserve_ms and state.next_offset != begun:  # every hop gets at least one done
                raise hand_on()
            try:
                _write(place, sink, batch, save, breathe_writing, reserve_ms)  # 1 durable when it returns
            except Throttled:
                raise hand_on() from None
            if batch.bad_rows:
                place.objects.put(  # 2 durable; same batch, same bytes, so that doing it twice changes nothing
                    source.bucket,
                    segment_key(execution, batch.start),
                    segment(batch.bad_rows),
                    "application/octet-stream",
                )
            state = replace(state, next_offset=batch.next_offset, tally=state.tally.plus(batch.tally), tries=0)
            now_ms = place.clock.now_ms()
            reserve_ms = max(reserve_ms, min(2 * (now_ms - batch_ms), budget_ms * 2 // 3))
            batch_ms = now_ms
            pause_ms = min(place.progress_every_ms, max(FIRST_SAVE_MS, saved_ms - claimed_ms))
            if now_ms - saved_ms >= pause_ms:  # 3 the position moves last, tallies absolute
                save()
    except Unavailable:
        with suppress(Unavailable):  # what is left of the lease would only keep the next one waiting
            place.records.release(execution, replace(saved, tries=max(saved.tries - 1, 0)), owner)
        raise
    except ObjectProblem:
        if state != saved:  # what was read before the damage is imported, and counts
            save()
        raise
    state = replace(state, done=True, sha256=text.sha256())
    save()


def _save(place: Workplace, execution: Execution, saved: PartState, state: PartState, owner: str) -> None:
    """One conditional write: the part stands at `state` now, and is ours for another lease."""
    place.records.progress(execution, saved, state, owner, place.clock.now_ms() + LEASE_MS)


def _write(
    place: Workplace,
    sink: Sink,
    batch: Batch,
    save: Callable[[], None],
    breathe: Callable[[], None],
    reserve_ms: int,
) -> None:
    """Write a batch, again and again while throttled and time is left; the lease is renewed in between.

    Raises:
        Throttled: the time is up.
        Unavailable, Fenced.
    """
    while True:
        try:
            refused: dict[int, Reject] = sink.write(batch.events, batch.user_changes, breathe)
        except Throttled:
            save()
            if place.remaining_ms() < reserve_ms:
                raise
        else:
            if refused:
                batch.refuse(refused)
            return


def _claimed(place: Workplace, execution: Execution, part: Part, owner: str, reserve_ms: int) -> PartState | None:
    """The part, ours (or done); None when its owner is seen to be alive.

    Raises:
        _Watched: come back when the lease has run out. Waiting for it here would take a worker from those who wait
            behind us.
        Unavailable.
    """
    seen: LeaseHeld | None = None
    watch_ms, longest_ms = WATCH_MS
    watched_ms = 0
    while True:
        now_ms = place.clock.now_ms()
        held = place.records.claim(execution, part, owner, now_ms, now_ms + LEASE_MS)
        if isinstance(held, PartState):
            return held
        if held.fenced or (seen is not None and held != seen):
            place.telemetry.waited(execution, renewed=True)
            return None
        seen = held
        left_ms = max(held.lease_until_ms - now_ms, 0)
        wait_ms = max(min(left_ms + 1, watch_ms), WATCH_MS[0])
        watch_ms = min(watch_ms * 2, longest_ms)
        watched_ms += wait_ms
        if watched_ms > LONGEST_WATCH_MS or place.remaining_ms() < wait_ms + reserve_ms:
            raise _Watched(left_ms)
        place.clock.sleep(wait_ms / 1000)


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
