"""Bugs of reading: the wire, lines, parts, batches, compressed text."""

from contextlib import AbstractContextManager
from typing import Any
from unittest import mock

from importer import batches, lines
from importer.aws import reading
from importer.executions import holding, plain_text
from importer.executions import importing as steps
from tests.faults.bugs import Bug, both, changed

Planted = AbstractContextManager[Any]


def end_of_body_believed() -> Planted:
    """A body that ends early is taken for the end of the object (C2)."""
    return changed(reading.bytes_of, ("pace.broke(source, position, failure)", "return"))


def range_taken_for_granted() -> Planted:
    """A ranged GET that is answered with the whole body is read as if it were the range (N11)."""
    return changed(reading._first_byte, ("return 0", "return position"))


def read_without_the_etag() -> Planted:
    """What is read next may be another upload's (C5)."""
    return changed(reading._request, (', "IfMatch": source.etag', ""))


def reading_begins_at_the_border() -> Planted:
    """The reader does not look one byte back, so that a line that begins at a border is thrown away (C10)."""
    return changed(lines.reading_start, ("max(part.start - 1, 0)", "part.start"))


def crossing_line_read_twice() -> Planted:
    """A part reads what lies before its first line, too (C10)."""
    return changed(lines.lines, ("foreign = part.start > 0", "foreign = False"))


def crossing_line_read_by_nobody() -> Planted:
    """A part ends with the last line that ends in it (C10)."""
    return changed(
        lines.lines,
        (
            "yield offset, line\n",
            "if offset + len(line) > stop:\n                return\n            yield offset, line\n",
        ),
    )


def line_without_an_end_dropped() -> Planted:
    """The last line of a file counts only if it has a line end (C10)."""
    return changed(lines.lines, ("if not foreign and offset < stop:", "if False:"))


def header_counted_at_each_resume() -> Planted:
    """A CSV that is gone on with counts the lines of its header once more (E11)."""
    return changed(batches.batches, ("0 if lines_before else layout", "layout"))


def header_read_as_a_row() -> Planted:
    """A CSV's first row is read as a row of data, too (E11)."""
    return both(
        changed(holding.Held.begin, ("max(self.state.next_offset, header_bytes)", "self.state.next_offset")),
        changed(steps._read_on, ("todo.start == len(layout.header)", "True")),
    )


def csv_begins_anew_at_each_resume() -> Planted:
    """A CSV that is gone on with is read from its first row again, and counted again (E11)."""
    begin = "remainder(Part(self.state.start, self.state.stop), self._begun)"
    return changed(holding.Held.begin, (begin, begin.replace("self._begun", "header_bytes or self._begun")))


def border_taken_for_a_plain_offset() -> Planted:
    """Inflating from a member's begin counts the bytes as stored, not as inflated (D6)."""
    return changed(
        plain_text.PlainText._open_at, ("self._inflated = border.plain_offset", "self._inflated = border.stored_offset")
    )


def hash_of_the_last_reading() -> Planted:
    """The SHA-256 is of what the last worker read, not of the object (A11)."""
    return both(
        mock.patch.object(reading, "READ_BYTES", 512),  # else one chunk is the whole of a small file
        changed(plain_text.PlainText.sha256, (" if self._hashed == self._source.size_bytes else None", "")),
    )


SEGMENTS = "PutObject work"
BUGS = [
    Bug(end_of_body_believed, "medium", "body cut", "check_tally", "GetObject imports"),
    Bug(range_taken_for_granted, "four parts", "range ignored", "check_tally", "GetObject imports", begin=2),
    Bug(
        read_without_the_etag,
        "three continuations",
        "overwritten by as many bytes",
        "check_ended_early",
        "GetObject imports",
        setup={"versioned": False},
    ),
    Bug(reading_begins_at_the_border, "three continuations", "nothing", "check_tally"),
    Bug(crossing_line_read_twice, "four parts", "nothing", "check_tally"),
    Bug(crossing_line_read_by_nobody, "four parts", "nothing", "_deleted"),
    Bug(line_without_an_end_dropped, "medium", "nothing", "_deleted"),
    Bug(header_counted_at_each_resume, "three continuations, CSV", "nothing", "_deleted"),
    Bug(header_read_as_a_row, "CSV", "nothing", "check_tally"),
    Bug(csv_begins_anew_at_each_resume, "three continuations, CSV", "nothing", "_moved"),
    Bug(border_taken_for_a_plain_offset, "three continuations, gzip", "nothing", "check_tally"),
    Bug(hash_of_the_last_reading, "three continuations", "nothing", "_live"),
]
