"""Events and user changes → lines and records: numerically equal, within Firehose's limits, always the same bytes."""

import base64
import hashlib
import json
from dataclasses import replace
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from importer import exact_json
from importer.bad_rows import Reason, Reject
from importer.definitions import Definition
from importer.formats.cooladata import reader
from importer.formats.reading import Reading
from importer.model import Event, Provenance, UserChange
from importer.rows import row_of
from importer.sinks import records
from tests.support.scenarios import examples
from tests.unit.values import by_value

SOURCE = Provenance("cooladata", "shop", "e1", "imports/shop/a.json", 1_700_000_000_000)
# The longest source there can be: every byte of its key is written as six.
LONGEST = Provenance("cooladata", "\x01" * 1_000, "e" * 32, "\x01" * 1_024, 9_999_999_999_999)
T = 1_425_920_218_354

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.builds(
        lambda sign, digits, exponent: Decimal((sign, tuple(map(int, str(digits))), exponent)),
        st.integers(0, 1),
        st.integers(0, 10**60 - 1),
        st.integers(-500, 500),
    ),
)
VALUES = st.recursive(
    st.one_of(NUMBERS, TEXTS, st.booleans(), st.none()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


def event_of(properties: dict[str, Any]) -> Event:
    return Event("f" * 32, "e", T, "u", properties, 7)


def change_of(value: Any, **more: Any) -> UserChange:
    return replace(UserChange("u", "prop#a", value, T, 7, 0), **more)


def refused(text_bytes: int, reading: Reading) -> Reason | None:
    try:
        records.limit(text_bytes, reading)
    except Reject as reject:
        return reject.reason
    return None


# ---- Lines ---------------------------------------------------------------------------------------------------------


def test_an_events_line_is_what_the_design_says():
    """Whole, with and without what not every dialect has; no `kind`."""
    event = Event("ff", "login", 7, "u", {"a": 1}, 40, {"s": 2}, {"email": "x"})
    plain = {
        "event_id": "ff",
        "event_name": "login",
        "event_time_ts": 7,
        "user_id": "u",
        "properties": {"a": 1},
        "format": "cooladata",
        "import_id": "shop",
        "execution_id": "e1",
        "address": 40,
    }
    more = {"session_properties": {"s": 2}, "identifiers": {"email": "x"}}
    assert json.loads(records.event_line(event, SOURCE)) == plain | more
    event.session_properties = event.identifiers = None
    assert json.loads(records.event_line(event, SOURCE)) == plain


def test_a_user_changes_line_is_what_the_design_says():
    """With and without the row's time; `kind` tells it from an event."""
    line = json.loads(records.change_line(UserChange("u", "prop#city", "Paris", 7, 40, 0), SOURCE))
    rank = "0000000000007#1700000000000#imports/shop/a.json#e1#0000000000000040#000000"
    assert line == {
        "kind": "user_change",
        "change_id": hashlib.blake2b(b'["u","prop#city","%s"]' % rank.encode(), digest_size=16).hexdigest(),
        "user_id": "u",
        "record": "prop#city",
        "value": "Paris",
        "rank": rank,
        "format": "cooladata",
        "import_id": "shop",
        "execution_id": "e1",
        "address": 40,
        "event_time_ts": 7,
    }
    timeless = json.loads(records.change_line(UserChange("u", "prop#city", "Paris", None, 40, 0), SOURCE))
    assert "event_time_ts" not in timeless


def test_a_change_has_one_id_however_often_it_is_delivered():
    """And another for another place, user, record or upload: said again later it is a later change."""

    def id_of(change: UserChange, source: Provenance = SOURCE) -> str:
        found: str = json.loads(records.change_line(change, source))["change_id"]
        return found

    same = id_of(change_of(1))
    assert id_of(change_of(1)) == same
    others = [change_of(1, address=8), change_of(1, index=1), change_of(1, user_id="v"), change_of(1, record="prop#b")]
    ids = [same, *map(id_of, others), id_of(change_of(1), replace(SOURCE, uploaded_ms=SOURCE.uploaded_ms + 1))]
    assert len(set(ids)) == len(ids)


@settings(deadline=None)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
@example({"a": Decimal("1E-400"), "b": Decimal("1e400"), "c": -0.0, "d": 1e22, "e": 5e-324})
@example({"a": 2**64, "b": -(2**63) - 1, "c": {"d": [2**200]}, "e": 2**64 - 1, "f": True, "g": Decimal("-0")})
@example({"a": Decimal("0.1000000000000000055511151231257827"), "b": 0.1, "c": 1e15, "d": 1e16, "e": 1e-5})
@example({"\u2028": "\u2029\x85\x0b\x0c\x1c\n\r", "b": '"\\/', "c": "\x00\x7f"})
def test_what_was_kept_reads_back_numerically_equal_on_one_line(properties: dict[str, Any]):
    """Every digit (E2, E3); only LF ends a line, and it stands at the end alone (E7)."""
    for line, name in (
        (records.event_line(event_of(properties), SOURCE), "properties"),
        (records.change_line(change_of(properties), SOURCE), "value"),
    ):
        assert (line.count(b"\n"), line[-1:]) == (1, b"\n")
        document = exact_json.parse(line[:-1])
        assert isinstance(document, dict)
        assert by_value(document[name]) == by_value(properties)


@pytest.mark.parametrize(
    "number",
    [
        "18446744073709551616",
        "-9223372036854775809",
        "123456789012345678901234567890",
        "0.1000000000000000055511151231257827",
        "1e-400",
        "1e400",
        "-0",
        "-0.0",
        "1E9",
        "1.50",
    ],
)
def test_a_number_as_sent_is_the_number_on_the_stream(number: str):
    """From the row's bytes to the line's."""
    text = b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u","n":%s}' % number.encode()
    (event,) = reader(Definition(), 0)(row_of(text), text, 0).events
    written = json.loads(records.event_line(event, SOURCE), parse_float=Decimal, parse_int=Decimal)
    assert written["properties"]["n"] == Decimal(number)


def test_what_is_no_json_value_is_a_bug():
    """Loud, at once; NaN is none either."""
    for value in (object(), Decimal("NaN"), Decimal("Infinity")):
        with pytest.raises(TypeError):
            records.event_line(event_of({"a": value}), SOURCE)


# ---- Records and calls ---------------------------------------------------------------------------------------------

SIZES = st.lists(
    st.one_of(
        st.integers(1, 3_000),
        st.integers(1, records.LINES_BYTES),
        st.sampled_from([records.LINES_BYTES, records.LINES_BYTES - 1, records.LINES_BYTES // 2]),
    ),
    max_size=40,
)
ALL = b"x" * records.RECORD_BYTES


def request_bytes(call: list[bytes]) -> int:
    """What is sent: JSON with base64 in it."""
    return len(
        json.dumps({"DeliveryStreamName": "s" * 64, "Records": [{"Data": "A" * len(each)} for each in call]})
    ) + (sum(len(base64.b64encode(each)) - len(each) for each in call))


@settings(deadline=None, max_examples=examples(60))
@given(SIZES)
def test_records_are_whole_lines_in_order_and_as_full_as_they_can_be(sizes: list[int]):
    """Nothing lost, nothing cut; a record's next line would not have fitted."""
    lines = [ALL[: size - 1] + b"\n" for size in sizes]
    made = list(records.packed(lines))
    assert b"".join(made) == b"".join(lines)
    assert all(record.endswith(b"\n") and 0 < len(record) <= records.LINES_BYTES for record in made)
    firsts = [len(record.partition(b"\n")[0]) + 1 for record in made]
    assert all(len(one) + first > records.LINES_BYTES for one, first in zip(made, firsts[1:], strict=False))


@settings(deadline=None, max_examples=examples(60))
@given(SIZES, st.integers(0, 1_200))
def test_calls_are_within_the_quota_however_it_counts(sizes: list[int], small: int):
    """500 records; 4 MiB before base64 and after, frame and all (G1)."""
    sent = [ALL[:size] for size in sizes] + [b"x"] * small
    calls = list(records.calls_of(sent))
    assert [record for call in calls for record in call] == sent
    assert all(0 < len(call) <= records.CALL_RECORDS and request_bytes(call) <= records.CALL_BYTES for call in calls)


def test_three_full_records_or_500_small_ones_go_in_one_call():
    """As much as fits: each call has its price in time."""
    assert [len(call) for call in records.calls_of([ALL] * 7)] == [3, 3, 1]
    assert [len(call) for call in records.calls_of([b"x"] * 1_001)] == [500, 500, 1]


def test_a_line_no_limit_refused_is_a_bug():
    """Never cut, never sent to be refused for ever."""
    with pytest.raises(ValueError, match="fits no Firehose record"):
        list(records.packed([b"x" * (records.LINES_BYTES + 1)]))


# ---- The limit -----------------------------------------------------------------------------------------------------


def fits_whatever_its_source(reading: Reading) -> bool:
    lines = [records.event_line(event, LONGEST) for event in reading.events]
    lines += [records.change_line(change, LONGEST) for change in reading.user_changes]
    return max(map(len, lines)) <= records.LINES_BYTES


@pytest.mark.parametrize("unit", ["x", "é", "\\u0041", "\\n", "\\u0001", "😀", '\\"', "1e15,", "1e9,"])
@pytest.mark.parametrize("scope", ["", "{u}"])
@pytest.mark.parametrize("spare", [-1_000, 1_000])
def test_a_row_near_the_edge_is_judged_by_what_is_written(unit: str, scope: str, spare: int):
    """Not by what was sent: escapes shrink, numbers grow. What is accepted fits, wherever it comes from."""
    sent = [float(unit[:-1])] if unit.endswith(",") else json.loads(f'"{unit}"')
    written = len(orjson.dumps(sent)) - 1 if unit.endswith(",") else len(orjson.dumps(sent)) - 2
    times = (records.LINES_BYTES - (14 << 10) + spare) // written
    reading = Reading([], [change_of(sent * times)]) if scope else Reading([event_of({"a": sent * times})], [])
    reason = refused(len(unit) * times, reading)
    assert reason is (None if spare < 0 else Reason.EVENT_TOO_LARGE)
    assert reason or fits_whatever_its_source(reading)


def test_to_the_byte():
    """One byte more is one too many."""
    room = records.LINES_BYTES - (14 << 10)
    blank = Provenance("", "", "", "", 0)
    own = len(records.event_line(event_of({"a": ""}), blank))
    assert refused(room, Reading([event_of({"a": "x" * (room - own)})], [])) is None
    assert refused(room, Reading([event_of({"a": "x" * (room - own + 1)})], [])) is Reason.EVENT_TOO_LARGE


def test_a_short_text_is_not_measured():
    """The usual row costs a comparison: what is written is at most so many times what was sent."""
    reading = Reading([event_of({"a": object()})], [])
    assert refused(400, reading) is None


@settings(deadline=None)
@given(st.dictionaries(TEXTS, VALUES, min_size=1, max_size=6))
def test_no_row_that_is_not_measured_is_ever_too_long(properties: dict[str, Any]):
    """The bound behind it, with every value in the line four times: six times the text each, and the source's bytes."""
    text = len(json.dumps(properties, ensure_ascii=False, separators=(",", ":"), default=str).encode())
    lines = [records.event_line(event_of(properties), LONGEST), records.change_line(change_of(properties), LONGEST)]
    assert max(map(len, lines)) <= 6 * text + (14 << 10)


def nested(levels: int) -> Any:
    value: Any = Decimal("1e-400")
    for level in range(levels):
        value = [value] if level % 2 else {"a": value}
    return value


@pytest.mark.parametrize(
    ("levels", "outcome"), [(249, None), (250, None), (251, Reason.TOO_DEEP), (1_024, Reason.TOO_DEEP)]
)
def test_a_value_is_as_deep_as_can_be_written(levels: int, outcome: Reason | None):
    """In an event's maps and in a user's record; what passes is written (E5)."""
    value = nested(levels)
    event = event_of({"b": 1, "a": value})
    readings = [
        Reading([event], []),
        Reading([replace(event, properties={}, session_properties={"a": value})], []),
        Reading([replace(event, properties={}, identifiers={"a": value})], []),
        Reading([], [change_of(value)]),
    ]
    assert [refused(5 * levels, reading) for reading in readings] == [outcome] * 4
    if outcome is None:
        assert by_value(exact_json.parse(records.event_line(event, SOURCE)[:-1])["properties"]["a"]) == by_value(value)  # type: ignore[index,call-overload]
        assert records.change_line(change_of(value), SOURCE)


def test_a_row_that_would_flood_the_stream_is_refused():
    """Thousands of properties of a user whose id is as long as they are together."""
    user = "u" * 40_000
    changes = [UserChange(user, f"prop#{number}", 1, T, 0, number) for number in range(2_000)]
    assert refused(60_000, Reading([], changes)) is Reason.EVENT_TOO_LARGE
    assert refused(60_000, Reading([], changes[:1_000])) is None


def test_row_of_a_hundred_thousand_events_is_written():
    """A visit, an activity: what its file adds to each line is not the row's fault."""
    visit, identifiers = {"os": "Mac", "visit_id": "0" * 32}, {"id": "u-81", "email": "mette@example.com"}
    events = [Event("0" * 32, "pv", 1_444_120_000_000 + n, "u-81", {}, 0, visit, identifiers) for n in range(100_000)]
    assert refused(4_000_000, Reading(events, [])) is None
