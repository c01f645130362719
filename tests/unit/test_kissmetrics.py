"""KISSmetrics: what its cases do not show. Any row is read or refused, written rows say the same, keys stay unsaid."""

import json
import re
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from importer import fields, users
from importer.bad_rows import FileReason, ObjectProblem, Reason, Reject
from importer.definitions import LATEST_TIME_MS, NDJSON, TEXT_CSV, Definition
from importer.formats import FORMATS, Recognised, completed, kissmetrics, reader, recognise
from importer.formats.reading import Lost, Reading, Written
from importer.model import Event, Row, UserChange, event_id
from importer.rows import row_of
from tests.support.scenarios import examples
from tests.unit.values import by_value

CASES = sorted((Path(__file__).parents[1] / "cases" / "kissmetrics").glob("*.json"))
DEFINITIONS = [
    Definition(mime_type=mime_type, strict=strict, numbers_in_strings=numbers)
    for mime_type in (NDJSON, TEXT_CSV)
    for strict in (False, True)
    for numbers in (False, True)
]
KEY = "c2VjcmV0LWtleQ"

# --- rows, as strangers write them ---

NAMES = st.one_of(
    st.sampled_from(
        [
            "_p",
            "_t",
            "_n",
            "_p2",
            "_d",
            "_k",
            "_x",
            "_P",
            "Identity",
            "Timestamp",
            "Event",
            "Alias",
            "Prop:",
            "Prop:Age",
            "Prop:_k",
            "age",
            "Age",
            "a:b",
            "a,b",
        ]
    ),
    st.sampled_from(["", " ", "a b", "user_id", "__proto__", "Prop: "]),
    st.text(max_size=5),
)
NUMBERS = st.one_of(
    st.integers(-(2**63), 2**64 - 1),
    st.integers(0, 10**10).map(lambda seconds: seconds * 1000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.decimals(allow_nan=False, allow_infinity=False, places=30),
    st.sampled_from([Decimal("1e999999"), Decimal("-1e-999999"), Decimal("1350273990.5"), 20121015, 1350273990]),
)
TEXTS = st.one_of(
    st.text(max_size=6),
    st.sampled_from(["1350273990", "2012-10-15", "03/04/2012", "ada", "null", "0", "1", "-0", "1.50", "x" * 300, '"']),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(NAMES, inner, max_size=3)),
    max_leaves=5,
)
ROWS = st.one_of(
    st.dictionaries(NAMES, VALUES, max_size=6),
    st.builds(
        lambda likely, more: {**more, **likely},
        st.fixed_dictionaries(
            {}, optional={name: st.one_of(TEXTS, VALUES) for name in ("_n", "_p2", "_d", "_k", "Event", "Alias")}
        ).map(lambda row: {"_p": "ada", "_t": 1350273990, "Identity": "ada", "Timestamp": "1350273990", **row}),
        st.dictionaries(NAMES, SCALARS, max_size=4),
    ),
)


def text_of(row: Row) -> bytes:
    return json.dumps(row, default=str, ensure_ascii=False).encode()


def outcome(read: Any, row: Row, address: int = 0) -> Any:
    """A reading, or all that is said of a refused row."""
    try:
        return read(dict(row), text_of(row), address)
    except Reject as reject:
        return reject.reason, reject.field, reject.expected, reject.found, reject.hint, reject.message


def read(row: Row, **settings: Any) -> Any:
    return outcome(kissmetrics.reader(Definition(**settings), 0), row)


def person(**more: Any) -> Row:
    return {"_p": "ada", "_t": 1350273990, **more}


# --- any row ---


