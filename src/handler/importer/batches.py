"""6 · Lines → batches: the core, a generator that knows no sink, no clock and no AWS.

Rule: a batch is the lines that begin in one cell of the byte grid; after BATCH_LINES lines in a cell the next batch
begins. Both count from the last border, and work is only ever resumed at a border: so the same bytes always make the
same batches, whoever reads them and however often. A row is good as a whole or bad as a whole: one event over a sink's
limits makes the row bad.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import Final, TypeAlias

from importer.bad_rows import BadRow, FileReason, ObjectProblem, Reason, Reject, row_text, shown
from importer.definitions import Definition
from importer.formats import RowReader, reader, shortcut
from importer.formats.reading import Reading
from importer.layouts import JSON_LINES, Layout
from importer.lines import BOM, MAX_LINE_BYTES
from importer.model import Erased, Event, Line, LongLine, Noted, Tally, UserChange
from importer.parts import BATCH_LINES, GRID_BYTES, cell_start
from importer.row_paths import placed

TOP_USERS: Final = 10  # of a batch


@dataclass(frozen=True, slots=True)
class Limit:
    """What a sink can hold, as pure checks of a good row. Both get the row's text length first, because for nearly
    every row that alone proves much.

    Attributes:
        check: raises Reject for a row that does not fit.
        surely_fits: whether a row of this one event, with properties that do not nest and nothing else, fits without
            further looks; asked for nearly every row.
    """

    check: Callable[[int, Reading], None]
    surely_fits: Callable[[int, Event], bool]


@dataclass(slots=True)
class Batch:
    """Some lines, judged. `start` is the address of the first of them.

    `next_offset` is where the following line begins (the end of the object after the last); `first_line` is the
    number of the batch's first line, counted from 1 at the start of the part, as an editor counts.
    """

    start: int
    first_line: int
    lines: list[Line] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    user_changes: list[UserChange] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    noted: list[tuple[int, int, str]] = field(default_factory=list)  # (address, line, code) of good rows with a note
    tally: Tally = field(default_factory=Tally)
    next_offset: int = 0

    def take_out(self, not_stored: Mapping[int, Reject | Erased]) -> None:
        """Good rows, by address, that a sink did not store: bad ones, or of erased persons. Counts and order follow."""
        number = self.first_line
        for offset, raw in self.lines:
            fate = not_stored.get(offset)
            if fate is not None:
                self.tally.good -= 1
                if isinstance(fate, Reject):
                    self.bad_rows.append(BadRow.of(fate, number, offset, raw))
                    self.tally.bad += 1
                else:
                    self.tally.erased += 1
            number += 1 + inner_breaks(raw)
        self.noted = [noted for noted in self.noted if noted[0] not in not_stored]
        self.tally.notes = _notes(self)
        self.tally.events -= sum(event.address in not_stored for event in self.events)
        self.tally.user_changes -= sum(change.address in not_stored for change in self.user_changes)
        _sample(self, [event for event in self.events if event.address not in not_stored])  # no names of the erased
        self.bad_rows.sort(key=lambda row: row.offset)

    def withhold(self) -> None:
        """Count good rows as withheld: nothing of the batch is stored. Bad rows stay what they are."""
        tally = self.tally
        tally.withheld, tally.good = tally.withheld + tally.good, 0
        tally.events = tally.user_changes = 0
        tally.notes, tally.sampled, tally.top_users = {}, 0, {}
        self.events, self.user_changes, self.noted = [], [], []

    def line_numbers(self) -> Iterator[tuple[int, int]]:
        """(address, number) of each line."""
        number = self.first_line
        for offset, raw in self.lines:
            yield offset, number
            number += 1 + inner_breaks(raw)


def inner_breaks(raw: bytes | LongLine) -> int:
    """Line breaks before the last byte: a CSV's record may hold them."""
    return raw.count(b"\n", 0, -1) if isinstance(raw, bytes) else 0


@dataclass(frozen=True, slots=True)
class Rules:
    """Everything but its bytes that decides what a row becomes; pinned in the execution.

    `now_ms` is when the execution was created, `execution_id` for events known by the place they were read from.
    """

    format: str
    definition: Definition
    now_ms: int
    limits: Sequence[Limit] = ()
    execution_id: str = ""


def batches(lines: Iterable[Line], rules: Rules, layout: Layout = JSON_LINES, lines_before: int = 0) -> Iterator[Batch]:
    """The batches of a part in order; none for a part without lines.

    Args:
        lines: the part's lines, in order.
        layout: how rows stand in the lines. At the part's begin its header's lines are counted too.
        lines_before: lines of this part that an earlier reading of it has dealt with (`Tally.file_lines`).
    Raises:
        ObjectProblem: from the lines' source.
    """
    read = reader(rules.format, rules.definition, rules.now_ms, rules.execution_id)
    plain = shortcut(rules.format, rules.definition, rules.now_ms) if layout is JSON_LINES else None
    surely_fits = _surely_fits(rules.limits)
    may_hold_breaks = layout.columns is not None
    batch: Batch | None = None
    stop = 0
    header_lines = 0 if lines_before else layout.header.count(b"\n")
    number = lines_before + header_lines
    left = 0
    for line in lines:
        offset, raw = line
        if offset >= stop or not left:
            if batch is not None:
                yield _ended(batch, offset)
            stop = cell_start(offset) + GRID_BYTES
            left = BATCH_LINES
            batch = Batch(offset, number + 1)
            add_line, add_event = batch.lines.append, batch.events.append
            batch.tally.inner_lines, header_lines = header_lines, 0
        assert batch is not None
        left -= 1
        number += 1
        add_line(line)
        if plain is not None and type(raw) is bytes:
            event = plain(raw, offset)
            if event is not None and surely_fits(len(raw), event):
                add_event(event)
                continue
        _judge(line, number, batch, layout, read, rules.limits)
        if may_hold_breaks and (inner := inner_breaks(raw)):
            number += inner
            batch.tally.inner_lines += inner
    if batch is not None:
        last_offset, last_raw = batch.lines[-1]
        yield _ended(batch, last_offset + len(last_raw))


