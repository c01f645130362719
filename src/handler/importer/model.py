"""The nouns that cross a border between rooms. Imports nothing of ours.

A row's *address* is the offset of its first byte (of the decompressed bytes, where the object is compressed).
A *part* is a half-open interval `[start, stop)` and owns the lines that begin in it. A *batch* is the lines that
begin in one cell of a fixed byte grid. Offsets count bytes, times are integer milliseconds UTC.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal
from enum import StrEnum
from functools import lru_cache
from itertools import count
from typing import Final, Protocol, TypeAlias

# A change of anything that decides what a byte becomes (grid, row rules, ids) gets the next number. Executions pin it:
# a worker with a newer number starts an unfinished execution over, which deterministic ids make harmless.
RULES_VERSION = 4

TO_THE_END = 2**63 - 1  # the stop of a part whose length is not known: a compressed object

Value: TypeAlias = "str | int | float | bool | Decimal | dict[str, Value] | list[Value] | None"
Row: TypeAlias = dict[str, Value]


@dataclass(frozen=True, slots=True)
class LongLine:
    """What is kept of a line too long to be held; its bytes are copied from the source when they are needed.

    Attributes:
        size: its bytes, line end included.
        length: its bytes without the line end.
        head: the first of them.
        sha256: of all `size` bytes, hexadecimal.
    """

    size: int
    length: int
    head: bytes
    sha256: str

    def __len__(self) -> int:
        return self.size


Line: TypeAlias = tuple[int, bytes | LongLine]  # (address, bytes with their line end); millions of them: hence a tuple


@dataclass(frozen=True, slots=True)
class S3Object:
    """One version of one object, as HEAD described it before anything was read.

    `version_id` is None in a bucket without versioning; `last_modified_ms` has one-second resolution (N2). `mends` is
    what its metadata say of the execution whose bad rows it has, mended (`executions.mending`): no part of what it is.
    """

    bucket: str
    key: str
    version_id: str | None
    etag: str
    size_bytes: int
    last_modified_ms: int
    mends: str = field(default="", compare=False)

    @property
    def uri(self) -> str:
        return f"s3://{self.bucket}/{self.key}"


@dataclass(frozen=True, slots=True)
class Part:
    """The half-open interval of bytes whose lines one worker reads: it owns the lines that *begin* in it."""

    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Border:
    """Where a member of a compressed object begins: a place from which it can be decompressed, and nowhere else.

    `stored_offset` counts the bytes as stored, `plain_offset` those they expand to.
    """

    stored_offset: int
    plain_offset: int


@dataclass(slots=True)
class Event:
    """What a row says happened: ours, whatever dialect the row was written in."""

    event_id: str
    event_name: str
    event_time_ts: int
    user_id: str
    properties: Row
    address: int
    session_properties: Row | None = None
    identifiers: Row | None = None
    format: str = ""  # of its row, where the file's other rows are of another dialect
    expires_ms: int | None = None  # when it may be forgotten; None: never

    @property
    def event_key(self) -> str:
        """Sort key in the events table: 13 digits of time keep text order and time order the same (N8)."""
        return f"{self.event_time_ts:013d}#{self.event_id}"


@dataclass(slots=True)
class UserChange:
    """What a row says about a user: the new value of one record, and the time that decides which value wins.

    Attributes:
        record: `prop#<path>`, `segment#<id>`, `consent#<id>`, `link#<other identifier>` or `erased`; see `users`.
        index: place among the changes of its row; the later of two that say the same record wins.
        deleted: the record is taken away. It stays as a tombstone, so that an older value that comes later is told.
        expires_ms: when the record may be forgotten; None: never.
    """

    user_id: str
    record: str
    value: Value
    event_time_ts: int | None
    address: int
    index: int
    deleted: bool = False
    expires_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where events and user changes come from; the same for every row of an execution.

    `ranked` says that an event's id is not made of all of its row: of two rows with one id, the higher rank is kept.
    `order` is the execution's place among those that read one upload; "" is its id, as for all but replays.
    """

    format: str
    import_id: str
    execution_id: str
    key: str
    uploaded_ms: int
    ranked: bool = False
    order: str = ""


