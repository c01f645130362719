"""CSV: records with line breaks inside, one header, and nothing guessed about what is malformed (E11)."""

import csv
import io
import itertools
import tracemalloc
from collections.abc import Iterator
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from importer import csv_rows
from importer.bad_rows import FileReason, ObjectProblem, Reason, Reject, row_text
from importer.csv_rows import Csv
from importer.definitions import NDJSON, TEXT_CSV
from importer.layouts import judge_suffix, layout_of
from importer.lines import HEAD_BYTES, MAX_LINE_BYTES, reading_start
from importer.model import TO_THE_END, LongLine, Part
from tests.support.scenarios import examples

POLLUTED = st.lists(
    st.sampled_from(
        [b'"', b'""', b",", b"\n", b"\r\n", b"\r", b"a", b"bc", b'","', b'"\n"', b"\xff", b"\0", b" ", "é".encode()]
    )
).map(b"".join)
CELL = st.text(st.sampled_from('ab",;\n\t é\u2028'), max_size=6)  # the writer leaves a CR unquoted before LF


def records_of(file: bytes, chunk_bytes: int = 1 << 20, start: int | None = None) -> list[tuple[int, bytes]]:
    layout = Csv.of(file[:HEAD_BYTES])
    part = Part(len(layout.header) if start is None else start, TO_THE_END)
    seen = file[reading_start(part) :]
    chunks = [seen[at : at + chunk_bytes] for at in range(0, len(seen), chunk_bytes)]
    return [(offset, raw) for offset, raw in layout.lines(chunks, part) if isinstance(raw, bytes)]


def told(file: bytes) -> list[dict[str, str] | tuple[Reason, str]]:
    """Each record's row, or why it is none; blank lines left out."""
    layout = Csv.of(file[:HEAD_BYTES])
    rows: list[dict[str, str] | tuple[Reason, str]] = []
    for _, raw in records_of(file):
        if not raw.strip(b" \t\r\n"):
            continue
        try:
            rows.append(layout.row_of(row_text(raw)))  # type: ignore[arg-type]
        except Reject as reject:
            rows.append((reject.reason, reject.found))
    return rows


@settings(deadline=None, max_examples=examples(300))
@given(
    st.integers(2, 4).flatmap(lambda width: st.lists(st.lists(CELL, min_size=width, max_size=width), max_size=8)),
    st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(1, 50),
)
def test_what_a_csv_writer_wrote_is_read_as_it_was(
    cells: list[list[str]], quoting: int, line_end: str, with_mark: bool, chunk_bytes: int
):
    """RFC 4180 with LF or CRLF, any quoting, byte order mark or none, cut anywhere."""
    columns = [f"column {number}" for number in range(len(cells[0]) if cells else 2)]
    written = io.StringIO(newline="")
    writer = csv.writer(written, quoting=quoting, lineterminator=line_end)  # type: ignore[arg-type]
    writer.writerows([columns, *cells])
    file = b"\xef\xbb\xbf" * with_mark + written.getvalue().encode()
    layout = Csv.of(file)
    found = [layout.row_of(row_text(raw)) for _, raw in records_of(file, chunk_bytes)]
    assert found == [dict(zip(columns, row, strict=True)) for row in cells]


@settings(deadline=None, max_examples=examples(500))
@given(POLLUTED, st.integers(1, 9))
@example(b'"\n' * 5, 1)
def test_every_byte_of_a_polluted_file_is_in_one_record(rest: bytes, chunk_bytes: int):
    """In order, whatever the chunks; reading again from any record's begin gives the same records."""
    file = b"a,b\n" + rest
    found = records_of(file, chunk_bytes)
    assert b"".join(raw for _, raw in found) == rest
    assert [offset for offset, _ in found] == [
        4 + length for length in itertools.accumulate((len(raw) for _, raw in found), initial=0)
    ][:-1]
    for index, (offset, _) in enumerate(found):
        assert records_of(file, chunk_bytes, offset) == found[index:]


@settings(deadline=None, max_examples=examples(300))
@given(POLLUTED)
def test_a_record_is_refused_or_read_as_the_strict_library_reads_it(rest: bytes):
    """Never a third thing: where we accept, Python's reader finds the same values."""
    for row in told(b"a,b\n" + rest):
        if isinstance(row, tuple):
            assert row[0] in (Reason.NOT_CSV, Reason.WRONG_COLUMN_COUNT, Reason.NOT_UTF8)
        else:
            assert list(row) == ["a", "b"]
            written = io.StringIO(newline="")
            csv.writer(written, quoting=csv.QUOTE_ALL).writerow(row.values())
            assert next(csv.reader([written.getvalue()], strict=True)) == list(row.values())


def test_a_stray_quotation_mark_costs_one_row():
    """A mark never closed does not swallow the rows behind it."""
    file = b'a,b\n1,"open\n2,"two"\n3,5" pipe\n4,"x"y\n"5\n6","six"\n7,"\n'
    assert told(file) == [
        (Reason.NOT_CSV, "a field whose quotation mark is never closed"),
        {"a": "2", "b": "two"},
        (Reason.NOT_CSV, "a quotation mark inside a field"),
        (Reason.NOT_CSV, "a quotation mark inside a field"),
        {"a": "5\n6", "b": "six"},
        (Reason.NOT_CSV, "a field whose quotation mark is never closed"),
    ]


def test_a_row_has_as_many_columns_as_the_header():
    """Fewer or more: refused, with both numbers (E11)."""
    assert told(b"a,b\n1\n1,2\n1,2,3\n1,\n,\n") == [
        (Reason.WRONG_COLUMN_COUNT, "1"),
        {"a": "1", "b": "2"},
        (Reason.WRONG_COLUMN_COUNT, "3"),
        {"a": "1", "b": ""},
        {"a": "", "b": ""},
    ]


