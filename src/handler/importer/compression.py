"""2½ · Compressed bytes → plain bytes, told apart by content, never by name (D5).

Rule: the plain bytes, and the problem they end in, are a function of the stored bytes alone, however the network cut
them: a decompressor that meets damage throws away what it had made of its last input, so it is fed blocks that begin at
fixed compressed offsets. Rows in the block of the damage are lost to an execution that fails anyway.

Reading may begin again where a member begins (a `Border`), and nowhere else. What it gives from there on, and the
problem it ends in, are those of a reading from the first byte: blocks and the ratio are counted from the object's
begin. A member is what has to be inflated a second time to go on within it; so its length can be limited.

Every member or frame must end properly: the decompressors of gzip and zstd alike stop without a word when the
stream is cut (D1, D3), so the end is checked here and nowhere trusted.
"""

import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Final

import zstandard

from importer.bad_rows import FileReason, ObjectProblem
from importer.model import Border

GZIP_MAGIC = b"\x1f\x8b"
ZSTD_MAGIC = b"\x28\xb5\x2f\xfd"
_SKIPPABLE = tuple(
    bytes([0x50 + n, 0x2A, 0x4D, 0x18]) for n in range(16)
)  # zstd frames that hold no data (RFC 8878 3.1.2)
_MAGIC: Final = {"gzip": (GZIP_MAGIC,), "zstd": (ZSTD_MAGIC, *_SKIPPABLE)}
_UNPACK: Final = {"gzip": "gzip -dc", "zstd": "zstd -dc"}
_PACK: Final = {"gzip": "gzip", "zstd": "zstd -q"}
_PADDING: Final = {"gzip": b"\0", "zstd": b""}  # tape blocks are filled with zeros; gzip's tools accept them (D2)

FIRST: Final = Border(0, 0)
BLOCK_BYTES = 64 << 10  # of compressed bytes, all that damage may cost beside itself. Measured: 2 % of gzip's CPU
OUT_BYTES = 1 << 20  # most a decompressor may give at once: a bomb costs time, never memory (D4)
ZSTD_WINDOW_BYTES = 128 << 20  # what `zstd --ultra --long=27` needs; without a cap a frame may ask for 2 GB (D3)
MAX_RATIO = 1_100  # gzip's own limit is 1,032:1 and zeros reach it; beyond lies only zstd's 32,000:1 (D4)
RATIO_FREE_BYTES = 1 << 30  # below this much plain text no ratio is held against a file
CHECKSUM_BYTES: Final = 8  # at most, at the end of a member: behind all its text
_HEADER_BYTES: Final = 18  # the longest header of a zstd frame (RFC 8878 3.1.1); tells what it asks for
_JUDGED_BYTES: Final = 512  # of first bytes: tar's magic stands at 257

# Containers this importer does not open (D6), by first bytes that no line of JSON or CSV is likely to begin with.
_OTHER_MAGIC: Final = {
    b"PK\x03\x04": "zip (or an Office document)",
    b"PK\x05\x06": "zip",
    b"PK\x07\x08": "zip",
    **{b"BZh%d1AY&SY" % level: "bzip2" for level in range(1, 10)},
    **{b"BZh%d\x17rE8P\x90" % level: "bzip2" for level in range(1, 10)},  # of nothing
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"\xff\x06\x00\x00sNaPpY": "snappy",
    b"\x04\x22\x4d\x18": "lz4",
    b"\x02\x21\x4c\x18": "lz4",
    b"\x89LZO\x00": "lzo",
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!\x1a\x07": "rar",
    b"LZIP\x01": "lzip",
    b"\x1f\x9d": "compress (.Z)",
    b"\x78\x01": "zlib",
    b"\x78\x9c": "zlib",
    b"\x78\xda": "zlib",
    b"PAR1\x15": "Parquet",
    b"Obj\x01": "Avro",
    b"ARROW1\x00": "Arrow",
    b"SQLite format 3\x00": "an SQLite database",
    b"%PDF-": "a PDF",
    b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1": "an Office document",
    b"\x37\xa4\x30\xec": "a zstd dictionary",
    **{bytes([n, 0xB5, 0x2F, 0xFD]): "zstd of a version before 1.0" for n in (0x1E, *range(0x22, 0x28))},
}
_TEXT: Final = bytes({*range(32, 256), *b"\t\n\r"})


