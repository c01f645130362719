"""Segments → the errors file and its reasons, in the order of the source, in constant memory, by any number of workers.

Nearly always both fit into a piece each: they are made in one go. Larger ones are multipart uploads, made one after
the other in pieces of a fixed size, and the notebook says where the next piece begins: segment, row, and how many bytes
of that row's text went into the piece before. So a piece is a function of the segments: sent again by a late worker it
has the same bytes. Segments may be small, and thousands of them in a piece: what has been gathered of one is put aside
in work/, every few seconds and when the time is up, under a name that says what is in it.

A piece is gathered in a file without a name on the function's own disk, and sent from there: in memory it would be the
most an import ever takes (docs/decisions/0037). Nothing is looked for there by anybody else, or later.

Segments may overlap: a worker that went on where a dead one was last heard of puts some rows again, in a segment of
another length. A row is taken once, by its offset: from the first segment that has it.

A bad row's line is counted from its part's begin; the lines of the parts before are added here. Where one of those was
not read to its end (the execution failed), nobody knows them: `line` is null, the offset is right all the same.
"""

import hashlib
import io
import os
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Final, cast

from importer.bad_rows import BadRow, ObjectProblem, document, read_segment
from importer.definitions import NDJSON, TEXT_CSV
from importer.executions.notebook import SettlingNotebook
from importer.executions.plain_text import PlainText
from importer.executions.ports import Workplace
from importer.model import Execution, LongLine, Outcome, S3Object, Status, UploadGone, Value
from importer.notification import Dropped
from importer.receipts import FoldedReasons

MEDIA_TYPES: Final = {NDJSON: "application/x-ndjson", TEXT_CSV: "text/csv"}
FEW_ROWS: Final = 25  # a look into the notebook costs a read, which so few are not worth
MOST_SEGMENTS: Final = 200  # read in one go: more of them may take longer than there is time
# How pieces are cut is agreed on by all versions of the function: two may be at work on one upload during a deployment.
PIECE_BYTES: Final = 8 << 20  # Quota: at least 5 MiB a piece but the last (N6)
# Quota: 10,000 pieces an upload. The first ones are small, as is what a dead worker's successor does again.
LARGE_PIECES_FROM: Final = 2_000
LARGE_PIECE_BYTES: Final = 64 << 20  # Quota: of 512 MB, which the disk of a function has at least
IN_MEMORY_BYTES: Final = 256 << 10  # a text shorter than that is gathered without the disk: nearly all of them are


class SegmentsMissing(Exception):
    """Fewer bad rows in work/ than were counted, or no header: a bug, unless another worker closed the execution."""


def work_of(execution: Execution) -> str:
    """Prefix of everything an execution keeps until it has ended. By rules version and round: a late write of an older
    worker, or of one that only checks, must not mix in. Without a check it is named as ever: an execution that an
    earlier version has read to its end is settled by this one.
    """
    checked = "-checked" if execution.checked else ""
    return f"work/{execution.id}/{execution.rules_version}{checked}/"


def segments_of(execution: Execution) -> str:
    """Prefix of the segments."""
    return f"{work_of(execution)}errors/"


def segment_key(execution: Execution, start: int, stop: int) -> str:
    """Where the bad rows wait that were found from one position of a part to another. Both are in the name: what is
    written late never takes the place of something longer."""
    return f"{segments_of(execution)}{start:020d}-{stop:020d}"


def header_key(execution: Execution) -> str:
    """Where the header of a CSV waits for the errors file."""
    return f"{work_of(execution)}header"


