"""Units as AWS bills them, to the byte where it rounds; and sums that do not depend on their order."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from fractions import Fraction
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import costs
from importer.aws import copying
from importer.costs import (
    BILLED,
    Meter,
    bill,
    dollars,
    index_units,
    item_bytes,
    last_steps,
    micro_dollars,
    stream_billed_bytes,
    units_of,
    write_units,
)
from importer.model import USAGE, Provenance, Usage, UserChange, rank
from importer.prices import AS_OF, PRICES, REGION
from importer.sinks.items import attribute, record_item
from tests.support.scenarios import examples

SOURCE = Provenance("cooladata", "default", "e1", "imports/a.json", 1_700_000_000_000)

# Every kind of value an item may hold, and texts that look like DynamoDB's JSON.
TEXTS = st.text(max_size=60) | st.sampled_from(['":{"', '{"N":"1"}', '{"BOOL":true}', "\\", '"', "\n" * 30, "é" * 40])
VALUES = st.recursive(
    TEXTS | st.integers(-(10**18), 10**18) | st.floats(-1e100, 1e100) | st.booleans() | st.none(),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(TEXTS.filter(bool), inner, max_size=6),
    max_leaves=40,
)
USAGES = st.builds(Usage, **{name: st.integers(0, 10**12) for name in USAGE})


def item_of_bytes(size_bytes: int) -> dict[str, dict[str, Any]]:
    """An item of exactly this size."""
    return {"user_id": {"S": "u"}, "text": {"S": "x" * (size_bytes - len("user_idu") - len("text"))}}


# ---- Units ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_bytes", "units"), [(13, 1), (1_023, 1), (1_024, 1), (1_025, 2), (2_048, 2), (2_049, 3), (400 << 10, 400)]
)
def test_a_write_is_a_unit_for_each_kb_begun(size_bytes: int, units: int):
    """Told as a map or as JSON, which is longer than the item is."""
    item = item_of_bytes(size_bytes)
    assert item_bytes(item) == size_bytes
    assert (write_units(item), write_units(orjson.dumps(item))) == (units, units)


def test_every_size_around_the_borders_is_told_exactly():
    """Nothing is rounded where a KB ends, whatever share of the JSON is quotes and braces."""
    for around in (1_024, 2_048, 3_072):
        for size_bytes in range(around - 40, around + 40):
            assert write_units(orjson.dumps(item_of_bytes(size_bytes))) == units_of(size_bytes)


@settings(max_examples=examples(400), deadline=None)
@given(st.dictionaries(TEXTS.filter(bool), VALUES, min_size=1, max_size=30))
def test_units_by_the_length_of_the_json_are_those_of_the_item(values: dict[str, Any]):
    """The quick way and the way through every value agree, also for texts that look like JSON."""
    item = {name: attribute(value) for name, value in values.items()}
    assert write_units(orjson.dumps(item)) == units_of(item_bytes(item))


@pytest.mark.parametrize(
    ("value", "size_bytes"),
    [
        ("", 0),
        ("é", 2),
        (0, 1),
        (7, 2),
        (-7, 3),
        (1_000_000, 2),
        (1_350_273_990_000, 6),
        (True, 1),
        (None, 1),
        ([], 3),
        ({}, 3),
        ([7, "é"], 3 + 1 + 2 + 1 + 2),
        ({"ab": 7}, 3 + 1 + 2 + 2),
    ],
)
def test_values_have_the_sizes_of_the_developer_guide(value: Any, size_bytes: int):
    """CapacityUnitCalculations.html: a number is a byte for two digits and one more, its zeros at the ends trimmed."""
    assert item_bytes({"a": attribute(value)}) == 1 + size_bytes


def test_a_membership_is_written_into_the_index_too():
    """Sparse: what has no segment is in no index; an entry is its keys and what is projected."""

    def record(name: str, **more: Any) -> dict[str, Any]:
        change = UserChange("u", name, more.pop("value", True), 1, 0, 0, **more)
        return record_item(change, rank(change, SOURCE), SOURCE)

    found = [
        index_units(record(name, **more))
        for name, more in (
            ("segment#s", {}),
            ("segment#s", {"value": "x" * 1_500}),
            ("segment#s", {"deleted": True}),
            ("prop#city", {}),
        )
    ]
    assert found == [1, 2, 0, 0]


@pytest.mark.parametrize(
    ("record_bytes", "billed"),
    [(1, 5_120), (5_119, 5_120), (5_120, 5_120), (5_121, 10_240), (999 << 10, 1_024_000), (1_000 << 10, 1_024_000)],
)
def test_a_record_is_rounded_up_to_5_kb(record_bytes: int, billed: int):
    """So one small event a record is billed fourteen times over."""
    assert stream_billed_bytes(record_bytes) == billed


# ---- Sums ----------------------------------------------------------------------------------------------------------


@given(USAGES, USAGES, USAGES)
def test_usages_add_up_in_any_order(one: Usage, two: Usage, three: Usage):
    """Parts end in any order, and a part is worked on by many."""
    assert one.plus(two).plus(three) == one.plus(two.plus(three)) == three.plus(one).plus(two)
    assert one.plus(Usage()) == one
    assert Usage(**one.counts()) == one


@given(USAGES, USAGES)
def test_the_sum_costs_what_the_parts_cost(one: Usage, two: Usage):
    """Nothing is rounded before it is shown."""
    assert dollars(one.plus(two)) == {service: usd + dollars(two)[service] for service, usd in dollars(one).items()}


def test_every_unit_has_a_price_or_is_said_to_have_none():
    """What is counted and forgotten on the bill would make it too low."""
    free = {"table_requests", "stream_requests", "stream_records", "throttled_requests"}
    billed = [name for service in BILLED.values() for name, _ in service]
    assert (sorted(billed), {price for service in BILLED.values() for _, price in service}) == (
        sorted(set(USAGE) - free),
        set(PRICES),
    )


def test_every_price_says_where_it_comes_from():
    """One dated table; a number without a witness is none."""
    for price in PRICES.values():
        assert all(str(getattr(price, field.name)) for field in fields(price))
        assert price.page.startswith("https://aws.amazon.com/")
        assert Fraction(price.usd) > 0


@pytest.mark.parametrize(
    ("usage", "usd"),
    [
        (Usage(event_write_units=1_000_000), "0.625"),
        (Usage(user_write_units=1_000_000), "0.625"),
        (Usage(ledger_write_units=1_000_000), "0.625"),
        (Usage(read_units=1_000_000), "0.125"),
        (Usage(stream_billed_bytes=1 << 30), "0.029"),
        (Usage(lambda_mb_ms=1_024 * 1_000 * 1_000), "0.0133334"),
        (Usage(lambda_requests=1_000_000), "0.2"),
        (Usage(s3_writes=1_000), "0.005"),
        (Usage(s3_reads=1_000), "0.0004"),
        (Usage(sqs_requests=1_000_000), "0.4"),
        (Usage(stream_records=10**9, table_requests=10**9, stream_requests=10**9), "0"),
    ],
    ids=lambda value: next(iter(value.counts())) if isinstance(value, Usage) else None,
)
def test_units_cost_what_the_table_says(usage: Usage, usd: str):
    """Each by its own price."""
    assert sum(dollars(usage).values()) == Fraction(usd)


def test_a_bill_has_dollars_units_and_whose_prices_they_are():
    """A million events of up to 1 KB on a table, and 170 s of 1,024 MB."""
    usage = Usage(event_write_units=1_000_000, read_units=2_000, lambda_mb_ms=170_000 * 1_024, s3_reads=10)
    assert bill(usage) == {
        "usd": 0.627520678,
        "usd_by_service": {"dynamodb": 0.62525, "lambda": 0.002266678, "s3": 0.000004},
        "units": {"event_write_units": 1_000_000, "read_units": 2_000, "lambda_mb_ms": 174_080_000, "s3_reads": 10},
        "prices": {"region": REGION, "as_of": AS_OF},
    }


def test_the_metric_is_whole_and_never_less():
    """A millionth of a dollar and a bit are two."""
    assert [micro_dollars(Usage(event_write_units=units)) for units in (0, 1, 2, 16)] == [0, 1, 2, 10]


def test_large_files_are_copied_in_pieces_and_each_is_a_request():
    """As aws/copying.py does it."""
    assert (costs.COPY_BYTES, costs.COPY_PIECE_BYTES) == (copying.COPY_BYTES, copying.PIECE_BYTES)
    steps = [last_steps(False, size).s3_writes for size in (0, 512 << 20, (512 << 20) + 1, 10 << 30)]
    assert steps == [3, 3, 3 + 5, 3 + 80]


# ---- The meter -----------------------------------------------------------------------------------------------------


def test_the_meter_counts_for_every_thread():
    """Calls are made from several; none of their words is lost."""
    meter = Meter()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: meter.add(table_requests=1, event_write_units=25), range(4_000)))
    assert meter.taken(0) == Usage(table_requests=4_000, event_write_units=100_000)
    assert meter.taken(0) == Usage()


def test_time_is_billed_from_the_begin_of_the_invocation_and_once():
    """And what the invocation before left behind is nobody's."""
    meter = Meter()
    meter.add(s3_reads=7)
    meter.begin(10_000, memory_mb=1_024)
    assert meter.taken(10_250) == Usage(lambda_requests=1, lambda_mb_ms=250 * 1_024)
    assert meter.taken(10_260) == Usage(lambda_mb_ms=10 * 1_024)
    assert meter.taken(9_000) == Usage()  # a clock that was set back
    assert meter.taken(9_001) == Usage(lambda_mb_ms=1_024)
    meter.begin(60_000, memory_mb=0)
    assert meter.taken(70_000) == Usage()  # on a person's machine nobody bills
