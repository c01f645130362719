"""mediarithmics: what holds for every row. Single situations are in tests/cases/mediarithmics/."""

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from importer import users
from importer.bad_rows import FileReason, ObjectProblem, Reason, Reject
from importer.definitions import LATEST_TIME_MS, NDJSON, TEXT_CSV, Definition
from importer.formats import FORMATS, cooladata, mediarithmics, recognise
from importer.formats import completed as completed_definition
from importer.formats.mediarithmics import activities, identifiers, kinds, people
from importer.formats.reading import Lost, Reading
from importer.layouts import layout_of
from importer.model import Event, Misconfigured, Provenance, Row, UserChange, Value, event_id, rank
from importer.rows import row_of
from tests.support.scenarios import examples
from tests.unit.values import by_value

NOW_MS = 1_795_176_000_000
TIME_MS = 1_605_262_037_783
SAMPLE = (
    b'{"$email_hash": {"$email": "a@example.com"},"$type": "TOUCH","$session_status": "NO_SESSION",'
    b'"$ts": 1605262037783,"$events": [{"$event_name": "store-visit","$ts": 1605262037783,"$properties": {}}],'
    b'"$location": {"$country": "france","$city": "paris","$zip_code": "75001"}}'
)
CASES = Path(__file__).parents[1] / "cases" / "mediarithmics"
DOCUMENT_TYPES = sorted(mediarithmics.DOCUMENTS)
DEFINITIONS = [
    Definition(document_type=kind, mime_type=mime_type, strict=strict)
    for kind in DOCUMENT_TYPES
    for mime_type in mediarithmics.DOCUMENTS[kind]
    for strict in (False, True)
]


def told(row: Any, now_ms: int = NOW_MS, **chosen: Any) -> Reading:
    """What the reader makes of a row, or of its text."""
    text = row if isinstance(row, bytes) else json.dumps(row).encode()
    return mediarithmics.reader(Definition(**chosen), now_ms)(row_of(text), text, 0)


def refused(row: Any, **chosen: Any) -> Reject:
    with pytest.raises(Reject) as caught:
        told(row, **chosen)
    return caught.value


def activity(**other: Any) -> Row:
    """A small one; `_` stands for `$` in the names of what is changed, None takes a field away."""
    row: Row = {
        "$user_account_id": "u",
        "$type": "TOUCH",
        "$session_status": "NO_SESSION",
        "$ts": TIME_MS,
        "$events": [{"$event_name": "e", "$ts": TIME_MS, "$properties": {}}],
    }
    row |= {f"${name[1:]}" if name[0] == "_" else name: value for name, value in other.items()}
    return {name: value for name, value in row.items() if value is not None}


def said(change: UserChange) -> tuple[Any, ...]:
    value = None if change.deleted else json.dumps(by_value(change.value), default=str, sort_keys=True)
    return change.user_id, change.record, value, change.deleted, change.event_time_ts, change.expires_ms


# ---- Rows nobody thought of -----------------------------------------------------------------------------------------

TEXT = st.text(st.characters(codec="utf-8"), max_size=4)
SCALAR = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
SCALAR |= TEXT | st.just("0") | st.just(TIME_MS) | st.sampled_from(["vec:1", "udp:2", "net:3:4", "null"])
JSON: st.SearchStrategy[Any] = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3), max_leaves=8
)
NAMES = st.sampled_from(
    [
        *(*activities.KNOWN, *kinds.OF_COMMAND, *identifiers.IN_COMMAND, "operation", "type", "force_replace"),
        *("hash", "email", "user_point_id", "$user_account", "Operation", "custom", ""),
    ]
)
TYPES = st.sampled_from(["USER_ACCOUNT", "USER_EMAIL", "USER_AGENT", "USER_POINT"])
TYPED = st.dictionaries(
    st.sampled_from(["hash", "email", "user_account_id", "compartment_id", "user_agent_id", "user_point_id", "x"]),
    SCALAR,
    max_size=3,
)
TYPED = st.builds(lambda fields, kind: {"type": kind, **fields}, TYPED, TYPES)
IN_EVENT = st.dictionaries(st.sampled_from(["$event_name", "$ts", "$properties", "$event", "x"]), JSON)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "operation": st.sampled_from(["UPDATE", "UPSERT", "DELETE", "delete"]),
    "type": TYPES,
    "$type": st.sampled_from([*activities.TYPES, "USER_SCENARIO_X", "SITE"]),
    "$session_status": st.sampled_from(activities.STATUSES),
    "$events": st.lists(
        IN_EVENT
        | st.builds(
            lambda name, time, properties: {"$event_name": name, "$ts": time, "$properties": properties},
            st.sampled_from(["e", activities.SET_PROFILE]),
            st.sampled_from([TIME_MS, "2020-11-13", 1605262037]),
            st.dictionaries(TEXT, JSON, max_size=3),
        ),
        max_size=3,
    ),
    "$email_hash": st.dictionaries(st.sampled_from(["$hash", "$email", "hash"]), SCALAR),
    "$user_identifiers": st.lists(TYPED, max_size=3),
    "identifiers": st.lists(TYPED, max_size=4),
    "data_bag": st.sampled_from(["{}", '{"a":1.10}', "[", '"x"']),
    "user_choice": st.dictionaries(
        st.sampled_from(["$processing_id", "$choice_ts", "$choice_acceptance_value", "x"]), SCALAR
    ),
    "update_strategy": st.sampled_from(["PARTIAL_UPDATE", "PARTIAL_DELETE", "FORCE_REPLACE", "x"]),
    "user_profile": st.dictionaries(TEXT, JSON, max_size=3),
    "force_replace": st.booleans(),
    "merge_objects": st.booleans(),
}


