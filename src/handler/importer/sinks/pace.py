"""How fast to write: what AWS lets through, which is learned, and what the operator allows, which is told.

Rule of `Window`: additive increase, multiplicative decrease, as TCP's congestion control has it (RFC 5681). Workers
that know nothing of each other then share a table's limit about evenly, and none of them has to be told what it is.
One call in flight may still be too much, so below it the pause grows: 1,000 writes/s of a partition are less than one
call after another makes, and less again where ten workers meet.

Nothing here is kept: what a retry repeats does not depend on it.
"""

from collections.abc import Callable
from math import ceil
from typing import Final

from importer.model import Clock

FIRST_PAUSE_MS: Final = 40
LONGEST_PAUSE_MS: Final = 2_000
_BREATH_MS: Final = 2_000  # the longest wait without a breath; a lease is 45 s


class Window:
    """How many calls may be in flight, and how long to pause when AWS asked to slow down.

    Attributes:
        in_flight: from 1 to `most`; begins there.
        pause_ms: from FIRST_PAUSE_MS to LONGEST_PAUSE_MS; longer than the first only while one call is in flight.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.in_flight = most
        self.pause_ms = FIRST_PAUSE_MS

    def shrink(self) -> None:
        """AWS asked to slow down."""
        if self.in_flight > 1:
            self.in_flight //= 2
        else:
            self.pause_ms = min(self.pause_ms * 2, LONGEST_PAUSE_MS)

    def widen(self, calls: int) -> None:
        """So many calls went through. Fewer than may be in flight prove nothing about one more."""
        if self.pause_ms > FIRST_PAUSE_MS:
            self.pause_ms = max(self.pause_ms // 2, FIRST_PAUSE_MS)
        elif calls >= self.in_flight:
            self.in_flight = min(self.in_flight + 1, self._most)


class Rate:
    """At most so many writes a second: a bucket of one second's worth, which fills as time goes by.

    A call of more than a second's worth goes when the bucket is full, and those after it wait until that is made up
    for. A write that is tried again counts again. For one thread; all that writes with one worker shares one.

    Args:
        per_second: 0 for no limit.
    """

    def __init__(self, clock: Clock, per_second: float) -> None:
        self._clock = clock
        self._per_second = per_second
        self._left = per_second
        self._seen_ms = clock.now_ms() if per_second else 0

    def wait(self, writes: int, breathe: Callable[[], None]) -> int:
        """Count these writes as soon as they are allowed; how many milliseconds that took.

        Args:
            breathe: called at least every two seconds of a wait. What it raises ends it.
        """
        if not self._per_second:
            return 0
        began_ms = self._clock.now_ms()
        while (missing := min(writes, self._per_second) - self._filled()) > 0:
            self._clock.sleep(min(ceil(missing * 1000 / self._per_second), _BREATH_MS) / 1000)
            breathe()
        self._left -= writes
        return self._clock.now_ms() - began_ms

    def allows(self, writes: int) -> bool:
        """Whether these are allowed at once; if so they are counted."""
        if not self._per_second:
            return True
        if writes > self._filled():
            return False
        self._left -= writes
        return True

    def _filled(self) -> float:
        now_ms = self._clock.now_ms()
        passed_ms = max(now_ms - self._seen_ms, 0)  # a clock that is set back must not empty the bucket
        self._left = min(self._left + passed_ms * self._per_second / 1000, self._per_second)
        self._seen_ms = now_ms
        return self._left
