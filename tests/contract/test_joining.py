"""The errors file of real size: more than a piece, made by several invocations, in the order of the source."""

import random
import tracemalloc
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from itertools import accumulate
from typing import Any
from unittest import mock

import orjson
import pytest

from importer.aws import uploads
from importer.bad_rows import BadRow, Reason, Reject, segment
from importer.executions import joining, notebook
from importer.executions.joining import SegmentsMissing, join, segment_key
from importer.executions.notebook import SettlingNotebook
from importer.executions.ports import Workplace
from importer.model import (
    Destination,
    Execution,
    Fenced,
    Outcome,
    PartState,
    Phase,
    S3Object,
    Status,
    Tally,
    TimeIsUp,
    Value,
)
from importer.receipts import FoldedReasons
from tests.faults.importing import Importer, installed
from tests.support.clock import LambdaContext
from tests.support.faults import Fault, attempt, plan
from tests.support.scenarios import calls_of, explore, report, sample

DESTINATION = Destination("completed_imports/a", "errors/a.json", "errors/a.json.reasons.ndjson", "receipts/a.json")
PART_BYTES = 30 << 20
PARTS, SEGMENTS, ROWS = 2, 12, 3  # ROWS in each of SEGMENTS of each part: 23 MB of errors, so three pieces
ROW_BYTES = 320_000
GOOD_LINES = 100  # at the begin of each part


class Books:
    """The imports table, with parts that were read to their end."""

    def __init__(self, records: Any, parts: list[PartState]) -> None:
        self._records = records
        self._parts = parts

    def parts(self, _: str) -> list[PartState]:
        return self._parts

    def __getattr__(self, name: str) -> Any:
        return getattr(self._records, name)


class Joining:
    """An execution whose bad rows wait in segments."""

    def __init__(self, importer: Importer) -> None:
        self.importer = importer
        self.cloud = importer.cloud
        source = S3Object(self.cloud.bucket, "imports/a.json", "v", "e", PARTS * PART_BYTES, 0)
        self.execution = Execution(
            "e1", source, Status.RUNNING, Phase.FINALISING, 0, {}, "cooladata", PARTS, part_bytes=PART_BYTES
        )
        tally = Tally(lines=GOOD_LINES + SEGMENTS * ROWS, good=GOOD_LINES, bad=SEGMENTS * ROWS)
        starts = [number * PART_BYTES for number in range(PARTS)]
        self.parts = [PartState(start, start + PART_BYTES, start + PART_BYTES, tally, True, None) for start in starts]
        read_to = {part.start: part.next_offset for part in self.parts}
        self.outcome = Outcome(DESTINATION, 0, Tally(bad=PARTS * SEGMENTS * ROWS), read_to, "h")
        self.rows = [
            self._row(part, number) for part in range(PARTS) for number in range(SEGMENTS * ROWS)
        ]  # in the order of the source
        place = self.workplace()
        for at in range(0, len(self.rows), ROWS):
            some = self.rows[at : at + ROWS]
            key = segment_key(self.execution, some[0].offset, some[-1].offset + 1)
            place.objects.put(source.bucket, key, segment(some), "application/octet-stream")

    def _row(self, part: int, number: int) -> BadRow:
        reject = Reject(Reason.NOT_JSON, field=f"f{number % 3}")
        raw = b"%d/%d " % (part, number) + b"x" * ROW_BYTES + (b"\r\n" if number % 2 else b"\n")
        return BadRow.of(reject, GOOD_LINES + number + 1, part * PART_BYTES + number * (ROW_BYTES + 100), raw)

    def workplace(self, seconds: float = 900) -> Workplace:
        context = LambdaContext(self.cloud.clock, seconds)
        place: Workplace = self.importer.workplaces(context.get_remaining_time_in_millis)
        return replace(place, records=Books(place.records, self.parts))

    def join(self, seconds: float = 900) -> FoldedReasons:
        place = self.workplace(seconds)
        return join(place, self.execution, self.outcome, SettlingNotebook(place, self.execution), {})

    def assert_done(self, folded: FoldedReasons) -> None:
        """Both objects hold every row once, in order, with its line in the whole file; the reasons are folded."""
        objects = self.cloud.objects("errors/")
        assert objects[DESTINATION.errors] == b"".join(row.raw for row in self.rows)
        told = [orjson.loads(line) for line in objects[DESTINATION.reasons].splitlines()]
        per_part = GOOD_LINES + SEGMENTS * ROWS
        lines = [part * per_part + GOOD_LINES + n + 1 for part in range(PARTS) for n in range(SEGMENTS * ROWS)]
        assert [(row["line"], row["offset"]) for row in told] == [
            (line, row.offset) for line, row in zip(lines, self.rows, strict=True)
        ]
        counts = [(group["field"], group["count"], group["first_line"]) for group in folded.folded()]
        each = PARTS * SEGMENTS * ROWS // 3
        assert counts == [("f0", each, lines[0]), ("f1", each, lines[1]), ("f2", each, lines[2])]


