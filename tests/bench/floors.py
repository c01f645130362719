"""What a row costs at the very least: single calls of libraries, without anything around them.

    python -m tests.bench.floors            as a table; docs/benchmarks/limits.md explains it

CPU µs a row, the least of many short rounds: noise only adds. Rows are those of `generate`.
"""

import binascii
import hashlib
import io
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import orjson

from tests.bench.generate import rows

COUNT: Final = 3_000
ROUNDS: Final = 60
ITEM_BYTES: Final = 620
RECORD_BYTES: Final = 530

FILE: Final = b"".join(row for row, *_ in rows(COUNT, 8))
TEXTS: Final[list[bytes]] = []
PARSED: Final[list[dict[str, Any]]] = []
for _line in FILE.splitlines():
    try:
        _row = orjson.loads(_line)
    except orjson.JSONDecodeError:
        continue
    if isinstance(_row, dict):
        TEXTS.append(_line)
        PARSED.append(_row)


def _each(call: Callable[[Any], object], over: Iterable[Any]) -> None:
    for one in over:
        call(one)


def _attribute(value: Any) -> dict[str, Any]:
    kind = type(value)
    if kind is str:
        return {"S": value}
    return {"BOOL": value} if kind is bool else {"NULL": True} if value is None else {"N": repr(value)}


BEGUN: Final = hashlib.blake2b(b"cooladata\n0\n", digest_size=16)


def _identity(text: bytes) -> str:
    identity = BEGUN.copy()
    identity.update(text)
    return identity.hexdigest()


STEPS: Final[dict[str, Callable[[], None]]] = {
    "split a chunk into lines": lambda: _each(len, io.BytesIO(FILE).readlines()),
    "parse (orjson.loads)": lambda: _each(orjson.loads, TEXTS),
    "write again (orjson.dumps): the proof, or a line of the stream": lambda: _each(orjson.dumps, PARSED),
    "the id (BLAKE2b of the row)": lambda: _each(_identity, TEXTS),
    "types of its values": lambda: _each(lambda row: set(map(type, row.values())), PARSED),
    "values as DynamoDB has them, as a dict": lambda: _each(
        lambda row: {name: _attribute(value) for name, value in row.items()}, PARSED
    ),
    "… and as text": lambda: _each(
        lambda row: orjson.dumps({name: _attribute(value) for name, value in row.items()}), PARSED
    ),
    "SHA-256 of its part of a signed call": lambda: _each(
        lambda body: hashlib.sha256(body).digest(), [b"x" * ITEM_BYTES * 25] * (COUNT // 25)
    ),
    "base64 of its part of a record": lambda: _each(
        binascii.b2a_base64, [b"x" * RECORD_BYTES * 1_000] * (COUNT // 1_000)
    ),
}


def floors() -> dict[str, float]:
    """CPU µs a row of each step."""
    least: dict[str, float] = {}
    for _ in range(ROUNDS):
        for name, step in STEPS.items():
            begun = time.process_time()
            step()
            least[name] = min(least.get(name, 1e9), (time.process_time() - begun) / COUNT * 1e6)
    return least


def main() -> None:
    print("| at least | CPU µs a row |\n|---|---|")
    for name, cpu_us in floors().items():
        print(f"| {name} | {cpu_us:.2f} |")


if __name__ == "__main__":
    main()
