"""Broken gzip and zstd by the thousand: every cut and every flipped bit of small streams, against independent judges.

What may differ from the judges, and nothing else:

- gzip: Python does not look at a header's own checksum (FHCRC) nor at reserved flags; zlib does, so we may refuse what
  it reads. What Python reads is otherwise what we read, and what it refuses we refuse.
- zstd: no difference. The judge walks the frames by RFC 8878 and gives the library one whole frame at a time.
- The first 2 bytes of gzip and 4 of zstd tell what a file is: shorter or other ones make it text, judged by its rows.

And each file of several members, whole or broken, is read again from every border: never with another result.
"""

import gzip
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from unittest import mock

import pytest
import zstandard

from importer import compression
from importer.bad_rows import FileReason, ObjectProblem
from importer.compression import FIRST, ZSTD_WINDOW_BYTES, opened, opened_at
from importer.executions import plain_text
from importer.executions.plain_text import PlainText
from importer.model import Border, S3Object

TEXT = b"".join(b'{"row":%d}\n' % number for number in range(12))
REFUSED = {FileReason.TRUNCATED, FileReason.CORRUPT}
FTEXT, FHCRC, FEXTRA, FNAME, FCOMMENT = 1, 2, 4, 8, 16  # RFC 1952 2.3.1


def outcome(stored: bytes, chunk_bytes: int) -> bytes | FileReason:
    """All of it or nothing; anything but a problem of the object is an error of ours and comes through."""
    try:
        pieces = (stored[at : at + chunk_bytes] for at in range(0, len(stored), chunk_bytes))
        return b"".join(opened(pieces)[1])
    except ObjectProblem as problem:
        return problem.code


def flipped(stored: bytes, begin: int) -> Iterator[bytes]:
    """One bit at a time, from a byte on."""
    for at in range(begin, len(stored)):
        for bit in range(8):
            yield stored[:at] + bytes([stored[at] ^ 1 << bit]) + stored[at + 1 :]


# --- gzip -----------------------------------------------------------------------------------------------------------


def member(data: bytes, flags: int = 0, level: int = 9, strategy: int = zlib.Z_DEFAULT_STRATEGY) -> bytes:
    """A gzip member with every optional field its flags ask for."""
    head = b"\x1f\x8b\x08" + bytes([flags]) + b"\x01\x02\x03\x04\x02\x03"
    if flags & FEXTRA:
        head += struct.pack("<H", 8) + b"AB\x04\x00more"
    if flags & FNAME:
        head += b"rows.json\0"
    if flags & FCOMMENT:
        head += b"ein Gru\xdf\0"
    if flags & FHCRC:
        head += struct.pack("<H", zlib.crc32(head) & 0xFFFF)
    deflate = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
    return head + deflate.compress(data) + deflate.flush() + struct.pack("<II", zlib.crc32(data), len(data))


def flushed(data: bytes, mode: int) -> bytes:
    """A member of many blocks, as a logger that flushes each line writes it."""
    deflate = zlib.compressobj(6, zlib.DEFLATED, 31)
    return b"".join(deflate.compress(line) + deflate.flush(mode) for line in data.splitlines(True)) + deflate.flush()


GZIPS = {
    "plain": member(TEXT),
    "every header field": member(TEXT, FTEXT | FHCRC | FEXTRA | FNAME | FCOMMENT),
    "stored blocks": member(TEXT, level=0),
    "fixed codes": member(TEXT, strategy=zlib.Z_FIXED),
    "run lengths": member(b"a" * 300, strategy=zlib.Z_RLE),
    "flushed after each line": flushed(TEXT, zlib.Z_SYNC_FLUSH),
    "full flush after each line": flushed(TEXT, zlib.Z_FULL_FLUSH),
    "nothing": member(b""),
    "three members, one of nothing": member(TEXT[:40]) + member(b"", FNAME) + member(TEXT[40:]),
    "padding between and after": member(TEXT[:40]) + b"\0" * 9 + member(TEXT[40:]) + b"\0" * 5,
}


def python_reads(stored: bytes) -> bytes | None:
    try:
        return gzip.decompress(stored)
    except (EOFError, gzip.BadGzipFile, zlib.error):
        return None


def header_differs(stored: bytes) -> bool:
    """Whether the headers hold what only zlib looks at: reserved flags, or a checksum."""
    rest, found = stored, False
    while rest.startswith(b"\x1f\x8b") and len(rest) > 3:
        found |= bool(rest[3] & (0xE0 | FHCRC))
        inflater = zlib.decompressobj(31)
        try:
            inflater.decompress(rest)
        except zlib.error:
            return found
        if not inflater.eof:
            return found
        rest = inflater.unused_data.lstrip(b"\0")
    return found


