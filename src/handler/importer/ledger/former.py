"""What would be in the tables under some keys, had only certain executions written: spilled to a file, in any number.

Rule: the executions are played again one after another, each batch after batch in the order of its file, by what the
sinks do:

    an event                 takes the place of what is there, whatever it is
    an event with a rank     only if its rank is not lower, or what is there has none (`identity` vendor, property)
    a user record            only if its rank is not lower
    a link                   as a user record; beside it, the first upload that ever made it, whoever holds it now

What was uploaded before its person was erased is passed over, as a sink would. In which order the executions are given
matters for events without a rank alone: see `undo`.

Memory is bounded by SQLite's cache; the keys and what stands under them are in its file.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson

from importer.ledger.ports import Key
from importer.ledger.verdict import Place
from importer.model import Event, Provenance, UserChange, event_rank, rank
from importer.sinks.items import EventTexts, Item, record_item
from importer.sinks.users import FIRST
from importer.users import LINK

# What tells two writings of one item apart.
SEEN_BY: Final = ("execution_id", "address", "rank", FIRST)
CACHE_KIB: Final = 64 << 10
_NUMBER: Final = {Place.EVENTS: 0, Place.USERS: 1}
_PLACE: Final = {number: place for place, number in _NUMBER.items()}
# Items in a table of their own: a row that grows would be moved, and leave a hole behind.
_TABLES: Final = """
    PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA locking_mode = EXCLUSIVE;
    CREATE TABLE IF NOT EXISTS keys (
        id INTEGER PRIMARY KEY, place INTEGER, user BLOB, name BLOB, seen BLOB, first INTEGER, hit INTEGER DEFAULT 0
    );
    CREATE UNIQUE INDEX IF NOT EXISTS by_key ON keys (place, user, name);
    CREATE TABLE IF NOT EXISTS items (id INTEGER PRIMARY KEY, rank TEXT, item BLOB);
    CREATE TABLE IF NOT EXISTS page (name TEXT PRIMARY KEY, value BLOB) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Found:
    """A key, and what belongs there.

    Attributes:
        id: of the key in the file.
        seen: of the item that was stored, when it was looked at, what tells its writings apart; None: there was none.
        item: what belongs there; None: nothing does.
    """

    id: int
    place: Place
    key: Key
    seen: Item | None
    item: Item | None