@st.composite
def rows(draw: st.DrawFn) -> bytes:
    names = draw(st.lists(NAMES | TEXT, max_size=9, unique=True))
    row = {name: draw(LIKELY[name] | LIKELY[name] | JSON if name in LIKELY else SCALAR | JSON) for name in names}
    return json.dumps(row, ensure_ascii=draw(st.booleans())).encode()


# Rows that are right, or have one thing wrong.
WHO = st.sampled_from(
    [
        {"user_account_id": "u"},
        {"user_account_id": "u", "compartment_id": 1000},
        {"email_hash": "h"},
        {"user_agent_id": "vec:1"},
    ]
)
IN_ACTIVITY = st.sampled_from(
    [
        {"$user_account_id": "u", "$compartment_id": "1000"},
        {"$email_hash": {"$hash": "h", "$email": "a@b.c"}},
        {"$email_hash": {"$email": "a@b.c"}, "$compartment_id": "1000"},
        {"$user_agent_id": "net:1:2"},
        {"$user_identifiers": [{"$type": "USER_EMAIL", "$hash": "h", "$email": "a@b.c"}]},
        {"$user_identifiers": [{"type": "USER_ACCOUNT", "user_account_id": "vec:1"}], "$user_account_id": "vec:1"},
    ]
)
GOOD_EVENT = st.builds(
    lambda name, time, properties: {"$event_name": name, "$ts": time, "$properties": properties},
    st.sampled_from(["e", activities.SET_PROFILE]),
    st.sampled_from([TIME_MS, TIME_MS + 1, "1971-02-03"]),
    st.dictionaries(st.sampled_from(["a", "b/c"]), JSON, max_size=3),
)
GOOD: dict[str, st.SearchStrategy[Row]] = {
    kinds.ACTIVITY: st.builds(
        lambda who, events, other: (
            {"$type": "TOUCH", "$session_status": "NO_SESSION"} | who | other | {"$events": events}
        ),
        IN_ACTIVITY,
        st.lists(GOOD_EVENT, min_size=1, max_size=3),
        st.fixed_dictionaries(
            {},
            optional={
                "$ts": st.sampled_from([TIME_MS, "1971-02-03"]),
                "$ttl": st.sampled_from([0, 5, 5.0]),
                "$unique_key": st.just("k"),
                "$location": st.just({"$source": "GPS"}),
                "custom": JSON,
                "segment_id": st.just("s"),
            },
        ),
    ),
    kinds.SEGMENT: st.builds(
        lambda who, segment, other: who | segment | other,
        WHO,
        st.sampled_from(
            [{"segment_id": "s"}, {"segment_technical_name": "n"}, {"segment_id": "s", "segment_technical_name": "n"}]
        ),
        st.sampled_from(
            [
                {"operation": "DELETE"},
                {"operation": "UPDATE", "expiration_duration": 0, "data_bag": '{"a": 1.5}'},
                {"operation": "UPDATE", "expiration_duration": 5, "expiration_ts": TIME_MS},
            ]
        ),
    ),
    kinds.PROFILE: st.builds(
        lambda who, how, profile: {"operation": "UPSERT"} | who | how | {"user_profile": profile},
        WHO,
        st.sampled_from(
            [
                {"force_replace": True},
                {"force_replace": False},
                {"force_replace": False, "merge_objects": True},
                {"update_strategy": "PARTIAL_UPDATE"},
                {"update_strategy": "PARTIAL_DELETE"},
            ]
        ),
        st.dictionaries(st.sampled_from(["a", "b/c", "~"]), JSON, max_size=3),
    ),
    kinds.CHOICE: st.builds(
        lambda who, how, choice: who | how | {"user_choice": {"$processing_id": "p", "$choice_ts": TIME_MS} | choice},
        WHO,
        st.sampled_from(
            [
                {"operation": "UPSERT", "force_replace": True},
                {"operation": "UPSERT", "force_replace": False},
                {"operation": "DELETE"},
            ]
        ),
        st.fixed_dictionaries({}, optional={"$choice_acceptance_value": st.booleans(), "x": JSON}),
    ),
    kinds.ASSOCIATION: st.lists(
        st.sampled_from(
            [
                {"type": "USER_EMAIL", "hash": "h"},
                {"type": "USER_EMAIL", "hash": "i", "email": "a@b.c"},
                {"type": "USER_AGENT", "user_agent_id": "vec:1"},
                {"type": "USER_ACCOUNT", "user_account_id": "u", "compartment_id": "1000"},
            ]
        ),
        min_size=2,
        max_size=4,
    ).map(lambda listed: {"identifiers": listed}),
}
DELETION = st.sampled_from(
    [
        {"type": "USER_EMAIL", "hash": "h"},
        {"type": "USER_AGENT", "user_agent_id": "vec:1"},
        {"type": "USER_AGENT", "user_agent_id": "udp:1"},
        {"type": "USER_ACCOUNT", "user_account_id": "u", "compartment_id": "1000"},
        {"type": "USER_POINT", "user_point_id": "95772db3-e762-45da-8cf1-4893debffae7"},
    ]
)
GOOD_ROW = st.one_of(*GOOD.values())


