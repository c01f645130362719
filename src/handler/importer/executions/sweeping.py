"""The sweep: whatever was lost on the way (a notification, a message, a worker) is found here and made a task again.

Two looks, and no memory but what is in the tables and the bucket:

`sweep_unfinished`, over the executions that are not closed. A lease that has run out has a dead worker: a task at once,
and again after PATIENCE_MS, as long as nobody has taken it. Where nobody holds a lease, somebody may be about to; so an
execution is only sent on when nothing of it has changed for PATIENCE_MS, and twice as long after each time it did not
help. Sending a task again changes nothing where it was needless: so the rules may be simple, and the sweep may overlap
with itself and with everything else (I11).

`sweep_waiting`, over the files in `imports/`, all versions, so that one overwritten before its notification came is
imported too (A3). A file no execution knows is started; one whose execution has SUCCEEDED is to be moved again.

One execution or file in trouble never keeps the others waiting (I8): what is raised for one is counted and told; a bug
is raised when all have had their turn.
"""

import hashlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Final

from importer.executions.importing import deliver, send_on
from importer.executions.ports import Found, Swept, Telemetry, Waiting, Workplace
from importer.executions.waiting import files_waiting
from importer.model import Execution, Misconfigured, Phase, S3Object, Task, Unavailable, Watched
from importer.notification import Dropped

PATIENCE_MS: Final = 10 * 60_000
LONGEST_PATIENCE_MS: Final = 6 * 3_600_000
RESERVE_MS: Final = 10_000  # of the sweep's own time
_CLOCKS_DIFFER_MS: Final = 5_000  # leases are written by one machine's clock and read by another's (H8)


def sweep_unfinished(place: Workplace) -> Swept:
    """Send on every unfinished execution that nobody gets on with.

    Raises:
        Unavailable: the index cannot be read.
    """
    unfinished = sent_on = 0
    troubles = _Troubles(place.telemetry)
    complete = True
    for execution_id in _in_turns(place.records.all_unfinished(), place.clock.now_ms()):
        if place.remaining_ms() < RESERVE_MS:
            complete = False
            break
        unfinished += 1
        with troubles.of(execution_id):
            sent_on += _sent_on(place, execution_id)
    swept = Swept(unfinished, sent_on, troubles.count, complete)
    place.telemetry.swept_unfinished(swept)
    troubles.raise_bug()
    return swept


def _in_turns(execution_ids: Iterable[str], now_ms: int) -> list[str]:
    """In another order each time, the same for the same instant: where there are more than a sweep has time for, none
    of them is always the last.
    """
    return sorted(execution_ids, key=lambda execution_id: _fingerprint(execution_id, now_ms))


class _Troubles:
    """What was raised for one execution or file, while the others have their turn."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._bug: Exception | None = None
        self.count = 0

    @contextmanager
    def of(self, what: str) -> Iterator[None]:
        """Inside, nothing is raised; it is told."""
        try:
            yield
        except Exception as trouble:  # noqa: BLE001  a bug is raised by raise_bug, after the others
            self.count += 1
            self._telemetry.sweep_failed(what, trouble)
            if not isinstance(trouble, Unavailable | Misconfigured):
                self._bug = self._bug or trouble

    def raise_bug(self) -> None:
        """Raises the first exception that was neither AWS's trouble nor a wrong setting."""
        if self._bug is not None:
            raise self._bug


def _sent_on(place: Workplace, execution_id: str) -> bool:
    execution = place.records.execution(execution_id)
    if execution is None or execution.phase is Phase.CLOSED:
        return False  # the index lags behind
    now_ms = place.clock.now_ms()
    leases = place.records.leases(execution_id) if execution.phase is Phase.IMPORTING else {}
    before = place.records.watched(execution_id) or Watched("", now_ms, "", now_ms, 0)
    dead = {str(start): [until, now_ms] for start, until in leases.items() if until + _CLOCKS_DIFFER_MS < now_ms}
    for start, (until_ms, _) in dead.items():
        told_ms, sent_ms = before.dead.get(start, [0, 0])
        if told_ms == until_ms and now_ms - sent_ms < PATIENCE_MS:
            dead[start] = [told_ms, sent_ms]  # its task may still wait in a long queue
    tasks = [
        Task(execution_id, int(start), execution.priority) for start, (_, sent_ms) in dead.items() if sent_ms == now_ms
    ]
    after = replace(_seen(place, execution, before, now_ms), dead=dead)
    if tasks:
        place.dispatch.send(tasks)
    elif not leases and now_ms - after.since_ms >= _patience_ms(after.nudges):
        send_on(place, execution)
        after = replace(after, nudges=after.nudges + 1)
    if after != before:
        place.records.watch(execution_id, after)
    sent = bool(tasks) or after.nudges > before.nudges
    if sent:
        place.telemetry.sent_on(execution)
    return sent


def _patience_ms(nudges: int) -> int:
    """For how long nothing may have changed before tasks are sent again, after so many times."""
    return sum(min(PATIENCE_MS * 2**number, LONGEST_PATIENCE_MS) for number in range(nudges + 1))


def _seen(place: Workplace, execution: Execution, before: Watched, now_ms: int) -> Watched:
    """What there is to see of an execution now, and since when it is so."""
    parts = place.records.parts(execution.id)
    notes, _ = place.records.notes(execution.id)
    where = [(part.start, part.next_offset, part.done) for part in parts]
    state = (execution.status, execution.phase, execution.attempt, execution.round)
    stands = _fingerprint(*state, where, notes)
    seen = _fingerprint(stands, [(part.hops, part.waits) for part in parts])
    stands_since_ms = before.stands_since_ms if before.stands == stands else now_ms
    if before.seen == seen:
        return before
    return Watched(stands, stands_since_ms, seen, now_ms, 0)


def _fingerprint(*values: object) -> str:
    return hashlib.blake2b(repr(values).encode(), digest_size=16).hexdigest()


def sweep_waiting(place: Workplace, bucket: str) -> Waiting:
    """Look through `imports/`; start what nobody told of, and send on what is only to be moved.

    Raises:
        Unavailable: the bucket cannot be listed, or the imports table cannot be read.
    """

    def take_up(file: S3Object, found: Found) -> None:
        if found is Found.UNFINISHED:
            return  # the other sweep's
        with troubles.of(file.uri):
            deliver(place, Dropped(file.bucket, file.key, file.version_id, file.etag))
            place.telemetry.found(file, found)

    troubles = _Troubles(place.telemetry)
    waiting = files_waiting(place, bucket, take_up)
    place.telemetry.swept(bucket, waiting)
    troubles.raise_bug()
    return waiting
