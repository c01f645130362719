"""The parts an object is cut into, and the grid that batches are cut by."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from importer.model import TO_THE_END, Part
from importer.parts import GRID_BYTES, MOST_PARTS, WHOLE, cell_start, part_bytes_of, parts_of, remainder


@pytest.mark.parametrize(
    ("offset", "cell"),
    [(0, 0), (1, 0), (GRID_BYTES - 1, 0), (GRID_BYTES, GRID_BYTES), (5 * GRID_BYTES + 7, 5 * GRID_BYTES)],
)
def test_cell_begins_at_a_multiple_of_the_grid(offset: int, cell: int):
    """Borders of batches never depend on time, load or memory (N3)."""
    assert cell_start(offset) == cell


def test_remainder_is_what_is_left_of_a_part():
    """A checkpoint is just a smaller part; before its begin there is nothing to leave out."""
    assert [remainder(Part(10, 30), offset) for offset in (0, 10, 20, 30)] == [
        Part(10, 30),
        Part(10, 30),
        Part(20, 30),
        Part(30, 30),
    ]


def test_whole_object_is_one_part_to_the_end():
    """How long a compressed object is cannot be known before its end."""
    assert Part(0, TO_THE_END) == WHOLE


# ---- Cutting ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_bytes", "wanted_bytes", "part_bytes"),
    [
        (0, GRID_BYTES, 0),
        (GRID_BYTES, GRID_BYTES, 0),  # not larger than a part: one
        (GRID_BYTES + 1, GRID_BYTES, GRID_BYTES),
        (10 * GRID_BYTES, 3 * GRID_BYTES - 5, 3 * GRID_BYTES),  # on the grid
        (10 * GRID_BYTES, 1, GRID_BYTES),
        (5_000 * GRID_BYTES, GRID_BYTES, 5 * GRID_BYTES),  # never more than MOST_PARTS
    ],
)
def test_part_size_lies_on_the_grid_and_parts_are_few(size_bytes: int, wanted_bytes: int, part_bytes: int):
    """So that the same bytes make the same batches however many parts there are (N3)."""
    assert part_bytes_of(size_bytes, wanted_bytes) == part_bytes


@given(st.integers(0, 1 << 45), st.integers(1, 1 << 40))
def test_parts_tile_the_object(size_bytes: int, wanted_bytes: int):
    """From the first byte to the end, each byte in one part; none of them begins behind the end."""
    part_bytes = part_bytes_of(size_bytes, wanted_bytes)
    count = -(-size_bytes // part_bytes) if part_bytes else 1
    parts = parts_of(count, part_bytes)
    assert [part.start for part in parts] == [0, *(part.stop for part in parts[:-1])]
    assert parts[-1].stop == TO_THE_END
    assert len(parts) <= MOST_PARTS
    assert all(part.start < max(size_bytes, 1) for part in parts)