@st.composite
def nearly_good(draw: st.DrawFn) -> bytes:
    row = dict(draw(GOOD_ROW | DELETION))
    if draw(st.booleans()):
        row[draw(st.sampled_from(sorted(row)) | NAMES)] = draw(JSON)
    if draw(st.booleans()):
        row.pop(draw(st.sampled_from(sorted(row))))
    return json.dumps(row).encode()


ANY_ROW = rows() | nearly_good()


def outcome(read: Callable[[Row, bytes, int], Reading], text: bytes) -> Any:
    try:
        return read(row_of(text), text, 7)
    except Reject as reject:
        return reject.reason, reject.field, reject.expected, reject.found, reject.hint, reject.message


@given(st.lists(ANY_ROW, min_size=1, max_size=3), st.sampled_from(DEFINITIONS))
@settings(deadline=None, max_examples=examples(600))
def test_every_row_is_read_or_refused_and_no_row_minds_the_others(texts: list[bytes], definition: Definition):
    """Nothing but Reject is raised; the same row gives the same, whatever was read before; counts are in order."""
    one = mediarithmics.reader(definition, NOW_MS)
    together = [outcome(one, text) for text in texts]
    assert together == [outcome(mediarithmics.reader(definition, NOW_MS), text) for text in texts]
    for reading in together:
        if isinstance(reading, Reading):
            assert [change.index for change in reading.user_changes] == list(range(len(reading.user_changes)))
            assert all(event.user_id and event.event_name for event in reading.events)
            assert all(change.user_id and change.record for change in reading.user_changes)
            assert reading.expired or reading.events or reading.user_changes


@given(ANY_ROW)
@settings(deadline=None, max_examples=examples(300))
def test_without_a_document_type_nothing_is_erased_and_no_link_is_cut(text: bytes):
    """Which deletion a row is its shape does not say, and it is never guessed. A DELETE says what it takes away."""
    made = outcome(mediarithmics.reader(Definition(), NOW_MS), text)
    if isinstance(made, Reading):
        for change in made.user_changes:
            assert change.record != users.ERASED
            assert not (change.deleted and change.record.startswith(users.LINK))
            assert not (row_of(text).get("operation") == "DELETE" and change.record.startswith(users.PROPERTY))


@given(nearly_good(), st.sampled_from(DOCUMENT_TYPES))
@settings(deadline=None, max_examples=examples(400), suppress_health_check=[HealthCheck.filter_too_much])
def test_an_import_of_one_kind_never_acts_on_a_row_of_another(text: bytes, document_type: str):
    """What a definition makes of a row is what none would make of it, or the row does not say what it is."""
    definite = outcome(mediarithmics.reader(Definition(document_type=document_type), NOW_MS), text)
    by_shape = outcome(mediarithmics.reader(Definition(), NOW_MS), text)
    assume(isinstance(definite, Reading) and isinstance(by_shape, Reading))
    if document_type == kinds.DISSOCIATION:
        assert {change.record[:5] for change in by_shape.user_changes} == {users.LINK}
    else:
        assert definite == by_shape


@given(ANY_ROW, st.sampled_from(DEFINITIONS))
@settings(deadline=None, max_examples=examples(300))
def test_marks_can_be_asked_of_any_row(text: bytes, definition: Definition):
    """Evidence is told in words, and a row that is claimed has some."""
    row = row_of(text)
    evidence = mediarithmics.evidence(row)
    assert all(isinstance(words, str) and words for words in evidence)
    assert not mediarithmics.claims(row) or evidence


# ---- Large rows -----------------------------------------------------------------------------------------------------


