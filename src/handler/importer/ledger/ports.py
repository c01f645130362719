"""What the ledger needs of the world: objects and records as `executions` has them, and the tables' items."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from importer.executions.ports import Objects, Records
from importer.model import Execution
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
class Kept:
    """For how many days the bucket and the imports table keep what an import leaves, as the stack says it now; 0 is for
    ever.
    """

    archive_days: int = 0
    errors_days: int = 0
    receipt_days: int = 0
    execution_days: int = 0

    def archive_expired(self, execution: Execution, now_ms: int) -> str:
        """That an execution's archived file may be gone by a rule of the bucket, in a sentence without its full stop;
        "" where none explains it. S3 takes its time, and is never early.

        Args:
            execution: the one that archived it.
        """
        outcome, days = execution.outcome, self.archive_days
        if outcome is None or not may_have_expired(outcome.end_date, days, now_ms):
            return ""
        return (
            f"{outcome.destination.completed} has expired: it was imported on {_day(outcome.end_date)}, and the "
            f"archive keeps files for {days} days (ArchiveRetentionDays)"
        )

    def errors_expired(self, execution: Execution, now_ms: int) -> str:
        """The same of its errors/ and reasons."""
        outcome, days = execution.outcome, self.errors_days
        if outcome is None or not may_have_expired(outcome.end_date, days, now_ms):
            return ""
        return (
            f"{outcome.destination.errors}: errors/ is kept for {days} days (ErrorsRetentionDays), and it has expired"
        )


def may_have_expired(written_ms: int, kept_days: int, now_ms: int) -> bool:
    return kept_days > 0 and written_ms + kept_days * 86_400_000 <= now_ms


def _day(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).strftime("%Y-%m-%d")


@dataclass(frozen=True, slots=True)
class Books:
    """Everything a recount reads.

    `now_ms`: what has expired until then may have been removed, by the tables' time to live or as `kept` says. 0:
    nothing has.
    """

    objects: Objects
    records: Records
    stored: Stored
    now_ms: int = 0
    kept: Kept = Kept()

    def may_have_expired(self, written_ms: int, kept_days: int) -> bool:
        """Whether an object of that age may be gone by a rule of the bucket: S3 takes its time, and is never early."""
        return may_have_expired(written_ms, kept_days, self.now_ms)

    def archive_expired(self, execution: Execution) -> str:
        """See `Kept.archive_expired`; of a replay, the archive is that of the file's first import."""
        first = self.records.execution(execution.upload.execution_id) if execution.replayed else None
        return self.kept.archive_expired(first or execution, self.now_ms)

    def errors_expired(self, execution: Execution) -> str:
        return self.kept.errors_expired(execution, self.now_ms)
