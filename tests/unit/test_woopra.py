"""Woopra: what its cases do not show. What becomes of a line is whole, depends on it alone, and can be said again."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import users
from importer.bad_rows import FileReason, ObjectProblem, Reason, Reject
from importer.batches import Rules, batches
from importer.definitions import TEXT_CSV, Definition
from importer.formats import FORMATS, completed, recognise, woopra
from importer.formats.reading import Lost, Reading, Written
from importer.formats.writing import of_change
from importer.layouts import JSON_LINES
from importer.model import TO_THE_END, Event, Misconfigured, Part, Row, UserChange, event_id
from importer.rows import row_of
from importer.sinks import SINKS
from tests.support.scenarios import examples
from tests.unit.values import by_value

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases" / "woopra"
PAGE = ROOT / "docs" / "formats" / "woopra.md"
SAMPLE = ROOT / "events" / "files" / "woopra.json"

LINE = (
    b'{"visitor":{"id":"u1","email":"a@b.c","plan":"pro"},"os":"Mac","actions":['
    b'{"name":"pv","time":1444077951001,"properties":{"n":1}},{"name":"buy","time":1444077951000}]}'
)
VISIT = event_id("woopra visit", LINE, 0)
FIRST = event_id("woopra", LINE, 0)


def read(text: bytes, definition: Definition | None = None, address: int = 40) -> Reading:
    return woopra.reader(definition or Definition(), 0)(row_of(text), text, address)


def outcome(reader: Callable[[Row, bytes, int], Reading], text: bytes) -> Any:
    """The reading or all that the reject says."""
    try:
        return reader(row_of(text), text, 7)
    except Reject as reject:
        return reject.reason, reject.field, reject.expected, reject.found, reject.hint


def line_of(row: Any) -> bytes:
    return json.dumps(row, ensure_ascii=False).encode()


# --- lines as strangers write them ---

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
NAMES = st.one_of(
    TEXTS,
    st.sampled_from(
        ["a", "plan", "os", "time", "visit_id", "type", "method", "visitor", "actions", *woopra.IDENTIFIERS]
    ),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(allow_nan=False), TEXTS
).filter(lambda value: value not in (float("inf"), float("-inf")))
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=5,
)
MEMBERS = st.dictionaries(NAMES, VALUES, max_size=4)
TIMES = st.integers(10**11, 9_999_999_999_999)
IDS = st.one_of(TEXTS.filter(bool), st.sampled_from(["u1", "a@b.c", "null", "c0ffee"]))


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries({}, optional=fields)


ACTIONS = st.fixed_dictionaries({"name": TEXTS.filter(bool), "time": TIMES}, optional={"properties": MEMBERS})
# Nearly right: each part may be another value, or missing, or stand where it does not belong.
ROWS = st.builds(
    lambda parts, other: {**other, **parts},
    optional(
        visitor=st.one_of(
            VALUES, st.builds(lambda a, b: {**a, **b}, MEMBERS, optional(id=VALUES, email=IDS, cookie=IDS, plan=VALUES))
        ),
        actions=st.one_of(
            VALUES, st.lists(st.one_of(ACTIONS, optional(name=IDS, time=VALUES, data=VALUES)), max_size=3)
        ),
    ),
    st.dictionaries(st.one_of(NAMES, st.sampled_from(woopra.VISIT_PROPERTIES)), VALUES, max_size=2),
)
GOOD_ROWS = st.builds(
    lambda visitor, ids, visit, actions: {"visitor": {**visitor, **ids}, **visit, "actions": actions},
    st.dictionaries(TEXTS.filter(bool), VALUES, max_size=3),
    optional(id=IDS, email=IDS, cookie=IDS).filter(bool),
    st.dictionaries(st.sampled_from([*woopra.VISIT_PROPERTIES, "own", "visit_id"]), VALUES, max_size=3),
    st.lists(
        st.fixed_dictionaries(
            {"name": TEXTS.filter(bool), "time": TIMES},
            optional={"properties": st.dictionaries(TEXTS.filter(bool), VALUES, max_size=3)},
        ),
        min_size=1,
        max_size=4,
    ),
)


@settings(deadline=None, max_examples=examples(400))
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
@given(GOOD_ROWS)
def test_a_visit_gives_one_event_an_action_and_all_have_its_visit_id(row: Row):
    """In the order of the actions; ids differ, user, identifiers and session properties do not."""
    reading = read(line_of(row))
    assert [(event.event_name, event.event_time_ts) for event in reading.events] == [
        (action["name"], action["time"])
        for action in row["actions"]  # type: ignore[index, union-attr, call-overload]
    ]
    assert len({event.event_id for event in reading.events}) == len(reading.events)
    assert len({event.user_id for event in reading.events}) == 1
    sessions = [event.session_properties for event in reading.events]
    assert sessions == sessions[:1] * len(sessions)
    assert sessions[0]
    assert sessions[0]["visit_id"] not in (None, "")


@settings(deadline=None)
@given(st.lists(st.one_of(ROWS, GOOD_ROWS), min_size=2, max_size=6), st.booleans())
def test_reader_gives_the_same_whatever_it_read_before(rows: list[Row], strict: bool):
    """It remembers nothing that changes an outcome."""
    definition = Definition(strict=strict)
    one = woopra.reader(definition, 0)
    texts = [line_of(row) for row in rows]
    assert [outcome(one, text) for text in texts] == [outcome(woopra.reader(definition, 0), text) for text in texts]


def test_line_becomes_its_events_and_user_changes():
    """The reading, whole: id and email are one person, and what is said of a user is as old as the latest action."""
    session: Row = {"visit_id": VISIT, "os": "Mac"}
    known: Row = {"id": "u1", "email": "a@b.c"}
    at = 1_444_077_951_001
    second = event_id("woopra", FIRST.encode(), 1)
    assert read(LINE) == Reading(
        [
            Event(FIRST, "pv", at, "u1", {"n": 1}, 40, session, known),
            Event(second, "buy", at - 1, "u1", {}, 40, session, known),
        ],
        [
            UserChange("u1", "prop#plan", "pro", at, 40, 0),
            UserChange("u1", "prop#email", "a@b.c", at, 40, 1),
            UserChange("u1", "link#a@b.c", True, at, 40, 2),
            UserChange("a@b.c", "link#u1", True, at, 40, 3),
        ],
    )


def test_equal_lines_are_one_visit_and_others_are_not():
    """The visit's id is made of the line's bytes."""
    other = read(LINE + b" ").events[0].session_properties
    assert other is not None
    assert read(LINE) == read(LINE)
    assert other["visit_id"] != VISIT


# --- dialect ---


def test_visit_is_recognised_by_its_parts():
    """In words; a deletion of an export is known too, so that the reason can say what it is."""
    assert woopra.evidence(row_of(LINE)) == ["object visitor", "an identifier in visitor", "array actions"]
    assert woopra.evidence({"type": "delete", "pid": "x"}) == ["the deletion of a profile, as in an export"]
    assert [woopra.evidence({}), woopra.evidence({"visitor": "x", "actions": {}})] == [[], []]
    assert recognise([row_of(LINE), {}]).format == "woopra"


def test_row_is_claimed_by_its_visitor():
    """An object: the word alone is one others use too."""
    assert [woopra.claims({"visitor": {}}), woopra.claims({"visitor": "x"}), woopra.claims({"actions": []})] == [
        True,
        False,
        False,
    ]


def test_there_is_no_table_of_visits():
    """By definition, and for whoever gets around it."""
    with pytest.raises(Misconfigured):
        completed(Definition(format="woopra", mime_type=TEXT_CSV))
    with pytest.raises(ObjectProblem) as refused:
        woopra.refuse_columns(["visitor"], False)
    assert refused.value.code is FileReason.CSV_HEADER_MISSING


def test_any_name_of_a_file_will_do():
    """The vendor's import has none."""
    woopra.refuse_name("a.csv.json", "APPLICATION_X_NDJSON")