@settings(deadline=None, max_examples=examples(300))
@given(ROWS, st.sampled_from(DEFINITIONS))
def test_any_row_gives_a_reading_or_a_reject(row: Row, definition: Definition):
    """No other exception; and a good row records something, each thing under a name of its own place."""
    found = outcome(kissmetrics.reader(definition, 0), row, 7)
    if isinstance(found, Reading):
        assert len(found.events) + len(found.user_changes) > 0
        assert [change.index for change in found.user_changes] == list(range(len(found.user_changes)))
        assert {thing.address for thing in [*found.events, *found.user_changes]} == {7}
        assert all(event.event_name and event.user_id for event in found.events)
        assert all(0 <= event.event_time_ts <= LATEST_TIME_MS for event in found.events)
        assert not [name for event in found.events for name in event.properties if name[:1] in ("", "_")]


@settings(deadline=None, max_examples=examples(150))
@given(st.lists(ROWS, min_size=1, max_size=6), st.sampled_from(DEFINITIONS))
def test_reader_gives_the_same_whatever_it_read_before(rows: list[Row], definition: Definition):
    """Ids too: a pure function of the row, its text and its address."""
    one = kissmetrics.reader(definition, 0)
    alone = [outcome(kissmetrics.reader(definition, 10**13), row) for row in rows]
    assert [outcome(one, row) for row in rows] == alone
    assert [outcome(one, row) for row in reversed(rows)] == alone[::-1]


@settings(deadline=None, max_examples=examples(200))
@given(ROWS, st.sampled_from(DEFINITIONS), st.sampled_from(["_k", "_K", "_key"]))
def test_no_word_of_a_key_is_stored_or_said(row: Row, definition: Definition, name: str):
    """K9: neither in what is kept nor in a reason; the errors folder has the row as it was sent."""
    name = f"Prop:{name}" if definition.mime_type == TEXT_CSV else name
    assert KEY not in repr(outcome(kissmetrics.reader(definition, 0), {**row, name: KEY}))


@pytest.mark.parametrize("strict", [False, True])
def test_a_row_of_a_hundred_thousand_names_costs_what_its_length_costs(strict: bool):
    """Once through it: all its properties, or the first that is wrong."""
    many = {f"name {number}": "1" for number in range(100_000)}
    found = read(person(**many), strict=strict, numbers_in_strings=True)
    assert (len(found.user_changes), found.user_changes[-1].index) == (100_000, 99_999)
    assert read(many)[:2] == (Reason.MISSING_FIELD, "_p")


# --- times ---