def assert_as_python_judges(stored: bytes) -> None:
    wanted = python_reads(stored)
    for chunk_bytes in (7, len(stored)):
        found = outcome(stored, chunk_bytes)
        if wanted is None:
            assert found in REFUSED, (stored.hex(), found)
        else:
            assert found == wanted or (found in REFUSED and header_differs(stored)), (stored.hex(), found, wanted)


@pytest.mark.parametrize("stored", GZIPS.values(), ids=GZIPS.keys())
def test_gzip_is_read_as_python_reads_it(stored: bytes):
    """Each optional field of the header, each kind of block, members and padding (D2)."""
    assert outcome(stored, 3) == gzip.decompress(stored)


@pytest.mark.parametrize("stored", GZIPS.values(), ids=GZIPS.keys())
def test_gzip_cut_anywhere_is_truncated_or_ends_where_a_member_does(stored: bytes):
    """Never a quiet end (D1): whole is only what ends behind a member or in the padding, by Python's judgement."""
    for length in range(2, len(stored)):
        whole = python_reads(stored[:length])
        for chunk_bytes in (5, length):
            wanted = FileReason.TRUNCATED if whole is None else whole
            assert outcome(stored[:length], chunk_bytes) == wanted, length


@pytest.mark.parametrize("stored", GZIPS.values(), ids=GZIPS.keys())
def test_gzip_with_any_bit_flipped_is_judged_as_python_judges_it(stored: bytes):
    """The same bytes, or truncated or corrupt (D1)."""
    for damaged in flipped(stored, 2):
        assert_as_python_judges(damaged)


def test_gzip_with_wrong_trailer_is_corrupt():
    """Checksum and length are both held against what came out."""
    whole = member(TEXT)
    for trailer in ((0, len(TEXT)), (zlib.crc32(TEXT), len(TEXT) + 1), (zlib.crc32(TEXT), 0)):
        damaged = whole[:-8] + struct.pack("<II", *trailer)
        assert outcome(damaged + member(TEXT), 11) == FileReason.CORRUPT


def test_gzip_with_reserved_flags_or_a_wrong_header_checksum_is_corrupt():
    """RFC 1952 2.3.1.2: such a header may hold what cannot be read rightly. Python reads on."""
    for flag in (0x20, 0x40, 0x80):
        damaged = bytearray(member(TEXT))
        damaged[3] |= flag
        assert (outcome(bytes(damaged), 9), python_reads(bytes(damaged))) == (FileReason.CORRUPT, TEXT)
    damaged = bytearray(member(TEXT, FHCRC))
    damaged[10] ^= 1
    assert (outcome(bytes(damaged), 9), python_reads(bytes(damaged))) == (FileReason.CORRUPT, TEXT)


def test_gzip_spliced_at_random_is_judged_as_python_judges_it():
    """Pieces left out, doubled, swapped, overwritten: what broken uploads and broken disks leave."""
    dice = random.Random(1952)
    for _ in range(3_000):
        stored = dice.choice(list(GZIPS.values()))
        a, b = sorted(dice.randrange(2, len(stored) + 1) for _ in range(2))
        piece = dice.choice([b"", stored[a:b] * 2, b"\0" * (b - a), dice.randbytes(b - a), stored[:b]])
        damaged = stored[:a] + piece + stored[b:]
        assert_as_python_judges(damaged)


# --- zstd -----------------------------------------------------------------------------------------------------------

BLOCKS = {"raw": 0, "rle": 1}
SKIPPED = b"\x5a\x2a\x4d\x18" + struct.pack("<I", 3) + b"abc"


def by_hand(*blocks: tuple[str, bytes, int]) -> bytes:
    """A frame without content size nor checksum, of raw and run-length blocks (RFC 8878 3.1.1.2)."""
    frame = b"\x28\xb5\x2f\xfd\x00\x50"
    for index, (kind, content, size) in enumerate(blocks):
        header = (size << 3) | (BLOCKS[kind] << 1) | (index == len(blocks) - 1)
        frame += header.to_bytes(3, "little") + content
    return frame


def frame(data: bytes, level: int = 3, *, streamed: bool = False, **settings: bool) -> bytes:
    compressor = zstandard.ZstdCompressor(level=level, **settings)
    if not streamed:
        return compressor.compress(data)
    writer = compressor.compressobj()
    flush_block = zstandard.COMPRESSOBJ_FLUSH_BLOCK
    pieces = [writer.compress(line) + writer.flush(flush_block) for line in data.splitlines(True)]
    return b"".join(pieces) + writer.flush()


