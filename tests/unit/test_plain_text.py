"""The plain text of an object from any offset: what is asked of the bucket, and that every byte is the right one."""

import gzip
import hashlib
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.executions import plain_text
from importer.executions.plain_text import PlainText
from importer.model import S3Object

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


def opened(stored: bytes, chunk_bytes: int = 50_000) -> tuple[PlainText, Bucket]:
    bucket = Bucket(stored, chunk_bytes)
    return PlainText(bucket, S3Object("b", "k", None, "e", len(stored), 0)), bucket  # type: ignore[arg-type]


@pytest.mark.parametrize("stored", [TEXT, gzip.compress(TEXT, mtime=0)], ids=["plain", "gzip"])
@settings(deadline=None, max_examples=60)
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