class Former:
    """Keys, and what some executions would have left under them.

    Args:
        path: of the file; one that an earlier worker left is gone on with.
    """

    def __init__(self, path: Path) -> None:
        self._source: Provenance | None = None
        self._text_of: EventTexts | None = None
        import sqlite3  # here: it is some of a cold start, and most invocations need none

        self._is_open = True
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript(_TABLES)
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._db.execute("BEGIN")
        self.count = int(self._db.execute("SELECT count(*) FROM keys").fetchone()[0])

    def close(self) -> None:
        """Everything is in the file when this returns. Closing it again does nothing."""
        if self._is_open:
            self._db.commit()
            self._db.close()
            self._is_open = False

    # -- what is not keys: where a worker stands ----------------------------------------------------------------------

    def page(self, name: str) -> dict[str, object]:
        found = self._db.execute("SELECT value FROM page WHERE name = ?", (name,)).fetchone()
        return orjson.loads(found[0]) if found else {}

    def keep(self, name: str, page: dict[str, object]) -> None:
        self._db.execute("INSERT OR REPLACE INTO page VALUES (?, ?)", (name, orjson.dumps(page)))

    # -- keys ---------------------------------------------------------------------------------------------------------

    def add(self, place: Place, keys: Iterable[tuple[Key, Item | None]]) -> None:
        """Keys that matter, each with the item that is stored there now. One that is known already stays as it was."""
        before = self._db.total_changes
        self._db.executemany(
            "INSERT OR IGNORE INTO keys (place, user, name, seen) VALUES (?, ?, ?, ?)",
            ((_NUMBER[place], _bytes(key[0]), _bytes(key[1]), _seen(seen)) for key, seen in keys),
        )
        self.count += self._db.total_changes - before

    def hit(self, place: Place, keys: Iterable[Key]) -> None:
        """These were written by somebody who matters: see `drop_others`."""
        self._db.executemany(
            "UPDATE keys SET hit = 1 WHERE place = ? AND user = ? AND name = ?",
            ((_NUMBER[place], _bytes(key[0]), _bytes(key[1])) for key in keys),
        )

    def drop_others(self) -> None:
        """Forget the keys that were not hit."""
        self._db.execute("DELETE FROM keys WHERE hit = 0")
        self.count = int(self._db.execute("SELECT count(*) FROM keys").fetchone()[0])

    def found(self, after_id: int = 0) -> Iterator[Found]:
        """All keys by their ids, those behind one of them."""
        while True:
            rows = self._db.execute(
                "SELECT keys.id, place, user, name, seen, item, first FROM keys LEFT JOIN items ON items.id = keys.id "
                "WHERE keys.id > ? ORDER BY keys.id LIMIT 1000",
                (after_id,),
            ).fetchall()
            if not rows:
                return
            for number, place, user, name, seen, item, first in rows:
                known = None if item is None else orjson.loads(item)
                if known is not None and first is not None:
                    known[FIRST] = {"N": str(first)}
                there = None if seen is None else orjson.loads(seen)
                yield Found(number, _PLACE[place], (_text(user), _text(name)), there, known)
            after_id = rows[-1][0]

    # -- playing ------------------------------------------------------------------------------------------------------

    def play(
        self,
        source: Provenance,
        events: list[Event],
        changes: list[UserChange],
        erased_among: Callable[[Collection[str]], Collection[str]],
        rows_go_whole: bool,
    ) -> None:
        """What a batch of one execution does to what stands under these keys.

        Args:
            erased_among: those of these users who were erased after the execution's file was uploaded.
            rows_go_whole: its rows with an erased person were left out when it was read; else that person's items
                alone were taken out later.
        """
        ids: dict[Key, int] = {}  # an event's key and a record's are never the same: times begin with a digit
        ours = [event for event in events if self._holds(Place.EVENTS, (event.user_id, event.event_key), ids)]
        theirs = [change for change in changes if self._holds(Place.USERS, (change.user_id, change.record), ids)]
        if not ours and not theirs:
            return
        if rows_go_whole:
            at = {event.address for event in ours} | {change.address for change in theirs}
            users = {event.user_id for event in events if event.address in at}
            users |= {change.user_id for change in changes if change.address in at}
            erased = erased_among(users)
            gone = {event.address for event in events if event.user_id in erased}
            gone |= {change.address for change in changes if change.user_id in erased}
            ours = [event for event in ours if event.address not in gone]
            theirs = [change for change in theirs if change.address not in gone]
        else:
            erased = erased_among({event.user_id for event in ours} | {change.user_id for change in theirs})
            ours = [event for event in ours if event.user_id not in erased]
            theirs = [change for change in theirs if change.user_id not in erased]
        if source != self._source:
            self._source, self._text_of = source, EventTexts(source)
        for event in ours:
            self._put_event(event, source, ids[event.user_id, event.event_key])
        folded: dict[Key, tuple[str, UserChange]] = {}
        for change in theirs:  # as the sink folds a batch: a link that is undone in the same batch was never made
            key, ranked = (change.user_id, change.record), rank(change, source)
            if key not in folded or folded[key][0] < ranked:
                folded[key] = ranked, change
        for key, (ranked, change) in folded.items():
            self._put_change(change, ranked, source, ids[key])

    def _put_event(self, event: Event, source: Provenance, number: int) -> None:
        ranked = event_rank(event, source) if source.ranked else None
        if ranked is not None:
            there = self._rank(number)
            if there is not None and there > ranked:
                return
        assert self._text_of is not None
        self._put(number, ranked, self._text_of(event))

    def _put_change(self, change: UserChange, ranked: str, source: Provenance, number: int) -> None:
        there = self._rank(number)
        if there is None or there <= ranked:
            self._put(number, ranked, orjson.dumps(record_item(change, ranked, source)))
        if is_link(change.record) and not change.deleted:
            self._db.execute(
                "UPDATE keys SET first = min(ifnull(first, ?2), ?2) WHERE id = ?1", (number, source.uploaded_ms)
            )

    def _put(self, number: int, rank_text: str | None, item: bytes) -> None:
        self._db.execute("INSERT OR REPLACE INTO items VALUES (?, ?, ?)", (number, rank_text, item))

    def _rank(self, number: int) -> str | None:
        found = self._db.execute("SELECT rank FROM items WHERE id = ?", (number,)).fetchone()
        return None if found is None else found[0]

    def _holds(self, place: Place, key: Key, ids: dict[Key, int]) -> bool:
        found = self._db.execute(
            "SELECT id FROM keys WHERE place = ? AND user = ? AND name = ?",
            (_NUMBER[place], _bytes(key[0]), _bytes(key[1])),
        ).fetchone()
        if found is not None:
            ids[key] = found[0]
        return found is not None


def is_link(record: str) -> bool:
    """Whether it is a link to one other identifier; `link#` alone is all links so far."""
    return record.startswith(LINK) and record != LINK


def _seen(item: Item | None) -> bytes | None:
    return None if item is None else orjson.dumps({name: item[name] for name in SEEN_BY if name in item})


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogatepass")
