"""What executions need from the world, as narrow as their order of effects allows. `aws/` has the real ones."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from importer.model import Clock, Execution, LeaseHeld, Outcome, Part, PartState, Provenance, S3Object, Value
from importer.notification import Dropped
from importer.sinks import Sink


class Writer(Protocol):
    """An object being written in constant memory. It appears, whole, with `commit`; without it, nothing does."""

    def __enter__(self) -> "Writer": ...

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None: ...

    def write(self, data: bytes) -> None: ...

    def commit(self) -> None: ...


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

    def exists(self, bucket: str, key: str) -> bool:
        """Whether there is an object of this key now."""

    def put(self, bucket: str, key: str, body: bytes, content_type: str) -> None:
        """Write an object; durable when it returns."""

    def writer(self, bucket: str, key: str, content_type: str) -> Writer: ...

    def keys(self, bucket: str, prefix: str) -> Iterator[str]:
        """Keys under a prefix in byte order."""

    def copy(self, source: S3Object, key: str, sha256: str) -> None:
        """Make `key` a proven copy of the source (bytes, metadata, tags); nothing to do if it already is one.

        Raises:
            ObjectProblem: object_gone, replaced_while_reading: the source is no longer there to be copied.
        """

    def delete_version(self, source: S3Object) -> None:
        """Delete this version and no other; without versioning, only while the object has this ETag (I4, N1)."""

    def hide(self, source: S3Object) -> None:
        """Put a delete marker over this version, if it is the current one; no byte is lost."""

    def delete(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete objects of ours."""

    def versions(self, bucket: str, prefix: str) -> Iterator[S3Object]:
        """Every version of every object under a prefix, in byte order of the keys, but for those somebody deleted."""


class Records(Protocol):
    """The imports table. Every read is consistent; a conditional write whose reply was lost is read back (F8)."""

    def execution(self, execution_id: str) -> Execution | None: ...

    def create(self, execution: Execution) -> Execution:
        """The execution as it is now: this one, or the one another delivery made before."""

    def unfinished(self, source_uri: str) -> list[str]:
        """Ids of executions of any version of this object that are not closed. A hint: may lag (F10)."""

    def definition(self, import_id: str) -> Value:
        """What is stored as the import definition of that id; None if nothing is. `Definition.named` judges it."""

    def begin(self, execution: Execution, now_ms: int) -> Execution:
        """PENDING → RUNNING."""

    def restart(self, execution: Execution, rules_version: int) -> Execution:
        """Begin an unfinished execution again under newer rules, from its first byte."""

    def claim(
        self, execution: Execution, part: Part, owner: str, now_ms: int, lease_until_ms: int
    ) -> PartState | LeaseHeld:
        """Take a part whose lease is free or has run out. A part already done is given without a lease.

        Raises:
            Unavailable: newer rules than ours have begun on it.
        """

    def progress(
        self, execution: Execution, before: PartState, after: PartState, owner: str, lease_until_ms: int
    ) -> None:
        """Move a part's position, if it is still ours and stands where we left it; renews the lease.

        Raises:
            Fenced: it is not ours any more.
        """

    def part_done(self, execution: Execution, start: int) -> Execution:
        """Add a part to the set of finished ones. Repeating it changes nothing."""

    def parts(self, execution_id: str) -> list[PartState]: ...

    def claim_stem(self, day: str, stem: str, execution_id: str) -> bool:
        """Whether this execution has this day's stem for its four objects, now or since an earlier try."""

    def finalise(self, execution: Execution, outcome: Outcome) -> Execution:
        """Fix the outcome. The execution as it then is: with ours, or with the one fixed before."""

    def fail(self, execution: Execution, code: str, message: str) -> Execution:
        """End it FAILED, if it still is in the phase it was given in. The execution as it then is."""

    def fence(self, execution: Execution, parts: Iterable[Part]) -> None:
        """Take every part's ownership for ever: no worker's progress is accepted after this."""

    def close(self, execution: Execution, outcome: Outcome) -> bool:
        """Nothing is left to do: FINALISING becomes SUCCEEDED. False if another worker closed it."""


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


class Telemetry(Protocol):
    """What operators see; telemetry.py names every metric and log key."""

    def delivered(self, dropped: Dropped, execution: Execution) -> None: ...

    def waited(self, execution: Execution, renewed: bool) -> None: ...

    def closed(self, execution: Execution) -> None: ...

    def swept(self, bucket: str, waiting: Waiting) -> None: ...


@dataclass(frozen=True, slots=True)
class Workplace:
    """Everything a worker works with.

    Attributes:
        open_sink: the named destinations, opened for one execution. Raises Unavailable for one that is not set up.
        sinks: names of the destinations that new executions write to; an execution keeps those it began with.
        remaining_ms: time left to this invocation.
        progress_every_ms: how long the position may lag behind the work; what a crash makes to be done again.
    """

    objects: Objects
    records: Records
    open_sink: Callable[[Provenance, tuple[str, ...]], Sink]
    sinks: tuple[str, ...]
    clock: Clock
    telemetry: Telemetry
    remaining_ms: Callable[[], int]
    progress_every_ms: int
