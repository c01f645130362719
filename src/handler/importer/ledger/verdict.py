"""What a recount found, as values: the first differences in full, all of them as counts."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from enum import StrEnum

from importer.bad_rows import shown
from importer.model import Tally, Value

_BEFORE = 40  # characters, to tell where in a long text one is


class Kind(StrEnum):
    """How a place differs from what the archived object says."""

    MISSING = "missing"
    EXTRA = "extra"
    DIFFERENT = "different"


class Place(StrEnum):
    """Where it was looked for."""

    ARCHIVE = "archive"  # the object under completed_imports/; of a FAILED or CANCELED execution the source
    EVENTS = "events"
    USERS = "users"
    ERRORS = "errors"
    REASONS = "reasons"
    RECEIPT = "receipt"
    EXECUTION = "execution"


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference.

    Attributes:
        line, offset: of the row it is about; None where it is about no row. Lines count from 1 as an editor counts,
            offsets count plain bytes.
        key: `user_id/event_key` or `user_id/record` of an item; the object's key elsewhere.
        attribute: what of it differs; "" for the whole.
        expected, found: cut and escaped, since they may be strangers' text (J8); "" where there is nothing.
    """

    kind: Kind
    place: Place
    line: int | None = None
    offset: int | None = None
    key: str = ""
    attribute: str = ""
    expected: str = ""
    found: str = ""

    def document(self) -> dict[str, Value]:
        return {
            "kind": self.kind.value,
            "where": self.place.value,
            "line": self.line,
            "offset": self.offset,
            "key": self.key or None,
            "attribute": self.attribute or None,
            "expected": self.expected or None,
            "found": self.found or None,
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """A recount's result.

    Attributes:
        recounted: what the archived object holds by this count; of a FAILED or CANCELED execution what it had read.
        findings: the first differences, in the order of the file, papers last; what is wrong with the archive itself
            comes first, since all else was worked out from it.
        differences: all of them, by kind.
        scanned: the tables were searched for items that no row accounts for.
        unchecked: sentences: what this recount cannot say.
        gone: items that are rightly not there any more: expired, or of persons erased since.
        forgotten: rows that are rightly blank: of persons forgotten since.
    """

    execution_id: str
    recounted: Tally
    findings: tuple[Finding, ...]
    differences: dict[Kind, int]
    scanned: bool
    unchecked: tuple[str, ...]
    gone: int = 0
    forgotten: int = 0

    @property
    def balanced(self) -> bool:
        return not self.differences

    def document(self) -> dict[str, Value]:
        """For machines."""
        return {
            "schema": "verdict/1",
            "execution_id": self.execution_id,
            "balanced": self.balanced,
            **self.recounted.counts(),
            "differences": {kind.value: self.differences.get(kind, 0) for kind in Kind},
            "findings": [finding.document() for finding in self.findings],
            "scanned": self.scanned,
            "unchecked": list(self.unchecked),
            "gone": self.gone,
            "forgotten": self.forgotten,
        }


@dataclass(slots=True)
class Findings:
    """Differences on their way: the first `most` by the order of the file are kept, all are counted."""

    most: int
    kept: list[Finding] = field(default_factory=list)
    counts: Counter[Kind] = field(default_factory=Counter)
    _places: list[float] = field(default_factory=list)  # of those kept, in the file

    def add(
        self,
        kind: Kind,
        place: Place,
        line: int | None = None,
        offset: int | None = None,
        key: str = "",
        attribute: str = "",
        expected: str = "",
        found: str = "",
        told_at: int | None = None,
    ) -> None:
        """`told_at`: the offset by which it is known, if that lies behind the row it is about."""
        self.counts[kind] += 1
        where = float("inf") if offset is None else max(offset, told_at or 0)  # what is about no row comes last
        at = bisect_right(self._places, where)
        if at < self.most:
            texts = (shown(text) for text in (key, attribute, *_apart(expected, found)))
            self.kept.insert(at, Finding(kind, place, line, offset, *texts))
            self._places.insert(at, where)
            del self.kept[self.most :], self._places[self.most :]

    def put_first(self, finding: Finding) -> None:
        """A finding that explains the others: it comes first, with the place of the first row among them."""
        self.counts[finding.kind] += 1
        row = next((kept for kept in self.kept if kept.line is not None), None)
        if row is not None and finding.line is None:
            finding = replace(finding, line=row.line, offset=row.offset)
        self.kept = [finding, *self.kept][: self.most]

    def verdict(
        self,
        execution_id: str,
        recounted: Tally,
        scanned: bool,
        unchecked: Iterable[str],
        gone: int,
        forgotten: int = 0,
    ) -> Verdict:
        kept, counts = tuple(self.kept), dict(self.counts)
        return Verdict(execution_id, recounted, kept, counts, scanned, tuple(unchecked), gone, forgotten)


def _apart(expected: str, found: str) -> tuple[str, str]:
    """Two texts as they are; or, where they differ so late that cut they would look alike, from shortly before that."""
    if expected == found or shown(expected) != shown(found):
        return expected, found
    together = next((at for at, pair in enumerate(zip(expected, found, strict=False)) if pair[0] != pair[1]), None)
    begin = max((min(len(expected), len(found)) if together is None else together) - _BEFORE, 0)
    return f"…{expected[begin:]}", f"…{found[begin:]}"