ZSTDS = {
    "with size and checksum": frame(TEXT, write_checksum=True),
    "without size": frame(TEXT, streamed=True, write_checksum=True, write_content_size=False),
    "without checksum": frame(TEXT, 19, write_checksum=False),
    "raw blocks": by_hand(("raw", b"abc\n", 4), ("raw", b"", 0), ("raw", b"de\n", 3)),
    "run-length blocks": by_hand(("rle", b"a", 300), ("raw", b"\n", 1)),
    "block of the largest size": by_hand(("rle", b"a", 128 << 10)),
    "nothing, with size": frame(b"", write_checksum=True),
    "nothing, without size": by_hand(("raw", b"", 0)),
    "frames and a skippable one": frame(TEXT[:40], write_checksum=True) + SKIPPED + frame(TEXT[40:], streamed=True),
    "skippable one first and last": SKIPPED + frame(TEXT, write_checksum=True) + SKIPPED,
}


def extent(stored: bytes, begin: int) -> int | None:
    """Where the frame that begins here ends; None if the bytes end before it does. Raises ValueError: it is none."""
    try:
        (magic,) = struct.unpack_from("<I", stored, begin)
        if magic & 0xFFFFFFF0 == 0x184D2A50:
            stop = begin + 8 + int(struct.unpack_from("<I", stored, begin + 4)[0])
            return stop if stop <= len(stored) else None
        if magic != 0xFD2FB528:
            raise ValueError("no frame begins here")
        descriptor = stored[begin + 4]
        single, dictionary = descriptor >> 5 & 1, (0, 1, 2, 4)[descriptor & 3]
        size = (single, 2, 4, 8)[descriptor >> 6]
        at = begin + 5 + (1 - single) + dictionary + size
        while True:
            block = int.from_bytes(stored[at : at + 3].ljust(3, b"\xff"), "little") if at + 3 <= len(stored) else None
            if block is None:
                return None
            at += 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
            if block & 1:
                break
        at += 4 * (descriptor >> 2 & 1)
        return at if at <= len(stored) else None
    except (struct.error, IndexError):
        return None


def library_reads(stored: bytes) -> bytes | None:
    """All frames, each read by one call of the library; None for anything less."""
    plain, at = b"", 0
    library = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    while at < len(stored):
        try:
            stop = extent(stored, at)
            if stop is None:
                return None
            if stored[at : at + 4] == b"\x28\xb5\x2f\xfd":
                plain += library.stream_reader(stored[at:stop], read_across_frames=False).read()
            at = stop
        except (ValueError, zstandard.ZstdError):
            return None
    return plain


@pytest.mark.parametrize("stored", ZSTDS.values(), ids=ZSTDS.keys())
def test_zstd_is_read_as_the_library_reads_it_frame_by_frame(stored: bytes):
    """Each kind of block and header, frames and skippable ones (D3)."""
    assert outcome(stored, 3) == library_reads(stored) != None  # noqa: E711


@pytest.mark.parametrize("stored", ZSTDS.values(), ids=ZSTDS.keys())
def test_zstd_cut_anywhere_is_truncated_or_ends_where_a_frame_does(stored: bytes):
    """Never a quiet end (D3)."""
    for length in range(4, len(stored)):
        whole = library_reads(stored[:length])
        for chunk_bytes in (5, length):
            wanted = FileReason.TRUNCATED if whole is None else whole
            assert outcome(stored[:length], chunk_bytes) == wanted, length


@pytest.mark.parametrize("stored", ZSTDS.values(), ids=ZSTDS.keys())
def test_zstd_with_any_bit_flipped_is_judged_as_the_library_judges_it(stored: bytes):
    """The same bytes, or a problem; without a checksum a flipped letter is a letter to both."""
    with mock.patch.object(compression._ZstdFrame, "_SLICE", 64):
        for damaged in flipped(stored, 4):
            wanted = library_reads(damaged)
            for chunk_bytes in (7, len(damaged)):
                found = outcome(damaged, chunk_bytes)
                if wanted is None:
                    assert found in REFUSED | {FileReason.WRONG_KIND}, (damaged.hex(), found)
                else:
                    assert found == wanted, (damaged.hex(), found, wanted)


def test_zstd_block_larger_than_the_format_allows_is_corrupt():
    """128 KiB is the most; the library says so, and nothing is read past it."""
    assert outcome(by_hand(("rle", b"a", (128 << 10) + 1)), 9) == FileReason.CORRUPT