@pytest.fixture
def joining_of() -> Iterator[Joining]:
    with installed() as importer:
        yield Joining(importer)


def test_errors_larger_than_a_piece_are_joined_in_pieces(joining_of: Joining):
    """S3's own limit holds: every piece but the last has 5 MiB or more (N6); the strict layer refuses others."""
    with plan(joining_of.cloud) as calls:
        joining_of.assert_done(joining_of.join())
    assert sum("UploadPart " in call for call in calls.journal) == 4  # three of errors, one of reasons


def test_every_invocation_goes_on_where_the_last_one_stopped(joining_of: Joining):
    """However short: one piece each."""
    stops = 0
    while True:
        try:
            folded = joining_of.join(seconds=0.15)
            break
        except TimeIsUp:
            stops += 1
    joining_of.assert_done(folded)
    assert stops >= 2


@pytest.mark.parametrize("kind", ["kill_before", "kill_after"])
def test_killed_at_any_call_the_next_worker_ends_with_the_same_bytes(joining_of: Joining, kind: str):
    """The upload begun is gone on with, or begun anew; nothing is there twice and nothing is missing."""
    calls = calls_of(joining_of.cloud, joining_of.join)

    def play(fault: Fault) -> None:
        assert attempt(joining_of.cloud, joining_of.join, fault).killed
        joining_of.assert_done(joining_of.join())

    failures = explore(sample([Fault(kind, call.index) for call in calls], 3, whole=8), play)
    assert not failures, report(failures)


def test_many_small_segments_are_gathered_by_many_invocations(joining_of: Joining):
    """No time for a whole piece: what was gathered is put aside, under a name that says what is in it."""
    stops = 0
    with mock.patch.object(joining, "PIECE_BYTES", 1 << 30), mock.patch.object(joining, "MOST_SEGMENTS", 1):
        while True:
            try:
                folded = joining_of.join(seconds=0.15)
                break
            except TimeIsUp:
                stops += 1
    joining_of.assert_done(folded)
    assert stops >= 3


def test_an_invocation_with_hardly_any_time_does_a_segment_all_the_same(joining_of: Joining):
    """Or settling would never end."""
    stops = 0
    with mock.patch.object(notebook, "KEEP_EVERY_MS", 0), mock.patch.object(joining, "MOST_SEGMENTS", 1):
        while True:
            try:
                folded = joining_of.join(seconds=0.03)
                break
            except TimeIsUp:
                stops += 1
    joining_of.assert_done(folded)
    assert stops <= 2 * PARTS * SEGMENTS


def test_of_two_workers_the_first_to_write_goes_on(joining_of: Joining):
    """The other is fenced, and what it sent had the same bytes."""
    place = joining_of.workplace()
    late = SettlingNotebook(place, joining_of.execution)
    late.page("errors")  # has looked before the other began
    folded = joining_of.join()
    with pytest.raises(Fenced):
        join(place, joining_of.execution, joining_of.outcome, late, {})
    joining_of.assert_done(folded)


def test_an_upload_that_was_taken_away_is_begun_anew(joining_of: Joining):
    """By the bucket's rule for incomplete uploads, say."""
    page = {"upload_id": "gone", "pieces": 1, "bytes": joining.PIECE_BYTES, "aside": "", "rows": 0, "folded": []}
    page |= {"segment": "", "row": 0, "skip": 0}
    SettlingNotebook(joining_of.workplace(), joining_of.execution).keep("errors", page, at_once=True)
    joining_of.assert_done(joining_of.join())


