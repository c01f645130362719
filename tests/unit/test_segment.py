"""Segment: what its cases do not show. What becomes of a message depends on it alone, and can be said again."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import users
from importer.bad_rows import FileReason, ObjectProblem, Reject
from importer.batches import Rules, batches
from importer.definitions import TEXT_CSV, Definition
from importer.formats import completed, recognise, segment
from importer.formats.reading import Lost, Reading, Written
from importer.formats.writing import of_change
from importer.layouts import JSON_LINES
from importer.model import TO_THE_END, Event, Misconfigured, Part, Row, UserChange, event_id
from importer.rows import row_of
from importer.sinks import SINKS
from tests.support.scenarios import examples
from tests.unit.values import by_value

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases" / "segment"
PAGE = ROOT / "docs" / "formats" / "segment.md"
SAMPLE = ROOT / "events" / "files" / "segment.json"

T = 1_449_947_461_249
TRACK = (
    b'{"type":"track","userId":"u1","anonymousId":"a1","timestamp":"2015-12-12T19:11:01.249Z","event":"buy",'
    b'"properties":{"n":[1]},"messageId":"m1","context":{"ip":"::1"}}'
)
IDENTIFY = (
    b'{"type":"identify","userId":"u1","anonymousId":"a1","timestamp":"2015-12-12T19:11:01.249Z",'
    b'"traits":{"plan":"pro","address":{"city":"Bergen"}},"messageId":"m2"}'
)


def read(text: bytes, definition: Definition | None = None, address: int = 40) -> Reading:
    return segment.reader(definition or Definition(), 0)(row_of(text), text, address)


def outcome(reader: Callable[[Row, bytes, int], Reading], text: bytes) -> Any:
    """The reading or all that the reject says."""
    try:
        return reader(row_of(text), text, 7)
    except Reject as reject:
        return reject.reason, reject.field, reject.expected, reject.found, reject.hint


def line_of(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


# --- messages as strangers write them ---

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
FIELDS = (*segment.IDENTIFIERS, "type", "timestamp", "writeKey", "messageId", "context", "sentAt", "batch")
OWN = sorted({name for names in segment.OWN_FIELDS.values() for name in names})
NAMES = st.one_of(TEXTS, st.sampled_from([*FIELDS, *OWN, "plan", "a/b~c"]))
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), TEXTS
).filter(lambda value: value not in (float("inf"), float("-inf")))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
MEMBERS = st.dictionaries(NAMES, VALUES, max_size=4)
NAMED = st.dictionaries(NAMES.filter(bool), VALUES, max_size=4)
IDS = st.one_of(TEXTS.filter(bool), st.sampled_from(["u1", "a1", "null", "0-0"]))
TIMES = st.one_of(st.integers(10**11, 9_999_999_999_999), st.just("2015-12-12T19:11:01.249Z"))


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries({}, optional=fields)


# Nearly right: each field may have another value, or be missing, and others stand beside them.
ROWS = st.builds(
    lambda other, fields: {**other, **fields},
    MEMBERS,
    optional(
        type=st.one_of(st.sampled_from([*segment.TYPES, "Track"]), VALUES),
        userId=st.one_of(IDS, VALUES),
        anonymousId=st.one_of(IDS, VALUES),
        timestamp=st.one_of(TIMES, VALUES),
        event=st.one_of(IDS, VALUES),
        properties=st.one_of(MEMBERS, VALUES),
        traits=st.one_of(MEMBERS, VALUES),
        groupId=st.one_of(IDS, VALUES),
        previousId=st.one_of(IDS, VALUES),
        name=st.one_of(IDS, VALUES),
    ),
)
EVENT_ROWS = st.builds(
    lambda other, fields, own: {**other, **fields, **own},
    st.dictionaries(NAMES.filter(lambda name: name and name not in (*FIELDS[:5], *OWN)), VALUES, max_size=3),
    st.builds(
        lambda fields, ids: {**fields, **ids},
        st.fixed_dictionaries({"timestamp": TIMES}),
        optional(userId=IDS, anonymousId=IDS).filter(bool),
    ),
    st.one_of(
        st.fixed_dictionaries({"type": st.just("track"), "event": IDS}, optional={"properties": NAMED}),
        st.fixed_dictionaries(
            {"type": st.sampled_from(["page", "screen"]), "name": IDS}, optional={"properties": st.just({"n": 1})}
        ),
        st.fixed_dictionaries({"type": st.just("group"), "groupId": IDS}, optional={"traits": st.just({"n": None})}),
    ),
)


@settings(deadline=None, max_examples=examples(600))
@given(ROWS, st.booleans())
def test_every_object_gives_a_reading_or_a_reject(row: Row, strict: bool):
    """Nothing else is ever raised, by the reader or by the sinks that look at what it read."""
    text = line_of(row)
    try:
        reading = read(text, Definition(strict=strict))
        for limit in SINKS.values():
            limit.check(len(text), reading)
    except Reject:
        return
    assert reading.events or reading.user_changes


@settings(deadline=None)
@given(ROWS)
def test_marks_are_looked_for_in_anything(row: Row):
    """A row of whatever kind bears marks or not; what is claimed bears some."""
    assert len(segment.evidence(row)) <= 2
    assert not segment.claims(row) or segment.evidence(row)


@settings(deadline=None)
@given(EVENT_ROWS)
def test_a_message_with_an_event_loses_nothing_but_the_key(row: Row):
    """What is not the event's own is its session properties, and both together are all that was sent."""
    event = read(line_of(row)).events[0]
    own = {*segment.OWN_FIELDS[row["type"]], "type", "timestamp", "writeKey", *segment.IDENTIFIERS}  # type: ignore[index]
    assert by_value(event.session_properties or {}) == by_value({k: v for k, v in row.items() if k not in own})
    assert event.identifiers == {name: row[name] for name in segment.IDENTIFIERS if name in row}


