"""What every dialect makes of a row."""

from dataclasses import dataclass

from importer.model import Event, UserChange


@dataclass(slots=True)
class Reading:
    """One good row: its events, its changes to users, and the codes of notes for the receipt."""

    events: list[Event]
    user_changes: list[UserChange]
    notes: tuple[str, ...] = ()
