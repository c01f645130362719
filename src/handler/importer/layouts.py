"""4 · How rows stand in a file: one JSON object a line, or CSV. The definition's mime type says which.

Beside rows, only this differs: where one ends, what stands before the first, and what the first bytes must look like.
"""

from collections.abc import Iterable, Iterator
from typing import Final, Protocol

from importer import rows
from importer.bad_rows import FileReason, ObjectProblem
from importer.csv_rows import Csv
from importer.definitions import NDJSON, TEXT_CSV
from importer.lines import HEAD_BYTES, judge_encoding, judge_layout, lines
from importer.model import Line, Part, Row


class Layout(Protocol):
    """How the rows of one file are found and read."""

    @property
    def header(self) -> bytes:
        """The bytes before the first row, as sent; errors/ begins with them too."""

    @property
    def columns(self) -> tuple[str, ...] | None:
        """The names a header gives; None where rows bring their own."""

    @property
    def names(self) -> bytes:
        """What a row's text does not say itself; text behind it, the row has an identity and a size of its own."""

    def lines(self, chunks: Iterable[bytes], part: Part) -> Iterator[Line]:
        """The lines of a part that begins behind the header; see `lines.lines`."""

    def row_of(self, text: bytes) -> Row:
        """The row in a line's text (no line end, no byte order mark). Raises Reject."""


class _NdjsonLayout:
    header: Final = b""
    columns: Final = None
    names: Final = b""

    def lines(self, chunks: Iterable[bytes], part: Part) -> Iterator[Line]:
        return lines(chunks, part)

    row_of = staticmethod(rows.row_of)  # called for every row: no detour


JSON_LINES: Final[Layout] = _NdjsonLayout()


def layout_of(mime_type: str, head: bytes, was_read: bool = False) -> Layout:
    """The layout of a file of this type, judged by its first plain bytes (HEAD_BYTES of them, or all).

    Args:
        was_read: an import has read rows of it. Then its lines are rows, whatever the first ones look like by now:
            where somebody was forgotten, the one that told is blank (`ledger.forgetting`).
    Raises:
        ObjectProblem: wrong_encoding, not_line_delimited, csv_header_missing.
    """
    head = head[:HEAD_BYTES]
    judge_encoding(head)
    if mime_type == TEXT_CSV:
        return Csv.of(head)
    if not was_read:
        judge_layout(head)
    return JSON_LINES


def judge_suffix(base_name: str, mime_type: str) -> None:
    """Raises ObjectProblem(wrong_kind) for a file name (compression removed) that speaks of another type."""
    wanted = SUFFIXES[mime_type]
    if not base_name.lower().endswith(wanted):
        raise ObjectProblem(
            FileReason.WRONG_KIND,
            f"the name {base_name!r} does not end in {' or '.join(wanted)} (before .gz or .zst): rename and drop it",
        )


SUFFIXES: Final = {NDJSON: (".json", ".ndjson", ".jsonl"), TEXT_CSV: (".csv",)}
