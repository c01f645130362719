"""Bytes → lines: what the exhaustive tests leave out, namely large files, long lines and whole-file verdicts."""

import hashlib
import itertools
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.bad_rows import FileReason, ObjectProblem, row_text
from importer.lines import (
    HEAD_BYTES,
    KEPT_BYTES,
    MAX_LINE_BYTES,
    judge_encoding,
    judge_layout,
    lines,
    reading_start,
    skipped,
)
from importer.model import LongLine, Part
from importer.parts import WHOLE
from tests.support.scenarios import examples

PIECES = [
    b"\n",
    b"\r\n",
    b"\r",
    b"",
    b"a",
    b'{"a":1}',
    b"\xef\xbb\xbf",
    "\u2028\u2029\u0085".encode(),
    b"\x0b\x0c\x1c\x1d",
    b"x" * 100,
]


@settings(deadline=None, max_examples=examples(300))
@given(
    st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join),
    st.lists(st.integers(0, 1_000), max_size=4),
    st.integers(1, 300),
)
def test_any_parts_and_chunks_give_the_lines_of_the_whole(file: bytes, cuts: list[int], chunk_bytes: int):
    """CR, U+2028, U+2029, NEL and the ASCII separators end no line; only LF does (E7)."""
    borders = [0, *sorted(cut % (len(file) + 1) for cut in cuts), len(file)]
    read = []
    for start, stop in itertools.pairwise(borders):
        part = Part(start, stop)
        seen = file[reading_start(part) :]
        read += lines([seen[at : at + chunk_bytes] for at in range(0, len(seen), chunk_bytes)], part)
    wanted = [line + b"\n" for line in file.split(b"\n")]
    wanted[-1] = wanted[-1][:-1]
    assert [line for _, line in read] == [line for line in wanted if line]
    assert [offset for offset, _ in read] == [sum(map(len, wanted[:at])) for at, line in enumerate(wanted) if line]


def long_line(raw: bytes) -> LongLine:
    """What must be kept of a line over the limit."""
    return LongLine(len(raw), len(row_text(raw)), raw[:KEPT_BYTES], hashlib.sha256(raw).hexdigest())


