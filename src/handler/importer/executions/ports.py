"""What executions need from the world, as narrow as their order of effects allows. `aws/` has the real ones."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import IO, Final, Protocol

from importer.costs import Meter
from importer.definitions import StoredDefinition
from importer.model import (
    Clock,
    Execution,
    LeaseHeld,
    Mending,
    Outcome,
    Part,
    PartState,
    Provenance,
    S3Object,
    Task,
    Turn,
    Value,
    Watched,
)
from importer.notification import Dropped
from importer.sinks import Sink

RESERVE_MS: Final = 30_000


class Notebook(Protocol):
    """Where the long steps of a settling write down how far they are, so that another worker goes on from there.

    One page for each step. Two workers may be at it at once: the first to write goes on, the other stops.
    """

    def page(self, step: str) -> dict[str, Value]:
        """What was last kept for a step; {} if nothing was."""

    def is_due(self) -> bool:
        """Whether `keep` would write now; where a page takes some making, ask before, after every piece of work."""

    def keep(self, step: str, page: dict[str, Value], at_once: bool = False) -> None:
        """The step stands here now. Call it after every piece of work, however small: it writes every few seconds only.

        Args:
            at_once: durable when it returns.
        Raises:
            Fenced: another worker has written since; it goes on.
            TimeIsUp: the page was saved, and this invocation ends.
        """


class Pieces(Protocol):
    """An object being made of pieces, by several invocations one after another. It appears, whole, with `complete`.

    Every method raises Unavailable, and UploadGone where S3 knows the upload no more: completed by another worker, or
    taken away.
    """

    @property
    def upload_id(self) -> str: ...

    def send(self, number: int, body: bytes | IO[bytes]) -> None:
        """Upload a piece, at least 5 MiB but for the last (N6); the same number again replaces it.

        Args:
            body: of a file all of it; where it stands afterwards is not said.
        """

    def complete(self, count: int) -> None:
        """Make the object appear of pieces 1…count; durable when it returns."""


class Objects(Protocol):
    """Objects of a bucket. Every method raises Unavailable when AWS does not answer or denies."""

    def head(self, dropped: Dropped) -> S3Object | None:
        """The version a notification named (the current one where it named none); None if it is gone."""

    def read(self, source: S3Object, start: int, stop: int | None = None) -> Iterator[bytes]:
        """The stored bytes of `[start, stop)`, whatever happens on the wire; never a quiet early end.

        Args:
            stop: None reads to the end.

        Raises:
            ObjectProblem: object_gone, replaced_while_reading, object_archived.
        """

    def get(self, bucket: str, key: str) -> bytes | None:
        """A small object of ours; None if there is none."""

    def bodies(self, bucket: str, keys: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Each key in turn with its small object; several are read ahead."""

    def exists(self, bucket: str, key: str) -> bool:
        """Whether there is an object of this key now."""

    def put(self, bucket: str, key: str, body: bytes | IO[bytes], content_type: str, over: str | None = None) -> None:
        """Write an object; durable when it returns.

        Args:
            body: of a file all of it; where it stands afterwards is not said.
            over: only if the object is still as `seen` said.
        Raises:
            Fenced: it is not; another worker has written.
        """

    def seen(self, bucket: str, key: str) -> str:
        """What stands for an object as it is now; "" if there is none."""

    def size(self, bucket: str, key: str) -> int | None:
        """Bytes of an object of ours; None if there is none."""

    def pieces(self, bucket: str, key: str, content_type: str, upload_id: str = "") -> Pieces:
        """An object in pieces: begun, or the one begun before under this id."""

    def keys(self, bucket: str, prefix: str, after: str = "") -> Iterator[str]:
        """Keys under a prefix in byte order, those behind `after`."""

    def copy(self, source: S3Object, key: str, sha256: str, notebook: Notebook) -> None:
        """Make `key` a proven copy of the source (bytes, metadata, tags); nothing to do if it already is one.

        Pages "copy" and "proof" of the notebook are its own.

        Raises:
            ObjectProblem: object_gone, replaced_while_reading: the source is no longer there to be copied.
            Fenced, TimeIsUp: see `Notebook.keep`.
        """

    def delete_version(self, source: S3Object) -> None:
        """Delete this version and no other; without versioning, only while the object has this ETag (I4, N1)."""

    def hide(self, source: S3Object) -> None:
        """Put a delete marker over this version, if it is the current one; no byte is lost."""

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete objects of ours."""

    def versions(self, bucket: str, prefix: str) -> Iterator[S3Object]:
        """Every version of every object under a prefix, in byte order of the keys, but for those somebody deleted."""


class Dispatch(Protocol):
    """The part queue: at least once, in any order."""

    def send(self, tasks: Sequence[Task], delay_s: int = 0) -> None:
        """Make tasks somebody's job; durable when it returns.

        Args:
            delay_s: not before this long, at most 900.
        Raises:
            Unavailable: some may have been sent.
        """


class Records(Protocol):
    """The imports table. Every read is consistent; a conditional write whose reply was lost is read back (F8)."""

    def execution(self, execution_id: str) -> Execution | None: ...

    def create(self, execution: Execution) -> Execution:
        """The execution as it is now: this one, or the one another delivery made before."""

    def unfinished(self, source_uri: str) -> list[str]:
        """Ids of executions of any version of this object that are not closed. A hint: may lag (F10)."""

    def unfinished_below(self, uri: str) -> list[str]:
        """As `unfinished`, of every object whose URI begins so."""

    def definitions(self) -> Iterator[StoredDefinition]:
        """All import definitions, newest first. A hint: may lag, and misses those written by hand."""

    def turn(self, import_id: str) -> Turn:
        """Where a recurring import stands."""

    def write_turn(self, import_id: str, turn: Turn) -> Turn:
        """Write where it stands, if nobody has since `turn` was read; as it is then.

        Raises:
            Fenced: another run has.
        """

    def definition(self, import_id: str) -> Value:
        """What is stored as the import definition of that id; None if nothing is. `Definition.named` judges it."""

    def begin(self, execution: Execution, now_ms: int) -> Execution:
        """PENDING → RUNNING."""

    def cancel(self, execution: Execution) -> Execution:
        """End it CANCELED, if it is still being imported. The execution as it then is."""

    def redrive(self, execution: Execution, start_over: bool) -> Execution:
        """FAILED → PENDING, the next attempt: its parts may be claimed again where they stand, or from their begin."""

    def restart(self, execution: Execution, rules_version: int) -> Execution:
        """Begin an unfinished execution again under newer rules, from its first byte."""

    def check(self, execution: Execution) -> Execution:
        """All rows of a file that is stored as a whole were found good: it is read again, and they are written."""

    def claim(
        self, execution: Execution, part: Part, owner: str, now_ms: int, lease_until_ms: int
    ) -> PartState | LeaseHeld:
        """Take a part whose lease is free or has run out; counts a try. A part already done is given without a lease.

        Raises:
            Unavailable: newer rules than ours have begun on it.
            Fenced: a later round has.
        """

    def progress(
        self, execution: Execution, before: PartState, after: PartState, owner: str, lease_until_ms: int
    ) -> None:
        """Move a part's position, if it is still ours and stands where we left it; renews the lease.

        Raises:
            Fenced: it is not ours any more.
        """

    def release(self, execution: Execution, state: PartState, owner: str) -> None:
        """Give a part up where it stands, if it is still ours; `tries` and `spent` become what `state` says."""

    def part_done(self, execution: Execution, start: int) -> Execution:
        """Add a part to the set of finished ones. Repeating it changes nothing."""

    def parts(self, execution_id: str) -> list[PartState]:
        """Those of its parts that were ever claimed or fenced, by offset."""

    def leases(self, execution_id: str) -> dict[int, int]:
        """Start of each part that somebody holds → when its lease runs out."""

    def notes(self, execution_id: str) -> tuple[int, dict[str, dict[str, Value]]]:
        """The pages of a settling's notebook, and how often it was written; 0 and {} for none."""

    def write_notes(self, execution_id: str, version: int, pages: dict[str, dict[str, Value]]) -> None:
        """Write the notebook, if it was written `version` times until now.

        Raises:
            Fenced: it was written by another worker.
        """

    def all_unfinished(self) -> Iterator[str]:
        """Ids of all executions that are not closed. A hint: may lag (F10)."""

    def watched(self, execution_id: str) -> Watched | None:
        """What the sweep last saw of an execution."""

    def watch(self, execution_id: str, watched: Watched) -> None: ...

    def link_mending(self, parent_id: str, mending: Mending) -> None:
        """Note at an execution that another's file has its bad rows, mended. Repeating it changes nothing."""

    def mendings(self, parent_id: str) -> list[Mending]:
        """What was noted so of an execution."""

    def claim_stem(self, day: str, stem: str, execution_id: str) -> bool:
        """Whether this execution has this day's stem for its four objects, now or since an earlier try."""

    def finalise(self, execution: Execution, outcome: Outcome) -> Execution:
        """Fix the outcome. The execution as it then is: with ours, or with the one fixed before."""

    def fix(self, execution: Execution, outcome: Outcome) -> Execution:
        """Fix the outcome of an execution that is CLOSING. The execution as it then is, as with `finalise`."""

    def fail(self, execution: Execution, code: str, message: str) -> Execution:
        """End it FAILED, if it still is in the phase it was given in. The execution as it then is."""

    def fence(self, execution: Execution, parts: Iterable[Part]) -> None:
        """Take every part's ownership for this attempt: no worker's progress is accepted after this."""

    def close(self, execution: Execution, outcome: Outcome) -> bool:
        """Nothing is left to do: FINALISING becomes SUCCEEDED. False if another worker closed it."""

    def let_go(self, execution: Execution, day: str, stem: str) -> None:
        """Let what is kept beside an execution, of which nothing is left but to close it, be forgotten when it will be.

        Nothing to do where all is kept; again it changes nothing.

        Args:
            day, stem: as `claim_stem` has them.
        """


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a sweep found under `imports/`.

    Attributes:
        files: how many wait; where `complete` is False, those nobody has looked at are among them.
        oldest: the one that has waited longest; None where nothing waits.
        oldest_seconds: since it was dropped; 0 where nothing waits.
        complete: everything was listed and looked at.
    """

    files: int
    oldest: S3Object | None
    oldest_seconds: int
    complete: bool


class Found(StrEnum):
    """What the execution of a waiting file says."""

    UNKNOWN = "unknown"  # there is none: no notification has told of the file
    UNFINISHED = "unfinished"
    SCHEDULED = "scheduled"  # of a recurring import: begun or not, its next run is to read it
    TO_MOVE = "to_move"  # SUCCEEDED, and the source is still there


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep over the unfinished executions did.

    Attributes:
        unfinished: executions looked at.
        sent_on: those for which tasks were sent.
        failed: those that could not be looked at or sent on.
        complete: all of them were looked at.
    """

    unfinished: int
    sent_on: int
    failed: int
    complete: bool