def test_zstd_with_a_reserved_block_type_is_corrupt():
    """RFC 8878 3.1.1.2.2."""
    assert outcome(b"\x28\xb5\x2f\xfd\x00\x50" + (7).to_bytes(3, "little") + b"abc", 2) == FileReason.CORRUPT


def test_zstd_with_another_size_than_it_promised_is_corrupt():
    """The size in the header is held against what came out."""
    whole = bytearray(frame(TEXT, write_checksum=False))
    assert whole[4] == 0x20  # one byte of size follows
    whole[5] ^= 1
    assert outcome(bytes(whole), 9) == FileReason.CORRUPT


def test_zstd_frame_that_lost_a_block_is_corrupt():
    """The library does not hold a frame that ends in an empty block against the size it promised: we do (D3)."""
    head = b"\x28\xb5\x2f\xfd\x20\x08"  # one segment of 8 bytes, no checksum
    first, second, end = (by_hand(("raw", text, len(text)))[6:] for text in (b"abcd", b"efgh", b""))
    first, second = (bytes([block[0] & 0xFE]) + block[1:] for block in (first, second))  # not the last of the frame
    assert [outcome(head + first + second + end, size) for size in (1, 99)] == [b"abcdefgh"] * 2
    assert [outcome(head + first + end, size) for size in (1, 99)] == [FileReason.CORRUPT] * 2


def test_zstd_spliced_at_random_is_judged_as_the_library_judges_it():
    """Pieces left out, doubled, swapped, overwritten."""
    dice = random.Random(8878)
    for _ in range(3_000):
        stored = dice.choice(list(ZSTDS.values()))
        a, b = sorted(dice.randrange(4, len(stored) + 1) for _ in range(2))
        piece = dice.choice([b"", stored[a:b] * 2, b"\0" * (b - a), dice.randbytes(b - a), stored[:b]])
        damaged = stored[:a] + piece + stored[b:]
        wanted, found = library_reads(damaged), outcome(damaged, 13)
        if wanted is None:
            assert found in REFUSED | {FileReason.WRONG_KIND}, damaged.hex()
        else:
            assert found == wanted, damaged.hex()


# --- resumed at a border --------------------------------------------------------------------------------------------


class Told:
    """What a reading gives: bytes, and the problem in full words; and the borders it met."""

    def __init__(self, begin: Callable[[Callable[[Border], None]], Iterator[bytes]]) -> None:
        self.borders: list[Border] = []
        self.plain = b""
        self.problem: tuple[FileReason, str] | None = None
        try:
            for out in begin(self.borders.append):
                self.plain += out
        except ObjectProblem as problem:
            self.problem = problem.code, problem.message

    def from_on(self, border: Border) -> tuple[bytes, tuple[FileReason, str] | None, list[Border]]:
        met = [each for each in self.borders if each.stored_offset >= border.stored_offset]
        return self.plain[border.plain_offset :], self.problem, met


def pieces_of(stored: bytes, chunk_bytes: int) -> Iterator[bytes]:
    return (stored[at : at + chunk_bytes] for at in range(0, len(stored), chunk_bytes))


def assert_same_from_every_border(stored: bytes, name: str) -> int:
    """How many borders there were.

    Compared with what lies below `opened`, which looks at 512 plain bytes before it gives the first: damage before
    them leaves nothing to resume.
    """
    whole = Told(lambda met: opened_at(FIRST, pieces_of(stored, 50), name, met))
    assert whole.problem == Told(lambda met: opened([stored], met)[1]).problem
    for border in whole.borders:
        for chunk_bytes in (3, len(stored)):
            chunks = pieces_of(stored[border.stored_offset :], chunk_bytes)
            again = Told(lambda met: opened_at(border, chunks, name, met))  # noqa: B023
            found = (again.plain, again.problem, again.borders)
            assert found == whole.from_on(border), (stored.hex(), border, chunk_bytes)
    return len(whole.borders)


THREE_GZIPS = member(TEXT[:50], FNAME) + b"\0" * 5 + member(b"") + member(TEXT[50:70]) + flushed(TEXT[70:], 2) + b"\0"
THREE_ZSTDS = (
    SKIPPED + frame(TEXT[:50], write_checksum=True) + SKIPPED + frame(b"") + frame(TEXT[50:], 1, write_checksum=True)
)
SEVERAL = {"gzip": THREE_GZIPS, "zstd": THREE_ZSTDS}
SMALL_BLOCKS = (7, 64, 1 << 16)


