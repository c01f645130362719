"""The plain text of an object: opened by what it is, read from any offset, hashed on the way.

Compressed text knows no places but the begins of its members: from the last of them before an offset, it is inflated
and thrown away up to there (D6). Whoever goes on in another invocation brings that border along; a member too long to
be inflated again each time is refused.
"""

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from importer.bad_rows import FileReason, ObjectProblem
from importer.compression import FIRST, MAX_RATIO, opened, opened_at, peeked
from importer.executions.ports import Notebook, Objects
from importer.layouts import Layout, layout_of
from importer.lines import HEAD_BYTES
from importer.model import Border, S3Object
from importer.sha256 import sha256_of

# Measured, on a core of an EPYC: 246 MB/s of plain text where gzip packs worst (base64), 430 for JSON; with zstd 730
# and 1,090. A Lambda of 1,024 MB has 0.58 of a slower one.
INFLATE_BYTES_PER_SECOND: Final = 80_000_000
SAMPLED_BYTES: Final = 1 << 20  # of compressed bytes: tells what all of them may expand to
SAMPLE_IS_OFF: Final = 2  # times, at most, by which the rest is packed tighter than the sample
# Asked for alone where reading does not go on from there to the object's end: a body that is left half read costs a
# connection, and whatever its sender holds of it. Packed, it still expands to HEAD_BYTES.
HEAD_STORED_BYTES: Final = 4 * HEAD_BYTES
MOST_BORDERS: Final = 16_384  # 3 MB; twice the members of a batch, if each holds one line


def longest_member_bytes(hop_ms: int) -> int:
    """Most plain bytes of one member, so that inflating them again takes at most a third of an invocation."""
    return INFLATE_BYTES_PER_SECOND * hop_ms // 3_000


