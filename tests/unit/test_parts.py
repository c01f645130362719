"""The grid that batches are cut by."""

import pytest

from importer.model import TO_THE_END, Part
from importer.parts import GRID_BYTES, WHOLE, cell_start, remainder


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
