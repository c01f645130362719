"""Import by URI: the order in which a file comes from its source to `imports/`, and what may be killed where.

    claim                                   # conditional; says where the fetch really stands
    open the source at that offset          # still the same version? else a new upload, from its begin
    for each piece:
       piece sent                           # 1 durable, as a piece of an upload nobody sees yet
       position moves                       # 2 ONE conditional write on owner, previous position and round
    time short? → released, message sent    # 3 the next invocation goes on from the position
    received → the upload is completed      # 4 the file appears, whole; S3 tells the importer, as of any dropped file
    ended                                   # 5 SUCCEEDED, with the version that appeared

Two workers at one fetch cannot mix versions: pieces of one upload are all of one version of the source (its validator
is part of the round), a changed source begins a new upload, and only who owns the fetch completes one. What both send
is the same piece, twice. A message delivered again meets a fetch that has ended, or a lease: then it comes back later.

Trade-off: after a crash between 4 and 5 the next worker finds its upload gone, and looks for what it became: the file
by the mark in its metadata, or its execution. Where it finds neither, it fetches again; rows are not doubled by that.
"""

import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from importer import formats
from importer.bad_rows import ObjectProblem
from importer.definitions import DEFAULT
from importer.executions.plain_text import HEAD_STORED_BYTES
from importer.executions.starting import execution_id_of, judge_name
from importer.fetches import Body, Cut, Fetch, FetchReason, Nudged, Refused, UnknownFetch, piece_bytes_of
from importer.model import Clock, Execution, Fenced, LeaseHeld, S3Object, Status, Unavailable, UploadGone, Value
from importer.recognition import recognised_stored

LEASE_MS: Final = 120_000  # renewed every RENEW_MS; between two renewals at most one receive (30 s) and one piece sent
RENEW_MS: Final = 15_000
RESERVE_MS: Final = 30_000  # of an invocation's time: a piece, a note and a message fit into it
MOST_RESTARTS: Final = 5
# Tries in vain, with these pauses in seconds between them. Before a source has answered once, a person waits, and a
# name or port that is wrong stays wrong: the first few. After that it is worth an hour.
PAUSES_S: Final = (1, 2, 4, 15, 30, 60, 120, 300, 600, 900)
FIRST_TRIES: Final = 4
SWEPT_AFTER_MS: Final = 20 * 60_000  # without a lease: longer than the longest pause, during which its message waits
LONGEST_PATIENCE_MS: Final = 6 * 3_600_000  # between two messages the sweep sends of one fetch
SWEEP_RESERVE_MS: Final = 5_000  # of a sweep's time: cut by its time-out, it would lose its metrics, and ring an alarm
_TYPES: Final = {".gz": "application/gzip", ".zst": "application/zstd", ".csv": "text/csv"}


class Fetches(Protocol):
    """The records of fetches. Every read is consistent; a conditional write whose reply was lost is read back (F8).

    Every method raises Unavailable.
    """

    def fetch(self, fetch_id: str) -> Fetch | None: ...

    def create_fetch(self, fetch: Fetch) -> Fetch:
        """The fetch of this id as it is now: this one, or the one made before."""

    def claim_fetch(self, fetch_id: str, owner: str, now_ms: int, lease_until_ms: int) -> Fetch | LeaseHeld:
        """Take a fetch whose lease is free or has run out. One that has ended is given without a lease."""

    def keep_fetch(self, before: Fetch, after: Fetch, owner: str, lease_until_ms: int, release: bool = False) -> None:
        """Write where a fetch stands, if it is ours and stood where `before` says.

        Args:
            release: give it up; then the lease has run out at the time given.
        Raises:
            Fenced: it is not ours any more.
        """

    def unfinished_fetch_ids(self) -> list[str]:
        """Ids of fetches that have not ended. A hint: may lag (F10)."""

    def unfinished_fetch(self, fetch_id: str) -> tuple[Fetch, int] | None:
        """A fetch with the time its lease ran or runs out (0: nobody ever held it); None if it has ended."""

    def nudged(self, fetch_id: str) -> Nudged:
        """When the sweep last sent a fetch on."""

    def write_nudged(self, fetch_id: str, nudged: Nudged) -> None: ...

    def definition(self, import_id: str) -> Value: ...

    def execution_since(self, uri: str, since_ms: int) -> Execution | None:
        """The first execution of a file dropped under this URI at or after this time. A hint: may lag."""