def is_compressed(head: bytes) -> bool:
    """Whether an object that begins with these (at least 4) bytes is inflated by `opened`."""
    return _kind(head) != ""


def opened(
    stored: Iterable[bytes],
    met: Callable[[Border], None] = lambda border: None,
    longest_member_bytes: int | None = None,
) -> tuple[str, Iterator[bytes]]:
    """("gzip", "zstd" or "", the plain bytes) of an object's stored bytes.

    Inflated bytes come in chunks of at most OUT_BYTES.

    Args:
        met: told of the begin of each member, before anything of it is given.
        longest_member_bytes: of plain bytes; None for no limit.
    Raises:
        ObjectProblem: wrong_kind, at once, for what is neither text nor compressed. While the bytes are read:
            wrong_kind (packed twice; a zstd frame that needs a dictionary or a window beyond ZSTD_WINDOW_BYTES),
            truncated, corrupt (a wrong checksum, or bytes after the last member that are not one), expands_too_much.
    """
    head, chunks = peeked(stored, _JUDGED_BYTES)
    name = _kind(head)
    if not name:
        _refuse_other_kinds(head)
        return "", chunks
    return name, _once_packed(opened_at(FIRST, chunks, name, met, longest_member_bytes), name)


def opened_at(
    border: Border,
    stored: Iterable[bytes],
    name: str,
    met: Callable[[Border], None] = lambda border: None,
    longest_member_bytes: int | None = None,
) -> Iterator[bytes]:
    """The plain bytes from a border on that `opened` has told of.

    Args:
        stored: the stored bytes from the border on.
        name: by what they are compressed.
    Raises:
        ObjectProblem: as `opened` from there on.
    """
    members = _members(_blocks(stored, border.stored_offset), name, border, met, longest_member_bytes)
    return _within_ratio(members, border.plain_offset)


class AsFar:
    """The plain bytes of a damaged object as far as anybody can inflate them: a part of no import, but people can read
    it. Damage costs itself alone here, not the block it is in.

    Args:
        read: the stored bytes, from the first; asked for twice.
        met: as for `opened`.

    Attributes:
        stored: how many stored bytes were looked at, once all plain ones were given.
    """

    def __init__(
        self, read: Callable[[], Iterable[bytes]], met: Callable[[Border], None] = lambda border: None
    ) -> None:
        self._read = read
        self._met = met
        self.stored = 0

    def __iter__(self) -> Iterator[bytes]:
        """Raises ObjectProblem only where the stored bytes cannot be read."""
        head, _ = peeked(self._read(), _HEADER_BYTES)
        name = _kind(head)
        if not name:
            return
        whole = 0  # stored bytes of the blocks before the one that is damaged

        def blocks() -> Iterator[bytes]:
            nonlocal whole
            for block in _blocks(self._read(), 0):
                yield block
                whole += len(block)

        for _ in _until_damage(out for _, out in _members(blocks(), name, FIRST, lambda border: None, None)):
            pass

        def pieces() -> Iterator[bytes]:
            for block in _blocks(self._read(), 0):
                size = len(block) if self.stored + len(block) <= whole else 1
                for at in range(0, len(block), size):
                    self.stored += size
                    yield block[at : at + size]

        members = _members(pieces(), name, FIRST, self._met, None)
        yield from _until_damage(_within_ratio(members, 0))


def _until_damage(text: Iterator[bytes]) -> Iterator[bytes]:
    try:
        yield from text
    except ObjectProblem as problem:
        if problem.code not in (FileReason.TRUNCATED, FileReason.CORRUPT, FileReason.EXPANDS_TOO_MUCH):
            raise


def peeked(chunks: Iterable[bytes], least_bytes: int) -> tuple[bytes, Iterator[bytes]]:
    """(the first bytes: at least so many, if there are; all the chunks again, from the first on)."""
    rest = iter(chunks)
    taken: list[bytes] = []
    size = 0
    while size < least_bytes and (chunk := next(rest, None)) is not None:
        taken.append(chunk)
        size += len(chunk)
    return b"".join(taken), chain(taken, rest)


