"""3 · Bytes → lines with addresses.

Rule: a part owns the lines whose first byte lies in [start, stop). The reader begins one byte early and throws away
up to the first LF: is that early byte the LF itself, the line at `start` is ours; if not, it began in an earlier part.
The last owned line is read to its end, past `stop`. That is the same rule for a first, a middle and a resumed part.
Only LF ends a line: CR, U+2028, U+2029 and NEL do not (E7), which is why no library iterator is used here.
"""

import hashlib
import io
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from importer.bad_rows import FileReason, ObjectProblem, row_text
from importer.model import Line, LongLine, Part

BOM: Final = b"\xef\xbb\xbf"
# Far above what any destination holds (400 KB, 1,000 KiB), far below what a worker's memory could not take.
MAX_LINE_BYTES: Final = 8 << 20
KEPT_BYTES: Final = 1 << 10  # of a longer line
HEAD_BYTES: Final = 64 << 10  # of plain text: what encoding, layout and dialect are judged by

_SPACE: Final = b" \t\r\n"
_ROWS_BETWEEN_CRS: Final = re.compile(rb"\}[ \t]*\r[ \t\r]*\{")


def reading_start(part: Part) -> int:
    """The first byte `lines` wants to see: one before the part, so that it can tell a line's begin."""
    return max(part.start - 1, 0)


def lines(chunks: Iterable[bytes], part: Part) -> Iterator[Line]:
    """The lines of a part, in order, each with its line end; the last line of the object may have none.

    A line over MAX_LINE_BYTES comes as a `LongLine`: it is never held as a whole (E8).

    Args:
        chunks: the object's bytes from `reading_start(part)` on, cut anywhere.
    """
    offset = reading_start(part)
    stop = part.stop
    foreign = part.start > 0  # until the first LF everything belongs to an earlier part
    unended: list[bytes] = []
    unended_bytes = 0
    long: _Long | None = None
    for chunk in chunks:
        pieces: list[bytes | LongLine] = io.BytesIO(chunk).readlines()  # type: ignore[assignment]
        if not pieces:
            continue
        rest = b"" if chunk.endswith(b"\n") else pieces.pop()
        if pieces and long is not None:
            pieces[0] = long.ended_with(pieces[0])  # type: ignore[arg-type]  # no line of this chunk is long yet
            long = None
        elif pieces and unended:  # joined only now that the line has ended: at every chunk it would be quadratic
            pieces[0] = b"".join([*unended, pieces[0]])  # type: ignore[list-item]
            unended, unended_bytes = [], 0
        if rest:
            assert isinstance(rest, bytes)
            if long is None:
                unended.append(rest)
                unended_bytes += len(rest)
                if unended_bytes > MAX_LINE_BYTES:
                    long = _Long(unended)
                    unended, unended_bytes = [], 0
            else:
                long.add(rest)
        may_be_too_long = len(chunk) > MAX_LINE_BYTES or (pieces and len(pieces[0]) > MAX_LINE_BYTES)
        if foreign and pieces:
            offset += len(pieces.pop(0))
            foreign = False
        for line in pieces:
            if offset >= stop:
                return
            if may_be_too_long and isinstance(line, bytes) and len(line) > MAX_LINE_BYTES:
                line = _Long([]).ended_with(line)
            yield offset, line
            offset += len(line)
        if offset >= stop:
            return
    if not foreign and offset < stop:
        if long is not None:
            yield offset, long.ended_with(b"")
        elif unended:
            yield offset, b"".join(unended)


def skipped(chunks: Iterable[bytes], count: int) -> Iterator[bytes]:
    """The same bytes without the first `count` of them."""
    for chunk in chunks:
        if count < len(chunk):
            yield chunk[count:] if count else chunk
            count = 0
        else:
            count -= len(chunk)


def first(chunks: Iterable[bytes], count: int) -> Iterator[bytes]:
    """The same bytes, up to `count` of them."""
    for chunk in chunks:
        yield chunk[:count]
        count -= len(chunk)
        if count <= 0:
            return


