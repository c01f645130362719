"""Holding a part: its lease, its position, and the time this invocation has left for it.

Lease: the owner is a uuid made in the invocation, never a request id, which a redelivery repeats (N4). Who meets a live
lease watches it: renewed means its owner is alive and its own delivery will come back if it dies, so we may go;
run out means it is dead, so we take over. A write of a fenced worker that arrives late writes what is there already.

Handing on, when the time is up: the position is saved, then the rest is made a task of the part queue, then the lease
is given back. A crash between any two of these leaves a task too many, or a lease that runs out, and never work that
nobody has.
"""

import random
import uuid
from contextlib import suppress
from dataclasses import replace
from typing import Final

from importer.bad_rows import segment
from importer.batches import Batch
from importer.executions.joining import segment_key
from importer.executions.plain_text import PlainText
from importer.executions.ports import Workplace
from importer.lines import reading_start
from importer.model import Execution, LeaseHeld, Part, PartState, Task, Throttled, Unavailable
from importer.parts import remainder

LEASE_MS: Final = 45_000  # three times the longest stall of a sink (sinks.calls.BOUND_MS)
RENEW_MS: Final = 10_000  # a lease this old is renewed at the next breath of a sink
FIRST_SAVE_MS: Final = 500  # then twice as long each time: workers killed again and again still get on
SEGMENT_BYTES: Final = 256 << 10  # so much of bad rows is made durable before the position is due to be saved
WATCH_MS: Final = (250, 5_000)  # how soon a live lease is looked at again: at first, at most
LONGEST_WATCH_MS: Final = 12_000  # who is alive renews every RENEW_MS; more than this is learnt more cheaply later
# Before a part that got nowhere, its destination being throttled, is tried again. By chance, so that many workers that
# share a limit (one user's partition, say) thin out until some of them get through.
THROTTLED_DELAY_S: Final = (30, 300)


class Occupied(Exception):
    """A lease was watched for long enough, and neither moved nor ran out; `lease_ms` of it are left."""

    def __init__(self, lease_ms: int) -> None:
        super().__init__()
        self.lease_ms = lease_ms


def held(place: Workplace, execution: Execution, part: Part) -> "Held | None":
    """The part, ours (or done already); None when its owner is seen to be alive.

    Raises:
        Occupied: come back when the lease has run out. Waiting for it here would take a worker from those who wait
            behind us.
        Unavailable.
    """
    owner = uuid.uuid4().hex
    reserve_ms = place.reserve_ms()
    seen: LeaseHeld | None = None
    watch_ms, longest_ms = WATCH_MS
    watched_ms = 0
    while True:
        now_ms = place.clock.now_ms()
        found = place.records.claim(execution, part, owner, now_ms, now_ms + LEASE_MS)
        if isinstance(found, PartState):
            return Held(place, execution, found, owner)
        if found.fenced or (seen is not None and found != seen):
            place.telemetry.waited(execution, renewed=True)
            return None
        seen = found
        left_ms = max(found.lease_until_ms - now_ms, 0)
        wait_ms = max(min(left_ms + 1, watch_ms), WATCH_MS[0])
        watch_ms = min(watch_ms * 2, longest_ms)
        watched_ms += wait_ms
        if watched_ms > LONGEST_WATCH_MS or place.remaining_ms() < wait_ms + reserve_ms:
            raise Occupied(left_ms)
        place.clock.sleep(wait_ms / 1000)