def test_fields_repeated_in_each_event_have_an_end():
    """8 MiB must not become gigabytes: the activity's own fields stand in each of its events."""
    events = [{"$event_name": "e", "$ts": TIME_MS, "$properties": {}}] * 40_000
    assert len({event.event_id for event in told(activity(_events=events)).events}) == 40_000
    reject = refused(activity(_events=events, **{f"custom{number}": "x" * 30 for number in range(1_000)}))
    assert (reject.reason, reject.hint) == (Reason.EVENT_TOO_LARGE, "send the events in several activities")
    assert reject.expected.startswith(f"at most {64 << 20} bytes of what stands in each")


def test_paths_of_deep_properties_have_an_end():
    """Nor must paths, which repeat the names they go through."""
    wide: Any = {f"{number}": 1 for number in range(80_000)}
    deep = {"operation": "UPSERT", "user_account_id": "u", "update_strategy": "PARTIAL_UPDATE"}
    for _ in range(250):
        wide = {"abc": wide}
    reject = refused(deep | {"user_profile": wide})
    assert (reject.reason, reject.field) == (Reason.TOO_MANY_PROPERTIES, "user_profile")
    assert refused(deep | {"user_profile": {"a": {"b" * 2_000: 1}}}).reason is Reason.TOO_LONG
    shallow = {"operation": "UPSERT", "user_account_id": "u", "force_replace": False}
    assert len(told(shallow | {"user_profile": wide}).user_changes) == 1


def test_identifiers_of_a_row_have_an_end():
    """Each is linked with each other one."""
    listed = [{"type": "USER_ACCOUNT", "user_account_id": str(n)} for n in range(people.MOST_IDENTIFIERS + 1)]
    made = told({"identifiers": listed[1:]}).user_changes
    assert len({change.record for change in made}) == people.MOST_IDENTIFIERS
    assert len(made) == people.MOST_IDENTIFIERS * (people.MOST_IDENTIFIERS - 1)
    assert refused({"identifiers": listed}).reason is Reason.TOO_MANY_PROPERTIES


def test_a_row_of_very_many_fields_is_refused_as_fast_as_a_small_one():
    """A hundred thousand names nearly right are not compared with what was meant; only the first are."""
    row: Row = {f"$Type{number}": number for number in range(100_000)}
    assert refused(row | {"$events": []}).reason is Reason.NO_IDENTIFIER
    listed = [{"$type": "USER_AGENT", "$user_agent_id": f"vec:{number}"} for number in range(50_000)]
    reject = refused(activity(_user_account_id=None, _user_identifiers=listed))
    assert (reject.reason, reject.found[-14:]) == (Reason.MANY_IDENTIFIERS, "and 49997 more")


# ---- What the cases do not show -------------------------------------------------------------------------------------


def test_sample_of_the_vendor_becomes_its_event():
    """The whole reading, once; the made key is a UUID of the row's bytes."""
    assert told(SAMPLE) == Reading(
        [
            Event(
                event_id("mediarithmics", SAMPLE, 0),
                "store-visit",
                TIME_MS,
                "a@example.com",
                {},
                0,
                {
                    "$type": "TOUCH",
                    "$session_status": "NO_SESSION",
                    "$ts": TIME_MS,
                    "$location": {"$country": "france", "$city": "paris", "$zip_code": "75001"},
                    "$unique_key": "363876ee-774e-8908-aa84-fbd8eb03f946",
                },
                {"email": "a@example.com"},
            )
        ],
        [],
    )


def test_documents_come_in_the_types_the_vendor_takes():
    """D5, D6: only segments come as CSV, and rows of an import that does not say what they are."""
    csv_too = {kind for kind, mime_types in mediarithmics.DOCUMENTS.items() if TEXT_CSV in mime_types}
    assert (csv_too, {mime_types[0] for mime_types in mediarithmics.DOCUMENTS.values()}) == (
        {"", "USER_SEGMENT"},
        {NDJSON},
    )
    assert sorted(mediarithmics.DOCUMENTS) == [
        "",
        "USER_ACTIVITY",
        "USER_CHOICE",
        "USER_DEVICE_POINTS_DELETION",
        "USER_DEVICE_POINT_DELETION",
        "USER_IDENTIFIERS_ASSOCIATION_DECLARATIONS",
        "USER_IDENTIFIERS_DELETION",
        "USER_IDENTIFIERS_DISSOCIATION_DECLARATIONS",
        "USER_POINTS_DELETION",
        "USER_PROFILE",
        "USER_SEGMENT",
    ]
    assert completed_definition(Definition(document_type="USER_CHOICE")).format == "mediarithmics"
    with pytest.raises(Misconfigured, match="USER_ACTIVITY come as APPLICATION_X_NDJSON only"):
        completed_definition(Definition(document_type="USER_ACTIVITY", mime_type=TEXT_CSV))


def test_both_spellings_of_device_deletions_are_one():
    """D5: the vendor's page writes the document type in two ways."""
    row = {"type": "USER_AGENT", "user_agent_id": "udp:1"}
    one, other = (told(row, document_type=kind) for kind in (kinds.DEVICE_DELETION, kinds.DEVICES_DELETION))
    assert one == other
    assert one.user_changes[0].value == {"scope": "device"}


