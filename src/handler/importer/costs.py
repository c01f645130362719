"""What an import takes of AWS, in billed units and in dollars (pure, but for the meter's own sums).

Rules, AWS's own (pages at `prices`): a write is a unit for each KB begun of its item, also when its condition refuses
it; a record of a stream is rounded up to 5 KB; memory × time is billed by the millisecond. Units are whole numbers and
dollars are fractions, so that adding up in any order gives the same, and nothing is rounded before it is shown.

What cannot be known here: a write over a larger item is billed by the larger one, and an entry of an index that does
not change is not billed. And whoever is killed takes along what it spent since its last word: so a sum is "at least".
"""

import re
from collections.abc import Mapping
from fractions import Fraction
from math import ceil
from threading import Lock
from typing import Any, Final

import orjson

from importer.model import Usage, Value
from importer.prices import AS_OF, PRICES, REGION

WRITE_UNIT_BYTES: Final = 1_024  # Rule: PRICES["write_units"]
STREAM_STEP_BYTES: Final = 5 << 10  # Rule: PRICES["stream_billed_bytes"]
_INDEXED: Final = ("user_id", "record", "segment", "expires_at", "value", "rank")  # by_segment, in template.yaml

# How S3 is asked for copies: aws/copying.py.
COPY_BYTES: Final = 512 << 20
COPY_PIECE_BYTES: Final = 128 << 20

# service → what of a usage is billed by which price
BILLED: Final[dict[str, tuple[tuple[str, str], ...]]] = {
    "dynamodb": (
        ("event_write_units", "write_units"),
        ("user_write_units", "write_units"),
        ("ledger_write_units", "write_units"),
        ("read_units", "read_units"),
    ),
    "firehose": (("stream_billed_bytes", "stream_billed_bytes"),),
    "lambda": (("lambda_mb_ms", "lambda_mb_ms"), ("lambda_requests", "lambda_requests")),
    "s3": (("s3_writes", "s3_writes"), ("s3_reads", "s3_reads")),
    "sqs": (("sqs_requests", "sqs_requests"),),
}
_USD: Final = {name: Fraction(price.usd) / price.per for name, price in PRICES.items()}

_NUMBERS: Final = re.compile(rb'\{"N":"([^"]*)"')

Item = Mapping[str, Mapping[str, Any]]


# ---- Units ---------------------------------------------------------------------------------------------------------


def write_units(item: Item | bytes) -> int:
    """Units of writing an item, given in DynamoDB's form: as a map, or as its JSON (orjson's), which is quicker.

    It is taken apart only where a KB ends in doubt: JSON has all that DynamoDB counts, and the rest of it (quotes,
    braces, types, half of a number's digits) can be counted without looking at any value. Measured: 0.1 µs up to 1 KB
    of JSON, 3 to 10 µs beyond, up to 25 µs for 5 KB that have to be taken apart.
    """
    text = item if isinstance(item, bytes) else orjson.dumps(item)
    if len(text) <= WRITE_UNIT_BYTES:
        return 1
    # Within a string a quote has a backslash before it: `":{"` is where an attribute begins, and nothing else.
    named = text.count(b'":{"')
    most = len(text) - 10 * named + 3 * (text.count(b'{"M":') + text.count(b'{"L":'))
    if most <= WRITE_UNIT_BYTES:
        return 1
    least = (
        len(text)
        - 12 * text.count(b'{"')  # a value at most, name and comma with it
        - 6 * (text.count(b'{"BOOL":') + text.count(b'{"NULL":'))
        - 5 * text.count(b"\\")
        - sum(map(len, _NUMBERS.findall(text)))
    )
    if units_of(least) == units_of(most):
        return units_of(least)
    return units_of(item_bytes(orjson.loads(text)))


