"""A big import on the twin, its workers killed by pid; the command for larger ones: `python -m tests.soak`."""

import itertools
from pathlib import Path

import pytest

from tests.soak.__main__ import soak
from tests.soak.files import BAD_EVERY, File, is_bad
from tests.support import oracle

pytestmark = pytest.mark.xdist_group("twin")


def test_the_oracle_says_the_same_of_the_rows():
    """What the counting takes for true is what the oracle works out of the same bytes."""
    file = File(250_000)
    body = b"".join(file.chunks(10_000))
    read = oracle.read("imports/soak.json", body)
    expected = [file.expected(number) for number in range(file.rows)]
    assert (read.rows, read.good, read.bad) == (file.rows, file.good, file.bad)
    assert {(e.user_id, e.event_key): e.event_name for e in expected if e is not None} == {
        key: event.event_name for key, event in read.events.items()
    }
    assert [row.line - 1 for row in read.bad_rows] == [n for n in range(file.rows) if is_bad(n)]
    assert len(body) == file.size_bytes


def test_a_row_is_the_same_however_it_is_asked_for():
    file = File(100_000, seed=3)
    rows = b"".join(file.chunks(999)).splitlines(keepends=True)
    assert rows == [file.row(number) for number in range(file.rows)]
    assert {len(row) for row, number in zip(rows, itertools.count()) if number % BAD_EVERY != BAD_EVERY - 1} == {360}


@pytest.mark.slow
@pytest.mark.parametrize("sink", ["dynamodb", "firehose"])
def test_36_mb_in_small_parts_with_short_invocations_and_kills(tmp_path: Path, sink: str):
    """Five parts of 8 MiB, 30 s each at most, a worker killed every ten seconds: every row is where it belongs."""
    story, counted = soak(
        tmp_path,
        File(36_000_000),
        sink,
        part_mib=8,
        seconds=30,
        kill_every_s=10,
        workers=4,
        visibility_s=60,
        sweep_every_s=20,
        seed=1,
        limit_s=1_800,
    )
    assert counted["rows"] == 100_000
    assert counted["parts"] == 5
    assert story.kills
