"""The real clock."""

import time


class SystemClock:
    """See `model.Clock`."""

    def now_ms(self) -> int:
        return int(time.time() * 1000)

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)
