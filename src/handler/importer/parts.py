"""2 · Object → parts, by arithmetic; and the grid that batches are cut by.

Rule: a part owns the lines whose first byte lies in `[start, stop)`. One batch is lines that begin in one cell of a
fixed grid, so that a batch's borders never depend on time, load or memory (N3). Parts begin at the grid's borders: so
the same bytes make the same batches however many parts there are. The last part goes to the end of the object, and so
does the only one of an object that is not cut: offsets count decompressed bytes, and how many there are is not known
before the end.
"""

from typing import Final

from importer.model import TO_THE_END, Part

# Part of the rules (RULES_VERSION), as is BATCH_LINES: what a segment is called and holds depends on both.
# Trade-off: a smaller cell means more calls per byte, a larger one more memory (some ten bytes a byte of cell).
GRID_BYTES: Final = 1 << 20

# A cell of very short lines is several batches: what is kept of a line (its reason, its item) outweighs its bytes.
BATCH_LINES: Final = 8_192

WHOLE: Final = Part(0, TO_THE_END)

# Each finished part is a number in a set on one item, which may have 400 KB.
MOST_PARTS: Final = 1_000


def part_bytes_of(size_bytes: int, wanted_bytes: int) -> int:
    """What an object of this size is cut by: about `wanted_bytes`, on the grid, at most MOST_PARTS times; 0 for one
    that is not larger than a part.
    """
    least = max(wanted_bytes, -(-size_bytes // MOST_PARTS), 1)
    part_bytes = -(-least // GRID_BYTES) * GRID_BYTES
    return part_bytes if part_bytes < size_bytes else 0


def parts_of(part_count: int, part_bytes: int) -> list[Part]:
    """The parts of an object, in order. They tile it."""
    starts = [number * part_bytes for number in range(part_count)]
    return [Part(start, stop) for start, stop in zip(starts, [*starts[1:], TO_THE_END], strict=True)]


def cell_start(offset: int) -> int:
    """First byte of the grid cell that holds `offset`."""
    return offset - offset % GRID_BYTES


def remainder(part: Part, next_offset: int) -> Part:
    """What is left of a part once everything before `next_offset` is done: a checkpoint is just a smaller part."""
    return Part(max(part.start, next_offset), part.stop)