LONG = b"0123456789" * (MAX_LINE_BYTES // 10)


@pytest.mark.parametrize("chunk_bytes", [1 << 18, 1 << 20, 5 << 20, MAX_LINE_BYTES + 11, 64 << 20])
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_line_over_the_limit_is_told_and_not_held_however_it_arrives(chunk_bytes: int, line_end: bytes):
    """Its place, its size, its begin and its hash; the line at the limit and the lines around are whole (E8)."""
    longest = LONG[: MAX_LINE_BYTES - len(line_end)] + line_end
    written = [
        b"a\n",
        LONG + b"123456789" + line_end,
        longest,
        LONG + LONG + b"\r" + line_end,
        b"b\n",
        LONG + b"12345678\r",
    ]
    file = b"".join(written)
    found = list(lines([file[at : at + chunk_bytes] for at in range(0, len(file), chunk_bytes)], WHOLE))
    starts = list(itertools.accumulate(map(len, written), initial=0))[:-1]
    assert found == [
        (start, long_line(raw) if len(raw) > MAX_LINE_BYTES else raw)
        for start, raw in zip(starts, written, strict=True)
    ]


def test_a_long_line_belongs_to_the_part_it_begins_in():
    """As any other; the part it leads into begins behind it."""
    file = b"a\n" + LONG + LONG + b"\nb\n"
    border = MAX_LINE_BYTES
    first = lines([file], Part(0, border))
    second = lines([file[reading_start(Part(border, len(file))) :]], Part(border, len(file)))
    assert (list(first), list(second)) == (
        [(0, b"a\n"), (2, long_line(LONG + LONG + b"\n"))],
        [(len(file) - 2, b"b\n")],
    )


def test_a_long_line_takes_no_memory():
    """A gigabyte without a line break is read within a few chunks' room (E8)."""
    tracemalloc.start()
    try:
        ((_, found),) = lines((b"x" * (1 << 20) for _ in range(1 << 10)), WHOLE)
        assert (len(found), tracemalloc.get_traced_memory()[1] < 4 * MAX_LINE_BYTES) == (1 << 30, True)
    finally:
        tracemalloc.stop()


def test_long_line_in_small_chunks_takes_time_in_proportion():
    """A line is joined once, when it has ended; joining at every chunk would take many seconds here."""
    chunks = [b"x" * 256] * (MAX_LINE_BYTES // 256 - 1) + [b"\n"]
    began = time.perf_counter()
    assert len(list(lines(chunks, WHOLE))) == 1
    assert time.perf_counter() - began < 1


UTF_8_ROW = '{"user_id":"ж"}\n'


@pytest.mark.parametrize(
    ("head", "encoding"),
    [
        *((UTF_8_ROW.encode(name), name.upper()) for name in ("utf-16le", "utf-16be", "utf-32le", "utf-32be")),
        (UTF_8_ROW.encode("utf-16"), "UTF-16"),
        (b"\xfe\xff" + UTF_8_ROW.encode("utf-16be"), "UTF-16"),
        (UTF_8_ROW.encode("utf-32"), "UTF-32"),
        (b"\0\0\xfe\xff" + UTF_8_ROW.encode("utf-32be"), "UTF-32"),
        ("{}".encode("utf-16le"), "UTF-16LE"),
    ],
)
def test_a_file_in_another_encoding_is_refused_once(head: bytes, encoding: str):
    """With the command that mends it, instead of a bad row a line (E6)."""
    with pytest.raises(
        ObjectProblem, match=f"the file is {encoding}: .*`iconv -f {encoding} -t UTF-8 FILE`"
    ) as refused:
        judge_encoding(head)
    assert refused.value.code is FileReason.WRONG_ENCODING


@pytest.mark.parametrize(
    ("head", "query"),
    [
        (b'{\n  "a": 1\n}\n', "."),
        (b'{"a": 1,\n "b": 2}\n', "."),
        (b'{"a": 1,\n"b": 2}\n', "."),
        (b'{"a":\n1}', "."),
        (b'{"a":\n  [\n    {"b": 1},\n  ]\n}', "."),
        (b'{"a": [\n  1,\n' + b"  2,\n" * 20_000, "."),
        (b'\xef\xbb\xbf\r\n [ \r\n{"a":1},\r\n', "'.[]'"),
        (b"[{\n", "'.[]'"),
        (b'[{"a":1},{"a":2}]\n', "'.[]'"),
        (b'[{"a":1},{"a":2}]', "'.[]'"),
        (b'[{"a":1},\n{"a":2}]\n', "'.[]'"),
        (b'[ {"a":"' + b"x" * HEAD_BYTES, "'.[]'"),
    ],
)
def test_json_over_several_lines_and_arrays_are_refused_once(head: bytes, query: str):
    """By the first value, with the command that writes one object a line (E9, D33)."""
    with pytest.raises(ObjectProblem) as refused:
        judge_layout(head)
    assert (refused.value.code, f"(`jq -c {query} FILE`)" in refused.value.message) == (
        FileReason.NOT_LINE_DELIMITED,
        True,
    )


@pytest.mark.parametrize("head", [b'{"a":1}\r{"a":2}\r', b'\xef\xbb\xbf{"a":{}} \r \r{"a":2}'])
def test_lines_that_end_in_cr_alone_are_refused_once(head: bytes):
    """They would be one row that is no JSON (E7)."""
    with pytest.raises(ObjectProblem, match=r"CR alone: .*`tr '\\r' '\\n' < FILE`") as refused:
        judge_layout(head)
    assert refused.value.code is FileReason.NOT_LINE_DELIMITED


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n",
        b"{}",
        b'{"a":1}\n{',
        b'{"a":1}\r',
        b"\xef\xbb\xbf{}",
        b"x",
        b"\xff",
        b"\0",
        b"\0{",
        b'\0{"a":1}\n',
        b'\0\0\0{"a":1}\n',
        b"caf\xe9",
        b"[1]\n",
        b"[]",
        b'[{"a":1}]\n{"a":1}\n',
        b'{"a":1\n{"a":1}\n',
        b'{"a":"\n{"a":1}\n',
        b'{"a":1,\n{"a":1}\n',
        b'{\n{"a":1}\n',
        b'[\n{"a":1}\n{"a":2}\n',
        b'[{"a":\n\n{"a":1}\n',
        b'{"a":1,\n  {"a":1}\n',
        b'{ "a":1}',
        b"[" * HEAD_BYTES,
        b" " * (HEAD_BYTES - 1) + b"{",
        b"\n" * (HEAD_BYTES - 1) + b"[",
        b'{"a":\n' * 10_000,
        "é".encode(),
    ],
)
def test_file_is_not_refused_for_less(head: bytes):
    """What is wrong with a row is the row's affair."""
    judge_encoding(head)
    judge_layout(head)


@pytest.mark.parametrize("count", [0, 1, 3, 4, 9, 10, 11])
def test_skipping_takes_exactly_so_many_bytes_away(count: int):
    """Whatever the chunks."""
    assert b"".join(skipped([b"012", b"", b"3", b"456789"], count)) == b"0123456789"[count:]
