"""What the ledger needs of the world: objects and records as `executions` has them, and the tables' items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from importer.executions.ports import Objects, Records
from importer.sinks.items import Item

Key = tuple[str, str]  # user_id and event_key, or user_id and record


class Stored(Protocol):
    """Items as they are stored now. Reads are consistent; every method raises Unavailable when AWS does not answer."""

    def events(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Those of these events that the events table holds. Each key stands once in `keys`."""

    def users(self, keys: Sequence[Key]) -> dict[Key, Item]:
        """Those of these records that the users table holds. Each key stands once in `keys`."""

    def events_of(self, execution_id: str) -> Iterator[Key]:
        """Keys of all events this execution was the last to write. Reads the whole table."""

    def users_of(self, execution_id: str) -> Iterator[Key]:
        """Keys of all user records this execution was the last to write. Reads the whole table."""

    def document(self, execution_id: str) -> dict[str, Any]:
        """The execution's public document as the imports table holds it, numbers as int; {} if there is none."""


@dataclass(frozen=True, slots=True)
class Books:
    """Everything a recount reads.

    `now_ms`: what has expired until then may have been removed by the tables' time to live. 0: nothing has.
    """

    objects: Objects
    records: Records
    stored: Stored
    now_ms: int = 0