class Telemetry(Protocol):
    """What operators see; telemetry.py names every metric and log key."""

    def delivered(self, dropped: Dropped, execution: Execution) -> None: ...

    def left_to_schedule(self, dropped: Dropped) -> None:
        """A file of a recurring import's series was told of; it waits for a run."""

    def ran(self, import_id: str, ended: int, waiting: str | None) -> None:
        """A run of a recurring import got through: how many files came to their end; the key it stopped at, if any."""

    def run_failed(self, what: str, trouble: Exception) -> None:
        """A file or a recurring import could not be taken up; the run goes on with the next."""

    def waited(self, execution: Execution, renewed: bool) -> None: ...

    def handed_on(self, execution: Execution, part: PartState | None) -> None:
        """The time of an invocation was up; None: while settling."""

    def closed(self, execution: Execution, now_ms: int, refused: Mapping[str, int]) -> None:
        """It has ended, now; `refused` are its bad rows by their reason, as far as it is known."""

    def swept(self, bucket: str, waiting: Waiting) -> None: ...

    def swept_unfinished(self, swept: Swept) -> None: ...

    def sent_on(self, execution: Execution) -> None:
        """The sweep found an execution that nobody got on with."""

    def found(self, file: S3Object, found: Found) -> None:
        """The sweep took up a file that waited."""

    def sweep_failed(self, what: str, trouble: Exception) -> None:
        """One execution (its id) or file (its URI) could not be taken up; the sweep goes on with the next."""