Judge: TypeAlias = Callable[[Line], Batch]  # of one line


def judge(rules: Rules, layout: Layout = JSON_LINES) -> "Judge":
    """Judges a line as `batches` would in the midst of a file; gives its batch, whose sums are not made. For who asks
    of one row again and again, with other bytes."""
    read = reader(rules.format, rules.definition, rules.now_ms, rules.execution_id)

    def judged(line: Line) -> Batch:
        batch = Batch(line[0], 1, [line])
        _judge(line, 1, batch, layout, read, rules.limits)
        return batch

    return judged


def _surely_fits(limits: Sequence[Limit]) -> Callable[[int, Event], bool]:
    """See `Limit`; of all of them. Nearly always there is one, and no room for another call."""
    if len(limits) == 1:
        return limits[0].surely_fits
    return lambda text_bytes, event: all(limit.surely_fits(text_bytes, event) for limit in limits)


def _ended(batch: Batch, next_offset: int) -> Batch:
    batch.next_offset = next_offset
    tally = batch.tally
    tally.lines = len(batch.lines)
    tally.bad = len(batch.bad_rows)
    tally.good = tally.lines - tally.blank - tally.bad - tally.expired
    tally.events = len(batch.events)
    tally.user_changes = len(batch.user_changes)
    tally.notes = _notes(batch)
    _sample(batch, batch.events)
    return batch


def _sample(batch: Batch, events: Sequence[Event]) -> None:
    """The users that turn up most in a sampled batch."""
    if not _is_sampled(batch.start):
        return
    batch.tally.sampled = len(events)
    users = Counter(event.user_id for event in events)
    # By name where counts are equal, so that the same events always give the same ten.
    most = nsmallest(TOP_USERS, users.items(), key=lambda user: (-user[1], user[0]))
    batch.tally.top_users = {}
    for user, count in most:  # names that are cut may look alike
        name = shown(user)
        batch.tally.top_users[name] = batch.tally.top_users.get(name, 0) + count


def _is_sampled(offset: int) -> bool:
    """Whether a batch is looked at for the users that turn up most: those of cells 0, 1, 2, 4, 8 and so on. So each of
    these decides by its own bytes, and their number hardly grows with the file."""
    cell = offset // GRID_BYTES
    return not cell & (cell - 1)


def _notes(batch: Batch) -> dict[str, Noted]:
    notes: dict[str, Noted] = {}
    for _, line, code in batch.noted:
        notes.setdefault(code, Noted(0, line)).count += 1
    return notes


def _judge(
    line: Line,
    number: int,
    batch: Batch,
    layout: Layout,
    read: RowReader,
    limits: Sequence[Limit],
) -> None:
    """One line into the batch: blank, good or bad. What can be counted when the batch ends is counted then."""
    offset, raw = line
    if isinstance(raw, LongLine):
        batch.bad_rows.append(BadRow.of(_too_long(raw), number, offset, raw))
        return
    text = row_text(raw)
    if offset == 0:
        text = text.removeprefix(BOM)
    if not text or (text[0] <= 32 and not text.strip(b" \t\r")):
        batch.tally.blank += 1
        return
    try:
        row = layout.row_of(text)
        named = layout.names + text if layout.names else text
        reading = read(row, named, offset)
        try:
            for limit in limits:
                limit.check(len(named), reading)
        except Reject as reject:  # reading took the row apart
            raise placed(reject, layout.row_of(text)) from None
    except Reject as reject:
        batch.bad_rows.append(BadRow.of(reject, number, offset, raw))
        return
    if reading.expired:
        batch.tally.expired += 1
        return
    batch.events += reading.events
    if reading.user_changes:
        batch.user_changes += reading.user_changes
    if reading.notes:
        batch.noted += [(offset, number, note) for note in reading.notes]


def _too_long(line: LongLine) -> Reject:
    return Reject(
        Reason.LINE_TOO_LONG,
        expected=f"at most {MAX_LINE_BYTES} bytes",
        found=f"{line.size} bytes",
        hint="is a line break missing? No destination holds an event of this size",
    )


# ---- What the bad rows mean for the file ----------------------------------------------------------------------------


def judge_bad_rows(definition: Definition, bad: int, stored: bool) -> None:
    """Raises ObjectProblem (too_many_bad_rows) where more rows are bad than the import allows.

    Args:
        stored: what was good until then is in the store.
    """
    if 0 < definition.max_bad_rows < bad:
        so_far = "What was read until then is imported" if stored else "Nothing of it was stored"
        raise ObjectProblem(
            FileReason.TOO_MANY_BAD_ROWS,
            f"more than {definition.max_bad_rows:,} rows are bad, which is all this import allows (max_bad_rows). "
            f"{so_far}; errors/ has the bad rows. Mend them, and drop the whole file again",
        )


def judge_whole(bad: int) -> None:
    """Raises ObjectProblem (atomic_refused) for bad rows in a file that is stored as a whole or not at all."""
    if bad:
        raise ObjectProblem(
            FileReason.ATOMIC_REFUSED,
            f"{bad:,} of its rows {'is' if bad == 1 else 'are'} bad, and this import takes a file as a whole or not at "
            "all (atomic): nothing of it was stored. Mend the rows that errors/ has, and drop the whole file again",
        )
