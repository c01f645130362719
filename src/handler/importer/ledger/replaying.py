"""What if: what a replay would change, by one walk through the archived object under both settings. Reads only.

The object's lines are read once and judged twice: under what its execution has pinned, and under what a replay would.
Where both say the same of a batch, nothing is looked at row by row; where they do not, each row's two fates are
compared and put into a group of those that changed alike. Only groups and a few examples of each are kept, so a file
of any length takes a batch's memory.

What no walk knows is not compared: what a destination refused by itself, and who was erased.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import tee
from typing import Final

from importer.bad_rows import BadRow, FileReason, ObjectProblem, row_text, shown
from importer.batches import Batch, batches, judge_bad_rows, judge_whole
from importer.executions.pinned import definition_of, rules_of
from importer.executions.plain_text import HEAD_STORED_BYTES, PlainText
from importer.executions.ports import Objects
from importer.executions.starting import judge_name
from importer.formats import UNKNOWN, UNREAD, judge_columns
from importer.layouts import Layout
from importer.lines import reading_start
from importer.model import TO_THE_END, Event, Execution, LongLine, Part, Tally, UserChange, Value
from importer.recognition import recognised_stored
from importer.words import said

MOST_GROUPS: Final = 50
EXAMPLES: Final = 3
_EVENT: Final = (
    "event_id", "event_name", "event_time_ts", "user_id", "properties", "session_properties", "identifiers",
    "expires_ms",
)  # fmt: skip
_CHANGE: Final = ("user_id", "record", "value", "event_time_ts", "deleted", "expires_ms")


class Fate(StrEnum):
    """What becomes of a line."""

    GOOD = "good"
    BAD = "bad"
    EXPIRED = "expired"
    BLANK = "blank"
    NONE = "no row"  # of other layouts' rows: none begins here


class What(StrEnum):
    """What changes about a row."""

    GOOD_TO_BAD = "good_to_bad"
    BAD_TO_GOOD = "bad_to_good"
    REASON_DIFFERS = "reason_differs"
    EVENTS_DIFFER = "events_differ"
    OTHERWISE = "otherwise"  # expired, blank, or no row at all under one of the settings


@dataclass(slots=True)
class Judged:
    """A line and what becomes of it."""

    offset: int
    line: int
    fate: Fate
    bad: BadRow | None = None
    events: list[Event] = field(default_factory=list)
    changes: list[UserChange] = field(default_factory=list)


@dataclass(slots=True)
class Group:
    """Rows that change alike: what, by which reason before and after (code, field), and which attributes differ."""

    what: What
    before: tuple[str, str] | None
    after: tuple[str, str] | None
    attributes: tuple[str, ...]
    count: int = 0
    examples: list[dict[str, Value]] = field(default_factory=list)

    def document(self) -> dict[str, Value]:
        return {
            "what": self.what.value,
            "before": _reason(self.before),
            "after": _reason(self.after),
            "attributes": list(self.attributes),
            "count": self.count,
            "examples": list(self.examples),
        }


@dataclass(slots=True)
class WhatIf:
    """What a replay of one file would change.

    Attributes:
        settings: those that differ: name → (before, after).
        before, after: the sums under both.
        refused: the replay would end FAILED for this.
        changed: rows by what changes about them.
        groups: the first MOST_GROUPS; rows of further ones are counted, and told as a group without reason.
        notes: what this does not say.
    """

    execution: Execution
    settings: dict[str, tuple[Value, Value]]
    before: Tally = field(default_factory=Tally)
    after: Tally = field(default_factory=Tally)
    refused: ObjectProblem | None = None
    changed: Counter[What] = field(default_factory=Counter)
    groups: list[Group] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _by_kind: dict[object, Group] = field(default_factory=dict)

    @property
    def differs(self) -> bool:
        """Whether anything would be another than it is; other settings that change no row are no difference."""
        return bool(self.changed) or self.refused is not None

    def add(self, before: Judged, after: Judged, most: int) -> None:
        """A row, if its fates differ."""
        attributes = tuple(_attributes(before, after))
        if before.fate is after.fate and _code(before) == _code(after) and not attributes:
            return
        what = _what(before, after)
        self.changed[what] += 1
        kind: object = (what, _code(before), _code(after), attributes)
        group = self._by_kind.get(kind)
        if group is None and len(self.groups) >= MOST_GROUPS:
            kind = what
            group = self._by_kind.get(kind)
        if group is None:
            known = kind is not what
            group = Group(what, _code(before) if known else None, _code(after) if known else None, attributes)
            self._by_kind[kind] = group
            self.groups.append(group)
        group.count += 1
        if len(group.examples) < most:
            group.examples.append(_example(before, after, attributes))

    def document(self) -> dict[str, Value]:
        """`what_if/1`."""
        return {
            "schema": "what_if/1",
            "parent": self.execution.id,
            "file_uri": f"s3://{self.execution.source.bucket}/{self.execution.upload.key}",
            "differs": self.differs,
            "settings": {name: {"before": before, "after": after} for name, (before, after) in self.settings.items()},
            "before": self.before.counts(),
            "after": self.after.counts(),
            "refused": {"code": self.refused.code.value, "message": self.refused.message} if self.refused else None,
            "changed": {what.value: self.changed[what] for what in What},
            "groups": [group.document() for group in sorted(self.groups, key=lambda group: -group.count)],
            "notes": list(self.notes),
        }


def what_if(
    objects: Objects,
    parent: Execution,
    wanted: Execution,
    most: int = EXAMPLES,
    moved: Callable[[int], None] = lambda offset: None,
) -> WhatIf:
    """What a replay would change.

    Args:
        wanted: of `executions.replay_of`; its source is what is read.
        most: examples of each group.
        moved: hears the plain bytes walked through, after each batch.
    Raises:
        ObjectProblem: the archived object cannot be read to its end.
        Unavailable.
    """
    found = WhatIf(parent, settings_changed(parent, wanted))
    try:
        after = _layout(objects, wanted)
    except ObjectProblem as problem:
        found.refused = problem
        after = None
    for before, then in _both(objects, parent, wanted, after):
        if before is not None:
            found.before = found.before.plus(before.tally)
            moved(before.next_offset)
        if then is not None:
            found.after = found.after.plus(then.tally)
        if after is not None and not _alike(before, then):
            _compare(found, before, then, most)
    if found.refused is None:
        found.refused = _refused(wanted, found.after)
    outcome = parent.outcome
    if outcome is not None:
        told = outcome.sums
        if (told.good + told.erased, told.bad) != (found.before.good, found.before.bad):
            found.notes.append(
                f"its import counted {told.good:,} good and {told.bad:,} bad rows, and under the same settings this "
                f"version counts {found.before.good:,} and {found.before.bad:,}: rules have changed since, or a "
                "destination refused rows by itself"
            )
        if told.erased:
            found.notes.append(f"{told.erased:,} rows of persons who were erased would be left out again")
    return found


def settings_changed(parent: Execution, wanted: Execution) -> dict[str, tuple[Value, Value]]:
    """The settings, dialect and destinations that differ: name → (before, after)."""
    before, after = definition_of(parent).as_stored(), definition_of(wanted).as_stored()
    changed = {name: (before[name], after[name]) for name in after if before[name] != after[name]}
    if parent.format != wanted.format:
        changed["format"] = (parent.format, wanted.format)
    if parent.sinks != wanted.sinks:
        changed["sinks"] = (" ".join(parent.sinks), " ".join(wanted.sinks))
    return changed


# ---- The walk --------------------------------------------------------------------------------------------------------


def _layout(objects: Objects, wanted: Execution) -> Layout:
    """Raises ObjectProblem: the replay would be refused before a row is read."""
    definition, source = definition_of(wanted), wanted.source
    judge_name(wanted.upload.key, wanted.format, wanted.mime_type)
    if wanted.format in (UNREAD, UNKNOWN):
        head = b"".join(objects.read(source, 0, min(HEAD_STORED_BYTES, source.size_bytes)))
        doubt = recognised_stored([head], definition).doubt
        if doubt:
            raise ObjectProblem(FileReason.DIALECT_UNKNOWN, doubt)
    layout = PlainText(objects, source, straight=False).layout(definition.mime_type, wanted.was_read)
    if layout.columns:
        judge_columns(wanted.format, layout.columns, definition)
    return layout


def _both(
    objects: Objects, parent: Execution, wanted: Execution, after: Layout | None
) -> Iterator[tuple[Batch | None, Batch | None]]:
    """The batches of both readings, side by side; where rows stand otherwise under the new settings, one behind the
    other in the order of the file."""
    text = PlainText(objects, wanted.source)
    layout = text.layout(definition_of(parent).mime_type, parent.was_read)
    part = Part(len(layout.header), TO_THE_END)
    lines = layout.lines(text.read(reading_start(part)), part)
    if after is None:
        yield from ((batch, None) for batch in batches(lines, rules_of(parent), layout))
    elif parent.mime_type == wanted.mime_type:
        # The same layout gives the same lines, hence the same batches: the two readers never are a batch apart.
        ours, theirs = tee(lines)
        yield from zip(batches(ours, rules_of(parent), layout), batches(theirs, rules_of(wanted), layout), strict=True)
    else:
        other = PlainText(objects, wanted.source)
        behind = Part(len(after.header), TO_THE_END)
        yield from _merged(
            batches(lines, rules_of(parent), layout),
            batches(after.lines(other.read(reading_start(behind)), behind), rules_of(wanted), after),
        )


def _merged(first: Iterator[Batch], second: Iterator[Batch]) -> Iterator[tuple[Batch | None, Batch | None]]:
    one, other = next(first, None), next(second, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one.start <= other.start):
            yield one, None
            one = next(first, None)
        else:
            yield None, other
            other = next(second, None)


def _alike(before: Batch | None, after: Batch | None) -> bool:
    return (
        before is not None
        and after is not None
        and before.bad_rows == after.bad_rows
        and before.events == after.events
        and before.user_changes == after.user_changes
        and before.tally.expired == after.tally.expired
    )


def _compare(found: WhatIf, before: Batch | None, after: Batch | None, most: int) -> None:
    if before is not None and after is not None:
        for one, other in zip(_judged(before), _judged(after), strict=True):
            found.add(one, other, most)
        return
    for judged in _judged(before) if before is not None else ():
        if judged.fate is not Fate.BLANK:
            found.add(judged, Judged(judged.offset, judged.line, Fate.NONE), most)
    for judged in _judged(after) if after is not None else ():
        if judged.fate is not Fate.BLANK:
            found.add(Judged(judged.offset, judged.line, Fate.NONE), judged, most)


def _judged(batch: Batch) -> Iterator[Judged]:
    bad = {row.offset: row for row in batch.bad_rows}
    events: dict[int, list[Event]] = {}
    for event in batch.events:
        events.setdefault(event.address, []).append(event)
    changes: dict[int, list[UserChange]] = {}
    for change in batch.user_changes:
        changes.setdefault(change.address, []).append(change)
    for (offset, number), (_, raw) in zip(batch.line_numbers(), batch.lines, strict=True):
        if offset in bad:
            yield Judged(offset, number, Fate.BAD, bad[offset])
        elif offset in events or offset in changes:
            yield Judged(offset, number, Fate.GOOD, None, events.get(offset, []), changes.get(offset, []))
        else:
            blank = not isinstance(raw, LongLine) and not row_text(raw).strip(b" \t\r")
            yield Judged(offset, number, Fate.BLANK if blank else Fate.EXPIRED)


def _refused(wanted: Execution, after: Tally) -> ObjectProblem | None:
    definition = definition_of(wanted)
    try:
        judge_bad_rows(definition, after.bad, stored=not wanted.is_checking)
        if wanted.is_checking:
            judge_whole(after.bad)
    except ObjectProblem as problem:
        return problem
    return None


# ---- Rows ------------------------------------------------------------------------------------------------------------


def _what(before: Judged, after: Judged) -> What:
    match before.fate, after.fate:
        case Fate.GOOD, Fate.BAD:
            return What.GOOD_TO_BAD
        case Fate.BAD, Fate.GOOD:
            return What.BAD_TO_GOOD
        case Fate.BAD, Fate.BAD:
            return What.REASON_DIFFERS
        case Fate.GOOD, Fate.GOOD:
            return What.EVENTS_DIFFER
    return What.OTHERWISE


def _code(judged: Judged) -> tuple[str, str] | None:
    return None if judged.bad is None else (judged.bad.reason, judged.bad.field)


def _reason(code: tuple[str, str] | None) -> dict[str, Value] | None:
    return None if code is None else {"code": code[0], "field": code[1]}


def _attributes(before: Judged, after: Judged) -> Iterator[str]:
    """Which attributes of a row's events and user changes differ, where it is good under both settings."""
    if before.fate is not Fate.GOOD or after.fate is not Fate.GOOD:
        return
    if len(before.events) != len(after.events):
        yield "events"
    else:
        for name in _EVENT:
            pairs = zip(before.events, after.events, strict=True)
            if any(_differ(getattr(one, name), getattr(other, name)) for one, other in pairs):
                yield name
    if len(before.changes) != len(after.changes):
        yield "user_changes"
    else:
        for name in _CHANGE:
            changes = zip(before.changes, after.changes, strict=True)
            if any(_differ(getattr(one, name), getattr(other, name)) for one, other in changes):
                yield f"user_changes.{name}"