class _Long:
    """A line on its way to becoming a LongLine."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._size = 0
        self._head = b""
        self._tail = b""
        self._hash = hashlib.sha256()
        for piece in pieces:
            self.add(piece)

    def add(self, piece: bytes) -> None:
        self._size += len(piece)
        self._head += piece[: KEPT_BYTES - len(self._head)]
        self._tail = (self._tail + piece[-2:])[-2:]
        self._hash.update(piece)

    def ended_with(self, piece: bytes) -> LongLine:
        self.add(piece)
        line_end = len(self._tail) - len(row_text(self._tail))
        return LongLine(self._size, self._size - line_end, self._head, self._hash.hexdigest())


def judge_encoding(head: bytes) -> None:
    """Refuse a whole file by its first plain bytes rather than by a million bad rows (E6).

    Args:
        head: the first HEAD_BYTES of the plain text, or all of it.
    Raises:
        ObjectProblem: wrong_encoding.
    """
    encoding = _foreign_encoding(head)
    if encoding:
        raise ObjectProblem(
            FileReason.WRONG_ENCODING,
            f"the file is {encoding}: write it as UTF-8 (`iconv -f {encoding} -t UTF-8 FILE`) and drop it again",
        )


def judge_layout(head: bytes) -> None:
    """Refuse JSON that is not one value a line: pretty-printed, one array, or lines that end in CR alone (E7, E9, D33).

    Args:
        head: as for `judge_encoding`.
    Raises:
        ObjectProblem: not_line_delimited.
    """
    text = head[:HEAD_BYTES].removeprefix(BOM).lstrip(_SPACE)
    first, ended, rest = text.partition(b"\n")
    is_cut = not ended and len(head) >= HEAD_BYTES  # behind many blanks, of the first row only its begin is seen
    first = first.strip(_SPACE)
    if _begins_with_an_object(rest):
        return  # an odd first row among others is a row's affair
    if not ended and _ROWS_BETWEEN_CRS.search(text):
        raise ObjectProblem(
            FileReason.NOT_LINE_DELIMITED,
            "the lines end in CR alone: write them with LF (`tr '\\r' '\\n' < FILE`) and drop the file again",
        )
    if first[:1] == b"[" and first[1:].lstrip(_SPACE)[:1] in (b"", b"{"):
        if first != b"[]" and not (is_cut and first == b"["):
            raise _one_value("begins an array", "'.[]'")
    elif first == b"{" and not is_cut:
        raise _one_value("is only `{`", ".")
    elif first[:1] == b"{" and ended and _goes_on(text, first, rest):
        raise _one_value("ends inside an object", ".")


def _begins_with_an_object(rest: bytes) -> bool:
    """Whether the next line that is not blank is a whole object by itself, as a row is."""
    line = rest.lstrip(_SPACE).partition(b"\n")[0].strip(_SPACE)
    if not (line.startswith(b"{") and line.endswith(b"}")):
        return False
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _goes_on(text: bytes, first: bytes, rest: bytes) -> bool:
    """Whether the first value of a text goes on beyond its first line."""
    if first[-1:] in (b"{", b"[", b",", b":") and rest[:1] in (b" ", b"\t"):
        return True  # indented; it may be larger than what was looked at
    shown = text.decode("utf-8", "replace")
    try:
        _, stop = json.JSONDecoder().raw_decode(shown)
    except (ValueError, RecursionError):
        return False
    return stop > shown.index("\n")


def _one_value(what: str, query: str) -> ObjectProblem:
    return ObjectProblem(
        FileReason.NOT_LINE_DELIMITED,
        f"the first line {what}: this is JSON over several lines, or one array. Write one object a line "
        f"(`jq -c {query} FILE`) and drop it again",
    )


def _foreign_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32 by its byte order mark, or by the NULs that ASCII text has in them; "" for anything else."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    nuls = [byte == 0 for byte in head[:8]]
    for name, unit in (
        ("UTF-32LE", [False, True, True, True]),
        ("UTF-32BE", [True, True, True, False]),
        ("UTF-16LE", [False, True, False, True]),
        ("UTF-16BE", [True, False, True, False]),
    ):
        # The second character of UTF-32 must look alike, if there is one; of UTF-16 two ASCII characters are enough.
        wanted = unit * 2 if name.startswith("UTF-32") else unit
        if len(nuls) >= 4 and nuls[: len(wanted)] == wanted[: len(nuls)]:
            return name
    return ""