class Landing(Protocol):
    """Where files land: `imports/` of the bucket. Every method raises Unavailable; those of an upload UploadGone."""

    @property
    def bucket(self) -> str: ...

    def begin(self, key: str, content_type: str, fetch_id: str) -> str:
        """The id of a new upload; what appears of it says of which fetch it is."""

    def send(self, key: str, upload_id: str, number: int, body: bytes) -> None:
        """Make piece `number`, from 1, durable; the same number again replaces it."""

    def complete(self, key: str, upload_id: str, count: int) -> S3Object:
        """Make the file appear."""

    def empty(self, key: str, content_type: str, fetch_id: str) -> S3Object:
        """Make a file of no bytes appear: it has no pieces."""

    def landed(self, key: str, fetch_id: str) -> S3Object | None:
        """The file there now, if it is of this fetch."""

    def abandon(self, key: str, upload_id: str) -> None:
        """Forget the pieces; what cannot be removed now is removed by the bucket's rule."""


class FetchQueue(Protocol):
    def send(self, fetch_id: str, delay_s: int = 0) -> None:
        """Make going on with a fetch somebody's job; at least once. Raises Unavailable."""


class FetchTelemetry(Protocol):
    def fetched(self, fetch: Fetch) -> None:
        """It has ended."""

    def fetch_handed_on(self, fetch: Fetch, why: str) -> None:
        """Another invocation goes on; `why` is "" where only the time was up."""

    def sweep_failed(self, what: str, trouble: Exception) -> None:
        """One fetch (its id) could not be sent on; the sweep goes on with the next."""


# Opens the source of a fetch at an offset, of the version a validator names, to be read within so many ms.
# Raises Refused, Cut.
Opener = Callable[[Fetch, int, str, int], Body]


@dataclass(frozen=True, slots=True)
class FetchPlace:
    """Everything a worker at a fetch works with.

    Attributes:
        most_bytes, most_ms: a larger file, or one that takes longer from being asked for, is refused.
    """

    records: Fetches
    landing: Landing
    opened: Opener
    queue: FetchQueue
    clock: Clock
    telemetry: FetchTelemetry
    remaining_ms: Callable[[], int]
    most_bytes: int
    most_ms: int


class _TimeIsUp(Exception):
    """This invocation's."""


