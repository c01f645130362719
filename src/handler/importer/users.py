"""What is known of a person, as records that may arrive in any order.

A record is one fact of one identifier, and the highest rank wins it:

    prop#<path>      a property; `prop#` is the whole profile
    segment#<id>     membership in a segment
    consent#<path>   a consent, by the id of the processing it is for
    link#<other>     this identifier and the other are one person; it stands at both. `link#` is all links so far
    erased           the person, or this identifier alone, was erased: what was uploaded before is gone for good

A path is the name of a property, or names one inside the other as in a JSON Pointer without its first slash
(RFC 6901, section 3): `a/b` is b in a; in a name, `~` is written `~0` and `/` is `~1`.

A person is read back from the records of all linked identifiers in one order of rank (`person`):

    properties, consents  Each record replaces what stands at its path; a deleted one takes it away. A record inside a
                          path says that there is an object: whatever else stood there is gone. Objects that no record
                          set vanish with their last member.
    segments              Of each, the highest ranked record of all identifiers says whether the person is in it.
    links                 A and B are linked if the higher ranked of the records at both ends is not deleted, and ranks
                          above `link#` at both ends. Identifiers reached over links are one person (K16).
    erased                Whatever was uploaded before is passed over, as long as it is not deleted yet.

Why the highest ranked record of each name is enough: what stands at a path depends on the highest ranked record at it
or above it, and on whether any record inside it outranks that one. Forgetting outranked records changes neither.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from importer.definitions import LATEST_TIME_MS
from importer.model import Event, Row, Value, uploaded_ms_of

PROPERTY: Final = "prop#"
SEGMENT: Final = "segment#"
CONSENT: Final = "consent#"
LINK: Final = "link#"
ERASED: Final = "erased"
# In the value of `erased`: whether all identifiers of the person are meant, or this one alone.
SCOPE: Final = "scope"
PERSON: Final = "person"
DEVICE: Final = "device"

MOST_IDENTIFIERS: Final = 1_000  # of one person, read back


def property_record(*path: str) -> str:
    """The record of a property; without a name, of the whole profile."""
    return PROPERTY + _pointer(path)


def consent_record(*path: str) -> str:
    """The record of a consent, by the id of its processing; or of a value in it."""
    return CONSENT + _pointer(path)


def path_of(record: str) -> tuple[str, ...]:
    """The path of a property or a consent: names from the outermost to the innermost."""
    pointer = record.partition("#")[2]
    if not pointer:
        return ()
    return tuple(name.replace("~1", "/").replace("~0", "~") for name in pointer.split("/"))


def _pointer(path: tuple[str, ...]) -> str:
    return "/".join(name.replace("~", "~0").replace("/", "~1") for name in path)


# ---- A person ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Record:
    """A record as it is stored: the highest ranked one of its name.

    Attributes:
        rank: of `model.rank`; compares as text.
        value: None where it is deleted.
        event_time_ts: the row's own time, if it had one.
        expires_ms: from then on it counts as absent; None: never.
        execution_id, address: the import that wrote it, and the row's offset.
    """

    user_id: str
    record: str
    rank: str
    value: Value = None
    deleted: bool = False
    event_time_ts: int | None = None
    expires_ms: int | None = None
    execution_id: str = ""
    address: int = 0

    @property
    def time_ms(self) -> int:
        """Since when it holds: the row's time, else when its file was uploaded."""
        return int(self.rank.partition("#")[0]) if self.event_time_ts is None else self.event_time_ts

    @property
    def key(self) -> str:
        """Key of the file it is from, which may hold `#` itself."""
        return self.rank.split("#", 2)[2].rsplit("#", 3)[0]


@dataclass(frozen=True, slots=True)
class Link:
    """Two identifiers of one person, in the order of the alphabet, and the record that says so."""

    one: str
    other: str
    record: Record


Origins = dict[tuple[str, ...], Record]


@dataclass(frozen=True, slots=True)
class Person:
    """What is known of somebody.

    Attributes:
        identifiers: the one asked for, then those linked with it, the nearest first.
        links: between any two of them.
        property_origins: path of a property → the record that set it, and all inside it that has no entry of its own.
        consents: by the id of their processing.
        consent_origins: as those of properties.
        segments: memberships, by the segment's id.
        erasures: by identifier, for each that was erased once. What else is here was uploaded later.
        is_cut: there may be more identifiers than were read.
        is_known: there is any record at all.
    """

    identifiers: tuple[str, ...]
    links: tuple[Link, ...]
    properties: Row
    property_origins: Origins
    consents: Row
    consent_origins: Origins
    segments: dict[str, Record]
    erasures: dict[str, Record]
    is_cut: bool
    is_known: bool


