"""What a measured client tells of itself, as one line of JSON; every client in Python uses it, so it imports nothing.

CPU counts user and system time of the process and of its children, from `begun()` on: what was imported before is told
on its own. A function that stays warm pays it once.
"""

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

_start: dict[str, float] = {}


def cpu_seconds() -> float:
    return sum(
        usage.ru_utime + usage.ru_stime
        for usage in (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    )


def peak_rss_bytes() -> int:
    """Of this program alone: getrusage would begin with what the process that started it had in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status: this measurement needs Linux")


def begun() -> None:
    """Everything is imported; the work begins."""
    _start.update(cpu=cpu_seconds(), wall=time.monotonic())


def told(good: int, bad: int, **more: Any) -> None:
    """The work is done."""
    said = {
        "good": good,
        "bad": bad,
        "cpu_seconds": cpu_seconds() - _start["cpu"],
        "wall_seconds": time.monotonic() - _start["wall"],
        "start_cpu_seconds": _start["cpu"],
        "peak_rss_bytes": peak_rss_bytes(),
        "python": sys.version.split()[0],
        **more,
    }
    print(json.dumps(said))