def test_vendor_has_no_rule_for_repeated_events():
    """So `identity: vendor` is refused, and rows are told apart by their bytes."""
    assert woopra.vendor_key(read(LINE).events[0], 0) is None
    with pytest.raises(Misconfigured):
        completed(Definition(format="woopra", identity="vendor"))


# --- size ---


def visit_of(actions: int, **visit: Any) -> bytes:
    action = {"name": "pv", "time": 1_444_077_951_001}
    return line_of({"visitor": {"id": "u1"}, **visit, "actions": [action] * actions})


def test_what_a_visit_says_once_is_not_stored_without_end():
    """Properties of a visit go with each of its events: a few MiB must not become terabytes."""
    big = "x" * 10_000
    assert len(read(visit_of(6_000, note=big)).events) == 6_000
    with pytest.raises(Reject) as refused:
        read(visit_of(7_000, note=big))
    assert (refused.value.reason, refused.value.hint) == (
        Reason.EVENT_TOO_LARGE,
        "send the visit's actions in several lines, with one visit_id",
    )


def test_actions_share_what_their_visit_says():
    """A hundred thousand events hold it once."""
    events = read(visit_of(100_000, os="Mac")).events
    assert len({id(event.session_properties) for event in events}) == 1
    assert len({event.event_id for event in events}) == 100_000


