"""Small files of real rows, cut into every number of parts, resumed at every batch: the batches are those of the whole.

What a segment is called and holds, what is stored and what the receipt says follow from batches and tallies; so if
these do not depend on the cut, nothing does (N3, C10).
"""

from collections.abc import Iterator
from dataclasses import replace
from unittest import mock

import pytest

from importer import batches as batches_room
from importer import parts as parts_room
from importer.bad_rows import segment
from importer.batches import Rules, batches
from importer.definitions import DEFAULT
from importer.executions.settling import _sums
from importer.lines import lines, reading_start
from importer.model import Part, PartState, Tally
from importer.parts import part_bytes_of, parts_of, remainder

GRID = 16  # bytes of a cell: a row of 60 bytes spans several, and short ones share one
GOOD = b'{"user_id":"u","event_name":"e","event_time_ts":1425920218354}'
LINE_ENDS = {"LF": b"\n", "CRLF": b"\r\n"}
ROWS = {
    "good and bad": [GOOD, b"{", b"", GOOD, b"[1]", b'{"user_id":7}'],
    "bad only": [b"{", b"x", b"[1]", b"NaN"] * 4,
    "blank only": [b""] * 40,
    "one long row": [GOOD[:-1] + b',"p":"' + b"x" * 100 + b'"}'],
    "a long row between short ones": [b"{", GOOD[:-1] + b',"p":"' + b"x" * 100 + b'"}', b"[", b"", b"{"],
    "lines that end on the grid": [b"x" * 15, b"y" * 31, b"z" * 14, b"", b"w" * 15],
}
# What a batch is known by: its place, its lines' bytes, its bad rows as a segment without their line numbers.
Known = tuple[int, int, bytes, int, bytes]


@pytest.fixture(autouse=True)
def small_grid() -> Iterator[None]:
    with mock.patch.object(parts_room, "GRID_BYTES", GRID), mock.patch.object(batches_room, "GRID_BYTES", GRID):
        yield


def files() -> Iterator[tuple[str, bytes]]:
    for name, rows in ROWS.items():
        for end_name, end in LINE_ENDS.items():
            yield f"{name}, {end_name}", b"".join(row + end for row in rows)
            yield f"{name}, {end_name}, last line open", end.join(rows)


FILES = dict(files())


def read(file: bytes, part: Part, chunk_bytes: int, done: Tally, first: int) -> Iterator[tuple[Known, PartState]]:
    """The batches of `[first, part.stop)`, each with where the part then stands; `done` is the tally before it."""
    todo = remainder(part, first)
    begin = reading_start(todo)
    chunks = (file[at : at + chunk_bytes] for at in range(begin, len(file), chunk_bytes))
    rules = Rules("cooladata", DEFAULT, 1_700_000_000_000)
    tally = done
    for batch in batches(lines(chunks, todo), rules, lines_before=done.file_lines):
        tally = tally.plus(batch.tally)
        text = b"".join(raw for _, raw in batch.lines if isinstance(raw, bytes))
        bad = segment(replace(row, line=0) for row in batch.bad_rows)
        known = (batch.start, batch.next_offset, text, len(batch.events), bad)
        yield known, PartState(part.start, part.stop, batch.next_offset, tally, False, None)


def numbered(file: bytes, parts: list[Part]) -> list[tuple[int, int]]:
    """(offset, line in the whole file) of every bad row, counted through the parts as settling does."""
    found, before = [], 0
    for part in parts:
        todo_lines = lines(iter([file[reading_start(part) :]]), part)
        tally = Tally()
        for batch in batches(todo_lines, Rules("cooladata", DEFAULT, 1_700_000_000_000)):
            found += [(row.offset, before + row.line) for row in batch.bad_rows]
            tally = tally.plus(batch.tally)
        before += tally.file_lines
    return found


@pytest.mark.parametrize("name", FILES)
def test_however_many_parts_and_however_often_resumed_the_batches_are_those_of_the_whole(name: str):
    """Every part size on the grid × chunks of every size; then resumed at every batch of every part."""
    file = FILES[name]
    whole = [known for known, _ in read(file, Part(0, 2**63 - 1), len(file) + 1, Tally(), 0)]
    sums = _sums([state for _, state in read(file, Part(0, 2**63 - 1), len(file) + 1, Tally(), 0)][-1:])
    cells = -(-len(file) // GRID)
    for cells_per_part in range(1, cells + 1):
        part_bytes = part_bytes_of(len(file), cells_per_part * GRID)
        parts = parts_of(-(-len(file) // part_bytes) if part_bytes else 1, part_bytes)
        for chunk_bytes in (1, 7, GRID, GRID + 1, len(file)):
            found: list[Known] = []
            states: list[PartState] = []
            for part in parts:
                read_now = list(read(file, part, chunk_bytes, Tally(), part.start))
                found += [known for known, _ in read_now]
                states += [replace(state, done=True) for _, state in read_now[-1:]]
                for stop, (_, state) in enumerate(read_now, 1):
                    rest = list(read(file, part, chunk_bytes, state.tally, state.next_offset))
                    assert [known for known, _ in rest] == [known for known, _ in read_now[stop:]]
                    assert [later.tally for _, later in rest] == [later.tally for _, later in read_now[stop:]]
            assert found == whole, (cells_per_part, chunk_bytes)
            assert _sums(states) == sums, (cells_per_part, chunk_bytes)
        assert numbered(file, parts) == numbered(file, [Part(0, 2**63 - 1)])
