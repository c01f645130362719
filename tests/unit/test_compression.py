"""Compressed bytes → plain bytes: the end is checked, memory is bounded, and no damage passes quietly."""

import gzip
import random
import tracemalloc
import zlib
from collections.abc import Iterator

import pytest
import zstandard

from importer import compression
from importer.bad_rows import FileReason, ObjectProblem
from importer.compression import OUT_BYTES, is_compressed, opened, peeked

TEXT = b"".join(b'{"row":%d}\n' % number for number in range(400))
HALF = len(TEXT) // 2
SKIPPABLE = bytes([0x53, 0x2A, 0x4D, 0x18]) + (5).to_bytes(4, "little") + b"notes"


def gz(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


def zst(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(write_checksum=True).compress(data)


def zst_streamed(data: bytes) -> bytes:
    """Without the content's size in the frame, as a pipe makes it."""
    compressor = zstandard.ZstdCompressor(write_checksum=True).compressobj()
    return compressor.compress(data) + compressor.flush()


def cut(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


def outcome(data: bytes, chunk_bytes: int = 1 << 16) -> bytes | FileReason:
    try:
        return b"".join(opened(cut(data, chunk_bytes))[1])
    except ObjectProblem as problem:
        return problem.code


WHOLE = {
    "gzip": gz(TEXT),
    "gzip of two members": gz(TEXT[:HALF]) + gz(TEXT[HALF:]),
    "gzip with an empty member": gz(TEXT) + gz(b""),
    "gzip of one member a line": b"".join(gz(line + b"\n") for line in TEXT.splitlines()),
    "gzip with name and comment": gz(b"")[:3] + b"\x18" + gz(b"")[4:10] + b"name\0comment\0" + gz(TEXT)[10:],
    "gzip with padding": gz(TEXT) + b"\0" * 1_000,
    "zstd": zst(TEXT),
    "zstd of two frames": zst(TEXT[:HALF]) + zst_streamed(TEXT[HALF:]),
    "zstd without size": zst_streamed(TEXT),
    "zstd behind a skippable frame": SKIPPABLE + zst(TEXT),
    "zstd before a skippable frame": zst(TEXT) + SKIPPABLE,
    "zstd around a skippable frame": zst(TEXT[:HALF]) + SKIPPABLE + zst(TEXT[HALF:]),
}


@pytest.mark.parametrize("data", WHOLE.values(), ids=WHOLE.keys())
def test_every_member_is_read_whatever_the_chunks(data: bytes):
    """Members and frames are one file (D2, D3), also when a chunk ends inside a magic number."""
    sizes = {*range(1, 40), 100, 1_000, len(data) - 1, len(data)}
    assert is_compressed(data)
    assert {outcome(data, size) for size in sizes} == {TEXT}


@pytest.mark.parametrize(
    "data", [gz(b""), zst(b""), zst_streamed(b""), SKIPPABLE], ids=["gzip", "zstd", "stream", "skippable"]
)
def test_nothing_compressed_is_an_empty_file(data: bytes):
    """A finished import of no rows."""
    assert [outcome(data, size) for size in (1, 3, 100)] == [b""] * 3


ONE_MEMBER = {
    "gzip": gz(TEXT),
    "zstd": zst(TEXT),
    "zstd without size": zst_streamed(TEXT),
    "skippable": SKIPPABLE + zst(b""),
}


@pytest.mark.parametrize("data", ONE_MEMBER.values(), ids=ONE_MEMBER.keys())
def test_stream_cut_at_any_byte_is_truncated(data: bytes):
    """Never a quiet end (D1, D3)."""
    border = len(SKIPPABLE) if data.startswith(SKIPPABLE) else 0  # there it is whole
    for chunk_bytes in (1, 1 << 16):
        ends = {outcome(data[:length], chunk_bytes) for length in range(4, len(data)) if length != border}
        assert ends == {FileReason.TRUNCATED}


@pytest.mark.parametrize("compress", [gz, zst, zst_streamed])
def test_second_member_cut_at_any_byte_is_truncated(compress: object):
    """The first one's proper end is no excuse."""
    first, second = compress(TEXT[:HALF]), compress(TEXT[HALF:])  # type: ignore[operator]
    ends = {outcome(first + second[:length], 37) for length in range(1, len(second))}
    assert ends == {FileReason.TRUNCATED}


@pytest.mark.parametrize("data", ONE_MEMBER.values(), ids=ONE_MEMBER.keys())
def test_flipped_byte_is_a_problem_or_changes_nothing(data: bytes):
    """Checksums are checked; what a header says beside the data may change without harm."""
    expected = outcome(data)
    for at in range(4, len(data)):
        for flip in (0x01, 0x80, 0xFF):
            damaged = data[:at] + bytes([data[at] ^ flip]) + data[at + 1 :]
            assert outcome(damaged) in (expected, FileReason.CORRUPT, FileReason.TRUNCATED), (at, flip)


GARBAGE = {
    "gzip and text": gz(TEXT) + b"garbage",
    "gzip and text after padding": gz(TEXT) + b"\0\0\0garbage",
    "gzip and plain rows": gz(TEXT) + TEXT,
    "zstd and text": zst(TEXT) + b"garbage",
    "zstd and zeros": zst(TEXT) + b"\0" * 8,
    "zstd and gzip": zst(TEXT) + gz(TEXT),
    "gzip and zstd": gz(TEXT) + zst(TEXT),
}


@pytest.mark.parametrize("data", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_behind_the_last_member_is_corrupt(data: bytes):
    """Only zeros behind gzip are padding."""
    assert {outcome(data, size) for size in (1, 5, 1 << 16)} == {FileReason.CORRUPT}


def test_random_bytes_behind_a_magic_number_are_refused():
    """Whatever they are, they end in a problem and never in rows."""
    dice = random.Random(7)
    for magic in (b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd"):
        ends = {outcome(magic + dice.randbytes(60)) for _ in range(200)}
        assert ends <= {FileReason.CORRUPT, FileReason.TRUNCATED}


def test_empty_chunks_change_nothing():
    """Bytes may be cut anywhere, also into nothing."""
    for data in (gz(TEXT), zst(TEXT), TEXT):
        assert b"".join(opened([b"", data[:1], b"", data[1:9], b"", data[9:], b""])[1]) == TEXT


def test_window_larger_than_the_cap_is_refused():
    """A frame may ask for 2 GB of memory before its first byte (D3)."""
    parameters = zstandard.ZstdCompressionParameters(window_log=28, compression_level=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert outcome(compressor.compress(b"x") + compressor.flush()) == FileReason.CORRUPT


def test_widest_window_within_the_cap_is_read():
    """What `zstd --ultra --long=27` makes."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, compression_level=1)
    compressor = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    assert outcome(compressor.compress(TEXT) + compressor.flush()) == TEXT


def zeros(kind: str, mebibytes: int) -> bytes:
    block = b"\0" * (1 << 20)
    compressor = zlib.compressobj(9, wbits=31) if kind == "gzip" else zstandard.ZstdCompressor().compressobj()
    return b"".join(compressor.compress(block) for _ in range(mebibytes)) + compressor.flush()


@pytest.mark.parametrize(("kind", "most_mebibytes"), [("gzip", 8), ("zstd", 100)])
def test_bomb_costs_time_and_never_memory(kind: str, most_mebibytes: int):
    """256 MiB of zeros in a few kilobytes pass in chunks of at most OUT_BYTES (D4)."""
    data = zeros(kind, 256)
    tracemalloc.start()
    sizes = [len(chunk) for chunk in opened([data])[1]]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (sum(sizes), max(sizes) <= OUT_BYTES, peak < most_mebibytes << 20) == (256 << 20, True, True)


def test_bomb_is_refused_once_its_ratio_is_beyond_all_reason(monkeypatch: pytest.MonkeyPatch):
    """zstd packs zeros 32,000:1; gzip cannot come near the limit."""
    monkeypatch.setattr(compression, "RATIO_FREE_BYTES", 8 << 20)
    assert outcome(zeros("zstd", 32)) == FileReason.EXPANDS_TOO_MUCH
    assert outcome(zeros("gzip", 32)) == b"\0" * (32 << 20)
    assert outcome(zst(b"\0" * (8 << 20))) == b"\0" * (8 << 20)


@pytest.mark.parametrize(
    ("head", "compressed"),
    [
        (b"\x1f\x8b\x08\x00", True),
        (b"\x28\xb5\x2f\xfd", True),
        (SKIPPABLE[:4], True),
        (b'{"a"', False),
        (b"", False),
        (b"\x1f", False),
        (b"\x28\xb5\x2f\xfe", False),
    ],
)
def test_content_tells_what_is_compressed(head: bytes, compressed: bool):
    """The name is only a hint (D5)."""
    assert is_compressed(head) is compressed


@pytest.mark.parametrize(
    ("head", "name"),
    [(b"PK\x03\x04rest", "zip"), (b"BZh91AY", "bzip2"), (b"\xfd7zXZ\x00", "xz"), (b"\xff\x06\x00\x00sNaPpY", "snappy")],
)
def test_other_containers_are_named_and_refused(head: bytes, name: str):
    """With the remedy (D6)."""
    with pytest.raises(ObjectProblem) as refused:
        opened([head[:2], head[2:], b"more" * 9])
    assert (refused.value.code, f"the content is {name}" in refused.value.message) == (FileReason.WRONG_KIND, True)


@pytest.mark.parametrize(
    ("data", "name"), [(gz(TEXT), "gzip"), (zst(TEXT), "zstd"), (SKIPPABLE + zst(TEXT), "zstd"), (TEXT, "")]
)
def test_opening_tells_by_what_the_bytes_were_packed(data: bytes, name: str):
    """Plain text passes as it is."""
    found, text = opened(cut(data, 3))
    assert (found, b"".join(text)) == (name, TEXT)


@pytest.mark.parametrize("text", [b"", b"x", b"PK", b'{"PK":1}', b"\x1f", b"BZ"])
def test_short_or_plain_bytes_are_no_container(text: bytes):
    """What is too short to have a magic number is text."""
    assert (opened([text])[0], b"".join(opened([text])[1])) == ("", text)


def test_peeking_takes_nothing_away():
    """At least so many bytes, if there are; then all the chunks again."""
    chunks = [b"", b"ab", b"", b"cd", b"ef"]
    for least_bytes, head in [(0, b""), (1, b"ab"), (2, b"ab"), (3, b"abcd"), (9, b"abcdef")]:
        seen, again = peeked(chunks, least_bytes)
        assert (seen, list(again)) == (head, chunks)
