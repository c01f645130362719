"""What a preview says an import would cost: the sinks' own items and records, scaled to the file."""

import gzip
import json
from fractions import Fraction
from typing import Any

import pytest

from importer.costs import last_steps
from importer.definitions import Definition
from importer.forecast import FILE, MEMORY_MB, PART, ROW_US, Forecast, Forecaster
from importer.model import USAGE, Provenance, Usage
from importer.preview import document, previewed
from importer.sinks import SINKS

SOURCE = Provenance("", "default", "0" * 32, "imports/a.json", 1_700_000_000_000)


def row(number: int, **more: object) -> bytes:
    return json.dumps({"user_id": "u", "event_name": "e", "event_time_ts": 1_425_920_218_354 + number, **more}).encode()


def forecast(
    data: bytes,
    sinks: tuple[str, ...] = ("dynamodb",),
    stop: int = 2**63 - 1,
    size_bytes: int = 0,
    part_bytes: int = 256 << 20,
    **settings: Any,
) -> Forecast:
    definition = Definition(**settings)
    cost = Forecaster(sinks, SOURCE, size_bytes or len(data), part_bytes)
    limits = tuple(SINKS[name] for name in sinks)
    found = previewed([data], definition, 1_700_000_000_000, limits, first_rows=0, bad_rows=0, stop=stop, cost=cost)
    assert found.cost is not None
    return found.cost


def of_rows(found: Forecast, bad: bool = False) -> Usage:
    """Without what a file costs however many rows it has."""
    fixed = FILE.plus(last_steps(bad, 0))
    return Usage(**{name: getattr(found.usage, name) - getattr(fixed, name) for name in USAGE})


def test_an_event_is_a_unit_and_a_second_one_beyond_1_kb():
    """25 of them are a request; each takes its time; a write looks twice whether anybody was erased."""
    data = b"\n".join([*(row(number) for number in range(30)), row(31, text="x" * 900)])
    assert of_rows(forecast(data)) == Usage(
        event_write_units=32, read_units=2, table_requests=2 + 2, lambda_mb_ms=31 * ROW_US * MEMORY_MB // 1_000
    )


def test_equal_rows_are_written_once_and_of_a_property_the_last_value():
    """As the sinks do within a write."""
    data = b"\n".join([row(1), row(1), row(2, **{"{u}city": "a"}), row(3, **{"{u}city": "b"})])
    usage = of_rows(forecast(data))
    assert (usage.event_write_units, usage.user_write_units) == (3, 1)


def test_what_is_refused_costs_a_segment_and_the_papers():
    usage = of_rows(forecast(row(1) + b"\n[]\n"), bad=True)
    assert (usage.event_write_units, usage.s3_writes) == (1, 1)


def test_a_file_read_in_part_is_taken_to_go_on_like_this():
    """The share is that of its bytes; what a file costs as such is not multiplied."""
    data = b"".join(row(number) + b"\n" for number in range(1_000, 2_000))
    found = forecast(data, stop=len(data) // 4)
    assert found.share == Fraction(1, 4)
    assert of_rows(found).event_write_units == 1_000
    assert forecast(data).share == 1


def test_a_compressed_file_goes_on_like_its_stored_bytes():
    data = gzip.compress(b"".join(row(number) + b"\n" for number in range(100)))
    assert of_rows(forecast(data)).event_write_units == 100


def test_each_part_has_its_price():
    """A message, an invocation, claims and progress."""
    data = b"".join(row(number) + b"\n" for number in range(40_000))
    one, many = (forecast(data, part_bytes=part_bytes).usage for part_bytes in (256 << 20, 1 << 20))
    parts = -(-len(data) // (1 << 20))
    assert parts > 1
    assert many == one.plus(Usage(**{name: getattr(PART, name) * parts for name in USAGE}))


def test_a_stream_is_billed_by_its_records_and_packing_is_what_makes_them_few():
    """1,000 small events: a record each would be 5 KB each; packed they are a few steps; compressed one or two."""
    data = b"".join(row(number, text=f"text-{number % 7}" * 8) + b"\n" for number in range(1_000))
    found = forecast(data, ("firehose",))
    billed = found.stream_bytes
    assert billed["one_event_a_record"] == 1_000 * 5_120
    assert billed["packed"] == found.usage.stream_billed_bytes < billed["one_event_a_record"] // 10
    assert billed["packed_gzip"] < billed["packed"] // 4
    assert (found.usage.event_write_units, forecast(data).stream_bytes) == (0, {})


@pytest.mark.parametrize("data", [b"", b"\n\n"], ids=["empty", "blank"])
def test_a_file_without_rows_costs_what_a_file_costs(data: bytes):
    assert forecast(data, size_bytes=1).usage == FILE.plus(last_steps(False, 1))


def test_the_document_of_a_preview_has_it():
    """With what it assumes; null where nobody asked, and where the file would be refused."""
    data = row(1)
    cost = Forecaster(("dynamodb",), SOURCE, len(data), 1 << 30)
    found = previewed([data], Definition(), 0, (), first_rows=0, bad_rows=0, cost=cost)
    told: Any = document(found)["cost"]
    assert (told["units"]["event_write_units"], told["share_read"]) == (1, 1.0)
    assert told["assumes"] == {"memory_mb": MEMORY_MB, "us_a_row": ROW_US, "us_a_user_change": ROW_US}
    refused = previewed([b"{"], Definition(atomic=True), 0, (), first_rows=0, bad_rows=0, cost=cost)
    plain = previewed([data], Definition(), 0, (), first_rows=0, bad_rows=0)
    assert [document(found)["cost"] for found in (refused, plain)] == [None, None]
