"""What every dialect makes of a row, and what a row of it cannot say."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from typing import Final, TypeAlias

from importer.bad_rows import Reason, Reject
from importer.model import Event, Row, UserChange, Value


@dataclass(slots=True)
class Reading:
    """One row that is not bad: its events, its changes to users, and the codes of notes for the receipt.

    `expired`: its own time to live was over when its import began; then it has neither events nor changes.
    """

    events: list[Event]
    user_changes: list[UserChange]
    notes: tuple[str, ...] = ()
    expired: bool = False


# (line, address) → the one event of a row that is as nearly all are, just as `row_of` and the dialect's reader make
# it; None for any other row, or in any doubt: it is read the long way.
Shortcut: TypeAlias = Callable[[bytes, int], Event | None]


class Lost(StrEnum):
    """What rows of some dialect cannot carry, in the words of `importer convert`."""

    EVENT = "events"
    NESTED = "values that are objects or arrays"
    PROPERTY_NAME = "property names this dialect keeps for itself"
    SESSION_PROPERTIES = "session properties"
    IDENTIFIERS = "identifiers beside the one an event stands under"
    USER_PROPERTY = "user properties"
    USER_PROPERTY_DELETED = "deletions of user properties"
    SEGMENT = "segments"
    CONSENT = "consents"
    LINK = "links between identifiers"
    LINK_DELETED = "deletions of links"
    ERASURE = "erasures"
    MILLISECONDS = "milliseconds of times"
    EXPIRY = "times to live"
    TIME = "times of changes to users"
    NOT_TEXT = "types: in this dialect every value is text"
    NULL = "properties without a value"


@dataclass(slots=True)
class Written:
    """Rows that say what a reading says, as far as their dialect can, and what it cannot."""

    rows: list[Row]
    lost: list[Lost] = field(default_factory=list)


# What all events of a row have in common stands in each of them: without an end to that, a row of 8 MiB could become
# hundreds of gigabytes.
REPEATED_BYTES: Final = 64 << 20


def refuse_repeated(shared: Sequence[Value], count: int, text_bytes: int, hint: str) -> None:
    """Raises Reject (event_too_large) for a row whose shared values, with each of its events, take too much.

    Args:
        count: of its events.
        text_bytes: of the row; its shared values take less.
    """
    if count * text_bytes <= REPEATED_BYTES:  # nearly always
        return
    repeated = sum(map(_weight, shared))
    if repeated * count > REPEATED_BYTES:
        raise Reject(
            Reason.EVENT_TOO_LARGE,
            expected=f"at most {REPEATED_BYTES} bytes of what stands in each of its events",
            found=f"{repeated} bytes with each of {count} events",
            hint=hint,
        )


def _weight(value: Value) -> int:
    """About how many bytes a value takes."""
    total = 0
    todo = [value]
    while todo:
        member = todo.pop()
        if isinstance(member, dict):
            total += sum(map(len, member)) + 8 * len(member)
            todo += member.values()
        elif isinstance(member, list):
            total += 8 * len(member)
            todo += member
        else:
            total += len(member) if isinstance(member, str) else len(str(member)) if isinstance(member, Decimal) else 8
    return total