@dataclass(frozen=True, slots=True)
class Workplace:
    """Everything a worker works with.

    Attributes:
        open_sink: the named destinations, opened for one execution; the last argument is called when they have nothing
            to do but wait. Raises Unavailable for one that is not set up.
        sinks: names of the destinations that new executions write to; an execution keeps those it began with.
        remaining_ms: time left to this invocation.
        own_bucket: the stack's, in which recurring imports look for their files; "" where there is none.
        may_read_on: whether another batch may be begun, if there is time: what else bounds an invocation's reading.
        progress_every_ms: how long the position may lag behind the work; what a crash makes to be done again.
        dispatch: where the rest of the work goes.
        part_bytes: what a large object is cut by.
        hop_ms: time a whole invocation of the part function has.
        meter: what this invocation spends. Where nothing is told to it, nothing is counted.
    """

    objects: Objects
    records: Records
    open_sink: Callable[[Provenance, tuple[str, ...], Callable[[], None]], Sink]
    sinks: tuple[str, ...]
    clock: Clock
    telemetry: Telemetry
    remaining_ms: Callable[[], int]
    progress_every_ms: int
    dispatch: Dispatch
    part_bytes: int
    hop_ms: int
    meter: Meter = field(default_factory=Meter)
    own_bucket: str = ""
    may_read_on: Callable[[], bool] = lambda: True

    def reserve_ms(self) -> int:
        """Of the time that is left when some work begins, what is kept for ending it in order.

        One bounded write, a segment, a note and a message fit into it; at most a third, however short an invocation is.
        """
        return min(RESERVE_MS, self.remaining_ms() // 3)
