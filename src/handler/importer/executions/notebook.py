"""The notebook of a settling: where its long steps stand, kept in the imports table, so that any worker goes on.

Written every few seconds and when the time is up, on condition that nobody else has written since: of two workers that
settle one execution at once, one goes on and the other stops. What either did meanwhile is a function of the outcome
and the segments, so doing it twice changes nothing.
"""

from typing import Final

from importer.executions.ports import Workplace
from importer.model import TimeIsUp, Value

KEEP_EVERY_MS: Final = 5_000
RESERVE_MS: Final = 30_000  # at most a third of an invocation: one piece, and the write that says so


class SettlingNotebook:
    """See `ports.Notebook`. Nothing is read before it is needed: most executions never open theirs."""

    def __init__(self, place: Workplace, execution_id: str) -> None:
        self._place = place
        self._execution_id = execution_id
        self._reserve_ms = min(RESERVE_MS, place.remaining_ms() // 3)
        self._version = 0
        self._pages: dict[str, dict[str, Value]] | None = None
        self._written_ms = place.clock.now_ms()
        self._moved = False

    def page(self, step: str) -> dict[str, Value]:
        """See `ports.Notebook`."""
        return self._open().get(step, {})

    def keep(self, step: str, page: dict[str, Value], at_once: bool = False) -> None:
        """See `ports.Notebook`."""
        self._open()[step] = page
        # However short the invocation, it does one piece of work.
        time_is_up = self._moved and self._place.remaining_ms() < self._reserve_ms
        self._moved |= not at_once
        if at_once or time_is_up or self._place.clock.now_ms() - self._written_ms >= KEEP_EVERY_MS:
            self._place.records.write_notes(self._execution_id, self._version, self._open())
            self._version += 1
            self._written_ms = self._place.clock.now_ms()
        if time_is_up:
            raise TimeIsUp

    def _open(self) -> dict[str, dict[str, Value]]:
        if self._pages is None:
            self._version, self._pages = self._place.records.notes(self._execution_id)
        return self._pages
