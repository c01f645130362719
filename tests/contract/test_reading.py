"""Reading over a real socket: every byte, or the right error, whatever the connection does (C1–C4, C9, N11)."""

import random
from collections.abc import Iterator, Sequence
from unittest import mock

import pytest

from importer.aws import reading
from importer.bad_rows import FileReason, ObjectProblem
from importer.model import Unavailable
from tests.support import scripted_s3 as s3
from tests.support.scripted_s3 import Answer, ImpatientClock, ScriptedS3

BODY = random.Random(7).randbytes(20_000)


@pytest.fixture(autouse=True)
def limits() -> Iterator[None]:
    with s3.small_limits():
        yield


def bytes_read(server: ScriptedS3, start: int = 0, stop: int | None = None, attempts: int = 1) -> bytes:
    return b"".join(server.objects(attempts).read(server.source(), start, stop))


CONTINUED: dict[str, tuple[Sequence[Answer], list[str | None]]] = {
    "nothing is wrong": ([s3.honest], [None]),
    "in chunks, without a length": ([s3.in_chunks], [None]),
    "reset in the body": ([s3.reset_after(5000), s3.honest], [None, "bytes=5000-"]),
    "reset before the first byte of the body": ([s3.reset_after(0), s3.honest], [None, None]),
    "closed in the body": ([s3.closed_after(5000), s3.honest], [None, "bytes=5000-"]),
    "closed in the body, without a length": (
        [s3.closed_after(5000, with_length=False), s3.honest],
        [None, "bytes=5000-"],
    ),
    "closed one byte before the end": ([s3.closed_after(19_999, with_length=False), s3.honest], [None, "bytes=19999-"]),
    "closed in the headers": ([s3.closed_in_the_headers, s3.honest], [None, None]),
    "chunks cut": ([s3.chunks_cut, s3.honest], [None, "bytes=500-"]),
    "stalled in the body": ([s3.stalled_after(5000), s3.honest], [None, "bytes=5000-"]),
    "stalled before the body": ([s3.stalled_after(0), s3.honest], [None, None]),
    "first byte late, but in time": ([s3.late(0.2)], [None]),
    "first byte too late": ([s3.late(0.5), s3.honest], [None, None]),
    "the rest given whole": ([s3.reset_after(5000), s3.range_ignored], [None, "bytes=5000-"]),
    "broken again and again": (
        [s3.reset_after(5000), s3.closed_after(5000), s3.stalled_after(5000), s3.closed_after(4000), s3.honest],
        [None, "bytes=5000-", "bytes=10000-", "bytes=15000-", "bytes=19000-"],
    ),
    "more often than there are tries, but each time enough came": (
        [*[s3.closed_after(1500)] * 13, s3.honest],
        [None, *[f"bytes={1500 * number}-" for number in range(1, 14)]],
    ),
}


@pytest.mark.parametrize(("script", "ranges"), CONTINUED.values(), ids=CONTINUED.keys())
def test_a_broken_body_is_continued_where_it_broke(script: Sequence[Answer], ranges: list[str | None]):
    """Not a byte twice, not a byte missing; each GET asks for what is missing, and for no other ETag (C5)."""
    with ScriptedS3(BODY, script) as server:
        assert bytes_read(server) == BODY
        assert server.ranges == ranges
        assert {headers["if-match"] for headers in server.requests} == {server.etag}


@pytest.mark.parametrize(
    ("script", "ranges"),
    [
        ([s3.honest], ["bytes=0-5999", "bytes=6000-11999", "bytes=12000-17999", "bytes=18000-"]),
        (
            [s3.honest, s3.closed_after(2000), s3.honest],
            ["bytes=0-5999", "bytes=6000-11999", "bytes=8000-13999", "bytes=14000-"],
        ),
        ([s3.range_ignored], ["bytes=0-5999", "bytes=6000-11999", "bytes=12000-17999", "bytes=18000-"]),
    ],
    ids=["whole", "broken", "ranges ignored"],
)
def test_a_huge_object_is_asked_for_piece_by_piece(script: Sequence[Answer], ranges: list[str | None]):
    """What stands between us and S3 holds no more than a piece; a piece that was read to its end is no broken body."""
    with ScriptedS3(BODY, script) as server, mock.patch.object(reading, "GET_BYTES", 6_000):
        assert bytes_read(server) == BODY
        assert server.ranges == ranges


