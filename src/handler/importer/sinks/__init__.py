"""7 · Batch → durable: one file per destination, its limits as pure checks beside it.

`SINKS` names every destination. A new one is one file, one line here and one fixture line in the contract suite.
"""

from collections.abc import Callable
from typing import Final, Protocol, TypeAlias

from importer.bad_rows import Reject
from importer.batches import Limit
from importer.model import Erased, Event, UserChange
from importer.sinks import items, records

NotStored: TypeAlias = dict[int, Reject | Erased]  # rows by address


def unhurried() -> None:
    """For writers that hold no lease, and who have nothing else to do while they wait."""


class Sink(Protocol):
    """A destination, opened for one execution."""

    def write(
        self, events: list[Event], user_changes: list[UserChange], breathe: Callable[[], None] = unhurried
    ) -> NotStored:
        """Write user changes, then events, so that they survive a crash after this call returns.

        Writing the same again changes nothing in a store that has keys; a stream gets it again, under the same ids.
        A row that is not stored has no event in the store and no change.

        Args:
            breathe: called every few calls, and every two seconds while a rate is waited for, so that a lease can be
                renewed while a slow destination gets on; what it raises ends the write.
        Returns:
            The rows (by address) this sink can never accept, each with its reason, and those of persons who were
            erased after the file was uploaded. Empty nearly always: the limits known beforehand were checked by the
            pure functions in `SINKS`.
        Raises:
            Throttled: nothing could be written for 15 s, being throttled; the same batch may be tried again.
            Unavailable: nothing can be said about which events were written.
        """


# name → the limit that every row must pass where this sink is enabled
SINKS: Final[dict[str, Limit]] = {
    "dynamodb": Limit(items.limit, items.surely_fits),
    "firehose": Limit(records.limit, records.surely_fits),
}