def _differ(one: Value, other: Value) -> bool:
    """By value and type: 1 is neither true nor 1.0 to a store that keeps them apart."""
    return one != other or type(one) is not type(other)


def _example(before: Judged, after: Judged, attributes: tuple[str, ...]) -> dict[str, Value]:
    return {
        "line": before.line,
        "offset": before.offset,
        "before": _told(before, attributes),
        "after": _told(after, attributes),
    }


def _told(judged: Judged, attributes: tuple[str, ...]) -> str:
    """One line about a row's fate: a bad row's message and hint; of a good one what differs, else its first event."""
    if judged.bad is not None:
        return judged.bad.message + (f"; {judged.bad.hint}" if judged.bad.hint else "")
    if judged.fate is not Fate.GOOD:
        return judged.fate.value
    events = [name for name in attributes if "." not in name and name not in ("events", "user_changes")]
    changes = [name.partition(".")[2] for name in attributes if "." in name]
    told = [f"{name} {said(getattr(judged.events[0], name))}" for name in events[:4] if judged.events]
    told += [f"user change's {name} {said(getattr(judged.changes[0], name))}" for name in changes[:4] if judged.changes]
    if told:
        return shown("; ".join(told))
    counts = [f"{len(judged.events)} events"] if judged.events else []
    if judged.events:
        first = judged.events[0]
        counts.append(f"the first {said(first.event_name)} of {said(first.user_id)} at {first.event_time_ts}")
    counts += [f"{len(judged.changes)} user changes"] if judged.changes else []
    return shown("; ".join(counts))
