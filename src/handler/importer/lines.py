"""3 · Bytes → lines with addresses.

Rule: a part owns the lines whose first byte lies in [start, stop). The reader begins one byte early and throws away
up to the first LF: is that early byte the LF itself, the line at `start` is ours; if not, it began in an earlier part.
The last owned line is read to its end, past `stop`. That is the same rule for a first, a middle and a resumed part.
Only LF ends a line: CR, U+2028, U+2029 and NEL do not (E7), which is why no library iterator is used here.
"""

import io
from collections.abc import Iterable, Iterator

from importer.bad_rows import FileReason, ObjectProblem
from importer.compression import peeked
from importer.model import Line, Part

BOM = b"\xef\xbb\xbf"
# Far above what any destination holds (400 KB, 1,000 KiB), far below what a worker's memory could not take.
MAX_LINE_BYTES = 8 << 20
HEAD_BYTES = 64 << 10  # of plain text: what encoding, layout and dialect are judged by


def reading_start(part: Part) -> int:
    """The first byte `lines` wants to see: one before the part, so that it can tell a line's begin."""
    return max(part.start - 1, 0)


def lines(chunks: Iterable[bytes], part: Part) -> Iterator[Line]:
    """The lines of a part, in order, each with its line end; the last line of the object may have none.

    Args:
        chunks: the object's bytes from `reading_start(part)` on, cut anywhere.
    Raises:
        ObjectProblem: not_line_delimited, when a line is longer than MAX_LINE_BYTES.
    """
    offset = reading_start(part)
    stop = part.stop
    foreign = part.start > 0  # until the first LF everything belongs to an earlier part
    unended: list[bytes] = []
    unended_bytes = 0
    for chunk in chunks:
        pieces = io.BytesIO(chunk).readlines()
        if not pieces:
            continue
        rest = b"" if pieces[-1].endswith(b"\n") else pieces.pop()
        if unended and pieces:  # joined only now that the line has ended: at every chunk it would be quadratic
            pieces[0] = b"".join([*unended, pieces[0]])
            unended, unended_bytes = [], 0
        if rest:
            unended.append(rest)
            unended_bytes += len(rest)
        if foreign and pieces:
            offset += len(pieces.pop(0))
            foreign = False
        may_be_too_long = len(chunk) + unended_bytes > MAX_LINE_BYTES or (pieces and len(pieces[0]) > MAX_LINE_BYTES)
        for line in pieces:
            if offset >= stop:
                return
            if may_be_too_long and len(line) > MAX_LINE_BYTES:
                raise _too_long(offset)
            yield offset, line
            offset += len(line)
        if offset >= stop:
            return
        if unended_bytes > MAX_LINE_BYTES:
            raise _too_long(offset)
    if unended and not foreign and offset < stop:
        yield offset, b"".join(unended)


def _too_long(offset: int) -> ObjectProblem:
    return ObjectProblem(
        FileReason.NOT_LINE_DELIMITED,
        f"the line at byte {offset} is longer than {MAX_LINE_BYTES >> 20} MiB: one JSON object a line is expected "
        "(`jq -c . FILE` writes it so)",
    )


def judged(text: Iterable[bytes]) -> Iterator[bytes]:
    """The same plain bytes, once the first of them have shown that this is text with a row a line.

    Raises:
        ObjectProblem: see `judge_first_bytes`.
    """
    head, chunks = peeked(text, HEAD_BYTES)
    judge_first_bytes(head[:HEAD_BYTES])
    return chunks


def judge_first_bytes(head: bytes) -> None:
    """Refuse a whole file by its first plain bytes rather than by a million bad rows (E6, E9, D33).

    Args:
        head: the first bytes of the plain text: at least its first two lines, or all of it, or 64 KiB.
    Raises:
        ObjectProblem: wrong_encoding, not_line_delimited.
    """
    encoding = _foreign_encoding(head)
    if encoding:
        raise ObjectProblem(
            FileReason.WRONG_ENCODING,
            f"the file is {encoding}: write it as UTF-8 (`iconv -f {encoding} -t UTF-8 FILE`) and drop it again",
        )
    first = head.removeprefix(BOM).lstrip(b" \t\r\n").split(b"\n", 1)[0].strip(b" \t\r")
    if first in (b"{", b"[", b"[{"):
        raise ObjectProblem(
            FileReason.NOT_LINE_DELIMITED,
            f"the first line is only `{first.decode()}`: this is JSON over several lines. Write one object a line "
            f"(`jq -c '{'.[]' if first[:1] == b'[' else '.'}' FILE`) and drop it again",
        )


def _foreign_encoding(head: bytes) -> str:
    """UTF-16 or UTF-32 by its byte order mark, or by the NULs that ASCII text has in them; "" for anything else."""
    if head.startswith((b"\xff\xfe\0\0", b"\0\0\xfe\xff")):
        return "UTF-32"
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "UTF-16"
    start = head[:4]
    if len(start) == 4 and start.count(0) == 3:
        return "UTF-32LE" if start[0] else "UTF-32BE"
    if len(start) >= 2 and start[:2].count(0) == 1:
        return "UTF-16LE" if start[0] else "UTF-16BE"
    return ""