def event_id(format_name: str, row_text: bytes, index: int) -> str:
    """128-bit identity of one event: equal rows are one event, wherever and however often they are dropped.

    Rule: blake2b-128, hexadecimal, over `<format> LF <index> LF <row bytes without line end and byte order mark>`;
    `index` counts the events of a row from 0.
    """
    identity = identity_begun(format_name, index).copy()
    identity.update(row_text)
    return identity.hexdigest()


@lru_cache(maxsize=1_024)
def identity_begun(format_name: str, index: int) -> "hashlib.blake2b":
    """The hash of an `event_id` before the row: to be copied. Measured: that costs a fifth less than to begin anew."""
    return hashlib.blake2b(f"{format_name}\n{index}\n".encode(), digest_size=16)


def event_ids(format_name: str, row_text: bytes) -> Iterator[str]:
    """Identities of the events of a row that may have many, in their order, without end.

    Rule: the first is its `event_id`; of each later one it is that of its index and, for the row's bytes, the first's
    identity. A row may have a hundred thousand events: its bytes, which may be eight million, are hashed once.
    """
    first = event_id(format_name, row_text, 0)
    yield first
    for index in count(1):
        yield event_id(format_name, first.encode(), index)


def rank(change: UserChange, source: Provenance) -> str:
    """Order of changes to one user record; the highest wins, so any order of processing gives the same table.

    The row's time decides (without one, the upload's); then the upload's time, so that a mended file dropped again
    wins over its first version; key, execution, address and index only make the order total. A replay counts as of the
    upload it reads again, and behind that upload's earlier readings: it wins over them, and over nothing newer.
    """
    time_ms = source.uploaded_ms if change.event_time_ts is None else change.event_time_ts
    return _rank(time_ms, source, change.address, change.index)


def event_rank(event: Event, source: Provenance) -> str:
    """Order of events that have one id though their rows differ (K15). Their time is the same: it is in their key."""
    return _rank(event.event_time_ts, source, event.address, 0)


def _rank(time_ms: int, source: Provenance, address: int, index: int) -> str:
    order = source.order or source.execution_id
    return f"{time_ms:013d}#{source.uploaded_ms:013d}#{source.key}#{order}#{address:016d}#{index:06d}"


def uploaded_ms_of(rank_text: str) -> int:
    """When the file was uploaded that a rank speaks of."""
    return int(rank_text.split("#", 2)[1])


@dataclass(slots=True)
class Noted:
    """Something about good rows worth a line in the receipt: how many rows, and the first of them."""

    count: int
    first_line: int | None  # None: an earlier part of the file was not read to its end


@dataclass(slots=True)
class Tally:
    """Counts over the lines read so far. Absolute, never increments (F6). `lines = blank + rows`.

    Every row is one of: `good` (stored), `bad` (in errors/), `expired` (its own time to live was over before it was
    read), `erased` (of a person who was erased after it was uploaded), `withheld` (good, in a file that is stored as a
    whole or not at all, before it is known to be whole). Events and changes are those of good rows.
    `inner_lines` are lines of the file that begin no row: a CSV's header, and lines inside quoted fields.
    `top_users` are some of the users that turn up most, each with its events in the sampled batches (`batches`).
    """

    lines: int = 0
    blank: int = 0
    good: int = 0
    bad: int = 0
    events: int = 0
    user_changes: int = 0
    inner_lines: int = 0
    notes: dict[str, Noted] = field(default_factory=dict)
    expired: int = 0
    erased: int = 0
    withheld: int = 0
    sampled: int = 0  # events of the batches that were looked at for the users that turn up most
    top_users: dict[str, int] = field(default_factory=dict)  # of those: the ten of each batch, added up

    @property
    def file_lines(self) -> int:
        """Lines as an editor counts them."""
        return self.lines + self.inner_lines

    @property
    def rows(self) -> int:
        return self.good + self.bad + self.expired + self.erased + self.withheld

    def counts(self) -> dict[str, "Value"]:
        """As every document says them: `lines = rows + blank`, `rows = good + bad + expired + erased + withheld`."""
        return {name: getattr(self, name) for name in COUNTS}

    def plus(self, later: "Tally") -> "Tally":
        """The sum with a tally of the lines that follow; its `first_line` numbers must already count from ours."""
        notes = {code: replace(noted) for code, noted in self.notes.items()}
        for code, noted in later.notes.items():
            if code in notes:
                notes[code].count += noted.count
            else:
                notes[code] = replace(noted)
        top_users = dict(self.top_users)
        for user, events in later.top_users.items():
            top_users[user] = top_users.get(user, 0) + events
        return Tally(
            self.lines + later.lines,
            self.blank + later.blank,
            self.good + later.good,
            self.bad + later.bad,
            self.events + later.events,
            self.user_changes + later.user_changes,
            self.inner_lines + later.inner_lines,
            notes,
            self.expired + later.expired,
            self.erased + later.erased,
            self.withheld + later.withheld,
            self.sampled + later.sampled,
            top_users,
        )


