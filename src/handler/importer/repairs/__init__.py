"""What can be done about a refused row: repairs that are proposed, never made in silence (pure).

Rule: a row is mended by edits of its text, one step after the other, each an answer to what the row's own reader says
of it; a repair is proposed only if, in the end, that reader takes the row, under the settings it was refused by. What
no edit touches stays as it is, byte for byte: names in their order, numbers in their digits. Nothing is made up: no
identifier and no time is ever added. Where a row can be meant in two ways nothing is proposed, and it is said which.

A row that is good is never touched: the reader is asked first. A search is bounded by MOST_STEPS and MOST_READINGS.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from importer import batches
from importer.bad_rows import BadRow, Reason, row_text
from importer.batches import Rules
from importer.formats import FORMATS
from importer.layouts import JSON_LINES, Layout
from importer.lines import BOM, MAX_LINE_BYTES
from importer.model import LongLine
from importer.repairs import cells, loose_json, members
from importer.repairs.encodings import decoded
from importer.repairs.loose_json import Kind
from importer.repairs.members import Ambiguous, Candidate
from importer.repairs.rules import LABELS, Edit, Rule, Step, edited

__all__ = ["LABELS", "Refused", "Repair", "Repairer", "Rule", "Step"]

MOST_STEPS: Final = 12  # of one row
MOST_READINGS: Final = 60  # of one row, by its reader
# A row of MiBs is read again for each step: what a person will look at is smaller.
LARGEST_BYTES: Final = 1 << 20
_AWAY: Final = 1 << 62  # an address that is no file's first byte


@dataclass(frozen=True, slots=True)
class Repair:
    """A proposal for one row; both texts with their line end, as it was sent."""

    before: bytes
    after: bytes
    steps: tuple[Step, ...]
    bad: BadRow

    @property
    def certain(self) -> bool:
        return all(step.certain for step in self.steps)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return tuple(dict.fromkeys(step.rule for step in self.steps))

    @property
    def name(self) -> str:
        """Of the group it is shown in: its rules, in the order they were used."""
        return " + ".join(rule.value for rule in self.rules)


@dataclass(frozen=True, slots=True)
class Refused:
    """A row for which nothing is proposed, and why."""

    raw: bytes | LongLine
    bad: BadRow
    why: str


class Repairer:
    """Proposes repairs of the rows of one file.

    Args:
        rules: those by which the rows are judged, now and when the file is dropped again.
    """

    def __init__(self, rules: Rules, layout: Layout = JSON_LINES) -> None:
        self._judge = batches.judge(rules, layout)
        # Where files may hold rows of several dialects, a row that is spelt wrong may look like another one's.
        own = replace(rules, definition=replace(rules.definition, format=rules.format))
        self._own = batches.judge(own, layout) if not rules.definition.format and rules.format in FORMATS else None
        self._columns = layout.columns

    def repair(self, raw: bytes | LongLine, line: int = 1, offset: int = _AWAY) -> Repair | Refused | None:
        """What can be done about a row; None if there is nothing to be done: it is good, or blank.

        Args:
            raw: with its line end.
            offset: of its first byte; at 0 a byte order mark is none of the row.
        """
        found = self._judge((offset, raw)).bad_rows
        if not found:
            return None
        bad = found[0]
        bad.line, bad.offset = line, offset
        if isinstance(raw, LongLine):
            return Refused(raw, bad, "it is longer than any destination holds")
        text = row_text(raw)
        end = raw[len(text) :]
        mark = BOM if offset == 0 and text.startswith(BOM) else b""
        text = text[len(mark) :]
        if len(text) > LARGEST_BYTES:
            return Refused(raw, bad, f"it has more than {LARGEST_BYTES >> 20} MiB")
        mended = None
        why = ""
        for own in (self._own, None) if self._own is not None else (None,):
            search = _Search(self._judge, self._columns, own)
            mended = search.mended_bytes(text, bad)
            why = why or search.why
            if mended is not None:
                break
        if mended is None or len(mended[0]) > MAX_LINE_BYTES:
            return Refused(raw, bad, why or bad.hint)
        after, steps = mended
        return Repair(raw, mark + after + end, steps, bad)


class _Search:
    """For one row: what was tried, and how often it was read.

    Args:
        own: says of a row that `judge` refuses what the file's own dialect wants of it.
    """

    def __init__(
        self, judge: "batches.Judge", columns: tuple[str, ...] | None, own: "batches.Judge | None" = None
    ) -> None:
        self._judge = judge
        self._own = own
        self._columns = columns
        self._readings = 0
        self.why = ""

    def mended_bytes(self, text: bytes, bad: BadRow) -> tuple[bytes, tuple[Step, ...]] | None:
        for characters, step in decoded(text, bad.reason):
            steps = () if step is None else (step,)
            first = bad if step is None and self._own is None else self._bad(characters)
            found = (characters, steps) if first is None else self._mended(characters, first, steps, {characters})
            if found is not None:
                return found[0].encode(), found[1]
        return None

    def _bad(self, text: str) -> BadRow | None:
        """What the reader says of a text in the row's place; None if it takes it."""
        self._readings += 1
        try:
            raw = text.encode()
        except UnicodeEncodeError:
            raw = text.encode("utf-8", "surrogatepass")
        batch = self._judge((_AWAY, raw + b"\n"))
        if batch.tally.blank:
            return BadRow(1, 0, raw, Reason.NOT_JSON, "", "", "", "nothing is left of the row", "")
        if batch.bad_rows and self._own is not None:
            return (self._own((_AWAY, raw + b"\n")).bad_rows or batch.bad_rows)[0]
        return batch.bad_rows[0] if batch.bad_rows else None

    def _mended(
        self, text: str, bad: BadRow, steps: tuple[Step, ...], seen: set[str]
    ) -> tuple[str, tuple[Step, ...]] | None:
        """The text with further steps that make it good; None if there are none."""
        if len(steps) >= MOST_STEPS:
            return None
        good: list[Candidate] = []
        better: list[tuple[Candidate, BadRow]] = []
        try:
            for candidate in self._candidates(bad, text):
                if candidate.text in seen or self._readings >= MOST_READINGS:
                    continue
                seen.add(candidate.text)
                if "\n" in candidate.text and self._columns is None:
                    several = self._several(candidate, seen)
                    if several is not None:
                        return several[0], (*steps, *several[1])
                    continue
                then = self._bad(candidate.text)
                if then is None:
                    if candidate.step.rule not in _EXCLUSIVE:
                        return candidate.text, (*steps, *candidate.steps)
                    good.append(candidate)
                else:
                    better.append((candidate, then))
        except Ambiguous as several_ways:
            self.why = self.why or str(several_ways)
            return None
        if len(good) > 1:
            self.why = "which value holds the comma cannot be told: put the right one in double quotes"
            return None
        if good:
            return good[0].text, (*steps, *good[0].steps)
        for candidate, then in better:
            if (then.reason, then.field, then.found, then.message) == (bad.reason, bad.field, bad.found, bad.message):
                continue
            found = self._mended(candidate.text, then, (*steps, *candidate.steps), seen)
            if found is not None:
                return found
        return None

    def _several(self, candidate: Candidate, seen: set[str]) -> tuple[str, tuple[Step, ...]] | None:
        """A text that became several rows: each must be good, or be mended."""
        made: list[str] = []
        steps = list(candidate.steps)
        for row in candidate.text.split("\n"):
            bad = self._bad(row)
            if bad is None:
                made.append(row)
                continue
            found = self._mended(row, bad, (), seen)
            if found is None:
                return None
            made.append(found[0])
            steps += [step for step in found[1] if step not in steps]
        return "\n".join(made), tuple(steps)

    def _candidates(self, bad: BadRow, text: str) -> Iterator[Candidate]:
        if self._columns is not None:
            yield from cells.candidates(bad, text, self._columns)
            return
        if bad.reason in (Reason.NOT_JSON, Reason.NOT_AN_OBJECT, Reason.NOT_UTF8):
            yield from self._as_json(text)
            return
        yield from members.candidates(bad, text, self._bad)

    def _as_json(self, text: str) -> Iterator[Candidate]:
        """Texts of which the first is JSON, if there is a way to make it so."""
        inner = _quoted_row(text)
        if inner is not None:
            yield Candidate(inner, Step(Rule.QUOTED_ROW, "the row stands in a text: what the text says", True))
            return
        lone = _ESCAPED_HALVES.sub(_whole_characters, text)
        if lone != text:
            why = "half of a character can stand for nothing: � in its place"
            yield Candidate(lone, Step(Rule.SURROGATES, why, False))
        scanned = loose_json.scan(text)
        if scanned.trouble:
            self.why = self.why or scanned.trouble
            return
        edits, steps = list(scanned.edits), list(scanned.steps)
        root = scanned.rows[0]
        if len(scanned.rows) == 1 and root.kind is Kind.ARRAY and root.items:
            if any(item.kind is not Kind.OBJECT for item in root.items):
                return
            edits = [e for e in edits if root.items[0].start <= e.start and e.stop <= root.items[-1].stop]
            # What stands between two rows, a comma and what was mended there, becomes a line break.
            for one, other in zip(root.items, root.items[1:], strict=False):
                edits = [e for e in edits if e.stop <= one.stop or e.start >= other.start]
                edits.append(Edit(one.stop, other.start, "\n"))
            edits.append(Edit(0, root.items[0].start, ""))
            edits.append(Edit(root.items[-1].stop, len(text), ""))
            steps.append(Step(Rule.ARRAY_OF_ROWS, "each row stands on a line of its own, without [ ]", True))
        if not steps:
            return
        made = edited(text, edits)
        # The steps of one reading of the text are one candidate; the last of them stands for all.
        yield Candidate(made, steps[-1], tuple(steps[:-1]))


_EXCLUSIVE: Final = frozenset([Rule.COMMA_IN_VALUE])  # of several that are taken, none may be chosen


def _quoted_row(text: str) -> str | None:
    """The object that a JSON string, or a field of a CSV, holds; None where it holds none."""
    stripped = text.strip()
    if stripped.startswith('{\\"'):  # what stood in the text, its quotes still escaped
        stripped = f'"{stripped}"'
    if len(stripped) < 4 or not (stripped.startswith('"') and stripped.endswith('"')):
        return None
    try:
        inner = json.loads(stripped)
    except ValueError:
        inner = stripped[1:-1].replace('""', '"') if stripped.startswith('"{""') else None
    return inner.strip() if isinstance(inner, str) and re.match(r"\s*\{.*\}\s*\Z", inner, re.DOTALL) else None


# A backslash that is escaped, a whole pair, or half of one.
_ESCAPED_HALVES: Final = re.compile(
    r"\\\\|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[dD][89a-fA-F][0-9a-fA-F]{2}"
)
_HALF: Final = 6  # characters of one escape


def _whole_characters(found: "re.Match[str]") -> str:
    escape = found.group()
    return "\\ufffd" if len(escape) == _HALF else escape