def test_a_trickle_is_left_and_continued_on_another_connection():
    """C3: every byte comes within the read time-out, and still the connection is given up."""
    with ScriptedS3(BODY, [s3.trickling(1, 0.01), s3.honest]) as server:
        assert bytes_read(server) == BODY
        first, second = server.ranges
        assert first is None
        assert second is not None
        assert 0 < int(second.removeprefix("bytes=").removesuffix("-")) < 100


def test_a_trickle_on_every_connection_ends():
    """The little that each one gave buys no new tries."""
    with ScriptedS3(BODY, [s3.trickling(1, 0.01)]) as server:
        with pytest.raises(Unavailable, match=r"stuck at byte \d+ of 20000 after 5 connections"):
            bytes_read(server)
        assert len(server.requests) == reading.TRIES


@pytest.mark.parametrize("answer", [s3.closed_after(100), s3.reset_after(100), s3.stalled_after(100)])
def test_small_progress_on_every_connection_ends(answer: Answer):
    """A hundred bytes a connection would be two hundred connections."""
    with ScriptedS3(BODY, [answer]) as server, pytest.raises(Unavailable, match="stuck at byte 500 of 20000 after 5"):
        bytes_read(server)


def test_slow_but_fast_enough_is_read_on_one_connection():
    """The same little at a time, but enough of it in a window."""
    with ScriptedS3(BODY, [s3.trickling(2000, 0.1)]) as server, s3.small_limits(window_ms=5000):
        assert bytes_read(server) == BODY
        assert server.ranges == [None]


def test_the_time_the_caller_takes_is_no_slowness():
    """A throttled destination keeps the reader waiting, not the other way round."""
    clock, read = ImpatientClock(), b""
    with ScriptedS3(BODY, [s3.trickling(500, 0.01)]) as server, s3.small_limits(window_bytes=5000, window_ms=5000):
        for chunk in server.objects(clock=clock).read(server.source(), 0):
            clock.ahead_ms += 60_000
            read += chunk
        assert read == BODY
        assert server.ranges == [None]


def test_what_came_is_handed_on_though_it_is_little():
    """A reader that waits for 256 KiB would keep rows that are here already."""
    with ScriptedS3(BODY, [s3.trickling(2000, 0.1)]) as server:
        sizes = [len(chunk) for chunk in server.objects().read(server.source(), 0)]
        assert len(sizes) > 1
        assert sum(sizes) == len(BODY)


RANGES = {
    "the beginning": (0, 100, "bytes=0-99"),
    "the middle": (5000, 5001, "bytes=5000-5000"),
    "to the end": (19_000, None, "bytes=19000-"),
    "to beyond the end": (19_000, 50_000, "bytes=19000-"),
    "all, said twice": (0, 20_000, None),
}


@pytest.mark.parametrize(("start", "stop", "asked"), RANGES.values(), ids=RANGES.keys())
@pytest.mark.parametrize("answer", [s3.honest, s3.range_ignored, s3.in_chunks])
def test_a_part_of_an_object_is_read_alone(start: int, stop: int | None, asked: str | None, answer: Answer):
    """`[start, stop)`, clipped; a server that gives more does not change what is read (N11)."""
    with ScriptedS3(BODY, [answer]) as server:
        assert bytes_read(server, start, stop) == BODY[start:stop]
        assert server.ranges == [asked]


def test_a_part_is_continued_to_its_stop_only():
    with ScriptedS3(BODY, [s3.closed_after(50), s3.honest]) as server:
        assert bytes_read(server, 100, 200) == BODY[100:200]
        assert server.ranges == ["bytes=100-199", "bytes=150-199"]


@pytest.mark.parametrize(("start", "stop"), [(20_000, None), (30_000, None), (5, 5), (20_000, 20_001)])
def test_nothing_is_left_past_the_end(start: int, stop: int | None):
    """C9: not even asked for, since S3 would answer 416."""
    with ScriptedS3(BODY, [s3.honest]) as server:
        assert bytes_read(server, start, stop) == b""
        assert server.requests == []


@pytest.mark.parametrize(
    "text", ["bytes 6000-19999/20000", "bytes 5000-19999/20001", "bytes 5000-19999/*", "bytes */20000", "none"]
)
def test_a_range_nobody_asked_for_is_not_believed(text: str):
    """Later bytes, another size, or no saying: rows under wrong addresses otherwise."""
    with (
        ScriptedS3(BODY, [s3.closed_after(5000), s3.other_range(text)]) as server,
        pytest.raises(Unavailable, match="asked for bytes from 5000, given"),
    ):
        bytes_read(server)