def fetch_on(place: FetchPlace, fetch_id: str) -> Fetch:
    """Go on with a fetch, to its end or as long as there is time. The fetch as it then is.

    Raises:
        UnknownFetch: there is none of that id.
        Unavailable: AWS does not answer, or denies; the message comes again.
    """
    fetch = place.records.fetch(fetch_id)
    if fetch is None:
        raise UnknownFetch(f"there is no fetch {fetch_id[:64]!r}")
    if fetch.ended:
        return fetch
    owner, now_ms = uuid.uuid4().hex, place.clock.now_ms()
    claimed = place.records.claim_fetch(fetch_id, owner, now_ms, now_ms + LEASE_MS)
    if isinstance(claimed, LeaseHeld):
        # Its own message is out of sight, and comes again only if that worker dies. If it was this one, and it is being
        # deleted as a duplicate, nobody would come: so look again when the lease has run out.
        place.queue.send(fetch_id, max(1, -(-(claimed.lease_until_ms - now_ms) // 1000) + 1))
        return fetch
    return claimed if claimed.ended else _Work(place, owner, claimed).done()


def sweep_fetches(place: FetchPlace, older_than_ms: int) -> int:
    """Send on the fetches nobody is at: a lost message, or a worker that died with the last one. How many.

    A message that waits in a long queue looks like one that is lost. So the next one is sent when a worker has been at
    the fetch since and has died, and else only after twice as long each time: a backlog does not grow by being swept.
    One fetch in trouble keeps no other waiting (I8).
    """
    now_ms = place.clock.now_ms()
    ids = sorted(place.records.unfinished_fetch_ids(), key=lambda fetch_id: _fingerprint(fetch_id, now_ms))
    sent = 0
    for fetch_id in ids:  # in another order each time: where there is no time for all, none is always the last
        if place.remaining_ms() < SWEEP_RESERVE_MS:
            break  # the others are the next sweep's
        try:
            sent += _sent_on(place, fetch_id, now_ms, older_than_ms)
        except Unavailable as trouble:
            place.telemetry.sweep_failed(fetch_id, trouble)
    return sent


def _sent_on(place: FetchPlace, fetch_id: str, now_ms: int, older_than_ms: int) -> bool:
    found = place.records.unfinished_fetch(fetch_id)
    if found is None:
        return False
    fetch, lease_until_ms = found
    if max(lease_until_ms, fetch.created_ms) + older_than_ms >= now_ms:
        return False
    before = place.records.nudged(fetch_id)
    if lease_until_ms > before.at_ms:  # somebody has been at it since
        before = Nudged(0, 0)
    elif now_ms - before.at_ms < min(older_than_ms * 2**before.times, LONGEST_PATIENCE_MS):
        return False
    place.queue.send(fetch_id)
    place.records.write_nudged(fetch_id, Nudged(now_ms, before.times + 1))
    return True


def _fingerprint(fetch_id: str, now_ms: int) -> bytes:
    return hashlib.blake2b(f"{fetch_id} {now_ms}".encode(), digest_size=8).digest()


def content_type_of(key: str) -> str:
    return next((kind for ending, kind in _TYPES.items() if key.lower().endswith(ending)), "application/x-ndjson")


class _Work:
    """One worker's turn at a fetch it has claimed."""

    def __init__(self, place: FetchPlace, owner: str, fetch: Fetch) -> None:
        self._place = place
        self._owner = owner
        self._fetch = fetch
        self._began_at = fetch.next_offset
        self._renewed_ms = place.clock.now_ms()
        self._reserve_ms = min(RESERVE_MS, place.remaining_ms() // 3)

    def done(self) -> Fetch:
        try:
            self._turn()
        except Fenced:  # another worker took it when our lease had run out, and goes on
            return self._place.records.fetch(self._fetch.id) or self._fetch
        except Unavailable:
            self._give_up()
            raise
        return self._fetch

    def _turn(self) -> None:
        try:
            if self._fetch.start_ms is None:
                self._keep(replace(self._fetch, status=Status.RUNNING, start_ms=self._place.clock.now_ms()))
            while not self._fetch.received:
                self._receive()
            self._land()
        except Refused as refused:
            self._end(Status.FAILED, error_code=refused.code.value, error_message=refused.message)
            if self._fetch.upload_id:
                self._place.landing.abandon(self._fetch.key, self._fetch.upload_id)
        except _Later as later:
            self._hand_on(later)

    # -- receiving ----------------------------------------------------------------------------------------------

    def _receive(self) -> None:
        """Read on until all is durable. Whatever goes wrong on the way is tried again, in growing pauses."""
        try:
            body = self._opened()
            try:
                self._store(body)
            finally:
                body.close()
        except _TimeIsUp:
            if self._fetch.next_offset > self._began_at:
                raise _Later(0, "") from None
            # Nothing whole came in all that time: that is a try in vain, or a source that drips would go on for ever.
            self._in_vain(Cut("it sends too slowly: not one piece in a whole invocation"))
        except UploadGone:
            # Taken away by the bucket's rule, after days. (Completed by another worker: then keeping is refused.)
            self._begin_again(self._fetch.total_bytes, "")
        except Cut as cut:
            self._in_vain(cut)

    def _opened(self) -> Body:
        """The source, at our position; the fetch agrees with the version it is."""
        fetch, place = self._fetch, self._place
        if fetch.created_ms + place.most_ms <= place.clock.now_ms():
            raise Refused(
                FetchReason.TIMED_OUT,
                f"the file had not come after {place.most_ms // 60_000:,} minutes (UriMaxMinutes): "
                f"{fetch.next_offset:,} bytes had; ask again, or raise it",
            )
        resumable = fetch.next_offset if fetch.validator else 0
        body = place.opened(fetch, resumable, fetch.validator, self._time_ms())
        try:
            same = (
                bool(fetch.upload_id)
                and bool(fetch.validator)
                and (body.validator, body.total_bytes or fetch.total_bytes)
                == (fetch.validator, fetch.total_bytes or body.total_bytes)
            )
            if not same:
                if body.offset:  # a part of another version: what is before it we do not have
                    body.close()
                    body = place.opened(fetch, 0, "", self._time_ms())
                self._begin_again(body.total_bytes, body.validator)
            elif fetch.total_bytes is None and body.total_bytes is not None:
                self._keep(replace(fetch, total_bytes=body.total_bytes))
        except BaseException:
            body.close()
            raise
        return body

    def _begin_again(self, total_bytes: int | None, validator: str) -> None:
        """A new upload, from the first byte: of a source that answers for the first time, or that has changed."""
        fetch, landing = self._fetch, self._place.landing
        restarts = fetch.restarts + (1 if fetch.next_offset else 0)
        if restarts > MOST_RESTARTS:
            reason = "changes while it is read" if fetch.validator else "says neither ETag nor Last-Modified"
            raise Refused(
                FetchReason.SOURCE_CHANGED,
                f"the source {reason}, so that reading it began again {MOST_RESTARTS} times: publish it under a name "
                "of its own, or download it and drop it",
            )
        upload_id = landing.begin(fetch.key, content_type_of(fetch.key), fetch.id)
        begun = replace(
            fetch,
            upload_id=upload_id,
            validator=validator,
            total_bytes=total_bytes,
            piece_bytes=piece_bytes_of(total_bytes, self._place.most_bytes),
            next_offset=0,
            restarts=restarts,
        )
        try:
            self._keep(begun)
        except Fenced:
            landing.abandon(fetch.key, upload_id)
            raise
        self._began_at = 0
        if fetch.upload_id:
            landing.abandon(fetch.key, fetch.upload_id)

    def _store(self, body: Body) -> None:
        skip = self._fetch.next_offset - body.offset  # N11: the whole again, of the same version
        piece = bytearray()
        for chunk in body.chunks():
            self._renew()
            if skip >= len(chunk):
                skip -= len(chunk)
                continue
            piece += memoryview(chunk)[skip:] if skip else chunk
            skip = 0
            while len(piece) >= self._fetch.piece_bytes:
                self._send(bytes(piece[: self._fetch.piece_bytes]))
                del piece[: self._fetch.piece_bytes]
        if skip:
            raise Cut("the source ended earlier than before")
        total = self._fetch.next_offset + len(piece)
        if piece or not total:
            self._send(bytes(piece), received=True)
        else:
            self._keep(replace(self._fetch, received=True, total_bytes=total, tries=0))

    def _send(self, piece: bytes, received: bool = False) -> None:
        fetch = self._fetch
        if not fetch.next_offset:
            self._judge(piece[:HEAD_STORED_BYTES])
        if piece:
            self._place.landing.send(fetch.key, fetch.upload_id, fetch.pieces + 1, piece)
        at = fetch.next_offset + len(piece)
        total = at if received else fetch.total_bytes
        self._keep(replace(fetch, next_offset=at, total_bytes=total, received=received, tries=0))
        if not received:
            self._renew()

    def _judge(self, head: bytes) -> None:
        """Raises Refused(wrong_kind) for a name that its import would refuse, now that the rows say their dialect."""
        import_id = self._fetch.import_id
        stored = self._place.records.definition(import_id) if import_id else None
        definition = DEFAULT if stored is None else formats.named(import_id, stored)
        try:
            format_name = definition.format or recognised_stored([head], definition).format
            judge_name(self._fetch.key, format_name, definition.mime_type)
        except ObjectProblem as problem:
            raise Refused(FetchReason.WRONG_KIND, problem.message) from problem

    # -- landing ------------------------------------------------------------------------------------------------

    def _land(self) -> None:
        fetch, landing = self._fetch, self._place.landing
        self._keep(fetch)  # ours still: an upload is completed by its owner alone
        try:
            if fetch.next_offset:
                file = landing.complete(fetch.key, fetch.upload_id, fetch.pieces)
            else:
                file = landing.empty(fetch.key, content_type_of(fetch.key), fetch.id)
                landing.abandon(fetch.key, fetch.upload_id)
        except UploadGone:
            execution_id, version_id = self._what_it_became()
        else:
            execution_id, version_id = execution_id_of(file), file.version_id or ""
        self._end(Status.SUCCEEDED, execution_id=execution_id, version_id=version_id)

    def _what_it_became(self) -> tuple[str, str]:
        fetch = self._fetch
        landed = self._place.landing.landed(fetch.key, fetch.id)
        if landed is not None:
            return execution_id_of(landed), landed.version_id or ""
        uri = f"s3://{self._place.landing.bucket}/{fetch.key}"
        execution = self._place.records.execution_since(uri, fetch.start_ms or fetch.created_ms)
        if execution is not None:
            return execution.id, execution.source.version_id or ""
        self._keep(replace(fetch, received=False))
        self._begin_again(None, "")
        raise _Later(1, "its upload was taken away")

    # -- ending an invocation -----------------------------------------------------------------------------------

    def _in_vain(self, cut: Cut) -> None:
        """Pause, and return to try again; or leave it to another invocation, or give up.

        Raises:
            _Later, Refused(unreachable).
        """
        tries = self._fetch.tries + 1
        self._keep(replace(self._fetch, tries=tries))
        most = len(PAUSES_S) if self._fetch.upload_id else FIRST_TRIES
        if tries >= most:
            raise Refused(FetchReason.UNREACHABLE, f"{cut.message} (tried {tries} times): ask again when it is mended")
        pause_s = max(PAUSES_S[tries - 1], cut.after_s)
        if pause_s > RENEW_MS // 1000 or pause_s * 1000 > self._place.remaining_ms() - self._reserve_ms:
            raise _Later(pause_s, cut.message)
        self._place.clock.sleep(pause_s)

    def _hand_on(self, later: "_Later") -> None:
        self._keep(self._fetch, release=True)  # before the message, or the next worker would meet our lease
        self._place.queue.send(self._fetch.id, later.after_s)
        self._place.telemetry.fetch_handed_on(self._fetch, later.why)

    def _give_up(self) -> None:
        try:
            self._keep(self._fetch, release=True)
        except (Unavailable, Fenced):
            return  # the lease runs out

    def _end(self, status: Status, **what: str) -> None:
        ended = replace(self._fetch, status=status, end_ms=self._place.clock.now_ms(), query="", **what)  # type: ignore[arg-type]
        self._keep(ended, release=True)
        self._place.telemetry.fetched(ended)

    def _keep(self, after: Fetch, release: bool = False) -> None:
        now_ms = self._place.clock.now_ms()
        until_ms = now_ms if release else now_ms + LEASE_MS
        self._place.records.keep_fetch(self._fetch, after, self._owner, until_ms, release)
        self._fetch, self._renewed_ms = after, now_ms

    def _renew(self) -> None:
        """Raises _TimeIsUp."""
        if self._place.remaining_ms() < self._reserve_ms:
            raise _TimeIsUp
        if self._place.clock.now_ms() - self._renewed_ms >= RENEW_MS:
            self._keep(self._fetch)

    def _time_ms(self) -> int:
        """For one connection: to the end of this invocation, less the reserve, and of the fetch."""
        until_end_ms = self._fetch.created_ms + self._place.most_ms - self._place.clock.now_ms()
        left_ms = min(self._place.remaining_ms() - self._reserve_ms, until_end_ms)
        if left_ms <= 0:
            raise _TimeIsUp
        return left_ms


class _Later(Exception):
    """This invocation ends; another one goes on."""

    def __init__(self, after_s: int, why: str) -> None:
        super().__init__(why)
        self.after_s = after_s
        self.why = why
