"""Advance: one delivery's work on one execution. The order of effects is `_read_on`, on one screen.

Lease: the owner is a uuid made in the invocation, never a request id, which a redelivery repeats (N4). Who meets a live
lease watches it: renewed means its owner is alive and its own delivery will come back if it dies, so we may go;
run out means it is dead, so we take over. A write of a fenced worker that arrives late writes what is there already.
"""

import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from importer.bad_rows import ObjectProblem, Reject, segment
from importer.batches import Batch, Rules, batches
from importer.definitions import Definition
from importer.executions.plain_text import PlainText
from importer.executions.ports import Workplace
from importer.executions.settling import close_failed, header_key, segment_key, settle
from importer.executions.starting import judge_name, start
from importer.formats import FORMATS
from importer.lines import reading_start
from importer.model import (
    RULES_VERSION,
    Execution,
    Fenced,
    LeaseHeld,
    Part,
    PartState,
    Phase,
    Provenance,
    Status,
    Throttled,
    Unavailable,
)
from importer.notification import Dropped
from importer.parts import WHOLE, remainder
from importer.sinks import SINKS, Sink

LEASE_MS: Final = 45_000  # three times the longest stall of a sink (sinks.calls.BOUND_MS)
RENEW_MS: Final = 10_000  # a lease this old is renewed at the next breath of a sink
WATCH_MS: Final = (250, 5_000)  # how soon a live lease is looked at again: at first, at most
RESERVE_MS: Final = 30_000  # one bounded write, a segment and a progress write fit into it


def import_dropped(place: Workplace, dropped: Dropped) -> list[Execution]:
    """One delivery of one dropped object, to its end: how its execution (rarely: several) then stands.

    Raises:
        Unavailable: deliver again later; what was done so far is not lost.
    """
    executions = start(place, dropped)
    for index, execution in enumerate(executions):
        place.telemetry.delivered(dropped, execution)
        executions[index] = _advance(place, execution, WHOLE)
    return executions


def _advance(place: Workplace, execution: Execution, part: Part) -> Execution:
    if execution.phase in (Phase.CLOSING, Phase.CLOSED) and execution.status is not Status.SUCCEEDED:
        return close_failed(place, execution)
    if execution.phase is not Phase.IMPORTING:
        return settle(place, execution)
    try:
        judge_name(execution.source.key, execution.format, execution.mime_type)
        if execution.status is Status.PENDING:
            execution = place.records.begin(execution, place.clock.now_ms())
        if execution.rules_version > RULES_VERSION:
            raise Unavailable(f"{execution.source.uri} is being imported by a newer version of this function")
        if execution.rules_version < RULES_VERSION:
            execution = place.records.restart(execution, RULES_VERSION)
        owner = uuid.uuid4().hex
        state = _claimed(place, execution, part, owner)
        if state is None:
            return execution
        if not state.done:
            _read_on(place, execution, part, state, owner)
        execution = place.records.part_done(execution, part.start)
        if execution.phase is Phase.IMPORTING and part.start not in execution.parts_done:
            raise Unavailable(f"{execution.source.uri} was started over under other rules meanwhile: deliver again")
        return settle(place, execution) if len(execution.parts_done) == execution.part_count else execution
    except ObjectProblem as problem:
        failed = place.records.fail(execution, problem.code.value, problem.message)
        # Past reading already: it was a fenced worker's stale look at an object that has been moved since.
        return failed if failed.status is not Status.FAILED else close_failed(place, failed)
    except Fenced:
        return place.records.execution(execution.id) or execution