def join(
    place: Workplace, execution: Execution, outcome: Outcome, notebook: SettlingNotebook, over: Mapping[str, str]
) -> FoldedReasons:
    """Write the errors file and the reasons file; durable when it returns. Nothing is written where nothing is bad.

    Args:
        over: key → what of it was seen: it is written over nothing else. (An object in pieces needs none of that: its
            upload is completed before an execution is closed, and never again.)
    Returns:
        The reasons, folded, of the whole file.
    Raises:
        SegmentsMissing: nothing was made visible.
        ObjectProblem: the bytes of a line too long to be kept are gone.
        Fenced, TimeIsUp, Unavailable.
    """
    bucket, to = execution.source.bucket, outcome.destination
    if not outcome.sums.bad:
        if execution.attempt > 1:  # under newer rules nothing is bad any more, nor what an earlier attempt left
            for key in (to.errors, to.reasons):
                if place.objects.size(bucket, key):
                    place.objects.put(bucket, key, b"", "application/octet-stream", over.get(key))
        return FoldedReasons()
    rows = _Rows(place, execution, outcome)
    # Few rows are nearly always done in one go; with many, look first whether somebody has begun otherwise.
    if outcome.sums.bad <= FEW_ROWS or not notebook.page("errors"):
        folded = _in_one_go(place, execution, outcome, rows, over)
        if folded is not None:
            return folded
    errors = _Pieces(place, execution, to.errors, MEDIA_TYPES[execution.mime_type], "errors", notebook)
    errors.write(rows, rows.as_sent, rows.header())
    reasons = _Pieces(place, execution, to.reasons, MEDIA_TYPES[NDJSON], "reasons", notebook)
    return reasons.write(rows, rows.as_document, b"")


class _Rows:
    """The bad rows that count, in order, and their two texts."""

    def __init__(self, place: Workplace, execution: Execution, outcome: Outcome) -> None:
        self._place = place
        self._execution = execution
        self._originals = _Originals(place, execution, outcome)
        self._counted = outcome.sums.bad
        self._read_to = outcome.read_to
        self._starts = sorted(outcome.read_to)
        self._lines_before: dict[int, int | None] = {}
        before: int | None = 0
        parts = {part.start: part for part in place.records.parts(execution.id)}
        for start in self._starts:
            self._lines_before[start] = before
            part = parts[start]
            before = None if before is None or not part.done else before + part.tally.file_lines

    def header(self) -> bytes:
        """What an errors file begins with."""
        execution = self._execution
        if execution.mime_type != TEXT_CSV:
            return b""
        header = self._place.objects.get(execution.source.bucket, header_key(execution))
        if header is None:
            raise SegmentsMissing(f"the header of {execution.source.uri} is gone from work/{execution.id}/")
        return header if header.endswith(b"\n") else header + b"\n"

    def segments(self, first: str = "", after: int = -1) -> Iterator[tuple[str, int, list[BadRow]]]:
        """(key, offset of the last row before, rows that count) of each segment from the key `first` on.

        Args:
            after: offset of the last row of the segments before.
        """
        bucket = self._execution.source.bucket
        listed = self._place.objects.keys(bucket, segments_of(self._execution), first[:-1])
        keys = (key for key in listed if key >= first)
        for key, body in self._place.objects.bodies(bucket, keys):
            rows = read_segment(io.BytesIO(body or b""))
            some = [row for row in rows if row.offset > after and self._counts(row)]
            yield key, after, some
            after = some[-1].offset if some else after

    def line(self, row: BadRow) -> int | None:
        """Number of a row in the whole file, counted from 1."""
        before = self._lines_before[self._part_of(row)]
        return None if before is None else before + row.line

    def as_sent(self, row: BadRow) -> Iterator[bytes]:
        if row.long is None:
            yield row.as_sent()
        else:
            yield from self._originals.chunks(row.offset, row.long)

    def as_document(self, row: BadRow) -> Iterator[bytes]:
        yield document(row, self._execution.source, self._execution.id, self.line(row)) + b"\n"

    def check(self, found: int) -> None:
        """Raises SegmentsMissing: fewer rows, or more, were found than were counted."""
        if found != self._counted:
            raise SegmentsMissing(f"{found} bad rows in the segments of {self._execution.id}, {self._counted} counted")

    def _part_of(self, row: BadRow) -> int:
        return self._starts[max(bisect_right(self._starts, row.offset) - 1, 0)]

    def _counts(self, row: BadRow) -> bool:
        """Written, but its progress was not: a failed execution does not count such a row."""
        return bool(self._starts) and row.offset < self._read_to[self._part_of(row)]


