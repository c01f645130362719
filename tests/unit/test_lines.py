"""Bytes → lines: what the exhaustive tests leave out, namely large files, long lines and whole-file verdicts."""

import itertools
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.bad_rows import FileReason, ObjectProblem
from importer.lines import MAX_LINE_BYTES, judge_first_bytes, judged, lines, reading_start
from importer.model import Part
from importer.parts import WHOLE

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


@settings(deadline=None, max_examples=300)
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


def test_line_at_the_limit_is_read_and_a_longer_one_ends_the_file():
    """Far above what any destination holds: this is no file of rows."""
    longest = b"x" * (MAX_LINE_BYTES - 1) + b"\n"
    assert list(lines([b"a\n" + longest[:1_000], longest[1_000:]], WHOLE)) == [(0, b"a\n"), (2, longest)]
    with pytest.raises(ObjectProblem) as refused:
        list(lines([b"a\n", b"x" * MAX_LINE_BYTES, b"x"], WHOLE))
    assert (refused.value.code, "at byte 2 " in refused.value.message) == (FileReason.NOT_LINE_DELIMITED, True)


@pytest.mark.parametrize("chunk_bytes", [1 << 18, 1 << 20, 5 << 20, 16 << 20])
def test_what_becomes_of_a_long_line_does_not_depend_on_chunks(chunk_bytes: int):
    """Whoever reads it and however it arrives: the same bytes have the same fate."""
    file = b"a\n" + b"x" * (MAX_LINE_BYTES + 100) + b"\nb\n"
    with pytest.raises(ObjectProblem) as refused:
        list(lines([file[at : at + chunk_bytes] for at in range(0, len(file), chunk_bytes)], WHOLE))
    assert refused.value.code is FileReason.NOT_LINE_DELIMITED


def test_long_line_in_small_chunks_takes_time_in_proportion():
    """A line is joined once, when it has ended; joining at every chunk would take many seconds here."""
    chunks = [b"x" * 256] * (MAX_LINE_BYTES // 256 - 1) + [b"\n"]
    began = time.perf_counter()
    assert len(list(lines(chunks, WHOLE))) == 1
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(
    ("head", "code", "word"),
    [
        (b"\xff\xfe{\0", FileReason.WRONG_ENCODING, "UTF-16"),
        (b"\xfe\xff\0{", FileReason.WRONG_ENCODING, "UTF-16"),
        (b'{\0"\0', FileReason.WRONG_ENCODING, "UTF-16LE"),
        (b'\0{\0"', FileReason.WRONG_ENCODING, "UTF-16BE"),
        (b"\xff\xfe\0\0{\0\0\0", FileReason.WRONG_ENCODING, "UTF-32"),
        (b"\0\0\xfe\xff\0\0\0{", FileReason.WRONG_ENCODING, "UTF-32"),
        (b"{\0\0\0", FileReason.WRONG_ENCODING, "UTF-32LE"),
        (b"\0\0\0{", FileReason.WRONG_ENCODING, "UTF-32BE"),
        (b'{\n  "a": 1\n}\n', FileReason.NOT_LINE_DELIMITED, "jq -c '.' FILE"),
        (b'\xef\xbb\xbf\r\n [ \r\n{"a":1},\r\n', FileReason.NOT_LINE_DELIMITED, "jq -c '.[]' FILE"),
        (b"[{\n", FileReason.NOT_LINE_DELIMITED, "jq -c '.[]' FILE"),
    ],
)
def test_whole_file_is_refused_by_its_first_bytes(head: bytes, code: FileReason, word: str):
    """Once, with the remedy, instead of a bad row a line (E6, E9, D33)."""
    with pytest.raises(ObjectProblem) as refused:
        judge_first_bytes(head)
    assert (refused.value.code, word in refused.value.message) == (code, True)


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"\n",
        b"{}",
        b'{"a":1}\n{',
        b"\xef\xbb\xbf{}",
        b"x",
        b"\xff",
        b"\0",
        b"caf\xe9",
        b"[1]\n",
        b'{ "a":1}',
        "é".encode(),
    ],
)
def test_file_is_not_refused_for_less(head: bytes):
    """What is wrong with a row is the row's affair."""
    judge_first_bytes(head)


@pytest.mark.parametrize("chunk_bytes", [1, 7, 1_000_000])
def test_judging_the_first_bytes_takes_none_away(chunk_bytes: int):
    """The text comes again from its first byte; a refusal comes before any of it."""
    text = b'{"a":1}\n' * 20_000
    chunks = [text[at : at + chunk_bytes] for at in range(0, len(text), chunk_bytes)]
    assert b"".join(judged(chunks)) == text
    with pytest.raises(ObjectProblem):
        judged([b"", b"{\n", text])