def test_vendor_knows_an_event_by_its_activitys_key_and_its_place():
    """The key as sent; one that was made is of the row's bytes, so that it tells apart what the row's id does."""
    events = [{"$event_name": "e", "$ts": TIME_MS, "$properties": {}}] * 2
    sent = told(activity(_unique_key="k", _events=events)).events
    assert [mediarithmics.vendor_key(event, index) for index, event in enumerate(sent)] == ["k\0000", "k\0001"]
    made, again, other = (told(activity(custom=value)).events[0] for value in (1, 1, 2))
    keys = [mediarithmics.vendor_key(event, 0) for event in (made, again, other)]
    assert keys[0] == keys[1] != keys[2]
    assert mediarithmics.vendor_key(Event("", "", 0, "", {}, 0), 0) is None


@given(st.permutations([{"type": "USER_ACCOUNT", "user_account_id": name} for name in "abc"]))
@settings(deadline=None)
def test_a_dissociation_takes_away_what_its_association_made(listed: list[Row]):
    """In whatever order either names them (D27, D31)."""
    made = told({"identifiers": [{"type": "USER_ACCOUNT", "user_account_id": name} for name in "abc"]})
    cut = told({"identifiers": listed}, document_type=kinds.DISSOCIATION)
    assert {(change.user_id, change.record) for change in made.user_changes} == {
        (change.user_id, change.record) for change in cut.user_changes if change.deleted
    }


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        (["user_account_id", "segment_id"], "operation is missing"),
        (["operation", "compartment_id", "segment_id"], "user_account_id or email_hash or user_agent_id is missing"),
        (["operation", "email_hash"], "segment_id or segment_technical_name is missing"),
        (["Operation", "email_hash", "segment_id"], r"\(Operation present: did you mean operation\?\)"),
    ],
)
def test_header_of_segments_that_no_row_could_fill_is_refused(columns: list[str], missing: str):
    """D24: what is done, to whom, in which segment."""
    with pytest.raises(ObjectProblem, match=missing) as caught:
        mediarithmics.refuse_columns(columns, False)
    assert caught.value.code is FileReason.CSV_HEADER_MISSING
    mediarithmics.refuse_columns(["operation", "user_agent_id", "segment_technical_name"], False)


def test_any_name_is_taken():
    """C2 is another vendor's."""
    mediarithmics.refuse_name("csv.json", NDJSON)


@pytest.mark.parametrize(
    ("row", "evidence"),
    [
        ({"$type": "TOUCH", "$events": [], "user_account_id": "u"}, 3),
        ({"operation": "UPDATE", "segment_id": "1", "email_hash": "h"}, 3),
        ({"operation": "UPSERT", "user_profile": {}}, 2),
        ({"identifiers": [{"type": "USER_EMAIL", "hash": "h"}]}, 1),
        ({"type": "USER_POINT", "user_point_id": "x"}, 1),
        ({"user_account_id": "u", "email_hash": "h"}, 0),
        ({"operation": "update", "segment_id": "1"}, 0),
        ({"type": "USER_ACCOUNT"}, 0),
        ({"identifiers": ["a"], "type": ["USER_EMAIL"], "operation": {}}, 0),
        ({"event_name": "e", "event_time_ts": 1, "user_id": "u", "operation": "sale"}, 0),
    ],
)
def test_rows_are_known_by_marks_that_only_they_have(row: Row, evidence: int):
    """Words that anybody may use count beside others only."""
    assert len(mediarithmics.evidence(row)) == evidence
    assert mediarithmics.claims(row) == bool(evidence)


def test_files_are_told_apart():
    """By what most of their first rows bear marks of."""
    assert recognise([row_of(SAMPLE)]).format == "mediarithmics"
    assert recognise([{"operation": "UPDATE", "segment_id": "1", "user_account_id": "u"}]).format == "mediarithmics"
    assert recognise([{"event_name": "e", "event_time_ts": 1, "user_id": "u"}]).format == cooladata.NAME
    assert FORMATS["mediarithmics"] is mediarithmics


def test_every_reason_the_dialect_gives_has_a_case():
    """docs/formats/mediarithmics.md points at these files."""
    cases = [json.loads(path.read_text(encoding="utf-8")) for path in CASES.glob("*.json")]
    shown = {bad["reason"] for case in cases for bad in case["expect"].get("bad", [])}
    assert shown >= {
        "missing_field",
        "wrong_type",
        "bad_time",
        "time_unit",
        "time_out_of_window",
        "bad_name",
        "too_long",
        "too_many_properties",
        "not_allowed",
        "placeholder_id",
        "nothing_to_record",
        "ambiguous_command",
        "no_identifier",
        "many_identifiers",
        "not_json",
        "not_an_object",
    }


