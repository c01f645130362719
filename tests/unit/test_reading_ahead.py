"""One batch ahead, no more, and nothing about it can be told from the outside."""

from collections.abc import Iterator

import pytest

from importer.batches import Batch
from importer.executions.reading_ahead import ReadAhead
from importer.model import Unavailable


def read(journal: list[str], count: int, failure: Exception | None = None) -> Iterator[Batch]:
    for number in range(count):
        journal.append(f"read {number}")
        yield Batch(number, 1)
    if failure is not None:
        raise failure


def test_a_look_reads_the_next_batch_and_only_that():
    journal: list[str] = []
    ahead = ReadAhead()
    for batch in ahead.of(read(journal, 3)):
        journal.append(f"write {batch.start}")
        ahead.look()
        ahead.look()
        journal.append(f"wrote {batch.start}")
    assert journal == [
        *("read 0", "write 0", "read 1", "wrote 0"),
        *("write 1", "read 2", "wrote 1"),
        *("write 2", "wrote 2"),
    ]


def test_without_a_look_it_is_read_when_its_turn_comes():
    journal: list[str] = []
    for batch in ReadAhead().of(read(journal, 2)):
        journal.append(f"write {batch.start}")
    assert journal == ["read 0", "write 0", "read 1", "write 1"]


def test_what_goes_wrong_ahead_is_told_when_its_turn_comes():
    """The batch before it is written to its end, and counts."""
    ahead = ReadAhead()
    batches = iter(ahead.of(read([], 1, Unavailable("gone"))))
    assert next(batches) == Batch(0, 1)
    ahead.look()  # nothing is raised where it is written
    with pytest.raises(Unavailable, match="gone"):
        next(batches)


def test_a_bug_is_loud_at_once():
    """Nothing that is not expected is kept for later."""
    ahead = ReadAhead()
    with pytest.raises(ZeroDivisionError):
        ahead.of(read([], 0, ZeroDivisionError())).look()