@settings(deadline=None)
@given(st.lists(ROWS, min_size=2, max_size=6), st.booleans())
def test_reader_gives_the_same_whatever_it_read_before(rows: list[Row], strict: bool):
    """It remembers nothing that changes an outcome."""
    definition = Definition(strict=strict)
    one = segment.reader(definition, 0)
    texts = [line_of(row) for row in rows]
    assert [outcome(one, text) for text in texts] == [outcome(segment.reader(definition, 0), text) for text in texts]


def test_track_becomes_its_event():
    """The reading, whole."""
    session: Row = {"messageId": "m1", "context": {"ip": "::1"}}
    known: Row = {"userId": "u1", "anonymousId": "a1"}
    id_ = event_id("segment", TRACK, 0)
    assert read(TRACK) == Reading([Event(id_, "buy", T, "u1", {"n": [1]}, 40, session, known)], [])


def test_identify_becomes_changes_of_its_user():
    """The reading, whole: traits, and both ids are one person's."""
    assert read(IDENTIFY) == Reading(
        [],
        [
            UserChange("u1", "prop#plan", "pro", T, 40, 0),
            UserChange("u1", "prop#address", {"city": "Bergen"}, T, 40, 1),
            UserChange("u1", "link#a1", True, T, 40, 2),
            UserChange("a1", "link#u1", True, T, 40, 3),
        ],
    )


def test_reject_says_what_was_expected_and_found():
    """Whole, where the cases show reason, field and hint alone."""
    reader = segment.reader(Definition(), 0)
    said = [
        outcome(reader, line_of({"type": "view", "userId": "u1"})),
        outcome(
            reader, line_of({"type": "page", "userId": "u1", "timestamp": T, "name": "a", "properties": {"name": 7}})
        ),
        outcome(reader, line_of({"type": "alias", "userId": "u1", "previousId": "u1", "timestamp": T})),
        outcome(reader, line_of({"type": "identify", "userId": "u1", "properties": {"a": 1}, "timestamp": T})),
    ]
    assert [tell[2:4] for tell in said] == [
        ("one of track, page, screen, group, identify, alias", "view"),
        ("one value, in properties or beside it", "a beside properties and number in it"),
        ("another id than userId", "u1"),
        ("traits", ""),
    ]