def _read_on(place: Workplace, execution: Execution, part: Part, state: PartState, owner: str) -> None:
    """Read a claimed part from where it stands to its end.

    Raises:
        ObjectProblem, Unavailable, Fenced.
    """
    source = execution.source
    provenance = Provenance(
        execution.format, execution.document_import_id, execution.id, source.key, source.last_modified_ms
    )
    sink = place.open_sink(provenance, execution.sinks)
    definition = Definition.of(execution.definition)
    rules = Rules(execution.format, definition, execution.created_ms, tuple(SINKS[name] for name in execution.sinks))
    saved, saved_ms = state, place.clock.now_ms()

    def save() -> None:
        nonlocal saved, saved_ms
        _save(place, execution, saved, state, owner)
        saved, saved_ms = state, place.clock.now_ms()

    def breathe() -> None:  # a slow destination, or a long way to the next line, must not cost the lease
        if place.clock.now_ms() - saved_ms >= RENEW_MS:
            save()

    text = PlainText(place.objects, source, breathe)
    layout = text.layout(definition.mime_type)
    if layout.columns:
        FORMATS[execution.format].refuse_columns(layout.columns)
        place.objects.put(source.bucket, header_key(execution), layout.header, "application/octet-stream")
    state = replace(state, next_offset=max(state.next_offset, len(layout.header)))
    begun = state.next_offset
    todo = remainder(part, begun)
    found = layout.lines(text.read(reading_start(todo)), todo)
    try:
        for batch in batches(found, rules, layout, state.tally.file_lines):
            time_is_up = place.remaining_ms() < RESERVE_MS
            if time_is_up and state.next_offset != begun:  # every delivery gets at least one batch done
                save()
                raise Unavailable(f"time is up with {source.uri} read to byte {state.next_offset}: deliver again")
            _write(place, sink, batch, save, breathe)  # 1 durable when it returns
            if batch.bad_rows:
                place.objects.put(  # 2 durable; same batch, same bytes, so that doing it twice changes nothing
                    source.bucket,
                    segment_key(execution, batch.start),
                    segment(batch.bad_rows),
                    "application/octet-stream",
                )
            state = PartState(part.start, part.stop, batch.next_offset, state.tally.plus(batch.tally), False, None)
            if (
                place.clock.now_ms() - saved_ms >= place.progress_every_ms
            ):  # 3 the position moves last, tallies absolute
                save()
    except ObjectProblem:
        if state != saved:  # what was read before the damage is imported, and counts
            save()
        raise
    state = PartState(part.start, part.stop, state.next_offset, state.tally, True, text.sha256())
    save()


def _save(place: Workplace, execution: Execution, saved: PartState, state: PartState, owner: str) -> None:
    """One conditional write: the part stands at `state` now, and is ours for another lease."""
    place.records.progress(execution, saved, state, owner, place.clock.now_ms() + LEASE_MS)


def _write(place: Workplace, sink: Sink, batch: Batch, save: Callable[[], None], breathe: Callable[[], None]) -> None:
    """Write a batch, again and again while throttled and time is left; the lease is renewed in between."""
    while True:
        try:
            refused: dict[int, Reject] = sink.write(batch.events, batch.user_changes, breathe)
        except Throttled:
            save()
            if place.remaining_ms() < RESERVE_MS:
                raise
        else:
            if refused:
                batch.refuse(refused)
            return


def _claimed(place: Workplace, execution: Execution, part: Part, owner: str) -> PartState | None:
    """The part, ours (or done); None when its owner is seen to be alive.

    Raises:
        Unavailable: no time left to watch a lease that neither moved nor ran out.
    """
    seen: LeaseHeld | None = None
    watch_ms, longest_ms = WATCH_MS
    while True:
        now_ms = place.clock.now_ms()
        held = place.records.claim(execution, part, owner, now_ms, now_ms + LEASE_MS)
        if isinstance(held, PartState):
            return held
        if held.fenced or (seen is not None and held != seen):
            place.telemetry.waited(execution, renewed=True)
            return None
        seen = held
        wait_ms = min(max(held.lease_until_ms - now_ms, 0) + 1, watch_ms)
        watch_ms = min(watch_ms * 2, longest_ms)
        if place.remaining_ms() < wait_ms + RESERVE_MS:
            raise Unavailable(f"{execution.source.uri}: another worker holds the part until {held.lease_until_ms}")
        place.clock.sleep(wait_ms / 1000)