def _kind(head: bytes) -> str:
    return next((name for name, magic in _MAGIC.items() if head.startswith(magic)), "")


def _refuse_other_kinds(head: bytes) -> None:
    """Raises ObjectProblem(wrong_kind) for containers this importer does not open (D6)."""
    found = next((name for magic, name in _OTHER_MAGIC.items() if head.startswith(magic)), "")
    if head.startswith(b"ORC") and head[:_JUDGED_BYTES].translate(None, _TEXT):  # a CSV's first column may be "ORCID"
        found = "ORC"
    if head[257:263] == b"ustar\0" or head[257:265] == b"ustar  \0":
        found = "tar"
    if found:
        raise ObjectProblem(
            FileReason.WRONG_KIND,
            f"the content is {found}: unpack it, or compress it with gzip or zstd, and drop it again",
        )


def _once_packed(plain: Iterator[bytes], name: str) -> Iterator[bytes]:
    """The same plain bytes; wrong_kind, when they turn out to be one more package."""
    head, plain = peeked(plain, _JUDGED_BYTES)
    inner = _kind(head)
    if inner:
        raise ObjectProblem(
            FileReason.WRONG_KIND, f"the content is {inner} inside {name}: unpack it once and drop it again"
        )
    _refuse_other_kinds(head)
    yield from plain


def _blocks(chunks: Iterable[bytes], begin: int) -> Iterator[bytes]:
    """The same bytes, which begin at offset `begin`, in blocks that end at multiples of BLOCK_BYTES; so only the first
    and the last may be shorter.
    """
    kept = b""
    first = BLOCK_BYTES - begin % BLOCK_BYTES
    for chunk in chunks:
        data = kept + chunk if kept else chunk
        at = 0
        while len(data) - at >= first:
            yield data[at : at + first]
            at += first
            first = BLOCK_BYTES
        kept = data[at:]
    if kept:
        yield kept


class _Member(ABC):
    """One gzip member or zstd frame. `header`: its first bytes; `rest`: what was fed beyond its end."""

    def __init__(self) -> None:
        self.header = b""
        self.ended = False
        self.rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """What the data expands to, at most OUT_BYTES at once. Raises zlib.error or zstandard.ZstdError."""
        if len(self.header) < _HEADER_BYTES:
            self.header += data[: _HEADER_BYTES - len(self.header)]
        return self._expanded(data)

    @abstractmethod
    def _expanded(self, data: bytes) -> Iterator[bytes]: ...


class _GzipMember(_Member):
    def __init__(self) -> None:
        super().__init__()
        self._inflater = zlib.decompressobj(wbits=31)

    def _expanded(self, data: bytes) -> Iterator[bytes]:
        inflater = self._inflater
        while data and not inflater.eof:
            out = inflater.decompress(data, OUT_BYTES)
            if out:
                yield out
            data = inflater.unconsumed_tail
        while not inflater.eof and (out := inflater.decompress(b"", OUT_BYTES)):  # what the window still held back
            yield out
        self.ended, self.rest = inflater.eof, inflater.unused_data


class _ZstdFrame(_Member):
    """A frame, or a skippable one.

    The library's own object returns all a piece of input expands to at once, so input is fed in slices small enough
    that even the highest ratio stays within a few times OUT_BYTES. It does not hold a frame that ends in an empty block
    against the size in its header (D3; measured: zstd 1.5.7), so that is done here.
    """

    _SLICE = 1 << 10

    def __init__(self, decompressor: zstandard.ZstdDecompressor) -> None:
        super().__init__()
        self._frame = decompressor.decompressobj()
        self._made = 0

    def _expanded(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), self._SLICE):
            out = self._frame.decompress(data[at : at + self._SLICE])
            self._made += len(out)
            for begin in range(0, len(out), OUT_BYTES):
                yield out[begin : begin + OUT_BYTES]
            if self._frame.eof:
                self._check_size()
                self.ended, self.rest = True, self._frame.unused_data + data[at + self._SLICE :]
                return

    def _check_size(self) -> None:
        if self.header.startswith(ZSTD_MAGIC):
            promised = zstandard.frame_content_size(self.header)  # -1: not said
            if promised not in (-1, self._made):
                raise zstandard.ZstdError(f"a frame of {promised} bytes gave {self._made}")