RecordsOf = Callable[[Sequence[str]], Mapping[str, Iterable[Record]]]


def person(user_id: str, records_of: RecordsOf, now_ms: int, most: int = MOST_IDENTIFIERS) -> Person:
    """The person an identifier belongs to.

    Args:
        records_of: identifiers → the records of each, in any order. Of their links, `most` each are enough.
        most: identifiers to read; 1 follows no links.
    """
    search = _Search(records_of, now_ms, most)
    search.run(user_id)
    known = [search.known[identifier] for identifier in search.members]
    properties, consents = _Tree(), _Tree()
    segments: dict[str, Record] = {}
    # Ranks differ but for copies of one record; then whose it is decides, so that the order is total.
    for record in sorted((r for one in known for r in one.facts), key=lambda r: (r.rank, r.user_id, r.record)):
        if record.record.startswith(PROPERTY):
            properties.set(record)
        elif record.record.startswith(CONSENT):
            consents.set(record)
        elif record.record.startswith(SEGMENT):
            segments[record.record.removeprefix(SEGMENT)] = record
    property_origins: Origins = {}
    consent_origins: Origins = {}
    return Person(
        identifiers=tuple(search.members),
        links=search.links(),
        properties=properties.plain(property_origins),
        property_origins=property_origins,
        consents=consents.plain(consent_origins),
        consent_origins=consent_origins,
        segments={name: record for name, record in sorted(segments.items()) if not record.deleted},
        erasures={one.user_id: one.erased for one in known if one.erased is not None},
        is_cut=search.is_cut,
        is_known=any(one.facts or one.links or one.cut_rank or one.erased is not None for one in known),
    )


class _Identifier:
    """The records of one identifier that count now.

    Attributes:
        facts: properties, consents and segments.
        links: other identifier → the record at this end.
        cut_rank: of the record that cut all links; "" if none did.
        erased_ms: what was uploaded before is passed over.
    """

    def __init__(self, user_id: str, records: Iterable[Record], now_ms: int) -> None:
        present = [record for record in records if record.expires_ms is None or record.expires_ms > now_ms]
        self.user_id = user_id
        self.erased = next((r for r in present if r.record == ERASED and not r.deleted), None)
        self.erased_ms = 0 if self.erased is None else uploaded_ms_of(self.erased.rank)
        self.facts: list[Record] = []
        self.links: dict[str, Record] = {}
        self.cut_rank = ""
        for record in present:
            if record.record == ERASED or uploaded_ms_of(record.rank) < self.erased_ms:
                continue
            if not record.record.startswith(LINK):
                self.facts.append(record)
            elif other := record.record.removeprefix(LINK):
                self.links[other] = record
            elif record.deleted:
                self.cut_rank = record.rank

    def holds(self, link: Record) -> bool:
        """Whether nothing at this end undoes a link."""
        return not link.deleted and link.rank > self.cut_rank and uploaded_ms_of(link.rank) >= self.erased_ms


class _Search:
    """Walks along links, from one wave of identifiers to the next, until there is nothing more or `most` are read."""

    def __init__(self, records_of: RecordsOf, now_ms: int, most: int) -> None:
        self._records_of = records_of
        self._now_ms = now_ms
        self._left = most
        self._near: dict[str, list[str]] = {}  # identifier → those it has a record of, or that have one of it
        self._unread: dict[str, None] = {}  # near a member, and its own record says: linked
        self._doubtful: dict[str, None] = {}  # near a member; only the record at the other end can still say so
        self.known: dict[str, _Identifier] = {}
        self.members: dict[str, None] = {}

    @property
    def is_cut(self) -> bool:
        return bool(self._unread or self._doubtful)

    def run(self, user_id: str) -> None:
        wave = [user_id]
        while wave:
            self._read(wave)
            if not self.members:
                self._add(user_id)
            for found in wave:
                if found not in self.members and any(
                    one in self.members and self.link(one, found) for one in self._near[found]
                ):
                    self._add(found)
            waiting = self._unread or self._doubtful  # those in doubt only when nobody else is left
            wave = list(waiting)[: self._left]
            for taken in wave:
                self._unread.pop(taken, None)
                self._doubtful.pop(taken, None)

    def link(self, one: str, other: str) -> Record | None:
        """The record by which two known identifiers are one person's."""
        ends = self.known[one], self.known[other]
        said = [record for record in (ends[0].links.get(other), ends[1].links.get(one)) if record is not None]
        highest = max(said, key=lambda record: record.rank, default=None)
        return highest if highest is not None and all(end.holds(highest) for end in ends) else None

    def links(self) -> tuple[Link, ...]:
        """All links between members."""
        pairs = {(min(one, other), max(one, other)) for one in self.members for other in self._near[one]}
        found = (
            (pair, self.link(*pair)) for pair in sorted(pairs) if pair[0] in self.members and pair[1] in self.members
        )
        return tuple(Link(*pair, record) for pair, record in found if record is not None)

    def _read(self, wave: Sequence[str]) -> None:
        records = self._records_of(wave)
        self._left -= len(wave)
        for user_id in wave:
            read = self.known[user_id] = _Identifier(user_id, records.get(user_id, ()), self._now_ms)
            near = self._near.setdefault(user_id, [])
            for other in sorted(read.links):
                if other != user_id:
                    near.append(other)
                    self._near.setdefault(other, []).append(user_id)

    def _add(self, user_id: str) -> None:
        """A new member, and everybody known who is linked with it."""
        self.members[user_id] = None
        queue = deque([user_id])
        while queue:
            one = queue.popleft()
            for other in self._near[one]:
                if other in self.members:
                    continue
                if other in self.known:
                    if self.link(one, other):
                        self.members[other] = None
                        queue.append(other)
                elif self.known[one].holds(self.known[one].links[other]):
                    self._unread[other] = None
                    self._doubtful.pop(other, None)
                elif other not in self._unread:
                    self._doubtful[other] = None