class Held:
    """A part that is ours.

    Attributes:
        state: where it stands; what is saved of it lies at most `progress_every_ms` behind.
    """

    def __init__(self, place: Workplace, execution: Execution, state: PartState, owner: str) -> None:
        self.state = state
        self._place = place
        self._execution = execution
        self._owner = owner
        self._text: PlainText | None = None
        self._bad_rows: list[bytes] = []  # of the batches since `_kept_to`, not durable yet
        self._bad_bytes = 0
        self._saved = state
        self._begun = self._kept_to = state.next_offset
        self._budget_ms = place.remaining_ms()
        self._reserve_ms = place.reserve_ms()
        self._claimed_ms = self._saved_ms = self._batch_ms = place.clock.now_ms()

    # -- reading ------------------------------------------------------------------------------------------------

    def begin(self, text: PlainText, header_bytes: int) -> Part:
        """What is left of the part, behind a header."""
        self._text = text
        self.state = replace(self.state, next_offset=max(self.state.next_offset, header_bytes))
        self._begun = self._kept_to = self.state.next_offset
        self._batch_ms = self._place.clock.now_ms()
        return remainder(Part(self.state.start, self.state.stop), self._begun)

    def move_behind(self, batch: Batch) -> None:
        """The events of a batch are durable: the position moves behind it, and is saved if that is due."""
        if batch.bad_rows:
            self._bad_rows.append(segment(batch.bad_rows))
            self._bad_bytes += len(self._bad_rows[-1])
        self.state = replace(
            self.state, next_offset=batch.next_offset, tally=self.state.tally.plus(batch.tally), tries=0
        )
        now_ms = self._place.clock.now_ms()
        slow_ms = 2 * (now_ms - self._batch_ms)
        self._reserve_ms = max(self._reserve_ms, min(slow_ms, self._budget_ms * 2 // 3))
        self._batch_ms = now_ms
        pause_ms = min(self._place.progress_every_ms, max(FIRST_SAVE_MS, self._saved_ms - self._claimed_ms))
        if now_ms - self._saved_ms >= pause_ms:
            self.save()
        elif self._bad_bytes >= SEGMENT_BYTES:
            self._keep_bad_rows()

    def end(self, sha256: str | None) -> None:
        """All of it is read."""
        self.state = replace(self.state, done=True, sha256=sha256)
        self.save()

    # -- the lease ----------------------------------------------------------------------------------------------

    def save(self) -> None:
        """The part stands at `state` now, and is ours for another lease: one conditional write, after all before that
        position is durable.

        Raises:
            Fenced: it is not ours any more.
        """
        self._keep_bad_rows()
        if self._text is not None:
            rest = remainder(Part(self.state.start, self.state.stop), self.state.next_offset)
            self.state = replace(self.state, border=self._text.border_before(reading_start(rest)))
        until_ms = self._place.clock.now_ms() + LEASE_MS
        self.state = self._with_what_was_spent(self.state)
        self._place.records.progress(self._execution, self._saved, self.state, self._owner, until_ms)
        self._saved, self._saved_ms = self.state, self._place.clock.now_ms()

    def _keep_bad_rows(self) -> None:
        """The bad rows found so far, durable when it returns. Who begins again at the last saved position puts them
        again, cut otherwise perhaps: see `joining`."""
        if self._bad_rows:
            key = segment_key(self._execution, self._kept_to, self.state.next_offset)
            body = b"".join(self._bad_rows)
            self._place.objects.put(self._execution.source.bucket, key, body, "application/octet-stream")
            self._bad_rows, self._bad_bytes = [], 0
        self._kept_to = self.state.next_offset

    def save_if_moved(self) -> None:
        if self.state != self._saved:
            self.save()

    def breathe(self) -> None:
        """A slow destination, or a long way to the next line, must not cost the lease."""
        if self._place.clock.now_ms() - self._saved_ms >= RENEW_MS:
            self.save()

    def breathe_writing(self) -> None:
        """As `breathe`. Raises Throttled: else it would be killed in the middle of a batch, and blamed for it."""
        self.breathe()
        if self._place.remaining_ms() < self._reserve_ms // 2:
            raise Throttled(f"time is up in the middle of the batch at byte {self.state.next_offset}")

    def give_back(self) -> None:
        """This try ends for no fault of the part. What is left of the lease would only keep the next one waiting."""
        state = self._with_what_was_spent(self._without_this_try(self._saved))
        with suppress(Unavailable):
            self._place.records.release(self._execution, state, self._owner)

    def _with_what_was_spent(self, state: PartState) -> PartState:
        # What is taken out here and then not saved, as another owns the part now, is lost: a bill is "at least".
        return replace(state, spent=state.spent.plus(self._place.meter.taken(self._place.clock.now_ms())))

    # -- the time -----------------------------------------------------------------------------------------------

    @property
    def time_is_short(self) -> bool:
        """What is left is reserved for ending: at least twice the slowest batch. Or no more may be read now."""
        return self._place.remaining_ms() < self._reserve_ms or not self._place.may_read_on()

    @property
    def has_moved(self) -> bool:
        """Whether this invocation has done a batch: every one does, however little time it has."""
        return self.state.next_offset != self._begun

    def hand_on(self) -> None:
        """The rest is another invocation's: the order is the module's rule.

        Raises:
            Fenced, Unavailable.
        """
        hops, waits = self.state.hops + self.has_moved, self.state.waits + (not self.has_moved)
        self.state = replace(self._without_this_try(self.state), hops=hops, waits=waits)
        self.save()
        delay_s = 0 if self.has_moved else random.randint(*THROTTLED_DELAY_S)  # nosec B311  # a pause is no secret
        task = Task(self._execution.id, self.state.start, self._execution.priority)
        self._place.dispatch.send([task], delay_s)
        self._place.records.release(self._execution, self.state, self._owner)
        self._place.telemetry.handed_on(self._execution, self.state)

    @staticmethod
    def _without_this_try(state: PartState) -> PartState:
        return replace(state, tries=max(state.tries - 1, 0))