@dataclass(frozen=True, slots=True)
class Usage:
    """What was taken of AWS's services, in the units they bill (`costs` turns it into money). Adds up in any order.

    No function of the file's bytes: what is tried again is paid again. So it stands beside a tally and not in it.

    Attributes:
        event_write_units, user_write_units: of the two tables that hold what was imported, indexes included; what an
            erasure deletes of either is among the second.
        ledger_write_units: of the imports table.
        read_units: of all tables.
        stream_records, stream_billed_bytes: taken by Firehose; each record rounded up to 5 KB.
        lambda_mb_ms: memory × time of the functions.
        s3_writes, s3_reads: as S3 bills them: PUT, COPY, POST and LIST; all others but DELETE.
        table_requests, stream_requests: for information; only their units are billed.
        throttled_requests: for information: those of which all or a part was put off as too much at once.
    """

    event_write_units: int = 0
    user_write_units: int = 0
    ledger_write_units: int = 0
    read_units: int = 0
    stream_records: int = 0
    stream_billed_bytes: int = 0
    lambda_mb_ms: int = 0
    lambda_requests: int = 0
    s3_writes: int = 0
    s3_reads: int = 0
    sqs_requests: int = 0
    table_requests: int = 0
    stream_requests: int = 0
    throttled_requests: int = 0

    def plus(self, other: "Usage") -> "Usage":
        return Usage(**{name: getattr(self, name) + getattr(other, name) for name in USAGE})

    def counts(self) -> dict[str, int]:
        """What is not 0, by name: as it is kept and told."""
        return {name: getattr(self, name) for name in USAGE if getattr(self, name)}


USAGE: Final = tuple(f.name for f in fields(Usage))

COUNTS: Final = ("lines", "blank", "rows", "good", "bad", "expired", "erased", "withheld", "events", "user_changes")


class Status(StrEnum):
    """Public status of an execution (D13)."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"


LEGAL_MOVES: dict[Status, frozenset[Status]] = {
    Status.PENDING: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELED}),
    Status.RUNNING: frozenset({Status.SUCCEEDED, Status.FAILED, Status.CANCELED}),
    Status.SUCCEEDED: frozenset(),
    Status.FAILED: frozenset({Status.PENDING}),  # by redrive only: attempt + 1, position kept
    Status.CANCELED: frozenset(),
}


class Phase(StrEnum):
    """What is being done inside a status. Only CLOSED leaves nothing to do."""

    IMPORTING = "IMPORTING"
    FINALISING = "FINALISING"  # destination, end date and sums are fixed; nothing but settling is left
    CLOSING = "CLOSING"  # ended FAILED or CANCELED; fence, errors and receipt are still to be made
    CLOSED = "CLOSED"


@dataclass(frozen=True, slots=True)
class Destination:
    """Where an execution's four objects go; keys in the bucket of the source."""

    completed: str
    errors: str
    reasons: str
    receipt: str


@dataclass(frozen=True, slots=True)
class PartState:
    """Where a part stands. `next_offset` is the next byte to read, never the last one read.

    Attributes:
        sha256: of the whole object as stored, if one worker read all of it.
        border: where to begin to decompress in order to go on; None where nothing is compressed.
        hops: how often it was handed on to another invocation.
        waits: how often that was without having got anywhere, its destination taking nothing: weather, counted apart.
        tries: how often it was claimed since its position last moved.
        spent: by all who worked at it and lived to say so, from the first claim on.
    """

    start: int
    stop: int
    next_offset: int
    tally: Tally
    done: bool
    sha256: str | None
    border: Border | None = None
    hops: int = 0
    waits: int = 0
    tries: int = 0
    spent: Usage = Usage()


@dataclass(frozen=True, slots=True)
class LeaseHeld:
    """Another worker holds the part: who, and until when by its clock; `fenced` means for ever."""

    owner: str
    lease_until_ms: int
    fenced: bool


