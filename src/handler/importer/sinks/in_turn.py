"""Several destinations as one: each row goes to all of them, or is refused by the first and goes to none.

Rule: the one that can refuse a row at run time comes first (DynamoDB), then those that never do (Firehose). A row the
first refuses is not offered to the next, so it counts once and is nowhere stored. A crash, or a throttled second, has
the whole batch written again, which the first does not notice and the second's promise allows (G4).
"""

from collections.abc import Callable, Sequence

from importer.bad_rows import Reject
from importer.model import Event, UserChange
from importer.sinks import Sink


class InTurn:
    """Writes a batch to each sink in turn; durable when all of them say so."""

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks

    def write(
        self, events: list[Event], user_changes: list[UserChange], breathe: Callable[[], None] = lambda: None
    ) -> dict[int, Reject]:
        """See `Sink.write`."""
        refused: dict[int, Reject] = {}
        for sink in self._sinks:
            newly = sink.write(events, user_changes, breathe)
            if newly:
                events = [event for event in events if event.address not in newly]
                user_changes = [change for change in user_changes if change.address not in newly]
                refused |= newly
        return refused
