"""The core: same bytes, same batches, whoever reads them and however often."""

from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import importer.batches
import importer.parts
from importer.bad_rows import Reason, Reject
from importer.batches import Batch, Limit, Rules, batches
from importer.definitions import Definition
from importer.formats.reading import Reading
from importer.lines import lines, reading_start
from importer.model import ERASED_ROW, Noted, Part, Tally
from importer.parts import WHOLE
from tests.support.scenarios import examples

RULES = Rules("cooladata", Definition(), 1_795_176_000_000)
ROWS = [
    b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"u"}',
    b'{"event_name":"f","event_time_ts":1425920218355,"user_id":"v","{u}a":1,"{u}b":2}',
    b'{"event_name":"e","event_time_ts":1425920218354,"user_id":"null"}',
    b'{"event_name":"e"}',
    b"not json",
    b"\xff",
    b"",
    b" \t",
    b"{}",
]


@pytest.fixture(autouse=True)
def _small_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importer.batches, "GRID_BYTES", 100)
    monkeypatch.setattr(importer.parts, "GRID_BYTES", 100)


def read(file: bytes, part: Part, chunk_bytes: int, lines_before: int = 0) -> list[Batch]:
    seen = file[reading_start(part) :]
    chunks = (seen[at : at + chunk_bytes] for at in range(0, len(seen), chunk_bytes))
    return list(batches(lines(chunks, part), RULES, lines_before=lines_before))


FILES = st.lists(
    st.tuples(st.sampled_from(ROWS), st.sampled_from([b"\n", b"\r\n"])).map(b"".join), min_size=1, max_size=25
).flatmap(
    lambda told: st.sampled_from([b"".join(told), b"".join(told).rstrip(b"\r\n"), b"\xef\xbb\xbf" + b"".join(told)])
)


@settings(deadline=None, max_examples=examples(150))
@given(FILES, st.integers(1, 500))
def test_chunks_change_nothing(file: bytes, chunk_bytes: int):
    """Events, user changes, bad rows, tallies and borders are those of the file read in one piece."""
    assert read(file, WHOLE, chunk_bytes) == read(file, WHOLE, len(file) + 1)


@settings(deadline=None, max_examples=examples(150))
@given(FILES, st.integers(1, 200))
def test_resuming_where_a_batch_ended_gives_the_remaining_batches(file: bytes, chunk_bytes: int):
    """From any `next_offset`, with the lines before it counted: the same batches, to the last number."""
    whole = read(file, WHOLE, 1 << 20)
    for index, batch in enumerate(whole):
        lines_before = sum(earlier.tally.lines for earlier in whole[: index + 1])
        rest = read(file, importer.parts.remainder(WHOLE, batch.next_offset), chunk_bytes, lines_before)
        assert rest == whole[index + 1 :]


