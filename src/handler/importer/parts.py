"""2 · The grid that batches are cut by, and the part that is a whole object.

Rule: a part owns the lines whose first byte lies in `[start, stop)`. One batch is lines that begin in one cell of a
fixed grid, so that a batch's borders never depend on time, load or memory (N3). A part to the end of the object
needs no look at its bytes first: offsets count decompressed bytes, and how many there are is not known before the end.
"""

from typing import Final

from importer.model import TO_THE_END, Part

# Part of the rules (RULES_VERSION), as is BATCH_LINES: what a segment is called and holds depends on both.
# Trade-off: a smaller cell means more calls per byte, a larger one more memory (some ten bytes a byte of cell).
GRID_BYTES: Final = 1 << 20

# A cell of very short lines is several batches: what is kept of a line (its reason, its item) outweighs its bytes.
BATCH_LINES: Final = 8_192

WHOLE: Final = Part(0, TO_THE_END)


def cell_start(offset: int) -> int:
    """First byte of the grid cell that holds `offset`."""
    return offset - offset % GRID_BYTES


def remainder(part: Part, next_offset: int) -> Part:
    """What is left of a part once everything before `next_offset` is done: a checkpoint is just a smaller part."""
    return Part(max(part.start, next_offset), part.stop)