def units_of(size_bytes: int) -> int:
    """Write units of an item of this size."""
    return max(-(-size_bytes // WRITE_UNIT_BYTES), 1)


def item_bytes(item: Item) -> int:
    """An item's size as DynamoDB counts it: CapacityUnitCalculations.html in its developer guide. Numbers are about
    right, as they are there."""
    return sum(len(name.encode()) + _value_bytes(value) for name, value in item.items())


def index_units(item: Item) -> int:
    """Units of what an item is in the index by_segment: 0 for what is in none."""
    if "segment" not in item:
        return 0
    return units_of(item_bytes({name: item[name] for name in _INDEXED if name in item}))


def stream_billed_bytes(record_bytes: int) -> int:
    """What Firehose bills for a record."""
    return -(-record_bytes // STREAM_STEP_BYTES) * STREAM_STEP_BYTES


def _value_bytes(attribute: Mapping[str, Any]) -> int:
    ((kind, value),) = attribute.items()
    size_bytes = 1  # BOOL, NULL
    match kind:
        case "S":
            size_bytes = len(value.encode())
        case "N":
            digits = value.lstrip("-").upper().partition("E")[0].replace(".", "").strip("0")
            size_bytes = (len(digits) + 1) // 2 + 1 + value.startswith("-")
        case "M":
            size_bytes = 3 + sum(1 + len(name.encode()) + _value_bytes(member) for name, member in value.items())
        case "L":
            size_bytes = 3 + sum(1 + _value_bytes(member) for member in value)
        case "SS":
            size_bytes = sum(len(member.encode()) for member in value)
    return size_bytes


# ---- Dollars -------------------------------------------------------------------------------------------------------


def dollars(usage: Usage) -> dict[str, Fraction]:
    """What each service charges, exactly."""
    return {
        service: sum((getattr(usage, units) * _USD[price] for units, price in billed), Fraction())
        for service, billed in BILLED.items()
    }


def micro_dollars(usage: Usage) -> int:
    """The whole bill in millionths of a dollar, rounded up: something is not nothing."""
    return ceil(sum(dollars(usage).values(), Fraction()) * 1_000_000)


def last_steps(has_bad_rows: bool, copied_bytes: int) -> Usage:
    """What comes after a receipt's sums are fixed, and is on no receipt but as this forecast: the papers, the copy into
    completed_imports/, the end of the execution.

    Args:
        copied_bytes: 0 where the file stays where it is.
    """
    # Measured: requests of small files in tests/faults. An execution's item is some 3 KB, and so is its entry by_time.
    usage = Usage(s3_writes=3, s3_reads=5, ledger_write_units=12, read_units=3, table_requests=5)
    if has_bad_rows:
        usage = usage.plus(Usage(s3_writes=4, s3_reads=3, read_units=1, table_requests=1))
    return usage.plus(Usage(s3_writes=-(-copied_bytes // COPY_PIECE_BYTES))) if copied_bytes > COPY_BYTES else usage


def bill(usage: Usage) -> dict[str, Value]:
    """`cost` of a receipt and of a preview: dollars in all and by service, the units, and whose prices these are."""
    by_service = dollars(usage)
    return {
        "usd": _shown(sum(by_service.values(), Fraction())),
        "usd_by_service": {service: _shown(usd) for service, usd in by_service.items() if usd},
        "units": dict(usage.counts()),
        "prices": {"region": REGION, "as_of": AS_OF},
    }


def _shown(usd: Fraction) -> float:
    return float(round(usd, 9))  # a read unit is 0.000000125


# ---- The meter -----------------------------------------------------------------------------------------------------


class Meter:
    """What a worker spends, as it does; any thread may say so. Whoever keeps the books takes it out.

    A call is told once it was answered: what was never answered may have been billed, and is not counted.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._counts: dict[str, int] = {}
        self._memory_mb = 0
        self._since_ms: int | None = None

    def add(self, **counts: int) -> None:
        """So much more of these attributes of `Usage`."""
        with self._lock:
            for name, count in counts.items():
                self._counts[name] = self._counts.get(name, 0) + count

    def begin(self, now_ms: int, memory_mb: int) -> None:
        """An invocation begins. What the one before it left is nobody's, and forgotten.

        Args:
            memory_mb: 0 where no function runs, and nobody bills.
        """
        self.taken(now_ms)
        self._memory_mb = memory_mb
        self.add(lambda_requests=bool(memory_mb))

    def taken(self, now_ms: int) -> Usage:
        """What was spent since this was last asked: with the time that has passed."""
        with self._lock:
            counts, self._counts = self._counts, {}
            if self._since_ms is not None and self._memory_mb:
                counts["lambda_mb_ms"] = max(now_ms - self._since_ms, 0) * self._memory_mb  # clocks are set back, too
            self._since_ms = now_ms
        return Usage(**counts)