def test_a_message_of_a_hundred_thousand_names_is_read():
    """In time that grows with it; a name may be as long as a row."""
    many = {f"k{index}": index for index in range(100_000)}
    base = {"userId": "u1", "timestamp": T}
    assert len(read(line_of({"type": "identify", **base, "traits": many})).user_changes) == 100_000
    for row in ({"type": "track", **base, **many, "x" * 1_000_000: 1}, {**many, **base}):
        assert isinstance(outcome(segment.reader(Definition(), 0), line_of(row)), tuple)


# --- dialect ---


def test_message_is_recognised_by_its_type_with_what_messages_have():
    """In words; without one of the six types, or with nothing beside it, they are words that anybody uses."""
    told = [
        segment.evidence(row_of(TRACK)),
        segment.evidence({"type": "page", "sentAt": 1, "receivedAt": 1}),
        segment.evidence({"type": "page", "anonymousId": None, "sentAt": 1, "receivedAt": 1}),
        segment.evidence({"type": "page", "timestamp": 1, "event": 1, "properties": {}}),
    ]
    assert told == [
        ["type track with userId", "field messageId"],
        ["type page with receivedAt"],
        ["type page with anonymousId", "field receivedAt"],
        [],
    ]
    for kind in ("USER_ACCOUNT", "Track", None, [], {}, 7):
        assert segment.evidence({"type": kind, "userId": "u1", "messageId": "m1"}) == []
    assert recognise([row_of(TRACK), {}]).format == "segment"


def test_message_is_claimed_by_its_type_an_id_and_a_time():
    """Whatever they are worth: it is for the reader to say what is wrong with them."""
    rows: list[Row] = [
        {"type": "track", "userId": None, "timestamp": None},
        {"type": "alias", "anonymousId": 7, "timestamp": 1},
        {"type": "track", "userId": "u1"},
        {"type": "track", "timestamp": 1},
        {"type": "Track", "userId": "u1", "timestamp": 1},
        {"type": ["track"], "userId": "u1", "timestamp": 1},
        {"userId": "u1", "timestamp": 1},
    ]
    assert [segment.claims(row) for row in rows] == [True, True, False, False, False, False, False]


def test_flat_row_made_of_a_message_stays_with_its_own_dialect():
    """It has kept all the message had, and bears more marks of its own."""
    kept: Row = {"type": "track", "userId": "u1", "messageId": "m1", "receivedAt": 1}
    assert recognise([{"event_name": "e", "event_time_ts": T, "user_id": "u1", **kept}]).format == "cooladata"
    assert recognise([{"_p": "u1", "_t": 1, "_n": "e", **kept}]).format == "kissmetrics"


def test_there_is_no_table_of_messages():
    """By definition, and for whoever gets around it."""
    with pytest.raises(Misconfigured):
        completed(Definition(format="segment", mime_type=TEXT_CSV))
    with pytest.raises(ObjectProblem) as refused:
        segment.refuse_columns(["type"], False)
    assert refused.value.code is FileReason.CSV_HEADER_MISSING


def test_any_name_of_a_file_will_do():
    """Its end alone is looked at, and not by the dialect."""
    segment.refuse_name("1516147200000.csv.json", "APPLICATION_X_NDJSON")


def test_message_id_is_the_vendors_own_key():
    """A text that is not empty; anything else is no id."""
    event = read(TRACK).events[0]
    keys = []
    for message_id in ("m1", "", None, 7, ["m1"]):
        event.session_properties = {"messageId": message_id}  # type: ignore[dict-item]
        keys.append(segment.vendor_key(event, 0))
    event.session_properties = None
    assert [*keys, segment.vendor_key(event, 0)] == ["m1", None, None, None, None, None]
    assert completed(Definition(format="segment", identity="vendor")).ranked


# --- written ---

