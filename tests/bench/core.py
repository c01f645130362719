"""The core alone: reader → batches → a sink that only counts, over a file repeated so many times.

    python tests/bench/core.py FILE TIMES

Prints one JSON line: bytes, rows, good, bad, CPU seconds, peak resident bytes of this process.
"""

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "src" / "handler"))

from importer.batches import Rules, batches
from importer.definitions import DEFAULT
from importer.formats import DEFAULT as FORMAT
from importer.lines import lines
from importer.model import Tally
from importer.parts import WHOLE
from importer.sinks import SINKS
from importer.sinks.memory import MemorySink

READ_BYTES = 256 << 10


def chunks(path: str, times: int) -> Iterator[bytes]:
    for _ in range(times):
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(READ_BYTES):
                yield chunk


def peak_rss_bytes() -> int:
    """Of this program alone: getrusage would begin with what the process that started it had in memory."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise OSError("no VmHWM in /proc/self/status: this measurement needs Linux")


def main() -> None:
    path, times = sys.argv[1], int(sys.argv[2])
    rules = Rules(FORMAT, DEFAULT, now_ms=0, limits=(SINKS["dynamodb"],))
    sink = MemorySink(keep=False)
    tally = Tally()
    begun = time.process_time()
    for batch in batches(lines(chunks(path, times), WHOLE), rules):
        sink.write(batch.events, batch.user_changes)
        tally = tally.plus(batch.tally)
    measured = {
        "bytes": Path(path).stat().st_size * times,
        "rows": tally.rows,
        "good": tally.good,
        "bad": tally.bad,
        "cpu_seconds": round(time.process_time() - begun, 2),
        "peak_rss_bytes": peak_rss_bytes(),
    }
    print(json.dumps(measured))


if __name__ == "__main__":
    main()
