"""Dialects: the register, recognition, and what the cases do not show of CoolaData."""

import re
from pathlib import Path

import pytest

from importer.bad_rows import FileReason, ObjectProblem, Reject
from importer.definitions import DAY_MS, HOUR_MS, NDJSON, TEXT_CSV, Definition
from importer.formats import DEFAULT, FORMATS, Format, Recognised, RowReader, completed, cooladata, reader, recognise
from importer.formats.reading import Reading
from importer.model import Event, UserChange, event_id
from importer.rows import row_of

ROW = b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u","a":1,"{u}b":2}'
# Rows of every kind a dialect has; among their own fields some that others have as marks, as values or inside.
ROWS_OF = {
    "cooladata": [
        ROW,
        b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u","type":"track","visitor":"v","operation":"+"}',
    ],
    "kissmetrics": [
        b'{"_p":"u","_t":1425920218,"_n":"e","type":"page","userId":"u"}',
        b'{"_p":"u","_t":1425920218,"plan":"pro","type":"identify","userId":"u"}',
        b'{"_p":"u","_t":1425920218,"_p2":"v"}',
    ],
    "woopra": [
        b'{"visitor":{"id":"u","userId":"u"},"actions":[{"name":"e","time":1425920218354}],"type":"visit"}',
        b'{"visitor":{"email":"a@b.c","plan":"pro"}}',
    ],
    "mediarithmics": [
        b'{"$ts":1425920218354,"$type":"SITE_VISIT","$session_status":"NO_SESSION","$user_account_id":"u",'
        b'"$events":[{"$event_name":"e","$ts":1425920218354,"$properties":{}}],"userId":"u"}',
        b'{"operation":"UPDATE","user_account_id":"u","segment_id":"1","expiration_duration":0}',
        b'{"operation":"UPSERT","user_account_id":"u","force_replace":true,"user_profile":{"type":"track"}}',
        b'{"operation":"UPSERT","user_account_id":"u","force_replace":true,"user_choice":{"$processing_id":"1"}}',
        b'{"identifiers":[{"type":"USER_AGENT","user_agent_id":"vec:1"},'
        b'{"type":"USER_ACCOUNT","user_account_id":"u"}]}',
        b'{"type":"USER_ACCOUNT","user_account_id":"u"}',
        b'{"type":"USER_EMAIL","hash":"h"}',
    ],
    "segment": [
        b'{"type":"track","userId":"u","timestamp":"2015-03-09","event":"e","properties":{"event_name":"e","_p":"u"}}',
        b'{"type":"page","anonymousId":"a","timestamp":"2015-03-09","context":{"visitor":{"id":"u"}}}',
        b'{"type":"screen","userId":"u","timestamp":"2015-03-09","name":"n"}',
        b'{"type":"group","userId":"u","timestamp":"2015-03-09","groupId":"g"}',
        b'{"type":"identify","userId":"u","timestamp":"2015-03-09","traits":{"event_time_ts":1}}',
        b'{"type":"alias","userId":"u","timestamp":"2015-03-09","previousId":"a"}',
        b'{"type":"track","messageId":"m","timestamp":"2015-03-09","event":"e"}',
    ],
}
OF_EACH = [(name, row) for name, rows in ROWS_OF.items() for row in rows]


def test_every_dialect_stands_under_its_own_name():
    """`FORMATS` is the whole list."""
    names = ["cooladata", "kissmetrics", "woopra", "mediarithmics", "segment"]
    assert [(name, dialect.NAME) for name, dialect in FORMATS.items()] == [(name, name) for name in names]
    assert DEFAULT in FORMATS


def test_guide_goes_through_the_port_name_by_name():
    """docs/add-a-format.md: whoever adds a dialect finds each name there, and no other."""
    guide = (Path(__file__).parents[2] / "docs" / "add-a-format.md").read_text(encoding="utf-8")
    table = guide.partition("## The port")[2].partition("## The reader")[0]
    port = {*Format.__annotations__, *(name for name in vars(Format) if callable(vars(Format)[name]))}
    assert set(re.findall(r"^\| `(\w+)", table, re.MULTILINE)) == {name for name in port if not name.startswith("_")}


def test_rows_of_every_dialect_are_told_apart():
    """Each has some in the table above."""
    assert list(ROWS_OF) == list(FORMATS)


def test_dialect_is_recognised_by_what_speaks_for_it():
    """In words, each once."""
    assert recognise([row_of(ROW), row_of(ROW)]) == Recognised(
        "cooladata",
        ("property event_name", "property event_time_ts", "property user_id", "a property with the prefix {u}"),
        {"cooladata": 2},
    )


def test_without_evidence_the_default_says_what_is_missing():
    """An empty file, or one in no known dialect."""
    assert [recognise([]), recognise([{}, {"x": 1}])] == [Recognised("cooladata", ())] * 2


def outcome(read: RowReader, row: bytes) -> object:
    """The reading, or what the reject says."""
    try:
        return read(row_of(row), row, 7)
    except Reject as reject:
        return reject.message, reject.hint