RECORDS = st.one_of(
    st.builds(users.property_record, st.one_of(TEXTS.filter(bool), st.sampled_from(["plan", "email", "a/b~c"]))),
    st.builds(users.property_record, TEXTS.filter(bool), TEXTS.filter(bool)),
    st.sampled_from(["prop#", "segment#s", "consent#c", "link#", "link#a1", "link#u1", "erased"]),
)
FEW_IDS = st.sampled_from(["u1", "a1", "null", "u2"])
FEW_TIMES = st.sampled_from([0, 86_400_123, 10**11, T, 9_999_999_999_999])


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """What a row of any dialect may say."""
    kinds = st.sampled_from(["userId", "anonymousId", "id", "cookie"])
    events = [
        Event(
            f"{index:032x}",
            draw(st.one_of(TEXTS, st.sampled_from(segment.TYPES))),
            draw(FEW_TIMES),
            draw(FEW_IDS),
            draw(MEMBERS),
            0,
            draw(st.one_of(st.none(), MEMBERS)),
            draw(st.one_of(st.none(), st.dictionaries(kinds, FEW_IDS, max_size=3))),
            expires_ms=draw(st.sampled_from([None, None, 5])),
        )
        for index in range(draw(st.integers(0, 3)))
    ]
    times = st.one_of(st.none(), FEW_TIMES)
    said = draw(st.lists(st.tuples(FEW_IDS, RECORDS, VALUES, times), max_size=4))
    for one, other, time_ms in draw(st.lists(st.tuples(FEW_IDS, FEW_IDS, times), max_size=3)):
        said += [(one, f"link#{other}", True, time_ms), (other, f"link#{one}", True, time_ms)]
    changes = [
        UserChange(
            user,
            record,
            value,
            time_ms,
            0,
            index,
            deleted=draw(st.sampled_from([False, False, False, True])),
            expires_ms=draw(st.sampled_from([None, None, None, 5])),
        )
        for index, (user, record, value, time_ms) in enumerate(said)
    ]
    return Reading(events, changes)


def read_again(rows: Written) -> Reading:
    """All that the rows say, as one reading."""
    read_rows = [read(line_of(row)) for row in rows.rows]
    return Reading(
        [event for reading in read_rows for event in reading.events],
        [change for reading in read_rows for change in reading.user_changes],
    )


def told_events(reading: Reading, lost: list[Lost]) -> list[Any]:
    """What events say that messages can carry, without what is said to be lost."""
    return [
        [
            event.event_name,
            event.event_time_ts,
            event.user_id,
            by_value({name: v for name, v in event.properties.items() if name or Lost.PROPERTY_NAME not in lost}),
            by_value(kept_of_session(event, lost)),
            None
            if Lost.IDENTIFIERS in lost
            else {name: value for name, value in (event.identifiers or {}).items() if value != event.user_id},
        ]
        for event in reading.events
        if event.event_name or Lost.EVENT not in lost
    ]


def kept_of_session(event: Event, lost: list[Lost]) -> Row:
    """Session properties without those that would mean something else in a message of that event."""
    session = event.session_properties or {}
    if Lost.PROPERTY_NAME not in lost:
        return session
    kind = event.event_name if event.event_name in ("page", "screen", "group") else "track"
    group_id = event.properties.get("groupId")
    own = segment.OWN_FIELDS[kind if kind != "group" or (isinstance(group_id, str) and group_id) else "track"]
    return {name: value for name, value in session.items() if name and name not in (*FIELDS[:5], *own)}


def told_changes(changes: list[UserChange]) -> dict[Any, Any]:
    """Of two that say the same record at the same time the later wins."""
    return {(change.user_id, change.record, change.event_time_ts): by_value(change.value) for change in changes}


