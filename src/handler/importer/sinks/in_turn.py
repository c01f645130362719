"""Several destinations as one: each row goes to all of them, or is refused by the first and goes to none.

Rule: the one that can refuse a row at run time comes first (DynamoDB), then those that never do (Firehose). A row the
first refuses is not offered to the next, so it counts once and is nowhere stored. A crash has the whole batch written
again, which the first does not notice and the second's promise allows (G4). A batch that is tried again at once, since
the second is throttled, goes on with the second: the first would be paid for again.
"""

from collections.abc import Callable, Sequence

from importer.model import Event, UserChange
from importer.sinks import NotStored, Sink


class InTurn:
    """Writes a batch to each sink in turn; durable when all of them say so."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._begun: tuple[list[Event], list[UserChange]] | None = None  # what was begun and is not done
        self._done = 0
        self._not_stored: NotStored = {}

    def write(
        self, events: list[Event], user_changes: list[UserChange], breathe: Callable[[], None] = lambda: None
    ) -> NotStored:
        """See `Sink.write`."""
        if self._begun is None or self._begun[0] is not events or self._begun[1] is not user_changes:
            self._begun, self._done, self._not_stored = (events, user_changes), 0, {}
        for sink in self._sinks[self._done :]:
            if self._not_stored:
                events = [event for event in events if event.address not in self._not_stored]
                user_changes = [change for change in user_changes if change.address not in self._not_stored]
            self._not_stored |= sink.write(events, user_changes, breathe)
            self._done += 1
        self._begun = None
        return self._not_stored
