"""The plain text of an object from any offset: what is asked of the bucket, and that every byte is the right one."""

import gzip
import hashlib
import random
from collections.abc import Iterator
from itertools import accumulate, pairwise
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer import compression
from importer.bad_rows import FileReason, ObjectProblem
from importer.executions import plain_text
from importer.executions.plain_text import PlainText, hash_of, longest_member_bytes
from importer.model import Border, S3Object, TimeIsUp
from tests.support.scenarios import examples

TEXT = b"".join(b'{"n":%d}\n' % number for number in range(20_000))  # 200 KB: three times what is looked at first


class Bucket:
    """One object; keeps a journal of the ranges asked for."""

    def __init__(self, stored: bytes, chunk_bytes: int) -> None:
        self.stored = stored
        self.chunk_bytes = chunk_bytes
        self.journal: list[tuple[int, int | None]] = []

    def read(self, source: S3Object, start: int, stop: int | None = None) -> Iterator[bytes]:
        self.journal.append((start, stop))
        asked = self.stored[start:stop]
        return (asked[at : at + self.chunk_bytes] for at in range(0, len(asked), self.chunk_bytes))


def opened(
    stored: bytes, chunk_bytes: int = 50_000, border: Border | None = None, longest: int | None = None
) -> tuple[PlainText, Bucket]:
    bucket = Bucket(stored, chunk_bytes)
    source = S3Object("b", "k", None, "e", len(stored), 0)
    return PlainText(bucket, source, border=border, longest_member_bytes=longest), bucket  # type: ignore[arg-type]


@pytest.mark.parametrize("stored", [TEXT, gzip.compress(TEXT, mtime=0)], ids=["plain", "gzip"])
@settings(deadline=None, max_examples=examples(60))
@given(
    asked=st.lists(st.tuples(st.integers(0, len(TEXT)), st.integers(0, len(TEXT))), max_size=4),
    chunk_bytes=st.integers(900, 90_000),
)
def test_any_slices_in_any_order_are_those_of_the_text(stored: bytes, asked: list[tuple[int, int]], chunk_bytes: int):
    """Forward, backward, overlapping, empty, to the end."""
    text, _ = opened(stored, chunk_bytes)
    for start, size in asked:
        assert b"".join(text.read(start, start + size)) == TEXT[start : start + size]
    last = asked[-1][0] if asked else 0
    assert b"".join(text.read(last)) == TEXT[last:]


def test_reading_all_of_it_is_one_request_and_gives_the_hash_of_what_is_stored():
    """Looking at the first bytes costs no request of its own; the hash proves the copy later."""
    for stored in (TEXT, gzip.compress(TEXT, mtime=0)):
        text, bucket = opened(stored)
        assert b"".join(text.read(0)) == TEXT
        assert (bucket.journal, text.sha256()) == ([(0, None)], hashlib.sha256(stored).hexdigest())


def test_a_place_far_on_is_asked_for_by_range():
    """Plain text knows its places; then nobody saw every byte, and there is no hash."""
    text, bucket = opened(TEXT)
    assert b"".join(text.read(150_000)) == TEXT[150_000:]
    assert b"".join(text.read(100_000, 100_010)) == TEXT[100_000:100_010]
    assert (bucket.journal, text.sha256()) == ([(0, None), (150_000, None), (100_000, 100_010)], None)


def test_compressed_text_is_inflated_once_for_slices_in_order():
    """Rows are copied in the order of the file: neighbours do not begin anew (D6)."""
    text, bucket = opened(gzip.compress(TEXT, mtime=0))
    for start in range(0, 190_000, 1_000):
        assert b"".join(text.read(start, start + 900)) == TEXT[start : start + 900]
    assert bucket.journal == [(0, None)]


