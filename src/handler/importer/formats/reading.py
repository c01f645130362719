"""What every dialect makes of a row, and what a row of it cannot say."""

from dataclasses import dataclass, field
from enum import StrEnum

from importer.model import Event, Row, UserChange


@dataclass(slots=True)
class Reading:
    """One row that is not bad: its events, its changes to users, and the codes of notes for the receipt.

    `expired`: its own time to live was over when its import began; then it has neither events nor changes.
    """

    events: list[Event]
    user_changes: list[UserChange]
    notes: tuple[str, ...] = ()
    expired: bool = False


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