def test_sample_files_show_every_kind_and_a_refusal_each():
    """events/files/mediarithmics_…: the deletion in one of them wants a definition that says what it deletes."""
    files = Path(__file__).parents[2] / "events" / "files"
    shown: dict[str, Any] = {}
    for name in ("activities.json", "profiles.json", "segments.csv"):
        sent = (files / f"mediarithmics_{name}").read_bytes()
        definition = Definition(mime_type=TEXT_CSV if name.endswith("csv") else NDJSON)
        layout = layout_of(definition.mime_type, sent)
        read = mediarithmics.reader(definition, NOW_MS)
        made: list[str] = []
        for line in sent[len(layout.header) :].splitlines():
            try:
                reading = read(layout.row_of(line), line, 0)
                made += [event.event_name for event in reading.events]
                made += [change.record for change in reading.user_changes]
                made += ["expired"] * reading.expired
            except Reject as reject:
                made.append(reject.reason)
        shown[name] = made
    assert shown == {
        "activities.json": [
            *("store-visit", "$page_view", "$transaction_confirmed", "$email_click", activities.SET_PROFILE),
            *("link#ada@example.com", "link#9f86d081884c7d65", "prop#newsletter", "prop#address"),
            *("expired", Reason.MANY_IDENTIFIERS),
        ],
        "profiles.json": [
            *("prop#", "prop#firstname", "prop#status", "prop#newsletter_options"),
            *("prop#points", "prop#newsletter_options/preferred_periods", "prop#address/city", "consent#analytics"),
            *("link#9f86d081884c7d65", "link#1000:u-81", "link#vec:123456"),
            *("link#1000:u-81", "link#vec:123456", "link#9f86d081884c7d65"),
            Reason.AMBIGUOUS_COMMAND,
        ],
        "segments.csv": ["segment#4711", "segment#newsletter", *["segment#4711"] * 2, Reason.MANY_IDENTIFIERS],
    }


# ---- Profiles: records in the order of their ranks are what the vendor's words say -----------------------------------

# Objects and values do not take each other's names: where they did, records folded by rank could tell less than rows.
LEAF = st.sampled_from([1, "x", [1, 2], None])
LEAVES = st.dictionaries(st.sampled_from("ab"), LEAF)
PROFILE = st.builds(
    lambda leaves, inner: leaves | inner,
    LEAVES,
    st.dictionaries(
        st.sampled_from("OP"),
        st.builds(
            lambda leaves, inner: leaves | inner, LEAVES, st.dictionaries(st.just("Q"), LEAVES, max_size=1)
        ).filter(bool),
    ),
)
DEEP = [{"force_replace": False, "merge_objects": True}, {"update_strategy": "PARTIAL_UPDATE"}]
WHOLE = [{"force_replace": True}, {"update_strategy": "FORCE_REPLACE"}]
HOW = st.sampled_from([*DEEP, *WHOLE, {"force_replace": False}, {"update_strategy": "PARTIAL_DELETE"}])


def merged(old: Row, new: Row, deep: bool) -> Row:
    for name, value in new.items():
        if deep and isinstance(value, dict):
            inner = old.get(name)
            after = merged(dict(inner) if isinstance(inner, dict) else {}, value, deep)
            if after or name in old:
                old[name] = after
        elif value is None:
            old.pop(name, None)
        else:
            old[name] = value
    return old


def without(old: Row, gone: Row) -> Row:
    for name, value in gone.items():
        inner = old.get(name)
        if isinstance(value, dict):
            if isinstance(inner, dict):
                old[name] = without(dict(inner), value)
        else:
            old.pop(name, None)
    return old


def shown(profile: Value) -> Value:
    """Without objects that became empty: whether one is left behind nobody says."""
    if not isinstance(profile, dict):
        return profile
    inner = {name: shown(value) for name, value in profile.items()}
    return {name: value for name, value in inner.items() if value != {} and value is not None}


def viewed(changes: list[UserChange]) -> Value:
    """The profile of whoever these rows are about, as it is read back from its records."""
    source = Provenance("mediarithmics", "default", "e", "imports/a.json", NOW_MS)
    held = {
        change.record: users.Record(
            change.user_id,
            change.record,
            rank(change, source),
            None if change.deleted else change.value,
            change.deleted,
        )
        for change in changes
    }
    return users.person("u", lambda identifiers: {"u": held.values()}, NOW_MS).properties