# --- written ---

RECORDS = st.one_of(
    st.builds(users.property_record, st.one_of(TEXTS.filter(bool), st.sampled_from(["plan", "email", "id", "a/b~c"]))),
    st.builds(users.property_record, TEXTS.filter(bool), TEXTS.filter(bool)),
    st.sampled_from(["prop#", "segment#s", "consent#c", "link#", "link#a@b.c", "link#u1", "erased"]),
)
FEW_IDS = st.sampled_from(["u1", "a@b.c", "null", "u2"])
FEW_TIMES = st.sampled_from([0, 86_400_123, 10**11, 1_444_077_951_001, 9_999_999_999_999])


@st.composite
def readings(draw: st.DrawFn) -> Reading:
    """What a row of any dialect may say."""
    kinds = st.sampled_from(["id", "email", "cookie", "user_agent_id"])
    sessions = draw(st.lists(st.one_of(st.none(), MEMBERS), min_size=1, max_size=2))
    events = [
        Event(
            f"{index:032x}",
            draw(TEXTS.filter(bool)),
            draw(FEW_TIMES),
            draw(FEW_IDS),
            draw(MEMBERS),
            0,
            draw(st.sampled_from(sessions)),
            draw(st.one_of(st.none(), st.dictionaries(kinds, FEW_IDS, max_size=3))),
            expires_ms=draw(st.sampled_from([None, None, 5])),
        )
        for index in range(draw(st.integers(0, 3)))
    ]
    times = st.one_of(st.none(), FEW_TIMES)
    said = draw(st.lists(st.tuples(FEW_IDS, RECORDS, VALUES, times), max_size=4))
    for user, email, time_ms in draw(st.lists(st.tuples(FEW_IDS, FEW_IDS, times), max_size=2)):
        said += [
            (user, "prop#email", email, time_ms),
            (user, f"link#{email}", True, time_ms),
            (email, f"link#{user}", True, time_ms),
        ]
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


OTHER_MEANING = {"", "visitor", "actions", "id", "email", "cookie"}


def told_events(reading: Reading, lost: list[Lost]) -> list[str]:
    """What events say that rows of woopra can carry, without what is said to be lost."""

    def visit(properties: Row | None) -> Any:
        kept = {name: value for name, value in (properties or {}).items() if name != "visit_id"}
        if Lost.PROPERTY_NAME in lost:
            kept = {
                name: value
                for name, value in kept.items()
                if name not in OTHER_MEANING and not (name in ("type", "method") and value == "delete")
            }
        return by_value(kept)

    def properties(event: Event) -> Any:
        return by_value({name: v for name, v in event.properties.items() if name or Lost.PROPERTY_NAME not in lost})

    return sorted(
        repr(
            [
                event.event_name,
                event.event_time_ts,
                event.user_id,
                sorted(properties(event).items(), key=repr),
                sorted(visit(event.session_properties).items(), key=repr),
            ]
        )
        for event in reading.events
    )


