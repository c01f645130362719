"""The most memory an import takes: files made to take much, each imported whole by a fresh process, on the rig.

    python -m tests.bench.peaks [NAME ...]

Prints a table of peaks as resident bytes of the process, Python and all libraries included.
"""

import base64
import gzip
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

import zstandard

from tests.bench import rig
from tests.bench.generate import rows

MIB: Final = 1 << 20
SINKS: Final = (("dynamodb",), ("firehose",), ("firehose", "gzip"), ("both",))


def usual(bytes_wanted: int) -> Iterator[bytes]:
    at = 0
    for row, _ in rows(1 << 30, 7):
        yield row
        at += len(row)
        if at > bytes_wanted:
            return


def beginning(number: int) -> bytes:
    return f'{{"event_name":"e","event_time_ts":{1_700_000_000_000 + number},"user_id":"u{number}"'.encode()


def rows_of(row_bytes: int, bytes_wanted: int) -> Iterator[bytes]:
    """Rows of one long text that does not compress well; each is another one."""
    for number in range(bytes_wanted // row_bytes):
        begin = (
            f'{{"event_name":"e","event_time_ts":{1_700_000_000_000 + number},"user_id":"u{number}","text":"'.encode()
        )
        seed = hashlib.sha256(str(number).encode()).digest()
        filling = base64.b64encode(hashlib.shake_256(seed).digest(row_bytes * 3 // 4))
        yield begin + filling[: row_bytes - len(begin) - 3] + b'"}\n'


def nested(row_bytes: int, bytes_wanted: int) -> Iterator[bytes]:
    """Rows of as many small values as fit: much more in memory than as text."""
    for number in range(bytes_wanted // row_bytes):
        begin = (
            f'{{"event_name":"e","event_time_ts":{1_700_000_000_000 + number},"user_id":"u{number}","list":['.encode()
        )
        yield begin + b'{"":0},' * ((row_bytes - len(begin) - 18) // 7) + b"{}]}\n"


def zstd(lines: Iterator[bytes], window_log: int) -> bytes:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log, write_content_size=False)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(b"".join(lines))


FILES: Final[dict[str, Callable[[], bytes]]] = {
    "usual rows, 36 MB": lambda: b"".join(usual(36_000_000)),
    "usual rows, gzip": lambda: gzip.compress(b"".join(usual(18_000_000)), 1),
    "usual rows, gzip of 1,000 members": lambda: gzip.compress(b"".join(usual(9_000)), 1) * 1_000,
    "rows of 100 KB": lambda: b"".join(rows_of(100_000, 48 * MIB)),
    "rows of 390 KB, as DynamoDB just takes": lambda: b"".join(rows_of(390_000, 48 * MIB)),
    "rows of 990 KB, as Firehose just takes": lambda: b"".join(rows_of(990_000, 48 * MIB)),
    "rows of 8 MiB, refused": lambda: b"".join(rows_of(8 * MIB, 48 * MIB)),
    "rows of 8 MiB of small values, refused": lambda: b"".join(nested(8 * MIB, 32 * MIB)),
    "rows of 20 MiB, over the longest line": lambda: b"".join(rows_of(20 * MIB, 48 * MIB)),
    "rows of 990 KB, zstd with a window of 128 MiB": lambda: zstd(rows_of(990_000, 160 * MIB), 27),
    "the same, and rows of 8 MiB of small values behind": lambda: zstd(
        chain(rows_of(990_000, 160 * MIB), nested(8 * MIB, 32 * MIB)), 27
    ),
}


def main() -> int:
    wanted = sys.argv[1:] or list(FILES)
    print(f"| file | {' | '.join(' + '.join(sink) for sink in SINKS)} |")
    print("| --- |" + " --- |" * len(SINKS))
    file = rig.DATA / "peaks.ndjson"
    with rig.running(core=1) as running:
        for name in wanted:
            body = FILES[name]()
            file.write_bytes(body)
            facts = {"size_bytes": len(body), "sha256": base64.b64encode(hashlib.sha256(body).digest()).decode()}
            file.with_suffix(".json").write_text(json.dumps(facts))
            del body
            told = [peak(running, file, sink) for sink in SINKS]
            print(f"| {name} | {' | '.join(told)} |", flush=True)
    file.unlink()
    file.with_suffix(".json").unlink()
    return 0


def peak(running: rig.Rig, file: Path, sink: tuple[str, ...]) -> str:
    key = f"imports/{file.name}/{os.urandom(8).hex()}.ndjson"
    program = [sys.executable, str(Path(__file__).with_name("ours.py")), key, *sink]
    done = subprocess.run(program, env=running.environment("plain") | rig.OF_A_FUNCTION, capture_output=True)
    if done.returncode:
        raise SystemExit(done.stderr.decode(errors="replace")[-2000:])
    said: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return f"{said['peak_rss_bytes'] / 1e6:.0f} MB ({said['good']:,} good, {said['bad']:,} bad)"


if __name__ == "__main__":
    sys.exit(main())