@pytest.mark.parametrize("block_bytes", SMALL_BLOCKS)
@pytest.mark.parametrize(("name", "stored"), SEVERAL.items(), ids=SEVERAL.keys())
def test_from_every_border_a_whole_file_is_the_same(name: str, stored: bytes, block_bytes: int):
    """Bytes, further borders and the quiet end, however blocks and chunks fall."""
    with mock.patch.object(compression, "BLOCK_BYTES", block_bytes):
        assert assert_same_from_every_border(stored, name) == {"gzip": 4, "zstd": 5}[name]


@pytest.mark.parametrize("block_bytes", SMALL_BLOCKS)
@pytest.mark.parametrize(("name", "stored"), SEVERAL.items(), ids=SEVERAL.keys())
def test_from_every_border_a_file_cut_anywhere_is_the_same(name: str, stored: bytes, block_bytes: int):
    """Whole or truncated: a resumed import ends as the one that was not interrupted (D1, D3)."""
    with mock.patch.object(compression, "BLOCK_BYTES", block_bytes):
        assert all(assert_same_from_every_border(stored[:length], name) for length in range(4, len(stored)))


@pytest.mark.parametrize("block_bytes", SMALL_BLOCKS)
@pytest.mark.parametrize(("name", "stored"), SEVERAL.items(), ids=SEVERAL.keys())
def test_from_every_border_a_file_with_any_bit_flipped_is_the_same(name: str, stored: bytes, block_bytes: int):
    """The same rows before the damage, the same words about it."""
    with (
        mock.patch.object(compression, "BLOCK_BYTES", block_bytes),
        mock.patch.object(compression._ZstdFrame, "_SLICE", 16),
    ):
        assert all(assert_same_from_every_border(damaged, name) for damaged in flipped(stored, 4))


@pytest.mark.parametrize("block_bytes", SMALL_BLOCKS)
@pytest.mark.parametrize(("name", "stored"), SEVERAL.items(), ids=SEVERAL.keys())
def test_from_every_border_garbage_behind_the_last_member_is_found_alike(name: str, stored: bytes, block_bytes: int):
    """One letter, text, the begin of a member, the other kind's member; behind zeros too."""
    with mock.patch.object(compression, "BLOCK_BYTES", block_bytes):
        for garbage in (b"x", b"garbage" * 9, b"\0\0x", stored[:2], stored[:30], SEVERAL["gzip"], SEVERAL["zstd"]):
            assert assert_same_from_every_border(stored + garbage, name) >= 4


@pytest.mark.parametrize(("name", "stored"), SEVERAL.items(), ids=SEVERAL.keys())
def test_from_every_border_a_bomb_is_refused_at_the_same_byte(name: str, stored: bytes):
    """The ratio is counted from the object's begin, wherever reading began (D4)."""
    bomb = member(b"\0" * 30_000) if name == "gzip" else frame(b"\0" * 300_000)
    with (
        mock.patch.object(compression, "RATIO_FREE_BYTES", 1_000),
        mock.patch.object(compression, "MAX_RATIO", 20),
        mock.patch.object(compression, "OUT_BYTES", 100),
        mock.patch.object(compression, "BLOCK_BYTES", 64),
    ):
        for front in (b"", stored, stored * 4):
            assert assert_same_from_every_border(front + stored + bomb + stored, name) >= 4


@pytest.mark.parametrize(("name", "stored"), SEVERAL.items(), ids=SEVERAL.keys())
@pytest.mark.parametrize("chunk_bytes", [5, 1 << 10])
def test_an_import_resumed_at_any_offset_reads_the_rest_of_the_text(name: str, stored: bytes, chunk_bytes: int):
    """Another worker, with nothing but the last border before the offset; also from there once more."""

    class Bucket:
        def read(self, source: S3Object, start: int, stop: int | None = None) -> Iterator[bytes]:
            return pieces_of(stored[start:stop], chunk_bytes)

    def text_from(border: Border | None) -> PlainText:
        return PlainText(Bucket(), S3Object("b", "k", None, "e", len(stored), 0), border=border)  # type: ignore[arg-type]

    members = set(Told(lambda met: opened([stored], met)[1]).borders)
    with mock.patch.object(plain_text, "HEAD_BYTES", 8):
        for offset in range(len(TEXT) + 1):
            first = text_from(None)
            assert b"".join(first.read(0, offset)) == TEXT[:offset]
            border = first.border_before(offset)
            assert border in members
            second = text_from(border)
            assert second.border_before(offset) == border
            later = (offset + len(TEXT)) // 2
            assert b"".join(second.read(offset, later)) == TEXT[offset:later]
            third = text_from(second.border_before(later))
            assert b"".join(third.read(later)) == TEXT[later:]
