"""Events and user changes kept in memory: for tests, and for measuring the core without a destination."""

from collections.abc import Callable

from importer.model import Event, UserChange
from importer.sinks import NotStored


class MemorySink:
    """Keeps each event and user change once by its key, like the real destinations.

    Args:
        keep: False only counts, so that the core's own memory can be measured.
    """

    def __init__(self, keep: bool = True) -> None:
        self._keep = keep
        self.events: dict[tuple[str, str], Event] = {}
        self.user_changes: dict[tuple[str, str], UserChange] = {}
        self.events_written = 0

    def write(
        self, events: list[Event], user_changes: list[UserChange], breathe: Callable[[], None] = lambda: None
    ) -> NotStored:
        self.events_written += len(events)
        if self._keep:
            self.events.update({(event.user_id, event.event_key): event for event in events})
            for change in user_changes:  # of one file: time and address are what rank it
                key = (change.user_id, change.record)
                self.user_changes[key] = max(self.user_changes.get(key, change), change, key=_order)
        return {}


def _order(change: UserChange) -> tuple[int, int, int]:
    return (change.event_time_ts or 0, change.address, change.index)