def test_an_object_replaced_meanwhile_is_not_mixed_with_the_new_one():
    """C5: 412, and an honest end."""
    with ScriptedS3(BODY, [s3.closed_after(5000), s3.honest]) as server:
        chunks = server.objects().read(server.source(), 0)
        read = next(chunks)
        server.etag = "another"
        with pytest.raises(ObjectProblem) as raised:
            read += b"".join(chunks)
        assert raised.value.code is FileReason.REPLACED_WHILE_READING
        assert read == BODY[:5000]


REFUSALS = {
    "gone": (s3.refused("404 Not Found", "NoSuchKey"), FileReason.OBJECT_GONE),
    "archived": (s3.refused("403 Forbidden", "InvalidObjectState"), FileReason.OBJECT_ARCHIVED),
}


@pytest.mark.parametrize(("answer", "code"), REFUSALS.values(), ids=REFUSALS.keys())
def test_an_object_taken_away_meanwhile_is_the_files_affair(answer: Answer, code: FileReason):
    """Deleted (C6) or archived (C7) between two requests: FAILED with that code, not tried again."""
    with ScriptedS3(BODY, [s3.closed_after(5000), answer]) as server, pytest.raises(ObjectProblem) as raised:
        bytes_read(server)
    assert raised.value.code is code


def test_an_object_shorter_than_it_was_said_to_be_is_no_quiet_end():
    """416 before the end (C9): somebody is wrong, so nothing is called read."""
    answers = [s3.closed_after(5000), s3.refused("416 Range Not Satisfiable", "InvalidRange")]
    with ScriptedS3(BODY, answers) as server, pytest.raises(Unavailable, match="fewer bytes than the 20000"):
        bytes_read(server)


def test_errors_that_pass_are_tried_again_by_the_sdk():
    """500 and 503 before the first byte, and in the middle."""
    failing = [s3.refused("500 Internal Server Error", "InternalError"), s3.refused("503 Slow Down", "SlowDown")]
    with ScriptedS3(BODY, [*failing, s3.closed_after(5000), *failing, s3.honest]) as server:
        assert bytes_read(server, attempts=3) == BODY


def test_an_outage_ends():
    with (
        ScriptedS3(BODY, [s3.refused("503 Slow Down", "SlowDown")]) as server,
        pytest.raises(Unavailable, match="SlowDown"),
    ):
        bytes_read(server)


def test_the_checksum_of_a_whole_object_is_compared_at_its_end():
    """C4: by the SDK, through our reading as it comes."""
    with ScriptedS3(BODY, [s3.with_checksum(BODY)]) as server:
        assert bytes_read(server) == BODY
    with (
        ScriptedS3(BODY, [s3.with_checksum(BODY[::-1])]) as server,
        pytest.raises(Unavailable, match="do not match S3's checksum"),
    ):
        bytes_read(server)


def test_a_small_object_of_ours_is_read_as_patiently():
    """A segment of bad rows: get() continues, and gives up, like read()."""
    with ScriptedS3(BODY, [s3.reset_after(5000), s3.trickling(1, 0.01), s3.honest]) as server:
        assert server.objects().get("b", "work/1/errors/0") == BODY
        assert [headers.get("if-match") for headers in server.requests] == [None, server.etag, server.etag]
    with ScriptedS3(BODY, [s3.trickling(1, 0.01)]) as server, pytest.raises(Unavailable, match="stuck at byte"):
        server.objects().get("b", "work/1/errors/0")
    with ScriptedS3(BODY, [s3.refused("404 Not Found", "NoSuchKey")]) as server:
        assert server.objects().get("b", "work/1/errors/0") is None
    with ScriptedS3(b"", [s3.honest]) as server:
        assert server.objects().get("b", "work/1/errors/0") == b""


def test_a_reader_that_stops_early_leaves_nothing_open():
    """A preview reads the first rows: the connection is closed with the reader, not kept half read."""
    with ScriptedS3(BODY * 200, [s3.honest]) as server, s3.small_limits(window_ms=2000):
        objects = server.objects()
        for _ in range(3):
            chunks = objects.read(server.source(), 0)
            assert BODY.startswith(next(chunks)[:100])
            chunks.close()  # type: ignore[attr-defined]
        assert bytes_read(server) == BODY * 200