def told_identifiers(reading: Reading) -> list[Any]:
    """What events are known by beside that which they stand under."""
    return sorted(
        repr(
            [
                event.event_name,
                event.event_time_ts,
                event.user_id,
                sorted(item for item in (event.identifiers or {}).items() if item[1] != event.user_id),
            ]
        )
        for event in reading.events
    )


def told_changes(changes: list[UserChange]) -> dict[Any, Any]:
    """Of two that say the same record at the same time the later wins."""
    return {(change.user_id, change.record, change.event_time_ts): by_value(change.value) for change in changes}


@settings(deadline=None, max_examples=examples(500))
@given(readings())
def test_what_is_written_reads_back_as_all_that_was_not_lost(reading: Reading):
    """Every event; of the changes of users, all but the kinds that are said to be lost, and none that was not made."""
    rows = woopra.written(reading)
    back = read_again(rows)
    assert told_events(back, rows.lost) == told_events(reading, rows.lost)
    kept = [change for change in reading.user_changes if not change.deleted and change.expires_ms is None]
    found, made = told_changes(back.user_changes), told_changes(kept)
    assert found.items() <= made.items()
    carried = [
        change
        for change in kept
        if of_change(change) not in rows.lost
        and not (Lost.PROPERTY_NAME in rows.lost and change.record in ("prop#id", "prop#email", "prop#cookie"))
    ]
    assert {key: made[key] for key in told_changes(carried)}.items() <= found.items()
    if Lost.IDENTIFIERS not in rows.lost:
        assert told_identifiers(back) == told_identifiers(reading)


@settings(deadline=None)
@given(GOOD_ROWS)
def test_a_line_of_its_own_loses_nothing(row: Row):
    """Written again it says the same, whole: events, identifiers, visit and user."""
    reading = read(line_of(row))
    rows = woopra.written(reading)
    back = read_again(rows)
    assert rows.lost == []
    assert [(e.event_name, e.event_time_ts, e.user_id, e.properties, e.identifiers) for e in back.events] == [
        (e.event_name, e.event_time_ts, e.user_id, e.properties, e.identifiers) for e in reading.events
    ]
    assert [by_value(e.session_properties) for e in back.events] == [
        by_value(e.session_properties) for e in reading.events
    ]
    assert told_changes(back.user_changes) == told_changes(reading.user_changes)


def test_events_of_one_user_and_session_are_one_visit():
    """What is known of the user at the time of its last action rides along; what has no time gets a line of its own."""
    reading = Reading(
        [
            Event("1" * 32, "a", 10**12, "u1", {}, 0, {"os": "Mac"}),
            Event("2" * 32, "b", 10**12 + 5, "u1", {"n": [1]}, 0, {"os": "Mac"}),
            Event("3" * 32, "c", 10**12, "u2", {}, 0),
        ],
        [
            UserChange("u1", "prop#plan", "pro", 10**12 + 5, 0, 0),
            UserChange("u3", "prop#plan", "free", None, 0, 1),
            UserChange("u3", "prop#email", "a@b.c", None, 0, 2),
            UserChange("u3", "link#a@b.c", True, None, 0, 3),
            UserChange("a@b.c", "link#u3", True, None, 0, 4),
        ],
    )
    assert woopra.written(reading) == Written(
        [
            {
                "visitor": {"id": "u1", "plan": "pro"},
                "os": "Mac",
                "actions": [
                    {"name": "a", "time": 10**12, "properties": {}},
                    {"name": "b", "time": 10**12 + 5, "properties": {"n": [1]}},
                ],
            },
            {"visitor": {"id": "u2"}, "actions": [{"name": "c", "time": 10**12, "properties": {}}]},
            {"visitor": {"id": "u3", "email": "a@b.c", "plan": "free"}},
        ]
    )


