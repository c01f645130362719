"""2½ · Compressed bytes → plain bytes, told apart by content, never by name (D5).

Every member or frame must end properly: the decompressors of gzip and zstd alike stop without a word when the
stream is cut (D1, D3), so the end is checked here and nowhere trusted.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import zstandard

from importer.bad_rows import FileReason, ObjectProblem

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = tuple(
    bytes([0x50 + n, 0x2A, 0x4D, 0x18]) for n in range(16)
)  # zstd frames that hold no data (RFC 8878 3.1.2)
_OTHER_MAGIC = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\xff\x06\x00\x00sNaPpY": "snappy"}

OUT_BYTES = 1 << 20  # most a decompressor may give at once: a bomb costs time, never memory (D4)
ZSTD_WINDOW_BYTES = 128 << 20  # what `zstd --ultra --long=27` needs; without a cap a frame may ask for 2 GB (D3)
MAX_RATIO = 1_100  # gzip's own limit is 1,032:1 and zeros reach it; beyond lies only zstd's 32,000:1 (D4)
RATIO_FREE_BYTES = 1 << 30  # below this much plain text no ratio is held against a file


def is_compressed(head: bytes) -> bool:
    """Whether an object that begins with these (at least 4) bytes is inflated by `opened`."""
    return head.startswith((GZIP_MAGIC, ZSTD_MAGIC, *_SKIPPABLE))


def opened(stored: Iterable[bytes]) -> tuple[str, Iterator[bytes]]:
    """("gzip", "zstd" or "", the plain bytes) of an object's stored bytes.

    Inflated bytes come in chunks of at most OUT_BYTES.

    Raises:
        ObjectProblem: wrong_kind, at once. While the bytes are read: truncated, corrupt (a wrong checksum, or bytes
            after the last member that are not one), expands_too_much.
    """
    head, chunks = peeked(stored, 16)
    if not is_compressed(head):
        _refuse_other_archives(head)
        return "", chunks
    name, member = ("gzip", _GzipMember) if head.startswith(GZIP_MAGIC) else ("zstd", _ZstdFrame)
    return name, _within_ratio(_members(chunks, member, name))


def peeked(chunks: Iterable[bytes], least_bytes: int) -> tuple[bytes, Iterator[bytes]]:
    """(the first bytes: at least so many, if there are; all the chunks again, from the first on)."""
    rest = iter(chunks)
    taken: list[bytes] = []
    size = 0
    while size < least_bytes and (chunk := next(rest, None)) is not None:
        taken.append(chunk)
        size += len(chunk)
    return b"".join(taken), chain(taken, rest)


def _refuse_other_archives(head: bytes) -> None:
    """Raises ObjectProblem(wrong_kind) for containers this importer does not open (D6)."""
    for magic, name in _OTHER_MAGIC.items():
        if head.startswith(magic):
            raise ObjectProblem(
                FileReason.WRONG_KIND,
                f"the content is {name}: unpack it, or compress it with gzip or zstd, and drop it again",
            )


class _GzipMember:
    """One gzip member."""

    def __init__(self) -> None:
        self._inflater = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> Iterator[bytes]:
        while data:
            out = self._inflater.decompress(data, OUT_BYTES)
            if out:
                yield out
            data = self._inflater.unconsumed_tail
            if self._inflater.eof:
                return
        while out := self._inflater.decompress(b"", OUT_BYTES):  # what the window still held back
            yield out

    @property
    def ended(self) -> bool:
        return self._inflater.eof

    @property
    def rest(self) -> bytes:
        return self._inflater.unused_data

    @staticmethod
    def is_padding(data: bytes) -> bool:
        """Zeros behind the last member are padding (tape blocks, RFC 1952 tools accept them); anything else is not."""
        return not data.strip(b"\0")


class _ZstdFrame:
    """One zstd frame (or a skippable one).

    The library's own object returns all a piece of input expands to at once, so input is fed in slices small enough
    that even the highest ratio stays within a few times OUT_BYTES.
    """

    _SLICE = 1 << 10

    def __init__(self) -> None:
        self._frame = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES).decompressobj()
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), self._SLICE):
            out = self._frame.decompress(data[at : at + self._SLICE])
            for begin in range(0, len(out), OUT_BYTES):
                yield out[begin : begin + OUT_BYTES]
            if self._frame.eof:
                self._rest = self._frame.unused_data + data[at + self._SLICE :]
                return

    @property
    def ended(self) -> bool:
        return self._frame.eof

    @property
    def rest(self) -> bytes:
        return self._rest

    @staticmethod
    def is_padding(data: bytes) -> bool:
        return not data


def _members(
    chunks: Iterable[bytes], new_member: "Callable[[], _GzipMember | _ZstdFrame]", name: str
) -> Iterator[tuple[int, bytes]]:
    """(compressed bytes read so far, plain bytes) of every member in turn; multi-member files are one file (D2)."""
    member: _GzipMember | _ZstdFrame | None = None
    read = 0
    padding = False
    try:
        for chunk in chunks:
            read += len(chunk)
            while chunk:
                if member is None:
                    if padding or new_member().is_padding(chunk):
                        padding = True
                        if not new_member().is_padding(chunk):
                            raise ObjectProblem(FileReason.CORRUPT, f"bytes that are not {name} follow the last member")
                        break
                    member = new_member()
                for out in member.feed(chunk):
                    yield read, out
                chunk = b""
                if member.ended:
                    chunk, member = member.rest, None
    except (zlib.error, zstandard.ZstdError) as problem:
        raise ObjectProblem(
            FileReason.CORRUPT,
            f"the {name} stream is damaged near compressed byte {read}: {problem}. Compress and drop it again",
        ) from problem
    if member is not None:
        raise ObjectProblem(
            FileReason.TRUNCATED,
            f"the {name} stream ends after {read} compressed bytes in the middle of a member: upload it again",
        )


def _within_ratio(members: Iterator[tuple[int, bytes]]) -> Iterator[bytes]:
    made = 0
    for read, out in members:
        made += len(out)
        if made > RATIO_FREE_BYTES and made > read * MAX_RATIO:
            raise ObjectProblem(
                FileReason.EXPANDS_TOO_MUCH,
                f"{read} compressed bytes expand to more than {made}: over {MAX_RATIO} to 1",
            )
        yield out