@dataclass(frozen=True, slots=True)
class Task:
    """A message of the part queue: go on with the part of an execution that begins at `start`.

    It says nothing else, so that a second one, a late one or one of last week changes nothing: where the part stands,
    and whether there is anything left to do, is in the imports table.

    Attributes:
        priority: of its import: which queue it waits in. No part of the message.
    """

    execution_id: str
    start: int
    priority: str = field(default="MEDIUM", compare=False)


@dataclass(frozen=True, slots=True)
class Watched:
    """What a sweep saw of an unfinished execution.

    Attributes:
        stands: where it stands: changes when a position moves.
        stands_since_ms: when it was first seen to stand there.
        seen: changes with every sign of life, such as a part handed on without having got anywhere.
        since_ms: when it was first seen so.
        nudges: how often its tasks were sent again since then.
        dead: leases that had run out: first byte of the part → [when the lease ran out, when its task was sent].
    """

    stands: str
    stands_since_ms: int
    seen: str
    since_ms: int
    nudges: int
    dead: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Turn:
    """Where a recurring import stands: whose turn it is. Written before anything is done for that file.

    Attributes:
        slot_ms: the newest time of the schedule that has begun to work at it; 0: none has.
        taken: executions that were worked at in that slot; those that ended FAILED leave it again.
        current: the execution whose turn it is, begun or about to be; "" before the first.
        looked_ms: when a run last got through without trouble.
        version: how often it was written.
    """

    slot_ms: int = 0
    taken: tuple[str, ...] = ()
    current: str = ""
    looked_ms: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True)
class FileError:
    """Why an execution ended FAILED: a code of `bad_rows.FileReason` and the sentence for a person."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What FINALISING (or a failure) fixed: where results go, when reading ended, what was counted.

    `read_to` has for each part's start the byte up to which it was read: bad rows before it are in `sums`, later ones
    are not. `sha256` is the source's, as stored, in hexadecimal; None after a failure. `spent` is what all parts, and
    whoever fixed the outcome, had spent by then.
    """

    destination: Destination
    end_date: int
    sums: Tally
    read_to: dict[int, int]
    sha256: str | None
    spent: Usage = Usage()


@dataclass(frozen=True, slots=True)
class Undone:
    """How the undoing of an execution stands, beside its status, which stays what it was.

    Attributes:
        done: nothing of it is left. Until then it is being undone; and counts as undone for every other.
        at_ms: when it was begun.
        by: who asked for it, in their own words.
        position: next byte of its object to be undone; -1: all of it was.
        removed, put_back: items so far; at least, where somebody was killed on the way.
        kept: items somebody else wrote while they were being undone.
        done_ms: when it was done; None until then.
        looked_again: the object was walked once more, for executions that ran while it was being undone.
    """

    done: bool
    at_ms: int
    by: str = ""
    position: int = 0
    removed: int = 0
    put_back: int = 0
    kept: int = 0
    done_ms: int | None = None
    looked_again: bool = False

    def document(self) -> "dict[str, Value]":
        return {
            "status": "DONE" if self.done else "RUNNING",
            "at_ms": self.at_ms,
            "done_ms": self.done_ms,
            "by": self.by,
            "removed": self.removed,
            "put_back": self.put_back,
            "kept": self.kept,
            "position": None if self.position < 0 else self.position,
        }


@dataclass(frozen=True, slots=True)
class Upload:
    """What a replay reads again.

    Attributes:
        parent: the execution whose archived file it reads.
        execution_id: the one that read the upload first: the parent, or where that is a replay, its own first.
        key: where it was dropped, below imports/.
        uploaded_ms: when.
        created_ms: when that first execution was created: the clock of every rule that needs one.
    """

    parent: str
    execution_id: str
    key: str
    uploaded_ms: int
    created_ms: int