OF_THE_LINE: Row = {
    "os": "Mac",
    "": 1,
    "visitor": 1,
    "actions": [],
    "cookie": "c",
    "type": "delete",
    "method": "delete",
}


def test_what_lines_cannot_say_is_lost_and_named():
    """Each kind once."""
    reading = Reading(
        [Event("1" * 32, "a", 10**12, "u1", {}, 0, OF_THE_LINE, {"user_agent_id": "x"}, expires_ms=1)],
        [
            UserChange("u1", "prop#a", 1, 10**12 + 1, 0, 0),
            UserChange("u1", "prop#b", 1, None, 0, 1, deleted=True),
            UserChange("u1", "prop#id", 1, 10**12, 0, 2),
            UserChange("u1", "segment#s", 1, None, 0, 3),
            UserChange("u1", "consent#c", 1, None, 0, 4),
            UserChange("u1", "link#x", True, None, 0, 5),
            UserChange("u1", "link#x", None, None, 0, 6, deleted=True),
            UserChange("u1", "erased", None, None, 0, 7),
        ],
    )
    assert woopra.written(reading) == Written(
        [{"visitor": {"id": "u1"}, "os": "Mac", "actions": [{"name": "a", "time": 10**12, "properties": {}}]}],
        [
            Lost.USER_PROPERTY_DELETED,
            Lost.LINK_DELETED,
            Lost.EXPIRY,
            Lost.IDENTIFIERS,
            Lost.PROPERTY_NAME,
            Lost.USER_PROPERTY,
            Lost.SEGMENT,
            Lost.CONSENT,
            Lost.LINK,
            Lost.ERASURE,
        ],
    )


@pytest.mark.parametrize("name", ["", "visitor", "actions", "id", "email", "cookie"])
def test_a_visit_property_whose_name_means_something_else_is_lost(name: str):
    """Each of them: it would not be read back as one."""
    reading = Reading([Event("1" * 32, "a", 10**12, "u1", {}, 0, {name: "x"})], [])
    assert woopra.written(reading).lost == [Lost.PROPERTY_NAME]


# --- cases and samples ---


def test_the_reasons_of_the_dialect_have_a_case_each():
    """docs/formats/woopra.md points at these files."""
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(CASES.glob("*.json"))]
    assert {bad["reason"] for case in cases for bad in case["expect"]["bad"]} == {
        "not_json",
        "duplicate_key",
        "too_deep",
        "missing_field",
        "wrong_type",
        "nested_value",
        "bad_time",
        "time_unit",
        "time_out_of_window",
        "bad_name",
        "too_long",
        "not_allowed",
        "placeholder_id",
        "nothing_to_record",
        "no_identifier",
        "many_identifiers",
        "event_too_large",
        "number_out_of_range",
    }


def test_page_names_cases_that_exist_and_all_of_them():
    """Links from docs/formats/woopra.md to the cases."""
    linked = set(re.findall(r"tests/cases/woopra/([\w-]+)\.json", PAGE.read_text(encoding="utf-8")))
    assert linked == {path.stem for path in CASES.glob("*.json")}


def test_sample_file_shows_what_its_table_says():
    """events/files/woopra.json: four good lines, and five bad ones each of its own kind."""
    rules = Rules("woopra", Definition(), 1_795_176_000_000, tuple(SINKS.values()))
    [batch] = batches(JSON_LINES.lines([SAMPLE.read_bytes()], Part(0, TO_THE_END)), rules)
    assert [(bad.line, bad.reason) for bad in batch.bad_rows] == [
        (1, "not_json"),
        (6, "time_unit"),
        (7, "no_identifier"),
        (8, "not_allowed"),
        (9, "not_allowed"),
    ]
    assert (batch.tally.good, batch.tally.events) == (4, 5)
    assert {change.record for change in batch.user_changes if change.user_id == "u-81"} == {
        "prop#plan",
        "prop#address",
        "prop#email",
        "link#mette@example.com",
    }


def test_woopra_is_one_of_the_dialects():
    """Under its own name."""
    assert FORMATS["woopra"].NAME == "woopra"
