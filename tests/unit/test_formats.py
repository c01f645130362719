"""Dialects: the register, recognition, and what the cases do not show of CoolaData."""

import pytest

from importer.bad_rows import FileReason, ObjectProblem, Reject
from importer.definitions import DAY_MS, HOUR_MS, NDJSON, TEXT_CSV, Definition
from importer.formats import DEFAULT, FORMATS, Recognised, cooladata, recognise
from importer.formats.reading import Reading
from importer.model import Event, UserChange, event_id
from importer.rows import row_of

ROW = b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u","a":1,"{u}b":2}'


def test_every_dialect_stands_under_its_own_name():
    """`FORMATS` is the whole list."""
    names = ["cooladata", "kissmetrics", "woopra", "mediarithmics"]
    assert [(name, dialect.NAME) for name, dialect in FORMATS.items()] == [(name, name) for name in names]
    assert DEFAULT in FORMATS


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

    def outcome(read: object, row: bytes) -> object:
        try:
            return read(row_of(row), row, 0)  # type: ignore[operator]
        except Reject as reject:
            return reject.message

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