@dataclass(frozen=True, slots=True)
class Execution:
    """One import of one object version, with everything a worker must not decide anew.

    `created_ms` is the clock of every rule that needs one (of a replay, its upload's is); `definition` and `sinks` are
    those it began with, so that every destination gets all of a file or none of it. `part_bytes` is what its object is
    cut by; 0: it is one part.
    `checked`: every row of a file that is stored as a whole or not at all was found to be good.
    `undone`: somebody has taken out again what it wrote, or is at it.
    `mends`: the execution whose bad rows its file has, mended; "" for none.
    `replayed`: of a replay, whose source is an archived object and stays where it is; None of any other.
    """

    id: str
    source: S3Object
    status: Status
    phase: Phase
    created_ms: int
    definition: dict[str, Value]
    format: str
    part_count: int
    part_bytes: int = 0
    sinks: tuple[str, ...] = ("dynamodb",)
    rules_version: int = RULES_VERSION
    start_date: int | None = None
    parts_done: frozenset[int] = frozenset()
    outcome: Outcome | None = None
    error: FileError | None = None
    attempt: int = 1
    checked: bool = False
    undone: Undone | None = None
    mends: str = ""
    replayed: Upload | None = None

    @property
    def upload(self) -> Upload:
        """The upload whose rows it reads: its source, but for a replay."""
        source = self.source
        return self.replayed or Upload("", self.id, source.key, source.last_modified_ms, self.created_ms)

    @property
    def was_read(self) -> bool:
        """Whether some of its rows have been read; a replay's have, since only what succeeded is replayed."""
        has_lines = self.outcome is not None and self.outcome.sums.lines > 0
        return has_lines or self.status is Status.SUCCEEDED or self.replayed is not None

    def part_start(self, offset: int) -> int:
        """First byte of the part that owns what begins at a byte of its object."""
        return min(offset // self.part_bytes, self.part_count - 1) * self.part_bytes if self.part_bytes else 0

    @property
    def round(self) -> int:
        """Which reading of the file this is: newer rules read it anew, and so does the writing of a file that was first
        checked as a whole. What an earlier round made of a part does not count."""
        return 2 * self.rules_version + self.checked

    @property
    def is_checking(self) -> bool:
        """Whether its rows are only being judged: nothing of a file is stored before all of it is known to be good."""
        return bool(self.definition.get("atomic", False)) and not self.checked

    @property
    def mime_type(self) -> str:
        """How the rows of its file stand; as its definition says."""
        return str(self.definition.get("mime_type", "APPLICATION_X_NDJSON"))

    @property
    def priority(self) -> str:
        """Of its import, as its definition was when it began."""
        return str(self.definition.get("priority", "MEDIUM"))

    @property
    def document_import_id(self) -> str:
        """Id of the import definition it runs under; "default" where the key named none."""
        return str(self.definition.get("id", "default"))


@dataclass(frozen=True, slots=True)
class Mending:
    """That an execution's file has bad rows of another, mended.

    Attributes:
        execution_id: the one whose file it is.
        rows: which of the other's bad rows, counted from 0: "all", or as in "0-411,500"; "" where nobody said.
    """

    execution_id: str
    rows: str


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """What is kept of a request that came with an Idempotency-Key.

    Attributes:
        fingerprint: of the request; one that differs under the same key is another request.
        owner: the try that is at it, or was last.
        name: chosen by chance at the first try, so that a later one makes the same thing and not a second one.
        begun_ms: when the first try began.
        busy_until_ms: until then the owner may still be at it.
        status, body: what was answered, the body as JSON; 0 and "" as long as that is not known.
    """

    fingerprint: str
    owner: str
    name: str
    begun_ms: int
    busy_until_ms: int
    status: int = 0
    body: str = ""


class Erased:
    """What becomes of a row of somebody who was erased after it was uploaded: it is not stored, and not bad."""


ERASED_ROW: Final = Erased()


class Clock(Protocol):
    """Time as a worker sees it. Injected, so that tests own it."""

    def now_ms(self) -> int:
        """Milliseconds since 1970-01-01 UTC."""

    def sleep(self, seconds: float) -> None: ...


class Unavailable(Exception):
    """Us or AWS: nothing is wrong with the file. Raised so that Lambda or SQS delivers again."""


class Denied(Unavailable):
    """AWS forbids it: it stays so until a person changes a permission, which the words name."""


class Throttled(Unavailable):
    """The sink's time bound passed while it was being throttled. The same batch may be tried again at once."""


class Fenced(Exception):
    """Another worker owns the part now; whoever sees this stops without another effect."""


class UploadGone(Exception):
    """S3 does not know a multipart upload: it was completed before, or taken away."""


class TimeIsUp(Exception):
    """The invocation ends soon. What was done is saved; the rest is to be handed on."""


class Misconfigured(ValueError):
    """A setting of the stack or of an import definition is wrong. Its words say which, and what is allowed."""