def _in_one_go(
    place: Workplace, execution: Execution, outcome: Outcome, rows: _Rows, over: Mapping[str, str]
) -> FoldedReasons | None:
    """Both files, if neither is larger than a piece; else None, and nothing is written."""
    folded = FoldedReasons()
    count = 0
    with _gathering() as errors, _gathering() as reasons:
        errors.write(rows.header())
        for segments, (_, _, some) in enumerate(rows.segments()):
            if segments == MOST_SEGMENTS:
                return None
            for row in some:
                if errors.tell() + (row.long.size if row.long else len(row.raw)) > PIECE_BYTES:
                    return None
                errors.writelines(rows.as_sent(row))
                reasons.writelines(rows.as_document(row))
                if reasons.tell() > PIECE_BYTES:
                    return None
                folded.add(row, rows.line(row))
                count += 1
        rows.check(count)
        bucket, to = execution.source.bucket, outcome.destination
        place.objects.put(bucket, to.errors, errors, MEDIA_TYPES[execution.mime_type], over.get(to.errors))
        place.objects.put(bucket, to.reasons, reasons, MEDIA_TYPES[NDJSON], over.get(to.reasons))
    return folded


def _gathering() -> IO[bytes]:
    """An empty file for what is put up as one. Whoever closes it, or dies, leaves nothing behind."""
    return SpooledTemporaryFile(IN_MEMORY_BYTES)


class _Pieces:
    """One object made of the texts of all bad rows, piece by piece.

    Its page of the notebook: `upload_id`, `pieces` sent, `bytes` in them; `aside`, the key of what was gathered since;
    where to go on: `segment`, what it comes `after`, `row` in it, `skip` bytes of the row's text; `rows` and `folded`
    are of the rows before that one.
    """

    def __init__(
        self, place: Workplace, execution: Execution, key: str, media_type: str, step: str, notebook: SettlingNotebook
    ) -> None:
        self._place = place
        bucket = execution.source.bucket
        self._aside = f"{work_of(execution)}joining/{execution.attempt}-{step}-"  # another attempt's may be late
        self._where = (bucket, key, media_type)
        self._step = step
        self._notebook = notebook

    def write(self, rows: _Rows, text_of: Callable[[BadRow], Iterator[bytes]], header: bytes) -> FoldedReasons:
        """Make the object; durable when it returns. It gives back the folded reasons of all its rows."""
        while True:
            try:
                with _gathering() as gathered:
                    return self._write(rows, text_of, header, gathered)
            except UploadGone:
                page = self._notebook.page(self._step)
                size = page.get("size")
                if size is not None and self._place.objects.size(*self._where[:2]) == size:
                    return FoldedReasons.of(cast("list[Any]", page["folded"]))  # completed, and the reply was lost
                self._notebook.keep(self._step, {}, at_once=True)  # taken away: it begins anew

    def _write(
        self, rows: _Rows, text_of: Callable[[BadRow], Iterator[bytes]], header: bytes, gathered: IO[bytes]
    ) -> FoldedReasons:
        page: dict[str, Any] = dict(self._notebook.page(self._step))
        pieces = self._place.objects.pieces(*self._where, page.get("upload_id", ""))
        if not page:
            page = {"upload_id": pieces.upload_id, "pieces": 0, "bytes": 0, "aside": "", "rows": 0, "folded": []}
            page |= {"segment": "", "row": 0, "skip": 0}
            self._notebook.keep(self._step, page, at_once=True)
        folded = FoldedReasons.of(page["folded"])
        count = page["rows"]
        if "size" in page:  # all pieces are there
            pieces.complete(page["pieces"])
            return folded
        gathered.writelines(self._gathered_before(page, header))
        for key, after, some in rows.segments(page["segment"], page.get("after", -1)):
            first, skip = (page["row"], page["skip"]) if key == page["segment"] else (0, 0)
            if first and first == len(some):
                continue  # done before; nothing that counts as work
            for number, row in enumerate(some):
                if number < first:
                    continue
                used = 0  # bytes of this row's text in pieces already sent, or gathered
                for chunk in text_of(row):
                    taken = chunk[max(skip - used, 0) :] if used < skip else chunk
                    used += len(chunk)
                    while gathered.tell() + len(taken) >= (size := _piece_bytes(page["pieces"])):
                        room = size - gathered.tell()
                        gathered.write(taken[:room])
                        taken = taken[room:]
                        pieces.send(page["pieces"] + 1, gathered)
                        gathered.seek(0)
                        gathered.truncate()
                        page = page | {
                            "pieces": page["pieces"] + 1,
                            "bytes": page["bytes"] + size,
                            "aside": "",
                            "segment": key,
                            "after": after,
                            "row": number,
                            "skip": used - len(taken),
                            "rows": count,
                            "folded": self._stored(folded),
                        }
                        self._notebook.keep(self._step, page)
                    gathered.write(taken)
                skip = 0
                folded.add(row, rows.line(row))
                count += 1
            if self._notebook.is_due():
                aside = f"{self._aside}{page['pieces']}-{key.rpartition('/')[2]}"
                self._place.objects.put(self._where[0], aside, gathered, "application/octet-stream")
                gathered.seek(0, os.SEEK_END)
                here = {"aside": aside, "segment": key, "after": after, "row": len(some), "skip": 0}
                page = page | here | {"rows": count, "folded": self._stored(folded)}
                self._notebook.keep(self._step, page)
        rows.check(count)
        rest = gathered.tell()
        if rest or not page["pieces"]:
            pieces.send(page["pieces"] + 1, gathered)
            page = page | {"pieces": page["pieces"] + 1, "bytes": page["bytes"] + rest}
        page = page | {"size": page["bytes"], "rows": count, "folded": self._stored(folded)}
        self._notebook.keep(self._step, cast("dict[str, Value]", page), at_once=True)
        pieces.complete(page["pieces"])
        return folded

    def _stored(self, folded: FoldedReasons) -> list[Any]:
        """On one page only: an item holds 400 KB, and hostile names make long reasons."""
        return folded.as_stored() if self._step == "reasons" else []

    def _gathered_before(self, page: dict[str, Any], header: bytes) -> Iterator[bytes]:
        """What the next piece begins with.

        Raises:
            SegmentsMissing: it was put aside, and is gone: another worker has ended the execution.
        """
        if page["aside"]:
            aside = self._place.objects.head(Dropped(self._where[0], page["aside"], None, ""))
            if aside is None:
                raise SegmentsMissing(f"{page['aside']} is gone")
            try:
                yield from self._place.objects.read(replace(aside, version_id=None), 0)  # as any object of ours
            except ObjectProblem as problem:
                raise SegmentsMissing(problem.message) from problem
        elif not page["pieces"]:
            yield header