def test_whoever_reads_may_breathe_at_every_chunk():
    """So that a lease outlives a gigabyte without a line break."""
    breaths: list[int] = []
    bucket = Bucket(TEXT, 10_000)
    text = PlainText(bucket, S3Object("b", "k", None, "e", len(TEXT), 0), lambda: breaths.append(1))  # type: ignore[arg-type]
    assert (b"".join(text.read(0)), len(breaths)) == (TEXT, -(-len(TEXT) // 10_000))
    assert len(TEXT) > plain_text.HEAD_BYTES


# -- gone on with ----------------------------------------------------------------------------------------------------

MEMBER_BYTES = 80_000
MEMBERS = [gzip.compress(TEXT[at : at + MEMBER_BYTES], mtime=0) for at in range(0, len(TEXT), MEMBER_BYTES)]
STORED = b"".join(MEMBERS)
BORDERS = [Border(sum(map(len, MEMBERS[:number])), number * MEMBER_BYTES) for number in range(len(MEMBERS))]


def test_a_reading_tells_from_where_another_one_may_go_on():
    """From the begin of the last member at or before an offset."""
    text, _ = opened(STORED)
    list(text.read(0))
    asked = (0, 79_999, 80_000, 159_999, 160_000, len(TEXT))
    told = [text.border_before(offset) for offset in asked]
    assert told == [BORDERS[number] for number in (0, 0, 1, 1, 2, len(BORDERS) - 1)]


def test_plain_text_needs_no_border():
    """It knows its places."""
    text, _ = opened(TEXT)
    list(text.read(0))
    assert text.border_before(len(TEXT)) is None


def test_a_resumed_reading_begins_at_its_border():
    """One look at the first bytes, one request from the border on; then nobody has seen every byte."""
    with mock.patch.object(compression, "BLOCK_BYTES", 1_000):
        text, bucket = opened(STORED, 5_000, border=BORDERS[2])
        assert b"".join(text.read(170_000)) == TEXT[170_000:]
    assert (bucket.journal, text.sha256()) == ([(0, None), (BORDERS[2].stored_offset, None)], None)
    assert text.layout("APPLICATION_X_NDJSON") == opened(STORED)[0].layout("APPLICATION_X_NDJSON")


def test_before_a_resumed_reading_gets_anywhere_its_border_is_the_one_it_was_given():
    """A worker that dies at once must not send the next one to the begin."""
    text, _ = opened(STORED, border=BORDERS[2])
    assert text.border_before(170_000) == BORDERS[2]


def test_a_border_that_was_inflated_already_costs_no_request():
    """Looking at the first bytes went past it."""
    with mock.patch.object(plain_text, "HEAD_BYTES", 100_000):
        text, bucket = opened(STORED, border=BORDERS[1])
        assert b"".join(text.read(90_000)) == TEXT[90_000:]
    assert (bucket.journal, text.sha256()) == ([(0, None)], hashlib.sha256(STORED).hexdigest())


def test_going_back_begins_at_the_last_border_before():
    """Not at the first byte."""
    text, bucket = opened(STORED)
    list(text.read(0))
    assert b"".join(text.read(170_000, 170_010)) == TEXT[170_000:170_010]
    assert bucket.journal == [(0, None), (BORDERS[2].stored_offset, None)]


def test_of_a_million_members_few_are_remembered():
    """In constant memory: the last one asked for, and the latest. From the former the way may be longer."""
    lines = TEXT.splitlines(keepends=True)
    members = [gzip.compress(line, 1, mtime=0) for line in lines]
    stored = b"".join(members)
    with mock.patch.object(plain_text, "MOST_BORDERS", 33):
        text, _ = opened(stored)
        list(text.read(0))
        assert len(text._borders) == 33
        assert text.border_before(len(TEXT) // 2) == Border(0, 0)
        near = len(TEXT) - len(lines[-1]) - 5
        border = text.border_before(near)
        assert border == Border(len(stored) - sum(map(len, members[-2:])), len(TEXT) - sum(map(len, lines[-2:])))
        assert b"".join(opened(stored, border=border)[0].read(near)) == TEXT[near:]


def test_of_empty_members_the_last_is_remembered():
    """As many as one likes: they are one place of the text."""
    stored = gzip.compress(TEXT, mtime=0) + gzip.compress(b"", mtime=0) * 3_000
    text, _ = opened(stored)
    list(text.read(0))
    assert text.border_before(len(TEXT)) == Border(len(stored) - len(gzip.compress(b"", mtime=0)), len(TEXT))
    assert len(text._borders) == 1


@settings(deadline=None, max_examples=examples(200))
@given(st.data())
def test_however_often_a_reading_is_handed_on_the_text_is_the_text(data: st.DataObject):
    """Workers that read some slices each and hand on the border and nothing else, in chunks of any size."""
    sizes = data.draw(st.lists(st.integers(0, 900), min_size=1, max_size=12))
    begins = [0, *accumulate(sizes)]
    body = TEXT[: begins[-1]]
    stored = b"".join(gzip.compress(body[begin:end], mtime=0) + b"\0" * (begin % 3) for begin, end in pairwise(begins))
    read, border, at = b"", None, 0
    with mock.patch.object(plain_text, "HEAD_BYTES", 64):
        while at < len(body):
            text, _ = opened(stored, data.draw(st.integers(1, 500)), border)
            for _ in range(data.draw(st.integers(1, 3))):
                stop = min(at + data.draw(st.integers(1, 2_000)), len(body))
                read += b"".join(text.read(at, stop))
                at = stop
            border = text.border_before(at)
            assert border is not None
    assert read == body


# -- members too long to be gone on with -----------------------------------------------------------------------------


def test_the_longest_member_is_a_third_of_an_invocations_work():
    """At the speed of a small Lambda; 8 GB in 300 s."""
    assert longest_member_bytes(300_000) == 8_000_000_000


def refusal_of(text: PlainText) -> tuple[FileReason, str] | None:
    try:
        text.judge_members()
    except ObjectProblem as problem:
        return problem.code, problem.message.partition(" bytes:")[0]
    return None


NOISE = random.Random(1).randbytes(3 << 20).hex().encode()  # 6 MB that gzip packs in half


def too_long(begin: int, longest: int) -> tuple[FileReason, str]:
    return FileReason.EXPANDS_TOO_MUCH, f"the gzip member at byte {begin} expands to more than {longest}"


def test_a_first_member_that_is_too_long_is_refused_before_anything_is_written():
    """It is inflated as far as the limit."""
    stored = gzip.compress(NOISE, 1, mtime=0)
    for longest, refused in ((len(NOISE), False), (len(NOISE) - 1, True)):
        text, bucket = opened(stored, longest=longest)
        assert refusal_of(text) == (too_long(0, longest) if refused else None)
        assert bucket.journal == [(0, None), (0, None)]
        if not refused:  # and then read as if nothing had been
            assert (b"".join(text.read(0)), text.sha256()) == (NOISE, hashlib.sha256(stored).hexdigest())


def test_files_that_cannot_exceed_the_limit_cost_nothing():
    """Plain ones, small ones, and all where there is no limit."""
    for stored, longest in ((NOISE, 1), (STORED, len(STORED) * 1_100), (STORED, None)):
        text, bucket = opened(stored, longest=longest)
        assert (refusal_of(text), bucket.journal) == (None, [(0, None)])


def test_a_look_at_the_first_mebibyte_is_enough_for_most_files():
    """Packed twice as tight, the rest would still fit."""
    stored = gzip.compress(NOISE, 1, mtime=0)
    bucket = Bucket(stored, 10_000)
    breaths: list[int] = []
    source = S3Object("b", "k", None, "e", len(stored), 0)
    text = PlainText(bucket, source, lambda: breaths.append(1), None, len(NOISE) * 3)  # type: ignore[arg-type]
    breaths.clear()
    text.judge_members()
    assert 0.9 * plain_text.SAMPLED_BYTES < len(breaths) * 10_000 < 1.2 * plain_text.SAMPLED_BYTES < len(stored) / 2


def test_a_file_is_judged_by_its_first_member_that_holds_something():
    """A tool that packs in several threads may begin with a frame of notes."""
    notes, rows = gzip.compress(b"", mtime=0), gzip.compress(NOISE[:400_000], 1, mtime=0)
    text, bucket = opened(notes + rows * 20, 10_000, longest=400_000)
    assert (refusal_of(text), bucket.journal) == (None, [(0, None)] * 2)
    assert refusal_of(opened(notes + rows * 20, 10_000, longest=399_999)[0]) == too_long(len(notes), 399_999)


def test_a_later_member_that_is_too_long_ends_the_reading():
    """After the rows before it."""
    stored = gzip.compress(TEXT, mtime=0) + gzip.compress(NOISE, 1, mtime=0)
    text, _ = opened(stored, longest=len(TEXT))
    text.judge_members()
    assert b"".join(text.read(0, len(TEXT))) == TEXT
    with pytest.raises(ObjectProblem) as raised:
        list(text.read(len(TEXT)))
    assert raised.value.code is FileReason.EXPANDS_TOO_MUCH


def test_a_damaged_file_is_judged_by_its_damage_when_it_is_read():
    """The rows before it are imported."""
    stored = gzip.compress(NOISE, 1, mtime=0)[:-9]
    text, _ = opened(stored, longest=len(NOISE))
    assert refusal_of(text) is None
    with pytest.raises(ObjectProblem) as raised:
        list(text.read(0))
    assert raised.value.code is FileReason.TRUNCATED


# -- the hash of what is stored ----------------------------------------------------------------------------------------


class Notes:
    """A notebook whose owner stops after some pages."""

    def __init__(self, keeps_left: int) -> None:
        self.pages: dict[str, Any] = {}
        self.keeps_left = keeps_left

    def page(self, step: str) -> dict[str, Any]:
        return self.pages.get(step, {})

    def keep(self, step: str, page: dict[str, Any], at_once: bool = False) -> None:
        self.pages[step] = page
        self.keeps_left -= 1
        if self.keeps_left == 0:
            raise TimeIsUp


def test_the_hash_of_an_object_is_gone_on_with():
    """Where no single worker read all of it."""
    bucket, notebook = Bucket(TEXT, 10_000), Notes(keeps_left=5)
    source = S3Object("b", "k", None, "e", len(TEXT), 0)
    with pytest.raises(TimeIsUp):
        hash_of(bucket, source, notebook)  # type: ignore[arg-type]
    assert hash_of(bucket, source, notebook) == hashlib.sha256(TEXT).hexdigest()  # type: ignore[arg-type]
    assert (bucket.journal, list(notebook.pages)) == ([(0, None), (50_000, None)], ["hash"])