def test_bytes_that_are_no_utf_8_are_refused_with_their_place():
    """And with the row alone (E6)."""
    assert told(b"a,b\n1,caf\xe9\n1,caf\xc3\xa9\n") == [
        (Reason.NOT_UTF8, "byte 0xe9 at byte 5 of the row"),
        {"a": "1", "b": "café"},
    ]


@pytest.fixture
def small_limit() -> Iterator[int]:
    """256 KiB instead of 8 MiB, so that a test need not read a million lines."""
    with mock.patch.object(csv_rows, "MAX_LINE_BYTES", 1 << 18):
        yield 1 << 18


def test_a_quoted_field_that_would_outgrow_the_limit_is_one_bad_row(small_limit: int):
    """Its first line; what follows is read (E8)."""
    file = b'a,b\n1,"open\n' + b"x,y\n" * (small_limit // 4)
    found = records_of(file)
    assert (found[0], len(found), found[1]) == ((4, b'1,"open\n'), 1 + small_limit // 4, (12, b"x,y\n"))


def test_a_stray_mark_before_many_short_lines_takes_no_memory(small_limit: int):
    """They are kept as bytes until it is known that no run of them is a record."""
    file = b'a,b\n"' + b"\n" * small_limit
    part = Part(4, TO_THE_END)
    chunks = [file[at : at + (1 << 12)] for at in range(3, len(file), 1 << 12)]
    tracemalloc.start()
    try:
        count = sum(1 for _ in Csv.of(file[:HEAD_BYTES]).lines(chunks, part))
        assert (count, tracemalloc.get_traced_memory()[1] < 8 * small_limit) == (small_limit, True)
    finally:
        tracemalloc.stop()


def test_a_line_over_the_limit_is_told_as_in_any_file():
    """Its bytes are not held."""
    part = Part(4, TO_THE_END)
    file = b'a,b\n1,"' + b"x" * MAX_LINE_BYTES + b'"\n2,3\n'
    ((_, long), second) = Csv.of(file[:HEAD_BYTES]).lines([file[3:]], part)
    assert isinstance(long, LongLine)
    assert (long.size, second) == (MAX_LINE_BYTES + 5, (MAX_LINE_BYTES + 9, b"2,3\n"))


@pytest.mark.parametrize(
    ("head", "header", "columns"),
    [
        (b"a,b\n1,2\n", b"a,b\n", ("a", "b")),
        (b"a,b", b"a,b", ("a", "b")),
        (b"a,b\r", b"a,b\r", ("a", "b")),
        (b'\xef\xbb\xbf\r\n \n"a ""x""","b\nc"\r\n1,2', b'\xef\xbb\xbf\r\n \n"a ""x""","b\nc"\r\n', ('a "x"', "b\nc")),
        (b"", b"", ()),
        (b"\xef\xbb\xbf", b"\xef\xbb\xbf", None),
        (b"\n\r\n", b"\n\r\n", ()),
    ],
)
def test_the_header_is_the_first_record_that_is_not_blank(head: bytes, header: bytes, columns: tuple[str, ...] | None):
    """Kept as sent, byte order mark included: errors/ begins with it."""
    layout = layout_of(TEXT_CSV, head)
    assert layout.header == header
    if columns is not None:
        assert layout.columns == columns


@pytest.mark.parametrize(
    ("head", "word"),
    [
        (b"a,,c\n", "column 2 has no name"),
        (b"a,b,a\n", "columns 1 and 3 have the same name"),
        (b'a,"b\n1,2\n', "never closed"),
        (b'a,b"c\n', "a quotation mark inside a field"),
        (b"a;b;c\n", "divided by semicolons"),
        (b"a\tb\n", "divided by tabs"),
        (b"a,b\r1,2\r", "CR alone"),
        (b"a," + b"b" * HEAD_BYTES, "longer than 64 KiB"),
    ],
)
def test_a_header_that_names_no_columns_ends_the_file(head: bytes, word: str):
    """Before a single row is made of it."""
    with pytest.raises(ObjectProblem, match=word) as refused:
        layout_of(TEXT_CSV, head[:HEAD_BYTES])
    assert refused.value.code is FileReason.CSV_HEADER_MISSING


@pytest.mark.parametrize("head", [b"\xff\xfea\0", b"a,b\xff\n"])
def test_a_header_in_another_encoding_is_refused_as_that(head: bytes):
    """E6."""
    with pytest.raises(ObjectProblem) as refused:
        layout_of(TEXT_CSV, head)
    assert refused.value.code is FileReason.WRONG_ENCODING


def test_the_same_values_under_other_names_are_another_row():
    """Else two files of one width could share events."""
    assert (layout_of(TEXT_CSV, b"a,b\n").names, layout_of(TEXT_CSV, b'"a",b\r\n').names) == (b"a\0b\n", b"a\0b\n")
    assert layout_of(NDJSON, b"{}\n").names == b""


def test_a_name_must_end_as_its_type_does():
    """Compression is taken off before."""
    for name, mime_type in (("a.JSON", NDJSON), ("a.jsonl", NDJSON), ("a.csv", TEXT_CSV)):
        judge_suffix(name, mime_type)
    for name, mime_type in (("a.csv", NDJSON), ("a.json", TEXT_CSV), ("a", NDJSON)):
        with pytest.raises(ObjectProblem) as refused:
            judge_suffix(name, mime_type)
        assert refused.value.code is FileReason.WRONG_KIND
