"""Bad rows that are still outstanding: those of an execution that no later one has taken over, mended.

Rule: a file that has bad rows of an execution, mended, says so: in its metadata (`mends`, an execution id, and `mends-
rows`), or, in the same import, by that id as a part of its name between dots: `logins.8c2f….json`. What says neither
closes nothing: another day's file may have the same name, and as many rows. What was dropped unsaid, a person can say
later.

When such a file's import has SUCCEEDED, its rows are its own: the good ones are stored, and those that are bad again
are outstanding there, in its own errors file, and no more at the parent. So the sum over all executions is exact. It is
computed when somebody asks, from what the imports table says of the parent, and of each child as it is now: nothing is
counted up or down, so no delivery that comes twice, no crash and no undoing can put it wrong. The same rows dropped
again count once: `mends-rows` says which they are, and without it the file's hash says that it is the same file.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from importer.executions.ports import Records
from importer.model import Execution, Mending, Phase, S3Object, Status, Value

ALL: Final = "all"
METADATA: Final = "mends"
METADATA_ROWS: Final = "mends-rows"
LONGEST_ROWS: Final = 1_500  # characters. Quota: 2 KB of metadata an object (AmazonS3 userguide, UsingMetadata)
_ID: Final = re.compile(r"[0-9a-f]{32}")
_ROWS: Final = re.compile(r"\d{1,18}(?:-\d{1,18})?(?:,\d{1,18}(?:-\d{1,18})?)*")


@dataclass(frozen=True, slots=True)
class Mended:
    """A later execution whose file has bad rows of this one.

    Attributes:
        rows: which: see `Mending`.
        counts: it took them over; it did not if it has not SUCCEEDED, or was undone.
        taken: how many rows its file has.
        lines: … and with the blank ones, as those of persons are who were forgotten.
        bad: of those, the ones that are bad again: outstanding there, unless others have taken them over in turn.
    """

    execution_id: str
    rows: str
    status: Status | None
    counts: bool
    taken: int
    bad: int
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Outstanding:
    """How an execution's bad rows stand.

    Attributes:
        bad: rows in its errors file.
        rows: of those, the ones nobody has taken over.
        mended: who has, or was to.
    """

    bad: int
    rows: int
    mended: tuple[Mended, ...] = ()

    def document(self) -> dict[str, Value]:
        """For `--json`."""
        return {
            "outstanding": self.rows,
            "mended_by": [
                {
                    "execution_id": child.execution_id,
                    "status": child.status.value if child.status else None,
                    "counts": child.counts,
                    "mends_rows": child.rows or None,
                    "rows": child.taken,
                    "bad": child.bad,
                }
                for child in self.mended
            ],
        }


def linked(records: Records, source: S3Object, execution_id: str, import_id: str) -> str:
    """The execution whose bad rows an object says it has, mended, once that is noted there; "" for none.

    Args:
        execution_id, import_id: the object's own. A name speaks of executions of its own import only: it is chosen by
            whoever may send files to that import, and to no other.
    """
    said, _, rows = source.mends.partition(" ")
    named = [part for part in source.key.rpartition("/")[2].split(".") if _ID.fullmatch(part)]
    for parent_id, its_rows in ((said, rows), *((part, "") for part in named)):
        if not _ID.fullmatch(parent_id) or parent_id == execution_id:
            continue
        parent = records.execution(parent_id)
        # Of another bucket's: whoever may write here may not be anybody there.
        if parent is None or parent.source.bucket != source.bucket:
            continue
        if parent_id == said or parent.document_import_id == import_id:
            records.link_mending(parent_id, Mending(execution_id, its_rows if _are_rows(its_rows) else ""))
            return parent_id
    return ""


def is_execution_id(said: str) -> bool:
    """By its look."""
    return _ID.fullmatch(said) is not None


def metadata_of(parent_id: str, rows: str = "") -> dict[str, str]:
    """The metadata of a file that has bad rows of that execution, mended; none for ""."""
    said = {METADATA: parent_id, METADATA_ROWS: rows}
    return {name: value for name, value in said.items() if value}


def of_hand(execution_id: str) -> Mending:
    """As a person says it of a file that was dropped unsaid: how many rows it has, its execution knows."""
    return Mending(execution_id, "")


def outstanding(records: Records, execution: Execution) -> Outstanding:
    """How its bad rows stand now. None of one that has not ended."""
    bad = _bad_rows(execution)
    if not bad:
        return Outstanding(0, 0)
    children = [(said, records.execution(said.execution_id)) for said in records.mendings(execution.id)]
    mended = tuple(_mended(said, child) for said, child in children)
    hashes = {child.id: _hash(child) for _, child in children if child is not None}
    return Outstanding(bad, bad - _taken_over(bad, mended, hashes), mended)


class RowsSaid:
    """Makes `mends-rows` of the rows that are told to it, in order; in bounded memory, however many there are."""

    def __init__(self) -> None:
        self._intervals: list[tuple[int, int]] = []

    def add(self, index: int) -> None:
        intervals = self._intervals
        if intervals and intervals[-1][1] == index:
            intervals[-1] = (intervals[-1][0], index + 1)
        elif len(intervals) <= LONGEST_ROWS:  # each of them takes two characters at least
            intervals.append((index, index + 1))

    def said(self) -> str:
        """ "" where it would be too long."""
        text = ",".join(f"{a}" if b == a + 1 else f"{a}-{b - 1}" for a, b in self._intervals)
        return text if len(text) <= LONGEST_ROWS else ""


def _are_rows(said: str) -> bool:
    return said == ALL or (len(said) <= LONGEST_ROWS and _ROWS.fullmatch(said) is not None)


def _bad_rows(execution: Execution) -> int:
    if execution.undone is not None:
        return 0  # as if its file had never been imported; of mended rows the parent has them back
    ended = execution.phase in (Phase.CLOSING, Phase.CLOSED)
    return execution.outcome.sums.bad if ended and execution.outcome is not None else 0


def _mended(said: Mending, child: Execution | None) -> Mended:
    # What it took over and somebody has undone is outstanding here again.
    if child is None or child.outcome is None or child.status is not Status.SUCCEEDED or child.undone is not None:
        return Mended(said.execution_id, said.rows, child.status if child else None, False, 0, 0)
    sums = child.outcome.sums
    return Mended(said.execution_id, said.rows, child.status, True, sums.rows, sums.bad, sums.lines)


def _hash(child: Execution) -> str:
    return (child.outcome.sha256 if child.outcome is not None else None) or child.id


def _taken_over(bad: int, mended: Iterable[Mended], hashes: dict[str, str]) -> int:
    """How many of so many bad rows were taken over: those that were named, each once, and as many as others have."""
    named: list[tuple[int, int]] = []
    others: dict[str, int] = {}
    for child in mended:
        if not child.counts:
            continue
        intervals = _intervals(child.rows, bad)
        # Fewer rows than it says: whoever wrote it has left some out, and nobody knows which.
        if intervals and child.lines >= _length(intervals):
            named += intervals
        else:
            others[hashes[child.execution_id]] = child.taken
    return min(bad, _length(named) + sum(others.values()))


def _intervals(rows: str, bad: int) -> list[tuple[int, int]]:
    """Half-open intervals of the bad rows that are named."""
    if rows == ALL:
        return [(0, bad)]
    found: list[tuple[int, int]] = []
    for piece in filter(None, rows.split(",")):
        first, _, last = piece.partition("-")
        start, stop = int(first), int(last or first) + 1
        if start < min(stop, bad):
            found.append((start, min(stop, bad)))
    return found


def _length(intervals: list[tuple[int, int]]) -> int:
    """Rows that lie in any of them."""
    total = 0
    reached = 0
    for start, stop in sorted(intervals):
        total += max(0, stop - max(start, reached))
        reached = max(reached, stop)
    return total
