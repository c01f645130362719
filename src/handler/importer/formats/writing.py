"""What writers of all dialects share: keeping account of what cannot be carried."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

from importer import users
from importer.fields import SECONDS_BELOW
from importer.formats.reading import Lost, Reading
from importer.model import Event, Row, UserChange

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_OF_EVENT: Final[dict[Lost, Callable[[Event], bool]]] = {
    Lost.SESSION_PROPERTIES: lambda event: bool(event.session_properties),
    Lost.IDENTIFIERS: lambda event: any(value != event.user_id for value in (event.identifiers or {}).values()),
    Lost.EXPIRY: lambda event: event.expires_ms is not None,
    Lost.MILLISECONDS: lambda event: event.event_time_ts % 1000 != 0,
}
_OF_CHANGE: Final = {
    users.PROPERTY: (Lost.USER_PROPERTY, Lost.USER_PROPERTY_DELETED),
    users.SEGMENT: (Lost.SEGMENT, Lost.SEGMENT),
    users.CONSENT: (Lost.CONSENT, Lost.CONSENT),
    users.LINK: (Lost.LINK, Lost.LINK_DELETED),
}


class Taken:
    """What is taken over of one reading, and what is lost: each kind once, in the order it was met."""

    def __init__(self, reading: Reading) -> None:
        self._lost: dict[Lost, None] = {}
        self.reading = reading

    @property
    def lost(self) -> list[Lost]:
        return list(self._lost)

    def lose(self, *lost: Lost) -> None:
        self._lost.update(dict.fromkeys(lost))

    def lose_but(self, event: Event, *lost: Lost) -> None:
        """Lose those of these that the event has."""
        self.lose(*(kind for kind in lost if _OF_EVENT[kind](event)))

    def flat(self, properties: Row, is_kept: Callable[[str], bool] = lambda name: False) -> Row:
        """The properties a flat dialect can carry.

        Args:
            is_kept: whether the dialect keeps a name for itself.
        """
        row: Row = {}
        for name, value in properties.items():
            if isinstance(value, dict | list):
                self.lose(Lost.NESTED)
            elif value is None or value == "":
                self.lose(Lost.NULL)
            elif is_kept(name):
                self.lose(Lost.PROPERTY_NAME)
            else:
                row[name] = value
        return row


def of_change(change: UserChange) -> Lost:
    """What is lost with a change of a user."""
    kind = change.record[: change.record.find("#") + 1]
    return _OF_CHANGE[kind][change.deleted] if kind in _OF_CHANGE else Lost.ERASURE


def time_written(time_ms: int) -> int | str:
    """A time that can be read back. Before March 1973 it is text: a number as small as one of seconds is refused."""
    if time_ms >= SECONDS_BELOW:
        return time_ms
    return (_EPOCH + timedelta(milliseconds=time_ms)).isoformat(timespec="milliseconds")
