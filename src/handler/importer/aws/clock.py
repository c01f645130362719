"""The real clock."""

import time


class SystemClock:
    """See `model.Clock`."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