def _piece_bytes(sent: int) -> int:
    return PIECE_BYTES if sent < LARGE_PIECES_FROM else LARGE_PIECE_BYTES


class _Originals:
    """The rows too long to be kept in a segment, copied from the source; once that is moved, from where it is now."""

    def __init__(self, place: Workplace, execution: Execution, outcome: Outcome) -> None:
        self._place = place
        self._moved = execution.status not in (Status.FAILED, Status.CANCELED)  # or is going to be
        self._source = execution.source
        self._completed = outcome.destination.completed
        self._sources = self._candidates()
        self._text: PlainText | None = None
        self._problem: ObjectProblem | None = None

    def chunks(self, offset: int, line: LongLine) -> Iterator[bytes]:
        """A line's bytes, LF added if it has none; as many as can be had where the source stays.

        Raises:
            ObjectProblem: neither source nor copy has it.
        """
        digest = hashlib.sha256()
        copied = 0
        has_end = False
        while copied < line.size:
            before = copied
            try:
                self._text = self._text or PlainText(self._place.objects, next(self._sources))
                for chunk in self._text.read(offset + copied, offset + line.size):
                    digest.update(chunk)
                    copied += len(chunk)
                    has_end = chunk.endswith(b"\n")
                    yield chunk
                if copied == before:
                    raise ValueError(f"{self._source.uri} ends before the line at byte {offset} does")
            except ObjectProblem as problem:
                self._text = None
                self._problem = problem
            except StopIteration:
                if self._problem is not None and self._moved:
                    raise self._problem from None
                break
        if not has_end:
            yield b"\n"
        if copied == line.size and digest.hexdigest() != line.sha256:
            raise ValueError(f"the line at byte {offset} of {self._source.uri} was read differently before")

    def _candidates(self) -> Iterator[S3Object]:
        yield self._source
        moved = self._place.objects.head(Dropped(self._source.bucket, self._completed, None, ""))
        if moved is not None and moved.size_bytes == self._source.size_bytes:
            yield replace(moved, version_id=None)