def test_an_upload_that_the_version_before_began_is_gone_on_with(joining_of: Joining):
    """Pieces are cut by what all versions agree on, here in numbers: 8 MiB. What is there is not sent again."""
    whole = b"".join(row.raw for row in joining_of.rows)
    piece = whole[: 8 << 20]
    ends = list(accumulate(len(row.raw) for row in joining_of.rows))
    number = bisect_right(ends, len(piece))
    first = number // ROWS * ROWS  # of its segment
    place = joining_of.workplace()
    upload = place.objects.pieces(joining_of.cloud.bucket, DESTINATION.errors, "application/x-ndjson")
    upload.send(1, piece)
    page: dict[str, Value] = {
        "upload_id": upload.upload_id,
        "pieces": 1,
        "bytes": len(piece),
        "aside": "",
        "segment": segment_key(
            joining_of.execution, joining_of.rows[first].offset, joining_of.rows[first + ROWS - 1].offset + 1
        ),
        "after": joining_of.rows[first - 1].offset,
        "row": number - first,
        "skip": len(piece) - ends[number - 1],
        "rows": number,
        "folded": [],
    }
    SettlingNotebook(place, joining_of.execution).keep("errors", page, at_once=True)
    with plan(joining_of.cloud) as calls:
        joining_of.assert_done(joining_of.join())
    assert sum("UploadPart " in call for call in calls.journal) == 3  # the second and third of errors, one of reasons


def test_what_is_gathered_is_in_memory_only_while_it_is_little(joining_of: Joining):
    """Of 23 MB of errors at no time as much as one piece: it is on disk."""
    place = joining_of.workplace()
    rows = joining._Rows(place, joining_of.execution, joining_of.outcome)
    peaks: list[int] = []

    def send(_: Any, number: int, body: Any) -> None:
        peaks.append(tracemalloc.get_traced_memory()[1])

    tracemalloc.start()
    try:
        with mock.patch.object(uploads.Upload, "send", send), mock.patch.object(uploads.Upload, "complete"):
            kept = SettlingNotebook(place, joining_of.execution)
            pieces = joining._Pieces(place, joining_of.execution, "errors/b", "text/plain", "errors", kept)
            pieces.write(rows, rows.as_sent, b"")
    finally:
        tracemalloc.stop()
    assert len(peaks) == 3
    assert max(peaks) < joining.PIECE_BYTES


def test_a_completed_upload_whose_reply_was_lost_is_not_begun_again(joining_of: Joining):
    """S3 knows the upload no more, and the object has the size that was noted."""
    joining_of.join()
    with plan(joining_of.cloud) as calls:
        joining_of.assert_done(joining_of.join())
    assert not any("UploadPart " in call or "CreateMultipartUpload" in call for call in calls.journal)


@pytest.mark.sampled(2)
@pytest.mark.parametrize("seed", range(6))
def test_segments_of_workers_that_cut_otherwise_are_joined_as_one(joining_of: Joining, seed: int):
    """Whatever dead and late workers left beside them, in whatever order it was written: each row once, in order."""
    choose = random.Random(seed)
    rows = joining_of.rows
    place = joining_of.workplace()
    for _ in range(20):
        begin = choose.randrange(len(rows) - 1)
        some = rows[begin : choose.randrange(begin + 1, min(begin + 15, len(rows)) + 1)]
        # Some begin where another does, and end sooner or later.
        start = choose.choice([some[0].offset, max(some[0].offset - 1, 0)])
        key = segment_key(joining_of.execution, start, some[-1].offset + 1)
        place.objects.put(joining_of.cloud.bucket, key, segment(some), "application/octet-stream")
    joining_of.assert_done(joining_of.join())
    joining_of.assert_done(joining_of.join())


def test_a_segment_that_is_missing_shows_before_anything_is_visible(joining_of: Joining):
    """A bug, or another worker that has ended it: no errors file with rows missing."""
    last = joining_of.rows[-ROWS:]
    gone = segment_key(joining_of.execution, last[0].offset, last[-1].offset + 1)
    joining_of.workplace().objects.delete(joining_of.cloud.bucket, [gone])
    with pytest.raises(SegmentsMissing, match="69 bad rows in the segments of e1, 72 counted"):
        joining_of.join()
    assert joining_of.cloud.objects("errors/") == {}


def test_behind_a_part_that_was_not_read_to_its_end_nobody_knows_the_lines(joining_of: Joining):
    """A failed execution: offsets are right, lines are null."""
    first = joining_of.parts[0]
    half = joining_of.rows[SEGMENTS * ROWS // 2].offset
    joining_of.parts[0] = replace(first, done=False, next_offset=half)
    joining_of.outcome = replace(
        joining_of.outcome, sums=Tally(bad=SEGMENTS * ROWS * 3 // 2), read_to={0: half, PART_BYTES: 2 * PART_BYTES}
    )
    joining_of.join()
    told = [orjson.loads(line) for line in joining_of.cloud.objects("errors/")[DESTINATION.reasons].splitlines()]
    known = [GOOD_LINES + number + 1 for number in range(SEGMENTS * ROWS // 2)]
    assert [row["line"] for row in told] == known + [None] * SEGMENTS * ROWS
