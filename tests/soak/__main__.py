"""python -m tests.soak --bytes 360MB --sink dynamodb --part-size 8MiB --seconds 30 --kill-every 5

Brings up a twin of its own, drops a file of so many bytes, kills workers by pid while they import it, and counts
afterwards. Exit 0: the books balance; 1: they do not, or the import did not end in time; 4: no twin.
"""

import argparse
import json
import random
import re
import shutil
import signal
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from cli import twin
from tests.soak.counting import Unbalanced, count
from tests.soak.files import ROW_BYTES, File
from tests.soak.run import Bench, NotEnded, Story, emulator_pid, run, say

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
SINKS = {"dynamodb": ("dynamodb",), "firehose": ("firehose",), "both": ("dynamodb", "firehose")}
KEY = "imports/soak.json"


def soak(
    directory: Path,
    file: File,
    sink: str,
    part_mib: int,
    seconds: int,
    kill_every_s: float,
    workers: int,
    visibility_s: int,
    sweep_every_s: float,
    seed: int,
    limit_s: float,
) -> tuple[Story, dict[str, int]]:
    """A whole run in a fresh twin in this directory: what was seen, and what was counted.

    Raises:
        NotEnded, Unbalanced; twin.TwinError.
    """
    parameters = [
        f"Sinks={sink}",
        f"PartSizeMiB={part_mib}",
        f"PartSeconds={seconds}",
        f"PartConcurrency={workers}",
    ]
    with twin.running(directory, parameters) as stack:
        bench = Bench(stack)
        bench.shorten_visibility(visibility_s)
        say(f"{file.rows:,} rows, seed {seed}")
        story = run(bench, emulator_pid(directory), KEY, file, kill_every_s, sweep_every_s, seed, limit_s)
        say(f"{story.status} after {story.seconds:.0f} s; counting")
        began = time.monotonic()
        counted = count(bench, KEY, file, SINKS[sink])
        say(f"counted in {time.monotonic() - began:.0f} s")
        return story, counted


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tests.soak", description="A big import on a local twin, its workers killed by pid."
    )
    parser.add_argument("--bytes", default="36MB", type=_size, help="of the file: 36MB, 3.6GB …")
    parser.add_argument("--row-bytes", default=ROW_BYTES, type=int, help="of a row; at least 250")
    parser.add_argument("--sink", default="dynamodb", choices=SINKS)
    parser.add_argument("--part-size", default="8MiB", type=_size, help="whole MiB, at least 8")
    parser.add_argument("--seconds", default=30, type=int, help="time-out of a worker")
    parser.add_argument("--kill-every", default=5.0, type=float, help="seconds between kills, on average; 0: none")
    parser.add_argument("--workers", default=4, type=int, help="at the same time, at most")
    parser.add_argument("--visibility", default=60, type=int, help="seconds until a killed worker's message comes back")
    parser.add_argument("--sweep-every", default=20.0, type=float, help="seconds between two invocations of the sweep")
    parser.add_argument("--minutes", default=60.0, type=float, help="so long at most")
    parser.add_argument("--seed", default=None, type=int)
    arguments = parser.parse_args()
    seed = random.SystemRandom().randrange(1_000_000) if arguments.seed is None else arguments.seed
    file = File(arguments.bytes, arguments.row_bytes, seed)
    directory = Path(tempfile.mkdtemp(prefix="soak-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the twin is stopped on the way out
    try:
        story, counted = soak(
            directory,
            file,
            arguments.sink,
            arguments.part_size >> 20,
            arguments.seconds,
            arguments.kill_every,
            arguments.workers,
            arguments.visibility,
            arguments.sweep_every,
            seed,
            arguments.minutes * 60,
        )
    except (NotEnded, Unbalanced) as wrong:
        say(f"NOT BALANCED, seed {seed}: {wrong}")
        return 1
    except twin.TwinError as error:
        say(str(error))
        return 4
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps({"seed": seed, **counted, **asdict(story)}, indent=2))
    say("the books balance")
    return 0


def _size(text: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) *([A-Za-z]*)", text)
    if found is None or found[2] not in UNITS:
        raise argparse.ArgumentTypeError(f"{text!r}: write a size such as 36MB or 8MiB")
    return round(float(found[1]) * UNITS[found[2]])


if __name__ == "__main__":
    sys.exit(main())