def _members(
    blocks: Iterable[bytes], name: str, border: Border, met: Callable[[Border], None], longest_bytes: int | None
) -> Iterator[tuple[int, bytes]]:
    """(compressed bytes of the object read so far, plain bytes) of every member in turn, from a border on.

    Multi-member files are one file (D2).
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=ZSTD_WINDOW_BYTES)
    member: _Member | None = None
    read, made = border.stored_offset, border.plain_offset
    for block in blocks:
        read += len(block)
        while block:
            if member is None:
                block = block.lstrip(_PADDING[name])
                if not block:
                    break
                member = _GzipMember() if name == "gzip" else _ZstdFrame(decompressor)
                border = Border(read - len(block), made)
                met(border)
            try:
                for out in member.feed(block):
                    made += len(out)
                    if longest_bytes is not None and made - border.plain_offset > longest_bytes:
                        raise _too_long(name, border, longest_bytes)
                    yield read, out
            except (zlib.error, zstandard.ZstdError) as damage:
                raise _problem(name, member.header, read, str(damage)) from damage
            block = b""
            if member.ended:
                block, member = member.rest, None
    if member is not None:
        raise _problem(name, member.header, read, "")


def _too_long(name: str, border: Border, longest_bytes: int) -> ObjectProblem:
    pieces = f"{min(max(longest_bytes >> 21, 1), 1024)}M"
    remedy = f"{_UNPACK[name]} FILE | split --line-bytes={pieces} --filter='{_PACK[name]}' > NEW_FILE"
    return ObjectProblem(
        FileReason.EXPANDS_TOO_MUCH,
        f"the {name} member at byte {border.stored_offset} expands to more than {longest_bytes} bytes: too many to "
        f"begin it again in another invocation. Write the file in shorter members, e.g. with GNU's split: {remedy}; "
        "and drop that",
    )


def _problem(name: str, header: bytes, read: int, damage: str) -> ObjectProblem:
    """Why the member that begins with this header could not be read to its end; without damage, it was cut off."""
    if not any(header.startswith(magic[: len(header)]) for magic in _MAGIC[name]):
        return ObjectProblem(
            FileReason.CORRUPT,
            f"bytes that are not {name} follow the last member, before compressed byte {read}: "
            "cut them off, or compress the file again, and drop it again",
        )
    if header.startswith(ZSTD_MAGIC) and damage:
        asked = _asked(header)
        if asked is not None:
            return asked
    if damage:
        return ObjectProblem(
            FileReason.CORRUPT,
            f"the {name} stream is damaged near compressed byte {read}: {damage}. Compress and drop it again",
        )
    return ObjectProblem(
        FileReason.TRUNCATED,
        f"the {name} stream ends after {read} compressed bytes in the middle of a member: upload it again",
    )


def _asked(header: bytes) -> ObjectProblem | None:
    """What a zstd frame asks for that is not given here; None if nothing."""
    try:
        frame = zstandard.get_frame_parameters(header)
    except zstandard.ZstdError:
        return None
    if frame.dict_id:
        asked = f"the zstd frame needs the dictionary {frame.dict_id}: compress without a dictionary"
    elif frame.window_size > ZSTD_WINDOW_BYTES:
        asked = (
            f"the zstd frame needs a window of {frame.window_size} bytes, and {ZSTD_WINDOW_BYTES} are given: "
            "compress with --long=27 or less"
        )
    else:
        return None
    return ObjectProblem(FileReason.WRONG_KIND, f"{asked}, and drop it again")


def _within_ratio(members: Iterator[tuple[int, bytes]], made: int) -> Iterator[bytes]:
    for read, out in members:
        made += len(out)
        if made > RATIO_FREE_BYTES and made > read * MAX_RATIO:
            raise ObjectProblem(
                FileReason.EXPANDS_TOO_MUCH,
                f"{read} compressed bytes expand to more than {made}: over {MAX_RATIO} to 1",
            )
        yield out