@dataclass(slots=True)
class _Node:
    """What stands at a path.

    Attributes:
        value: as its record set it.
        record: None where an object stands for its members' sake alone.
        members: of an object into which later records reach; then `value` says nothing any more.
    """

    value: Value
    record: Record | None
    members: "dict[str, _Node] | None" = None

    def opened(self) -> "dict[str, _Node]":
        """Its members, for a record inside it: what is no object becomes one."""
        if self.members is None:
            if isinstance(self.value, dict):
                self.members = {name: _Node(value, self.record) for name, value in self.value.items()}
            else:
                self.members, self.record = {}, None
        return self.members


class _Tree:
    """Values by their paths, set in order of rank."""

    def __init__(self) -> None:
        self._root = _Node({}, None)

    def set(self, record: Record) -> None:
        path = path_of(record.record)
        if not path:
            self._root = _Node(record.value if isinstance(record.value, dict) else {}, record)
            return
        members = self._root.opened()
        for name in path[:-1]:
            members = members.setdefault(name, _Node(None, None)).opened()
        if record.deleted:
            members.pop(path[-1], None)
        else:
            members[path[-1]] = _Node(record.value, record)

    def plain(self, origins: Origins) -> Row:
        """The values; `origins` gets the record of each."""
        return self._row((), self._root, origins)

    def _row(self, path: tuple[str, ...], node: _Node, origins: Origins) -> Row:
        # As deep as a record's name is long: 1,024 bytes are 512 names.
        row: Row = {}
        for name, member in node.opened().items():
            inner = (*path, name)
            if member.members is None:
                row[name] = member.value
            else:
                members = self._row(inner, member, origins)
                if not members and member.record is None:
                    continue
                row[name] = members
            if member.record is not None:
                origins[inner] = member.record
        return row


# ---- What a person did ---------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """An event of the events table, and the import that wrote it last."""

    event: Event
    import_id: str
    execution_id: str


@dataclass(frozen=True, slots=True)
class Span:
    """Which events are meant: those of `[since_ms, until_ms)` that sort before `before_key`.

    Attributes:
        before_key: the key of an event that was seen already; "" where none was.
    """

    since_ms: int = 0
    until_ms: int = LATEST_TIME_MS + 1
    before_key: str = ""

    @property
    def lowest_key(self) -> str:
        return f"{self.since_ms:013d}"

    @property
    def highest_key(self) -> str:
        """No event is meant whose key is this one or above it."""
        # Without `#` it sorts before every key of that millisecond; `:` sorts behind all digits.
        until = ":" if self.until_ms > LATEST_TIME_MS else f"{self.until_ms:013d}"
        return min(until, self.before_key) if self.before_key else until


def newest_first(streams: Iterable[Iterator[StoredEvent]]) -> Iterator[StoredEvent]:
    """The events of several identifiers in one order; each stream is newest first, and read no further than needed."""
    return heapq.merge(*streams, key=lambda stored: stored.event.event_key, reverse=True)


class People(Protocol):
    """An installation's people as they are read back. Every method raises Unavailable when AWS does not answer."""

    def records(self, user_ids: Sequence[str]) -> dict[str, list[Record]]:
        """All records of these identifiers; of one's links, no more than a person may have. Consistent."""

    def events(self, user_ids: Sequence[str], span: Span, page: int) -> list[Iterator[StoredEvent]]:
        """For each identifier its events, newest first, read as they are asked for: `page` of them at first."""

    def members(self, segment_id: str) -> Iterator[Record]:
        """Who is in a segment, by identifier. Read as they are asked for, and up to a second late."""
