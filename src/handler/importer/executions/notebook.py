"""The notebook of a settling: where its long steps stand, kept in the imports table, so that any worker goes on.

Written every few seconds and when the time is up, on condition that nobody else has written since: of two workers that
settle one execution at once, one goes on and the other stops. What either did meanwhile is a function of the outcome
and the segments, so doing it twice changes nothing.
"""

from typing import Final

from importer.executions.ports import Workplace
from importer.model import Execution, TimeIsUp, Value

KEEP_EVERY_MS: Final = 5_000
_OF: Final = "of"  # the page that says whose pages these are


class SettlingNotebook:
    """See `ports.Notebook`. Nothing is read before it is needed: most executions never open theirs.

    What another attempt or other rules wrote does not count: they settle other bad rows.
    """

    def __init__(self, place: Workplace, execution: Execution) -> None:
        self._place = place
        self._execution_id = execution.id
        self._of: dict[str, Value] = {"attempt": execution.attempt, "round": execution.round}
        self._reserve_ms = place.reserve_ms()
        self._version = 0
        self._pages: dict[str, dict[str, Value]] | None = None
        self._written_ms = place.clock.now_ms()
        self._worked = False

    def page(self, step: str) -> dict[str, Value]:
        """See `ports.Notebook`."""
        return self._open().get(step, {})

    def keep(self, step: str, page: dict[str, Value], at_once: bool = False) -> None:
        """See `ports.Notebook`."""
        self._open()[step] = page
        time_is_up = self._time_is_up()
        if at_once or self.is_due():
            self._place.records.write_notes(self._execution_id, self._version, self._open())
            self._version += 1
            self._written_ms = self._place.clock.now_ms()
        if time_is_up:
            raise TimeIsUp

    def is_due(self) -> bool:
        """See `ports.Notebook`."""
        due = self._time_is_up() or self._place.clock.now_ms() - self._written_ms >= KEEP_EVERY_MS
        self._worked = True
        return due

    def _time_is_up(self) -> bool:
        """However short the invocation, it does one piece of work."""
        return self._worked and self._place.remaining_ms() < self._reserve_ms

    def _open(self) -> dict[str, dict[str, Value]]:
        if self._pages is None:
            self._version, pages = self._place.records.notes(self._execution_id)
            self._pages = pages if pages.get(_OF) == self._of else {_OF: self._of}
        return self._pages