@settings(deadline=None, max_examples=examples(600))
@given(readings())
def test_what_is_written_reads_back_as_all_that_was_not_lost(reading: Reading):
    """Every event; of the changes of users, all but the kinds that are said to be lost, and none that was not made."""
    rows = segment.written(reading)
    back = read_again(rows)
    assert told_events(back, rows.lost) == told_events(reading, rows.lost)
    kept = [change for change in reading.user_changes if not change.deleted and change.expires_ms is None]
    found, made = told_changes(back.user_changes), told_changes(kept)
    assert found.items() <= made.items()
    carried = [change for change in kept if of_change(change) not in rows.lost]
    assert {key: made[key] for key in told_changes(carried)}.items() <= found.items()


@settings(deadline=None)
@given(EVENT_ROWS)
def test_a_message_of_its_own_loses_nothing(row: Row):
    """Written again it says the same, whole."""
    reading = read(line_of(row))
    rows = segment.written(reading)
    [event], [back] = reading.events, read_again(rows).events
    assert rows.lost == []
    assert by_value([back.event_name, back.event_time_ts, back.user_id, back.properties, back.session_properties]) == (
        by_value([event.event_name, event.event_time_ts, event.user_id, event.properties, event.session_properties])
    )
    assert back.identifiers == event.identifiers


def test_messages_are_written_in_the_vendors_words():
    """Pages, screens and groups under their types; what has the same user and time is one identify."""
    reading = Reading(
        [
            Event("1" * 32, "buy", T, "u1", {"n": [1]}, 0, {"messageId": "m1"}, {"userId": "u1", "anonymousId": "a1"}),
            Event("2" * 32, "page", T, "a1", {"name": "Home", "category": 7}, 0, None, {"anonymousId": "a1"}),
            Event("3" * 32, "screen", 5, "u1", {}, 0, {"event": "kept"}, {"id": "u1"}),
            Event("4" * 32, "group", T, "u1", {"name": "Acme", "groupId": "g1"}, 0),
            Event("5" * 32, "group", T, "u1", {"name": "Acme"}, 0),
        ],
        [
            UserChange("u1", "prop#plan", "pro", T, 0, 0),
            UserChange("u1", "link#a1", True, T, 0, 1),
            UserChange("a1", "link#u1", True, T, 0, 2),
            UserChange("u1", "prop#n", None, T, 0, 3),
            UserChange("u1", "prop#n", 1, T + 1, 0, 4),
        ],
    )
    at = "2015-12-12T19:11:01.249Z"
    user: Row = {"userId": "u1", "timestamp": at}
    assert segment.written(reading) == Written(
        [
            {
                "type": "track",
                "userId": "u1",
                "anonymousId": "a1",
                "timestamp": at,
                "event": "buy",
                "properties": {"n": [1]},
                "messageId": "m1",
            },
            {
                "type": "page",
                "anonymousId": "a1",
                "timestamp": at,
                "name": "Home",
                "properties": {"name": "Home", "category": 7},
            },
            {
                "type": "screen",
                "userId": "u1",
                "timestamp": "1970-01-01T00:00:00.005Z",
                "properties": {},
                "event": "kept",
            },
            {"type": "group", **user, "groupId": "g1", "traits": {"name": "Acme"}},
            {"type": "track", **user, "event": "group", "properties": {"name": "Acme"}},
            {"type": "identify", **user, "traits": {"plan": "pro", "n": None}},
            {"type": "identify", "userId": "u1", "timestamp": "2015-12-12T19:11:01.250Z", "traits": {"n": 1}},
            {"type": "alias", **user, "previousId": "a1"},
        ]
    )