@given(st.integers(0, LATEST_TIME_MS // 1000))
@example(1230768000)
@example(20_121_015)
def test_seconds_are_read_alike_as_number_and_as_text(seconds: int):
    """Whole, with zeros behind the point, in exponent form, as text; or refused alike as a date (K3)."""
    spellings = [
        seconds,
        str(seconds),
        f" {seconds}.0 ",
        float(seconds),
        Decimal(seconds),
        Decimal(seconds).scaleb(3).scaleb(-3),
    ]
    found = [read({**person(_n="e"), "_t": spelling}) for spelling in spellings]
    if fields.is_seconds(seconds):
        assert [reading.events[0].event_time_ts for reading in found] == [seconds * 1000] * len(spellings)
    else:
        assert {reason for reason, *_ in found} == {Reason.TIME_UNIT}


@given(st.decimals(0, LATEST_TIME_MS // 1000, places=9).filter(lambda time: fields.is_seconds(int(time))))
def test_fractions_of_a_second_are_cut_downward(time: Decimal):
    """K3 has whole seconds, and K15 compares them."""
    assert read({**person(_n="e"), "_t": time}).events[0].event_time_ts == int(time) * 1000


@pytest.mark.parametrize(("factor", "unit"), [(10**3, "milli"), (10**6, "micro"), (10**9, "nano")])
@given(seconds=st.integers(10**9, 10**10 - 1), more=st.integers(0, 10**9))
def test_other_units_are_refused_with_the_number_to_write(factor: int, unit: str, seconds: int, more: int):
    """The hint's number is read as the second that had begun."""
    reason, field, expected, _, hint, _ = read({**person(_n="e"), "_t": seconds * factor + more % factor})
    assert (reason, field, expected) == (Reason.TIME_UNIT, "_t", "seconds (10 digits)")
    assert hint == f"this looks like {unit}seconds: divide by {factor} ({seconds})"


@pytest.mark.parametrize(
    ("number", "is_seconds"),
    [(19_999_999, True), (20_000_000, False), (20_121_015, False), (20_999_999, False), (21_000_000, True)],
)
def test_eight_digits_that_begin_with_20_are_a_date(number: int, is_seconds: bool):
    """As seconds they would be ten days of August 1970: what can be read in two ways is not guessed."""
    found = read(person(_n="e") | {"_t": number})
    assert isinstance(found, Reading) == fields.is_seconds(number) == is_seconds


def test_the_window_is_said_in_seconds():
    """The first and the last that are taken."""
    found = read(person(_n="e") | {"_t": 8}, earliest_ms=8_001, latest_ms=9_999)
    assert found[2:4] == ("9…9 seconds since 1970 UTC", "8")
    assert isinstance(read(person(_n="e") | {"_t": 9}, earliest_ms=8_001, latest_ms=9_999), Reading)


@pytest.mark.parametrize("text", ["x" * 8_192, "é" * 4_096, "🚲" * 2_048])
def test_eight_kilobytes_of_text_are_bytes_and_the_last_is_allowed(text: str):
    """K10, strict."""
    assert isinstance(read(person(a=text), strict=True), Reading)
    assert read(person(a=text + "x"), strict=True)[:4] == (
        Reason.TOO_LONG,
        "a",
        "at most 8192 bytes (K10)",
        "8193 bytes",
    )


def test_what_is_said_of_a_calendar_time():
    """All of the reason, in words."""
    assert read(person(_n="e") | {"_t": "2012-10-15 04:06:30"}) == (
        Reason.BAD_TIME,
        "_t",
        "seconds since 1970 UTC, such as 1350273990",
        "2012-10-15 04:06:30",
        "write it in seconds: 1350273990",
        "_t: not a time this importer can read one way only; expected seconds since 1970 UTC, such as 1350273990, "
        "found 2012-10-15 04:06:30",
    )


# --- numbers in strings ---


@settings(deadline=None)
@given(
    st.one_of(
        TEXTS, st.from_regex(r"[-+]?[0-9]{0,20}(\.[0-9]{0,20})?(e[0-9])?", fullmatch=True), st.integers().map(str)
    )
)
def test_a_number_in_a_string_is_that_number_or_stays_text(text: str):
    """K11, and never another value: what a number would not give back, but for zeros at its end, stays as it is."""
    if not text:
        return
    value = read(person(_n="e", a=text), numbers_in_strings=True).events[0].properties["a"]
    if isinstance(value, str):
        assert value == text
    else:
        assert not isinstance(value, int) or -(2**63) <= value < 2**64
        exact = Decimal(value) if isinstance(value, int | Decimal) else Decimal(repr(value))
        assert exact == Decimal(text)
        assert without_last_zeros(format(exact, "f")) == without_last_zeros(text)


def test_numbers_in_strings_have_the_types_a_reader_may_count_on():
    """As rows have them: int within 64 bits, float where equal, Decimal else."""
    texts = ["5", "999999999999999999", "18446744073709551615", "18446744073709551616", "1.50", "0.1234567890123456789"]
    found = [read(person(a=text), numbers_in_strings=True).user_changes[0].value for text in texts]
    assert [type(value) for value in found] == [int, int, int, Decimal, float, Decimal]


def without_last_zeros(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


# --- writing ---

IDS = st.one_of(st.sampled_from(["ada", "bob", "null"]), st.text(min_size=1, max_size=4))
TIMES = st.one_of(
    st.integers(0, LATEST_TIME_MS), st.sampled_from([0, 1_350_273_990_000, 20_121_015_000, 1_350_273_990_007])
)
PROPERTIES = st.dictionaries(NAMES, VALUES, max_size=4)
EVENTS = st.builds(
    Event,
    event_id=st.just("0" * 32),
    event_name=st.one_of(IDS, IDS, st.just("")),
    event_time_ts=TIMES,
    user_id=IDS,
    properties=PROPERTIES,
    address=st.just(0),
    session_properties=st.one_of(st.none(), PROPERTIES),
    identifiers=st.one_of(st.none(), st.dictionaries(st.sampled_from(["id", "email"]), IDS, max_size=2)),
    expires_ms=st.one_of(st.none(), TIMES),
)
RECORDS = st.one_of(
    st.lists(NAMES, max_size=2).map(lambda path: users.property_record(*path)),
    IDS.map(lambda other: users.LINK + other),
    st.sampled_from([users.LINK, users.ERASED, users.SEGMENT + "s", users.consent_record("c")]),
)
CHANGES = st.lists(
    st.builds(
        UserChange,
        user_id=IDS,
        record=RECORDS,
        value=VALUES,
        event_time_ts=st.one_of(st.none(), TIMES),
        address=st.just(0),
        index=st.just(0),
        deleted=st.booleans(),
        expires_ms=st.one_of(st.none(), st.none(), TIMES),
    ),
    max_size=5,
)


@st.composite
def linked(draw: st.DrawFn) -> list[UserChange]:
    """A link, as every dialect gives it: at both its ends."""
    one, other = draw(st.lists(IDS, min_size=2, max_size=2, unique=True))
    time_ms = draw(TIMES)
    return [
        UserChange(one, users.LINK + other, True, time_ms, 0, 0),
        UserChange(other, users.LINK + one, True, time_ms, 0, 0),
    ]


READINGS = st.builds(
    lambda events, changes, links: Reading(events, [*changes, *(edge for link in links for edge in link)]),
    st.lists(EVENTS, max_size=3),
    CHANGES,
    st.lists(linked(), max_size=2),
)


def is_flat(name: str, value: Any) -> bool:
    return bool(name) and name[0] != "_" and value not in (None, "") and not isinstance(value, dict | list)


def as_kept(reading: Reading) -> tuple[list[Event], Counter[Any], list[Lost]]:
    """What of a reading a dialect of flat rows and whole seconds can say: an independent word on `written`."""
    lost: set[Lost] = set()
    events: list[Event] = []
    changes: Counter[Any] = Counter()

    def second(time_ms: int) -> int:
        if time_ms % 1000:
            lost.add(Lost.MILLISECONDS)
        return time_ms - time_ms % 1000

    for event in reading.events:
        if not event.event_name or not fields.is_seconds(event.event_time_ts // 1000):
            lost.add(Lost.EVENT)
            continue
        for name, value in event.properties.items():
            if not is_flat(name, value):
                nested = isinstance(value, dict | list)
                lost.add(Lost.NESTED if nested else Lost.NULL if value in (None, "") else Lost.PROPERTY_NAME)
        lost |= {Lost.SESSION_PROPERTIES} if event.session_properties else set()
        lost |= {Lost.IDENTIFIERS} if set((event.identifiers or {}).values()) - {event.user_id} else set()
        lost |= {Lost.EXPIRY} if event.expires_ms is not None else set()
        kept = {name: value for name, value in event.properties.items() if is_flat(name, value)}
        events.append(Event("", event.event_name, second(event.event_time_ts), event.user_id, kept, 0))
    for change in reading.user_changes:
        time_ms = change.event_time_ts
        path = users.path_of(change.record) if change.record.startswith(users.PROPERTY) else None
        other = change.record.removeprefix(users.LINK) if change.record.startswith(users.LINK) else ""
        placeholders = fields.is_placeholder(other) or fields.is_placeholder(change.user_id)
        is_plain = not change.deleted and change.expires_ms is None
        is_timed = time_ms is not None and fields.is_seconds(time_ms // 1000)
        if is_plain and is_timed and time_ms is not None and path is not None and len(path) == 1:
            if is_flat(path[0], change.value):
                changes[change.user_id, change.record, by_value(change.value), second(time_ms)] += 1
            else:
                nested = isinstance(change.value, dict | list)
                null = change.value in (None, "")
                lost.add(Lost.NESTED if nested else Lost.NULL if null else Lost.PROPERTY_NAME)
        elif is_plain and is_timed and time_ms is not None and other and other != change.user_id and not placeholders:
            time_ms = second(time_ms)
            for end, far in ((change.user_id, other), (other, change.user_id)):
                changes[end, users.LINK + far, True, time_ms] = 1
        elif path is not None:
            lost.add(Lost.USER_PROPERTY_DELETED if change.deleted else Lost.USER_PROPERTY)
        elif change.record.startswith(users.LINK):
            lost.add(Lost.LINK_DELETED if change.deleted else Lost.LINK)
        else:
            kinds = {users.SEGMENT: Lost.SEGMENT, users.CONSENT: Lost.CONSENT}
            lost.add(kinds.get(change.record[: change.record.find("#") + 1], Lost.ERASURE))
    return events, changes, sorted(lost)


@settings(deadline=None, max_examples=examples(200))
@given(READINGS)
def test_written_rows_read_again_give_what_was_not_lost(reading: Reading):
    """Through JSON and the reader, whatever dialect the reading came from."""
    written = kissmetrics.written(reading)
    events: list[Event] = []
    changes: Counter[Any] = Counter()
    for row in written.rows:
        text = json_of(row)
        again = kissmetrics.reader(Definition(), 0)(row_of(text), text, 0)
        events += [replace(event, event_id="") for event in again.events]
        for change in again.user_changes:
            told = change.user_id, change.record, by_value(change.value), change.event_time_ts
            changes[told] = 1 if change.record.startswith(users.LINK) else changes[told] + 1
    kept_events, kept_changes, lost = as_kept(reading)
    assert [by_value(vars_of(event)) for event in events] == [by_value(vars_of(event)) for event in kept_events]
    assert changes == kept_changes
    assert sorted(written.lost) == lost
    assert len(set(written.lost)) == len(written.lost)


def vars_of(event: Event) -> dict[str, Any]:
    return {name: getattr(event, name) for name in Event.__slots__}


def json_of(row: Row) -> bytes:
    """One line of JSON; Decimals with all their digits."""
    members = (
        json.dumps(name) + ":" + (str(value) if isinstance(value, Decimal) else json.dumps(value))
        for name, value in row.items()
    )
    return ("{" + ",".join(members) + "}").encode()


def test_written_rows_are_those_the_vendor_describes():
    """A record, one set for properties of one person and second, one alias for both ends of a link (K5)."""
    time_ms = 1_350_273_990_007
    reading = Reading(
        [Event("", "Billed", time_ms, "ada", {"amount": 5, "items": ["mug"]}, 0)],
        [
            UserChange("ada", "prop#plan", "pro", time_ms, 0, 0),
            UserChange("ada", "prop#seats", 3, time_ms, 0, 1),
            UserChange("ada", "prop#plan", "free", time_ms, 0, 2),
            UserChange("ada", "link#bob", True, time_ms, 0, 3),
            UserChange("bob", "link#ada", True, time_ms, 0, 4),
            UserChange("ada", "segment#vip", True, time_ms, 0, 5),
            UserChange("ada", "link#ada", True, time_ms, 0, 6),
            UserChange("ada", "link#null", True, time_ms, 0, 7),
            UserChange("null", "link#ada", True, time_ms, 0, 8),
        ],
    )
    assert kissmetrics.written(reading) == Written(
        [
            {"_p": "ada", "_t": 1350273990, "_n": "Billed", "amount": 5},
            {"_p": "ada", "_t": 1350273990, "plan": "pro", "seats": 3},
            {"_p": "ada", "_t": 1350273990, "plan": "free"},
            {"_p": "ada", "_t": 1350273990, "_p2": "bob"},
        ],
        [Lost.MILLISECONDS, Lost.NESTED, Lost.SEGMENT, Lost.LINK],
    )


# --- the sample ---


def test_sample_file_shows_every_command_and_two_refusals():
    """events/files/kissmetrics.json; under the vendor's rule, a bill that was sent twice is one event."""
    lines = (Path(__file__).parents[2] / "events" / "files" / "kissmetrics.json").read_bytes().splitlines()
    seen: list[Any] = []
    for identity in ("row", "vendor"):
        read = reader("kissmetrics", completed(Definition(format="kissmetrics", identity=identity)), 0)
        readings: list[Reading] = []
        bad: list[tuple[int, Reason]] = []
        for number, line in enumerate(lines, start=1):
            try:
                readings.append(read(row_of(line), line, 0))
            except Reject as reject:
                bad.append((number, reject.reason))
        events = [event for reading in readings for event in reading.events]
        changes = [change.record for reading in readings for change in reading.user_changes]
        seen.append((len(events), len({event.event_id for event in events}), changes, bad))
    links = ["link#ada@example.com", "link#y75Fe33597qBqkR4obZZYV="]
    expected = [*links, "prop#Gender", "prop#Age", "prop#Age"], [(10, Reason.TIME_UNIT), (11, Reason.NOT_JSON)]
    assert seen == [(7, 7, *expected), (7, 6, *expected)]


# --- headers of CSV ---


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ("identity,Timestamp,Event", "Identity is missing (identity present: did you mean Identity?)"),
        ("Identty,Timestamp,Event", "Identity is missing (Identty present: did you mean Identity?)"),
        ("user_id,Timestamp,Event", "Identity is missing (user_id present: did you mean Identity?)"),
        ("Timestamp,Event", "Identity is missing"),
        ("_p,_t,_n", "Identity is missing (_p present: did you mean Identity?)"),
        ("Identity,time,Event", "Timestamp is missing (time present: did you mean Timestamp?)"),
        ("Identity,Event", "Timestamp is missing"),
        ("Identity,Timestamp,Event,Age", "'Age' is none of them: did you mean Prop:Age?"),
        ("Identity,Timestamp,Event,prop: Age", "'prop: Age' is none of them: did you mean Prop:Age?"),
        ("Identity,Timestamp,Event,Prop:", "'Prop:' is none of them: did you mean Prop:<name>?"),
        ("Identity,Timestamp,event", "'event' is none of them: did you mean Event, or Prop:event?"),
        ("Identity,Timestamp,Event,email", "'email' is none of them: did you mean Prop:email?"),
        ("Identity,Timestamp,Alias,_k", "'_k' is none of them: did you mean Prop:_k?"),
        ("Identity,Timestamp", "without Event, Alias or a property there is nothing to record"),
    ],
)
def test_header_no_row_of_which_could_be_good_is_refused(columns: str, why: str):
    """K18: with the columns there are, and what was probably meant."""
    with pytest.raises(ObjectProblem) as refused:
        kissmetrics.refuse_columns(columns.split(","), False)
    assert (refused.value.code, refused.value.message) == (
        FileReason.CSV_HEADER_MISSING,
        "the first line of a CSV names its columns, here Identity, Timestamp, Event, Alias and Prop:<name>: "
        f"{why}. Mend it and drop it again",
    )


@pytest.mark.parametrize(
    "columns",
    [
        "Identity,Timestamp,Event",
        "Prop:Age,Timestamp,Identity",
        "Identity,Alias",
        "Alias,Event,Identity",
        "Identity,Alias,Prop:a",
    ],
)
def test_header_of_which_some_row_could_be_good_is_taken(columns: str):
    """In any order; times may be missing where there are aliases (K18)."""
    kissmetrics.refuse_columns(columns.split(","), True)


def test_eleven_columns_of_properties_are_refused_by_strict_alone():
    """K18: up to ten."""
    columns = ["Identity", "Timestamp", *(f"Prop:{number}" for number in range(11))]
    kissmetrics.refuse_columns(columns, False)
    kissmetrics.refuse_columns(columns[:-1], True)
    with pytest.raises(ObjectProblem, match=r"at most 10 columns of properties are allowed \(K18\), there are 11"):
        kissmetrics.refuse_columns(columns, True)


# --- the port ---


def test_row_becomes_its_event():
    """The reading, whole; the event's id is that of the row's text."""
    text = b'{"_p":"ada","_t":1350273990,"_n":"Billed","amount":5}'
    assert kissmetrics.reader(Definition(), 0)(row_of(text), text, 40) == Reading(
        [Event(event_id("kissmetrics", text, 0), "Billed", 1_350_273_990_000, "ada", {"amount": 5}, 40)], []
    )


@pytest.mark.parametrize(
    ("row", "claimed", "evidence"),
    [
        (person(_n="e"), True, ["property _p", "property _t", "property _n"]),
        (person(_p2="bob", Event="e"), True, ["property _p", "property _t", "property _p2"]),
        ({"_p": "ada"}, False, ["property _p"]),
        ({"Identity": "a", "Timestamp": "1", "Event": "e", "Prop:a": "", "Prop:b": ""}, True, [
            "column Identity", "column Timestamp", "column Event", "a column with the prefix Prop:"]),
        ({"Identity": "a", "Alias": "b"}, False, ["column Identity", "column Alias"]),
        ({"Timestamp": "1", "Event": "e", "Alias": "b", "Prop:a": 1}, False, []),
        ({"event_name": "e", "event_time_ts": 1, "user_id": "u"}, False, []),
    ],
)  # fmt: skip
def test_rows_are_known_by_the_vendors_names(row: Row, claimed: bool, evidence: list[str]):
    """Words that others use too count only beside Identity."""
    assert (kissmetrics.claims(row), kissmetrics.evidence(row)) == (claimed, evidence)


def test_file_is_recognised_among_all_dialects():
    """By its rows, whatever some of them lack."""
    rows = [person(_n="e"), {"_p": "ada"}, {"event_name": "e", "user_id": "u"}]
    assert recognise(rows) == Recognised(
        "kissmetrics", ("property _p", "property _t", "property _n"), {"cooladata": 1, "kissmetrics": 2}
    )


def test_dialect_has_the_vendors_rule_of_identity_and_both_layouts():
    """K15, K18; any file name is taken."""
    assert FORMATS["kissmetrics"].HAS_VENDOR_KEY
    assert FORMATS["kissmetrics"].DOCUMENTS == {"": (NDJSON, TEXT_CSV)}
    kissmetrics.refuse_name("csv.json", NDJSON)


def test_the_page_points_at_every_case_and_at_no_other():
    """docs/formats/kissmetrics.md."""
    page = (Path(__file__).parents[2] / "docs" / "formats" / "kissmetrics.md").read_text(encoding="utf-8")
    pointed = set(re.findall(r"tests/cases/kissmetrics/([\w-]+)\.json", page))
    assert pointed == {path.stem for path in CASES}


def test_the_reasons_the_dialect_can_give_have_a_case_each():
    """docs/formats/kissmetrics.md points at these files."""
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in CASES]
    assert {bad["reason"] for case in cases for bad in case["expect"].get("bad", [])} == {
        "not_utf8",
        "not_json",
        "not_an_object",
        "duplicate_key",
        "not_csv",
        "wrong_column_count",
        "missing_field",
        "wrong_type",
        "nested_value",
        "bad_time",
        "time_unit",
        "time_out_of_window",
        "bad_name",
        "reserved_name",
        "too_long",
        "not_allowed",
        "placeholder_id",
        "nothing_to_record",
        "ambiguous_command",
        "event_too_large",
        "number_out_of_range",
    }
    assert {note for case in cases for note in case["expect"].get("notes", {})} == {
        "placeholder_id",
        kissmetrics.KEY_NOTE,
        kissmetrics.NAMES_NOTE,
    }