@given(st.lists(st.tuples(HOW, PROFILE), max_size=6))
@settings(deadline=None, max_examples=examples(200))
def test_profile_records_say_what_the_commands_say(commands: list[tuple[Row, Row]]):
    """D25, command after command: replace, add whole properties, merge in depth, take paths away."""
    profile: Row = {}
    changes: list[UserChange] = []
    for number, (how, properties) in enumerate(commands):
        if how.get("update_strategy") == "PARTIAL_DELETE":
            # Arrays and empty objects are refused there.
            properties = json.loads(json.dumps(properties).replace("[1, 2]", "1").replace(": {}", ": null"))
        row = {"operation": "UPSERT", "user_account_id": "u", "user_profile": properties} | how
        made = outcome(mediarithmics.reader(Definition(), 0), json.dumps(row).encode())
        if isinstance(made, Reading):
            changes += [replace(change, address=number) for change in made.user_changes]
        else:
            assert (made[0], shown(properties)) == (Reason.NOTHING_TO_RECORD, {})
        if how in WHOLE:
            profile = merged({}, properties, deep=False)
        elif how.get("update_strategy") == "PARTIAL_DELETE":
            profile = without(profile, properties)
        else:
            profile = merged(profile, properties, deep=how in DEEP)
    assert shown(viewed(changes)) == shown(profile)


# ---- Written and read again -----------------------------------------------------------------------------------------


def again(reading: Reading) -> tuple[list[Event], list[UserChange], set[Lost]]:
    """What is read of what was written, and what was said to be lost."""
    written = mediarithmics.written(reading)
    events: list[Event] = []
    changes: list[UserChange] = []
    for row in written.rows:
        text = json.dumps(row).encode()
        read = told(text, now_ms=0)
        events += read.events
        changes += read.user_changes
    assert len(set(written.lost)) == len(written.lost)
    return events, changes, set(written.lost)


TIMES = st.integers(0, LATEST_TIME_MS) | st.integers(TIME_MS, TIME_MS + 2)
IDS = st.sampled_from(["u", "v", "vec:1", "a@b.c", "1000:u"]) | st.text(st.characters(codec="utf-8"), min_size=1)
SESSIONS = st.none() | st.dictionaries(
    NAMES | TEXT, st.sampled_from(["TOUCH", "NO_SESSION", 5, TIME_MS, {}]) | SCALAR, max_size=4
)


@st.composite
def events(draw: st.DrawFn) -> Event:
    user_id = draw(IDS)
    made = Event(
        "id",
        draw(st.sampled_from(["e", "$page_view", activities.SET_PROFILE]) | TEXT),
        draw(TIMES),
        user_id,
        draw(st.dictionaries(TEXT, JSON, max_size=3)),
        0,
        draw(SESSIONS),
    )
    named = st.sampled_from(["user_account_id", "compartment_id", "email_hash", "email", "user_agent_id", "cookie"])
    made.identifiers = draw(st.none() | st.dictionaries(named, st.just(user_id) | IDS | st.just("1000"), max_size=3))
    base_ms = draw(st.sampled_from([made.event_time_ts, TIME_MS]))
    made.expires_ms = draw(st.none() | st.sampled_from([base_ms + 60_000, base_ms + 1, LATEST_TIME_MS]))
    return made


PATHS = st.lists(st.sampled_from(["a", "b/c", "~", ""]) | TEXT, max_size=3).map(tuple)
RECORDS = st.one_of(
    PATHS.map(lambda path: users.property_record(*path)),
    PATHS.map(lambda path: users.consent_record(*path)),
    st.sampled_from(["p", ""]).map(lambda name: users.consent_record(name, "$choice_ts")),
    IDS.map(lambda name: users.SEGMENT + name),
    IDS.map(lambda name: users.LINK + name),
    st.sampled_from([users.ERASED, users.LINK, users.SEGMENT, users.property_record()]),
)
VALUES = JSON | st.builds(lambda bag: {"data_bag": bag}, st.dictionaries(TEXT, JSON, max_size=2)) | st.none()
VALUES |= st.builds(lambda time, yes: {"$choice_ts": time, "$choice_acceptance_value": yes}, TIMES, st.booleans())


@st.composite
def user_changes(draw: st.DrawFn) -> UserChange:
    record = draw(RECORDS)
    value = draw(VALUES | st.just(True) if record.startswith(users.LINK) else VALUES)
    times = st.none() | st.sampled_from([TIME_MS, TIME_MS + 1])
    expiries = st.none() | st.integers(1, LATEST_TIME_MS)
    return UserChange(draw(IDS), record, value, draw(times), 0, 0, draw(st.booleans()), draw(expiries))


OF_KIND = {
    users.PROPERTY: {Lost.USER_PROPERTY, Lost.USER_PROPERTY_DELETED, Lost.NULL},
    users.SEGMENT: {Lost.SEGMENT},
    users.CONSENT: {Lost.CONSENT},
    users.LINK: {Lost.LINK, Lost.LINK_DELETED},
    users.ERASED: {Lost.ERASURE},
}


def kept(changes: list[UserChange], kind: str, lost: set[Lost]) -> Counter[tuple[Any, ...]]:
    """Changes of a kind, without what was lost of each of them."""
    counted: Counter[tuple[Any, ...]] = Counter()
    for change in changes:
        if change.record.startswith(kind):
            user_id, record, value, deleted, time_ms, expires_ms = said(change)
            time_ms = None if Lost.TIME in lost and kind != users.CONSENT else time_ms
            expires_ms = None if Lost.EXPIRY in lost else expires_ms
            counted[user_id, record, value, deleted, time_ms, expires_ms] += 1
    return counted