@pytest.mark.parametrize(("dialect", "row"), OF_EACH)
def test_row_is_told_by_its_marks_whose_it_is(dialect: str, row: bytes):
    """It bears most marks of its own dialect, and all marks of no other."""
    marks = {name: len(format.evidence(row_of(row))) for name, format in FORMATS.items()}
    assert [name for name, count in marks.items() if count == max(marks.values())] == [dialect]
    assert [name for name, format in FORMATS.items() if format.claims(row_of(row))] in ([dialect], [])
    assert recognise([row_of(row)]).format == dialect


@pytest.mark.parametrize("file", FORMATS)
@pytest.mark.parametrize(("dialect", "row"), OF_EACH)
def test_row_means_the_same_in_a_file_of_any_dialect(file: str, dialect: str, row: bytes):
    """Whatever stands around it, it is read by its own."""
    read = outcome(reader(file, Definition(), 0), row)
    if isinstance(read, Reading):
        assert {event.format for event in read.events} <= {dialect if dialect != file else ""}
        for event in read.events:
            event.format = ""
    assert read == outcome(FORMATS[dialect].reader(Definition(), 0), row)


WHOLE_IN_ONE = [
    (
        "woopra",
        b'{"visitor":{"id":"u"},"$type":"TOUCH","$session_status":"NO_SESSION","$ts":1605262037783,'
        b'"actions":[{"name":"a","time":1605262037783}]}',
    ),
    ("kissmetrics", b'{"_p":"u","_t":1605262037,"$ts":1,"operation":"UPDATE"}'),
]


@pytest.mark.parametrize(("dialect", "row"), WHOLE_IN_ONE)
@pytest.mark.parametrize("file", FORMATS)
def test_row_that_is_whole_in_one_dialect_is_its_own(file: str, dialect: str, row: bytes):
    """It bears as many marks of another, as rows do that `importer convert` made: names of properties, no more."""
    marks = {name: len(format.evidence(row_of(row))) for name, format in FORMATS.items()}
    assert [count for name, count in marks.items() if count == max(marks.values())] == [marks[dialect]] * 2
    assert recognise([row_of(row)]).format == dialect
    read = outcome(reader(file, Definition(), 0), row)
    assert isinstance(read, Reading)
    assert {event.format or file for event in read.events} <= {dialect}


def test_hint_says_whose_row_it_is_where_a_field_means_another_thing_here():
    """`type` is a kind of deletion, and a kind of message."""
    deletions = completed(Definition(document_type="USER_POINTS_DELETION"))
    row = b'{"type":"track","userId":"u","event":"e","timestamp":"2026-01-01T00:00:00Z"}'
    assert outcome(reader("mediarithmics", deletions, 0), row) == (
        "type: the value is not one of those allowed; expected one of USER_ACCOUNT, USER_EMAIL, USER_AGENT, "
        "USER_POINT, found track",
        "this looks like a row of segment: drop it where an import reads segment",
    )


def test_row_becomes_its_event_and_user_changes():
    """The reading, whole; the event's id is that of the row's text."""
    assert cooladata.reader(Definition(), 0)(row_of(ROW), ROW, 40) == Reading(
        [Event(event_id("cooladata", ROW, 0), "e", 1_425_920_218_354, "u", {"a": 1}, 40)],
        [UserChange("u", "prop#b", 2, 1_425_920_218_354, 40, 0)],
    )


def test_reader_gives_the_same_whatever_it_read_before():
    """It remembers nothing that changes an outcome."""
    strict = Definition(strict=True)
    now_ms = 1_425_920_218_354
    rows = [ROW, ROW.replace(b'"a"', b'"select"'), ROW.replace(b'"a"', b'"A"'), ROW.replace(b'"a"', b'"a-b"'), ROW]

    one = cooladata.reader(strict, now_ms)
    assert [outcome(one, row) for row in rows] == [outcome(cooladata.reader(strict, now_ms), row) for row in rows]


def test_strict_window_is_the_vendors_within_the_imports_own():
    """30 days back and one hour ahead of the execution's creation (C31)."""
    now_ms = 1_795_176_000_000
    assert [
        cooladata.time_window(Definition(earliest_ms=5, latest_ms=9), now_ms),
        cooladata.time_window(Definition(strict=True), now_ms),
        cooladata.time_window(Definition(strict=True, earliest_ms=now_ms, latest_ms=now_ms), now_ms),
        cooladata.time_window(Definition(strict=True), DAY_MS),
    ] == [
        (5, 9),
        (now_ms - 30 * DAY_MS, now_ms + HOUR_MS),
        (now_ms, now_ms),
        (0, DAY_MS + HOUR_MS),
    ]


@pytest.mark.parametrize("name", ["a.csv.json", "CSV.json", "escsvx.json"])
def test_name_with_csv_is_refused(name: str):
    """C2, whatever the case."""
    with pytest.raises(ObjectProblem) as refused:
        cooladata.refuse_name(name, NDJSON)
    assert refused.value.code is FileReason.WRONG_KIND


def test_other_names_are_taken():
    """Nothing else in a name matters."""
    cooladata.refuse_name("cs v.json", NDJSON)
    cooladata.refuse_name("a.csv", TEXT_CSV)