class PlainText:
    """An object's plain text. Reading begins with the first; whatever is asked later continues or begins anew.

    Args:
        breathe: called with every chunk that comes from the wire, so that a lease outlives a long way without a line.
        border: where inflating may begin, from an earlier reading's `border_before`.
        longest_member_bytes: a longer member is refused with expands_too_much; None for no limit.
        straight: it will be read from its first byte to its last.

    Raises:
        ObjectProblem: while it is read; see `Objects.read` and `compression.opened`.
    """

    def __init__(
        self,
        objects: Objects,
        source: S3Object,
        breathe: Callable[[], None] = lambda: None,
        border: Border | None = None,
        longest_member_bytes: int | None = None,
        straight: bool = True,
    ) -> None:
        self._only_head = not straight
        self._objects = objects
        self._source = source
        self._breathe = breathe
        self._longest = longest_member_bytes
        self._borders = deque([] if border is None else [border])  # those that may still be asked for, in order
        self._hash = hashlib.sha256()
        self._hashed = 0
        self._compression, text = opened(self._hashing(), self._met, longest_member_bytes)
        head, self._text = peeked(text, HEAD_BYTES)
        self._head = head[:HEAD_BYTES]
        self._inflated = len(head)  # so far, or further
        self._at = 0  # of `_text`, with `_rest` before it
        self._rest = b""

    @property
    def is_compressed(self) -> bool:
        return bool(self._compression)

    def layout(self, mime_type: str, was_read: bool = False) -> Layout:
        """How its rows stand; see `layouts.layout_of`."""
        return layout_of(mime_type, self._head, was_read)

    def judge_members(self) -> None:
        """Look how long the first member is, where it may be too long, so that nothing of such a file is written.

        Inflates it a first time for that. Later members are judged when they are read.

        Raises:
            ObjectProblem: expands_too_much.
        """
        size, longest = self._source.size_bytes, self._longest
        if not self._compression or longest is None or size * MAX_RATIO <= longest:
            return
        read = made = 0
        ended = False

        def counted() -> Iterator[bytes]:
            nonlocal read
            for chunk in self._breathing(self._objects.read(self._source, 0)):
                yield chunk
                read += len(chunk)

        def met(border: Border) -> None:
            nonlocal ended
            ended = border.plain_offset > 0

        try:
            for chunk in opened(counted(), met, longest)[1]:
                made += len(chunk)
                fits = read >= SAMPLED_BYTES and made * size * SAMPLE_IS_OFF <= longest * read
                if ended or fits:
                    return
        except ObjectProblem as problem:
            if problem.code is FileReason.EXPANDS_TOO_MUCH:
                raise
            # Anything else is met again where it is, after the rows before it.

    def read(self, start: int, stop: int | None = None, likely_stop: int | None = None) -> Iterator[bytes]:
        """The bytes of `[start, stop)`. Compressed text is inflated up to there, from the last known border on.

        Args:
            likely_stop: of plain text, more will hardly be wanted, and is asked for only if it is.
        """
        if not self._compression and (self._only_head or not 0 <= start - self._at <= HEAD_BYTES):
            if likely_stop is not None and start < likely_stop < self._source.size_bytes:
                yield from self._breathing(self._objects.read(self._source, start, likely_stop))
                start = likely_stop
            yield from self._breathing(self._objects.read(self._source, start, stop))
            return
        if self._compression:
            border = self._last_border(start) or FIRST
            if self._only_head or start < self._at or border.plain_offset > max(self._at, self._inflated):
                self._open_at(border)
        while stop is None or self._at < stop:
            chunk, self._rest = self._rest or next(self._text, None), b""
            if chunk is None:
                return
            begin = self._at
            if stop is not None and begin + len(chunk) > stop:
                chunk, self._rest = chunk[: stop - begin], chunk[stop - begin :]
            self._at += len(chunk)
            if start < self._at:
                yield chunk[max(start - begin, 0) :]

    def border_before(self, offset: int) -> Border | None:
        """The last border at or before `offset` of those met so far; None where nothing is compressed.

        Args:
            offset: never smaller than at an earlier call.
        """
        while len(self._borders) > 1 and self._borders[1].plain_offset <= offset:
            self._borders.popleft()
        return self._last_border(offset)

    def sha256(self) -> str | None:
        """Of the stored bytes, hexadecimal; None if they were not all read in one go."""
        return self._hash.hexdigest() if self._hashed == self._source.size_bytes else None

    def _open_at(self, border: Border) -> None:
        self._only_head = False
        stored = self._breathing(self._objects.read(self._source, border.stored_offset))
        self._text = opened_at(border, stored, self._compression, self._met, self._longest)
        self._at = self._inflated = border.plain_offset
        self._rest = b""

    def _last_border(self, offset: int) -> Border | None:
        return next((border for border in reversed(self._borders) if border.plain_offset <= offset), None)

    def _met(self, border: Border) -> None:
        """Remember a border. Of too many, the first and the latest are kept: what is asked for lies near either."""
        borders = self._borders
        if borders and border.stored_offset <= borders[-1].stored_offset:
            return
        if borders and border.plain_offset == borders[-1].plain_offset:  # the member between them is empty
            borders.pop()
        borders.append(border)
        if len(borders) > MOST_BORDERS:
            del borders[1]

    def _hashing(self) -> Iterator[bytes]:
        for chunk in self._breathing(
            self._objects.read(self._source, 0, HEAD_STORED_BYTES if self._only_head else None)
        ):
            self._hash.update(chunk)
            self._hashed += len(chunk)
            yield chunk

    def _breathing(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self._breathe()
            yield chunk


def hash_of(objects: Objects, source: S3Object, notebook: Notebook) -> str:
    """SHA-256 of the stored bytes, hexadecimal, by as many invocations as it takes; page "hash" is its own.

    Raises:
        ObjectProblem, Unavailable: see `Objects.read`.
        Fenced, TimeIsUp: see `Notebook.keep`.
    """
    return sha256_of(
        lambda start: objects.read(source, start),
        source.etag,
        notebook.page("hash"),
        lambda page: notebook.keep("hash", page),
    )