def assert_all_but_what_was_lost(reading: Reading) -> None:
    read_events, read_changes, lost = again(reading)
    written_of = [
        event
        for event in reading.events
        if Lost.EVENT not in lost or (event.event_name and event.event_name != activities.SET_PROFILE)
    ]
    if Lost.EVENT in lost:
        read_events = [event for event in read_events if event.event_name != activities.SET_PROFILE]
    assert len(written_of) == len(read_events)
    for event, read in zip(written_of, read_events, strict=True):
        properties = {name: value for name, value in event.properties.items() if name or Lost.PROPERTY_NAME not in lost}
        assert (read.event_name, read.event_time_ts, read.user_id) == (
            event.event_name,
            event.event_time_ts,
            event.user_id,
        )
        assert by_value(read.properties) == by_value(properties)
        if Lost.SESSION_PROPERTIES not in lost:
            assert by_value(event.session_properties or {}).items() <= by_value(read.session_properties).items() or {
                name: by_value(value) for name, value in (event.session_properties or {}).items()
            } == {name: by_value((read.session_properties or {})[name]) for name in event.session_properties or {}}
        if Lost.IDENTIFIERS not in lost:
            assert set((event.identifiers or {}).values()) <= {*(read.identifiers or {}).values(), event.user_id}
        if Lost.EXPIRY not in lost:
            assert read.expires_ms == event.expires_ms
    for kind, losses in OF_KIND.items():
        before, after = (kept(changes, kind, lost) for changes in (reading.user_changes, read_changes))
        assert after <= before
        if not losses & lost:
            assert after == before


@given(st.lists(events(), max_size=4), st.lists(user_changes(), max_size=5))
@settings(deadline=None, max_examples=examples(300))
def test_what_was_written_is_read_again(made: list[Event], changes: list[UserChange]):
    """Of readings of any dialect: names, times, users, properties and changes, but what was said to be lost."""
    assert_all_but_what_was_lost(Reading(made, changes))


@given(GOOD_ROW)
@settings(deadline=None, max_examples=examples(500), suppress_health_check=[HealthCheck.filter_too_much])
def test_what_was_read_is_written_whole(row: Row):
    """Of our own readings nothing is lost, where no definition has to say what a row is."""
    reading = outcome(mediarithmics.reader(Definition(), 0), json.dumps(row).encode())
    assume(isinstance(reading, Reading) and not reading.expired)
    assert mediarithmics.written(reading).lost == []
    assert_all_but_what_was_lost(reading)


@pytest.mark.parametrize(
    ("document_type", "row", "lost"),
    [
        (kinds.POINTS_DELETION, {"type": "USER_EMAIL", "hash": "h"}, Lost.ERASURE),
        (kinds.IDENTIFIERS_DELETION, {"type": "USER_EMAIL", "hash": "h"}, Lost.LINK_DELETED),
        (
            kinds.DISSOCIATION,
            {"identifiers": [{"type": "USER_EMAIL", "hash": "h"}, {"type": "USER_EMAIL", "hash": "i"}]},
            Lost.LINK_DELETED,
        ),
    ],
)
def test_what_only_a_definition_can_say_is_lost(document_type: str, row: Row, lost: Lost):
    """Rows of several kinds in one list: deletions look alike."""
    assert mediarithmics.written(told(row, document_type=document_type)).rows == []
    assert mediarithmics.written(told(row, document_type=document_type)).lost == [lost]


def test_links_that_no_association_says_are_lost():
    """One end alone, and an identifier linked with itself."""
    one, other = (UserChange("u", users.LINK + name, True, None, 0, 0) for name in ("v", "u"))
    for changes in ([one], [other, other]):
        written = mediarithmics.written(Reading([], changes))
        assert (written.rows, written.lost) == ([], [Lost.LINK])


def test_profiles_are_written_in_few_rows():
    """What a row said together stays together."""
    row = {
        "operation": "UPSERT",
        "user_account_id": "u",
        "force_replace": True,
        "user_profile": {"a": 1, "b": {"c": 2}},
    }
    assert mediarithmics.written(told(row)).rows == [row]
    row |= {"force_replace": False, "user_profile": {"a": None, "b": 1}}
    assert mediarithmics.written(told(row)).rows == [row]


def test_events_of_one_activity_are_written_as_one():
    """Their places in it, with its key, are what the vendor knows them by."""
    events = [{"$event_name": name, "$ts": TIME_MS, "$properties": {}} for name in "ab"]
    row = activity(_events=events, _unique_key="k", _ttl=5)
    assert mediarithmics.written(told(row, now_ms=0)).rows == [row]
