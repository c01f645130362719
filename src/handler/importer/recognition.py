"""What the first bytes of a file say: how its rows stand, and in which dialect they are written (pure).

Rule: at most DIALECT_ROWS rows that can be read at all, among the first HEAD_BYTES of plain text, have a say. The same
bytes always say the same, so an execution asks once, at its start, and everybody else who looks sees it too.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final

from importer import formats
from importer.bad_rows import ObjectProblem, Reject, row_text
from importer.compression import opened, peeked
from importer.definitions import Definition
from importer.formats import Recognised
from importer.layouts import Layout, layout_of
from importer.lines import BOM, HEAD_BYTES, reading_start
from importer.model import TO_THE_END, Part, Row

DIALECT_ROWS: Final = 100


def recognised(head: bytes, layout: Layout, definition: Definition) -> Recognised:
    """The dialect of a file, by its definition or by its first rows.

    Args:
        head: its first plain bytes, HEAD_BYTES or all.
    """
    found = formats.recognise(_rows_of(head, layout))
    if definition.format:
        evidence = found.evidence if found.format == definition.format else ()
        return Recognised(definition.format, ("its definition", *evidence), found.rows)
    return found


def recognised_stored(stored: Iterable[bytes], definition: Definition) -> Recognised:
    """As `recognised`, of the first stored bytes; compressed ones are opened as far as they go.

    Bytes that cannot be read as rows speak for nothing: whoever imports them says what is wrong with them.
    """
    try:
        head, _ = peeked(_as_far_as_it_goes(opened(stored)[1]), HEAD_BYTES)
        return recognised(head[:HEAD_BYTES], layout_of(definition.mime_type, head), definition)
    except ObjectProblem:
        return Recognised(definition.format or formats.DEFAULT, ())


def _as_far_as_it_goes(text: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from text
    except ObjectProblem:  # only the begin of it was given: a compressed stream ends too early
        return


def _rows_of(head: bytes, layout: Layout) -> Iterator[Row]:
    """The first rows that can be read at all; the last line of the head may be cut."""
    part = Part(len(layout.header), TO_THE_END)
    seen = [head[reading_start(part) : HEAD_BYTES]]
    for _, raw in islice(layout.lines(seen, part), DIALECT_ROWS):
        try:
            if isinstance(raw, bytes):
                yield layout.row_of(row_text(raw).removeprefix(BOM))
        except Reject:
            continue