def test_what_messages_cannot_say_is_lost_and_named():
    """Each kind once."""
    reading = Reading(
        [
            Event("1" * 32, "a", T, "u1", {"": 1}, 0, {"type": "x"}, {"email": "a@b.c"}, expires_ms=1),
            Event("2" * 32, "", T, "u1", {}, 0),
        ],
        [
            UserChange("u1", "prop#a", 1, None, 0, 0),
            UserChange("u1", "prop#b", 1, T, 0, 1, deleted=True),
            UserChange("u1", "prop#a/b", 1, T, 0, 2),
            UserChange("u1", "segment#s", 1, T, 0, 3),
            UserChange("u1", "consent#c", 1, T, 0, 4),
            UserChange("u1", "link#null", True, T, 0, 5),
            UserChange("null", "link#u1", True, T, 0, 6),
            UserChange("u1", "link#x", None, T, 0, 7, deleted=True),
            UserChange("u1", "erased", None, T, 0, 8),
        ],
    )
    assert segment.written(reading) == Written(
        [{"type": "track", "userId": "u1", "timestamp": "2015-12-12T19:11:01.249Z", "event": "a", "properties": {}}],
        [
            Lost.EXPIRY,
            Lost.PROPERTY_NAME,
            Lost.IDENTIFIERS,
            Lost.EVENT,
            Lost.USER_PROPERTY,
            Lost.USER_PROPERTY_DELETED,
            Lost.LINK_DELETED,
            Lost.SEGMENT,
            Lost.CONSENT,
            Lost.LINK,
            Lost.ERASURE,
        ],
    )


@pytest.mark.parametrize("other_end", [None, False, "yes"])
def test_half_a_link_is_no_alias(other_end: Any):
    """An alias says it at both ends: what only one of them says is lost, not made up."""
    changes = [UserChange("u1", "link#a1", True, T, 0, 0)]
    if other_end is not None:
        changes.append(UserChange("a1", "link#u1", other_end, T, 0, 1))
    assert segment.written(Reading([], changes)) == Written([], [Lost.LINK])


# --- cases, sample, pages ---


def test_the_reasons_of_the_dialect_have_a_case_each():
    """docs/formats/segment.md points at these files."""
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(CASES.glob("*.json"))]
    assert {bad["reason"] for case in cases for bad in case["expect"]["bad"]} == {
        "not_json",
        "not_an_object",
        "duplicate_key",
        "too_deep",
        "missing_field",
        "wrong_type",
        "bad_time",
        "time_unit",
        "time_out_of_window",
        "bad_name",
        "too_long",
        "not_allowed",
        "placeholder_id",
        "nothing_to_record",
        "no_identifier",
        "event_too_large",
        "number_out_of_range",
    }


def test_page_names_cases_that_exist_and_all_of_them():
    """Links from docs/formats/segment.md to the cases."""
    linked = set(re.findall(r"tests/cases/segment/([\w-]+)\.json", PAGE.read_text(encoding="utf-8")))
    assert linked == {path.stem for path in CASES.glob("*.json")}


def test_code_and_cases_rest_on_facts_of_the_page():
    """S1 and so on: each is in its table."""
    cited = [path.read_text(encoding="utf-8") for path in [Path(segment.__file__), *CASES.glob("*.json")]]
    numbers = {number for text in cited for number in re.findall(r"\bS(\d+)\b", text)}
    listed = re.findall(r"^\| S(\d+) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert listed == [str(number) for number in range(1, len(listed) + 1)]
    assert numbers <= set(listed)


def test_sample_file_shows_what_its_table_says():
    """events/files/segment.json: eight good lines, two that are mended by a word; one message came twice."""
    text = SAMPLE.read_bytes()
    [batch] = batches(
        JSON_LINES.lines([text], Part(0, TO_THE_END)), Rules("segment", Definition(), 0, tuple(SINKS.values()))
    )
    assert [(bad.line, bad.reason, bad.field) for bad in batch.bad_rows] == [
        (9, "not_allowed", "type"),
        (10, "missing_field", "timestamp"),
    ]
    assert (batch.tally.good, batch.tally.events) == (8, 6)
    assert sorted(change.record for change in batch.user_changes if change.record.startswith("link#")) == [
        "link#8a2f7c3e-51d4-4b9a-9c0e-2f6d1a7b3c58",
        "link#mette@example.com",
        "link#u-81",
        "link#u-81",
    ]
    vendor = Rules("segment", completed(Definition(format="segment", identity="vendor")), 0)
    [again] = batches(JSON_LINES.lines([text], Part(0, TO_THE_END)), vendor)
    assert [len({event.event_id for event in made.events}) for made in (batch, again)] == [6, 5]
