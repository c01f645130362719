"""A preview says what an import would do, in memory that does not grow, and points at the place in a bad row."""

import gzip
from pathlib import Path

import pytest

from importer.bad_rows import BadRow, Reason, row_text
from importer.definitions import Definition
from importer.preview import Findings, Place, document, place_of, previewed
from importer.sinks import SINKS

FILES = Path(__file__).resolve().parents[2] / "events" / "files"
LIMITS = tuple(SINKS.values())


def findings(data: bytes, **settings: object) -> Findings:
    return previewed(
        [data],
        Definition(**settings),  # type: ignore[arg-type]
        1_700_000_000_000,
        LIMITS,
        first_rows=3,
        bad_rows=20,
    )


def row(number: int, **more: object) -> bytes:
    import json

    return json.dumps({"user_id": "u", "event_name": "e", "event_time_ts": 1_425_920_218_354 + number, **more}).encode()


def marked(data: bytes) -> list[str]:
    """The marked bytes of each bad row; "" where something is missing at the place."""
    shown = []
    for bad in findings(data).bad_rows:
        place = place_of(bad)
        shown.append("-" if place is None else row_text(bad.raw)[place.start : place.stop].decode())
    return shown


def test_the_vendors_sample_has_three_good_rows_and_one_bad():
    found = findings((FILES / "logins.json").read_bytes())
    assert (found.tally.lines, found.tally.good, found.tally.bad, found.whole) == (4, 3, 1, True)
    assert (found.earliest_ms, found.latest_ms) == (1_350_273_990_000, 1_350_274_005_000)
    assert found.bad_rows[0].hint == "event_timestamp present: did you mean event_time_ts?"
    assert "ip" not in found.properties
    assert [line for line, _ in found.first_events] == [1, 3, 4]


def test_the_place_is_the_value_the_name_or_the_byte_the_reason_speaks_of():
    assert marked((FILES / "mistakes.json").read_bytes()) == [
        '"event_time"',
        '"userid"',
        "4711",
        '""',
        '["mug", "tray"]',
        "}",
        "'",
        '"price"',
        '"{x}city"',
        '["user_id", "ada"]',
        "",
    ]


def test_a_missing_property_without_a_near_miss_is_marked_where_it_would_stand():
    assert place_of(findings(b'{"a": 1}').bad_rows[0]) == Place(7, 7)


def test_a_byte_order_mark_shifts_the_place():
    assert marked(b"\xef\xbb\xbf" + row(1, user_id=3)) == ["3"]


def test_types_that_clash_are_told_with_the_first_line_of_each():
    found = findings(row(1, age=1) + b"\n\n" + row(2, age="x") + b"\n" + row(3, age=2))
    types = {kind: (seen.count, seen.first_line) for kind, seen in found.properties["age"].types.items()}
    assert types == {"number": (2, 1), "string": (1, 3)}
    assert found.properties["age"].clashes


def test_lines_beyond_the_limit_are_not_read():
    text = b"".join(row(number) + b"\n" for number in range(100))
    found = previewed([text], Definition(), 0, LIMITS, first_rows=0, bad_rows=0, stop=200)
    assert found.tally.lines == 3
    assert not found.whole


def test_a_cut_gzip_file_is_refused_with_what_was_found_before():
    body = gzip.compress(row(1) + b"\n" + row(2) + b"\n")
    found = findings(body[:-4])
    assert found.problem is not None
    assert (found.problem.code, found.compression) == ("truncated", "gzip")


def test_an_empty_file_is_whole_and_holds_nothing():
    found = findings(b"")
    assert (found.tally.lines, found.whole, found.problem) == (0, True, None)


def test_names_without_bound_do_not_grow_the_findings():
    found = findings(b"\n".join(row(number, **{f"p{number}": 1}) for number in range(1_100)))
    assert (len(found.properties), found.names_left_out) == (1_000, 100)


@pytest.mark.parametrize("path", sorted(FILES.glob("*.json*")), ids=lambda path: path.name)
def test_each_sample_file_balances(path: Path):
    said = document(findings(path.read_bytes()))
    assert said["lines"] == said["rows"] + said["blank"]  # type: ignore[operator]
    assert said["rows"] == said["good"] + said["bad"] + said["expired"]  # type: ignore[operator]


def test_a_row_of_which_no_sense_can_be_made_has_no_place():
    bad = BadRow(1, 0, b'{"a": {', Reason.TOO_LONG, "a", "", "", "", "")
    assert place_of(bad) is None


def test_a_preview_says_what_becomes_of_a_file_that_is_stored_as_a_whole():
    """As the import does: refused, with what stands beside it found before."""
    file = row(1) + b"\n" + b"not json\n"
    for settings, code in (({"atomic": True}, "atomic_refused"), ({"max_bad_rows": 1}, None)):
        found = previewed([file], Definition(**settings), 0, (), first_rows=1, bad_rows=1)
        assert (found.problem and found.problem.code, found.tally.good, found.tally.bad) == (code, 1, 1)
    many = previewed([file * 2], Definition(max_bad_rows=1), 0, (), first_rows=1, bad_rows=1)
    assert many.problem is not None
    assert many.problem.code == "too_many_bad_rows"