@settings(deadline=None, max_examples=examples(150))
@given(FILES)
def test_tallies_balance_and_batches_lie_on_the_grid(file: bytes):
    """`lines = rows + blank`, `rows = good + bad`; a batch holds exactly the lines that begin in its cell."""
    offset = number = 0
    for batch in read(file, WHOLE, 64):
        assert {line[0] // 100 for line in batch.lines} == {batch.start // 100}
        assert batch.start == batch.lines[0][0]
        assert (batch.lines[0][0], batch.first_line) == (offset, number + 1)
        tally = batch.tally
        assert (tally.lines, tally.rows, tally.bad) == (
            tally.blank + tally.good + tally.bad,
            tally.lines - tally.blank,
            len(batch.bad_rows),
        )
        assert (tally.events, tally.user_changes) == (len(batch.events), len(batch.user_changes))
        offset, number = batch.next_offset, number + tally.lines
    assert (offset, number) == (len(file), len(file.removesuffix(b"\n").split(b"\n")) if file else 0)


@settings(deadline=None, max_examples=examples(100))
@given(FILES, st.integers(0, 2_000))
def test_two_parts_have_the_rows_of_one(file: bytes, cut: int):
    """Cut blindly by arithmetic: nothing is lost at the border and nothing is there twice."""
    border = cut % (len(file) + 1)
    whole = read(file, WHOLE, 77)
    parts = read(file, Part(0, border), 13) + read(file, Part(border, len(file)), 17)

    def all_of(found: list[Batch]) -> tuple[list[object], list[object], list[tuple[int, bytes, str]]]:
        return (
            [event for batch in found for event in batch.events],
            [change for batch in found for change in batch.user_changes],
            [(bad.offset, bad.raw, bad.reason) for batch in found for bad in batch.bad_rows],
        )

    assert all_of(parts) == all_of(whole)


def test_bad_row_is_kept_byte_for_byte_with_its_place():
    """The line end and a byte order mark belong to the row as sent."""
    file = b"\xef\xbb\xbfx\r\n\n" + ROWS[0] + b"\n\xff"
    found = [bad for batch in read(file, WHOLE, 3) for bad in batch.bad_rows]
    assert [(bad.line, bad.offset, bad.length, bad.raw, bad.as_sent(), bad.reason) for bad in found] == [
        (1, 0, 4, b"\xef\xbb\xbfx\r\n", b"\xef\xbb\xbfx\r\n", "not_json"),
        (4, 8 + len(ROWS[0]), 1, b"\xff", b"\xff\n", "not_utf8"),
    ]


def test_byte_order_mark_is_one_at_the_begin_of_the_file_only():
    """Before a later row it is no JSON (RFC 8259, section 8.1; E6)."""
    row = b"\xef\xbb\xbf" + ROWS[0] + b"\n"
    (batch,) = read(row + row, WHOLE, 500)
    assert [event.address for event in batch.events] == [0]
    assert [(bad.offset, bad.raw, bad.reason) for bad in batch.bad_rows] == [(len(row), row, "not_json")]


def test_row_over_a_limit_is_bad_as_a_whole():
    """Neither its event nor its user changes are written."""

    def limit(text_bytes: int, reading: Reading) -> None:
        if reading.user_changes:
            raise Reject(Reason.EVENT_TOO_LARGE, found=f"{text_bytes} bytes")

    file = ROWS[0] + b"\r\n" + ROWS[1] + b"\r\n"
    (batch,) = batches(lines([file], WHOLE), replace(RULES, limits=(Limit(limit, lambda text_bytes, event: False),)))
    assert (batch.tally, batch.user_changes, [(bad.line, bad.found) for bad in batch.bad_rows]) == (
        Tally(lines=2, good=1, bad=1, events=1, sampled=1, top_users={batch.events[0].user_id: 1}),
        [],
        [(2, f"{len(ROWS[1])} bytes")],
    )


def test_rows_a_sink_refuses_become_bad_rows_in_their_place():
    """Counts and order follow, both of equal rows are refused, and a note about a good row goes with it."""
    file = b"\n".join([b"x", ROWS[1], ROWS[2], b"y"])
    importer.batches.GRID_BYTES = importer.parts.GRID_BYTES = 1_000  # put back by the fixture
    (batch,) = read(file, WHOLE, 1_000)
    batch.take_out({2: Reject(Reason.REFUSED_BY_SINK), 3 + len(ROWS[1]): Reject(Reason.REFUSED_BY_SINK)})
    assert [(bad.line, bad.offset, bad.raw, bad.reason) for bad in batch.bad_rows] == [
        (1, 0, b"x\n", "not_json"),
        (2, 2, ROWS[1] + b"\n", "refused_by_sink"),
        (3, 3 + len(ROWS[1]), ROWS[2] + b"\n", "refused_by_sink"),
        (4, 4 + len(ROWS[1]) + len(ROWS[2]), b"y", "not_json"),
    ]
    assert (batch.tally.good, batch.tally.bad, batch.tally.events, batch.tally.user_changes) == (0, 4, 0, 0)
    assert batch.tally.notes in ({}, {"placeholder_id": Noted(0, 3)})


def test_rows_of_erased_persons_leave_no_name_among_those_that_turn_up_most():
    """Nothing of them is stored: nor are they in `top_identifiers`."""
    importer.batches.GRID_BYTES = importer.parts.GRID_BYTES = 1_000  # put back by the fixture
    (batch,) = read(ROWS[0] + b"\n", WHOLE, 1_000)
    assert batch.tally.top_users
    batch.take_out({0: ERASED_ROW})
    assert batch.tally == Tally(lines=1, erased=1)


def test_part_without_lines_has_no_batches():
    """An empty file is a finished import of no rows (A9)."""
    assert (read(b"", WHOLE, 1), read(b"x", Part(1, 9), 1)) == ([], [])


def test_batches_are_made_as_they_are_asked_for():
    """One cell in memory at a time, whatever the size of the file."""

    def endless() -> Iterator[bytes]:
        while True:
            yield ROWS[0] + b"\n"

    batch = next(batches(lines(endless(), WHOLE), RULES))
    assert (batch.tally.lines, batch.next_offset) == (2, 126)


@settings(deadline=None, max_examples=examples(100))
@given(FILES, st.integers(1, 5), st.integers(1, 200))
def test_a_cell_of_many_short_lines_is_several_batches_and_resuming_at_each_gives_the_rest(
    file: bytes, most_lines: int, chunk_bytes: int
):
    """No batch has more lines than the limit, whatever the bytes: what is kept of a line outweighs them (memory)."""
    with mock.patch.object(importer.batches, "BATCH_LINES", most_lines):
        whole = read(file, WHOLE, 1 << 20)
        assert all(1 <= len(batch.lines) <= most_lines for batch in whole)
        for index, batch in enumerate(whole):
            lines_before = sum(earlier.tally.lines for earlier in whole[: index + 1])
            rest = read(file, importer.parts.remainder(WHOLE, batch.next_offset), chunk_bytes, lines_before)
            assert rest == whole[index + 1 :]
